//! Comparing the files of a data set with what was published.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::files::{FILES, Published, load_folder, locate, md5_of};
use super::idx::{IdxFile, Kind};
use super::source::{Places, Source};
use super::{Dataset, Request};
use crate::error::{Error, Result};

/// What became of one file's comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The published file.
    Ok,
    /// Readable, and not the published file.
    Mismatch,
    /// Readable; for a plain file, or one of an unknown data set, no sum is published.
    Readable,
    /// Not readable as an IDX file.
    Damaged,
    Missing,
}

/// One of the four files, compared with what was published.
#[derive(Clone, Debug, Serialize)]
pub struct FileReport {
    /// Where it is, or should be.
    pub path: PathBuf,
    /// Size on disk.
    pub bytes: u64,
    pub md5: Option<String>,
    /// The published MD5 sum, where there is one.
    pub expected: Option<&'static str>,
    pub status: Status,
    /// What is wrong with a damaged file.
    pub problem: Option<String>,
}

/// The four files of a data set, compared with what was published.
#[derive(Debug)]
pub struct Verification {
    /// The data set's name: the one asked for, or the one that a folder was found to hold.
    pub name: String,
    pub folder: PathBuf,
    pub files: Vec<FileReport>,
    /// The data set that the files make up, or the first thing wrong with them.
    pub dataset: Result<Dataset>,
}

impl Verification {
    /// An error if something is off: the first that a reader meets, else files that differ from the
    /// published ones.
    pub fn outcome(self) -> Result<()> {
        self.dataset?;
        let count = self.files.iter().filter(|file| file.status == Status::Mismatch).count();
        match count {
            0 => Ok(()),
            _ => Err(Error::DataNotPublished { count, name: self.name, folder: self.folder }),
        }
    }
}

/// Compares the files that [`super::load`] would take, or fetch; by default Fashion-MNIST's.
pub fn verify(request: &Request) -> Result<Verification> {
    let source = request.source.clone().unwrap_or(Source::Published(Published::FashionMnist));
    let folder = Places::of_user(request.data_dir.clone()).folder_of(&source)?;
    verify_folder(&source, folder)
}

/// Compares the files of a folder with those of a published data set; for a folder of no name,
/// with those of the data set that it holds, if it is known.
pub fn verify_folder(source: &Source, folder: PathBuf) -> Result<Verification> {
    let set = match source {
        Source::Published(set) => Some(*set),
        _ => Published::in_folder(&folder)?,
    };
    let name = set.map_or(source.to_string(), |set| set.name().to_string());
    let expected = |i: usize| set.map(|set| set.md5()[i]);
    let files = (0..FILES.len()).map(|i| report(&folder, i, expected(i))).collect::<Result<_>>()?;
    let dataset = load_folder(&name, &folder);
    Ok(Verification { name, folder, files, dataset })
}

/// Compares file `i` of [`FILES`].
fn report(folder: &Path, i: usize, expected: Option<&'static str>) -> Result<FileReport> {
    let Some(path) = locate(folder, FILES[i])? else {
        let path = folder.join(format!("{}.gz", FILES[i]));
        let status = Status::Missing;
        return Ok(FileReport { path, bytes: 0, md5: None, expected, status, problem: None });
    };
    let bytes = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
    let gzipped = path.extension().is_some_and(|extension| extension == "gz");
    let expected = expected.filter(|_| gzipped);
    let kind = [Kind::Images, Kind::Labels][i % 2];
    let read = IdxFile::open(&path, kind).and_then(IdxFile::read).map(drop);
    // A folder or pipe in the file's place has no sum; the reader has said so.
    let md5 = md5_of_regular(&path);
    let status = match (&read, &md5, expected) {
        (Err(_), ..) => Status::Damaged,
        (Ok(()), Some(found), Some(expected)) if found == expected => Status::Ok,
        (Ok(()), _, Some(_)) => Status::Mismatch,
        (Ok(()), _, None) => Status::Readable,
    };
    let problem = read.err().map(|error| error.to_string());
    Ok(FileReport { path, bytes, md5, expected, status, problem })
}

fn md5_of_regular(path: &Path) -> Option<String> {
    let regular = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    if regular { md5_of(path).ok() } else { None }
}
