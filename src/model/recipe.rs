//! What a config means: every hyperparameter's name, what it may be, and what it is by default.

use std::fmt;

use super::{Activation, Architecture, Hidden, Hyperparameters, Init, LrSchedule, Recipe};
use crate::error::{Error, Result};
use crate::space::{Config, Distribution, Parameter, Space, Value, did_you_mean};

/// The most hidden layers that a model has.
pub const MAX_LAYERS: usize = 6;
/// Units of a hidden layer where a config says nothing.
pub const DEFAULT_UNITS: usize = 256;

const ACTIVATIONS: [(&str, Activation); 4] = [
    ("relu", Activation::Relu),
    ("tanh", Activation::Tanh),
    ("sigmoid", Activation::Sigmoid),
    ("gelu", Activation::Gelu),
];
const SCHEDULES: [(&str, LrSchedule); 3] = [
    ("constant", LrSchedule::Constant),
    ("cosine", LrSchedule::Cosine),
    ("step", LrSchedule::Step),
];
const INITS: [(&str, Init); 2] = [("default", Init::Default), ("zeros", Init::Zeros)];

/// The hyperparameters by name. `units`, `dropout` and `activation` are of all hidden layers;
/// with `_1` to `_6` they are of one, and override those without.
const DOMAINS: [(&str, Domain); 12] = [
    ("learning_rate", Domain::Positive),
    ("batch_size", Domain::Whole { low: 1, high: 65_536 }),
    ("momentum", Domain::Fraction),
    ("nesterov", Domain::Flag),
    ("weight_decay", Domain::NotNegative),
    ("activation", Domain::Word(&["relu", "tanh", "sigmoid", "gelu"])),
    ("layers", Domain::Whole { low: 0, high: MAX_LAYERS as i64 }),
    ("units", Domain::Whole { low: 1, high: 8192 }),
    ("dropout", Domain::Fraction),
    ("lr_schedule", Domain::Word(&["constant", "cosine", "step"])),
    ("label_smoothing", Domain::Fraction),
    ("init", Domain::Word(&["default", "zeros"])),
];
/// Those of `DOMAINS` that a hidden layer can have for itself.
const PER_LAYER: [&str; 3] = ["units", "dropout", "activation"];

/// What a hyperparameter may be. Numbers are judged as the `float32` that the models compute with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// A number above 0.
    Positive,
    /// A number of 0 or more.
    NotNegative,
    /// A number in [0, 1).
    Fraction,
    /// A whole number within these bounds, both inclusive.
    Whole {
        low: i64,
        high: i64,
    },
    Flag,
    Word(&'static [&'static str]),
}

impl Domain {
    /// Whether a hyperparameter may have this value.
    pub fn contains(self, value: &Value) -> bool {
        let number = value.number().map(|number| number as f32).filter(|n| n.is_finite());
        match (self, value) {
            (Domain::Positive, _) => number.is_some_and(|number| number > 0.0),
            (Domain::NotNegative, _) => number.is_some_and(|number| number >= 0.0),
            (Domain::Fraction, _) => number.is_some_and(|number| (0.0..1.0).contains(&number)),
            (Domain::Whole { low, high }, _) => {
                value.whole().is_some_and(|number| (low..=high).contains(&number))
            }
            (Domain::Flag, _) => matches!(value, Value::Bool(_)),
            (Domain::Word(words), Value::Text(text)) => words.contains(&text.as_str()),
            (Domain::Word(_), _) => false,
        }
    }

    /// The first value found that a distribution can give and this domain does not contain. All
    /// domains of numbers are intervals, so the ends of a range speak for what lies between.
    fn violation(self, distribution: &Distribution) -> Option<Value> {
        let Some((low, high)) = distribution.bounds() else {
            return distribution.values().iter().find(|value| !self.contains(value)).cloned();
        };
        let whole = matches!(distribution, Distribution::Int { .. });
        let value = |end: f64| if whole { Value::Int(end as i64) } else { Value::Float(end) };
        [low, high].map(value).into_iter().find(|end| !self.contains(end))
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Domain::Positive => f.write_str("a number above 0"),
            Domain::NotNegative => f.write_str("a number of 0 or more"),
            Domain::Fraction => f.write_str("a number from 0 to below 1"),
            Domain::Whole { low, high } => write!(f, "a whole number from {low} to {high}"),
            Domain::Flag => f.write_str("true or false"),
            Domain::Word(words) => write!(f, "one of {}", words.join(", ")),
        }
    }
}

