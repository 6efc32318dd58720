//! What a study has to say, put into lines: its header, trials that begin, trials that end.

use std::path::Path;

use serde_json::{Map, Value as Json};

use super::distributions::{to_internal, to_optuna};
use super::header::{self, Difference, Header};
use super::records::{
    self, CreateStudy, CreateTrial, IntermediateValue, Lines, StudyAttribute, TrialAttribute,
    TrialState, number, single,
};
use super::replay::Replay;
use super::{EpochRecord, State, StudyError, TrialRecord};
use crate::error::Result;
use crate::space::{Config, Space};

/// The lines that a study needs to become this header's: all of them for a new study, the rest for
/// one whose first group was torn, none for one that is whole and the same.
pub fn opening(path: &Path, replay: &Replay, header: &Header) -> Result<Lines> {
    let mut lines = Lines::default();
    let found = replay.studies().find(|(_, entry)| entry.name == header.name);
    if found.is_none() {
        lines.push(&CreateStudy { study_name: &header.name, directions: [1] })?;
    }
    let begun = found.is_some_and(|(_, entry)| !entry.trials.is_empty());
    let foreign = |missing| {
        let (path, name) = (path.to_owned(), header.name.clone());
        StudyError::Foreign { path, name, missing }
    };
    let unrecordable = |error: serde_json::Error| StudyError::Unrecordable {
        what: "the search space".into(),
        reason: error.to_string(),
    };
    let wanted = [
        (header::SPACE, serde_json::to_value(&header.space).map_err(unrecordable)?),
        (header::SETTINGS, header.settings.clone().into()),
        (header::VERSION, env!("CARGO_PKG_VERSION").into()),
    ];
    let study_id = found.map_or(replay.next_study(), |(id, _)| id);
    let mut attributes = found.map(|(_, entry)| entry.attributes.clone()).unwrap_or_default();
    for (key, value) in wanted {
        if attributes.contains_key(key) {
            continue;
        }
        if begun {
            return Err(foreign(key).into());
        }
        attributes.insert(key.to_owned(), value.clone());
        lines.push(&StudyAttribute { study_id, user_attr: single(key, value) })?;
    }
    if found.is_some_and(|(_, entry)| !entry.minimise) {
        return Err(foreign("the direction `minimise`").into());
    }
    let file = Header::from_attributes(&header.name, &attributes).map_err(foreign)?;
    match file.difference(header) {
        Some(Difference { key, file, asked }) => {
            Err(StudyError::Differs { path: path.to_owned(), key, file, asked }.into())
        }
        None => Ok(lines),
    }
}

/// The line that sets one attribute of a study.
pub fn attribute(study_id: usize, key: &str, value: Json) -> Result<Lines> {
    let mut lines = Lines::default();
    lines.push(&StudyAttribute { study_id, user_attr: single(key, value) })?;
    Ok(lines)
}

/// The lines of running trials, one each.
pub fn beginning(
    study_id: usize,
    space: Option<&Space>,
    trials: &[(u32, Config)],
) -> Result<Lines> {
    let (words, now) = (space.map(Words::new), records::now());
    let mut lines = Lines::default();
    for (number, config) in trials {
        let words = words.as_ref().ok_or("the study has no space".to_owned());
        let Spoken { distributions, params } = words
            .and_then(|words| words.speak(config))
            .map_err(|reason| unrecordable(*number, reason))?;
        lines.push(&CreateTrial {
            study_id,
            datetime_start: now.clone(),
            state: State::Running.code(),
            value: None,
            values: None,
            distributions,
            params,
            user_attrs: Map::new(),
            system_attrs: Map::new(),
            intermediate_values: Map::new(),
        })?;
    }
    Ok(lines)
}

/// The lines of trials that ended, each with its trial id.
pub fn ending(trials: &[(usize, &TrialRecord)]) -> Result<Lines> {
    let now = records::now();
    let mut lines = Lines::default();
    for (trial_id, trial) in trials {
        end(trial, *trial_id, &now, &mut lines)?;
    }
    Ok(lines)
}

fn unrecordable(number: u32, reason: String) -> StudyError {
    StudyError::Unrecordable { what: format!("trial {number}"), reason }
}

/// The lines of a trial's end. Its state comes last: until that line is there, the trial counts as
/// running and is trained again.
fn end(trial: &TrialRecord, trial_id: usize, now: &str, lines: &mut Lines) -> Result<()> {
    let refuse = |reason: &str| unrecordable(trial.number, reason.into());
    for epoch in &trial.epochs {
        let (step, intermediate_value) = (epoch.epoch, epoch.validation_error);
        if !intermediate_value.is_finite() {
            return Err(refuse("a validation error is not finite").into());
        }
        lines.push(&IntermediateValue { trial_id, step, intermediate_value })?;
    }
    let losses = |loss: fn(&EpochRecord) -> f64| -> Json {
        trial.epochs.iter().map(|epoch| number(loss(epoch))).collect()
    };
    let attributes = [
        ("train_loss", (!trial.epochs.is_empty()).then(|| losses(|epoch| epoch.train_loss))),
        (
            "validation_loss",
            (!trial.epochs.is_empty()).then(|| losses(|epoch| epoch.validation_loss)),
        ),
        ("seconds", Some(number(trial.seconds))),
        ("reason", trial.reason.clone().map(Json::from)),
    ];
    for (key, value) in attributes {
        if let Some(value) = value {
            lines.push(&TrialAttribute { trial_id, user_attr: single(key, value) })?;
        }
    }
    let values = match (trial.state, trial.value.filter(|value| value.is_finite())) {
        (State::Running, _) => return Err(refuse("it is still running").into()),
        (State::Complete, None) => {
            return Err(refuse("it is complete without a finite value").into());
        }
        (State::Failed, _) => None,
        (State::Complete | State::Pruned, value) => value.map(|value| [value]),
    };
    lines.push(&TrialState { trial_id, state: trial.state.code(), values, datetime_complete: now })
}

/// A space in Optuna's words, each distribution put into them once.
struct Words<'a> {
    space: &'a Space,
    distributions: Vec<String>,
}

/// A config in Optuna's words: distributions and internal values by name.
#[derive(Default)]
struct Spoken {
    distributions: Map<String, Json>,
    params: Map<String, Json>,
}

impl<'a> Words<'a> {
    fn new(space: &'a Space) -> Self {
        let parameters = space.parameters().iter();
        let distributions =
            parameters.map(|parameter| to_optuna(&parameter.distribution).to_string()).collect();
        Words { space, distributions }
    }

    fn speak(&self, config: &Config) -> Result<Spoken, String> {
        let mut spoken = Spoken::default();
        for (name, value) in &config.0 {
            let mut parameters = self.space.parameters().iter().zip(&self.distributions);
            let (parameter, text) = parameters
                .find(|(parameter, _)| parameter.name == *name)
                .ok_or_else(|| format!("its space has no parameter {name}"))?;
            let internal = to_internal(&parameter.distribution, value);
            let internal = internal
                .ok_or_else(|| format!("{name}={value} is not in {}", parameter.distribution))?;
            spoken.distributions.insert(name.clone(), text.as_str().into());
            spoken.params.insert(name.clone(), internal);
        }
        Ok(spoken)
    }
}
