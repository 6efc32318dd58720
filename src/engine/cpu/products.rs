//! The two matrix products of training that read a batch's inputs as they lie, with what follows them fused into their
//! epilogues.
//!
//! - [`dot_product`], forward to a few classes: `z[b][o] = sum_i x[b][i] w[o][i]`, lanes along what is summed;
//! - [`outer_product`], the weights' gradient: `c[m][n] = sum_k a[k][m] b[k][n]`, lanes along `n`.
//!
//! Lanes run along a layer's inputs, so ten classes fill registers as well as sixteen would, and one
//! layout of the weights serves all products without being transposed or packed (those of hidden layers that have
//! a batch's [`rows`](super::rows) for theirs are the rest of them). A result never depends on how the matrix was
//! cut into tiles: each is one chain of fused multiply-adds in ascending order (for the dot product,
//! sixteen chains and `fold`'s tree).

use std::array;
use std::ops::Range;

use super::lanes::{Block, Kernel, LANES, Lanes, Runs, Walk, floats};

/// A matrix, sixteen columns at a time, the rows side by side: columns `16 c ..` of row `r` are
/// `blocks[c * stride + r]`. A row is a sample, or an output of a layer's weights.
///
/// A tile reads some rows at constant distances from one address, and a pass over all the rows of a
/// few columns is a walk through memory in order, which a processor's prefetchers follow.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    pub blocks: &'a [Block],
    /// Blocks from sixteen columns to the next: the rows, or one more.
    pub stride: usize,
}

impl<'a> Matrix<'a> {
    /// The matrix without its first rows.
    #[inline(always)]
    pub fn skip_rows(self, row: usize) -> Self {
        Matrix { blocks: &self.blocks[row..], ..self }
    }

    /// Its columns, for a walk through some rows of each.
    #[inline(always)]
    pub fn runs(self) -> Runs<'a, Block> {
        Runs { items: self.blocks, stride: self.stride }
    }

    /// Its rows, for a walk through single columns from one on, of a block.
    #[inline(always)]
    pub fn rows_from(self, column: usize) -> Runs<'a, f32> {
        let first = column / LANES * self.stride * LANES + column % LANES;
        Runs { items: &floats(self.blocks)[first..], stride: LANES }
    }

    /// Its first rows in a block of columns.
    #[inline(always)]
    pub fn column(self, column: usize, rows: usize) -> &'a [Block] {
        &self.blocks[column * self.stride..][..rows]
    }

    /// Blocks of columns `column .. column + N`, through some rows.
    #[inline(always)]
    pub fn columns<const N: usize>(
        self,
        column: usize,
        rows: Range<usize>,
    ) -> impl Iterator<Item = [&'a Block; N]> {
        let from = self.skip_rows(rows.start);
        let columns: [&[Block]; N] = array::from_fn(|n| from.column(column + n, rows.len()));
        (0..rows.len()).map(move |k| array::from_fn(|n| &columns[n][k]))
    }
}

/// What a product reads: rows and columns of sixteen values, floats or bytes.
pub trait Operand: Copy + Send + Sync {
    /// Where sixteen values lie.
    type Item: Copy;
    /// Bytes of a value.
    const BYTES: usize;
    /// The most columns in a tile, each of which has rounds of its own if this is one.
    const COLUMNS: usize;

    fn load<L: Lanes>(lanes: L, item: Self::Item) -> L::F;

    /// One part of them, for registers that do not hold all sixteen.
    fn load_part<L: Lanes>(lanes: L, item: Self::Item, part: usize) -> L::Part;

    /// Whether rows are gone along one by one, so that each passes over what is zero in it.
    const PASSES_OVER: bool = false;

    /// A row, through `depth` blocks of columns, not those that it passes over; each round with its run of the other
    /// operand.
    #[inline(always)]
    fn along<'b, const M: usize>(
        self,
        row: usize,
        depth: usize,
        with: Runs<'b, Block>,
    ) -> impl Iterator<Item = ([Self::Item; 1], &'b [Block; M])> {
        self.along_all(row, depth, with)
    }

    /// Rows `row .. row + N`, through all blocks of columns.
    fn along_all<'b, const N: usize, const M: usize>(
        self,
        row: usize,
        depth: usize,
        with: Runs<'b, Block>,
    ) -> impl Iterator<Item = ([Self::Item; N], &'b [Block; M])>;

    /// Strips of `N` blocks of columns, each through `depth` rows where it is not all zero; each round with its run
    /// of the other operand.
    fn down<'b, const N: usize, const M: usize>(
        self,
        columns: Range<usize>,
        depth: usize,
        with: Runs<'b, f32>,
    ) -> impl Iterator<Item = impl Iterator<Item = ([Self::Item; N], &'b [f32; M])>>;

    /// How many values of so many rows and columns there are to multiply.
    fn multiplied(self, rows: usize, columns: usize) -> usize;
}

