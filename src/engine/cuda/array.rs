//! A trial array on one or several devices: who trains where, and in groups of what size.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Settings;
use super::fused::group::{FusedGroup, Limits};
use super::fused::{self, Ability, Variant};
use super::group::LayeredGroup;
use super::launch::CudaError;
use super::layout;
use super::seat::{Group, Seat};
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
    limits: Limits,
    groups: VecDeque<Stay<'a>>,
}

/// The kernel that trains a group within its launches; none: it is trained layer by layer.
type Path = Option<Variant>;

/// A group of trials of one path, on its device or not.
enum Stay<'a> {
    Away(Path, Vec<Seat>),
    Placed(Path, Box<dyn Group + 'a>),
}

impl<'a> CudaArray<'a> {
    /// Deals trials out. Those with the most steps come first and are spread evenly, so that the
    /// devices end together, and so do the trials of a group. Trials of one path make a group.
    ///
    /// `warning` is told to the first observer.
    ///
    /// # Errors
    /// [`CudaError::NotFused`]
    pub fn new(
        gpus: &'a [Worker],
        settings: Settings,
        task: &'a Task,
        trials: Vec<Trial>,
        warning: Option<String>,
    ) -> Result<Self, CudaError> {
        let limit = settings.limits.shared.unwrap_or(usize::MAX);
        let ability = Ability::of_all(gpus.iter().map(Worker::ability)).limited(limit);
        let path = |trial: &Trial| {
            settings.kernel.variant(&trial.recipe, trial.number, settings.precision, ability)
        };
        let paths = trials.iter().map(path).collect::<Result<Vec<Path>, CudaError>>()?;
        let seats = trials.into_iter().enumerate();
        let seats = seats.map(|(slot, trial)| Seat { slot, trial, kept: None }).zip(paths);
        let mut seats: Vec<(Seat, Path)> = seats.collect();
        seats.sort_by_key(|(seat, _)| std::cmp::Reverse(steps(&seat.trial, task)));
        let mut shares: Vec<Vec<(Path, Vec<Seat>)>> = gpus.iter().map(|_| Vec::new()).collect();
        for (index, (seat, path)) in seats.into_iter().enumerate() {
            let groups = &mut shares[index % gpus.len()];
            match groups.iter_mut().find(|(of, _)| *of == path) {
                Some((_, group)) => group.push(seat),
                None => groups.push((path, vec![seat])),
            }
        }
        let shares = gpus.iter().zip(shares).filter(|(_, groups)| !groups.is_empty());
        let share = |(gpu, groups): (&'a Worker, Vec<(Path, Vec<Seat>)>)| {
            let groups = groups.into_iter().map(|(path, seats)| Stay::Away(path, seats));
            Share { gpu, limits: settings.limits, groups: groups.collect() }
        };
        Ok(CudaArray { task, shares: shares.map(share).collect(), warning })
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
            let (path, mut group) = match stay {
                Stay::Placed(path, group) => (path, group),
                Stay::Away(path, seats) => match self.place(task, path, seats, observer)? {
                    Some(group) => (path, group),
                    None => continue,
                },
            };
            group.advance(observer)?;
            if group.is_finished() {
                continue;
            }
            if self.groups.is_empty() && rested.is_empty() {
                rested.push_back(Stay::Placed(path, group));
            } else {
                rested.push_back(Stay::Away(path, group.leave()?));
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
        path: Path,
        mut seats: Vec<Seat>,
        observer: &dyn Observer,
    ) -> Result<Option<Box<dyn Group + 'a>>> {
        self.gpu.data(task)?; // first, so that what it takes is not counted as free
        let samples = task.split.training().len();
        let bytes = |seat: &Seat| match path {
            Some(variant) => fused::placed::bytes(&seat.trial.recipe, variant, samples),
            None => layout::bytes(&seat.trial.recipe, samples),
        };
        let fitting = layout::fitting(seats.iter().map(bytes), self.gpu.room()?);
        // Where not even one seems to fit, the allocation decides.
        if fitting.max(1) < seats.len() {
            self.groups.push_front(Stay::Away(path, seats.split_off(fitting.max(1))));
        }
        match self.group(task, path, &seats) {
            Ok(group) => Ok(Some(group)),
            Err(error) if error.is_out_of_memory() && seats.len() > 1 => {
                let half = seats.split_off(seats.len() / 2);
                observer.warn(&format!(
                    "{}: {} trials did not fit the memory at once; training {} of them first",
                    self.gpu.stream.device().gpu().name,
                    seats.len() + half.len(),
                    seats.len(),
                ));
                self.groups.push_front(Stay::Away(path, half));
                self.groups.push_front(Stay::Away(path, seats));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn group(
        &self,
        task: &'a Task,
        path: Path,
        seats: &[Seat],
    ) -> Result<Box<dyn Group + 'a>, CudaError> {
        Ok(match path {
            Some(variant) => {
                Box::new(FusedGroup::new(self.gpu, task, variant, self.limits, seats)?)
            }
            None => Box::new(LayeredGroup::new(self.gpu, task, seats)?),
        })
    }
}
