//! The two matrix products of training, with what follows them fused into their epilogues.
//!
//! - [`dot_product`], forward: `z[b][o] = sum_i x[b][i] w[o][i]`, lanes along what is summed;
//! - [`outer_product`], both backward products: `c[m][n] = sum_k a[k][m] b[k][n]`, lanes along `n`.
//!
//! Lanes always run along a layer's inputs, so ten classes fill registers as well as sixteen would,
//! and one layout of the weights serves all three products without being transposed or packed. A
//! result never depends on how the matrix was cut into tiles: each is one chain of fused
//! multiply-adds in ascending order (for the dot product, sixteen chains and `fold`'s tree).

use super::lanes::{Block, Kernel, LANES, Lanes};

/// A batch's values: sample `b`, inputs `16 i ..` is `blocks[b * stride + i]`.
#[derive(Clone, Copy)]
pub struct Samples<'a> {
    pub blocks: &'a [Block],
    /// Blocks from a sample to the next.
    pub stride: usize,
}

/// A layer's weights: output `o`, inputs `16 i ..` is `blocks[i * stride + o]`.
///
/// The outputs of one block of inputs lie side by side: a tile reads them at constant distances
/// from one address, and a gradient's pass over the outputs is a walk through memory in order.
#[derive(Clone, Copy)]
pub struct Weights<'a> {
    pub blocks: &'a [Block],
    /// Blocks from a block of inputs to the next: the outputs, or one more.
    pub stride: usize,
}

/// The pixels of a batch where they lie in the data set: `rows[b][i]` is sample `b`, pixels `16 i ..`.
///
/// For a layer with a few outputs, converting bytes in both passes costs less than writing a batch
/// of floats, four times as large, that drives the weights out of the first-level cache.
#[derive(Clone, Copy)]
pub struct Pixels<'a> {
    pub rows: &'a [&'a [[u8; LANES]]],
}

/// What a matrix is made of: sixteen values, as floats or as bytes.
pub trait Operand: Copy {
    type Item: Copy;
    fn load<L: Lanes>(lanes: L, item: &Self::Item) -> L::F;
}

/// A matrix whose rows, a sample each, lie in one piece.
pub trait Left: Operand {
    /// The first `depth` items of a row.
    fn row<'s>(self, row: usize, depth: usize) -> &'s [Self::Item]
    where
        Self: 's;
}

/// A matrix that an outer product reads by rows of `N` items.
pub trait Right: Operand {
    /// Columns `column .. column + N` of the first `depth` rows.
    fn rows<const N: usize>(
        self,
        column: usize,
        depth: usize,
    ) -> impl Iterator<Item = [Self::Item; N]>;
}

impl Operand for Samples<'_> {
    type Item = Block;

    #[inline(always)]
    fn load<L: Lanes>(lanes: L, item: &Block) -> L::F {
        lanes.load(item)
    }
}

impl Left for Samples<'_> {
    #[inline(always)]
    fn row<'s>(self, row: usize, depth: usize) -> &'s [Block]
    where
        Self: 's,
    {
        &self.blocks[row * self.stride..][..depth]
    }
}

impl Right for Samples<'_> {
    #[inline(always)]
    fn rows<const N: usize>(self, column: usize, depth: usize) -> impl Iterator<Item = [Block; N]> {
        let mut rest = &self.blocks[column..];
        (0..depth).map(move |_| {
            let row = *first_chunk(rest);
            rest = rest.get(self.stride..).unwrap_or_default();
            row
        })
    }
}

impl Operand for Pixels<'_> {
    type Item = [u8; LANES];

    #[inline(always)]
    fn load<L: Lanes>(lanes: L, item: &[u8; LANES]) -> L::F {
        lanes.load_u8(item)
    }
}

impl Left for Pixels<'_> {
    #[inline(always)]
    fn row<'s>(self, row: usize, depth: usize) -> &'s [[u8; LANES]]
    where
        Self: 's,
    {
        &self.rows[row][..depth]
    }
}

impl Right for Pixels<'_> {
    #[inline(always)]
    fn rows<const N: usize>(
        self,
        column: usize,
        depth: usize,
    ) -> impl Iterator<Item = [[u8; LANES]; N]> {
        self.rows.iter().take(depth).map(move |row| *first_chunk(&row[column..]))
    }
}

impl Operand for Weights<'_> {
    type Item = Block;

    #[inline(always)]
    fn load<L: Lanes>(lanes: L, item: &Block) -> L::F {
        lanes.load(item)
    }
}

impl Right for Weights<'_> {
    /// A row is an output.
    #[inline(always)]
    fn rows<const N: usize>(self, column: usize, depth: usize) -> impl Iterator<Item = [Block; N]> {
        let columns: [&[Block]; N] =
            std::array::from_fn(|n| &self.blocks[(column + n) * self.stride..][..depth]);
        (0..depth).map(move |k| std::array::from_fn(|n| columns[n][k]))
    }
}

