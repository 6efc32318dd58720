//! What the lines of a journal come to: its studies and their trials.
//!
//! The lines are applied by the rules of Optuna's own replay (`JournalStorageReplayResult`), so
//! that both always see the same: a second study of a name is ignored, and so is whatever comes
//! for a finished trial or a deleted study.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json};

use super::distributions::Meaning;
use super::records::operation;
use super::{EpochRecord, State, TrialRecord};
use crate::space::Config;

/// Why a line could not be applied.
#[derive(Debug)]
pub enum Fault {
    /// It is no JSON at all, as the end of a file is that was torn.
    NotJson(String),
    /// It is JSON, but not a record of a journal.
    Wrong(String),
}

/// One study of a journal.
#[derive(Debug)]
pub struct Entry {
    pub name: String,
    /// One objective, to be minimised: all that we write.
    pub minimise: bool,
    /// User attributes, in the order in which they were first set.
    pub attributes: Map<String, Json>,
    pub trials: Vec<TrialRecord>,
    /// The journal's number of each trial, which counts over all studies.
    pub trial_ids: Vec<usize>,
}

type Meanings = Vec<(String, Meaning)>;

/// The studies of a journal up to some line.
#[derive(Debug, Default)]
pub struct Replay {
    /// By their id; a deleted study leaves a gap.
    studies: Vec<Option<Entry>>,
    /// By trial id: the trial's study, and its number there.
    trials: Vec<(usize, usize)>,
    /// Trials share their distributions, so each text is understood once.
    meanings: HashMap<String, Arc<Meanings>>,
}

/// A line: all fields of all operations.
#[derive(Deserialize)]
struct Line<'a> {
    op_code: u64,
    study_id: Option<usize>,
    study_name: Option<String>,
    directions: Option<Vec<u8>>,
    trial_id: Option<usize>,
    user_attr: Option<Map<String, Json>>,
    user_attrs: Option<Map<String, Json>>,
    #[serde(borrow)]
    distributions: Option<&'a RawValue>,
    params: Option<Map<String, Json>>,
    param_name: Option<String>,
    param_value_internal: Option<Json>,
    distribution: Option<String>,
    state: Option<u8>,
    value: Option<f64>,
    values: Option<Vec<Option<f64>>>,
    intermediate_values: Option<Map<String, Json>>,
    step: Option<i64>,
    intermediate_value: Option<f64>,
}

impl Line<'_> {
    fn parse(bytes: &[u8]) -> Result<Line<'_>, Fault> {
        serde_json::from_slice(bytes).map_err(|error| match error.is_data() {
            true => Fault::Wrong(reason(&error)),
            false => Fault::NotJson(reason(&error)),
        })
    }

    /// The one objective's value.
    fn objective(&self) -> Option<f64> {
        match self.values.as_deref() {
            Some([value]) => *value,
            Some(_) => None,
            None => self.value,
        }
    }
}

/// A parser's complaint, without its line: that counts within our line and is always 1.
fn reason(error: &serde_json::Error) -> String {
    error.to_string().replace("at line 1 column", "at column")
}

/// A field that an operation must have.
fn need<T>(field: Option<T>, name: &str) -> Result<T, Fault> {
    field.ok_or_else(|| Fault::Wrong(format!("it has no {name}")))
}

impl Replay {
    /// The studies with their ids, in the order of the file.
    pub fn studies(&self) -> impl Iterator<Item = (usize, &Entry)> {
        self.studies.iter().enumerate().filter_map(|(id, entry)| Some((id, entry.as_ref()?)))
    }

    /// A study by its id, unless it was deleted.
    pub fn study(&self, id: usize) -> Option<&Entry> {
        self.studies.get(id)?.as_ref()
    }

    /// The id that the next new study gets.
    pub fn next_study(&self) -> usize {
        self.studies.len()
    }

    /// Applies one line (without its `\n`).
    pub fn apply(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        match Line::parse(bytes) {
            Ok(line) => self.apply_line(line),
            // Python writes NaN and Infinity, which are no JSON.
            Err(fault) => match without_python_numbers(bytes) {
                Some(text) => self.apply_line(Line::parse(text.as_bytes())?),
                None => Err(fault),
            },
        }
    }

