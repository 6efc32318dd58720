//! A few numbers for many samples: quartiles, noise, outliers, and intervals that hold what is true.
//!
//! All are pure functions of samples, and robust: timings have a long tail to the right, for a machine
//! that is disturbed only ever takes longer, and one sample in the tail must not move the result.

use serde::{Deserialize, Serialize};

/// What makes a median absolute deviation the standard deviation of a normal distribution.
const NORMAL: f64 = 1.4826;

/// A sample whose modified z-score is beyond this is an outlier: the value that Iglewicz and Hoaglin
/// give ("How to Detect and Handle Outliers", 1993), who write `0.6745 / MAD` for `1 / (1.4826 MAD)`.
pub const OUTLIER: f64 = 3.5;

/// Samples in a few numbers, in the samples' unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub count: usize,
    pub min: f64,
    pub lower_quartile: f64,
    pub median: f64,
    pub upper_quartile: f64,
    pub max: f64,
    /// The standard deviation, estimated from the median absolute deviation, as a share of the median.
    pub noise: f64,
    /// Samples whose modified z-score is beyond [`OUTLIER`].
    pub outliers: usize,
}

impl Summary {
    /// None if there is no sample, or one that is not a number.
    pub fn of(samples: &[f64]) -> Option<Summary> {
        let sorted = sorted(samples)?;
        let (first, last) = (*sorted.first()?, *sorted.last()?);
        let median = quantile(&sorted, 0.5);
        let scores = modified_z_scores(samples);
        Some(Summary {
            count: sorted.len(),
            min: first,
            lower_quartile: quantile(&sorted, 0.25),
            median,
            upper_quartile: quantile(&sorted, 0.75),
            max: last,
            noise: if median == 0.0 { 0.0 } else { NORMAL * deviation(samples) / median.abs() },
            outliers: scores.iter().filter(|score| score.abs() > OUTLIER).count(),
        })
    }
}

/// The samples in ascending order; none if one is not a number.
fn sorted(samples: &[f64]) -> Option<Vec<f64>> {
    if samples.iter().any(|sample| sample.is_nan()) {
        return None;
    }
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(sorted)
}

/// The quantile of sorted samples, linear between its neighbours (R's type 7); NaN of none.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share.clamp(0.0, 1.0) * sorted.len().saturating_sub(1) as f64;
    let at = |index: f64| sorted.get(index as usize).copied().unwrap_or(f64::NAN);
    let (below, above) = (at(place.floor()), at(place.ceil()));
    below + (above - below) * place.fract()
}

/// The median; NaN of no samples.
pub fn median(samples: &[f64]) -> f64 {
    sorted(samples).map_or(f64::NAN, |sorted| quantile(&sorted, 0.5))
}

/// The median absolute deviation from the median.
fn deviation(samples: &[f64]) -> f64 {
    let middle = median(samples);
    median(&samples.iter().map(|sample| (sample - middle).abs()).collect::<Vec<_>>())
}

/// How many deviations each sample is away from the median: `(x - median) / (1.4826 MAD)`.
///
/// Where more than half of the samples are equal the deviation is zero, and each other sample is an
/// infinite number of them away.
pub fn modified_z_scores(samples: &[f64]) -> Vec<f64> {
    let (middle, scale) = (median(samples), NORMAL * deviation(samples));
    let score = |sample: &f64| match sample - middle {
        0.0 => 0.0,
        distance => distance / scale,
    };
    samples.iter().map(score).collect()
}

/// From where to where something is, with some confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub low: f64,
    pub middle: f64,
    pub high: f64,
}

impl Interval {
    /// Half of its width, as a share of its middle.
    pub fn relative_error(&self) -> f64 {
        (self.high - self.low) / (2.0 * self.middle.abs())
    }

    /// Whether there is nothing uncertain about it.
    pub fn is_exact(&self) -> bool {
        self.low == self.high
    }

    /// The interval of the quotient of two independent values, both above zero.
    ///
    /// In logarithms, where a quotient is a difference, by the method of variance estimates recovery
    /// (Zou and Donner, 2008), which keeps intervals lopsided that are.
    pub fn over(&self, other: &Interval) -> Interval {
        let log = |interval: &Interval| {
            [interval.low, interval.middle, interval.high].map(|value| value.max(1e-300).ln())
        };
        let ([a_low, a, a_high], [b_low, b, b_high]) = (log(self), log(other));
        let (down, up) = ((a - a_low).hypot(b_high - b), (a_high - a).hypot(b - b_low));
        Interval { low: (a - b - down).exp(), middle: (a - b).exp(), high: (a - b + up).exp() }
    }
}

