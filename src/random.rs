//! Counter-based random numbers: every draw in the program comes from here.
//!
//! A draw is a pure function of *(seed, purpose, trial, position)*, so no generator state is
//! carried, shared or split, and no number changes with threads, devices or the order of work.
//! The generator is Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
//! SC 2011). The two key words are the study's seed; the four counter words are
//! `[position low, position high, trial, purpose]`.

use std::convert::Infallible;

use rand::TryRng;

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Philox4x32-10: four random words for a counter and a key.
#[inline(always)]
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let a = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let b = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// What a stream of random numbers is for. Streams of different purposes are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// One parameter of a config; the number is the parameter's place in its space.
    Config(u16),
    /// Initial values of one tensor; the number counts the model's tensors, `weight, bias` a layer.
    Init(u16),
    /// Round keys of an epoch's shuffle.
    Shuffle,
    /// Dropout masks of one hidden layer, counted from 0.
    Dropout(u16),
    /// The built-in synthetic data set; the number is one of its parts.
    Synthetic(u16),
}

impl Purpose {
    /// The counter word of this purpose: the kind in the high half, its number in the low half.
    pub const fn word(self) -> u32 {
        let (kind, index) = match self {
            Purpose::Config(i) => (1, i),
            Purpose::Init(i) => (2, i),
            Purpose::Shuffle => (3, 0),
            Purpose::Dropout(i) => (4, i),
            Purpose::Synthetic(i) => (5, i),
        };
        (kind << 16) | index as u32
    }
}

/// One stream of random words: those of a *(seed, purpose, trial)*, read by position or in order.
///
/// As an [`rand::Rng`] it yields word 0, 1, 2, ... of the stream.
///
/// ```
/// use warpsweep::random::{Purpose, Stream};
/// use rand::Rng;
/// let mut stream = Stream::new(7, Purpose::Config(0), 3);
/// let first = stream.next_u32();
/// assert_eq!(first, stream.word(0)); // reading by position is the same number
/// ```
#[derive(Clone, Debug)]
pub struct Stream {
    key: [u32; 2],
    trial: u32,
    purpose: u32,
    next: u64,
}

impl Stream {
    /// The stream of a purpose in one trial of the study with this seed.
    pub fn new(seed: u64, purpose: Purpose, trial: u32) -> Self {
        let key = [seed as u32, (seed >> 32) as u32];
        Stream { key, trial, purpose: purpose.word(), next: 0 }
    }

    /// Four words, at positions `4 * block .. 4 * block + 4` of the stream.
    #[inline(always)]
    pub fn block(&self, block: u64) -> [u32; 4] {
        philox4x32([block as u32, (block >> 32) as u32, self.trial, self.purpose], self.key)
    }

    /// The word at a position of the stream.
    #[inline(always)]
    pub fn word(&self, position: u64) -> u32 {
        self.block(position / 4)[(position % 4) as usize]
    }
}

