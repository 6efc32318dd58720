//! A trial array on the CPU: which thread, or team of threads, trains which trial next.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::lanes::Isa;
use super::probe::{Laps, Unwatched};
use super::team::Team;
use super::trial::{Interrupted, Running};
use crate::engine::profile::tool_range;
use crate::engine::{EpochMetrics, Next, Observer, Task, Trial, TrialArray};
use crate::error::Result;

/// Trials on all cores, each trained by one thread or team at a time, an epoch at a time.
///
/// Teams, where there are more threads than trials, come first. A free thread or team takes the trial with the
/// most work left, so that no core waits for one last long trial at the end. A trial gets its weights when it is
/// first taken, and only a few have weights at once (more only if the observer pauses them), so an array may be
/// long.
pub struct CpuArray<'a> {
    isa: Isa,
    threads: usize,
    task: &'a Task,
    slots: Vec<Slot<'a>>,
}

struct Slot<'a> {
    trial: Trial,
    team: Team,
    stage: Stage<'a>,
}

enum Stage<'a> {
    /// Not begun: no memory but this.
    Waiting,
    /// Between two epochs.
    Ready(Box<Running<'a>>),
    /// Stopped by the observer, until the next `advance`.
    Paused(Box<Running<'a>>),
    /// On a thread.
    Taken,
    /// Ended, or given up in the middle of an epoch.
    Finished,
}

/// Trials in training at once, for each thread or team: enough to share out the last ones evenly.
const LIVE_PER_THREAD: usize = 4;

impl<'a> CpuArray<'a> {
    pub fn new(isa: Isa, threads: usize, task: &'a Task, trials: Vec<Trial>) -> Self {
        let count = trials.len();
        let slots = trials.into_iter().map(|trial| {
            let team = Team::of(&trial, threads, count);
            Slot { trial, team, stage: Stage::Waiting }
        });
        CpuArray { isa, threads, task, slots: slots.collect() }
    }

    /// Trains all trials of teams of one size, on so many teams.
    fn advance_teams(&mut self, team: Team, teams: usize, observer: &dyn Observer) -> Result<()> {
        let live = LIVE_PER_THREAD * teams;
        let (isa, task) = (self.isa, self.task);
        let slots = Mutex::new(&mut self.slots);
        let failed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let work = |thread: usize| {
                let stopped = || failed.load(Ordering::Relaxed) || observer.interrupted();
                let work = || work((isa, team, task), &slots, live, (observer, thread), &stopped);
                team.run(work).inspect_err(|_| failed.store(true, Ordering::Relaxed))
            };
            let threads: Vec<_> =
                (0..teams).map(|thread| scope.spawn(move || work(thread))).collect();
            // An error stops all of them; the first thread's is as good as another's.
            threads.into_iter().try_for_each(|thread| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })
    }
}

impl TrialArray for CpuArray<'_> {
    fn advance(&mut self, observer: &dyn Observer) -> Result<()> {
        for slot in &mut self.slots {
            slot.stage = match std::mem::replace(&mut slot.stage, Stage::Finished) {
                Stage::Paused(running) => Stage::Ready(running),
                other => other,
            };
        }
        let in_turn = Team::in_turn(self.slots.iter().map(|slot| slot.team), self.threads);
        in_turn.into_iter().try_for_each(|(team, teams)| self.advance_teams(team, teams, observer))
    }
}

type Shared<'s, 'a> = Mutex<&'s mut Vec<Slot<'a>>>;

/// A slot list stays whole whatever panics beside it: each change to it is one assignment.
fn lock<'m, 's, 'a>(slots: &'m Shared<'s, 'a>) -> MutexGuard<'m, &'s mut Vec<Slot<'a>>> {
    slots.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One thread or team: takes trials, an epoch each, until none is left, it is stopped or the
/// observer fails.
fn work<'a>(
    (isa, team, task): (Isa, Team, &'a Task),
    slots: &Shared<'_, 'a>,
    live: usize,
    (observer, thread): (&dyn Observer, usize),
    stopped: &(dyn Fn() -> bool + Sync),
) -> Result<()> {
    while !stopped() {
        let Some((index, trial, begun)) = take(slots, team, live) else { return Ok(()) };
        let mut running = begun.unwrap_or_else(|| Box::new(Running::new(isa, team, task, trial)));
        let stage = match epoch(&mut running, stopped, observer, (thread, team)) {
            Err(_interrupted) => Stage::Finished,
            Ok(metrics) => {
                match observer.after_epoch(index, metrics, &|| Ok(running.parameters()))? {
                    Next::Train => Stage::Ready(running),
                    Next::Pause => Stage::Paused(running),
                    Next::Finish => Stage::Finished,
                }
            }
        };
        if let Some(slot) = lock(slots).get_mut(index) {
            slot.stage = stage;
        }
    }
    Ok(())
}

/// Trains one epoch, under the eyes of the observer's recorder if it has one.
fn epoch(
    running: &mut Running<'_>,
    stopped: &dyn Fn() -> bool,
    observer: &dyn Observer,
    (thread, team): (usize, Team),
) -> Result<EpochMetrics, Interrupted> {
    let name = || format!("trial {} epoch {}", running.number(), running.epochs + 1);
    let _range = tool_range(name);
    let Some(recorder) = observer.recorder() else {
        return running.epoch(stopped, &mut Unwatched);
    };
    let (name, mut laps) = (name(), Laps::new(recorder));
    let metrics = running.epoch(stopped, &mut laps)?;
    laps.finish(recorder, (thread, team), &name);
    Ok(metrics)
}

/// The trial of such a team to train next: of those in training the one with the most work left, or
/// a new one while there is room.
fn take<'a>(
    slots: &Shared<'_, 'a>,
    team: Team,
    live: usize,
) -> Option<(usize, Trial, Option<Box<Running<'a>>>)> {
    let mut slots = lock(slots);
    let of_team = || slots.iter().filter(|slot| slot.team == team);
    let in_training =
        of_team().filter(|slot| matches!(slot.stage, Stage::Ready(_) | Stage::Taken)).count();
    let (index, slot) = slots
        .iter_mut()
        .enumerate()
        .filter(|(_, slot)| slot.team == team)
        .filter(|(_, slot)| match slot.stage {
            Stage::Ready(_) => true,
            Stage::Waiting => in_training < live,
            _ => false,
        })
        .max_by(|(i, a), (j, b)| work_left(a).total_cmp(&work_left(b)).then(j.cmp(i)))?;
    let begun = match std::mem::replace(&mut slot.stage, Stage::Taken) {
        Stage::Ready(running) => Some(running),
        _ => None,
    };
    Some((index, slot.trial.clone(), begun))
}

/// Multiplications to come, up to the samples' number: the epochs left times the parameters, and a
/// share for what a step costs beside its products, which small batches pay more often.
fn work_left(slot: &Slot<'_>) -> f64 {
    let recipe = &slot.trial.recipe;
    let done = match &slot.stage {
        Stage::Ready(running) => running.epochs,
        _ => 0,
    };
    let parameters = recipe.architecture.parameter_count() as f64;
    let step = 1.0 + 8.0 / recipe.hyperparameters.batch_size as f64;
    recipe.epochs.saturating_sub(done) as f64 * parameters * step
}
