//! A linear layer's passes over a batch, each one kernel: inputs, forward, activation, backward.

use std::ops::Range;

use super::elementwise::activate;
use super::lanes::{Block, Kernel, LANES, Lanes, PAIRS, blocks, floats, prefetch};
use super::network::{Layer, LayerPart};
use super::products::{
    Ahead, DotEpilogue, Matrix, Operand, Outer, dot_product, for_each_index, outer_product,
};
use super::rows::{Finish, Rows, Sums, Turned, row_product, turned_product};
use super::sets::Members;
use super::sgd::{Rule, Update};
use super::sparse::{Sparse, sparse_outer_product, sparse_product};
use crate::data::PatchedPart;
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
    /// Out: the blocks of a matrix, a row a sample.
    pub out: &'a mut [Block],
    pub stride: usize,
}

impl Kernel for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Gather { pixels, inputs, batch, out, stride } = self;
        for (row, sample) in batch.iter().enumerate() {
            let (full, rest) = pixels[*sample as usize * inputs..][..inputs].as_chunks::<LANES>();
            for (column, bytes) in full.iter().enumerate() {
                lanes.store(lanes.load_u8(bytes), &mut out[column * stride + row]);
            }
            if !rest.is_empty() {
                let mut bytes = [0; LANES];
                bytes[..rest.len()].copy_from_slice(rest);
                lanes.store(lanes.load_u8(&bytes), &mut out[full.len() * stride + row]);
            }
        }
    }
}

/// The bytes of the next batch, asked for while this one is computed: a line of each sample after the other. Sample after
/// sample, the gradient stood at a request in 21 % of a profile's looks, so in 12 (Emerald Rapids).
///
/// In training by the product that comes last, the gradient of the first layer's weights: its operands stay in
/// the first-level cache. Softmax regression's way forward walks through more than one of 32 KiB holds, and has
/// to wait for its own lines behind those that come from afar: asked for there, it took 2.75 us a step, and 2.61 so.
pub struct NextBatch<'a> {
    part: PatchedPart<'a>,
    samples: &'a [u32],
    /// The samples whose line at `place` was not asked for.
    left: &'a [u32],
    /// Where the line begins in a sample.
    place: usize,
    /// Lines that tiles were to ask for and did not.
    owed: usize,
}

impl<'a> NextBatch<'a> {
    /// Asks at once for the sets of what is lit, a word or a few of each sample.
    pub fn new(part: PatchedPart<'a>, samples: &'a [u32]) -> Self {
        for sample in samples {
            prefetch(part.lit(*sample as usize), 0);
        }
        NextBatch { part, samples, left: samples, place: 0, owed: 0 }
    }
}

impl NextBatch<'static> {
    /// No batch.
    pub fn nothing() -> Self {
        NextBatch::new(PatchedPart::default(), &[])
    }
}

impl Ahead for &mut NextBatch<'_> {
    /// [`TOGETHER`] samples at a time: one by one they took a quarter as many instructions as the product itself.
    #[inline(always)]
    fn ask(&mut self, lines: usize) {
        let inputs = self.part.order.len();
        self.owed += lines;
        while self.owed >= TOGETHER {
            if self.left.is_empty() {
                if self.place + LINE >= inputs {
                    return;
                }
                (self.left, self.place) = (self.samples, self.place + LINE);
            }
            let place = self.place;
            let ask = |sample: u32| prefetch(self.part.pixels, sample as usize * inputs + place);
            if let Some((some, others)) = self.left.split_first_chunk::<TOGETHER>() {
                some.iter().for_each(|sample| ask(*sample));
                (self.left, self.owed) = (others, self.owed - TOGETHER);
            } else {
                self.left.iter().for_each(|sample| ask(*sample));
                (self.left, self.owed) = (&[], self.owed - self.left.len());
            }
        }
    }
}

/// Samples of which a line is asked for together.
const TOGETHER: usize = 4;

/// Bytes that a cache fetches together.
const LINE: usize = 64;

