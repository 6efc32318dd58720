//! Products whose rows are a batch's samples: forward, and the gradient of a layer's inputs.
//!
//! `c[m][n] = sum_k a[m][k] b[k][n]`, lanes along `n`. A tile holds the sums of some samples and takes one line of `b` after
//! the other, times a number of each sample. So no sample is padded and no operand transposed in memory, whatever the batch.
//!
//! - Back to the inputs `b` is the weights as they lie, a row an output: [`row_product`].
//! - Forward it is the weights with rows and columns exchanged: [`turned_product`] turns squares of sixteen over in
//!   registers, by shuffles that are made while multiply-adds are.
//!
//! Both walk through the weights in the order of memory, which a processor's prefetchers follow. That is what a small batch
//! waits for: a core has some 24 lines under way that it asks for itself, 15 GB/s, and its prefetchers have more. (Forward
//! was a product of rows with rows, in pieces of 512 bytes, a page from each other: through four layers of 1008 it took
//! 10 samples half as long again.)
//!
//! Each sum is one chain of fused multiply-adds in ascending order, however a product is cut.

use std::ops::Range;
use std::slice;

use super::dense::copy;
use super::lanes::{Block, Kernel, LANES, Lanes, Runs, Walk, blocks, prefetch};
use super::products::{Matrix, call_tile, cut, for_each_index, load, runs};

/// What becomes of the sums of a product, one by one.
pub trait Finish {
    /// Block `column` of row `row` of the result, from its sum.
    fn value<L: Lanes>(&self, lanes: L, row: usize, column: usize, sum: L::F) -> L::F;
}

/// Where a product goes: the blocks of a matrix, which keep the sums while they wait for the next strip.
pub struct Sums<'a, E> {
    pub out: &'a mut [Block],
    pub stride: usize,
    pub finish: E,
}

impl<E: Finish> Sums<'_, E> {
    /// The sums of a tile so far.
    #[inline(always)]
    pub fn resume<L: Lanes, const M: usize, const N: usize>(
        &self,
        lanes: L,
        (row, column): (usize, usize),
        begun: bool,
    ) -> [[L::F; N]; M] {
        let mut sums = [[lanes.splat(0.0); N]; M];
        if begun {
            for_each_index!(n < N, 6, {
                let out = &self.out[(column + n) * self.stride + row..][..M];
                for_each_index!(m < M, 20, sums[m][n] = lanes.load(&out[m]));
            });
        }
        sums
    }

    /// Keeps the sums of a tile, or what they come to.
    #[inline(always)]
    pub fn keep<L: Lanes, const M: usize, const N: usize>(
        &mut self,
        lanes: L,
        (row, column): (usize, usize),
        last: bool,
        sums: [[L::F; N]; M],
    ) {
        for_each_index!(n < N, 6, {
            let out = &mut self.out[(column + n) * self.stride + row..][..M];
            if last {
                for_each_index!(m < M, 20, {
                    let value = self.finish.value(lanes, row + m, column + n, sums[m][n]);
                    lanes.store(value, &mut out[m]);
                });
            } else {
                for_each_index!(m < M, 20, lanes.store(sums[m][n], &mut out[m]));
            }
        });
    }
}

/// The left operand: its first so many rows, a row a sample.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub matrix: Matrix<'a>,
    pub count: usize,
}

impl<'a> Rows<'a> {
    /// Sixteen numbers of each of `M` rows from `row` on, and sixteen more, through some blocks of columns.
    #[inline(always)]
    fn walk<const M: usize>(self, row: usize, columns: Range<usize>) -> Walk<'a, Block, M> {
        let Matrix { blocks, stride } = self.matrix;
        Walk::new(Runs { items: &blocks[columns.start * stride + row..], stride }, columns.len())
    }
}

/// Adds a line of each column of the right operand, times number `k` of each row.
#[inline(always)]
fn add_lines<L: Lanes, const M: usize, const N: usize>(
    lanes: L,
    sums: &mut [[L::F; N]; M],
    (rows, k): (&[Block; M], usize),
    lines: [L::F; N],
) {
    for_each_index!(m < M, 20, {
        let left = lanes.splat(rows[m].0[k]);
        for n in 0..N {
            sums[m][n] = lanes.fma(left, lines[n], sums[m][n]);
        }
    });
}

