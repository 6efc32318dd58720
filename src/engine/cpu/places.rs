//! Where the samples of a batch lie and which of their patches are lit; and the order of samples that makes the most of it.

use std::array;
use std::ops::Range;

use super::lanes::{ByteRows, Isa, Kernel, LANES, Lanes, blocks};
use super::pixels::Pixels;
use crate::data::PatchedPart;
use crate::data::patches::{PATCH, words};

// A patch fills a vector.
const _: () = assert!(PATCH == LANES);

/// Where the samples of a batch lie, and which of their patches are lit, both ways round.
#[derive(Default)]
pub struct Places {
    /// Patches of the data set before each sample's.
    starts: Vec<usize>,
    /// Sets of patches, one a sample.
    of_samples: Vec<u64>,
    /// Sets of samples, one a patch.
    of_patches: Vec<u64>,
}

impl Places {
    /// Room for batches of up to `capacity` samples.
    pub fn new(inputs: usize, capacity: usize) -> Self {
        let patches = blocks(inputs);
        Places {
            starts: Vec::with_capacity(capacity),
            of_samples: Vec::with_capacity(capacity * words(patches)),
            of_patches: vec![0; patches * words(capacity)],
        }
    }

    /// Finds some samples: what a product needs that goes along them.
    pub fn find(&mut self, part: PatchedPart<'_>, samples: &[u32]) {
        let patches = blocks(part.order.len());
        self.starts.clear();
        self.of_samples.clear();
        for &sample in samples {
            self.starts.push(sample as usize * patches);
            self.of_samples.extend_from_slice(part.lit(sample as usize));
        }
    }

    /// Finds some samples both ways round: what a product needs that goes down the batch.
    pub fn find_both_ways(&mut self, isa: Isa, part: PatchedPart<'_>, samples: &[u32]) {
        self.find(part, samples);
        let (patches, height) = (blocks(part.order.len()), words(samples.len()));
        let columns = &mut self.of_patches[..patches * height];
        isa.run(Transpose { rows: &self.of_samples, width: words(patches), columns, height });
    }

    /// The pixels of the samples that were found, of an image of whole patches.
    pub fn pixels<'a>(&'a self, part: PatchedPart<'a>) -> Pixels<'a> {
        let (patches, _) = part.pixels.as_chunks();
        let rows = ByteRows::new(patches, &self.starts, blocks(part.order.len()));
        Pixels::new(rows, self)
    }

    /// The set of a sample's lit columns, of so many.
    #[inline(always)]
    pub fn of_sample(&self, sample: usize, columns: usize) -> &[u64] {
        &self.of_samples[sample * words(columns)..][..words(columns)]
    }

    /// Sets of the samples in which columns are lit, `N` columns after the other.
    #[inline(always)]
    pub fn of_columns<const N: usize>(
        &self,
        columns: Range<usize>,
    ) -> impl Iterator<Item = [&[u64]; N]> {
        let height = words(self.starts.len());
        let sets = &self.of_patches[columns.start * height..columns.end * height];
        sets.chunks_exact(N * height)
            .map(move |sets| array::from_fn(|n| &sets[n * height..][..height]))
    }

    /// How many pixels are in lit patches.
    pub fn lit(&self) -> usize {
        LANES * self.of_samples.iter().map(|word| word.count_ones() as usize).sum::<usize>()
    }
}

/// Puts samples next to each other, of each sixteen, that are dark in the same patches: two of them share what they pass
/// over. In the order of their sets it is 24 % of Fashion-MNIST's patches.
pub struct Pair<'a> {
    pub part: PatchedPart<'a>,
    pub samples: &'a mut [u32],
}

impl Kernel for Pair<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _lanes: L) {
        for samples in self.samples.as_chunks_mut::<LANES>().0 {
            // A set's first word tells enough; its highest bits give way to the sample's place.
            let mut keys = [0; LANES];
            for (place, key) in keys.iter_mut().enumerate() {
                let set = self.part.lit(samples[place] as usize).first().copied();
                *key = set.unwrap_or_default() << 4 | place as u64;
            }
            sort(&mut keys);
            let before = *samples;
            for (sample, key) in samples.iter_mut().zip(keys) {
                *sample = before[key as usize % LANES];
            }
        }
    }
}

/// Batcher's bitonic sort: ten rounds of smaller and larger, without a branch that a key decides.
#[inline(always)]
fn sort(keys: &mut [u64; LANES]) {
    merge::<2>(keys);
    merge::<4>(keys);
    part::<2>(keys);
    merge::<8>(keys);
    part::<4>(keys);
    part::<2>(keys);
    merge::<16>(keys);
    part::<8>(keys);
    part::<4>(keys);
    part::<2>(keys);
}

/// Parts runs of so many keys, of two sorted halves each, into a half of smaller and a half of larger ones.
#[inline(always)]
fn merge<const RUN: usize>(keys: &mut [u64; LANES]) {
    for run in keys.as_chunks_mut::<RUN>().0 {
        for i in 0..RUN / 2 {
            let (a, b) = (run[i], run[RUN - 1 - i]);
            (run[i], run[RUN - 1 - i]) = (a.min(b), a.max(b));
        }
    }
}

/// The same for runs that are such a half.
#[inline(always)]
fn part<const RUN: usize>(keys: &mut [u64; LANES]) {
    for run in keys.as_chunks_mut::<RUN>().0 {
        for i in 0..RUN / 2 {
            let (a, b) = (run[i], run[i + RUN / 2]);
            (run[i], run[i + RUN / 2]) = (a.min(b), a.max(b));
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
        columns.fill(0);
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
                        column[word] |= (square >> (SIDE * four) & 0xffff) << shift;
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
    use super::super::lanes::Picks;
    use super::*;
    use crate::data::patches::Patches;
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
    fn of_each_sixteen_samples_those_with_like_sets_come_together_and_none_is_lost() {
        // A few pixels each, so that a few patches are lit.
        let stream = Stream::new(6, Purpose::Init(1), 0);
        let pixel = |i: u64| u8::from(stream.word(i) < u32::MAX / 40);
        let images: Vec<u8> = (0..60 * 784).map(pixel).collect();
        let patches = Patches::new(&images, [28, 28]);
        let part = patches.part(0..60, &[0; 60]);
        let set = |sample: &u32| part.lit(*sample as usize)[0];
        let before: Vec<u32> = (0..60).map(|i| i * 7 % 60).chain([3; 20]).collect();
        for isa in Isa::available() {
            let mut samples = before.clone();
            isa.run(Pair { part, samples: &mut samples });
            for (before, after) in before.chunks(LANES).zip(samples.chunks(LANES)) {
                let mut expected = before.to_vec();
                expected.sort_by_key(set);
                assert_eq!(after, expected, "{}", isa.name());
            }
        }
        // What is left over of sixteen stays as it is.
        let mut samples = before[..15].to_vec();
        Isa::available()[0].run(Pair { part, samples: &mut samples });
        assert_eq!(samples, before[..15]);
    }
}
