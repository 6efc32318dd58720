//! Which values of a batch are not zero: sets of bits, both ways round.

use super::lanes::{Isa, Kernel, LANES, Lanes, blocks};
use super::products::Matrix;
use crate::data::patches::words;

/// Bits of a word.
pub const WORD: usize = u64::BITS as usize;

/// Sets of columns, one a row of a batch, and of rows, one a column.
#[derive(Default)]
pub struct Sets {
    rows: Vec<u64>,
    /// Words of a row's set.
    width: usize,
    columns: Vec<u64>,
    /// Words of a column's set.
    height: usize,
}

impl Sets {
    /// Room for so many rows and columns.
    pub fn new(rows: usize, columns: usize) -> Self {
        Sets {
            rows: Vec::with_capacity(rows * words(columns)),
            width: words(columns),
            columns: Vec::with_capacity(columns * words(rows)),
            height: 0,
        }
    }

    /// Takes the sets of rows from elsewhere; those of columns are not known then.
    pub fn set_rows<'a>(&mut self, rows: impl Iterator<Item = &'a [u64]>) {
        self.rows.clear();
        for row in rows {
            match row {
                // Without a call to copy it.
                [word] => self.rows.push(*word),
                words => self.rows.extend_from_slice(words),
            }
        }
    }

    /// Finds where any of some matrices of so many rows and columns is not zero; of rows, as in [`Sets::set_rows`].
    pub fn find<const N: usize>(
        &mut self,
        isa: Isa,
        matrices: [Matrix<'_>; N],
        [rows, columns]: [usize; 2],
    ) {
        self.rows.clear();
        self.rows.resize(rows * self.width, 0);
        let (sets, width) = (&mut self.rows[..], self.width);
        isa.run(Find { matrices, columns: blocks(columns), sets, width });
    }

    /// Finds the sets of so many columns from those of the rows.
    pub fn turn_over(&mut self, isa: Isa, columns: usize) {
        self.height = words(self.rows.len() / self.width);
        self.columns.resize(columns * self.height, 0);
        let Sets { rows, width, columns, height } = self;
        isa.run(Transpose { rows, width: *width, columns, height: *height });
    }

    /// Those of the rows.
    #[inline(always)]
    pub fn of_rows(&self) -> Members<'_> {
        Members { words: &self.rows, width: self.width }
    }

    /// Those of the columns.
    #[inline(always)]
    pub fn of_columns(&self) -> Members<'_> {
        Members { words: &self.columns, width: self.height }
    }

    /// How many members the rows' sets have.
    pub fn count(&self) -> usize {
        self.rows.iter().map(|word| word.count_ones() as usize).sum()
    }
}

/// Sets of equal room.
#[derive(Clone, Copy)]
pub struct Members<'a> {
    pub words: &'a [u64],
    /// Words of a set.
    pub width: usize,
}

impl<'a> Members<'a> {
    /// A set: bit `i % 64` of word `i / 64` is member `i`.
    #[inline(always)]
    pub fn set(self, set: usize) -> &'a [u64] {
        &self.words[set * self.width..][..self.width]
    }
}

/// Finds where any of some matrices is not zero, which not-a-number is not.
struct Find<'a, const N: usize> {
    matrices: [Matrix<'a>; N],
    /// In blocks.
    columns: usize,
    sets: &'a mut [u64],
    /// Words of a row's set.
    width: usize,
}

impl<const N: usize> Kernel for Find<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Find { matrices, columns, sets, width } = self;
        let rows = sets.len() / width;
        for column in 0..columns {
            let (word, shift) = (column * LANES / WORD, column * LANES % WORD);
            let columns = matrices.map(|matrix| matrix.column(column, rows));
            for row in 0..rows {
                let mut found = 0;
                for n in 0..N {
                    found |= lanes.not_zero(lanes.load(&columns[n][row]));
                }
                sets[row * width + word] |= u64::from(found) << shift;
            }
        }
    }
}

/// Turns sets of columns, one a row, into sets of rows, one a column.
///
/// Sixteen rows at a time, and 64 columns of them: four squares of sixteen bits side by side, of which halves are swapped,
/// then quarters, and so on (Warren, "Hacker's Delight", 7-3).
struct Transpose<'a> {
    rows: &'a [u64],
    /// Words of a row.
    width: usize,
    columns: &'a mut [u64],
    /// Words of a column.
    height: usize,
}

/// Rows and columns of a square.
const SIDE: usize = 16;

