//! The error type: what went wrong, with the values that went wrong, and what to do next.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every way in which a command can fail.
///
/// A message is one line: what was wrong, where, what was expected, what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be read, written or made.
    #[error("cannot {action} {path}: {reason}; {next}", path = .path.display())]
    File { action: &'static str, path: PathBuf, reason: String, next: &'static str },

    /// An option's value that cannot be meant.
    #[error("{option} {value}: expected {expected}; {next}")]
    Setting { option: &'static str, value: String, expected: &'static str, next: &'static str },

    /// A command line that does not parse; the message is already one line.
    #[error("{0}")]
    Usage(String),

    /// A precision that an engine or GPU does not compute in.
    #[error(
        "--precision {precision}: {device} computes in float32 only; take --precision fp32, or --device cuda on a \
         GPU of compute capability 8.0 or later"
    )]
    Precision { precision: &'static str, device: String },

    /// The config drawn for a trial is not the one in the study.
    #[error(
        "trial {trial} of the study is {stored}, but its space and seed give {drawn}: the file was \
         edited or written by another version; start a new study with --study FILE"
    )]
    ConfigChanged { trial: u32, stored: String, drawn: String },

    /// A trial trained again did not come to what the study says.
    #[error(
        "trial {trial} came to validation error {now} when trained again, but the study says \
         {}: the file was edited or written by another version; start a new study with --study FILE",
        .recorded.map_or("nothing".to_owned(), |value| value.to_string())
    )]
    NotReproduced { trial: u32, recorded: Option<f64>, now: f64 },

    /// A training loss that is no longer finite, where only one trial is trained.
    #[error("trial {trial} {reason}; try a smaller learning_rate")]
    Diverged { trial: u32, reason: String },

    /// Ctrl-C where there is no study to go on with.
    #[error("interrupted; nothing was saved")]
    TrainingInterrupted,

    /// The system gave no more threads.
    #[error("cannot start {threads} threads: {reason}; take fewer with --threads")]
    Threads { threads: usize, reason: String },

    /// Several configs where one is asked for.
    #[error("{name} is {given}, but train takes one config; give it a value, or use search")]
    NotOneConfig { name: String, given: String },

    /// A trial of a study that cannot be trained again here.
    #[error(
        "cannot train trial {number} of {path} again: {reason}; choose another with --trial or --study",
        path = .path.display()
    )]
    CannotReplay { path: PathBuf, number: u32, reason: String },

    /// A model and a data set of different sizes.
    #[error(
        "{model} takes {inputs} pixels and knows {classes} classes, but {data} has {pixels} pixels \
         and {data_classes} classes; choose another data set with --data",
        model = .model.display()
    )]
    ModelSize {
        model: PathBuf,
        inputs: usize,
        classes: usize,
        data: String,
        pixels: usize,
        data_classes: usize,
    },

    /// Standard output cannot be written to.
    #[error("cannot write to standard output: {reason}; check where it goes")]
    Output { reason: String },

    /// The system does not let us hear of Ctrl-C.
    #[error("cannot listen for Ctrl-C: {reason}; run it outside of what forbids that")]
    Signals { reason: String },

    /// The reader of standard output went away: the command has nothing more to say.
    #[error("standard output was closed")]
    Closed,

    /// The error of a room that has a type of its own for what goes wrong in it. The room decides
    /// on the exit code, so that this file need not know the rooms above it.
    #[error("{error}")]
    Room { error: Box<dyn std::error::Error + Send + Sync>, exit_code: u8 },

    /// Ctrl-C, or a request to terminate.
    #[error("interrupted; run the same command again to go on")]
    Interrupted,

    /// A file of a data set is not what it should be.
    #[error("{path} {damage}; put a good copy in its place", path = .path.display())]
    DataFile { path: PathBuf, damage: Damage },

    /// Two files of a data set that do not belong together.
    #[error(
        "{first} holds {first_count}, {second} holds {second_count}; put files of one data set there",
        first = .first.display(), second = .second.display()
    )]
    DataFilesDiffer { first: PathBuf, first_count: String, second: PathBuf, second_count: String },

    /// `--data` names nothing that is known.
    #[error(
        "no data set and no folder is named `{asked}`; --data takes fashion-mnist, mnist, kmnist, \
         synthetic or a folder of four IDX files{hint}"
    )]
    UnknownData { asked: String, hint: String },

    /// `--data-dir` names no folder.
    #[error("--data-dir {path} is no folder; name one that holds a data set, or leave it out", path = .path.display())]
    NoDataDir { path: PathBuf },

    /// The files of the synthetic set were asked for.
    #[error(
        "the synthetic data set is built in and has no files; name a data set or a folder that has"
    )]
    DataBuiltIn,

    /// A folder has some files of a data set, but not all four, or none.
    #[error("{folder} has no {file}, plain or .gz; put the four IDX files there", folder = .folder.display())]
    DataFileMissing { folder: PathBuf, file: String },

    /// A data set that was asked for by name is not on this machine and could not be fetched.
    #[error(
        "{name} is not in {looked}, and fetching it failed ({reason}); put its four files into one \
         of these folders, name theirs with --data-dir, or take --data synthetic"
    )]
    DataNotFound { name: String, looked: String, reason: String },

    /// A fetched file could not be written to the cache folder.
    #[error("cannot write {path}: {reason}; make room there, or name a folder with --data-dir", path = .path.display())]
    Cache { path: PathBuf, reason: String },

    /// `--validation` is not one of its forms.
    #[error("--validation is `{asked}`; take holdout, holdout:N (N a number of samples) or test")]
    UnknownValidation { asked: String },

    /// A holdout that leaves nothing to train on, or nothing to validate with.
    #[error(
        "holdout:{held} of {samples} training samples; hold out at least 1 and at most {most}",
        most = .samples.saturating_sub(1)
    )]
    HoldoutSize { held: usize, samples: usize },

    /// The last training samples lack a class that the others have.
    #[error(
        "none of the last {held} training samples is of class {class}, but {elsewhere} of the \
         others are: the files look sorted; shuffle them, hold out more, or take --validation test"
    )]
    HoldoutClass { held: usize, class: usize, elsewhere: usize },

    /// Files of a named data set differ from those that were published.
    #[error(
        "{count} of the 4 files of {name} in {folder} are not as published; replace them",
        folder = .folder.display()
    )]
    DataNotPublished { count: usize, name: String, folder: PathBuf },
}

