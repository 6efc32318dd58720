//! What the two ways of training a group of trials have in common: who is in it, and what it must do.

use std::time::Instant;

use super::launch::{CudaError, nvtx};
use crate::engine::{EpochMetrics, Next, Observer, Task, Trial};
use crate::error::Result;
use crate::model::Parameters;

/// A trial on its way onto a device, or between two stays there.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The trial's place in its array.
    pub slot: usize,
    pub trial: Trial,
    /// Its state, if it has begun.
    pub kept: Option<Kept>,
}

/// What a paused trial takes along.
#[derive(Clone, Debug)]
pub struct Kept {
    /// As its [`Layout`](super::layout::Layout) says.
    pub state: Vec<f32>,
    /// Epochs trained so far.
    pub epochs: usize,
}

/// Trials that stand in one device's memory together.
///
/// Memory is a group's and not a trial's: a launch serves all members, whose states lie side by side, so that a
/// kernel finds one by its index; and an allocation, which waits for the device, is made once. An array of more
/// trials than fit is trained group by group.
pub trait Group: Send {
    /// Trains every member that is not finished until the observer stops it.
    ///
    /// After an interruption or an error the group is of no more use.
    fn advance(&mut self, observer: &dyn Observer) -> Result<()>;

    /// Whether no member is left to train.
    fn is_finished(&self) -> bool;

    /// Takes the members that are not finished off the device.
    fn leave(self: Box<Self>) -> Result<Vec<Seat>>;
}

/// A member of a group.
pub struct Member {
    pub slot: usize,
    pub trial: Trial,
    pub stage: Stage,
    /// Epochs trained so far.
    pub epochs: usize,
    /// The member's share of the wall time of its epoch so far.
    pub seconds: f64,
    /// When it was let train its epoch.
    pub begun: Instant,
    /// The epoch, for a tool that listens.
    pub range: Option<nvtx::Range>,
    /// Epochs of this advance, for a profile.
    pub profiled: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Training,
    Paused,
    Finished,
}

/// Sums over the samples of an epoch that has ended.
pub struct Sums {
    pub train_loss: f64,
    pub validation_loss: f64,
    pub wrong: u32,
}

impl Member {
    /// Paused: an advance lets it train.
    pub fn new(seat: &Seat) -> Self {
        let epochs = seat.kept.as_ref().map_or(0, |kept| kept.epochs);
        let (slot, trial) = (seat.slot, seat.trial.clone());
        Member {
            slot,
            trial,
            stage: Stage::Paused,
            epochs,
            seconds: 0.0,
            begun: Instant::now(),
            range: None,
            profiled: 0,
        }
    }

    pub fn trains(&self) -> bool {
        self.stage == Stage::Training
    }

    /// Lets it train its next epoch: the number of that (from 1) and its learning rate.
    pub fn call(&mut self) -> (u32, f32) {
        self.stage = Stage::Training;
        let recipe = &self.trial.recipe;
        let rate = recipe.hyperparameters.learning_rate_at(self.epochs, recipe.epochs);
        let epoch = self.epochs + 1;
        self.begun = Instant::now();
        self.range = nvtx::range(|| format!("trial {} epoch {epoch}", self.trial.number));
        (epoch as u32, rate)
    }

    /// Tells the observer of an epoch that has ended. Where the member is to train on it must be called.
    pub fn tell(
        &mut self,
        sums: &Sums,
        task: &Task,
        observer: &dyn Observer,
        parameters: &dyn Fn() -> Result<Parameters>,
    ) -> Result<Next> {
        self.epochs += 1;
        self.profiled += 1;
        self.range = None;
        let metrics = EpochMetrics {
            epoch: self.epochs,
            train_loss: sums.train_loss / task.split.training().len() as f64,
            validation_loss: sums.validation_loss / task.split.validation().len() as f64,
            validation_wrong: sums.wrong as usize,
            seconds: std::mem::take(&mut self.seconds),
        };
        let next = observer.after_epoch(self.slot, metrics, parameters)?;
        match next {
            Next::Train => {}
            Next::Pause => self.stage = Stage::Paused,
            Next::Finish => self.stage = Stage::Finished,
        }
        Ok(next)
    }
}

/// Shares out wall time among the members that trained in it.
pub fn share(members: &mut [Member], seconds: f64) {
    let training = members.iter().filter(|member| member.trains()).count();
    let share = seconds / training.max(1) as f64;
    members.iter_mut().filter(|member| member.trains()).for_each(|member| member.seconds += share);
}

/// The seats of the members that are paused, each with the state that `state_of` copies.
pub fn seats(
    members: &[Member],
    state_of: impl Fn(usize) -> Result<Vec<f32>, CudaError>,
) -> Result<Vec<Seat>> {
    let paused = members.iter().enumerate().filter(|(_, member)| member.stage == Stage::Paused);
    let seat = |(index, member): (usize, &Member)| {
        let kept = Kept { state: state_of(index)?, epochs: member.epochs };
        Ok(Seat { slot: member.slot, trial: member.trial.clone(), kept: Some(kept) })
    };
    paused.map(seat).collect()
}
