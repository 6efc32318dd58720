//! A layer's way forward where a batch fills the lanes with samples: by a wide product, or by a sparse one.

use std::ops::Range;

use super::batch::forward_work;
use super::dense::{ForwardSparse, ForwardWide, Transpose};
use super::lanes::{Block, Isa, LANES, blocks};
use super::network::Layer;
use super::probe::{Operation, Probe};
use super::products::Matrix;
use super::sets::Sets;
use super::team::Team;
use crate::engine::profile::Work;
use crate::model::{Activation, Hidden, Shape};

/// What a wide product reads and writes, a row an input and a row an output.
pub struct WideBatch {
    inputs_t: Vec<Block>,
    z_t: Vec<Block>,
}

impl WideBatch {
    /// Room for a layer's inputs and outputs on up to `capacity` samples.
    pub fn new(shape: Shape, capacity: usize) -> Self {
        let transposed = |rows| vec![Block::ZERO; blocks(capacity) * transposed_stride(rows)];
        WideBatch { inputs_t: transposed(shape.inputs), z_t: transposed(shape.outputs) }
    }

    /// A layer forward by a wide product; the layer with its number, from 1.
    pub fn forward(
        &mut self,
        (isa, team): (Isa, Team),
        (layer, number): (&Layer, usize),
        (inputs, scale): (Matrix<'_>, f32),
        samples: usize,
        (out, out_stride): (&mut [Block], usize),
        probe: &mut impl Probe,
    ) {
        let Shape { inputs: columns, outputs } = layer.shape;
        let (inputs_stride, stride) = (transposed_stride(columns), transposed_stride(outputs));
        self.transpose_inputs(isa, inputs, [samples, columns]);
        probe.lap(Operation::Transpose, number, || Work::moving(8 * samples * columns));
        let (inputs_t, z_t) = (&self.inputs_t[..], &mut self.z_t[..blocks(samples) * stride]);
        let run = |inputs, samples, outputs: Range<usize>, out: &mut [Block]| {
            let inputs = Matrix { blocks: inputs, stride: inputs_stride };
            isa.run(ForwardWide { layer, outputs, inputs, scale, samples, out, stride });
        };
        if team.is_alone() {
            run(inputs_t, samples, 0..outputs, z_t);
        } else if samples <= LANES {
            let part = team.part(outputs);
            team.each(z_t[..outputs].chunks_mut(part).enumerate(), |(index, out)| {
                let first = index * part;
                run(inputs_t, samples, first..first + out.len(), out);
            });
        } else {
            // As wide as can be, for tiles are.
            let width = blocks(samples).div_ceil(team.threads());
            let parts = inputs_t.chunks(width * inputs_stride).zip(z_t.chunks_mut(width * stride));
            team.each(parts.zip((0..samples).step_by(width * LANES)), |((inputs, out), first)| {
                let samples = (samples - first).min(width * LANES);
                run(inputs, samples, 0..outputs, out);
            });
        }
        probe.lap(Operation::Forward, number, || forward_work(layer, inputs, samples));
        isa.run(Transpose {
            from: Matrix { blocks: &self.z_t, stride },
            rows: outputs,
            columns: samples,
            to: out,
            stride: out_stride,
        });
        probe.lap(Operation::Transpose, number, || Work::moving(8 * samples * outputs));
    }

    /// The same by a sparse product of inputs that are zero outside of their sets: bit by bit.
    pub fn forward_sparse(
        &mut self,
        (isa, team): (Isa, Team),
        (layer, number): (&Layer, usize),
        (inputs, scale, sets): (Matrix<'_>, f32, &Sets),
        samples: usize,
        (out, stride): (&mut [Block], usize),
        probe: &mut impl Probe,
    ) {
        let Shape { inputs: columns, outputs } = layer.shape;
        self.transpose_inputs(isa, inputs, [samples, columns]);
        probe.lap(Operation::Transpose, number, || Work::moving(8 * samples * columns));
        let inputs = Matrix { blocks: &self.inputs_t, stride: transposed_stride(columns) };
        let given = (inputs, sets.of_rows());
        let width = team.part(blocks(outputs));
        team.each(out.chunks_mut(width * stride).enumerate(), |(index, out)| {
            let first = index * width;
            let outputs = first..blocks(outputs).min(first + width);
            isa.run(ForwardSparse { layer, outputs, inputs: given, scale, samples, out, stride });
        });
        let bytes = 4 * (samples * columns + outputs * (columns + samples));
        let work = || Work::product([sets.count(), outputs, 1], bytes);
        probe.lap(Operation::Forward, number, work);
    }

    fn transpose_inputs(&mut self, isa: Isa, from: Matrix<'_>, [rows, columns]: [usize; 2]) {
        let (to, stride) = (&mut self.inputs_t[..], transposed_stride(columns));
        isa.run(Transpose { from, rows, columns, to, stride });
    }
}

/// The stride of a transposed matrix: whole blocks of rows, and odd, as
/// [`stride_of`](super::network::stride_of) says why.
pub fn transposed_stride(rows: usize) -> usize {
    rows.next_multiple_of(LANES) + 1
}

/// Whether a layer goes forward by a wide product: where the lanes are so well filled with samples, and it is so large,
/// that this makes up for transposing its inputs and outputs. (With three quarters filled for the rule, 38 samples
/// took 12 % longer a step, 26 took 7 %, 24 and 54 as long; and 12 to 15 samples are as fast by dot products.)
///
/// And where its inputs have many zeros, for a sparse product adds in the same order: which of both it is may then be
/// decided batch by batch.
///
/// This changes the order of the additions, so it may depend on nothing but the trial's own config.
pub fn is_wide(capacity: usize, shape: Shape, sparse: bool) -> bool {
    let filled = capacity >= LANES && 7 * capacity.next_multiple_of(LANES) <= 8 * capacity;
    (filled || (sparse && capacity >= SPARSE_FROM)) && shape.inputs.min(shape.outputs) >= 4 * LANES
}

/// Samples from which on it pays to pass over zeros (24 took as long either way, 32 took 5 % less a step).
pub const SPARSE_FROM: usize = 32;

/// Whether products of a layer's values or deltas are made by sparse tiles: where five eighths of them at most are not zero.
pub fn is_sparse(active: &Sets, samples: usize, units: usize) -> bool {
    samples >= SPARSE_FROM && 8 * active.count() <= 5 * samples * units
}

/// Whether many of a layer's values may be zero, and its slopes with them.
pub fn has_zeros(layer: &Hidden) -> bool {
    layer.activation == Activation::Relu || layer.dropout > 0.0
}
