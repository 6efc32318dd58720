//! The search: asks a sampler, trains the trials in arrays, records them, tells a reporter.
//!
//! Meets both columns of the house: it hands configs from [`crate::space`] to [`crate::engine`] by
//! way of [`crate::model`], and what comes back to [`crate::study`]. A trial's numbers depend on
//! nothing that is decided here (array size, order of finishing, stopping), so a search that was
//! stopped and resumed ends with the same trials, bit for bit.

mod driver;
mod sampler;
mod stop;
mod training;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub use driver::run;
pub use sampler::{Random, Sampler};
pub use training::{News, Trained, train_one};

use crate::error::Result;
use crate::model::{Architecture, Defaults, Parameters};
use crate::study::{EpochRecord, TrialRecord};

/// What a search is to do: how many trials of what, and when to stop before all are trained.
pub struct Plan {
    pub sampler: Box<dyn Sampler>,
    /// Trials the study is to have in the end, those finished before included.
    pub trials: u32,
    /// What a config leaves open, and the epochs of every trial.
    pub defaults: Defaults,
    /// Most trials in an array, at least 1.
    pub array: usize,
    /// After this long no trial is begun, and those that run are left to a later resume.
    pub time_limit: Option<Duration>,
    /// The search stops when the incumbent's validation error is this or less. Which other trials
    /// are finished by then depends on timing; those that are not stay running, so that every
    /// recorded number is one that the whole search would have given.
    pub target_error: Option<f64>,
    /// Whether [`Outcome`] must hold the incumbent's parameters, even at the price of training it
    /// again.
    pub want_model: bool,
    /// Set to stop as soon as the engine can.
    pub interrupt: Arc<AtomicBool>,
}

/// Is told what happens, on the thread that called [`run`]. An error stops the search.
pub trait Reporter {
    /// The search begins: `resumed` of its trials are finished already.
    fn start(&mut self, plan: &Plan, resumed: usize) -> Result<()>;

    /// A trial has trained one more epoch.
    fn epoch(&mut self, trial: u32, epoch: &EpochRecord) -> Result<()> {
        let _ = (trial, epoch);
        Ok(())
    }

    /// The engine did something otherwise than asked, and goes on.
    fn warning(&mut self, line: &str) -> Result<()> {
        let _ = line;
        Ok(())
    }

    /// A trial has ended and is on disk.
    fn trial(&mut self, trial: &TrialRecord, incumbent: Option<Incumbent>) -> Result<()>;
}

/// The best trial so far: the smallest validation error, ties to the lowest number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Incumbent {
    pub number: u32,
    /// Validation error, a share of the validation samples.
    pub value: f64,
}

impl Incumbent {
    /// Whether this trial goes before another one.
    pub fn beats(&self, other: Option<Incumbent>) -> bool {
        other.is_none_or(|o| (self.value, self.number) < (o.value, o.number))
    }
}

/// Why a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every trial of the plan is finished.
    Complete,
    TimeLimit,
    TargetError,
}

/// What a search came to.
#[derive(Debug)]
pub struct Outcome {
    pub end: End,
    /// The best trial of the study; none if no trial is complete.
    pub best: Option<Best>,
    /// Trials that were finished before this run began.
    pub resumed: usize,
    /// Trial-epochs trained in this run, those of unfinished trials included.
    pub trial_epochs: usize,
    /// Seconds of training and recording in this run, without the final test.
    pub seconds: f64,
}

impl Outcome {
    /// Trial-epochs a second of this run; none if nothing was trained.
    pub fn trial_epochs_per_second(&self) -> Option<f64> {
        (self.trial_epochs > 0 && self.seconds > 0.0)
            .then(|| self.trial_epochs as f64 / self.seconds)
    }
}

/// The incumbent at the end of a search.
#[derive(Debug)]
pub struct Best {
    pub number: u32,
    /// Share of the test samples that it classifies wrongly.
    pub test_error: f64,
    /// Its model; there if the plan wanted it.
    pub model: Option<(Architecture, Parameters)>,
}