/// The first `N` items of what a caller made long enough.
#[inline(always)]
fn first_chunk<T, const N: usize>(slice: &[T]) -> &[T; N] {
    match slice.first_chunk() {
        Some(chunk) => chunk,
        None => unreachable!("a tile ends inside its matrix"),
    }
}

/// Memory that is read after this product: its cache lines are asked for a few at a time, between
/// tiles, because a burst of requests would stop the core until they are answered.
pub trait Ahead {
    /// Called once a tile, with as many lines as arrive while such a tile is computed.
    fn ask(&mut self, lines: usize);
}

/// Cache lines that are asked for in a tile. A core waits for sixteen at once at most, each takes
/// some 100 ns, and the tiles of ten classes take about 200 and 70 ns.
const LINES_A_DOT_TILE: usize = 14;
const LINES_AN_OUTER_TILE: usize = 5;

/// Nothing is known of what is read next.
pub struct Nothing;

impl Ahead for Nothing {
    #[inline(always)]
    fn ask(&mut self, _lines: usize) {}
}

/// Repeats an expression for `$m` from 0 to `$count` (14 at most), each time with a constant.
///
/// A loop with a large body is not unrolled, and one index that is not a constant keeps the whole
/// array in memory instead of registers.
macro_rules! for_each_index {
    ($m:ident < $count:ident, $body:expr) => {
        for_each_index!(@ $m $count $body, 0 1 2 3 4 5 6 7 8 9 10 11 12 13)
    };
    (@ $m:ident $count:ident $body:expr, $($index:literal)*) => {
        $(if $index < $count {
            let $m = $index;
            $body;
        })*
    };
}
pub(super) use for_each_index;

/// Cuts `0..total` into ranges of nearly equal length, `most` at the most: `(start, length)`.
#[inline(always)]
fn cut(total: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let pieces = total.div_ceil(most).max(1);
    let (short, longer) = (total / pieces, total % pieces);
    (0..pieces).map(move |i| (i * short + i.min(longer), short + usize::from(i < longer)))
}

/// Calls `$tile` as a kernel with the values of `$size` as its constants; of each `$m` the `$n`.
macro_rules! call_tile {
    ($lanes:expr, $size:expr, $tile:ident $fields:tt, $($m:literal: $($n:literal)*;)*) => {
        match $size {
            // A tile that this instruction set has no registers for is not compiled.
            $($(($m, $n) if $tile::fits::<L>($m, $n) => {
                $lanes.call(call_tile!(@make $tile $m $n $fields))
            })*)*
            other => unreachable!("no tile of shape {other:?}"),
        }
    };
    (@make $tile:ident $m:literal $n:literal { $($field:ident),* }) => {
        $tile::<$m, $n, _, _> { $($field),* }
    };
}

/// What becomes of a finished tile of a dot product.
pub trait DotEpilogue {
    /// `tile[m][n]` is `z[b + m][o + n]`.
    fn finish<const M: usize, const N: usize>(&mut self, b: usize, o: usize, tile: [[f32; N]; M]);
}

/// Computes `z[b][o] = sum_i x[b][i] * w[o][i]`, the sum over `depth` blocks, tile by tile.
///
/// Rows of `w` are the inner tile and stay in the first-level cache while all of `x` passes by.
#[inline(always)]
pub fn dot_product<L: Lanes, X: Left>(
    lanes: L,
    (x, samples): (X, usize),
    (w, outputs): (Weights<'_>, usize),
    depth: usize,
    ahead: &mut impl Ahead,
    epilogue: &mut impl DotEpilogue,
) {
    let (mut rows, mut columns) = L::DOT;
    if columns == 8 && (9..=10).contains(&outputs) {
        (rows, columns) = (2, 10); // ten classes in one tile
    }
    for (o, n) in cut(outputs, columns) {
        for (b, m) in cut(samples, rows) {
            ahead.ask(LINES_A_DOT_TILE);
            let epilogue = &mut *epilogue;
            call_tile!(lanes, (m, n), DotTile { x, b, w, o, depth, epilogue },
                1: 1 2 3 4 5 6 7 8 9 10;
                2: 1 2 3 4 5 6 7 8 9 10;
                3: 1 2 3 4 5 6 7 8;
            );
        }
    }
}

/// `M` rows of `x` from `b` on times `N` rows of `w` from `o` on.
struct DotTile<'a, const M: usize, const N: usize, X, E> {
    x: X,
    b: usize,
    w: Weights<'a>,
    o: usize,
    depth: usize,
    epilogue: E,
}

impl DotTile<'_, 0, 0, (), ()> {
    #[inline(always)]
    fn fits<L: Lanes>(m: usize, n: usize) -> bool {
        m * n <= L::DOT.0 * L::DOT.1
    }
}

