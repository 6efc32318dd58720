//! A linear layer's passes over a batch, each one kernel: inputs, forward, activation, backward.

use super::elementwise::activate;
use super::lanes::{Block, Kernel, LANES, Lanes, blocks, floats, floats_mut, prefetch_far};
use super::network::Layer;
use super::products::{
    Ahead, DotEpilogue, Left, Nothing, Outer, OuterEpilogue, Right, dot_product, for_each_index,
    outer_product,
};
use super::sgd::{Rule, Update};
use crate::data::Part;
use crate::model::Hidden;
use crate::random::{Stream, unit_f32};

/// What a pixel's byte counts: it stays 0 to 255 in every product, and the sums are scaled instead.
pub const PIXEL: f32 = 1.0 / 255.0;

/// Fetches a batch's samples and turns bytes into floats.
pub struct Gather<'a> {
    /// `samples x inputs` bytes.
    pub pixels: &'a [u8],
    pub inputs: usize,
    /// The batch's samples, in order.
    pub batch: &'a [u32],
    /// Out: `batch x stride` blocks.
    pub out: &'a mut [Block],
    pub stride: usize,
}

impl Kernel for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Gather { pixels, inputs, batch, out, stride } = self;
        for (sample, out) in batch.iter().zip(out.chunks_exact_mut(stride)) {
            let row = &pixels[*sample as usize * inputs..][..inputs];
            let (full, rest) = row.as_chunks::<LANES>();
            for (bytes, out) in full.iter().zip(out.iter_mut()) {
                lanes.store(lanes.load_u8(bytes), out);
            }
            if let Some(last) = out.get_mut(full.len()).filter(|_| !rest.is_empty()) {
                let mut bytes = [0; LANES];
                bytes[..rest.len()].copy_from_slice(rest);
                lanes.store(lanes.load_u8(&bytes), last);
            }
        }
    }
}

/// The bytes of the next batch, asked for while this one is computed.
pub struct NextBatch<'a> {
    part: Part<'a>,
    inputs: usize,
    /// Samples that were not asked for yet.
    samples: &'a [u32],
    /// Bytes of the first of them that were.
    done: usize,
}

impl<'a> NextBatch<'a> {
    /// Asks for the first line of every sample, and so for the places of their pages: a search for
    /// a page stops a core when it comes alone, and four go on at once when they come together.
    pub fn new(part: Part<'a>, inputs: usize, samples: &'a [u32]) -> Self {
        for sample in samples {
            let row = &part.pixels[*sample as usize * inputs..][..inputs];
            if let (Some(first), Some(last)) = (row.first(), row.last()) {
                prefetch_far(first);
                prefetch_far(last);
            }
        }
        NextBatch { part, inputs, samples, done: 0 }
    }
}

impl Ahead for &mut NextBatch<'_> {
    #[inline(always)]
    fn ask(&mut self, lines: usize) {
        let Some((sample, rest)) = self.samples.split_first() else { return };
        let row = &self.part.pixels[*sample as usize * self.inputs..][..self.inputs];
        let asked = lines * 64;
        for line in row[self.done..].chunks(64).take(lines) {
            prefetch_far(&line[0]);
        }
        self.done += asked;
        if self.done >= self.inputs {
            (self.samples, self.done) = (rest, 0);
        }
    }
}

/// `z = scale * W x + b` of a batch.
pub struct Forward<'a, X, A> {
    pub layer: &'a Layer,
    pub inputs: X,
    /// [`PIXEL`] where the inputs are pixels, 1 elsewhere.
    pub scale: f32,
    pub samples: usize,
    pub out: &'a mut [f32],
    pub layout: Layout,
    pub ahead: A,
}

/// Where `z` of sample `b` and output `o` goes.
#[derive(Clone, Copy)]
pub enum Layout {
    /// `[b * stride + o]`
    SampleRows(usize),
    /// `[o * stride + b]`
    OutputRows(usize),
}

impl<X: Left, A: Ahead> Kernel for Forward<'_, X, A> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Forward { layer, inputs, scale, samples, out, layout, mut ahead } = self;
        let bias = &floats(&layer.bias)[..layer.shape.outputs];
        let weights = (layer.weights(), layer.shape.outputs);
        let depth = blocks(layer.shape.inputs);
        let mut epilogue = PlusBias { scale, bias, out, layout };
        dot_product(lanes, (inputs, samples), weights, depth, &mut ahead, &mut epilogue);
    }
}