/// `z = scale * W x + b` of a batch, as a hidden layer takes it.
pub struct Forward<'a> {
    pub layer: &'a Layer,
    /// Which outputs, in blocks.
    pub outputs: Range<usize>,
    /// A row a sample; and the inputs that are not zero, of each, if that is worth asking.
    pub inputs: (Matrix<'a>, Option<Members<'a>>),
    /// [`PIXEL`] where the inputs are pixels, 1 elsewhere.
    pub scale: f32,
    pub samples: usize,
    /// Out: the blocks of a matrix of these outputs, a row a sample.
    pub out: &'a mut [Block],
    pub stride: usize,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Forward { layer, outputs, inputs: (a, sets), scale, samples, out, stride } = self;
        let (first, columns) = (outputs.start * LANES, outputs.len());
        let rows = layer.shape.outputs - first;
        let b = Turned { matrix: layer.weights().skip_rows(first), rows };
        let finish = PlusBias { scale, bias: &layer.bias[outputs] };
        let mut to = Sums { out, stride, finish };
        if let Some(sets) = sets {
            let (columns, depth) = (0..columns, layer.shape.inputs);
            let sparse = Sparse { a, rows: samples, sets, b, columns, depth };
            return sparse_product(lanes, &sparse, &mut to);
        }
        let rows = Rows { matrix: a, count: samples };
        turned_product(lanes, rows, (b, columns, blocks(layer.shape.inputs)), &mut to);
    }
}

struct PlusBias<'a> {
    scale: f32,
    bias: &'a [Block],
}

impl Finish for PlusBias<'_> {
    #[inline(always)]
    fn value<L: Lanes>(&self, lanes: L, _row: usize, column: usize, sum: L::F) -> L::F {
        lanes.fma(sum, lanes.splat(self.scale), lanes.load(&self.bias[column]))
    }
}

/// `z = scale * W x + b` of a batch, as the loss takes it: transposed.
///
/// The sums of sixteen samples are put by before their lanes are added up, for then sixteen of an
/// output are added at once and come out side by side, where they belong.
pub struct ForwardLogits<'a, X, A> {
    pub layer: &'a Layer,
    pub inputs: X,
    /// [`PIXEL`] where the inputs are pixels, 1 elsewhere.
    pub scale: f32,
    pub samples: usize,
    /// Room for [`PAIRS`] blocks an output.
    pub sums: &'a mut [Block],
    /// Out: the blocks of a matrix, a row an output, and nothing between its columns.
    pub out: &'a mut [Block],
    pub ahead: A,
}

impl<X: Operand, A: Ahead> Kernel for ForwardLogits<'_, X, A> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let ForwardLogits { layer, inputs, scale, samples, sums, out, mut ahead } = self;
        let weights = (layer.weights(), layer.shape.outputs);
        let bias = &floats(&layer.bias)[..layer.shape.outputs];
        let depth = blocks(layer.shape.inputs);
        for first in (0..samples).step_by(LANES) {
            let sixteen = first..samples.min(first + LANES);
            let mut epilogue = PutBy { first, sums: &mut *sums };
            dot_product(lanes, (inputs, sixteen), weights, depth, &mut ahead, &mut epilogue);
            let out = &mut out[first / LANES * bias.len()..][..bias.len()];
            for ((z, pairs), bias) in out.iter_mut().zip(sums.as_chunks::<PAIRS>().0).zip(bias) {
                let sum = lanes.load(&lanes.sum_halves(pairs));
                lanes.store(lanes.fma(sum, lanes.splat(scale), lanes.splat(*bias)), z);
            }
        }
    }
}

/// The epilogue that keeps halved sums of sixteen samples, `[output][pair]`.
struct PutBy<'a> {
    first: usize,
    sums: &'a mut [Block],
}

