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

use super::lanes::{Block, Lanes, prefetch};

/// A padded matrix to read: `row r` is `blocks[r * stride..][..]`.
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

/// Cuts `0..total` into ranges of nearly equal length, `most` at the most: `(start, length)`.
#[inline(always)]
fn cut(total: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let pieces = total.div_ceil(most).max(1);
    let (short, longer) = (total / pieces, total % pieces);
    (0..pieces).map(move |i| (i * short + i.min(longer), short + usize::from(i < longer)))
}

/// Calls `$tile::<L, M, N>` with the values of `$m` and `$n` as constants.
macro_rules! with_constants {
    ($m:expr, $n:expr, $tile:ident $args:tt, [$(($cm:literal, $cn:literal)),* $(,)?]) => {
        match ($m, $n) {
            $(($cm, $cn) => $tile::<L, $cm, $cn> $args,)*
            other => unreachable!("no tile of shape {other:?}"),
        }
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
    mut each: impl FnMut(usize, usize, f32),
) {
    let (mut rows, mut columns) = L::DOT;
    if columns == 8 && (9..=10).contains(&outputs) {
        (rows, columns) = (2, 10); // ten classes in one tile
    }
    for (o, n) in cut(outputs, columns) {
        for (b, m) in cut(samples, rows) {
            let each = &mut each;
            with_constants!(
                m,
                n,
                dot_tile(lanes, x, b, w, o, depth, each),
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

#[inline(always)]
fn dot_tile<L: Lanes, const M: usize, const N: usize>(
    lanes: L,
    x: Matrix<'_>,
    b: usize,
    w: Matrix<'_>,
    o: usize,
    depth: usize,
    each: &mut impl FnMut(usize, usize, f32),
) {
    let x: [&[Block]; M] = std::array::from_fn(|m| x.row(b + m, depth));
    let w: [&[Block]; N] = std::array::from_fn(|n| w.row(o + n, depth));
    let mut sums = [[lanes.splat(0.0); N]; M];
    for i in 0..depth {
        let x: [L::F; M] = std::array::from_fn(|m| lanes.load(&x[m][i]));
        for n in 0..N {
            let w = lanes.load(&w[n][i]);
            for m in 0..M {
                sums[m][n] = lanes.fma(x[m], w, sums[m][n]);
            }
        }
    }
    // Sums across lanes, sixteen vectors at a time, then four; places past the end repeat the last.
    let vector = |i: usize| sums[i.min(M * N - 1) / N][i.min(M * N - 1) % N];
    let mut first = 0;
    while M * N - first > 12 {
        let totals = lanes.sum16(std::array::from_fn(|i| vector(first + i)));
        for i in 0..16.min(M * N - first) {
            each(b + (first + i) / N, o + (first + i) % N, totals[i]);
        }
        first = (first + 16).min(M * N);
    }
    while first < M * N {
        let totals = lanes.sum4(std::array::from_fn(|i| vector(first + i)));
        for i in 0..4.min(M * N - first) {
            each(b + (first + i) / N, o + (first + i) % N, totals[i]);
        }
        first += 4;
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
pub trait Epilogue<L: Lanes> {
    /// `value` is `c[row][16 * block ..][..16]`.
    fn finish(&mut self, lanes: L, row: usize, block: usize, value: L::F);
    /// Called for a place of the result some time before it is finished.
    #[inline(always)]
    fn expect(&self, _row: usize, _block: usize) {}
}

/// `c[m][n] = sum_k a[k * lda + m] * b[k][n]`: `rows` values of `m`, `columns` blocks of `n`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub fn outer_product<L: Lanes>(
    lanes: L,
    order: Order,
    (a, lda): (&[f32], usize),
    rows: usize,
    b: Matrix<'_>,
    columns: usize,
    depth: usize,
    epilogue: &mut impl Epilogue<L>,
) {
    let (most_rows, most_columns) = L::OUTER;
    let mut tile = |(row, m): (usize, usize), (column, n): (usize, usize)| {
        outer_tile_of(lanes, (m, n), (a, lda), row, b, column, depth, columns, epilogue);
    };
    match order {
        Order::RowsOuter => cut(rows, most_rows)
            .for_each(|row| cut(columns, most_columns).for_each(|column| tile(row, column))),
        Order::ColumnsOuter => cut(columns, most_columns)
            .for_each(|column| cut(rows, most_rows).for_each(|row| tile(row, column))),
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn outer_tile_of<L: Lanes>(
    lanes: L,
    (m, n): (usize, usize),
    a: (&[f32], usize),
    row: usize,
    b: Matrix<'_>,
    column: usize,
    depth: usize,
    columns: usize,
    epilogue: &mut impl Epilogue<L>,
) {
    // A tile that this instruction set has no registers for is never asked for; saying so here
    // keeps it from being compiled.
    if m > L::OUTER.0 || n > L::OUTER.1 {
        return;
    }
    with_constants!(
        m,
        n,
        outer_tile(lanes, a, row, b, column, depth, columns, epilogue),
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

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn outer_tile<L: Lanes, const M: usize, const N: usize>(
    lanes: L,
    (a, lda): (&[f32], usize),
    row: usize,
    b: Matrix<'_>,
    column: usize,
    depth: usize,
    columns: usize,
    epilogue: &mut impl Epilogue<L>,
) {
    for m in 0..M {
        for n in 0..N {
            // The tile after this one, if it lies in the same rows.
            epilogue.expect(row + m, (column + N + n).min(columns - 1));
        }
    }
    let mut sums = [[lanes.splat(0.0); N]; M];
    for k in 0..depth {
        let a: &[f32; M] = first_chunk(&a[k * lda + row..]);
        let b: &[Block; N] = first_chunk(&b.blocks[k * b.stride + column..]);
        let b: [L::F; N] = std::array::from_fn(|n| lanes.load(&b[n]));
        for m in 0..M {
            let a = lanes.splat(a[m]);
            for n in 0..N {
                sums[m][n] = lanes.fma(a, b[n], sums[m][n]);
            }
        }
    }
    for m in 0..M {
        for n in 0..N {
            epilogue.finish(lanes, row + m, column + n, sums[m][n]);
        }
    }
}

/// The first `N` items; the caller's buffers are long enough by construction.
#[inline(always)]
fn first_chunk<T, const N: usize>(slice: &[T]) -> &[T; N] {
    match slice.first_chunk() {
        Some(chunk) => chunk,
        None => unreachable!("a tile ends inside its matrix"),
    }
}

/// Asks for a block that an epilogue reads soon.
#[inline(always)]
pub fn expect_block(blocks: &[Block], index: usize) {
    if let Some(block) = blocks.get(index) {
        prefetch(block);
    }
}