struct PlusBias<'a> {
    scale: f32,
    bias: &'a [f32],
    out: &'a mut [f32],
    layout: Layout,
}

impl DotEpilogue for PlusBias<'_> {
    #[inline(always)]
    fn finish<const M: usize, const N: usize>(&mut self, b: usize, o: usize, tile: [[f32; N]; M]) {
        let bias = &self.bias[o..][..N];
        match self.layout {
            Layout::SampleRows(stride) => {
                for m in 0..M {
                    let out = &mut self.out[(b + m) * stride + o..][..N];
                    for n in 0..N {
                        out[n] = tile[m][n].mul_add(self.scale, bias[n]);
                    }
                }
            }
            Layout::OutputRows(stride) => {
                for n in 0..N {
                    let out = &mut self.out[(o + n) * stride + b..][..M];
                    for m in 0..M {
                        out[m] = tile[m][n].mul_add(self.scale, bias[n]);
                    }
                }
            }
        }
    }
}

/// The dropout of a batch: which words of the trial's stream decide.
#[derive(Clone)]
pub struct Dropout {
    pub stream: Stream,
    /// Samples trained on before this batch, in all epochs: sample `b` of the batch and unit `u`
    /// take word `(first + b) * width + u`, where `width` is the units rounded up to sixteen.
    pub first: u64,
}

/// Activation, then inverted dropout, of a batch in place; and the derivative of both.
pub struct Activate<'a> {
    pub hidden: Hidden,
    /// In: `z`, out: the layer's output; `samples x stride` blocks.
    pub values: &'a mut [Block],
    /// Out: d output / d z. What pads a row becomes zero in both.
    pub slopes: &'a mut [Block],
    pub stride: usize,
    pub samples: usize,
    /// While training.
    pub dropout: Option<Dropout>,
}

impl Kernel for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _lanes: L) {
        let Activate { hidden, values, slopes, stride, samples, dropout } = self;
        let width = blocks(hidden.units);
        let rows = values.chunks_exact_mut(stride).zip(slopes.chunks_exact_mut(stride));
        let dropout = dropout.filter(|_| hidden.dropout > 0.0);
        for (sample, (values, slopes)) in rows.take(samples).enumerate() {
            for (i, (value, slope)) in values.iter_mut().zip(slopes.iter_mut()).enumerate() {
                for lane in 0..LANES {
                    let (h, d) = activate(hidden.activation, value.0[lane]);
                    (value.0[lane], slope.0[lane]) = (h, d);
                }
                if let Some(Dropout { stream, first }) = &dropout {
                    let block = (first + sample as u64) * width as u64 + i as u64;
                    let kept = kept(stream, block, hidden.dropout);
                    for lane in 0..LANES {
                        value.0[lane] *= kept[lane];
                        slope.0[lane] *= kept[lane];
                    }
                }
            }
            floats_mut(values)[hidden.units..].fill(0.0);
            floats_mut(slopes)[hidden.units..].fill(0.0);
        }
    }
}

/// The factors of sixteen values under inverted dropout: 0 or `1 / (1 - p)`.
#[inline(always)]
fn kept(stream: &Stream, block: u64, p: f32) -> [f32; LANES] {
    let scale = 1.0 / (1.0 - p);
    let mut factors = [0.0; LANES];
    for (four, factors) in factors.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let words = stream.block(4 * block + four as u64);
        *factors = words.map(|word| if unit_f32(word) < p { 0.0 } else { scale });
    }
    factors
}

/// The gradient of a layer's inputs, `W^T d`, times the slope there: the `delta` below it.
pub struct InputGradient<'a> {
    pub layer: &'a Layer,
    pub samples: usize,
    /// `[output * lda + sample]`
    pub delta_t: (&'a [f32], usize),
    pub slopes: &'a [Block],
    /// Out: `samples x stride` blocks, as `slopes`.
    pub out: &'a mut [Block],
    pub stride: usize,
}