/// What is wrong with a config, or with a space that configs are drawn from.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RecipeError {
    #[error("unknown hyperparameter {name}{hint}; known are {known}")]
    Unknown { name: String, hint: String, known: String },

    #[error("{name} is {value}, expected {domain}; give it such a value")]
    Value { name: String, value: Value, domain: Domain },

    #[error("{name}={distribution} can give {value}, expected {domain}; {next}")]
    Range { name: String, distribution: String, value: Value, domain: Domain, next: &'static str },

    #[error(
        "{name}={distribution} gives numbers with a fraction, expected {domain}; use randint, \
         lograndint, choice, or quniform with a whole q"
    )]
    Fractions { name: String, distribution: String, domain: Domain },

    #[error(
        "{name} would never be used: layers is {at_most} at most; add layers, such as \
         layers={needed}, or drop {name}"
    )]
    Unused { name: String, at_most: i64, needed: i64 },

    #[error(
        "nesterov=true needs momentum above 0, as in PyTorch; add momentum, such as momentum=0.9"
    )]
    NesterovWithoutMomentum,
}

impl From<RecipeError> for Error {
    fn from(error: RecipeError) -> Error {
        Error::mistake(error)
    }
}

/// What a config need not say.
#[derive(Clone, Debug, PartialEq)]
pub struct Defaults {
    pub epochs: usize,
    pub batch_size: usize,
    pub learning_rate: f64,
    pub init: Init,
}

impl Default for Defaults {
    /// The d2l.ai chapter's numbers.
    fn default() -> Self {
        Defaults { epochs: 8, batch_size: 16, learning_rate: 0.1, init: Init::Default }
    }
}

/// All hyperparameter names: the twelve, and `units_1` to `activation_6`.
pub fn hyperparameter_names() -> Vec<String> {
    let plain = DOMAINS.iter().map(|(name, _)| name.to_string());
    let layered = PER_LAYER
        .iter()
        .flat_map(|name| (1..=MAX_LAYERS).map(move |layer| format!("{name}_{layer}")));
    plain.chain(layered).collect()
}

/// A name's domain, and its layer (from 1) if it is of one layer.
fn lookup(name: &str) -> Option<(Domain, Option<usize>)> {
    let domain = |name: &str| DOMAINS.iter().find(|(known, _)| *known == name).map(|(_, d)| *d);
    if let Some(domain) = domain(name) {
        return Some((domain, None));
    }
    let (base, layer) = name.rsplit_once('_')?;
    let layer = (1..=MAX_LAYERS).find(|number| number.to_string() == layer)?;
    PER_LAYER.contains(&base).then(|| domain(base).map(|domain| (domain, Some(layer))))?
}

fn known(name: &str) -> Result<(Domain, Option<usize>), RecipeError> {
    lookup(name).ok_or_else(|| {
        let names = hyperparameter_names();
        let hint = did_you_mean(name, names.iter().map(String::as_str));
        let plain: Vec<&str> = DOMAINS.iter().map(|(name, _)| *name).collect();
        let known = format!(
            "{}; a layer's own are units_1, dropout_1, activation_1 to _6",
            plain.join(", ")
        );
        RecipeError::Unknown { name: name.to_string(), hint, known }
    })
}

/// Refuses, before any trial starts, a space that can draw a config which no model accepts, and
/// one with a hyperparameter that none of its trials would use.
pub fn check_space(space: &Space) -> Result<()> {
    let deepest = space.get("layers").map_or(0, |parameter| greatest(&parameter.distribution));
    for Parameter { name, distribution, .. } in space.parameters() {
        let (domain, layer) = known(name)?;
        check_range(name, domain, distribution)?;
        let needed = match layer {
            Some(layer) => layer as i64,
            None if PER_LAYER.contains(&name.as_str()) => 1,
            None => 0,
        };
        if needed > deepest {
            let name = name.clone();
            return Err(RecipeError::Unused { name, at_most: deepest, needed }.into());
        }
    }
    let can_be = |name, wanted: fn(&Distribution) -> bool| {
        space.get(name).is_some_and(|parameter| wanted(&parameter.distribution))
    };
    let nesterov = can_be("nesterov", |d| d.values().contains(&Value::Bool(true)));
    let momentum = can_be("momentum", |d| match d.bounds() {
        Some((_, high)) => high > 0.0,
        None => d.values().iter().any(|value| value.number().is_some_and(|n| n > 0.0)),
    });
    if nesterov && !momentum { Err(RecipeError::NesterovWithoutMomentum)? } else { Ok(()) }
}

/// The greatest whole number that a distribution can give.
fn greatest(distribution: &Distribution) -> i64 {
    match distribution.bounds() {
        Some((_, high)) => high as i64,
        None => distribution.values().iter().filter_map(Value::whole).max().unwrap_or(0),
    }
}