/// What is wrong with a file of a data set.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Damage {
    #[error("is empty, it should be an IDX file")]
    Empty,
    #[error("is a folder, it should be an IDX file")]
    Folder,
    #[error("is neither a file nor a folder, it should be an IDX file")]
    NotAFile,
    #[error("is a gzip file that is cut off: it holds {found} bytes, its {what} needs {expected}")]
    GzipCutOff { what: &'static str, found: u64, expected: u64 },
    #[error("is a damaged gzip file: {reason} after {found} bytes")]
    Gzip { reason: String, found: u64 },
    #[error("is cut off: it holds {found} bytes, its {what} needs {expected}")]
    CutOff { what: &'static str, found: u64, expected: u64 },
    #[error("begins with {found:08x}, an IDX file of {what} begins with {expected:08x}")]
    Magic { what: &'static str, found: u32, expected: u32 },
    #[error("announces {count} samples of {rows} x {cols}; at least one of each was expected")]
    NoSamples { count: u32, rows: u32, cols: u32 },
    #[error("announces {count} samples of {rows} x {cols}; at most {limit} bytes can be taken")]
    TooLarge { count: u32, rows: u32, cols: u32, limit: u64 },
    #[error("announces {bytes} bytes of {what}; this machine has not so much memory to give")]
    NoMemory { what: &'static str, bytes: u64 },
    #[error("goes on after the {expected} bytes that its header announces")]
    TrailingBytes { expected: u64 },
    #[error("has label {label} for sample {sample}; labels below {classes} were expected")]
    Label { label: u8, sample: usize, classes: usize },
}

impl Error {
    /// The exit code of a process that ends with this error: 2 for the user's mistakes, 1 for
    /// failures of the run, 130 for Ctrl-C.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Interrupted | Error::TrainingInterrupted => 130,
            Error::Closed => 0,
            Error::NotReproduced { .. }
            | Error::Diverged { .. }
            | Error::Output { .. }
            | Error::Signals { .. }
            | Error::Cache { .. } => 1,
            Error::Room { exit_code, .. } => *exit_code,
            _ => 2,
        }
    }

    /// Whether the process should end without a word: nobody reads on.
    pub fn is_quiet(&self) -> bool {
        matches!(self, Error::Closed)
    }

    /// The error of a room, as a mistake of the user's.
    pub(crate) fn mistake(error: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::Room { error: Box::new(error), exit_code: 2 }
    }

    /// A file or folder that cannot be read.
    pub fn reading(path: &Path, error: &std::io::Error) -> Error {
        let (reason, next) = match error.kind() {
            ErrorKind::PermissionDenied => {
                ("permission denied".to_string(), "give yourself the right to read it")
            }
            ErrorKind::NotFound => ("it does not exist".to_string(), "check the path"),
            _ => (error.to_string(), "check the disk, or take another copy"),
        };
        Error::File { action: "read", path: path.to_path_buf(), reason, next }
    }
}
