//! The trial log on disk, resume, and views of it.
//!
//! A study is a file of JSON lines in the format of Optuna's journal storage, so Optuna, its
//! command line and its dashboard open it as it is. From the top: [`Study`] knows trials,
//! [`records`] how they are written, [`replay`] how they are read, [`journal`] the file, [`lock`]
//! how several programs share it.

mod distributions;
mod error;
mod header;
mod journal;
mod lock;
mod records;
mod replay;
mod views;
mod writing;

use std::path::Path;

use serde::Serialize;
use serde_json::Value as Json;

use crate::error::Result;
use crate::space::Config;

pub use error::StudyError;
pub use header::Header;
pub use journal::Repair;
pub use views::{Counts, Summary, summaries};

use journal::Journal;
use replay::Entry;

/// How far a trial has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Running,
    Complete,
    /// Stopped early by a scheduler.
    Pruned,
    /// Ended without a value, as a diverged trial does.
    Failed,
}

impl State {
    /// The state's name, as it is shown and exported.
    pub fn name(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Complete => "complete",
            State::Pruned => "pruned",
            State::Failed => "failed",
        }
    }

    /// Optuna's number.
    fn code(self) -> u8 {
        match self {
            State::Running => 0,
            State::Complete => 1,
            State::Pruned => 2,
            State::Failed => 3,
        }
    }
}

/// What one epoch of a trial came to. A number that another program did not record is NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpochRecord {
    /// The first epoch is 1.
    pub epoch: usize,
    pub train_loss: f64,
    pub validation_loss: f64,
    /// The share of validation samples that are classified wrongly.
    pub validation_error: f64,
}

/// A trial as it stands in the file.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialRecord {
    pub number: u32,
    pub state: State,
    pub config: Config,
    /// The objective: the validation error after the last epoch.
    pub value: Option<f64>,
    pub epochs: Vec<EpochRecord>,
    /// Why it failed.
    pub reason: Option<String>,
    /// Seconds of training, validation included.
    pub seconds: f64,
}

/// The trials of one search, with their file.
#[derive(Debug)]
pub struct Study {
    journal: Journal,
    id: usize,
    header: Option<Header>,
}

impl Study {
    /// Creates a study, or opens it to go on with it.
    ///
    /// The study is found by the header's name; other studies in the file are left alone. A torn
    /// last line is cut off, see [`Study::repair`].
    ///
    /// # Errors
    /// A study of that name with another space or other settings, or not written by us; a file that
    /// is no journal, is damaged before its end, or cannot be opened, locked or written.
    pub fn open(path: &Path, header: &Header) -> Result<Study> {
        let mut journal = Journal::open(path)?;
        journal.update(|replay| writing::opening(path, replay, header))?;
        let found = journal.replay().studies().find(|(_, entry)| entry.name == header.name);
        let id = found.map_or(0, |(id, _)| id);
        Ok(Study { journal, id, header: Some(header.clone()) })
    }

    /// Reads the one study of a file, and changes nothing in it.
    ///
    /// # Errors
    /// A file that cannot be read or is no journal; none or several studies in it.
    pub fn read(path: &Path) -> Result<Study> {
        Self::read_named(path, None)
    }

    /// Reads the study of a name, or the only one of the file, and changes nothing in it.
    pub fn read_named(path: &Path, name: Option<&str>) -> Result<Study> {
        let journal = Journal::read(path)?;
        let studies: Vec<(usize, &Entry)> = journal.replay().studies().collect();
        let fits = |(_, entry): &&(usize, &Entry)| name.is_none_or(|name| entry.name == name);
        let found: Vec<_> = studies.iter().filter(fits).collect();
        let &[&(id, entry)] = found.as_slice() else {
            let names: Vec<&str> = studies.iter().map(|(_, entry)| entry.name.as_str()).collect();
            let (path, names) = (path.to_owned(), names.join(", "));
            return Err(match name {
                _ if names.is_empty() => StudyError::Empty { path },
                Some(name) => StudyError::NoStudy { path, name: name.to_owned(), names },
                None => StudyError::Several { path, names },
            }
            .into());
        };
        let header = Header::from_attributes(&entry.name, &entry.attributes).ok();
        Ok(Study { id, header, journal })
    }

    pub fn path(&self) -> &Path {
        self.journal.path()
    }

    /// The torn tail that was found when the file was opened or written to, if one was: to be said
    /// aloud.
    pub fn repair(&self) -> Option<&Repair> {
        self.journal.repair()
    }

    fn entry(&self) -> Option<&Entry> {
        self.journal.replay().study(self.id)
    }

    pub fn name(&self) -> &str {
        self.entry().map_or("", |entry| &entry.name)
    }

    /// Name, space and settings; none for a study that another program made.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// All user attributes of the study, notes included.
    pub fn attributes(&self) -> impl Iterator<Item = (&String, &Json)> {
        self.entry().into_iter().flat_map(|entry| &entry.attributes)
    }

    /// All trials; the place of each is its number.
    pub fn trials(&self) -> &[TrialRecord] {
        self.entry().map_or(&[], |entry| &entry.trials)
    }

    /// The incumbent: the complete trial of the smallest value, of several the first.
    pub fn best(&self) -> Option<&TrialRecord> {
        self.ranked().into_iter().next()
    }

    /// The complete trials, best first, ties in the order of their numbers.
    pub fn ranked(&self) -> Vec<&TrialRecord> {
        self.entry().map(Entry::ranked).unwrap_or_default()
    }

    /// Sets a user attribute of the study.
    pub fn note(&mut self, key: &str, value: Json) -> Result<()> {
        let id = self.id;
        self.journal.update(|_| writing::attribute(id, key, value))
    }

    /// Records that trials are running, as one group, in the order of their numbers.
    ///
    /// # Errors
    /// Numbers that do not follow on the file's; a value that the study's space cannot give; a
    /// file that cannot be written, which is then as it was before.
    pub fn begin(&mut self, trials: &[(u32, Config)]) -> Result<()> {
        let (id, path) = (self.id, self.path().to_owned());
        let space = self.header.as_ref().map(|header| &header.space);
        self.journal.update(|replay| {
            let entry = replay.study(id).ok_or_else(|| deleted(&path))?;
            for (next, &(number, _)) in (entry.trials.len()..).zip(trials) {
                if number as usize != next {
                    return Err(StudyError::Number { path, number, next }.into());
                }
            }
            writing::beginning(id, space, trials)
        })
    }

    /// Records how trials ended, in any order, as one group with one sync: when this returns they
    /// are on disk.
    ///
    /// # Errors
    /// A trial that is not running in the file, or whose value is not finite where it must be; a
    /// file that cannot be written, which is then as it was before.
    pub fn finish(&mut self, trials: &[TrialRecord]) -> Result<()> {
        let (id, path) = (self.id, self.path().to_owned());
        self.journal.update(|replay| {
            let entry = replay.study(id).ok_or_else(|| deleted(&path))?;
            let known = trials.iter().map(|trial| {
                let number = trial.number;
                let found = entry.trials.get(number as usize).map(|known| known.state);
                match (found, entry.trial_ids.get(number as usize)) {
                    (Some(State::Running), Some(&trial_id)) => Ok((trial_id, trial)),
                    _ => {
                        let found = found.map_or("absent", State::name);
                        Err(StudyError::NotRunning { path: path.clone(), number, found })
                    }
                }
            });
            writing::ending(&known.collect::<Result<Vec<_>, _>>()?)
        })
    }
}

fn deleted(path: &Path) -> StudyError {
    StudyError::Changed { path: path.to_owned(), reason: "its study was deleted".into() }
}