fn check_range(name: &str, domain: Domain, distribution: &Distribution) -> Result<(), RecipeError> {
    let refuse = |value, next| {
        let (name, distribution) = (name.to_string(), distribution.to_string());
        Err(RecipeError::Range { name, distribution, value, domain, next })
    };
    if let Distribution::Fixed { value } = distribution {
        let (name, value) = (name.to_string(), value.clone());
        return match domain.contains(&value) {
            true => Ok(()),
            false => Err(RecipeError::Value { name, value, domain }),
        };
    }
    if matches!(domain, Domain::Whole { .. }) && has_fractions(distribution) {
        let (name, distribution) = (name.to_string(), distribution.to_string());
        return Err(RecipeError::Fractions { name, distribution, domain });
    }
    match domain.violation(distribution) {
        Some(value) if matches!(distribution, Distribution::Normal { .. }) => {
            refuse(value, "draws reach mean +- 10 sd: use a smaller sd, lognormal or uniform")
        }
        Some(value) => refuse(value, "narrow its range"),
        None => Ok(()),
    }
}

/// Whether a distribution gives numbers with a fraction.
fn has_fractions(distribution: &Distribution) -> bool {
    match *distribution {
        Distribution::Float { low, step: Some(step), .. } => {
            low.fract() != 0.0 || step.fract() != 0.0
        }
        Distribution::Float { low, high, .. } => low < high || low.fract() != 0.0,
        Distribution::Normal { .. } | Distribution::LogNormal { .. } => true,
        _ => false,
    }
}

impl Recipe {
    /// Reads a config for a data set of `inputs` pixels a sample and `classes` classes.
    ///
    /// Values of layers that the model does not have are not used. `nesterov` with a momentum of
    /// exactly 0, which PyTorch refuses, is plain SGD, as it is in Nesterov's formula.
    ///
    /// # Errors
    /// A name that is no hyperparameter, and a value outside its name's domain.
    pub fn from_config(
        config: &Config,
        defaults: &Defaults,
        inputs: usize,
        classes: usize,
    ) -> Result<Recipe> {
        for (name, value) in &config.0 {
            check_value(name, value)?;
        }
        check_value("learning_rate", &Value::Float(defaults.learning_rate))?;
        check_value("batch_size", &Value::Int(defaults.batch_size as i64))?;
        let read = Reading(config);
        let momentum = read.float("momentum", 0.0) as f32;
        let hyperparameters = Hyperparameters {
            learning_rate: read.float("learning_rate", defaults.learning_rate) as f32,
            lr_schedule: read.word("lr_schedule", &SCHEDULES, LrSchedule::Constant),
            batch_size: read.whole("batch_size", defaults.batch_size),
            momentum,
            nesterov: read.flag("nesterov") && momentum > 0.0,
            weight_decay: read.float("weight_decay", 0.0) as f32,
            label_smoothing: read.float("label_smoothing", 0.0) as f32,
            init: read.word("init", &INITS, defaults.init),
        };
        let hidden = (1..=read.whole("layers", 0)).map(|layer| read.hidden(layer)).collect();
        let architecture = Architecture { inputs, hidden, classes };
        Ok(Recipe { architecture, hyperparameters, epochs: defaults.epochs })
    }
}

fn check_value(name: &str, value: &Value) -> Result<(), RecipeError> {
    let (domain, _) = known(name)?;
    if domain.contains(value) {
        return Ok(());
    }
    Err(RecipeError::Value { name: name.to_string(), value: value.clone(), domain })
}

/// A config whose values have all been found within their domains.
struct Reading<'a>(&'a Config);

impl Reading<'_> {
    fn float(&self, name: &str, default: f64) -> f64 {
        self.0.get(name).and_then(Value::number).unwrap_or(default)
    }

    fn whole(&self, name: &str, default: usize) -> usize {
        let value = self.0.get(name).and_then(Value::whole);
        value.and_then(|value| usize::try_from(value).ok()).unwrap_or(default)
    }

    fn flag(&self, name: &str) -> bool {
        self.0.get(name) == Some(&Value::Bool(true))
    }

    fn word<T: Copy>(&self, name: &str, words: &[(&str, T)], default: T) -> T {
        let found = words.iter().find(|(word, _)| match self.0.get(name) {
            Some(Value::Text(text)) => text == word,
            _ => false,
        });
        found.map_or(default, |(_, meaning)| *meaning)
    }

    /// A hidden layer, counted from 1: its own values, else those of all layers.
    fn hidden(&self, layer: usize) -> Hidden {
        let own = |name: &str| format!("{name}_{layer}");
        let activation = self.word("activation", &ACTIVATIONS, Activation::Relu);
        Hidden {
            units: self.whole(&own("units"), self.whole("units", DEFAULT_UNITS)),
            activation: self.word(&own("activation"), &ACTIVATIONS, activation),
            dropout: self.float(&own("dropout"), self.float("dropout", 0.0)) as f32,
        }
    }
}

#[cfg(test)]
#[path = "recipe_tests.rs"]
mod tests;