impl DotEpilogue for PutBy<'_> {
    #[inline(always)]
    fn finish<L: Lanes, const M: usize, const N: usize>(
        &mut self,
        lanes: L,
        b: usize,
        o: usize,
        sums: [[L::F; N]; M],
    ) {
        // Every instruction set's tiles are of two samples, but for the last of an odd number, which is its own
        // neighbour.
        const { assert!(L::DOT.0 == 2 && M <= 2) };
        let pair = (b - self.first) / 2 % PAIRS;
        let halves = &mut self.sums.as_chunks_mut::<PAIRS>().0[o..][..N];
        for_each_index!(n < N, 10, {
            lanes.halve(sums[0][n], sums[M - 1][n], &mut halves[n][pair]);
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
    /// The first of the columns, in blocks.
    pub first: usize,
    /// In: `z`, out: the layer's output; the blocks of a matrix, a row a sample: some columns of it.
    pub values: &'a mut [Block],
    /// Out: d output / d z. What pads the last columns becomes zero in both.
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
        let Activate { hidden, first, values, slopes, stride, samples, dropout } = self;
        let width = blocks(hidden.units);
        let columns = values.chunks_exact_mut(stride).zip(slopes.chunks_exact_mut(stride));
        let dropout = dropout.filter(|_| hidden.dropout > 0.0);
        for (column, (values, slopes)) in (first..).zip(columns) {
            let used = LANES.min(hidden.units - column * LANES);
            let rows = values.iter_mut().zip(slopes.iter_mut()).take(samples);
            for (sample, (value, slope)) in rows.enumerate() {
                activate(hidden.activation, &mut value.0, &mut slope.0);
                if let Some(Dropout { stream, first }) = &dropout {
                    let block = (first + sample as u64) * width as u64 + column as u64;
                    let kept = kept(stream, block, hidden.dropout);
                    for lane in 0..LANES {
                        value.0[lane] *= kept[lane];
                        slope.0[lane] *= kept[lane];
                    }
                }
                value.0[used..].fill(0.0);
                slope.0[used..].fill(0.0);
            }
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

/// The gradient of some of a layer's inputs, `W^T d`, times the slope there: the `delta` below it.
pub struct InputGradient<'a> {
    /// The weights from these inputs, a row an output.
    pub weights: Matrix<'a>,
    pub outputs: usize,
    pub samples: usize,
    /// The loss's gradient at the layer's output, a row a sample; and the outputs at which it is not zero, of each, if
    /// that is worth asking.
    pub delta: (Matrix<'a>, Option<Members<'a>>),
    /// The blocks of a matrix, a row a sample, a column an input of these.
    pub slopes: &'a [Block],
    /// Out, as `slopes`.
    pub out: &'a mut [Block],
    pub stride: usize,
}

impl Kernel for InputGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let InputGradient { weights, outputs, samples, delta, slopes, out, stride } = self;
        let columns = 0..weights.blocks.len() / weights.stride;
        let mut to = Sums { out, stride, finish: TimesSlope { slopes, stride } };
        let ((a, sets), b, depth) = (delta, weights, outputs);
        if let Some(sets) = sets {
            let sparse = Sparse { a, rows: samples, sets, b, columns, depth };
            return sparse_product(lanes, &sparse, &mut to);
        }
        row_product(lanes, Rows { matrix: a, count: samples }, (b, columns, depth), &mut to);
    }
}

struct TimesSlope<'a> {
    slopes: &'a [Block],
    stride: usize,
}

impl Finish for TimesSlope<'_> {
    #[inline(always)]
    fn value<L: Lanes>(&self, lanes: L, row: usize, column: usize, gradient: L::F) -> L::F {
        let slope = lanes.load(&self.slopes[column * self.stride + row]);
        lanes.flush(lanes.mul(gradient, slope))
    }
}

/// The gradient of a layer's weights from some of its inputs, and their update.
pub struct Learn<'a, X, A> {
    /// The weights from these inputs.
    pub part: LayerPart<'a>,
    /// All inputs of the layer.
    pub inputs: X,
    pub samples: usize,
    /// The loss's gradient at the layer's output, a row a sample.
    pub delta: Matrix<'a>,
    pub rule: Rule,
    pub ahead: A,
}

impl<X: Operand, A: Ahead> Kernel for Learn<'_, X, A> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Learn { part, inputs, samples, delta, rule, mut ahead } = self;
        let LayerPart { shape, stride, columns, weight, velocity } = part;
        let first = columns.start;
        let outer = Outer { a: delta, rows: shape.outputs, b: inputs, columns, depth: samples };
        let rows_ahead = rows_ahead(blocks(shape.inputs) * stride, samples);
        let mut update = Update { rule, first, weight, velocity, stride, rows_ahead };
        outer_product(lanes, &outer, &mut ahead, &mut update);
    }
}

