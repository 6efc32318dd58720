//! Splits: which samples are trained on, which validate, which are kept for the end.

use std::fmt;
use std::str::FromStr;

use super::{Dataset, PatchedPart, Pixels, Samples};
use crate::error::{Error, Result};

/// Training samples that are held out when nothing else is said.
pub const DEFAULT_HOLDOUT: usize = 10_000;

/// Which samples validate a trial.
///
/// ```
/// use warpsweep::data::Validation;
/// assert_eq!("holdout".parse::<Validation>().unwrap(), Validation::Holdout(10_000));
/// assert_eq!(Validation::Holdout(500).to_string(), "holdout:500");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    /// The last so many training samples, which are then not trained on.
    Holdout(usize),
    /// The test samples: the textbook's own practice.
    Test,
}

impl Default for Validation {
    fn default() -> Self {
        Validation::Holdout(DEFAULT_HOLDOUT)
    }
}

impl FromStr for Validation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || Error::UnknownValidation { asked: text.to_string() };
        match text {
            "test" => Ok(Validation::Test),
            "holdout" => Ok(Validation::default()),
            _ => {
                let number = text.strip_prefix("holdout:").ok_or_else(unknown)?;
                number.parse().map(Validation::Holdout).map_err(|_| unknown())
            }
        }
    }
}

impl fmt::Display for Validation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Validation::Holdout(held) => write!(f, "holdout:{held}"),
            Validation::Test => f.write_str("test"),
        }
    }
}

/// A part of a data set, borrowed: `pixels` holds `labels.len() x pixels-a-sample` bytes.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    pub pixels: &'a [u8],
    pub labels: &'a [u8],
    /// Of which these are some.
    images: &'a Pixels,
    size: [usize; 2],
    first: usize,
}

impl<'a> Part<'a> {
    /// The same samples in patches; the data set's are made at the first call.
    pub fn patches(&self) -> PatchedPart<'a> {
        let samples = self.first..self.first + self.len();
        self.images.patches(self.size).part(samples, self.labels)
    }

    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// A data set divided into what is trained on and what validates.
#[derive(Clone, Debug)]
pub struct Split {
    data: Dataset,
    validation: Validation,
}

impl Split {
    /// Divides a data set.
    ///
    /// A holdout must leave something on both sides, and must hold every class that is trained on:
    /// the last samples of a file that is sorted by class would measure something else.
    pub fn new(data: Dataset, validation: Validation) -> Result<Self> {
        if let Validation::Holdout(held) = validation {
            let samples = data.train.len();
            if held == 0 || held >= samples {
                return Err(Error::HoldoutSize { held, samples });
            }
            let (training, holdout) = data.train.labels.split_at(samples - held);
            let [training, holdout] = [training, holdout].map(count_classes);
            let missing = (0..training.len()).find(|&c| training[c] > 0 && holdout[c] == 0);
            if let Some(class) = missing {
                return Err(Error::HoldoutClass { held, class, elsewhere: training[class] });
            }
        }
        Ok(Split { data, validation })
    }

    pub fn data(&self) -> &Dataset {
        &self.data
    }

    pub fn training(&self) -> Part<'_> {
        let n = match self.validation {
            Validation::Holdout(held) => self.data.train.len() - held,
            Validation::Test => self.data.train.len(),
        };
        self.part(&self.data.train, 0..n)
    }

    pub fn validation(&self) -> Part<'_> {
        match self.validation {
            Validation::Holdout(held) => {
                let n = self.data.train.len();
                self.part(&self.data.train, n - held..n)
            }
            Validation::Test => self.test(),
        }
    }

    pub fn test(&self) -> Part<'_> {
        self.part(&self.data.test, 0..self.data.test.len())
    }

    fn part<'a>(&self, samples: &'a Samples, range: std::ops::Range<usize>) -> Part<'a> {
        let pixels = self.data.pixels();
        Part {
            pixels: &samples.pixels[range.start * pixels..range.end * pixels],
            labels: &samples.labels[range.clone()],
            images: &samples.pixels,
            size: [self.data.rows, self.data.cols],
            first: range.start,
        }
    }
}

/// How often each label occurs.
pub fn count_classes(labels: &[u8]) -> [usize; 256] {
    let mut counts = [0; 256];
    for &label in labels {
        counts[usize::from(label)] += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One pixel a sample, its own number; labels as given.
    fn dataset(labels: &[u8]) -> Dataset {
        let samples = |labels: &[u8]| Samples {
            pixels: (0..labels.len() as u8).collect::<Vec<u8>>().into(),
            labels: labels.to_vec(),
        };
        Dataset::new("tiny", samples(labels), samples(&[1, 0]), [1, 1], 10)
    }

    #[test]
    fn a_holdout_takes_the_last_samples_from_training() {
        let split = Split::new(dataset(&[0, 1, 0, 1, 0]), Validation::Holdout(2)).unwrap();
        assert_eq!(split.training().pixels, [0, 1, 2]);
        assert_eq!(split.training().labels, [0, 1, 0]);
        assert_eq!(split.validation().pixels, [3, 4]);
        assert_eq!(split.validation().labels, [1, 0]);
        assert_eq!(split.test().labels, [1, 0]);
    }

    #[test]
    fn validation_on_the_test_set_trains_on_everything() {
        let split = Split::new(dataset(&[0, 1, 0, 1, 0]), Validation::Test).unwrap();
        assert_eq!(split.training().len(), 5);
        assert_eq!(split.validation().labels, split.test().labels);
    }

    #[test]
    fn a_holdout_of_nothing_or_of_everything_is_refused_with_the_limits() {
        for held in [0, 5, 6, usize::MAX] {
            let error = Split::new(dataset(&[0, 1, 0, 1, 0]), Validation::Holdout(held));
            let message = error.unwrap_err().to_string();
            assert!(message.contains(&format!("holdout:{held} of 5")), "{message}");
            assert!(message.contains("at most 4"), "{message}");
        }
    }

    #[test]
    fn sorted_labels_are_told_from_shuffled_ones() {
        let error = Split::new(dataset(&[0, 0, 0, 1, 1, 1]), Validation::Holdout(2)).unwrap_err();
        assert!(matches!(error, Error::HoldoutClass { held: 2, class: 0, elsewhere: 3 }));
        assert!(error.to_string().contains("look sorted"), "{error}");
        assert!(Split::new(dataset(&[0, 0, 1, 1, 1, 0]), Validation::Holdout(2)).is_ok());
        // A class that only the holdout has is strange, but nothing is trained on it.
        assert!(Split::new(dataset(&[0, 0, 0, 1]), Validation::Holdout(1)).is_err());
    }

    #[test]
    fn a_validation_is_read_as_it_is_shown() {
        for validation in [Validation::Holdout(7), Validation::Holdout(10_000), Validation::Test] {
            assert_eq!(validation.to_string().parse::<Validation>().unwrap(), validation);
        }
        for wrong in ["", "holdout:", "holdout:-1", "holdout:1.5", "holdout:x", "tests", "Test"] {
            let message = wrong.parse::<Validation>().unwrap_err().to_string();
            assert!(message.contains(&format!("`{wrong}`")), "{message}");
        }
    }
}
