//! A study in short.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::journal::Journal;
use super::replay::Entry;
use super::{State, TrialRecord};
use crate::error::Result;

impl Entry {
    /// The complete trials, best first, ties in the order of their numbers.
    pub fn ranked(&self) -> Vec<&TrialRecord> {
        let complete = self.trials.iter().filter(|trial| trial.state == State::Complete);
        let mut ranked: Vec<(f64, &TrialRecord)> =
            complete.filter_map(|trial| Some((trial.value?, trial))).collect();
        // The sort keeps the order of equals. Only studies of other programs maximise.
        ranked.sort_by(|(a, _), (b, _)| match self.minimise {
            true => a.total_cmp(b),
            false => b.total_cmp(a),
        });
        ranked.into_iter().map(|(_, trial)| trial).collect()
    }
}

/// How many trials are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub running: usize,
    pub complete: usize,
    pub pruned: usize,
    pub failed: usize,
}

impl Counts {
    /// Counts the trials.
    pub fn of(trials: &[TrialRecord]) -> Counts {
        let count = |state| trials.iter().filter(|trial| trial.state == state).count();
        Counts {
            running: count(State::Running),
            complete: count(State::Complete),
            pruned: count(State::Pruned),
            failed: count(State::Failed),
        }
    }
}

/// One study of a file, in short.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    pub name: String,
    pub trials: Counts,
    /// The best value.
    pub best: Option<f64>,
    pub attributes: Map<String, Json>,
}

/// The studies of a file in short; the file is only read.
pub fn summaries(path: &Path) -> Result<Vec<Summary>> {
    let journal = Journal::read(path)?;
    let summary = |entry: &Entry| Summary {
        name: entry.name.clone(),
        trials: Counts::of(&entry.trials),
        best: entry.ranked().first().and_then(|trial| trial.value),
        attributes: entry.attributes.clone(),
    };
    Ok(journal.replay().studies().map(|(_, entry)| summary(entry)).collect())
}
