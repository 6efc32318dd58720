//! Where a data set comes from: this machine, its mirror, or nowhere (the synthetic set).

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use etcetera::BaseStrategy;

use super::fetch::{self, Failure};
use super::files::{self, Published};
use super::{Dataset, synthetic};
use crate::error::{Error, Result};

/// What `--data` takes.
///
/// ```
/// use warpsweep::data::{Published, Source};
/// assert_eq!("kmnist".parse::<Source>().unwrap(), Source::Published(Published::Kmnist));
/// assert_eq!("./kmnist".parse::<Source>().unwrap(), Source::Folder("./kmnist".into()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A data set known by name: looked for on this machine, else fetched.
    Published(Published),
    /// A folder of four IDX files.
    Folder(PathBuf),
    /// The built-in set.
    Synthetic,
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "" => Err(Error::UnknownData { asked: String::new(), hint: String::new() }),
            "synthetic" => Ok(Source::Synthetic),
            _ => Ok(match Published::ALL.into_iter().find(|set| set.name() == text) {
                Some(set) => Source::Published(set),
                None => Source::Folder(text.into()),
            }),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Published(set) => f.write_str(set.name()),
            Source::Folder(folder) => write!(f, "{}", folder.display()),
            Source::Synthetic => f.write_str("synthetic"),
        }
    }
}

/// Which data set is wanted, and where to look first.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `None`: Fashion-MNIST, or the synthetic set where it can be neither found nor fetched.
    pub source: Option<Source>,
    /// Looked into before the other places.
    pub data_dir: Option<PathBuf>,
}

/// A data set, and what the user should know about where it came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub dataset: Dataset,
    /// Set when another data set than the default was taken: which, and why.
    pub note: Option<String>,
    /// Where its files lie; `None` for the synthetic set.
    pub folder: Option<PathBuf>,
}

/// Loads what was asked for.
///
/// Looked for in `data_dir`, in `$WARPSWEEP_DATA`, in the user's cache folder (in each: the folder
/// itself, then its subfolder of the data set's name), then fetched into the cache folder. A file
/// that exists but is damaged is an error, never a reason to look elsewhere.
pub fn load(request: &Request) -> Result<Loaded> {
    Places::of_user(request.data_dir.clone()).load(request.source.as_ref())
}

/// Where data sets are looked for, in this order, and what stands in for the official mirrors.
#[derive(Clone, Debug, Default)]
pub struct Places {
    pub data_dir: Option<PathBuf>,
    /// `$WARPSWEEP_DATA`.
    pub environment: Option<PathBuf>,
    /// The program's own folder in the user's cache; where fetched files go.
    pub cache: Option<PathBuf>,
    /// A URL that ends in a slash; `None` for each data set's official mirror.
    pub mirror: Option<String>,
}

/// A published data set that is on this machine now, or why it is not.
enum Found {
    Here(PathBuf),
    Nowhere { looked: String, failure: Option<Failure> },
}

impl Places {
    /// The places of this user and this process.
    pub fn of_user(data_dir: Option<PathBuf>) -> Places {
        let environment = std::env::var_os("WARPSWEEP_DATA").filter(|value| !value.is_empty());
        let cache = etcetera::choose_base_strategy().ok();
        Places {
            data_dir,
            environment: environment.map(PathBuf::from),
            cache: cache.map(|strategy| strategy.cache_dir().join("warpsweep")),
            mirror: None,
        }
    }

    /// [`load`], looking in these places.
    pub fn load(&self, source: Option<&Source>) -> Result<Loaded> {
        match source {
            Some(Source::Synthetic) => Ok(built_in(None)),
            Some(source) => from_files(&source.to_string(), self.folder_of(source)?),
            None => self.load_default(),
        }
    }

    /// Fashion-MNIST, or the synthetic set with a note why.
    fn load_default(&self) -> Result<Loaded> {
        let set = Published::FashionMnist;
        match self.find_or_fetch(set)? {
            Found::Here(folder) => from_files(set.name(), folder),
            Found::Nowhere { looked, failure } => Ok(built_in(Some(format!(
                "took the built-in synthetic data set, because {} is not in {looked} and could \
                 not be fetched ({})",
                set.name(),
                reason(failure.as_ref()),
            )))),
        }
    }

