//! Training one array: the engine works on a thread of its own, its news arrive on the caller's.

use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Incumbent;
use super::stop::Stop;
use crate::engine::{Engine, EpochMetrics, Next, Observer, Task, Trial};
use crate::error::{Error, Result};
use crate::model::Parameters;
use crate::study::{EpochRecord, State};

/// News of one trial of an array.
pub enum Event {
    Epoch {
        number: u32,
        record: EpochRecord,
        seconds: f64,
    },
    Ended {
        slot: usize,
        ending: Ending,
    },
    /// What the engine did otherwise than asked, and went on.
    Warning(String),
}

/// How a trial ended.
#[derive(Debug)]
pub struct Ending {
    pub state: State,
    /// Validation error after the last epoch; none if the trial failed.
    pub value: Option<f64>,
    /// The epochs whose losses are finite.
    pub epochs: Vec<EpochRecord>,
    pub reason: Option<String>,
    pub seconds: f64,
}

/// The best trial so far, with its parameters if it was trained in this process.
#[derive(Debug, Default)]
pub struct Keeper(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    incumbent: Option<Incumbent>,
    parameters: Option<Parameters>,
}

impl Keeper {
    /// Keeps nothing that does not beat `incumbent`.
    pub fn new(incumbent: Option<Incumbent>) -> Self {
        Keeper(Mutex::new(Kept { incumbent, parameters: None }))
    }

    /// Copies the parameters of a trial only if it is the best so far: one model is held, not all.
    fn offer(
        &self,
        candidate: Incumbent,
        parameters: &dyn Fn() -> Result<Parameters>,
    ) -> Result<()> {
        let mut kept = lock(&self.0);
        if candidate.beats(kept.incumbent) {
            *kept = Kept { incumbent: Some(candidate), parameters: Some(parameters()?) };
        }
        Ok(())
    }

    /// The parameters of a trial, if it is the one that was kept.
    pub fn into_parameters_of(self, number: u32) -> Option<Parameters> {
        let kept = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        kept.parameters.filter(|_| kept.incumbent.is_some_and(|i| i.number == number))
    }
}

/// A lock that outlives a panic elsewhere: the panic itself is passed on when its thread is joined.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Turns an engine's epochs into events.
struct Watch<'a> {
    trials: Vec<Watched>,
    validation_samples: usize,
    keeper: &'a Keeper,
    stop: &'a Stop,
    events: Sender<Event>,
}

struct Watched {
    number: u32,
    epochs: usize,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    epochs: Vec<EpochRecord>,
    seconds: f64,
}

impl Observer for Watch<'_> {
    fn after_epoch(
        &self,
        slot: usize,
        metrics: EpochMetrics,
        parameters: &dyn Fn() -> Result<Parameters>,
    ) -> Result<Next> {
        let trial = &self.trials[slot];
        let record = EpochRecord {
            epoch: metrics.epoch,
            train_loss: metrics.train_loss,
            validation_loss: metrics.validation_loss,
            validation_error: metrics.validation_wrong as f64 / self.validation_samples as f64,
        };
        let mut progress = lock(&trial.progress);
        progress.seconds += metrics.seconds;
        // The receiver is there until every sender is gone, so sending cannot fail.
        let (number, seconds) = (trial.number, metrics.seconds);
        let _ = self.events.send(Event::Epoch { number, record, seconds });
        let (state, value, reason) = if metrics.is_finite() {
            let value = record.validation_error;
            progress.epochs.push(record);
            if metrics.epoch < trial.epochs {
                return Ok(Next::Train);
            }
            self.keeper.offer(Incumbent { number, value }, parameters)?;
            (State::Complete, Some(value), None)
        } else {
            (State::Failed, None, Some(divergence(&metrics)))
        };
        let Progress { epochs, seconds } = std::mem::take(&mut *progress);
        let ending = Ending { state, value, epochs, reason, seconds };
        let _ = self.events.send(Event::Ended { slot, ending });
        Ok(Next::Finish)
    }

    fn warn(&self, line: &str) {
        let _ = self.events.send(Event::Warning(line.to_owned()));
    }

    fn interrupted(&self) -> bool {
        self.stop.requested()
    }
}

