//! Products whose right operand may be larger than a cache, in strips that fit.
//!
//! All the rows of the left operand pass by one strip before the next is begun. The sums wait in the
//! matrix that the product goes to, and go on in the same order: a strip changes no bit.
//!
//! Weights come from memory where a network is larger than the caches, and a tile reads a few lines here and a few
//! there, too few for a processor to see where it is going. So each tile asks for what the next ones will read
//! (816 x 816 weights, 44 samples, on two cores: forward 8 to 13 % faster, their inputs' gradient 5 %, 19 % with
//! 16 samples).

use std::ops::Range;

use super::lanes::{Block, FAR, Kernel, LANES, Lanes, NEAR, Runs, Walk, prefetch_beyond};
use super::products::{
    Matrix, Outer, add_round, call_tile, cut, cut_in_blocks, for_each_index, load, occurs,
};

/// What becomes of the sums of a product that is made in strips, one by one.
pub trait Finish {
    /// Block `column` of row `row` of the result, from its sum.
    fn value<L: Lanes>(&self, lanes: L, row: usize, column: usize, sum: L::F) -> L::F;
}

/// Where a product goes that is made in strips: the blocks of a matrix, which keep the sums between
/// one strip and the next.
pub struct Strips<'a, E> {
    pub out: &'a mut [Block],
    pub stride: usize,
    pub finish: E,
}

/// Rows of a strip of so many columns of the right operand: they take 144 KiB of a second-level cache, where they stay
/// while all the rows of the left one pass by. Whole blocks of them, for `n` up to 3.
///
/// A tile of 8 x 3 reads three lines in 24 multiply-adds, which a second-level cache gives in time: with strips of 18
/// KiB, for the first level, products lost 5 to 9 % to sums that went to memory and back.
const fn strip(n: usize) -> usize {
    2304 / n
}

/// Cuts `0..depth` into strips of so many rows, and says of each whether it is the last.
#[inline(always)]
fn strips(depth: usize, rows: usize) -> impl Iterator<Item = (Range<usize>, bool)> {
    (0..depth)
        .step_by(rows)
        .map(move |first| (first..depth.min(first + rows), first + rows >= depth))
}

impl<E: Finish> Strips<'_, E> {
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
                for_each_index!(m < M, 10, sums[m][n] = lanes.load(&out[m]));
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
                for_each_index!(m < M, 10, {
                    let value = self.finish.value(lanes, row + m, column + n, sums[m][n]);
                    lanes.store(value, &mut out[m]);
                });
            } else {
                for_each_index!(m < M, 10, lanes.store(sums[m][n], &mut out[m]));
            }
        });
    }
}

/// An outer product into a matrix, for a depth that may be large.
#[inline(always)]
pub fn outer_product_in_strips<L: Lanes>(
    lanes: L,
    outer: &Outer<'_, Matrix<'_>>,
    to: &mut Strips<'_, impl Finish>,
) {
    let (rows, columns) = L::OUTER;
    let first = outer.columns.start;
    for (column, n) in cut(outer.columns.len(), columns) {
        for (depth, last) in strips(outer.depth, strip(n)) {
            for (row, m) in cut_in_blocks(outer.rows, rows) {
                let ahead = NextStrip::share(outer, (row / rows, rows), n, last);
                let (to, column, depth) = (&mut *to, first + column, depth.clone());
                call_tile!(lanes, (m, n), StripTile::fits::<L>, StripTile (_) { outer, row, column, depth, last, ahead, to },
                    1: 1 2 3; 2: 1 2 3; 3: 1 2 3; 4: 1 2 3; 5: 1 2 3; 6: 1 2 3; 7: 1 2 3; 8: 1 2 3;
                );
            }
        }
    }
}

/// What a pass of some rows over a strip asks for of the next strip.
struct NextStrip {
    /// These of the strip's columns: all passes together ask for all of them.
    columns: Range<usize>,
    /// Blocks from a row of this strip to that of the next.
    distance: usize,
}

impl NextStrip {
    /// The share of a pass, of so many rows each, over a strip of `n` columns.
    #[inline(always)]
    fn share(
        outer: &Outer<'_, Matrix<'_>>,
        (pass, rows): (usize, usize),
        n: usize,
        last: bool,
    ) -> Self {
        let passes = outer.rows.div_ceil(rows);
        // A single column is a stream that the processor follows by itself.
        let columns = if n > 1 { pass * n / passes..(pass + 1) * n / passes } else { 0..0 };
        // After a column's last strip comes the first of the next few columns.
        let begin = (outer.depth - 1) / strip(n) * strip(n);
        let distance = if last { n * outer.b.stride - begin } else { strip(n) };
        NextStrip { columns, distance }
    }
}