    /// The folder that holds the files of what was asked for by name; fetched if need be.
    pub fn folder_of(&self, source: &Source) -> Result<PathBuf> {
        match source {
            Source::Synthetic => Err(Error::DataBuiltIn),
            Source::Folder(folder) if is_folder(folder)? => Ok(folder.clone()),
            Source::Folder(folder) => Err(Error::UnknownData {
                asked: folder.display().to_string(),
                hint: similar_name(folder),
            }),
            Source::Published(set) => match self.find_or_fetch(*set)? {
                Found::Here(folder) => Ok(folder),
                Found::Nowhere { failure: Some(Failure::Write { path, reason }), .. } => {
                    Err(Error::Cache { path, reason })
                }
                Found::Nowhere { looked, failure } => Err(Error::DataNotFound {
                    name: set.name().to_string(),
                    looked,
                    reason: reason(failure.as_ref()),
                }),
            },
        }
    }

    fn find_or_fetch(&self, set: Published) -> Result<Found> {
        if let Some(folder) = self.find(set)? {
            return Ok(Found::Here(folder));
        }
        let places = [&self.data_dir, &self.environment, &self.cache];
        let looked: Vec<String> =
            places.into_iter().flatten().map(|place| place.display().to_string()).collect();
        let looked = if looked.is_empty() { "any known folder".into() } else { looked.join(", ") };
        let Some(cache) = &self.cache else {
            return Ok(Found::Nowhere { looked, failure: None });
        };
        let folder = cache.join(set.name());
        let mirror = self.mirror.as_deref().unwrap_or(set.mirror());
        Ok(match fetch::fetch(set, mirror, &folder) {
            Ok(()) => Found::Here(folder),
            Err(failure) => Found::Nowhere { looked, failure: Some(failure) },
        })
    }

    /// The first folder that holds this data set.
    fn find(&self, set: Published) -> Result<Option<PathBuf>> {
        if let Some(folder) = &self.data_dir
            && !is_folder(folder)?
        {
            return Err(Error::NoDataDir { path: folder.clone() });
        }
        for place in [&self.data_dir, &self.environment, &self.cache].into_iter().flatten() {
            // All data sets have the same file names: where the folder's name does not say which
            // one lies there, it must not be known to be another.
            let here = files::count_in(place)? > 0
                && Published::in_folder(place)?.is_none_or(|other| other == set);
            if here {
                return Ok(Some(place.clone()));
            }
            // In the cache, missing files are those of a fetch that was cut short; it is taken up
            // again. Elsewhere they are for the user to complete.
            let named = place.join(set.name());
            let fetched = self.cache.as_ref() == Some(place);
            let least = if fetched { files::FILES.len() } else { 1 };
            if files::count_in(&named)? >= least {
                return Ok(Some(named));
            }
        }
        Ok(None)
    }
}

fn from_files(name: &str, folder: PathBuf) -> Result<Loaded> {
    let dataset = files::load_folder(name, &folder)?;
    Ok(Loaded { dataset, note: None, folder: Some(folder) })
}

fn built_in(note: Option<String>) -> Loaded {
    Loaded { dataset: synthetic::generate(), note, folder: None }
}

fn reason(failure: Option<&Failure>) -> String {
    match failure {
        Some(failure) => failure.to_string(),
        None => "there is no home folder to put it into".to_string(),
    }
}

/// Whether a path that the user named is a folder.
fn is_folder(path: &Path) -> Result<bool> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(metadata.is_dir()),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(Error::reading(path, &error))
        }
        Err(_) => Ok(false),
    }
}

/// ` (did you mean mnist?)` for a name that is close to a known one.
fn similar_name(folder: &Path) -> String {
    let squeeze = |text: &str| text.to_lowercase().replace(['-', '_', ' '], "");
    let asked = squeeze(&folder.to_string_lossy());
    let mut names = Published::ALL.map(Published::name).into_iter().chain(["synthetic"]);
    match names.find(|name| squeeze(name) == asked) {
        Some(name) => format!(" (did you mean {name}?)"),
        None => String::new(),
    }
}