impl<'a> Operand for Matrix<'a> {
    type Item = &'a Block;
    const BYTES: usize = 4;
    const COLUMNS: usize = 3;

    #[inline(always)]
    fn load<L: Lanes>(lanes: L, item: &Block) -> L::F {
        lanes.load(item)
    }

    #[inline(always)]
    fn load_part<L: Lanes>(lanes: L, item: &Block, part: usize) -> L::Part {
        lanes.load_part(item, part)
    }

    #[inline(always)]
    fn along_all<'b, const N: usize, const M: usize>(
        self,
        row: usize,
        depth: usize,
        with: Runs<'b, Block>,
    ) -> impl Iterator<Item = ([Self::Item; N], &'b [Block; M])> {
        let rows = Walk::new(self.skip_rows(row).runs(), depth).map(<[Block; N]>::each_ref);
        rows.zip(Walk::new(with, depth))
    }

    #[inline(always)]
    fn down<'b, const N: usize, const M: usize>(
        self,
        columns: Range<usize>,
        depth: usize,
        with: Runs<'b, f32>,
    ) -> impl Iterator<Item = impl Iterator<Item = ([Self::Item; N], &'b [f32; M])>> {
        let strip = move |column| self.columns(column, 0..depth).zip(Walk::new(with, depth));
        columns.step_by(N).map(strip)
    }

    fn multiplied(self, rows: usize, columns: usize) -> usize {
        rows * columns
    }
}

/// The pixels of the batch after this one: their cache lines are asked for a few at a time, between
/// tiles, because a burst of requests would stop the core until they are answered.
pub trait Ahead {
    /// Called once a tile.
    fn ask(&mut self, lines: usize);
}

/// Cache lines that a tile asks for, which is a `part` of a `whole` product of `samples` with `columns` blocks of
/// inputs each: so much of as many samples' pixels. All tiles together ask for all of them, evenly.
const fn lines_of_tile((samples, columns): (usize, usize), part: usize, whole: usize) -> usize {
    const BLOCKS_A_LINE: usize = 64 / LANES;
    (samples * columns.div_ceil(BLOCKS_A_LINE) * part).div_ceil(whole)
}

/// Repeats an expression for `$i` from 0 to `$count`, each time with a constant, where the count is known
/// to be 3, 4, 6, 10, 16 or 20 at most.
///
/// A loop with a large body is not unrolled, and one index that is not a constant keeps the whole
/// array in memory instead of registers. The conditions are `const`, so that rustc hands LLVM only the
/// repeats that a tile has. A branch is left of each of the others, which is why the most is told.
macro_rules! for_each_index {
    ($i:ident < $count:path, 3, $body:expr) => { for_each_index!(@ $i, $count, $body, 0 1 2) };
    ($i:ident < $count:path, 4, $body:expr) => { for_each_index!(@ $i, $count, $body, 0 1 2 3) };
    ($i:ident < $count:path, 6, $body:expr) => {
        for_each_index!(@ $i, $count, $body, 0 1 2 3 4 5)
    };
    ($i:ident < $count:path, 10, $body:expr) => {
        for_each_index!(@ $i, $count, $body, 0 1 2 3 4 5 6 7 8 9)
    };
    ($i:ident < $count:path, 16, $body:expr) => {
        for_each_index!(@ $i, $count, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    ($i:ident < $count:path, 20, $body:expr) => {
        for_each_index!(@ $i, $count, $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19)
    };
    (@ $i:ident, $count:path, $body:expr, $($index:literal)*) => {
        const { assert!($count <= [$($index),*].len()) };
        $(if const { $index < $count } {
            let $i = $index;
            $body;
        })*
    };
}
pub(super) use for_each_index;

/// Cuts `0..total` into ranges of nearly equal length, `most` at the most: `(start, length)`.
#[inline(always)]
pub fn cut(total: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let pieces = total.div_ceil(most).max(1);
    let (short, longer) = (total / pieces, total % pieces);
    (0..pieces).map(move |i| (i * short + i.min(longer), short + usize::from(i < longer)))
}

/// The ranges of [`cut`], those of one length together: `(start, length, count)`.
#[inline(always)]
pub fn runs(total: usize, most: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let pieces = total.div_ceil(most).max(1);
    let (short, longer) = (total / pieces, total % pieces);
    let both = [(0, short + 1, longer), (longer * (short + 1), short, pieces - longer)];
    both.into_iter().filter(|(_, _, count)| *count > 0)
}

/// Cuts `0..total` into ranges of `most` and less, none of which crosses from one block of sixteen into
/// the next: powers of two, or else of nearly equal length.
#[inline(always)]
pub fn cut_in_blocks(total: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let left = (LANES - at % LANES).min(total - at);
        let size = match left {
            0 => return None,
            _ if most.is_power_of_two() => most.min(1 << left.ilog2()),
            _ => left.div_ceil(left.div_ceil(most)),
        };
        at += size;
        Some((at - size, size))
    })
}

