//! The four files of a data set, and the data sets whose files are published.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::idx::{CLASSES, IdxFile, Kind};
use super::{Dataset, Pixels, Samples};
use crate::error::{Error, Result};

/// Names of the four files, plain; gzipped ones end in `.gz`.
pub const FILES: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

/// The data sets that are published as four IDX files with known MD5 sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    FashionMnist,
    Mnist,
    Kmnist,
}

impl Published {
    pub const ALL: [Published; 3] = [Published::FashionMnist, Published::Mnist, Published::Kmnist];

    /// The name that `--data` takes; a folder of this name is looked for.
    pub fn name(self) -> &'static str {
        match self {
            Published::FashionMnist => "fashion-mnist",
            Published::Mnist => "mnist",
            Published::Kmnist => "kmnist",
        }
    }

    /// Where the gzipped files are fetched from; ends in a slash.
    ///
    /// Fashion-MNIST and KMNIST: their authors' own servers, as their READMEs name them. MNIST: the
    /// mirror that torchvision keeps, since the authors' server no longer answers.
    pub fn mirror(self) -> &'static str {
        match self {
            Published::FashionMnist => {
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
            }
            Published::Mnist => "https://ossci-datasets.s3.amazonaws.com/mnist/",
            Published::Kmnist => "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        }
    }

    /// MD5 sums of the gzipped files, in the order of [`FILES`]: Fashion-MNIST's from its README,
    /// the others' from torchvision's `datasets/mnist.py`.
    pub fn md5(self) -> [&'static str; 4] {
        match self {
            Published::FashionMnist => [
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ],
            Published::Mnist => [
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ],
            Published::Kmnist => [
                "bdb82020997e1d708af4cf47b453dcf7",
                "e144d726b3acfaa3e44228e80efcd344",
                "5c965bf0a639b31b8f53240b1b52f4d7",
                "7320c461ea6c1c855c0b718fb2a4b134",
            ],
        }
    }

    /// The published data set whose training labels a folder holds, if they are as published.
    ///
    /// All of them bear the same file names, so only the content tells which one lies there; the
    /// labels are a few kilobytes, so to ask costs nothing.
    pub fn in_folder(folder: &Path) -> Result<Option<Published>> {
        let Some(path) = locate(folder, FILES[1])? else { return Ok(None) };
        let small = std::fs::metadata(&path).is_ok_and(|m| m.is_file() && m.len() < 1 << 20);
        if !small {
            return Ok(None);
        }
        let found = md5_of(&path)?;
        Ok(Published::ALL.into_iter().find(|set| set.md5()[1] == found))
    }
}

/// The path of one of [`FILES`] in a folder, gzipped before plain (its sum is published); `None`
/// where there is neither. What is there but cannot be looked at is an error.
pub fn locate(folder: &Path, file: &str) -> Result<Option<PathBuf>> {
    for name in [format!("{file}.gz"), file.to_string()] {
        let path = folder.join(name);
        match std::fs::metadata(&path) {
            Ok(_) => return Ok(Some(path)),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(Error::reading(&path, &error)),
        }
    }
    Ok(None)
}

/// Whether an error says that nothing is there, rather than that it cannot be seen.
fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// How many of the four files a folder has.
pub fn count_in(folder: &Path) -> Result<usize> {
    let found = FILES.map(|file| locate(folder, file)).into_iter().collect::<Result<Vec<_>>>()?;
    Ok(found.iter().flatten().count())
}

/// Loads the four files of a folder, the large one beside the three small ones.
pub fn load_folder(name: &str, folder: &Path) -> Result<Dataset> {
    let find = |file: &str| {
        locate(folder, file)?.ok_or_else(|| Error::DataFileMissing {
            folder: folder.to_path_buf(),
            file: file.to_string(),
        })
    };
    let [train_images, train_labels] = [find(FILES[0])?, find(FILES[1])?];
    let [test_images, test_labels] = [find(FILES[2])?, find(FILES[3])?];

    // All headers before any payload: a bomb that announces a gigabyte does not fit its labels.
    let (train_images, train_labels) = open_pair(&train_images, &train_labels)?;
    let (test_images, test_labels) = open_pair(&test_images, &test_labels)?;
    check_sizes(&train_images, &test_images)?;
    let sizes = train_images.image_size();

    let (train, others) = std::thread::scope(|scope| {
        let others = scope.spawn(|| -> Result<_> {
            let labels = train_labels.read()?.to_vec();
            let (pixels, test_labels) = (test_images.read()?.into(), test_labels.read()?.to_vec());
            Ok((labels, Samples { pixels, labels: test_labels }))
        });
        let train = train_images.read().map(Pixels::from);
        (train, others.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let (labels, test) = others?;
    let train = Samples { pixels: train?, labels };
    Ok(Dataset::new(name, train, test, sizes, CLASSES))
}

/// Opens the files of one part, which must announce an image for every label.
fn open_pair<'a>(images: &'a Path, labels: &'a Path) -> Result<(IdxFile<'a>, IdxFile<'a>)> {
    let images = IdxFile::open(images, Kind::Images)?;
    let labels = IdxFile::open(labels, Kind::Labels)?;
    if images.count() == labels.count() {
        return Ok((images, labels));
    }
    Err(Error::DataFilesDiffer {
        first: images.path().to_path_buf(),
        first_count: format!("{} images", images.count()),
        second: labels.path().to_path_buf(),
        second_count: format!("{} labels", labels.count()),
    })
}

/// Training and test images must be of one size.
fn check_sizes(train: &IdxFile, test: &IdxFile) -> Result<()> {
    if train.image_size() == test.image_size() {
        return Ok(());
    }
    let images = |file: &IdxFile| {
        let [rows, cols] = file.image_size();
        format!("images of {rows} x {cols}")
    };
    Err(Error::DataFilesDiffer {
        first: train.path().to_path_buf(),
        first_count: images(train),
        second: test.path().to_path_buf(),
        second_count: images(test),
    })
}

/// The MD5 sum of a file, in lower-case hexadecimal digits.
pub fn md5_of(path: &Path) -> Result<String> {
    let reading = |error| Error::reading(path, &error);
    let mut file = std::fs::File::open(path).map_err(reading)?;
    let mut hasher = md5::Context::new();
    let mut buffer = vec![0; 1 << 17];
    loop {
        match std::io::Read::read(&mut file, &mut buffer).map_err(reading)? {
            0 => return Ok(format!("{:x}", hasher.finalize())),
            n => hasher.consume(&buffer[..n]),
        }
    }
}
