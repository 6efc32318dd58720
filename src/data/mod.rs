//! Data sets: images of `rows x cols` bytes, each with a label below `classes`.
//!
//! [`source`] decides where a data set comes from, [`fetch`] brings it from its mirror, [`files`]
//! knows its four files, [`idx`] reads one of them, [`synthetic`] needs none; [`Pixels`] are where
//! their bytes lie, [`patches`] the form in which processors train on them, [`split`] divides them.

pub mod fetch;
pub mod files;
pub mod idx;
pub mod large_pages;
pub mod patches;
mod pixels;
pub mod source;
pub mod split;
pub mod synthetic;
pub mod verify;

pub use files::Published;
pub use patches::PatchedPart;
pub use pixels::Pixels;
pub use source::{Loaded, Request, Source, load};
pub use split::{Part, Split, Validation};

use twox_hash::xxhash3_128::Hasher;

/// Images and their labels, in the order of the files.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// `len x pixels` bytes, row-major.
    pub pixels: Pixels,
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
    /// A data set with its fingerprint; `[rows, cols]` is the size of every image.
    pub fn new(
        name: &str,
        train: Samples,
        test: Samples,
        [rows, cols]: [usize; 2],
        classes: usize,
    ) -> Self {
        let fingerprint = fingerprint(&train, &test, [rows, cols], classes);
        Dataset { name: name.to_string(), train, test, rows, cols, classes, fingerprint }
    }

    /// Values a sample: `rows x cols`.
    pub fn pixels(&self) -> usize {
        self.rows * self.cols
    }
}

/// XXH3-128 of the sizes, then of all bytes: it tells data sets apart at memory speed (about 10 ms
/// for Fashion-MNIST), and is no protection against someone who forges one.
fn fingerprint(
    train: &Samples,
    test: &Samples,
    [rows, cols]: [usize; 2],
    classes: usize,
) -> String {
    let mut hasher = Hasher::new();
    for size in [rows, cols, classes, train.len(), test.len()] {
        hasher.write(&(size as u64).to_le_bytes());
    }
    for part in [&*train.pixels, &train.labels, &test.pixels, &test.labels] {
        hasher.write(part);
    }
    format!("xxh3:{:032x}", hasher.finish_128())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_changes_with_every_byte_and_every_size() {
        let samples = |pixels: &[u8], labels: &[u8]| Samples {
            pixels: pixels.to_vec().into(),
            labels: labels.to_vec(),
        };
        let of = |pixels: &[u8], labels: &[u8], sizes, classes| {
            fingerprint(&samples(pixels, labels), &samples(&[9; 6], &[1]), sizes, classes)
        };
        let base = of(&[1, 2, 3, 4, 5, 6], &[0], [2, 3], 10);
        assert_eq!(base, of(&[1, 2, 3, 4, 5, 6], &[0], [2, 3], 10));
        for other in [
            of(&[1, 2, 3, 4, 5, 7], &[0], [2, 3], 10),
            of(&[1, 2, 3, 4, 5, 6], &[1], [2, 3], 10),
            of(&[1, 2, 3, 4, 5, 6], &[0], [3, 2], 10),
            of(&[1, 2, 3, 4, 5, 6], &[0], [2, 3], 9),
        ] {
            assert_ne!(base, other);
        }
    }
}