/// Whether [`cut_in_blocks`] makes ranges of this size: tiles of others are not compiled, for tiles are
/// most of the time that this crate takes to build. Nine and ten are classes.
#[inline(always)]
pub const fn occurs(size: usize, most: usize) -> bool {
    size > 8 || !most.is_power_of_two() || size.is_power_of_two()
}

/// Calls `$tile` as a kernel with the values of `$size` as its constants: of each `$m` the `$n`, or `$m` alone.
///
/// `$fits` says which of them there are.
macro_rules! call_tile {
    ($lanes:expr, $size:expr, $fits:expr, $tile:ident $types:tt $fields:tt,
        $($m:literal: $($n:literal)*;)*) => {
        match $size {
            // A tile that this instruction set has no registers for is not compiled: `const` keeps rustc
            // from handing it to LLVM, which would optimise it before it finds that nobody calls it.
            $($(($m, $n) if const { $fits($m, $n) } => {
                $lanes.call(call_tile!(@make $tile $m $n $types $fields))
            })*)*
            other => unreachable!("no tile of shape {other:?}"),
        }
    };
    ($lanes:expr, $size:expr, $fits:expr, $tile:ident $types:tt $fields:tt, $($m:literal)*) => {
        match $size {
            $($m if const { $fits($m) } => $lanes.call(call_tile!(@make $tile $m $types $fields)),)*
            other => unreachable!("no tile of {other} rows"),
        }
    };
    (@make $tile:ident $($m:literal)* ($($type:tt)*) { $($field:ident),* }) => {
        $tile::<$($m,)* $($type),*> { $($field),* }
    };
}

/// Loads what a round of a tile multiplies.
#[inline(always)]
pub fn load<L: Lanes, X: Operand, const N: usize>(lanes: L, items: [X::Item; N]) -> [L::F; N] {
    let mut loaded = [lanes.splat(0.0); N];
    for n in 0..N {
        loaded[n] = X::load(lanes, items[n]);
    }
    loaded
}

/// Adds one round to a tile of an outer product.
#[inline(always)]
pub fn add_round<L: Lanes, const M: usize, const N: usize>(
    lanes: L,
    sums: &mut [[L::F; N]; M],
    left: &[f32; M],
    right: [L::F; N],
) {
    for m in 0..M {
        for n in 0..N {
            sums[m][n] = lanes.fma(lanes.splat(left[m]), right[n], sums[m][n]);
        }
    }
}

pub(super) use call_tile;

/// What becomes of a finished tile of a dot product.
pub trait DotEpilogue {
    /// The lanes of `sums[m][n]` add up to `z[b + m][o + n]`; the outputs lie in one block of sixteen.
    fn finish<L: Lanes, const M: usize, const N: usize>(
        &mut self,
        lanes: L,
        b: usize,
        o: usize,
        sums: [[L::F; N]; M],
    );
}