    fn apply_line(&mut self, line: Line<'_>) -> Result<(), Fault> {
        match line.op_code {
            operation::CREATE_STUDY => self.create_study(line),
            operation::DELETE_STUDY => {
                let id = need(line.study_id, "study_id")?;
                if let Some(entry) = self.studies.get_mut(id) {
                    *entry = None;
                }
                Ok(())
            }
            operation::STUDY_ATTRIBUTE => {
                let attributes = need(line.user_attr, "user_attr")?;
                if let Some(study) = self.entry(line.study_id)? {
                    study.attributes.extend(attributes);
                }
                Ok(())
            }
            operation::CREATE_TRIAL => self.create_trial(line),
            operation::TRIAL_PARAMETER
            | operation::TRIAL_STATE
            | operation::INTERMEDIATE_VALUE
            | operation::TRIAL_ATTRIBUTE => {
                let id = need(line.trial_id, "trial_id")?;
                self.running_trial(id).map_or(Ok(()), |trial| change_trial(trial, line))
            }
            // System attributes, and what a later Optuna may add, change nothing that we show.
            _ => Ok(()),
        }
    }

    fn create_study(&mut self, line: Line<'_>) -> Result<(), Fault> {
        let name = need(line.study_name, "study_name")?;
        if self.studies().all(|(_, study)| study.name != name) {
            self.studies.push(Some(Entry {
                name,
                minimise: line.directions.is_none_or(|directions| directions == [1]),
                attributes: Map::new(),
                trials: Vec::new(),
                trial_ids: Vec::new(),
            }));
        }
        Ok(())
    }

    fn create_trial(&mut self, mut line: Line<'_>) -> Result<(), Fault> {
        let study_id = need(line.study_id, "study_id")?;
        if self.study(study_id).is_none() {
            return Ok(());
        }
        let meanings = self.meanings(line.distributions)?;
        let params = line.params.take().unwrap_or_default();
        let config = params.iter().map(|(name, internal)| {
            let meaning = meanings.iter().find(|(key, _)| key == name);
            let value = meaning.and_then(|(_, meaning)| meaning.value(internal));
            let value = value.ok_or_else(|| {
                Fault::Wrong(format!(
                    "parameter {name} has no value {internal} in its distribution"
                ))
            })?;
            Ok((name.clone(), value))
        });
        let mut trial = TrialRecord {
            number: 0,
            state: state(line.state.unwrap_or(0))?,
            config: Config(config.collect::<Result<_, Fault>>()?),
            value: line.objective(),
            epochs: Vec::new(),
            reason: None,
            seconds: 0.0,
        };
        for (step, value) in line.intermediate_values.iter().flatten() {
            let step =
                step.parse().map_err(|_| Fault::Wrong(format!("step {step} is no number")))?;
            set_epoch(&mut trial, step, value.as_f64());
        }
        set_attributes(&mut trial, line.user_attrs.take().unwrap_or_default());
        let trial_id = self.trials.len();
        if let Some(study) = self.entry(Some(study_id))? {
            let number = study.trials.len();
            trial.number = u32::try_from(number).unwrap_or(u32::MAX);
            study.trials.push(trial);
            study.trial_ids.push(trial_id);
            self.trials.push((study_id, number));
        }
        Ok(())
    }

    fn meanings(&mut self, text: Option<&RawValue>) -> Result<Arc<Meanings>, Fault> {
        let Some(text) = text.map(RawValue::get) else { return Ok(Arc::default()) };
        if let Some(known) = self.meanings.get(text) {
            return Ok(known.clone());
        }
        let named: Map<String, Json> =
            serde_json::from_str(text).map_err(|error| Fault::Wrong(reason(&error)))?;
        let meanings = named.into_iter().map(|(name, json)| {
            let meaning = json.as_str().ok_or_else(|| "it is no text".to_owned());
            match meaning.and_then(Meaning::from_optuna) {
                Ok(meaning) => Ok((name, meaning)),
                Err(reason) => Err(Fault::Wrong(format!("the distribution of {name}: {reason}"))),
            }
        });
        let meanings = Arc::new(meanings.collect::<Result<Meanings, Fault>>()?);
        self.meanings.insert(text.to_owned(), meanings.clone());
        Ok(meanings)
    }

    fn entry(&mut self, id: Option<usize>) -> Result<Option<&mut Entry>, Fault> {
        let id = need(id, "study_id")?;
        Ok(self.studies.get_mut(id).and_then(Option::as_mut))
    }

    /// A trial that may still change; nothing for one that is finished or that nobody made.
    fn running_trial(&mut self, id: usize) -> Option<&mut TrialRecord> {
        let &(study, number) = self.trials.get(id)?;
        let trial = self.studies.get_mut(study)?.as_mut()?.trials.get_mut(number)?;
        (trial.state == State::Running).then_some(trial)
    }
}

