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

    /// A study file was refused or failed.
    #[error(transparent)]
    Study(#[from] crate::study::StudyError),

    /// A mistake in a search space.
    #[error(transparent)]
    Space(#[from] crate::space::SpaceError),

    /// A config, or a space, that no model accepts.
    #[error(transparent)]
    Recipe(#[from] crate::model::RecipeError),

    /// A model file that cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] crate::model::checkpoint::CheckpointError),

    /// Ctrl-C, or a request to terminate.
    #[error("interrupted; run the same command again to go on")]
    Interrupted,
}

impl Error {
    /// The exit code of a process that ends with this error: 2 for the user's mistakes, 1 for
    /// failures of the run, 130 for Ctrl-C.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Interrupted => 130,
            Error::Study(error) => error.exit_code(),
            // The disk failed while the run went on; all other troubles with a model are its user's.
            Error::Checkpoint(crate::model::checkpoint::CheckpointError::Write { .. }) => 1,
            _ => 2,
        }
    }
}