impl TryRng for Stream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let word = self.word(self.next);
        self.next += 1;
        Ok(word)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let low = self.try_next_u32()?;
        Ok(u64::from(low) | u64::from(self.try_next_u32()?) << 32)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(4) {
            chunk.copy_from_slice(&self.try_next_u32()?.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

/// A random word as a float in [0, 1): its upper 24 bits, exact in `f32` on every device.
#[inline(always)]
pub fn unit_f32(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// A random word as a float in `[-bound, bound)`: one rounding, so the same bits on every device.
#[inline(always)]
pub fn symmetric_f32(word: u32, bound: f32) -> f32 {
    (2.0 * unit_f32(word) - 1.0) * bound
}

/// A keyed bijection of `[0, n)`: the order in which an epoch visits its samples.
///
/// An alternating Feistel network over the smallest power of two that holds `n`, with cycle walking
/// (Mitchell et al., "Bandwidth-optimal random shuffling for GPUs", 2021). The permutation is
/// evaluated index by index: nothing is stored or sorted, and each trial can have its own.
#[derive(Clone, Debug)]
pub struct Shuffle {
    n: u32,
    right_bits: u32,
    left_mask: u32,
    right_mask: u32,
    keys: [u32; Shuffle::ROUNDS],
}

impl Shuffle {
    /// Each round changes one half; eight let each half depend on the other four times.
    pub const ROUNDS: usize = 8;

    /// The order of `n` samples (at most 2^31) in one epoch of a trial.
    pub fn new(n: usize, seed: u64, trial: u32, epoch: u32) -> Self {
        let n = u32::try_from(n).unwrap_or(1 << 31).clamp(1, 1 << 31);
        let bits = (u32::BITS - (n - 1).leading_zeros()).max(2);
        let right_bits = bits.div_ceil(2);
        let stream = Stream::new(seed, Purpose::Shuffle, trial);
        let [first, second] = [0, 1].map(|half| stream.block(2 * u64::from(epoch) + half));
        let mut keys = [0; Self::ROUNDS];
        keys[..4].copy_from_slice(&first);
        keys[4..].copy_from_slice(&second);
        Shuffle {
            n,
            right_bits,
            left_mask: (1 << (bits - right_bits)) - 1,
            right_mask: (1 << right_bits) - 1,
            keys,
        }
    }

    /// The round function: a half and a round key, mixed so that the high bits depend on all.
    #[inline(always)]
    fn mix(half: u32, key: u32) -> u32 {
        let x = (half ^ key).wrapping_mul(0x9E37_79B1);
        (x ^ (x >> 15)).wrapping_mul(0x85EB_CA77) >> 16
    }

    /// One pass through the network: a bijection of the power of two.
    #[inline(always)]
    fn permute(&self, index: u32) -> u32 {
        let mut left = index >> self.right_bits;
        let mut right = index & self.right_mask;
        for pair in 0..Self::ROUNDS / 2 {
            left ^= Self::mix(right, self.keys[2 * pair]) & self.left_mask;
            right ^= Self::mix(left, self.keys[2 * pair + 1]) & self.right_mask;
        }
        left << self.right_bits | right
    }

    /// The sample visited at a position; `position` is taken modulo nothing: it must be below `n`.
    #[inline(always)]
    pub fn index(&self, position: u32) -> u32 {
        let mut index = self.permute(position);
        while index >= self.n {
            index = self.permute(index);
        }
        index
    }

    /// The samples at positions `start .. start + out.len()`.
    ///
    /// Nothing branches on an index, so passes fill vector registers. Those that landed outside `[0, n)` (under half,
    /// 24 % for 50,000) are walked on together: the order of an epoch takes 0.3 ms, where one by one it took 0.5.
    #[inline(always)]
    pub fn fill(&self, start: u32, out: &mut [u32]) {
        const TOGETHER: usize = 1024; // which stay in the first-level cache
        for (chunk, out) in out.chunks_mut(TOGETHER).enumerate() {
            let start = start + (chunk * TOGETHER) as u32;
            let (mut places, mut walked) = ([0u16; TOGETHER], [0; TOGETHER]);
            let mut outside = 0;
            for (offset, slot) in out.iter_mut().enumerate() {
                *slot = self.permute(start + offset as u32);
            }
            for (place, index) in out.iter().enumerate() {
                places[outside] = place as u16;
                outside += usize::from(*index >= self.n);
            }
            while outside > 0 {
                for (walked, place) in walked.iter_mut().zip(&places[..outside]) {
                    *walked = out[usize::from(*place)];
                }
                walked[..outside].iter_mut().for_each(|index| *index = self.permute(*index));
                let mut left = 0;
                for (at, index) in walked[..outside].iter().enumerate() {
                    out[usize::from(places[at])] = *index;
                    places[left] = places[at];
                    left += usize::from(*index >= self.n);
                }
                outside = left;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_known_answers_of_its_paper() {
        let ones = u32::MAX;
        let cases = [
            ([0; 4], [0; 2], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]),
            ([ones; 4], [ones; 2], [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]),
            (
                [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
                [0xa4093822, 0x299f31d0],
                [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
            ),
        ];
        for (counter, key, output) in cases {
            assert_eq!(philox4x32(counter, key), output);
        }
    }

    #[test]
    fn a_shuffle_visits_every_sample_exactly_once_whatever_the_count() {
        for n in (1..300).chain([1023, 1024, 1025, 50_000, 60_000, 65_536, 65_537]) {
            let shuffle = Shuffle::new(n, 11, 3, 2);
            let mut order = vec![0; n];
            shuffle.fill(0, &mut order);
            for position in [0, n / 2, n - 1] {
                assert_eq!(order[position], shuffle.index(position as u32));
            }
            order.sort_unstable();
            assert!(order.into_iter().eq(0..n as u32), "not a permutation of {n}");
        }
    }

    #[test]
    fn over_many_epochs_every_sample_is_as_likely_at_every_position() {
        // Chi-squared over a 12 x 12 table of (position, sample); 121 degrees of freedom have
        // mean 121 and standard deviation 15.6, and 200 lies five of them above.
        let (n, epochs) = (12, 60_000);
        let mut counts = vec![0u32; n * n];
        for epoch in 0..epochs {
            let shuffle = Shuffle::new(n, 5, 1, epoch);
            for position in 0..n {
                counts[position * n + shuffle.index(position as u32) as usize] += 1;
            }
        }
        let expected = f64::from(epochs) / n as f64;
        let chi: f64 = counts.iter().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum();
        assert!((50.0..200.0).contains(&chi), "chi-squared {chi}");
    }

    #[test]
    fn neighbouring_epochs_trials_and_seeds_shuffle_independently() {
        let n = 60_000;
        let order = |seed, trial, epoch| {
            let mut order = vec![0; n];
            Shuffle::new(n, seed, trial, epoch).fill(0, &mut order);
            order
        };
        let base = order(1, 1, 1);
        for other in [order(2, 1, 1), order(1, 2, 1), order(1, 1, 2)] {
            // Two independent permutations agree in one place on average (Poisson).
            let fixed = base.iter().zip(&other).filter(|(a, b)| a == b).count();
            assert!(fixed < 10, "{fixed} samples kept their place");
            let mean = (n as f64 - 1.0) / 2.0;
            let covariance: f64 = base
                .iter()
                .zip(&other)
                .map(|(&a, &b)| (f64::from(a) - mean) * (f64::from(b) - mean))
                .sum();
            let correlation = covariance / (n as f64 * (n as f64 * n as f64 - 1.0) / 12.0);
            assert!(correlation.abs() < 0.02, "correlation {correlation}");
        }
    }

    #[test]
    fn initial_values_are_uniform_within_their_bound() {
        let stream = Stream::new(3, Purpose::Init(0), 9);
        let values: Vec<f64> =
            (0..100_000).map(|i| f64::from(symmetric_f32(stream.word(i), 0.5))).collect();
        assert!(values.iter().all(|v| (-0.5..0.5).contains(v)));
        let mean = values.iter().sum::<f64>() / 1e5;
        let variance = values.iter().map(|v| v * v).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.004 && (variance - 1.0 / 12.0).abs() < 0.002);
    }
}
