//! Data sets: images of `rows x cols` bytes, each with a label below `classes`.

/// Images and their labels, in the order of the files.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// `len x pixels` bytes, row-major.
    pub pixels: Vec<u8>,
    /// `len` labels, each below the data set's number of classes.
    pub labels: Vec<u8>,
}

impl Samples {
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// A data set as it was published: training samples and test samples.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// `fashion-mnist`, `mnist`, `kmnist`, `synthetic`, or a folder's path.
    pub name: String,
    pub train: Samples,
    pub test: Samples,
    pub rows: usize,
    pub cols: usize,
    pub classes: usize,
    /// A digest of every pixel and label: two data sets are the same if and only if it is.
    pub fingerprint: String,
}

impl Dataset {
    /// Values a sample: `rows x cols`.
    pub fn pixels(&self) -> usize {
        self.rows * self.cols
    }
}

/// Which samples validate a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validation {
    /// The last so many training samples, which are then not trained on.
    Holdout(usize),
    /// The test samples: the textbook's own practice.
    Test,
}

/// A part of a data set, borrowed: `pixels` holds `labels.len() x pixels-a-sample` bytes.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    pub pixels: &'a [u8],
    pub labels: &'a [u8],
}

impl Part<'_> {
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
            labels: &samples.labels[range],
        }
    }
}