/// Computes some blocks of columns of a product by a matrix with a row a `k`, of which there are `depth`.
#[inline(always)]
pub fn row_product<L: Lanes>(
    lanes: L,
    a: Rows<'_>,
    (b, columns, depth): (Matrix<'_>, Range<usize>, usize),
    to: &mut Sums<'_, impl Finish>,
) {
    for (first, m, count) in runs(a.count, L::ROWS.0) {
        for (column, n) in cut(columns.len(), row_columns::<L>(m)) {
            let (rows, column, to) = (first..first + m * count, columns.start + column, &mut *to);
            call_tile!(lanes, (m, n), RowTile::fits::<L>, RowTile (_) { a, rows, b, column, depth, to },
                1: 1 2 3; 2: 1 2 3; 3: 1 2 3; 4: 1 2 3; 5: 1 2 3; 6: 1 2 3; 7: 1 2 3; 8: 1 2 3;
                9: 1 2; 10: 1 2; 11: 1 2; 12: 1 2; 13: 1 2;
            );
        }
    }
}

/// Lines of a page, at whose end a processor's prefetchers stop: so far ahead the first rows ask. (The inputs' gradient of
/// 1008 x 1008 weights took 13 to 24 samples 10 % longer without, as long with 32 or 160 lines.)
const PAGE: usize = 64;

/// The most blocks of columns in a tile of so many rows: so many that their sums fill the registers, and three at most.
#[inline(always)]
const fn row_columns<L: Lanes>(rows: usize) -> usize {
    match (L::ROWS, rows) {
        ((_, 1), _) => 1,
        (_, ..=8) => 3,
        ((_, columns), _) => columns,
    }
}

/// Some rows of `N` blocks of columns of a product, `M` at a time.
struct RowTile<'a, const M: usize, const N: usize, T> {
    a: Rows<'a>,
    rows: Range<usize>,
    b: Matrix<'a>,
    column: usize,
    depth: usize,
    to: T,
}

impl RowTile<'_, 0, 0, ()> {
    #[inline(always)]
    const fn fits<L: Lanes>(m: usize, n: usize) -> bool {
        m <= L::ROWS.0 && n <= row_columns::<L>(m)
    }
}

impl<const M: usize, const N: usize, E: Finish> Kernel for RowTile<'_, M, N, &mut Sums<'_, E>> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let RowTile { a, rows, b, column, depth, to } = self;
        for row in rows.step_by(M) {
            let mut sums = [[lanes.splat(0.0); N]; M];
            let mut lines = b.columns::<N>(column, 0..depth);
            for rows in a.walk::<M>(row, 0..blocks(depth)) {
                for k in 0..LANES {
                    let Some(lines) = lines.next() else { break };
                    if row == 0 {
                        for n in 0..N {
                            prefetch(slice::from_ref(lines[n]), PAGE);
                        }
                    }
                    add_lines(lanes, &mut sums, (rows, k), load::<L, Matrix<'_>, N>(lanes, lines));
                }
            }
            to.keep(lanes, (row, column), true, sums);
        }
    }
}

/// A matrix whose columns are taken for rows: weights, of which a layer's inputs are the rows then.
#[derive(Clone, Copy)]
pub struct Turned<'a> {
    pub matrix: Matrix<'a>,
    /// Rows of the matrix.
    pub rows: usize,
}

impl<'a> Turned<'a> {
    /// Sixteen lines of a block of columns as they lie: before they are turned over. Beyond the last row there is what
    /// `zeros` has.
    #[inline(always)]
    fn square<'b, L: Lanes>(
        self,
        lanes: L,
        column: usize,
        k: usize,
        zeros: &'b mut [Block; LANES],
    ) -> &'b [Block; LANES]
    where
        'a: 'b,
    {
        let lines = &self.matrix.column(k, self.rows)[column * LANES..];
        if let Some(lines) = lines.first_chunk() {
            return lines;
        }
        copy(lanes, lines, zeros);
        zeros
    }
}

/// Squares that are turned over for all rows before the next are begun: that many streams of weights.
const STRIP: usize = 8;

/// Blocks of columns from a square to the one that it asks for, in each of these streams (with 1 or 4 products took as
/// long).
const AHEAD: usize = 2;

/// Computes some blocks of columns of a product by a matrix that is turned over on the way, through `depth` squares.
#[inline(always)]
pub fn turned_product<L: Lanes>(
    lanes: L,
    a: Rows<'_>,
    (b, columns, depth): (Turned<'_>, usize, usize),
    to: &mut Sums<'_, impl Finish>,
) {
    let strip = &mut [[Block::ZERO; LANES]; STRIP];
    let end = depth;
    for first in (0..end).step_by(STRIP) {
        for column in 0..columns {
            for (row, m, count) in runs(a.count, L::TURNED) {
                let (rows, depth) = (row..row + m * count, first..end.min(first + STRIP));
                let (strip, to) = (&mut *strip, &mut *to);
                call_tile!(lanes, m, TurnedTile::fits::<L>,
                    TurnedTile (_) { a, rows, b, column, columns, depth, end, strip, to },
                    1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20
                );
            }
        }
    }
}

/// Columns that are turned over at once.
const FOURS: usize = LANES / 4;

/// Some rows of one block of columns through one strip, `M` at a time.
struct TurnedTile<'a, const M: usize, T> {
    a: Rows<'a>,
    rows: Range<usize>,
    b: Turned<'a>,
    column: usize,
    /// Of the product.
    columns: usize,
    /// The strip's squares.
    depth: Range<usize>,
    /// Of all strips.
    end: usize,
    /// Filled by the first rows, for all that follow.
    strip: &'a mut [[Block; LANES]; STRIP],
    to: T,
}