/// An interval that holds the median of what the samples are drawn from, with at least this
/// confidence, whatever their distribution; none if there are too few samples for it (8 for 99 %).
///
/// Of `n` samples the number below the median is binomial, so the ends are order statistics: no
/// distribution is assumed, only that the samples do not depend on one another.
pub fn median_interval(samples: &[f64], confidence: f64) -> Option<Interval> {
    let sorted = sorted(samples)?;
    let n = sorted.len();
    let outside = (1.0 - confidence) / 2.0;
    // The most samples that may be left out at each end: P(Binomial(n, 1/2) <= left out - 1).
    // In logarithms, for 2^-n underflows.
    let mut term = n as f64 * 0.5f64.ln();
    let (mut below, mut left_out) = (term.exp(), 0);
    while below <= outside && 2 * (left_out + 1) <= n {
        left_out += 1;
        term += ((n - left_out + 1) as f64 / left_out as f64).ln();
        below += term.exp();
    }
    let index = left_out.checked_sub(1)?;
    let (low, high) = (*sorted.get(index)?, *sorted.get(n - 1 - index)?);
    Some(Interval { low, middle: quantile(&sorted, 0.5), high })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream, unit_f32};

    /// Made-up samples: uniform in [0, 1).
    fn uniform(count: usize, trial: u32) -> Vec<f64> {
        let stream = Stream::new(5, Purpose::Synthetic(0), trial);
        (0..count as u64).map(|i| f64::from(unit_f32(stream.word(i)))).collect()
    }

    #[test]
    fn quartiles_are_linear_between_neighbours() {
        let summary = Summary::of(&[4.0, 1.0, 2.0, 3.0]).unwrap();
        let Summary { count, min, lower_quartile, median, upper_quartile, max, .. } = summary;
        let quartiles = [min, lower_quartile, median, upper_quartile, max];
        assert_eq!((count, quartiles), (4, [1.0, 1.75, 2.5, 3.25, 4.0]));
        let one = Summary::of(&[7.0]).unwrap();
        assert_eq!(
            (one.min, one.median, one.max, one.noise, one.outliers),
            (7.0, 7.0, 7.0, 0.0, 0)
        );
    }

    #[test]
    fn there_is_no_summary_of_nothing_nor_of_what_is_not_a_number() {
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&[1.0, f64::NAN]), None);
        assert_eq!(median_interval(&[f64::NAN; 20], 0.9), None);
    }

    #[test]
    fn outliers_are_found_by_their_modified_z_score_and_do_not_hide_one_another() {
        // The example of Iglewicz and Hoaglin: ten measurements, two of them mistakes. Their scores
        // are 21.4 and 41.6; by mean and standard deviation neither would be beyond 3.
        let samples = [2.1, 2.6, 2.4, 2.5, 2.3, 2.1, 2.3, 2.6, 8.2, 8.3];
        let scores = modified_z_scores(&samples);
        assert!(scores[..8].iter().all(|score| score.abs() < OUTLIER), "{scores:?}");
        assert!(scores[8..].iter().all(|&score| score > 10.0), "{scores:?}");
        assert_eq!(Summary::of(&samples).unwrap().outliers, 2);
        // More than half are equal: what differs is an outlier, what does not is none.
        assert_eq!(modified_z_scores(&[1.0, 1.0, 1.0, 2.0]), [0.0, 0.0, 0.0, f64::INFINITY]);
    }

    #[test]
    fn noise_is_a_standard_deviation_that_outliers_do_not_move() {
        // Uniform on [10, 11): MAD 1/4, so 1.4826 / 4 / 10.5.
        let mut samples: Vec<f64> = uniform(2001, 0).iter().map(|x| 10.0 + x).collect();
        let noise = |samples: &[f64]| Summary::of(samples).unwrap().noise;
        assert!((noise(&samples) - 0.0353).abs() < 2e-3, "{}", noise(&samples));
        samples.extend([1000.0; 100]);
        assert!((noise(&samples) - 0.0353).abs() < 5e-3, "{}", noise(&samples));
    }

    #[test]
    fn eight_samples_are_the_fewest_for_99_percent_and_then_it_is_their_whole_range() {
        let samples = [3.0, 1.0, 4.0, 1.5, 9.0, 2.6, 5.0];
        assert_eq!(median_interval(&samples, 0.99), None);
        let interval = median_interval(&[&samples[..], &[3.5]].concat(), 0.99).unwrap();
        assert_eq!((interval.low, interval.high), (1.0, 9.0));
        assert_eq!(median_interval(&[], 0.5), None);
    }

    #[test]
    fn the_ends_of_the_interval_are_the_order_statistics_of_the_tables() {
        // Conover's table: of 20 samples the 5th and 16th hold the median with 98.8 %, of 30 the 8th
        // and 23rd with 99.5 %.
        let samples = |n: usize| (1..=n).map(|i| i as f64).collect::<Vec<_>>();
        let ends = |n, confidence| {
            median_interval(&samples(n), confidence).map(|interval| (interval.low, interval.high))
        };
        assert_eq!(ends(20, 0.988), Some((5.0, 16.0)));
        assert_eq!(ends(20, 0.989), Some((4.0, 17.0)));
        assert_eq!(ends(30, 0.99), Some((8.0, 23.0)));
        // Of 2000, 2.576 standard deviations of sqrt(2000) / 2 to each side of the middle: exactly, 942.
        assert_eq!(ends(2000, 0.99), Some((942.0, 1059.0)));
    }

    #[test]
    fn the_interval_holds_the_median_as_often_as_it_says() {
        for (count, confidence) in [(15, 0.95), (40, 0.99)] {
            let holds = |trial: &u32| {
                // A long tail to the right, median e^0.5.
                let samples: Vec<f64> = uniform(count, *trial).iter().map(|x| x.exp()).collect();
                let interval = median_interval(&samples, confidence).unwrap();
                (interval.low..=interval.high).contains(&0.5f64.exp())
            };
            let held = (0..2000).filter(holds).count() as f64 / 2000.0;
            assert!(held >= confidence - 0.01, "{held} of {count} samples, not {confidence}");
        }
    }

    #[test]
    fn the_interval_of_a_quotient_is_wider_than_either_and_has_the_quotient_in_it() {
        let a = Interval { low: 10.0, middle: 11.0, high: 13.0 };
        let b = Interval { low: 9.0, middle: 10.0, high: 10.5 };
        let quotient = a.over(&b);
        assert!((quotient.middle - 1.1).abs() < 1e-12);
        assert!(quotient.low < 1.0 && quotient.high > 1.3, "{quotient:?}");
        let certain = Interval { low: 2.0, middle: 2.0, high: 2.0 };
        let same = a.over(&certain);
        assert!((same.low - 5.0).abs() < 1e-12 && (same.high - 6.5).abs() < 1e-12);
    }
}
