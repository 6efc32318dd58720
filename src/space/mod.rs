//! The search space: hyperparameters by name, each with its distribution; and one draw from it.

use serde::{Deserialize, Serialize};

/// The value of one hyperparameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

/// One assignment of values, drawn from the space: names in the order of the space.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config(pub Vec<(String, Value)>);

impl Config {
    /// The value of a hyperparameter, if this config has it.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}
