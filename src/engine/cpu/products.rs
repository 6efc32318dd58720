//! The two matrix products of training, with what follows them fused into their epilogues.
//!
//! Every matrix lies row-major with rows padded to blocks of sixteen, and lanes run along a row:
//!
//! - [`dot_product`], forward: `z[b][o] = sum_i x[b][i] w[o][i]`, lanes along what is summed;
//! - [`outer_product`], both backward products: `c[m][n] = sum_k a[k][m] b[k][n]`, lanes along `n`.
//!
//! So one layout of the weights, PyTorch's own `[output][input]`, serves all three without being
//! transposed or packed, and ten classes fill registers as well as sixteen would. A result never
//! depends on how the matrix was cut into tiles: each is one chain of fused multiply-adds in
//! ascending order (for the dot product, sixteen chains and `fold`'s tree).

use super::lanes::{Block, Kernel, Lanes, prefetch};

/// A padded matrix to read: row `r` begins at `blocks[r * stride]`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    pub blocks: &'a [Block],
    /// Blocks from a row to the next.
    pub stride: usize,
}

impl<'a> Matrix<'a> {
    #[inline(always)]
    fn row(self, row: usize, len: usize) -> &'a [Block] {
        &self.blocks[row * self.stride..][..len]
    }
}

/// Memory that is read after this product: its cache lines are asked for a few at a time, between
/// tiles, because a burst of requests would stop the core until they are answered.
pub trait Ahead {
    /// Called once a tile.
    fn ask(&mut self);
}

/// Nothing is known of what is read next.
pub struct Nothing;

impl Ahead for Nothing {
    #[inline(always)]
    fn ask(&mut self) {}
}

/// Cuts `0..total` into ranges of nearly equal length, `most` at the most: `(start, length)`.
#[inline(always)]
fn cut(total: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let pieces = total.div_ceil(most).max(1);
    let (short, longer) = (total / pieces, total % pieces);
    (0..pieces).map(move |i| (i * short + i.min(longer), short + usize::from(i < longer)))
}

/// Calls `$tile` as a kernel with the values of `$size` as its constants.
macro_rules! call_tile {
    ($lanes:expr, $size:expr, $tile:ident $fields:tt, [$(($m:literal, $n:literal)),* $(,)?]) => {
        match $size {
            // A tile that this instruction set has no registers for is not compiled.
            $(($m, $n) if $tile::<$m, $n, ()>::fits::<L>() => {
                $lanes.call(call_tile!(@make $tile $m $n $fields))
            })*
            other => unreachable!("no tile of shape {other:?}"),
        }
    };
    (@make $tile:ident $m:literal $n:literal { $($field:ident),* }) => {
        $tile::<$m, $n, _> { $($field),* }
    };
}

/// `each(b, o, z)` for every `z = sum_i x[b][i] * w[o][i]`, the sum over `depth` blocks.
///
/// Rows of `w` are the inner tile and stay in the first-level cache while all of `x` passes by.
#[inline(always)]
pub fn dot_product<L: Lanes>(
    lanes: L,
    (x, samples): (Matrix<'_>, usize),
    (w, outputs): (Matrix<'_>, usize),
    depth: usize,
    ahead: &mut impl Ahead,
    mut each: impl FnMut(usize, usize, f32),
) {
    let (mut rows, mut columns) = L::DOT;
    if columns == 8 && (9..=10).contains(&outputs) {
        (rows, columns) = (2, 10); // ten classes in one tile
    }
    for (o, n) in cut(outputs, columns) {
        for (b, m) in cut(samples, rows) {
            ahead.ask();
            let each = &mut each;
            call_tile!(
                lanes,
                (m, n),
                DotTile { x, b, w, o, depth, each },
                [
                    (1, 1),
                    (1, 2),
                    (1, 3),
                    (1, 4),
                    (1, 5),
                    (1, 6),
                    (1, 7),
                    (1, 8),
                    (1, 9),
                    (1, 10),
                    (2, 1),
                    (2, 2),
                    (2, 3),
                    (2, 4),
                    (2, 5),
                    (2, 6),
                    (2, 7),
                    (2, 8),
                    (2, 9),
                    (2, 10),
                    (3, 1),
                    (3, 2),
                    (3, 3),
                    (3, 4),
                    (3, 5),
                    (3, 6),
                    (3, 7),
                    (3, 8),
                ]
            );
        }
    }
}

/// `M` rows of `x` from `b` on times `N` rows of `w` from `o` on.
struct DotTile<'a, const M: usize, const N: usize, E> {
    x: Matrix<'a>,
    b: usize,
    w: Matrix<'a>,
    o: usize,
    depth: usize,
    each: E,
}

impl<const M: usize, const N: usize> DotTile<'_, M, N, ()> {
    #[inline(always)]
    fn fits<L: Lanes>() -> bool {
        M * N <= L::DOT.0 * L::DOT.1
    }
}