impl TurnedTile<'_, 0, ()> {
    #[inline(always)]
    const fn fits<L: Lanes>(m: usize) -> bool {
        m <= L::TURNED
    }
}

impl<const M: usize, E: Finish> Kernel for TurnedTile<'_, M, &mut Sums<'_, E>> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let TurnedTile { a, rows, b, column, columns, depth, end, strip, to } = self;
        let (begun, last) = (depth.start > 0, depth.end == end);
        // From the last columns it is the first of the next strip.
        let next = if column + AHEAD < columns { 0 } else { STRIP * b.matrix.stride };
        let ahead = (column + AHEAD) % columns * LANES + next - column * LANES;
        let zeros = &mut [Block::ZERO; LANES];
        let more = a.count > M;
        for row in rows.step_by(M) {
            let place = (row, column);
            let mut sums = to.resume::<L, M, 1>(lanes, place, begun);
            for ((strip, k), rows) in
                strip.iter_mut().zip(depth.clone()).zip(a.walk::<M>(row, depth.clone()))
            {
                if row == 0 {
                    let lines = b.square(lanes, column, k, zeros);
                    for k in 0..LANES {
                        prefetch(lines, ahead + k);
                    }
                    for_each_index!(four < FOURS, 4, {
                        let turned = lanes.four_columns(lines, four);
                        for j in 0..4 {
                            let k = 4 * four + j;
                            if more {
                                lanes.store(turned[j], &mut strip[k]);
                            }
                            add_lines(lanes, &mut sums, (rows, k), [turned[j]]);
                        }
                    });
                } else {
                    for k in 0..LANES {
                        add_lines(lanes, &mut sums, (rows, k), [lanes.load(&strip[k])]);
                    }
                }
            }
            to.keep(lanes, place, last, sums);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::dense::{Forward, InputGradient, PIXEL};
    use super::super::lanes::Isa;
    use super::super::network::{Network, stride_of};
    use super::*;
    use crate::model::{Architecture, Init, Parameters};
    use crate::random::{Purpose, Stream, symmetric_f32};

    /// The blocks of a drawn matrix.
    fn drawn(which: u16, [rows, columns]: [usize; 2], stride: usize) -> Vec<Block> {
        let stream = Stream::new(3, Purpose::Init(which), 0);
        let mut matrix = vec![Block::ZERO; blocks(columns) * stride];
        for (row, column) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
            let word = stream.word((row * columns + column) as u64);
            matrix[column / LANES * stride + row].0[column % LANES] = symmetric_f32(word, 1.0);
        }
        matrix
    }

    /// Each tile has at least one number of rows that is its own.
    #[test]
    fn the_samples_beside_it_change_no_bit_of_a_samples_result() {
        for (most, inputs, outputs) in [(45, 150, 37), (45, 33, 163), (3, 1, 1), (2, 16, 16)] {
            let architecture = Architecture { inputs, hidden: Vec::new(), classes: outputs };
            let initial = Parameters::initial(&architecture, Init::Default, 1, 2);
            let layer = &Network::new(&initial, &[], false).layers[0];
            let stride = stride_of(most);
            let x = drawn(0, [most, inputs], stride);
            let delta = drawn(1, [most, outputs], stride);
            let slopes = drawn(2, [most, inputs], stride);
            for isa in Isa::available() {
                // Both products of so many samples, from one on.
                let both = |first: usize, samples: usize| {
                    let matrix = |blocks| Matrix { blocks, stride }.skip_rows(first);
                    let mut z = vec![Block::ZERO; blocks(outputs) * stride];
                    isa.run(Forward {
                        layer,
                        outputs: 0..blocks(outputs),
                        inputs: (matrix(&x), None),
                        scale: PIXEL,
                        samples,
                        out: &mut z,
                        stride,
                    });
                    let mut gradient = vec![Block::ZERO; blocks(inputs) * stride];
                    isa.run(InputGradient {
                        weights: layer.weights(),
                        outputs,
                        samples,
                        delta: (matrix(&delta), None),
                        slopes: &slopes[first..],
                        out: &mut gradient,
                        stride,
                    });
                    let rows = |out: Vec<Block>| -> Vec<Vec<Block>> {
                        let row = |row| out.iter().skip(row).step_by(stride).copied().collect();
                        (0..samples).map(row).collect()
                    };
                    [rows(z), rows(gradient)]
                };
                let alone: Vec<_> = (0..most).map(|sample| both(sample, 1)).collect();
                for samples in 1..=most {
                    let [z, gradient] = both(0, samples);
                    let case = format!("{samples} x {inputs} x {outputs}, {}", isa.name());
                    for (sample, [alone_z, alone_gradient]) in alone[..samples].iter().enumerate() {
                        assert!(z[sample] == alone_z[0], "forward, sample {sample} of {case}");
                        assert!(gradient[sample] == alone_gradient[0], "back, {sample} of {case}");
                    }
                }
            }
        }
    }
}
