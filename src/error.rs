//! The error type: what went wrong, with the values that went wrong, and what to do next.

use std::path::PathBuf;

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

    /// A device that this build cannot use.
    #[error("--device {device}: this build has no CUDA engine yet; use --device cpu or auto")]
    Device { device: String },

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

    /// Ctrl-C, or a request to terminate.
    #[error("interrupted; run the same command again to go on")]
    Interrupted,
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
            | Error::Signals { .. } => 1,
            _ => 2,
        }
    }

    /// Whether the process should end without a word: nobody reads on.
    pub fn is_quiet(&self) -> bool {
        matches!(self, Error::Closed)
    }
}