impl Kernel for InputGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let InputGradient { layer, samples, delta_t, slopes, out, stride } = self;
        let mut epilogue = TimesSlope { slopes, out, stride };
        let outer = Outer {
            a: delta_t.0,
            lda: delta_t.1,
            rows: samples,
            b: layer.weights(),
            columns: blocks(layer.shape.inputs),
            depth: layer.shape.outputs,
        };
        outer_product(lanes, outer, &mut Nothing, &mut epilogue);
    }
}

struct TimesSlope<'a> {
    slopes: &'a [Block],
    out: &'a mut [Block],
    stride: usize,
}

impl OuterEpilogue for TimesSlope<'_> {
    #[inline(always)]
    fn finish<L: Lanes, const M: usize, const N: usize>(
        &mut self,
        lanes: L,
        row: usize,
        column: usize,
        gradients: [[L::F; N]; M],
    ) {
        for_each_index!(m < M, {
            let first = (row + m) * self.stride + column;
            let (slopes, out) = (&self.slopes[first..][..N], &mut self.out[first..][..N]);
            for n in 0..N {
                let product = lanes.mul(gradients[m][n], lanes.load(&slopes[n]));
                lanes.store(lanes.flush(product), &mut out[n]);
            }
        });
    }
}

/// The gradients of a layer's weights and biases, and their update.
pub struct Learn<'a, X, A> {
    pub layer: &'a mut Layer,
    pub inputs: X,
    /// [`PIXEL`] where the inputs are pixels, 1 elsewhere.
    pub scale: f32,
    pub samples: usize,
    /// `samples x delta_stride` blocks: the loss's gradient at the layer's output; used up.
    pub delta: &'a mut [Block],
    pub delta_stride: usize,
    pub rule: Rule,
    pub ahead: A,
}

impl<X: Right, A: Ahead> Kernel for Learn<'_, X, A> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Learn { layer, inputs, scale, samples, delta, delta_stride, rule, mut ahead } = self;
        learn_biases(layer, &delta[..samples * delta_stride], delta_stride, rule);
        if scale != 1.0 {
            floats_mut(&mut delta[..samples * delta_stride]).iter_mut().for_each(|d| *d *= scale);
        }
        let outer = Outer {
            a: floats(delta),
            lda: delta_stride * LANES,
            rows: layer.shape.outputs,
            b: inputs,
            columns: blocks(layer.shape.inputs),
            depth: samples,
        };
        let mut update = Update {
            rule,
            weight: &mut layer.weight,
            velocity: &mut layer.weight_velocity,
            stride: layer.stride,
        };
        outer_product(lanes, outer, &mut ahead, &mut update);
    }
}

/// The gradient of each bias, added up in the order of the samples, and its update.
#[inline(always)]
fn learn_biases(layer: &mut Layer, delta: &[Block], delta_stride: usize, rule: Rule) {
    for (block, bias) in layer.bias.iter_mut().enumerate() {
        let mut gradient = [0.0; LANES];
        for row in delta.chunks_exact(delta_stride) {
            for (gradient, delta) in gradient.iter_mut().zip(row[block].0) {
                *gradient += delta;
            }
        }
        let mut none = Block::ZERO;
        let velocity = layer.bias_velocity.get_mut(block).unwrap_or(&mut none);
        for lane in 0..LANES {
            bias.0[lane] = rule.step(bias.0[lane], gradient[lane], &mut velocity.0[lane]);
        }
    }
}

/// Transposes a batch's `delta` from `[sample][unit]` to `[unit][sample]`.
pub struct Transpose<'a> {
    /// `samples x from_stride` blocks.
    pub from: &'a [Block],
    pub from_stride: usize,
    pub samples: usize,
    pub units: usize,
    /// Out: `[unit * stride + sample]`
    pub to: &'a mut [f32],
    pub stride: usize,
}

impl Kernel for Transpose<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _lanes: L) {
        let Transpose { from, from_stride, samples, units, to, stride } = self;
        let from = floats(from);
        // Sixteen by sixteen at a time: both sides then stay within a few cache lines.
        for first in (0..samples).step_by(LANES) {
            let samples = first..samples.min(first + LANES);
            for (unit, to) in to.chunks_exact_mut(stride).take(units).enumerate() {
                for sample in samples.clone() {
                    to[sample] = from[sample * from_stride * LANES + unit];
                }
            }
        }
    }
}