/// Computes `z[b][o] = sum_i x[b][i] * w[o][i]` of some samples, the sum over `depth` blocks, tile by
/// tile.
///
/// Rows of `w` are the inner tile and stay in the first-level cache while all of `x` passes by.
#[inline(always)]
pub fn dot_product<L: Lanes, X: Operand>(
    lanes: L,
    (x, samples): (X, Range<usize>),
    (w, outputs): (Matrix<'_>, usize),
    depth: usize,
    ahead: &mut impl Ahead,
    epilogue: &mut impl DotEpilogue,
) {
    let (mut rows, mut columns) = L::DOT;
    if columns == 8 && (9..=10).contains(&outputs) {
        (rows, columns) = (2, 10); // ten classes in one tile
    }
    for (o, n) in cut_in_blocks(outputs, columns) {
        for (first, m, count) in runs(samples.len(), rows) {
            let lines = lines_of_tile((m, depth), n, outputs);
            let (ahead, epilogue, b) = (&mut *ahead, &mut *epilogue, samples.start + first);
            call_tile!(lanes, (m, n), DotTile::fits::<L>, DotTile (_ _ _) { x, b, count, w, o, depth, lines, ahead, epilogue },
                1: 1 2 3 4 5 6 7 8 9 10;
                2: 1 2 3 4 5 6 7 8 9 10;
            );
        }
    }
}

/// `count` times `M` rows of `x` from `b` on, times `N` rows of `w` from `o` on: many tiles in one
/// call, which costs as much as a fifth of a small one.
struct DotTile<'a, const M: usize, const N: usize, X, A, E> {
    x: X,
    b: usize,
    count: usize,
    w: Matrix<'a>,
    o: usize,
    depth: usize,
    lines: usize,
    ahead: A,
    epilogue: E,
}

impl DotTile<'_, 0, 0, (), (), ()> {
    #[inline(always)]
    const fn fits<L: Lanes>(m: usize, n: usize) -> bool {
        ((m <= L::DOT.0 && n <= L::DOT.1) || (L::DOT.1 == 8 && n > 8)) && occurs(n, L::DOT.1)
    }
}

impl<const M: usize, const N: usize, X: Operand, A: Ahead, E: DotEpilogue> Kernel
    for DotTile<'_, M, N, X, &mut A, &mut E>
{
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        for tile in 0..self.count {
            self.ahead.ask(self.lines);
            let b = self.b + tile * M;
            let mut sums = [[lanes.splat(0.0); N]; M];
            for_each_index!(part < L::PARTS, 4, {
                let tile = self.part(lanes, b, part);
                for m in 0..M {
                    for n in 0..N {
                        lanes.put_part(tile[m][n], part, &mut sums[m][n]);
                    }
                }
            });
            self.epilogue.finish(lanes, b, self.o, sums);
        }
    }
}

impl<const M: usize, const N: usize, X: Operand, A, E> DotTile<'_, M, N, X, A, E> {
    /// The sums of one part of the lanes, for rows of `x` from `b` on.
    #[inline(always)]
    fn part<L: Lanes>(&self, lanes: L, b: usize, part: usize) -> [[L::Part; N]; M] {
        let weights = self.w.skip_rows(self.o).runs();
        if L::DOT_PASSES_OVER && X::PASSES_OVER {
            let mut sums = [[lanes.zero_part(); N]; M];
            for_each_index!(m < M, 3, {
                [sums[m]] = Self::sums(lanes, part, self.x.along(b + m, self.depth, weights));
            });
            sums
        } else {
            Self::sums(lanes, part, self.x.along_all(b, self.depth, weights))
        }
    }

    #[inline(always)]
    fn sums<'b, L: Lanes, const R: usize>(
        lanes: L,
        part: usize,
        rounds: impl Iterator<Item = ([X::Item; R], &'b [Block; N])>,
    ) -> [[L::Part; N]; R] {
        let zero = lanes.zero_part();
        let mut sums = [[zero; N]; R];
        for (x, w) in rounds {
            let mut left = [zero; R];
            for m in 0..R {
                left[m] = X::load_part(lanes, x[m], part);
            }
            for n in 0..N {
                let right = lanes.load_part(&w[n], part);
                for m in 0..R {
                    sums[m][n] = lanes.fma_part(left[m], right, sums[m][n]);
                }
            }
        }
        sums
    }
}

/// What becomes of a finished tile of an outer product.
pub trait OuterEpilogue {
    /// Told of a tile before it is computed: time to ask for what [`OuterEpilogue::finish`] will read.
    fn begin<const M: usize, const N: usize>(&self, row: usize, column: usize);

    /// `tile[m][n]` is block `column + n` of row `row + m`.
    fn finish<L: Lanes, const M: usize, const N: usize>(
        &mut self,
        lanes: L,
        row: usize,
        column: usize,
        tile: [[L::F; N]; M],
    );
}

/// `c[m][n] = sum_k a[k][m] * b[k][n]`: `rows` values of `m`, `columns` blocks of `n`.
#[derive(Clone)]
pub struct Outer<'a, B> {
    /// Its rows are `k`, its columns `m`.
    pub a: Matrix<'a>,
    pub rows: usize,
    pub b: B,
    pub columns: Range<usize>,
    pub depth: usize,
}

