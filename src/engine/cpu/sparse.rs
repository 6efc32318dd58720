//! Products whose left operand has many zeros, which are passed over one by one.
//!
//! After relu half of a layer's values are zero, and so is half of what comes back to them; half of Fashion-MNIST's
//! pixels are. But which ones is another question for each sample, so that a tile of many rows would have little to pass
//! over. Tiles here are of one row, or of two that go by what either has: 61 % of a first layer's values and 52 % of a
//! sixth's, whose units are on or off for most samples alike.
//!
//! Such a tile reads nearly as much as it multiplies. So the right operand is taken in strips of 64 rows, copied to
//! where they stay in the first-level cache while all rows of the left one pass by; of a row's set a strip is a single
//! word. It changes no bit: the sums go on in the same order, and what is passed over would have added zero.

use std::ops::Range;

use super::dense::{copy, transpose_part};
use super::lanes::{Block, Kernel, LANES, Lanes, blocks, floats, prefetch};
use super::products::{Matrix, OuterEpilogue, call_tile, cut};
use super::rows::{Finish, Sums, Turned};
use super::sets::{Members, Sets, WORD};
use crate::model::{Activation, Hidden};

/// `c[m][n] = sum_k a[k][m] * b[k][n]` over those `k` that are in the set of `m`: `rows` values of `m`, `columns`
/// blocks of `n`, `depth` values of `k`.
pub struct Sparse<'a, B> {
    /// As its products have it: a row an `m`, a column a `k`, if they go to a matrix, and else the other way round.
    pub a: Matrix<'a>,
    pub rows: usize,
    /// Of `k`, one a row.
    pub sets: Members<'a>,
    pub b: B,
    pub columns: Range<usize>,
    pub depth: usize,
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

/// Some columns of 64 rows of the right operand, one after the other.
type Strip = [[Block; WORD]];

/// The most columns of a strip: 20 KiB, which leaves a first-level cache of 32 some room for what passes by (with six
/// of them products took 5 % longer, with four an update did).
pub const WIDEST: usize = 5;

/// What strips are copied from.
pub trait Pack: Copy {
    /// Copies some rows of the columns from `column` on.
    fn pack<L: Lanes>(self, lanes: L, column: usize, rows: Range<usize>, strip: &mut Strip);

    /// Asks for some of the lines of a strip of `N` columns from `column` on, its rows from `row` on.
    fn ask<const N: usize>(self, column: usize, row: usize, lines: Range<usize>);
}

impl Pack for Matrix<'_> {
    #[inline(always)]
    fn pack<L: Lanes>(self, lanes: L, column: usize, rows: Range<usize>, strip: &mut Strip) {
        for (n, to) in strip.iter_mut().enumerate() {
            let from = &self.column(column + n, rows.end)[rows.start..];
            copy(lanes, from, to);
        }
    }

    #[inline(always)]
    fn ask<const N: usize>(self, column: usize, row: usize, lines: Range<usize>) {
        for line in lines {
            let (n, k) = (line / WORD, line % WORD);
            prefetch(self.blocks, (column + n) * self.stride + row + k);
        }
    }
}

impl Pack for Turned<'_> {
    #[inline(always)]
    fn pack<L: Lanes>(self, lanes: L, column: usize, rows: Range<usize>, strip: &mut Strip) {
        for (index, block) in (rows.start / LANES..blocks(rows.end)).enumerate() {
            let from = &self.matrix.column(block, self.rows)[column * LANES..];
            for (from, to) in from.chunks(LANES).zip(strip.iter_mut()) {
                let to = &mut to[index * LANES..][..LANES];
                if let (Some(from), Some(to)) = (from.first_chunk(), to.first_chunk_mut()) {
                    lanes.transpose(from, to);
                } else {
                    transpose_part(lanes, from, to);
                }
            }
        }
    }

    #[inline(always)]
    fn ask<const N: usize>(self, column: usize, row: usize, lines: Range<usize>) {
        for line in lines {
            let block = row / LANES + line / (N * LANES);
            let output = column * LANES + line % (N * LANES);
            prefetch(self.matrix.blocks, block * self.matrix.stride + output);
        }
    }
}

