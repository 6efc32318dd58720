//! Where the samples of a batch lie, and which of their patches are lit.

use std::array;
use std::ops::Range;

use super::lanes::{ByteRows, Isa, LANES, blocks};
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
