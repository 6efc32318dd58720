//! A linear layer's passes over a batch, each one kernel: inputs, forward, activation, backward.

use super::elementwise::activate;
use super::lanes::{Block, Kernel, LANES, Lanes, blocks, floats, floats_mut, prefetch};
use super::network::Layer;
use super::products::{Epilogue, Matrix, Order, dot_product, outer_product};
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
    /// The batch after it, whose bytes are asked for meanwhile.
    pub next: &'a [u32],
    /// Out: `batch x stride` blocks.
    pub out: &'a mut [Block],
    pub stride: usize,
}

impl Kernel for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Gather { pixels, inputs, batch, next, out, stride } = self;
        let row_of = |sample: u32| &pixels[sample as usize * inputs..][..inputs];
        let scale = lanes.splat(1.0 / 255.0);
        for (place, (sample, out)) in batch.iter().zip(out.chunks_exact_mut(stride)).enumerate() {
            if let Some(&sample) = next.get(place) {
                row_of(sample).iter().step_by(64).for_each(prefetch);
            }
            let (full, rest) = row_of(*sample).as_chunks::<LANES>();
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

/// `z = W x + b` of a batch.
pub struct Forward<'a> {
    pub layer: &'a Layer,
    pub inputs: Matrix<'a>,
    pub samples: usize,
    /// Out: `z` of sample `b` and output `o` at `[b * places.0 + o * places.1]`.
    pub out: &'a mut [f32],
    pub places: (usize, usize),
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Forward { layer, inputs, samples, out, places } = self;
        let bias = &floats(&layer.bias)[..layer.shape.outputs];
        let weights = (layer.weights(), layer.shape.outputs);
        let depth = blocks(layer.shape.inputs);
        dot_product(lanes, (inputs, samples), weights, depth, |b, o, z| {
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
        let (columns, depth) = (blocks(layer.shape.inputs), layer.shape.outputs);
        let order = Order::ColumnsOuter;
        let weights = layer.weights();
        outer_product(lanes, order, delta_t, samples, weights, columns, depth, &mut epilogue);
    }
}

struct TimesSlope<'a> {
    slopes: &'a [Block],
    out: &'a mut [Block],
    stride: usize,
}

impl<L: Lanes> Epilogue<L> for TimesSlope<'_> {
    #[inline(always)]
    fn finish(&mut self, lanes: L, row: usize, block: usize, gradient: L::F) {
        let place = row * self.stride + block;
        let slope = lanes.load(&self.slopes[place]);
        lanes.store(lanes.flush(lanes.mul(gradient, slope)), &mut self.out[place]);
    }
}

/// The gradients of a layer's weights and biases, and their update.
pub struct Learn<'a> {
    pub layer: &'a mut Layer,
    pub inputs: Matrix<'a>,
    pub samples: usize,
    /// `samples x delta_stride` blocks: the loss's gradient at the layer's output.
    pub delta: &'a [Block],
    pub delta_stride: usize,
    pub rule: Rule,
}

impl Kernel for Learn<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Learn { layer, inputs, samples, delta, delta_stride, rule } = self;
        let (outputs, columns) = (layer.shape.outputs, blocks(layer.shape.inputs));
        let mut update = Update {
            rule,
            weight: &mut layer.weight,
            velocity: &mut layer.weight_velocity,
            stride: layer.stride,
        };
        let a = (floats(delta), delta_stride * LANES);
        let order = Order::RowsOuter;
        outer_product(lanes, order, a, outputs, inputs, columns, samples, &mut update);

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
