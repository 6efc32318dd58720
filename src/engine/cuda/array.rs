//! A trial array on one or several devices: who trains where, and in groups of what size.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use super::group::{Group, Seat};
use super::layout;
use super::worker::Worker;
use crate::engine::profile::Recorder;
use crate::engine::{EpochMetrics, Next, Observer, Task, Trial, TrialArray};
use crate::error::Result;
use crate::model::Parameters;

/// Trials dealt out over devices. Neither the deal nor the grouping changes any number.
pub struct CudaArray<'a> {
    task: &'a Task,
    shares: Vec<Share<'a>>,
    warning: Option<String>,
}

/// What one device trains.
struct Share<'a> {
    gpu: &'a Worker,
    groups: VecDeque<Stay<'a>>,
}

/// A group of trials, on its device or not.
enum Stay<'a> {
    Away(Vec<Seat>),
    Placed(Box<Group<'a>>),
}

impl<'a> CudaArray<'a> {
    /// Deals trials out. Those with the most steps come first and are spread evenly, so that the
    /// devices end together, and so do the trials of a group.
    ///
    /// `warning` is told to the first observer.
    pub fn new(
        gpus: &'a [Worker],
        task: &'a Task,
        trials: Vec<Trial>,
        warning: Option<String>,
    ) -> Self {
        let seats = trials.into_iter().enumerate();
        let mut seats: Vec<Seat> =
            seats.map(|(slot, trial)| Seat { slot, trial, kept: None }).collect();
        seats.sort_by_key(|seat| std::cmp::Reverse(steps(&seat.trial, task)));
        let mut shares: Vec<Vec<Seat>> = gpus.iter().map(|_| Vec::new()).collect();
        for (index, seat) in seats.into_iter().enumerate() {
            shares[index % gpus.len()].push(seat);
        }
        let shares = gpus.iter().zip(shares).filter(|(_, seats)| !seats.is_empty());
        let share = |(gpu, seats)| Share { gpu, groups: VecDeque::from([Stay::Away(seats)]) };
        CudaArray { task, shares: shares.map(share).collect(), warning }
    }
}

/// Training steps that a trial is meant to have.
fn steps(trial: &Trial, task: &Task) -> usize {
    let batch = trial.recipe.hyperparameters.batch_size;
    trial.recipe.epochs * task.split.training().len().div_ceil(batch)
}

impl<'a> TrialArray for CudaArray<'a> {
    fn advance(&mut self, observer: &dyn Observer) -> Result<()> {
        if let Some(line) = self.warning.take() {
            observer.warn(&line);
        }
        let task = self.task;
        let observer = &Together { observer, failed: AtomicBool::new(false) };
        std::thread::scope(|scope| {
            let advance = |share: &mut Share<'a>| {
                let done = share.advance(task, observer);
                done.inspect_err(|_| observer.failed.store(true, Ordering::Relaxed))
            };
            let shares = self.shares.iter_mut();
            let threads: Vec<_> = shares.map(|share| scope.spawn(move || advance(share))).collect();
            // The first error is as good as another's.
            threads.into_iter().try_for_each(|thread| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })
    }
}

/// An observer that interrupts all devices when one has failed.
struct Together<'o> {
    observer: &'o dyn Observer,
    failed: AtomicBool,
}

impl Observer for Together<'_> {
    fn after_epoch(
        &self,
        slot: usize,
        metrics: EpochMetrics,
        parameters: &dyn Fn() -> Result<Parameters>,
    ) -> Result<Next> {
        self.observer.after_epoch(slot, metrics, parameters)
    }

    fn warn(&self, line: &str) {
        self.observer.warn(line);
    }

    fn recorder(&self) -> Option<&Recorder> {
        self.observer.recorder()
    }

    fn interrupted(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.observer.interrupted()
    }
}

impl<'a> Share<'a> {
    /// Advances every group in turn. A group that pauses stays on the device if it is alone there;
    /// else it makes room for the next.
    fn advance(&mut self, task: &'a Task, observer: &dyn Observer) -> Result<()> {
        let mut rested = VecDeque::new();
        while let Some(stay) = self.groups.pop_front() {
            if observer.interrupted() {
                rested.push_back(stay);
                continue;
            }
            let mut group = match stay {
                Stay::Placed(group) => group,
                Stay::Away(seats) => match self.place(task, seats, observer)? {
                    Some(group) => Box::new(group),
                    None => continue,
                },
            };
            group.advance(observer)?;
            if group.is_finished() {
                continue;
            }
            if self.groups.is_empty() && rested.is_empty() {
                rested.push_back(Stay::Placed(group));
            } else {
                rested.push_back(Stay::Away(group.leave()?));
            }
        }
        self.groups = rested;
        Ok(())
    }

    /// Places as many of the seats as are estimated to fit; the others are queued behind. Where
    /// the memory does not suffice all the same, both halves are queued instead.
    fn place(
        &mut self,
        task: &'a Task,
        mut seats: Vec<Seat>,
        observer: &dyn Observer,
    ) -> Result<Option<Group<'a>>> {
        self.gpu.data(task)?; // first, so that what it takes is not counted as free
        let recipes = seats.iter().map(|seat| &seat.trial.recipe);
        let fitting = layout::fitting(recipes, task.split.training().len(), self.gpu.room()?);
        // Where not even one seems to fit, the allocation decides.
        if fitting.max(1) < seats.len() {
            self.groups.push_front(Stay::Away(seats.split_off(fitting.max(1))));
        }
        match Group::new(self.gpu, task, &seats) {
            Ok(group) => Ok(Some(group)),
            Err(error) if error.is_out_of_memory() && seats.len() > 1 => {
                let half = seats.split_off(seats.len() / 2);
                observer.warn(&format!(
                    "{}: {} trials did not fit the memory at once; training {} of them first",
                    self.gpu.stream.device().gpu().name,
                    seats.len() + half.len(),
                    seats.len(),
                ));
                self.groups.push_front(Stay::Away(half));
                self.groups.push_front(Stay::Away(seats));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}