fn change_trial(trial: &mut TrialRecord, line: Line<'_>) -> Result<(), Fault> {
    match line.op_code {
        operation::TRIAL_PARAMETER => {
            let name = need(line.param_name, "param_name")?;
            let internal = need(line.param_value_internal, "param_value_internal")?;
            let text = need(line.distribution, "distribution")?;
            let value = Meaning::from_optuna(&text).map_err(Fault::Wrong)?.value(&internal);
            let value = value.ok_or_else(|| {
                Fault::Wrong(format!(
                    "parameter {name} has no value {internal} in its distribution"
                ))
            })?;
            trial.config.0.retain(|(key, _)| *key != name);
            trial.config.0.push((name, value));
        }
        operation::TRIAL_STATE => {
            trial.state = state(need(line.state, "state")?)?;
            if line.values.is_some() {
                trial.value = line.objective();
            }
        }
        operation::INTERMEDIATE_VALUE => {
            set_epoch(trial, need(line.step, "step")?, line.intermediate_value);
        }
        _ => set_attributes(trial, need(line.user_attr, "user_attr")?),
    }
    Ok(())
}

/// Optuna's number of a state. A waiting trial is one that will run.
fn state(code: u8) -> Result<State, Fault> {
    match code {
        0 | 4 => Ok(State::Running),
        1 => Ok(State::Complete),
        2 => Ok(State::Pruned),
        3 => Ok(State::Failed),
        _ => Err(Fault::Wrong(format!("unknown trial state {code}"))),
    }
}

/// Notes the objective after an epoch; a step told twice counts as told last.
fn set_epoch(trial: &mut TrialRecord, step: i64, error: Option<f64>) {
    let epoch = usize::try_from(step).unwrap_or(0);
    let validation_error = error.unwrap_or(f64::NAN);
    match trial.epochs.binary_search_by_key(&epoch, |record| record.epoch) {
        Ok(place) => trial.epochs[place].validation_error = validation_error,
        Err(place) => {
            let (train_loss, validation_loss) = (f64::NAN, f64::NAN);
            let record = EpochRecord { epoch, train_loss, validation_loss, validation_error };
            trial.epochs.insert(place, record);
        }
    }
}

/// Reads the attributes that we write, and passes over all others.
fn set_attributes(trial: &mut TrialRecord, attributes: Map<String, Json>) {
    for (name, value) in attributes {
        match (name.as_str(), &value) {
            ("train_loss", Json::Array(losses)) => {
                set_losses(trial, losses, |epoch| &mut epoch.train_loss);
            }
            ("validation_loss", Json::Array(losses)) => {
                set_losses(trial, losses, |epoch| &mut epoch.validation_loss);
            }
            ("seconds", _) => trial.seconds = number(&value),
            ("reason", Json::String(reason)) => trial.reason = Some(reason.clone()),
            _ => {}
        }
    }
}

/// The losses are listed epoch by epoch. Epochs beyond the list are left over from a run that was
/// killed while it wrote, and are not part of the trial as it was finished.
fn set_losses(trial: &mut TrialRecord, losses: &[Json], field: fn(&mut EpochRecord) -> &mut f64) {
    trial.epochs.truncate(losses.len());
    for (epoch, loss) in trial.epochs.iter_mut().zip(losses) {
        *field(epoch) = number(loss);
    }
}

/// The opposite of [`super::records::number`].
fn number(json: &Json) -> f64 {
    match json {
        Json::String(text) => text.parse().unwrap_or(f64::NAN),
        _ => json.as_f64().unwrap_or(f64::NAN),
    }
}

/// The text with Python's `NaN`, `Infinity` and `-Infinity` as `null`; nothing if it has none.
fn without_python_numbers(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut out = String::with_capacity(text.len());
    let (mut quoted, mut rest) = (false, text);
    while let Some(character) = rest.chars().next() {
        let word = ["NaN", "-Infinity", "Infinity"].into_iter().find(|word| rest.starts_with(word));
        let length = match (quoted, character, word) {
            (false, _, Some(word)) => {
                out.push_str("null");
                rest = &rest[word.len()..];
                continue;
            }
            (true, '\\', _) => rest.char_indices().nth(2).map_or(rest.len(), |(at, _)| at),
            _ => character.len_utf8(),
        };
        quoted ^= character == '"';
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    (out != text).then_some(out)
}
