//! The Engine trait: what trains trial arrays, whatever the device; and what all engines share.
//!
//! An engine knows nothing of searching. It is given trials, trains them side by side, and tells
//! an [`Observer`] of every epoch; the observer's answer decides whether the trial goes on. Its
//! wings: [`cpu`] and [`cuda`]. Where the time goes it tells a recorder of [`profile`], if the observer
//! has one.

pub mod cpu;
pub mod cuda;
pub mod profile;

use crate::data::{Part, Split};
use crate::error::Result;
use crate::model::{Architecture, Parameters, Recipe};
use profile::Recorder;

/// A trial as an engine sees it: a number and a recipe. With the task's seed and data they fix
/// every number of the trial, to the last bit.
#[derive(Clone, Debug)]
pub struct Trial {
    pub number: u32,
    pub recipe: Recipe,
}

/// Whose order of samples a trial trains in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShuffleMode {
    /// Each trial has an order of its own, a new one each epoch.
    PerTrial,
    /// All trials share one order, a new one each epoch.
    Shared,
    /// The order of the files, every epoch.
    None,
}

/// What all trials of a study have in common.
#[derive(Debug)]
pub struct Task {
    pub split: Split,
    pub seed: u64,
    pub shuffle: ShuffleMode,
}

/// What one epoch of one trial came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpochMetrics {
    /// Epochs trained so far, this one included: the first epoch is 1.
    pub epoch: usize,
    /// Mean loss over the epoch's training samples, each measured in its own step, before the update.
    pub train_loss: f64,
    /// Mean cross-entropy over the validation samples (never smoothed).
    pub validation_loss: f64,
    /// Validation samples whose largest logit is not their label's; ties go to the lower class,
    /// and a logit that is not a number is an error.
    pub validation_wrong: usize,
    /// Seconds that the epoch took, validation included.
    pub seconds: f64,
}

impl EpochMetrics {
    /// A trial has diverged when a loss is no longer finite.
    pub fn is_finite(&self) -> bool {
        self.train_loss.is_finite() && self.validation_loss.is_finite()
    }
}

/// What an observer answers after an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Train one more epoch.
    Train,
    /// Stop here for now and keep the state: a later `advance` goes on from it.
    Pause,
    /// Stop for good and free the state.
    Finish,
}

/// Is told of every epoch, from the engine's own threads, and decides how each trial goes on.
pub trait Observer: Sync {
    /// `slot` is the trial's place in its array; `parameters` copies the model out if asked, which
    /// on a GPU may fail. An error ends the array's `advance` with that error.
    fn after_epoch(
        &self,
        slot: usize,
        metrics: EpochMetrics,
        parameters: &dyn Fn() -> Result<Parameters>,
    ) -> Result<Next>;

    /// Told, as a line for people, what an engine did otherwise than asked and went on: that an
    /// array did not fit and was halved, that compiled kernels could not be kept.
    fn warn(&self, _line: &str) {}

    /// Where the engine is to say what its time goes to; with none it takes no times.
    fn recorder(&self) -> Option<&Recorder> {
        None
    }

    /// Asked between steps: true makes `advance` return soon, with unfinished epochs undone.
    fn interrupted(&self) -> bool {
        false
    }
}

/// Trials that are trained together, with their state on the device.
pub trait TrialArray {
    /// Trains every trial that is not finished, each until the observer stops it.
    ///
    /// An epoch that was interrupted leaves the trial unusable: start it again in a new array.
    fn advance(&mut self, observer: &dyn Observer) -> Result<()>;
}

/// Error and loss of a model on a part of a data set, with the confusion matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    pub samples: usize,
    pub wrong: usize,
    /// Mean cross-entropy.
    pub loss: f64,
    /// `classes x classes` counts, `[label * classes + predicted]`.
    pub confusion: Vec<u64>,
}

impl Evaluation {
    /// The share of samples that are classified wrongly.
    pub fn error(&self) -> f64 {
        self.wrong as f64 / self.samples as f64
    }
}

/// Advances trial arrays on one device.
pub trait Engine {
    /// The device in words, for people: `cpu (2 threads, AVX-512)`.
    fn device(&self) -> String;

    /// Places an array of trials on the device, with their initial values.
    fn array<'a>(&'a self, task: &'a Task, trials: Vec<Trial>) -> Result<Box<dyn TrialArray + 'a>>;

    /// Runs a model over samples.
    fn evaluate(
        &self,
        architecture: &Architecture,
        parameters: &Parameters,
        part: Part<'_>,
    ) -> Result<Evaluation>;
}