/// A strip of `M` rows and `N` blocks of an outer product.
struct StripTile<'a, const M: usize, const N: usize, T> {
    outer: &'a Outer<'a, Matrix<'a>>,
    row: usize,
    column: usize,
    depth: Range<usize>,
    last: bool,
    ahead: NextStrip,
    to: T,
}

impl StripTile<'_, 0, 0, ()> {
    #[inline(always)]
    const fn fits<L: Lanes>(m: usize, n: usize) -> bool {
        m <= L::OUTER.0 && n <= L::OUTER.1 && occurs(m, L::OUTER.0)
    }
}

impl<const M: usize, const N: usize, E: Finish> Kernel for StripTile<'_, M, N, &mut Strips<'_, E>> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let StripTile { outer, row, column, depth, last, ahead, to } = self;
        let place = (row, column);
        let mut sums = to.resume::<L, M, N>(lanes, place, depth.start > 0);
        let Runs { items, stride } = outer.a.rows_from(row);
        let a = Runs { items: &items[depth.start * stride..], stride };
        let a = Walk::<_, M>::new(a, depth.len());
        for (left, right) in a.zip(outer.b.columns::<N>(column, depth.clone())) {
            for n in 0..N {
                if ahead.columns.contains(&n) {
                    prefetch_beyond::<FAR>(right[n], ahead.distance);
                }
            }
            add_round(lanes, &mut sums, left, load::<L, Matrix<'_>, N>(lanes, right));
        }
        to.keep(lanes, place, last, sums);
    }
}

/// `z[o][b] = sum_i w[o][i] x[i][b]`: `outputs` rows of weights, and the inputs with a row an input,
/// the samples in lanes; `depth` blocks of inputs, `samples` blocks of samples.
pub struct Wide<'a> {
    pub weights: Matrix<'a>,
    pub outputs: usize,
    pub inputs: Matrix<'a>,
    pub depth: usize,
    pub samples: usize,
}

/// Computes a wide product into a matrix with a row an output.
///
/// A dot product reads a vector of samples for every eight multiply-adds; this one a broadcast
/// number of the weights for three, and its vectors from the first-level cache.
#[inline(always)]
pub fn wide_product<L: Lanes>(lanes: L, wide: &Wide<'_>, to: &mut Strips<'_, impl Finish>) {
    let (mut rows, mut columns) = L::OUTER;
    if rows == 8 && (9..=10).contains(&wide.outputs) {
        (rows, columns) = (10, 2); // ten classes in one tile
    }
    for (column, n) in cut(wide.samples, columns) {
        for (depth, last) in strips(wide.depth * LANES, strip(n)) {
            for (row, m) in cut_in_blocks(wide.outputs, rows) {
                let (to, depth) = (&mut *to, depth.clone());
                call_tile!(lanes, (m, n), WideTile::fits::<L>, WideTile (_ _) { wide, row, column, depth, last, to },
                    1: 1 2 3; 2: 1 2 3; 3: 1 2 3; 4: 1 2 3; 5: 1 2 3; 6: 1 2 3; 7: 1 2 3; 8: 1 2 3;
                    9: 1 2; 10: 1 2;
                );
            }
        }
    }
}

/// A strip of `M` outputs of `N` blocks of samples.
struct WideTile<const M: usize, const N: usize, W, T> {
    wide: W,
    row: usize,
    column: usize,
    depth: Range<usize>,
    last: bool,
    to: T,
}

impl WideTile<0, 0, (), ()> {
    #[inline(always)]
    const fn fits<L: Lanes>(m: usize, n: usize) -> bool {
        m * n <= L::OUTER.0 * L::OUTER.1 && n <= L::OUTER.1 && occurs(m, L::OUTER.0)
    }
}

impl<const M: usize, const N: usize, E: Finish> Kernel
    for WideTile<M, N, &Wide<'_>, &mut Strips<'_, E>>
{
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let WideTile { wide, row, column, depth, last, to } = self;
        let place = (row, column);
        let mut sums = to.resume::<L, M, N>(lanes, place, depth.start > 0);
        let Matrix { blocks, stride } = wide.weights;
        let items = &blocks[depth.start / LANES * stride + row..];
        let mut inputs = wide.inputs.columns::<N>(column, depth.clone());
        for weights in Walk::<_, M>::new(Runs { items, stride }, depth.len() / LANES) {
            // The next tile's, of the same inputs.
            for weight in weights {
                prefetch_beyond::<NEAR>(weight, M);
            }
            for lane in 0..LANES {
                let Some(inputs) = inputs.next() else { break };
                let mut left = [0.0; M];
                for m in 0..M {
                    left[m] = weights[m].0[lane];
                }
                let right = load::<L, Matrix<'_>, N>(lanes, inputs);
                add_round(lanes, &mut sums, &left, right);
            }
        }
        to.keep(lanes, place, last, sums);
    }
}