/// Cuts `0..depth` into the rows of strips.
#[inline(always)]
fn strips(depth: usize) -> impl Iterator<Item = Range<usize>> {
    (0..depth).step_by(WORD).map(move |first| first..depth.min(first + WORD))
}

/// A sparse product into a matrix, two rows at a time.
#[inline(always)]
pub fn sparse_product<L: Lanes, B: Pack, E: Finish>(
    lanes: L,
    sparse: &Sparse<'_, B>,
    to: &mut Sums<'_, E>,
) {
    let strip = &mut [[Block::ZERO; WORD]; WIDEST];
    for (column, n) in cut(sparse.columns.len(), L::SPARSE) {
        let (column, strip) = (sparse.columns.start + column, &mut strip[..n]);
        for depth in strips(sparse.depth) {
            sparse.b.pack(lanes, column, depth.clone(), strip);
            let even = sparse.rows & !1;
            for (m, rows) in [(2, 0..even), (1, even..sparse.rows)] {
                let (strip, depth, to) = (&*strip, depth.clone(), &mut *to);
                call_tile!(lanes, (m, n), PairTile::fits::<L>,
                    PairTile (_ _) { sparse, rows, strip, column, depth, to },
                    1: 1 2 3 4 5; 2: 1 2 3 4 5;
                );
            }
        }
    }
}

/// Some rows by a strip of `N` columns, `M` rows at a time.
struct PairTile<'a, const M: usize, const N: usize, S, T> {
    sparse: S,
    rows: Range<usize>,
    strip: &'a Strip,
    column: usize,
    /// The strip's rows.
    depth: Range<usize>,
    to: T,
}

impl PairTile<'_, 0, 0, (), ()> {
    #[inline(always)]
    const fn fits<L: Lanes>(m: usize, n: usize) -> bool {
        m <= 2 && n <= L::SPARSE
    }
}

impl<const M: usize, const N: usize, B: Pack, E: Finish> Kernel
    for PairTile<'_, M, N, &Sparse<'_, B>, &mut Sums<'_, E>>
{
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let PairTile { sparse, rows, strip, column, depth, to } = self;
        let Some(strip) = strip.first_chunk::<N>() else { return };
        let last = depth.end == sparse.depth;
        let (first, count) = (depth.start / LANES, blocks(depth.len()));
        let (next_column, next_row) = if last { (column + N, 0) } else { (column, depth.end) };
        // The rows' values of the strip, side by side: where they lie each would have to be found anew, in a dozen instructions
        // beside its ten multiply-adds (forward through 784 x 512 weights took 64 samples 5 to 8 % longer).
        let mut left = [[Block::ZERO; WORD / LANES]; M];
        for row in rows.step_by(M) {
            // The next strip, of which each tile asks for its share.
            let share = |row: usize| row * N * WORD / sparse.rows;
            sparse.b.ask::<N>(next_column, next_row, share(row)..share(row + M));
            for (index, column) in (first..first + count).enumerate() {
                let values = &sparse.a.blocks[column * sparse.a.stride + row..][..M];
                for m in 0..M {
                    lanes.store(lanes.load(&values[m]), &mut left[m][index % (WORD / LANES)]);
                }
            }
            let mut sums = to.resume::<L, M, N>(lanes, (row, column), depth.start > 0);
            let mut set = 0;
            for m in 0..M {
                set |= sparse.sets.set(row + m)[depth.start / WORD];
            }
            for k in bits(set) {
                for n in 0..N {
                    let right = lanes.load(&strip[n][k]);
                    for m in 0..M {
                        let left = lanes.splat(floats(&left[m])[k]);
                        sums[m][n] = lanes.fma(left, right, sums[m][n]);
                    }
                }
            }
            to.keep(lanes, (row, column), last, sums);
        }
    }
}

