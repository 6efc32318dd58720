//! When a point has been measured enough.
//!
//! As in NVBench there is a least time, an aim and a time limit. NVBench's aim is the standard
//! deviation, which does not fall with more samples and so runs into the limit on a noisy machine; ours
//! is how well the median is known, which does fall, and that two passes came down to the same floor, which
//! is what a comparison goes by. (NVBench's other criterion, the entropy of the samples,
//! asks whether new ones are still surprising; it says nothing about how certain the result is.)

use super::statistics::median_interval;

/// Confidence of the interval that the aim is about.
const CONFIDENCE: f64 = 0.95;

/// The rule: times in seconds, for all passes over a point together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stopping {
    /// A point is measured for at least so long.
    pub least: f64,
    /// And until its median is known to this share of itself, to both sides, and two floors agree as well,
    pub error: f64,
    /// or for so long.
    pub most: f64,
}

/// Why no more samples are taken for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The median and the floor are known well enough.
    Certain,
    TimeLimit,
}

impl Stopping {
    /// Whether to stop in the pass `pass` (from 0) of `passes`, after these samples of all passes so
    /// far, which took so many seconds; `apart` is how far the two lowest floors lie apart, as a share of
    /// them, if there are two. Each pass has an equal part of the times.
    pub fn now(
        &self,
        samples: &[f64],
        apart: Option<f64>,
        seconds: f64,
        (pass, passes): (usize, usize),
    ) -> Option<Stop> {
        let part = (pass + 1) as f64 / passes.max(1) as f64;
        if seconds >= self.most * part && !samples.is_empty() {
            return Some(Stop::TimeLimit);
        }
        if seconds < self.least * part {
            return None;
        }
        let known = median_interval(samples, CONFIDENCE)?.relative_error();
        (known.max(apart.unwrap_or(0.0)) <= self.error).then_some(Stop::Certain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Stopping = Stopping { least: 1.0, error: 0.01, most: 10.0 };
    const WHOLE: (usize, usize) = (0, 1);

    #[test]
    fn a_quiet_point_stops_after_the_least_time_and_no_sooner() {
        let samples = [1.0; 30];
        assert_eq!(RULE.now(&samples, None, 0.9, WHOLE), None);
        assert_eq!(RULE.now(&samples, None, 1.0, WHOLE), Some(Stop::Certain));
    }

    #[test]
    fn a_noisy_point_goes_on_until_its_median_is_known_or_the_time_is_up() {
        let noisy: Vec<f64> = (0..30).map(|i| 1.0 + 0.1 * f64::from(i % 3)).collect();
        assert_eq!(RULE.now(&noisy, None, 5.0, WHOLE), None);
        assert_eq!(RULE.now(&noisy, None, 10.0, WHOLE), Some(Stop::TimeLimit));
        // The same noise, many times: the median is known, though no sample became better.
        let many: Vec<f64> = (0..3001).map(|i| 1.0 + 0.1 * f64::from(i % 3000) / 3000.0).collect();
        assert_eq!(RULE.now(&many, None, 5.0, WHOLE), Some(Stop::Certain));
    }

    #[test]
    fn outliers_do_not_keep_it_going() {
        let mut samples = vec![1.0; 30];
        samples.extend([50.0; 5]);
        assert_eq!(RULE.now(&samples, None, 2.0, WHOLE), Some(Stop::Certain));
    }

    #[test]
    fn too_few_samples_are_never_certain_but_the_limit_holds_for_them_too() {
        assert_eq!(RULE.now(&[1.0; 4], None, 2.0, WHOLE), None);
        assert_eq!(RULE.now(&[1.0; 4], None, 11.0, WHOLE), Some(Stop::TimeLimit));
        assert_eq!(RULE.now(&[], None, 11.0, WHOLE), None);
    }

    #[test]
    fn a_point_whose_passes_do_not_agree_goes_on() {
        let samples = [1.0; 30];
        assert_eq!(RULE.now(&samples, Some(0.02), 2.0, WHOLE), None);
        assert_eq!(RULE.now(&samples, Some(0.01), 2.0, WHOLE), Some(Stop::Certain));
        assert_eq!(RULE.now(&samples, Some(0.02), 10.0, WHOLE), Some(Stop::TimeLimit));
    }

    #[test]
    fn each_pass_has_an_equal_part_of_the_time() {
        let samples = [1.0; 30];
        assert_eq!(RULE.now(&samples, None, 0.3, (0, 4)), Some(Stop::Certain));
        assert_eq!(RULE.now(&samples, None, 0.3, (1, 4)), None);
        assert_eq!(RULE.now(&[1.0; 3], None, 2.5, (0, 4)), Some(Stop::TimeLimit));
        assert_eq!(RULE.now(&[1.0; 3], None, 2.5, (1, 4)), None);
    }
}
