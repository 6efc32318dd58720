//! The driver: asks, trains, records, announces; at the end it tests the incumbent once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use serde_json::json;

use super::stop::Stop;
use super::training::{self, Ending, Event, Keeper};
use super::{Best, End, Incumbent, News, Outcome, Plan, Reporter, train_one};
use crate::data::Dataset;
use crate::engine::{Engine, Task, Trial};
use crate::error::{Error, Result};
use crate::model::{Defaults, Parameters, Recipe};
use crate::space::Config;
use crate::study::{State, Study, TrialRecord};

/// The study's attribute that holds the incumbent's test error.
const TEST_NOTE: &str = "warpsweep:test";

/// Runs a search, or goes on with one: trains every trial of the plan that the study has not.
///
/// A trial is on disk before `reporter` hears of it. Trials that end while a group is being
/// written make the next group, so there is one `fsync` a group, however many trials it has.
///
/// # Errors
/// [`Error::Interrupted`] when the plan's interrupt was set, and whatever the rooms below and the
/// reporter give; the study can be resumed after any of them.
pub fn run(
    plan: &Plan,
    engine: &(dyn Engine + Sync),
    task: &Task,
    study: &mut Study,
    reporter: &mut dyn Reporter,
) -> Result<Outcome> {
    let started = Instant::now();
    let deadline = plan.time_limit.and_then(|limit| started.checked_add(limit));
    let stop = Stop::new(plan.interrupt.clone(), deadline);
    let resumed = finished(study).count();
    let incumbent = incumbent(study);
    reporter.start(plan, resumed)?;
    let mut search = Search {
        plan,
        engine,
        task,
        study,
        reporter,
        stop: &stop,
        keeper: Keeper::new(incumbent),
        incumbent,
        trial_epochs: 0,
    };
    search.meet_target();
    let todo = search.unfinished(plan.trials);
    for numbers in todo.chunks(plan.array.max(1)) {
        if stop.requested() {
            break;
        }
        search.array(numbers)?;
    }
    let seconds = started.elapsed().as_secs_f64();
    if stop.interrupted() {
        return Err(Error::Interrupted);
    }
    let left = search.unfinished(plan.trials).len();
    let end = match left {
        0 => End::Complete,
        _ if stop.target_reached() => End::TargetError,
        _ => End::TimeLimit,
    };
    let trial_epochs = search.trial_epochs;
    let best = search.test()?;
    Ok(Outcome { end, best, resumed, trial_epochs, seconds })
}

/// The trials of a study that need no more training.
fn finished(study: &Study) -> impl Iterator<Item = &TrialRecord> {
    study.trials().iter().filter(|trial| trial.state != State::Running)
}

fn incumbent(study: &Study) -> Option<Incumbent> {
    let best = study.best()?;
    Some(Incumbent { number: best.number, value: best.value? })
}

/// A search on its way.
struct Search<'a> {
    plan: &'a Plan,
    engine: &'a (dyn Engine + Sync),
    task: &'a Task,
    study: &'a mut Study,
    reporter: &'a mut dyn Reporter,
    stop: &'a Stop,
    keeper: Keeper,
    incumbent: Option<Incumbent>,
    trial_epochs: usize,
}