impl<const M: usize, const N: usize, X: Left, E: DotEpilogue> Kernel
    for DotTile<'_, M, N, X, &mut E>
{
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let DotTile { x, b, w, o, depth, epilogue } = self;
        let x: [&[X::Item]; M] = std::array::from_fn(|m| x.row(b + m, depth));
        let mut w_rest = &w.blocks[o..];
        let zero = lanes.splat(0.0);
        let mut sums = [[zero; N]; M];
        for i in 0..depth {
            let mut left = [zero; M];
            for m in 0..M {
                left[m] = X::load(lanes, &x[m][i]);
            }
            let right = first_chunk::<_, N>(w_rest);
            for n in 0..N {
                let right = lanes.load(&right[n]);
                for m in 0..M {
                    sums[m][n] = lanes.fma(left[m], right, sums[m][n]);
                }
            }
            w_rest = w_rest.get(w.stride..).unwrap_or_default();
        }
        // Sums across lanes, sixteen vectors at a time, then four; places past the end stay zero.
        let mut tile = [[0.0; N]; M];
        let mut first = 0;
        while M * N - first > 12 {
            let mut vectors = [zero; 16];
            for i in first..(first + 16).min(M * N) {
                vectors[i - first] = sums[i / N][i % N];
            }
            let totals = lanes.sum16(vectors);
            for i in first..(first + 16).min(M * N) {
                tile[i / N][i % N] = totals[i - first];
            }
            first = (first + 16).min(M * N);
        }
        while first < M * N {
            let mut vectors = [zero; 4];
            for i in first..(first + 4).min(M * N) {
                vectors[i - first] = sums[i / N][i % N];
            }
            let totals = lanes.sum4(vectors);
            for i in first..(first + 4).min(M * N) {
                tile[i / N][i % N] = totals[i - first];
            }
            first += 4;
        }
        epilogue.finish(b, o, tile);
    }
}

/// What becomes of a finished tile of an outer product.
pub trait OuterEpilogue {
    /// `tile[m][n]` is block `column + n` of row `row + m`.
    fn finish<L: Lanes, const M: usize, const N: usize>(
        &mut self,
        lanes: L,
        row: usize,
        column: usize,
        tile: [[L::F; N]; M],
    );
}

/// `c[m][n] = sum_k a[k * lda + m] * b[k][n]`: `rows` values of `m`, `columns` blocks of `n`.
#[derive(Clone, Copy)]
pub struct Outer<'a, B> {
    pub a: &'a [f32],
    pub lda: usize,
    pub rows: usize,
    pub b: B,
    pub columns: usize,
    pub depth: usize,
}

/// Computes an outer product, all rows of a few columns and then the next columns, so that a narrow
/// strip of `b` stays in the near cache; hands each finished tile to the epilogue.
#[inline(always)]
pub fn outer_product<L: Lanes, B: Right>(
    lanes: L,
    outer: Outer<'_, B>,
    ahead: &mut impl Ahead,
    epilogue: &mut impl OuterEpilogue,
) {
    // Loops and not closures: what a closure does with vectors may end up compiled without them.
    for (column, n) in cut(outer.columns, L::OUTER.1) {
        for (row, m) in cut(outer.rows, L::OUTER.0) {
            ahead.ask(LINES_AN_OUTER_TILE);
            let epilogue = &mut *epilogue;
            call_tile!(lanes, (m, n), OuterTile { outer, row, column, epilogue },
                1: 1 2; 2: 1 2; 3: 1 2; 4: 1 2; 5: 1 2; 6: 1 2; 7: 1 2;
                8: 1 2; 9: 1 2; 10: 1 2; 11: 1 2; 12: 1 2; 13: 1 2; 14: 1 2;
            );
        }
    }
}

/// `M` rows and `N` blocks of an outer product.
struct OuterTile<'a, const M: usize, const N: usize, B, E> {
    outer: Outer<'a, B>,
    row: usize,
    column: usize,
    epilogue: E,
}

impl OuterTile<'_, 0, 0, (), ()> {
    #[inline(always)]
    fn fits<L: Lanes>(m: usize, n: usize) -> bool {
        m <= L::OUTER.0 && n <= L::OUTER.1
    }
}

impl<const M: usize, const N: usize, B: Right, E: OuterEpilogue> Kernel
    for OuterTile<'_, M, N, B, &mut E>
{
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let OuterTile { outer, row, column, epilogue } = self;
        let zero = lanes.splat(0.0);
        let mut sums = [[zero; N]; M];
        let mut a = &outer.a[row..];
        for right in outer.b.rows::<N>(column, outer.depth) {
            let left = first_chunk::<_, M>(a);
            let mut loaded = [zero; N];
            for n in 0..N {
                loaded[n] = B::load(lanes, &right[n]);
            }
            for m in 0..M {
                let value = lanes.splat(left[m]);
                for n in 0..N {
                    sums[m][n] = lanes.fma(value, loaded[n], sums[m][n]);
                }
            }
            a = a.get(outer.lda..).unwrap_or_default();
        }
        epilogue.finish(lanes, row, column, sums);
    }
}