/// The same where many deltas are zero.
pub struct LearnSparse<'a> {
    /// The weights from these inputs.
    pub part: LayerPart<'a>,
    /// All inputs of the layer.
    pub inputs: Matrix<'a>,
    pub samples: usize,
    /// The loss's gradient at the layer's output, a row a sample; and the samples for which it is not zero, of each
    /// output.
    pub delta: (Matrix<'a>, Members<'a>),
    pub rule: Rule,
}

impl Kernel for LearnSparse<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let LearnSparse { part, inputs, samples, delta: (a, sets), rule } = self;
        let LayerPart { shape, stride, columns, weight, velocity } = part;
        let first = columns.start;
        // Sparse tiles are of single rows, each done long before a line has come.
        let rows_ahead = (blocks(shape.inputs) * stride >= FAR_WEIGHTS).then_some(4);
        let mut update = Update { rule, first, weight, velocity, stride, rows_ahead };
        let (rows, b, depth) = (shape.outputs, inputs, samples);
        sparse_outer_product(lanes, &Sparse { a, rows, sets, b, columns, depth }, &mut update);
    }
}

/// Weights of a layer, in blocks, from which on they do not stay in a second-level cache until they are updated again,
/// with their velocities: they are asked for.
const FAR_WEIGHTS: usize = 2048;

/// How many rows ahead of a tile the weights are asked for that it will update, of a layer with so many blocks of
/// them: a tile takes as long to compute as there are samples, and a line as long to come as about sixteen.
///
/// Small layers ask for nothing: they and their velocities stay in the second-level cache from one step to the next.
/// The update of 816 x 784 weights became 20 % faster so, from 8 samples as from 44; rows ahead alone would
/// have cost 5 % of it at 44, and none ahead gained nothing at 8.
fn rows_ahead(weights: usize, samples: usize) -> Option<usize> {
    (weights >= FAR_WEIGHTS).then_some(if samples < LANES { 32 } else { 0 })
}

/// The gradient of each bias, added up in the order of the samples, and its update.
pub struct LearnBiases<'a> {
    pub layer: &'a mut Layer,
    pub samples: usize,
    pub delta: Matrix<'a>,
    pub rule: Rule,
}

impl Kernel for LearnBiases<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let LearnBiases { layer, samples, delta, rule } = self;
        for (block, bias) in layer.bias.iter_mut().enumerate() {
            let mut gradient = Block::ZERO;
            for delta in &delta.blocks[block * delta.stride..][..samples] {
                for lane in 0..LANES {
                    gradient.0[lane] += delta.0[lane];
                }
            }
            rule.step(lanes, bias, lanes.load(&gradient), layer.bias_velocity.get_mut(block));
        }
    }
}

/// A transpose where there may be less than sixteen rows or columns; zero where there is no row.
#[inline(always)]
pub fn transpose_part<L: Lanes>(lanes: L, from: &[Block], to: &mut [Block]) {
    let mut rows = [Block::ZERO; LANES];
    copy(lanes, from, &mut rows);
    if let Some(to) = to.first_chunk_mut() {
        return lanes.transpose(&rows, to);
    }
    let mut columns = [Block::ZERO; LANES];
    lanes.transpose(&rows, &mut columns);
    copy(lanes, &columns, to);
}

/// Copies blocks in registers: a call of the library's function costs as much as a transpose.
#[inline(always)]
pub fn copy<L: Lanes>(lanes: L, from: &[Block], to: &mut [Block]) {
    for (from, to) in from.iter().zip(to) {
        lanes.store(lanes.load(from), to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::patches::Patches;

    #[test]
    fn every_line_of_the_next_batch_is_asked_for_and_then_no_more() {
        for inputs in [1, 63, 64, 65, 784] {
            let images = vec![0; 9 * inputs];
            let patches = Patches::new(&images, [inputs, 1]);
            let mut next = NextBatch::new(patches.part(0..9, &[0; 9]), &[8, 0, 3, 3, 5]);
            let lines = inputs.div_ceil(LINE);
            let mut ahead = &mut next;
            for _ in 0..5 * lines - 1 {
                ahead.ask(1);
            }
            assert_eq!((ahead.left.len(), ahead.place), (1, (lines - 1) * LINE), "{inputs}");
            ahead.ask(1000);
            assert_eq!((ahead.left.len(), ahead.place), (0, (lines - 1) * LINE), "{inputs}");
        }
    }
}