/// Why a trial failed, with the epoch.
fn divergence(metrics: &EpochMetrics) -> String {
    let which = if metrics.train_loss.is_finite() { "validation" } else { "training" };
    format!("diverged: {which} loss not finite in epoch {}", metrics.epoch)
}

/// Trains an array. `handle` gets the events on this thread, all that are ready at a time: what
/// ended while a group was being written is the next group. Its error stops the engine.
pub fn train(
    engine: &(dyn Engine + Sync),
    task: &Task,
    trials: Vec<Trial>,
    keeper: &Keeper,
    stop: &Stop,
    mut handle: impl FnMut(Vec<Event>) -> Result<()>,
) -> Result<()> {
    let (events, news) = mpsc::channel();
    let watch = Watch {
        trials: trials.iter().map(Watched::new).collect(),
        validation_samples: task.split.validation().len(),
        keeper,
        stop,
        events,
    };
    std::thread::scope(|scope| {
        // `watch` moves into the thread: its end drops the sender, which ends the loop below.
        let training = scope.spawn(move || {
            let watch = watch;
            engine.array(task, trials)?.advance(&watch)
        });
        let handled = drain(&news, stop, &mut handle);
        let trained = training.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        handled.and(trained)
    })
}

impl Watched {
    fn new(trial: &Trial) -> Self {
        let progress = Mutex::default();
        Watched { number: trial.number, epochs: trial.recipe.epochs, progress }
    }
}

/// Hands on events until the engine is done; after an error it only waits for that.
fn drain(
    news: &Receiver<Event>,
    stop: &Stop,
    handle: &mut impl FnMut(Vec<Event>) -> Result<()>,
) -> Result<()> {
    let mut outcome = Ok(());
    while let Ok(first) = news.recv() {
        if outcome.is_ok() {
            outcome = handle(std::iter::once(first).chain(news.try_iter()).collect());
            if outcome.is_err() {
                stop.set_failed();
            }
        }
    }
    outcome
}

/// One trial, trained to its end.
#[derive(Debug)]
pub struct Trained {
    /// Validation error after the last epoch.
    pub value: f64,
    pub epochs: Vec<EpochRecord>,
    pub seconds: f64,
    pub parameters: Parameters,
}

/// What [`train_one`] tells while it trains.
pub enum News<'a> {
    Epoch(&'a EpochRecord, f64),
    Warning(&'a str),
}

/// Trains one trial by itself; `each` is told of every epoch and its seconds and of the engine's
/// warnings, and its error ends the training.
///
/// # Errors
/// [`Error::Diverged`] if a loss is not finite, [`Error::Interrupted`] if `interrupt` was set.
pub fn train_one(
    engine: &(dyn Engine + Sync),
    task: &Task,
    trial: Trial,
    interrupt: Arc<AtomicBool>,
    mut each: impl FnMut(News<'_>) -> Result<()>,
) -> Result<Trained> {
    let (number, keeper) = (trial.number, Keeper::default());
    let stop = Stop::new(interrupt, None);
    let mut ending = None;
    train(engine, task, vec![trial], &keeper, &stop, |events| {
        for event in events {
            match event {
                Event::Epoch { record, seconds, .. } => each(News::Epoch(&record, seconds))?,
                Event::Warning(line) => each(News::Warning(&line))?,
                Event::Ended { ending: end, .. } => ending = Some(end),
            }
        }
        Ok(())
    })?;
    let Some(Ending { value, epochs, reason, seconds, .. }) = ending else {
        return Err(Error::Interrupted);
    };
    match (value, keeper.into_parameters_of(number)) {
        (Some(value), Some(parameters)) => Ok(Trained { value, epochs, seconds, parameters }),
        _ => Err(Error::Diverged { trial: number, reason: reason.unwrap_or_default() }),
    }
}