/// The bits of a word, in ascending order.
#[inline(always)]
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        // The remainder is none, but tells the compiler that a strip has such a row.
        let bit = word.trailing_zeros() as usize % WORD;
        (word != 0).then(|| {
            word &= word - 1;
            bit
        })
    })
}

/// A sparse product that is handed to an epilogue, row by row.
#[inline(always)]
pub fn sparse_outer_product<L: Lanes, B: Pack, E: OuterEpilogue>(
    lanes: L,
    sparse: &Sparse<'_, B>,
    epilogue: &mut E,
) {
    let strip = &mut [[Block::ZERO; WORD]; WIDEST];
    let waiting = &mut [Block::ZERO; WAITING * WIDEST];
    // Where there is a single strip no sums wait for the next.
    let most = if sparse.depth <= WORD { sparse.rows } else { WAITING };
    for (column, n) in cut(sparse.columns.len(), WIDEST) {
        let (column, strip) = (sparse.columns.start + column, &mut strip[..n]);
        for first in (0..sparse.rows).step_by(most) {
            for depth in strips(sparse.depth) {
                sparse.b.pack(lanes, column, depth.clone(), strip);
                let rows = first..sparse.rows.min(first + most);
                let (strip, waiting, epilogue) = (&*strip, &mut waiting[..], &mut *epilogue);
                call_tile!(lanes, (1, n), RowTile::fits,
                    RowTile (_ _) { sparse, rows, strip, column, depth, waiting, epilogue },
                    1: 1 2 3 4 5;
                );
            }
        }
    }
}

/// Rows whose sums wait while strip after strip is added: 40 KiB of them.
const WAITING: usize = 128;

/// Some rows by a strip of `N` columns, one (`M`) at a time.
struct RowTile<'a, const M: usize, const N: usize, S, E> {
    sparse: S,
    rows: Range<usize>,
    strip: &'a Strip,
    column: usize,
    /// The strip's rows.
    depth: Range<usize>,
    waiting: &'a mut [Block],
    epilogue: E,
}

impl RowTile<'_, 0, 0, (), ()> {
    #[inline(always)]
    const fn fits(m: usize, n: usize) -> bool {
        m == 1 && n <= WIDEST
    }
}

