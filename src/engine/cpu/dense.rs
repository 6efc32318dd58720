//! A linear layer's passes over a batch, each one kernel: inputs, forward, activation, backward.

use super::elementwise::activate;
use super::lanes::{Block, Kernel, LANES, Lanes, blocks, floats, floats_mut, prefetch_far};
use super::network::Layer;
use super::products::{Ahead, Epilogue, Matrix, Nothing, Order, Outer, dot_product, outer_product};
use super::sgd::{Rule, Update};
use crate::model::Hidden;
use crate::random::{Stream, unit_f32};

/// Fetches a batch's samples and turns bytes into floats, `pixel / 255`.
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
        let scale = lanes.splat(1.0 / 255.0);
        for (sample, out) in batch.iter().zip(out.chunks_exact_mut(stride)) {
            let row = &pixels[*sample as usize * inputs..][..inputs];
            let (full, rest) = row.as_chunks::<LANES>();
            for (bytes, out) in full.iter().zip(out.iter_mut()) {
                lanes.store(lanes.mul(lanes.load_u8(bytes), scale), out);
            }
            if let Some(last) = out.get_mut(full.len()).filter(|_| !rest.is_empty()) {
                let mut bytes = [0; LANES];
                bytes[..rest.len()].copy_from_slice(rest);
                lanes.store(lanes.mul(lanes.load_u8(&bytes), scale), last);
            }
        }
    }
}

/// The bytes of the next batch, asked for while this one is computed.
pub struct NextBatch<'a> {
    pub pixels: &'a [u8],
    pub inputs: usize,
    pub samples: &'a [u32],
    /// Bytes of the first of `samples` that were asked for.
    pub done: usize,
}

impl NextBatch<'_> {
    /// A tile lasts some 200 cycles and a cache line from memory about as long; a core waits for
    /// sixteen at once at most.
    const LINES_A_TILE: usize = 8;
}

impl Ahead for &mut NextBatch<'_> {
    #[inline(always)]
    fn ask(&mut self) {
        for _ in 0..NextBatch::LINES_A_TILE {
            let Some((sample, rest)) = self.samples.split_first() else { return };
            if let Some(byte) = self.pixels.get(*sample as usize * self.inputs + self.done) {
                prefetch_far(byte);
            }
            self.done += 64;
            if self.done >= self.inputs {
                (self.samples, self.done) = (rest, 0);
            }
        }
    }
}

/// `z = W x + b` of a batch.
pub struct Forward<'a, A> {
    pub layer: &'a Layer,
    pub inputs: Matrix<'a>,
    pub samples: usize,
    /// Out: `z` of sample `b` and output `o` at `[b * places.0 + o * places.1]`.
    pub out: &'a mut [f32],
    pub places: (usize, usize),
    pub ahead: A,
}

impl<A: Ahead> Kernel for Forward<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Forward { layer, inputs, samples, out, places, mut ahead } = self;
        let bias = &floats(&layer.bias)[..layer.shape.outputs];
        let weights = (layer.weights(), layer.shape.outputs);
        let depth = blocks(layer.shape.inputs);
        dot_product(lanes, (inputs, samples), weights, depth, &mut ahead, |b, o, z| {
            out[b * places.0 + o * places.1] = z + bias[o];
        });
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
            order: Order::ColumnsOuter,
        };
        outer_product(lanes, outer, &mut Nothing, &mut epilogue);
    }
}

struct TimesSlope<'a> {
    slopes: &'a [Block],
    out: &'a mut [Block],
    stride: usize,
}

impl Epilogue for TimesSlope<'_> {
    #[inline(always)]
    fn finish<L: Lanes>(&mut self, lanes: L, row: usize, block: usize, gradient: L::F) {
        let place = row * self.stride + block;
        let slope = lanes.load(&self.slopes[place]);
        lanes.store(lanes.flush(lanes.mul(gradient, slope)), &mut self.out[place]);
    }
}

/// The gradients of a layer's weights and biases, and their update.
pub struct Learn<'a, A> {
    pub layer: &'a mut Layer,
    pub inputs: Matrix<'a>,
    pub samples: usize,
    /// `samples x delta_stride` blocks: the loss's gradient at the layer's output.
    pub delta: &'a [Block],
    pub delta_stride: usize,
    pub rule: Rule,
    pub ahead: A,
}

impl<A: Ahead> Kernel for Learn<'_, A> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Learn { layer, inputs, samples, delta, delta_stride, rule, mut ahead } = self;
        let (outputs, columns) = (layer.shape.outputs, blocks(layer.shape.inputs));
        let mut update = Update {
            rule,
            weight: &mut layer.weight,
            velocity: &mut layer.weight_velocity,
            stride: layer.stride,
        };
        let outer = Outer {
            a: floats(delta),
            lda: delta_stride * LANES,
            rows: outputs,
            b: inputs,
            columns,
            depth: samples,
            order: Order::RowsOuter,
        };
        outer_product(lanes, outer, &mut ahead, &mut update);

        for (block, bias) in layer.bias.iter_mut().enumerate() {
            let mut gradient = [0.0; LANES];
            for row in delta.chunks_exact(delta_stride).take(samples) {
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
