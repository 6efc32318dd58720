//! What can go wrong with a study file.

use std::path::PathBuf;

use crate::error::Error;

/// Every way in which a study file is refused or fails.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// The file could not be opened, read or made.
    #[error("cannot {action} the study file {path}: {reason}; name another with --study FILE", path = .path.display())]
    Open { action: &'static str, path: PathBuf, reason: String },

    /// The file's folder does not exist.
    #[error(
        "there is no folder {folder} for the study file {path}; create it, or name another file with --study FILE",
        folder = .folder.display(), path = .path.display()
    )]
    NoFolder { path: PathBuf, folder: PathBuf },

    /// The file could not be written while a search was running: a full disk, most often.
    #[error(
        "cannot write the study file {path}: {reason}; what was recorded before is whole: make room, then run the same command again to go on",
        path = .path.display()
    )]
    Write { path: PathBuf, reason: String },

    /// The file is not a journal.
    #[error(
        "{path} is not a study file: its first line is not a record of an Optuna journal; name another with --study FILE",
        path = .path.display()
    )]
    NotAJournal { path: PathBuf },

    /// A line with whole lines after it cannot be read: not a torn tail, so nothing is cut.
    #[error(
        "the study file {path} is damaged in line {line}: {reason}; restore it from a copy, or begin a new one with --study FILE",
        path = .path.display()
    )]
    Damaged { path: PathBuf, line: usize, reason: String },

    /// The file was replaced or cut by another program while it was in use.
    #[error(
        "the study file {path} was changed by another program: {reason}; run the same command again to go on from what it holds now",
        path = .path.display()
    )]
    Changed { path: PathBuf, reason: String },

    /// A search with other options than those of the study.
    #[error(
        "the study in {path} is of another search: {key} is {file} there, but {asked} was asked; give the same options, or begin a new study with --study FILE",
        path = .path.display()
    )]
    Differs { path: PathBuf, key: String, file: String, asked: String },

    /// The study was not written by warpsweep, so its trials cannot be gone on with.
    #[error(
        "the study `{name}` in {path} was not written by warpsweep ({missing} is missing); name another file with --study FILE",
        path = .path.display()
    )]
    Foreign { path: PathBuf, name: String, missing: &'static str },

    /// A trial's number is not the next one of the file.
    #[error(
        "trial {number} cannot be begun in {path}: the study's next trial is {next}; another program has written to it: run the same command again, or begin a new study with --study FILE",
        path = .path.display()
    )]
    Number { path: PathBuf, number: u32, next: usize },

    /// A trial is finished that is not running.
    #[error(
        "trial {number} cannot be finished in {path}: it is {found} there; another program has written to it: run the same command again to go on from what it holds now",
        path = .path.display()
    )]
    NotRunning { path: PathBuf, number: u32, found: &'static str },

    /// Something that the format cannot hold.
    #[error("{what} cannot be recorded: {reason}; this is a defect, please report it")]
    Unrecordable { what: String, reason: String },

    /// A journal without any study.
    #[error("{path} has no study yet; name another file, or begin a search with --study FILE", path = .path.display())]
    Empty { path: PathBuf },

    /// No study of the asked name in the file.
    #[error("{path} has no study named `{name}`, only: {names}; choose one of them with --name NAME", path = .path.display())]
    NoStudy { path: PathBuf, name: String, names: String },

    /// Several studies, and none chosen.
    #[error("{path} has several studies: {names}; choose one with --name NAME", path = .path.display())]
    Several { path: PathBuf, names: String },

    /// What was asked to be shown or exported could not be written.
    #[error("cannot write {path}: {reason}; the study itself is unchanged: write it elsewhere with --output FILE", path = .path.display())]
    Output { path: PathBuf, reason: String },

    /// An export that would replace the study that it is made from.
    #[error("--output {path} is the study file itself; name another file", path = .path.display())]
    OntoItself { path: PathBuf },

    /// A folder without studies.
    #[error("no study files (*.jsonl, *.journal, *.log) in {path}; name a folder or a file that has some", path = .path.display())]
    NoFiles { path: PathBuf },

    /// No trial of that number.
    #[error("{path} has no trial {number}: its trials are {have}; choose one of them", path = .path.display())]
    NoTrial { path: PathBuf, number: u32, have: String },
}

impl From<StudyError> for Error {
    fn from(error: StudyError) -> Error {
        let exit_code = error.exit_code();
        Error::Room { error: Box::new(error), exit_code }
    }
}

impl StudyError {
    /// 1 for failures of the run, 2 for the user's mistakes.
    pub fn exit_code(&self) -> u8 {
        match self {
            StudyError::Write { .. }
            | StudyError::Output { .. }
            | StudyError::Changed { .. }
            | StudyError::Number { .. }
            | StudyError::NotRunning { .. }
            | StudyError::Unrecordable { .. } => 1,
            _ => 2,
        }
    }
}