impl<const M: usize, const N: usize, B: Pack, E: OuterEpilogue> Kernel
    for RowTile<'_, M, N, &Sparse<'_, B>, &mut E>
{
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let RowTile { sparse, rows, strip, column, depth, waiting, epilogue } = self;
        let Some(strip) = strip.first_chunk::<N>() else { return };
        let (begun, last) = (depth.start > 0, depth.end == sparse.depth);
        let mut waiting = waiting.as_chunks_mut::<N>().0.iter_mut();
        for row in rows {
            let wait = if begun || !last { waiting.next() } else { None };
            let mut sums = [lanes.splat(0.0); N];
            if begun && let Some(wait) = &wait {
                for n in 0..N {
                    sums[n] = lanes.load(&wait[n]);
                }
            }
            if last {
                epilogue.begin::<1, N>(row, column);
            }
            let left = &sparse.a.column(row / LANES, depth.end)[depth.start..];
            for k in bits(sparse.sets.set(row)[depth.start / WORD]) {
                let Some(left) = left.get(k) else { break };
                let left = lanes.splat(left.0[row % LANES]);
                for n in 0..N {
                    sums[n] = lanes.fma(left, lanes.load(&strip[n][k]), sums[n]);
                }
            }
            if last {
                epilogue.finish::<L, 1, N>(lanes, row, column, [sums]);
            } else if let Some(wait) = wait {
                for n in 0..N {
                    lanes.store(sums[n], &mut wait[n]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dense::{Forward, InputGradient, Learn, LearnSparse, NextBatch, PIXEL};
    use super::super::lanes::Isa;
    use super::super::network::{Layer, Network, stride_of};
    use super::super::sets::Sets;
    use super::super::sgd::Rule;
    use super::*;
    use crate::model::{Architecture, Init, Parameters};
    use crate::random::{Purpose, Stream, symmetric_f32};

    /// The blocks of a matrix, of whose values so many of eight are not zero.
    fn drawn(which: u16, [rows, columns]: [usize; 2], stride: usize, of_eight: u32) -> Vec<Block> {
        let stream = Stream::new(3, Purpose::Init(which), 0);
        let mut matrix = vec![Block::ZERO; blocks(columns) * stride];
        for (row, column) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
            let word = stream.word((row * columns + column) as u64);
            let value = if word % 8 < of_eight { symmetric_f32(word, 1.0) } else { 0.0 };
            matrix[column / LANES * stride + row].0[column % LANES] = value;
        }
        matrix
    }

    /// A layer of drawn weights and velocities.
    fn layer([inputs, outputs]: [usize; 2]) -> Layer {
        let architecture = Architecture { inputs, hidden: Vec::new(), classes: outputs };
        let initial = Parameters::initial(&architecture, Init::Default, 1, 2);
        let mut layer = Network::new(&initial, &[], true).layers.remove(0);
        layer.weight_velocity.clone_from(&layer.weight);
        layer
    }

    #[test]
    fn passing_over_zeros_changes_no_bit() {
        for (samples, inputs, outputs, of_eight) in [
            (1, 1, 2, 8),
            (2, 16, 16, 4),
            (33, 65, 70, 4),
            (64, 64, 64, 0),
            (65, 81, 128, 3),
            (131, 113, 257, 2),
            (200, 300, 83, 5),
        ] {
            for isa in Isa::available() {
                let case = format!("{samples} x {inputs} x {outputs}, {}", isa.name());
                let stride = stride_of(samples);
                let matrix = |blocks| Matrix { blocks, stride };
                let x = drawn(0, [samples, inputs], stride, of_eight);
                let delta = drawn(1, [samples, outputs], stride, of_eight);
                let (x, delta) = (matrix(&x[..]), matrix(&delta[..]));
                let mut active = [Sets::new(samples, inputs), Sets::new(samples, outputs)];
                active[0].find(isa, [x], [samples, inputs]);
                active[1].find(isa, [delta], [samples, outputs]);
                active[1].turn_over(isa, outputs);
                let mut layer = layer([inputs, outputs]);

                let forward = |sets| {
                    let mut out = vec![Block::ZERO; blocks(outputs) * stride];
                    isa.run(Forward {
                        layer: &layer,
                        outputs: 0..blocks(outputs),
                        inputs: (x, sets),
                        scale: PIXEL,
                        samples,
                        out: &mut out,
                        stride,
                    });
                    out
                };
                assert!(forward(Some(active[0].of_rows())) == forward(None), "forward, {case}");

                let slopes = drawn(2, [samples, inputs], stride, 6);
                let gradient = |sets| {
                    let mut out = vec![Block::ZERO; blocks(inputs) * stride];
                    isa.run(InputGradient {
                        weights: layer.weights(),
                        outputs,
                        samples,
                        delta: (delta, sets),
                        slopes: &slopes,
                        out: &mut out,
                        stride,
                    });
                    out
                };
                assert!(gradient(Some(active[1].of_rows())) == gradient(None), "inputs, {case}");

                let rule =
                    Rule { learning_rate: 0.1, momentum: 0.5, nesterov: false, weight_decay: 0.1 };
                let before = (layer.weight.clone(), layer.weight_velocity.clone());
                let part = layer.whole();
                let ahead = &mut NextBatch::nothing();
                isa.run(Learn { part, inputs: x, samples, delta, rule, ahead });
                let dense = (layer.weight.clone(), layer.weight_velocity.clone());
                (layer.weight, layer.weight_velocity) = before;
                let part = layer.whole();
                let delta = (delta, active[1].of_columns());
                isa.run(LearnSparse { part, inputs: x, samples, delta, rule });
                assert!((layer.weight, layer.weight_velocity) == dense, "weights, {case}");
            }
        }
    }
}