/// Computes an outer product, all rows of a few columns and then the next columns, so that a narrow
/// strip of `b` stays in the near cache; hands each finished tile to the epilogue.
#[inline(always)]
pub fn outer_product<L: Lanes, B: Operand>(
    lanes: L,
    outer: &Outer<'_, B>,
    ahead: &mut impl Ahead,
    epilogue: &mut impl OuterEpilogue,
) {
    let (mut rows, mut columns) = L::OUTER;
    if rows == 8 && (9..=10).contains(&outer.rows) {
        (rows, columns) = (10, 2.min(B::COLUMNS)); // ten classes in one tile
    } else if B::COLUMNS < columns {
        (rows, columns) = (16, 1); // as many registers for columns as for rows
    }
    let first = outer.columns.start;
    let pixels = (outer.depth, outer.columns.len());
    // So many strips at once, which share the left operand and stay in the near cache all together. Of a
    // tall product fewer: each column of what its epilogue reads and writes is a stream of its own then, and
    // what is asked for comes later (the update of 816 x 784 weights took 6 to 12 % longer with twelve).
    let rounds = STRIP_BYTES / (LANES * B::BYTES);
    let streams = if outer.rows > TALL { (STREAMS / columns).max(1) } else { rounds };
    let most = (rounds / outer.depth.max(1)).clamp(1, streams);
    // Loops and not closures: what a closure does with vectors may end up compiled without them.
    for (start, n, strips) in runs(outer.columns.len(), columns) {
        for strip in (0..strips).step_by(most) {
            let count = most.min(strips - strip);
            for (row, m) in cut_in_blocks(outer.rows, rows) {
                let (ahead, epilogue) = (&mut *ahead, &mut *epilogue);
                let column = first + start + strip * n;
                let lines = lines_of_tile(pixels, m * n, outer.rows * outer.columns.len());
                call_tile!(lanes, (m, n), OuterTile::fits::<L, B>,
                    OuterTile (_ _ _) { outer, row, column, count, lines, ahead, epilogue },
                    1: 1 2 3; 2: 1 2 3; 3: 1 2 3; 4: 1 2 3; 5: 1 2 3; 6: 1 2 3; 7: 1 2 3; 8: 1 2 3;
                    9: 1 2; 10: 1 2; 16: 1;
                );
            }
        }
    }
}

/// Bytes of a column of the right operand that are read in the strips that are computed at once, of one to three
/// columns each.
const STRIP_BYTES: usize = 16 << 10;

/// Rows of which a column fills a page of 4 KiB: taller ones lie in pages of their own.
const TALL: usize = 64;
/// Columns of a tall product that are made at once.
const STREAMS: usize = 3;

/// `M` rows and `count` times `N` blocks of an outer product.
struct OuterTile<'a, const M: usize, const N: usize, B, A, E> {
    outer: &'a Outer<'a, B>,
    row: usize,
    column: usize,
    count: usize,
    lines: usize,
    ahead: A,
    epilogue: E,
}

impl OuterTile<'_, 0, 0, (), (), ()> {
    #[inline(always)]
    const fn fits<L: Lanes, B: Operand>(m: usize, n: usize) -> bool {
        let registers = m * n <= L::OUTER.0 * L::OUTER.1 && n <= L::OUTER.1;
        registers && n <= B::COLUMNS && occurs(m, L::OUTER.0)
    }
}

impl<const M: usize, const N: usize, B: Operand, A: Ahead, E: OuterEpilogue> Kernel
    for OuterTile<'_, M, N, B, &mut A, &mut E>
{
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let OuterTile { outer, row, column, count, lines, ahead, epilogue } = self;
        let zero = lanes.splat(0.0);
        let columns = column..column + count * N;
        let strips = outer.b.down::<N, M>(columns, outer.depth, outer.a.rows_from(row));
        for (strip, rounds) in strips.enumerate() {
            let column = column + strip * N;
            ahead.ask(lines);
            epilogue.begin::<M, N>(row, column);
            let mut sums = [[zero; N]; M];
            for (right, left) in rounds {
                add_round(lanes, &mut sums, left, load::<L, B, N>(lanes, right));
            }
            epilogue.finish(lanes, row, column, sums);
        }
    }
}

#[cfg(test)]
mod tests;
