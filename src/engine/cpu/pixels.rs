//! The pixels of a batch, and the patches of them that products pass over.
//!
//! Of a patch that is all zero there is nothing to add: sixteen multiply-adds of zeros for each output change no bit
//! of a sum (of weights that are finite; others have diverged). A weights' gradient takes patch by patch and passes over
//! the samples in which it is dark (31 % of Fashion-MNIST's). Forward each sample passes over its own. (Two that share
//! the weights which they read pass over what is dark in both, 16 %, or 24 % with samples of like darkness next to each
//! other: half the loads, but they are not what is waited for.)
//!
//! For a layer with a few outputs, converting bytes in both passes costs less than writing a batch of floats, four times
//! as large, that drives the weights out of the first-level cache: softmax regression reads its [`Pixels`] where they lie
//! in the data set, an MLP a matrix of [`Floats`].

use std::array;
use std::ops::Range;

use super::lanes::{Block, ByteRows, LANES, Lanes, Picks, Runs};
use super::places::Places;
use super::products::{Matrix, Operand};

/// The pixels of a batch: `rows[b][c]` is patch `c` of sample `b`.
#[derive(Clone, Copy)]
pub struct Pixels<'a> {
    rows: ByteRows<'a>,
    places: &'a Places,
}

impl<'a> Pixels<'a> {
    /// These rows, of the samples that were found.
    pub fn new(rows: ByteRows<'a>, places: &'a Places) -> Self {
        Pixels { rows, places }
    }
}

impl<'a> Operand for Pixels<'a> {
    type Item = &'a [u8; LANES];
    const BYTES: usize = 1;
    const COLUMNS: usize = 1;

    #[inline(always)]
    fn load<L: Lanes>(lanes: L, item: &[u8; LANES]) -> L::F {
        lanes.load_u8(item)
    }

    #[inline(always)]
    fn load_part<L: Lanes>(lanes: L, item: &[u8; LANES], part: usize) -> L::Part {
        lanes.load_u8_part(item, part)
    }

    const PASSES_OVER: bool = true;

    #[inline(always)]
    fn along<'b, const M: usize>(
        self,
        row: usize,
        depth: usize,
        with: Runs<'b, Block>,
    ) -> impl Iterator<Item = ([Self::Item; 1], &'b [Block; M])> {
        let picks = Picks::new([self.places.of_sample(row)], depth);
        self.rows.along(row, picks, with).map(|(pixels, weights)| ([pixels], weights))
    }

    #[inline(always)]
    fn along_all<'b, const N: usize, const M: usize>(
        self,
        row: usize,
        depth: usize,
        with: Runs<'b, Block>,
    ) -> impl Iterator<Item = ([Self::Item; N], &'b [Block; M])> {
        self.rows.along_all(row, depth, with)
    }

    #[inline(always)]
    fn down<'b, const N: usize, const M: usize>(
        self,
        columns: Range<usize>,
        depth: usize,
        with: Runs<'b, f32>,
    ) -> impl Iterator<Item = impl Iterator<Item = ([Self::Item; N], &'b [f32; M])>> {
        self.rows.down(columns.clone(), depth, self.places.of_columns::<N>(columns), with)
    }

    fn multiplied(self, _samples: usize, _inputs: usize) -> usize {
        self.places.lit()
    }
}

/// The pixels of a batch as floats, for a layer of many outputs, which reads them often: its weights' gradient passes over
/// the same patches.
#[derive(Clone, Copy)]
pub struct Floats<'a> {
    pub matrix: Matrix<'a>,
    pub places: &'a Places,
}

impl<'a> Operand for Floats<'a> {
    type Item = &'a Block;
    const BYTES: usize = 4;
    const COLUMNS: usize = 1;

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
        self.matrix.along_all(row, depth, with)
    }

    #[inline(always)]
    fn down<'b, const N: usize, const M: usize>(
        self,
        columns: Range<usize>,
        depth: usize,
        with: Runs<'b, f32>,
    ) -> impl Iterator<Item = impl Iterator<Item = ([Self::Item; N], &'b [f32; M])>> {
        let strips = columns.clone().step_by(N).zip(self.places.of_columns::<N>(columns));
        strips.map(move |(column, sets)| {
            let columns: [&[Block]; N] = array::from_fn(|n| self.matrix.column(column + n, depth));
            let picks = Picks::new(sets, depth);
            with.picked(picks).map(move |(at, run)| (array::from_fn(|n| &columns[n][at]), run))
        })
    }

    fn multiplied(self, _samples: usize, _inputs: usize) -> usize {
        self.places.lit()
    }
}