impl<const M: usize, const N: usize, E> Kernel for DotTile<'_, M, N, &mut E>
where
    E: FnMut(usize, usize, f32),
{
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let DotTile { x, b, w, o, depth, each } = self;
        let x: [&[Block]; M] = std::array::from_fn(|m| x.row(b + m, depth));
        let w: [&[Block]; N] = std::array::from_fn(|n| w.row(o + n, depth));
        let zero = lanes.splat(0.0);
        let mut sums = [[zero; N]; M];
        for i in 0..depth {
            let mut left = [zero; M];
            for m in 0..M {
                left[m] = lanes.load(&x[m][i]);
            }
            for n in 0..N {
                let right = lanes.load(&w[n][i]);
                for m in 0..M {
                    sums[m][n] = lanes.fma(left[m], right, sums[m][n]);
                }
            }
        }
        // Sums across lanes, sixteen vectors at a time, then four; places past the end stay zero.
        let mut first = 0;
        while M * N - first > 12 {
            let mut vectors = [zero; 16];
            for i in 0..16.min(M * N - first) {
                vectors[i] = sums[(first + i) / N][(first + i) % N];
            }
            let totals = lanes.sum16(vectors);
            for i in 0..16.min(M * N - first) {
                each(b + (first + i) / N, o + (first + i) % N, totals[i]);
            }
            first = (first + 16).min(M * N);
        }
        while first < M * N {
            let mut vectors = [zero; 4];
            for i in 0..4.min(M * N - first) {
                vectors[i] = sums[(first + i) / N][(first + i) % N];
            }
            let totals = lanes.sum4(vectors);
            for i in 0..4.min(M * N - first) {
                each(b + (first + i) / N, o + (first + i) % N, totals[i]);
            }
            first += 4;
        }
    }
}

/// Which operand of an outer product stays in the near cache while the other passes by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// All columns of a few rows, then the next rows: the result is walked row by row.
    RowsOuter,
    /// All rows of a few columns, then the next columns: a narrow strip of `b` is used up at once.
    ColumnsOuter,
}

/// What becomes of a finished value of an outer product: sixteen columns of one row.
pub trait Epilogue {
    /// `value` is `c[row][16 * block ..][..16]`.
    fn finish<L: Lanes>(&mut self, lanes: L, row: usize, block: usize, value: L::F);
    /// Called for a place of the result some time before it is finished.
    #[inline(always)]
    fn expect(&self, _row: usize, _block: usize) {}
}

/// `c[m][n] = sum_k a[k * lda + m] * b[k][n]`: `rows` values of `m`, `columns` blocks of `n`.
#[derive(Clone, Copy)]
pub struct Outer<'a> {
    pub a: &'a [f32],
    pub lda: usize,
    pub rows: usize,
    pub b: Matrix<'a>,
    pub columns: usize,
    pub depth: usize,
    pub order: Order,
}