impl Kernel for Transpose<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _lanes: L) {
        let Transpose { rows, width, columns, height } = self;
        for (index, rows) in rows.chunks(SIDE * width).enumerate() {
            let (word, shift) = (index * SIDE / 64, index * SIDE % 64);
            for (at, columns) in columns.chunks_mut(64 * height).enumerate() {
                let mut squares = [0; SIDE];
                for (square, row) in squares.iter_mut().zip(rows.chunks_exact(width)) {
                    *square = row[at];
                }
                swap::<8>(&mut squares, 0x00ff_00ff_00ff_00ff);
                swap::<4>(&mut squares, 0x0f0f_0f0f_0f0f_0f0f);
                swap::<2>(&mut squares, 0x3333_3333_3333_3333);
                swap::<1>(&mut squares, 0x5555_5555_5555_5555);
                for (four, columns) in columns.chunks_mut(SIDE * height).enumerate() {
                    for (square, column) in squares.iter().zip(columns.chunks_exact_mut(height)) {
                        // The first of a word's squares takes the place of what was there.
                        let others = if shift > 0 { column[word] } else { 0 };
                        column[word] = others | (square >> (SIDE * four) & 0xffff) << shift;
                    }
                }
            }
        }
    }
}

/// Swaps the upper right and the lower left quarter of each square of twice `HALF`; `left` has the bits of its left
/// half.
#[inline(always)]
fn swap<const HALF: usize>(squares: &mut [u64; SIDE], left: u64) {
    for rows in squares.chunks_exact_mut(2 * HALF) {
        let (upper, lower) = rows.split_at_mut(HALF);
        for (upper, lower) in upper.iter_mut().zip(lower) {
            let swapped = (*upper >> HALF ^ *lower) & left;
            *lower ^= swapped;
            *upper ^= swapped << HALF;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::lanes::{Block, Picks};
    use super::*;
    use crate::random::{Purpose, Stream};

    #[test]
    fn sets_are_turned_over_whatever_their_number_and_size() {
        let words_of = Stream::new(5, Purpose::Init(0), 0);
        for (members, patches) in [(1, 1), (16, 49), (17, 64), (100, 65), (64, 200), (3, 128)] {
            let (width, height) = (words(patches), words(members));
            let lit = |row: usize, column: usize| {
                words_of.word((row * 256 + column) as u64) < u32::MAX / 3
            };
            let mut rows = vec![0; members * width];
            for (row, column) in (0..members).flat_map(|r| (0..patches).map(move |c| (r, c))) {
                rows[row * width + column / 64] |= u64::from(lit(row, column)) << (column % 64);
            }
            for isa in Isa::available() {
                let mut columns = vec![u64::MAX; patches * height];
                isa.run(Transpose { rows: &rows, width, columns: &mut columns, height });
                for (column, set) in columns.chunks(height).enumerate() {
                    let found: Vec<usize> = Picks::new([set], 64 * height).collect();
                    let expected: Vec<usize> =
                        (0..members).filter(|&row| lit(row, column)).collect();
                    assert_eq!(found, expected, "{members} x {patches}, patch {column}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_zero_in_either_matrix_is_found_both_ways_round() {
        let value = Stream::new(7, Purpose::Init(0), 0);
        for (rows, columns) in [(1, 1), (3, 16), (16, 17), (70, 130), (129, 63)] {
            let stride = rows + 2;
            let matrix = |which: u64| {
                let blocks = (0..blocks(columns) * stride).map(|at| {
                    let (column, row) = (at / stride * LANES, at % stride);
                    Block(std::array::from_fn(|lane| {
                        let place = (column + lane < columns && row < rows)
                            .then(|| which << 32 | (row * 200 + column + lane) as u64);
                        match place.map(|place| value.word(place) % 6) {
                            Some(0) => f32::NAN,
                            Some(1) => -1e-30,
                            Some(2) => -0.0,
                            _ => 0.0,
                        }
                    }))
                });
                blocks.collect::<Vec<_>>()
            };
            let (a, b) = (matrix(0), matrix(1));
            let at = |blocks: &[Block], row: usize, column: usize| {
                blocks[column / LANES * stride + row].0[column % LANES]
            };
            for isa in Isa::available() {
                let mut sets = Sets::new(rows, columns);
                let both = [&a[..], &b[..]].map(|blocks| Matrix { blocks, stride });
                sets.find(isa, both, [rows, columns]);
                sets.turn_over(isa, columns);
                let mut count = 0;
                for (row, column) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
                    let lit = at(&a, row, column) != 0.0 || at(&b, row, column) != 0.0;
                    let has =
                        |set: &[u64], member: usize| set[member / WORD] >> (member % WORD) & 1;
                    let case = format!("({row}, {column}) of {rows} x {columns}, {}", isa.name());
                    assert_eq!(has(sets.of_rows().set(row), column), u64::from(lit), "{case}");
                    assert_eq!(has(sets.of_columns().set(column), row), u64::from(lit), "{case}");
                    count += usize::from(lit);
                }
                assert_eq!(sets.count(), count);
            }
        }
    }
}