#[cfg(test)]
mod tests {
    use super::super::dense::{ForwardLogits, Learn, NextBatch, PIXEL};
    use super::super::lanes::{Isa, PAIRS, blocks};
    use super::super::network::Network;
    use super::super::sgd::Rule;
    use super::*;
    use crate::data::patches::Patches;
    use crate::model::{Architecture, Init, Parameters};
    use crate::random::{Purpose, Stream};

    /// Images with much darkness: some patches dark in all of them, some in a few.
    fn images(samples: usize, inputs: usize) -> Vec<u8> {
        let stream = Stream::new(6, Purpose::Init(1), 0);
        let pixel = |i: usize| {
            let (sample, patch) = (i / inputs, i % inputs / LANES);
            let dark = patch % 7 == 3 || stream.word((sample * 100 + patch) as u64) < u32::MAX / 3;
            if dark { 0 } else { stream.word(i as u64) as u8 % 200 }
        };
        (0..samples * inputs).map(pixel).collect()
    }

    #[test]
    fn passing_over_dark_patches_changes_no_bit() {
        for (samples, size, classes) in [
            (16, [28, 28], 10),
            (5, [28, 28], 3),
            (1, [4, 4], 2),
            (70, [40, 36], 29),
            (33, [8, 4], 9),
        ] {
            let inputs = size[0] * size[1];
            let (images, labels) = (images(samples, inputs), vec![0; samples]);
            let patches = Patches::new(&images, size);
            let part = patches.part(0..samples, &labels);
            let batch: Vec<u32> = (0..samples as u32).rev().collect();
            let rows: Vec<_> =
                batch.iter().map(|&s| part.sample(s as usize).as_chunks().0).collect();
            let mut floats = vec![Block::ZERO; blocks(inputs) * samples];
            for (row, sample) in rows.iter().enumerate() {
                for (column, pixels) in sample.iter().enumerate() {
                    floats[column * samples + row] = Block(pixels.map(f32::from));
                }
            }
            let floats = Matrix { blocks: &floats, stride: samples };
            for isa in Isa::available() {
                let mut places = Places::new(inputs, samples + 3);
                places.find_both_ways(isa, part, &batch);
                let pixels = places.pixels(part);
                let sparse = step(isa, pixels, (samples, inputs, classes));
                let dense = step(isa, floats, (samples, inputs, classes));
                let case = format!("{samples} of {size:?}, {classes}, {}", isa.name());
                assert!(sparse == dense, "{case}");
                let floats = Floats { matrix: floats, places: &places };
                assert!(step(isa, floats, (samples, inputs, classes)) == dense, "{case}");
                let lit = images.chunks(inputs).flat_map(|_| 0..blocks(inputs));
                assert!(pixels.multiplied(samples, inputs) < LANES * lit.count().max(2));
            }
        }
    }

    /// The logits of a batch and the weights that it leads to, from equal initial ones.
    fn step<X: Operand>(
        isa: Isa,
        inputs: X,
        (samples, pixels, classes): (usize, usize, usize),
    ) -> [Vec<Block>; 2] {
        let architecture = Architecture { inputs: pixels, hidden: Vec::new(), classes };
        let initial = Parameters::initial(&architecture, Init::Default, 1, 2);
        let mut layers = Network::new(&initial, &[], false).layers;
        let layer = &mut layers[0];
        let mut sums = vec![Block::ZERO; classes * PAIRS];
        let mut out = vec![Block::ZERO; classes * blocks(samples)];
        let ahead = &mut NextBatch::nothing();
        let (sums, logits) = (&mut sums[..], &mut out[..]);
        isa.run(ForwardLogits { layer, inputs, scale: PIXEL, samples, sums, out: logits, ahead });
        let delta =
            (0..blocks(classes) * samples).map(|i| Block([0.01 * (i % 13) as f32 - 0.05; LANES]));
        let delta: Vec<Block> = delta.collect();
        let delta = Matrix { blocks: &delta, stride: samples };
        let rule = Rule { learning_rate: 0.1, momentum: 0.0, nesterov: false, weight_decay: 0.0 };
        let ahead = &mut NextBatch::nothing();
        isa.run(Learn { part: layer.whole(), inputs, samples, delta, rule, ahead });
        [out, std::mem::take(&mut layer.weight)]
    }
}
