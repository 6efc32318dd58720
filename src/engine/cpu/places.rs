//! Where the samples of a batch lie and which of their patches are lit; and the order of samples that makes the most of it.

use std::array;
use std::ops::Range;

use super::lanes::{ByteRows, Isa, Kernel, LANES, Lanes, blocks};
use super::pixels::Pixels;
use super::sets::{Members, Sets};
use crate::data::PatchedPart;
use crate::data::patches::PATCH;

// A patch fills a vector.
const _: () = assert!(PATCH == LANES);

/// Where the samples of a batch lie, and which of their patches are lit, both ways round.
#[derive(Default)]
pub struct Places {
    /// Bytes of the data set before each sample's.
    starts: Vec<usize>,
    /// Of patches, one a sample; and of samples, one a patch.
    sets: Sets,
}

impl Places {
    /// Room for batches of up to `capacity` samples.
    pub fn new(inputs: usize, capacity: usize) -> Self {
        Places { starts: Vec::with_capacity(capacity), sets: Sets::new(capacity, blocks(inputs)) }
    }

    /// Finds some samples: what a product needs that goes along them.
    pub fn find(&mut self, part: PatchedPart<'_>, samples: &[u32]) {
        let inputs = part.order.len();
        self.starts.clear();
        self.starts.extend(samples.iter().map(|&sample| sample as usize * inputs));
        self.sets.set_rows(samples.iter().map(|&sample| part.lit(sample as usize)));
    }

    /// Finds some samples both ways round: what a product needs that goes down the batch.
    pub fn find_both_ways(&mut self, isa: Isa, part: PatchedPart<'_>, samples: &[u32]) {
        self.find(part, samples);
        self.sets.turn_over(isa, blocks(part.order.len()));
    }

    /// The pixels of the samples that were found, of an image of whole patches.
    pub fn pixels<'a>(&'a self, part: PatchedPart<'a>) -> Pixels<'a> {
        let rows = ByteRows::new(part.pixels, &self.starts, part.order.len() / LANES);
        Pixels::new(rows, self)
    }

    /// The set of a sample's lit columns.
    #[inline(always)]
    pub fn of_sample(&self, sample: usize) -> &[u64] {
        self.sets.of_rows().set(sample)
    }

    /// Sets of the samples in which columns are lit, `N` columns after the other.
    #[inline(always)]
    pub fn of_columns<const N: usize>(
        &self,
        columns: Range<usize>,
    ) -> impl Iterator<Item = [&[u64]; N]> {
        let Members { words, width: height } = self.sets.of_columns();
        let sets = &words[columns.start * height..columns.end * height];
        sets.chunks_exact(N * height)
            .map(move |sets| array::from_fn(|n| &sets[n * height..][..height]))
    }

    /// How many pixels are in lit patches.
    pub fn lit(&self) -> usize {
        LANES * self.sets.count()
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
            // Each sample's rank is how many come before it: 256 comparisons, which fill vectors and no branch waits for.
            let mut ranks = [0; LANES];
            for other in keys {
                for (rank, key) in ranks.iter_mut().zip(keys) {
                    *rank += u64::from(other < key);
                }
            }
            let before = *samples;
            for (sample, rank) in before.into_iter().zip(ranks) {
                samples[rank as usize % LANES] = sample;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::patches::Patches;
    use crate::random::{Purpose, Stream};

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