impl Search<'_> {
    /// Numbers below `trials` that have no result yet, in order.
    fn unfinished(&self, trials: u32) -> Vec<u32> {
        let mut done = vec![false; trials as usize];
        for trial in finished(self.study) {
            if let Some(slot) = done.get_mut(trial.number as usize) {
                *slot = true;
            }
        }
        (0..trials).filter(|&number| !done[number as usize]).collect()
    }

    /// Trains and records the trials with these numbers.
    fn array(&mut self, numbers: &[u32]) -> Result<()> {
        let configs = self.propose(numbers)?;
        let recipes = configs
            .iter()
            .map(|(_, config)| recipe(config, &self.plan.defaults, self.task.split.data()))
            .collect::<Result<Vec<_>>>()?;
        if self.plan.defaults.epochs == 0 {
            return self.skip(configs);
        }
        let trials = configs.iter().zip(recipes);
        let trials = trials.map(|((number, _), recipe)| Trial { number: *number, recipe });
        let keeper = std::mem::take(&mut self.keeper);
        let (engine, task, stop) = (self.engine, self.task, self.stop);
        let trained = training::train(engine, task, trials.collect(), &keeper, stop, |events| {
            self.hear(events, &configs)
        });
        self.keeper = keeper;
        trained
    }

    /// Asks the sampler, and writes down the trials that the study does not have yet. What is drawn
    /// for a trial that it has must be what it says.
    fn propose(&mut self, numbers: &[u32]) -> Result<Vec<(u32, Config)>> {
        let stored: HashMap<u32, &Config> =
            self.study.trials().iter().map(|trial| (trial.number, &trial.config)).collect();
        let (mut configs, mut new) = (Vec::with_capacity(numbers.len()), Vec::new());
        for &number in numbers {
            let config = self.plan.sampler.propose(number);
            match stored.get(&number) {
                Some(&stored) if *stored != config => {
                    let (stored, drawn) = (json!(stored).to_string(), json!(config).to_string());
                    return Err(Error::ConfigChanged { trial: number, stored, drawn });
                }
                Some(_) => {}
                None => new.push((number, config.clone())),
            }
            configs.push((number, config));
        }
        if !new.is_empty() {
            self.study.begin(&new)?;
        }
        Ok(configs)
    }

    /// Trials of 0 epochs: recorded without being trained or measured.
    fn skip(&mut self, configs: Vec<(u32, Config)>) -> Result<()> {
        let record = |(number, config)| TrialRecord {
            number,
            state: State::Pruned,
            config,
            value: None,
            epochs: Vec::new(),
            reason: Some("0 epochs asked for".to_owned()),
            seconds: 0.0,
        };
        self.record(configs.into_iter().map(record).collect())
    }

    /// Takes what is new from the engine.
    fn hear(&mut self, events: Vec<Event>, configs: &[(u32, Config)]) -> Result<()> {
        let mut group = Vec::new();
        for event in events {
            match event {
                Event::Epoch { number, record, .. } => {
                    self.trial_epochs += 1;
                    self.reporter.epoch(number, &record)?;
                }
                Event::Warning(line) => self.reporter.warning(&line)?,
                Event::Ended { slot, ending } => {
                    let (number, config) = configs[slot].clone();
                    let Ending { state, value, epochs, reason, seconds } = ending;
                    group.push(TrialRecord {
                        number,
                        state,
                        config,
                        value,
                        epochs,
                        reason,
                        seconds,
                    });
                }
            }
        }
        self.record(group)
    }

    /// Makes a group of finished trials durable, then announces each.
    fn record(&mut self, mut group: Vec<TrialRecord>) -> Result<()> {
        if group.is_empty() {
            return Ok(());
        }
        group.sort_by_key(|trial| trial.number);
        self.study.finish(&group)?;
        for trial in &group {
            if let Some(value) = trial.value {
                let candidate = Incumbent { number: trial.number, value };
                if candidate.beats(self.incumbent) {
                    self.incumbent = Some(candidate);
                }
            }
            self.reporter.trial(trial, self.incumbent)?;
        }
        self.meet_target();
        Ok(())
    }

    fn meet_target(&self) {
        let Some(target) = self.plan.target_error else { return };
        if self.incumbent.is_some_and(|incumbent| incumbent.value <= target) {
            self.stop.set_target_reached();
        }
    }

    /// Evaluates the incumbent on the test set: once, whatever is resumed later.
    fn test(self) -> Result<Option<Best>> {
        let Some(best) = self.study.best() else { return Ok(None) };
        let (number, known) = (best.number, tested(self.study, best.number));
        if let (Some(test_error), false) = (known, self.plan.want_model) {
            return Ok(Some(Best { number, test_error, model: None }));
        }
        let recipe = recipe(&best.config, &self.plan.defaults, self.task.split.data())?;
        let architecture = recipe.architecture.clone();
        let parameters = match self.keeper.into_parameters_of(number) {
            Some(parameters) => parameters,
            None => {
                let trial = Trial { number, recipe };
                let interrupt = self.plan.interrupt.clone();
                retrain(self.engine, self.task, trial, best, self.reporter, interrupt)?
            }
        };
        let part = self.task.split.test();
        let test_error = self.engine.evaluate(&architecture, &parameters, part)?.error();
        if known.is_none() {
            self.study.note(TEST_NOTE, json!({ "trial": number, "error": test_error }))?;
        }
        let model = self.plan.want_model.then_some((architecture, parameters));
        Ok(Some(Best { number, test_error, model }))
    }
}

/// The parameters of a trial that was trained before this process. A trial is a pure function of
/// what the study holds, so it must come to the same error again.
fn retrain(
    engine: &(dyn Engine + Sync),
    task: &Task,
    trial: Trial,
    recorded: &TrialRecord,
    reporter: &mut dyn Reporter,
    interrupt: Arc<AtomicBool>,
) -> Result<Parameters> {
    let again = train_one(engine, task, trial, interrupt, |news| match news {
        News::Epoch(..) => Ok(()),
        News::Warning(line) => reporter.warning(line),
    })?;
    if recorded.value != Some(again.value) {
        let (trial, recorded, now) = (recorded.number, recorded.value, again.value);
        return Err(Error::NotReproduced { trial, recorded, now });
    }
    Ok(again.parameters)
}

/// The test error that an earlier run noted, if it is this trial's.
fn tested(study: &Study, number: u32) -> Option<f64> {
    let (_, note) = study.attributes().find(|(key, _)| *key == TEST_NOTE)?;
    let same = note.get("trial")?.as_u64()? == u64::from(number);
    note.get("error")?.as_f64().filter(|_| same)
}

/// What a config means for this data set.
fn recipe(config: &Config, defaults: &Defaults, data: &Dataset) -> Result<Recipe> {
    Recipe::from_config(config, defaults, data.pixels(), data.classes)
}