/// Computes an outer product and hands each finished block to the epilogue.
#[inline(always)]
pub fn outer_product<L: Lanes>(
    lanes: L,
    outer: Outer<'_>,
    ahead: &mut impl Ahead,
    epilogue: &mut impl Epilogue,
) {
    let (rows, columns) = (cut(outer.rows, L::OUTER.0), cut(outer.columns, L::OUTER.1));
    // Loops and not closures: what a closure does with vectors may end up compiled without them.
    match outer.order {
        Order::RowsOuter => {
            for row in rows {
                for column in cut(outer.columns, L::OUTER.1) {
                    ahead.ask();
                    outer_tile(lanes, outer, row, column, epilogue);
                }
            }
        }
        Order::ColumnsOuter => {
            for column in columns {
                for row in cut(outer.rows, L::OUTER.0) {
                    ahead.ask();
                    outer_tile(lanes, outer, row, column, epilogue);
                }
            }
        }
    }
}

#[inline(always)]
fn outer_tile<L: Lanes>(
    lanes: L,
    outer: Outer<'_>,
    (row, m): (usize, usize),
    (column, n): (usize, usize),
    epilogue: &mut impl Epilogue,
) {
    call_tile!(
        lanes,
        (m, n),
        OuterTile { outer, row, column, epilogue },
        [
            (1, 1),
            (2, 1),
            (3, 1),
            (4, 1),
            (5, 1),
            (6, 1),
            (7, 1),
            (8, 1),
            (9, 1),
            (10, 1),
            (11, 1),
            (12, 1),
            (13, 1),
            (14, 1),
            (1, 2),
            (2, 2),
            (3, 2),
            (4, 2),
            (5, 2),
            (6, 2),
            (7, 2),
            (8, 2),
            (9, 2),
            (10, 2),
            (11, 2),
            (12, 2),
            (13, 2),
            (14, 2),
        ]
    );
}

/// `M` rows and `N` blocks of an outer product.
struct OuterTile<'a, const M: usize, const N: usize, E> {
    outer: Outer<'a>,
    row: usize,
    column: usize,
    epilogue: E,
}

impl<const M: usize, const N: usize> OuterTile<'_, M, N, ()> {
    #[inline(always)]
    fn fits<L: Lanes>() -> bool {
        M <= L::OUTER.0 && N <= L::OUTER.1
    }
}

impl<const M: usize, const N: usize, E: Epilogue> Kernel for OuterTile<'_, M, N, &mut E> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let OuterTile { outer, row, column, epilogue } = self;
        let Outer { a, lda, b, depth, columns, .. } = outer;
        for m in 0..M {
            for n in 0..N {
                // The tile after this one, if it lies in the same rows.
                epilogue.expect(row + m, (column + N + n).min(columns - 1));
            }
        }
        let zero = lanes.splat(0.0);
        let mut sums = [[zero; N]; M];
        let left = a[row..].chunks(lda);
        let right = b.blocks[column..].chunks(b.stride);
        for (left, right) in left.zip(right).take(depth) {
            let (Some(left), Some(right)) = (left.first_chunk::<M>(), right.first_chunk::<N>())
            else {
                unreachable!("a tile ends inside its matrix");
            };
            let mut blocks = [zero; N];
            for n in 0..N {
                blocks[n] = lanes.load(&right[n]);
            }
            for m in 0..M {
                let value = lanes.splat(left[m]);
                for n in 0..N {
                    sums[m][n] = lanes.fma(value, blocks[n], sums[m][n]);
                }
            }
        }
        for m in 0..M {
            for n in 0..N {
                epilogue.finish(lanes, row + m, column + n, sums[m][n]);
            }
        }
    }
}

/// Asks for a block that an epilogue reads soon.
#[inline(always)]
pub fn expect_block(blocks: &[Block], index: usize) {
    if let Some(block) = blocks.get(index) {
        prefetch(block);
    }
}
