//! The search space: hyperparameters by name, each with its distribution; and one draw from it.

mod condition;
mod distribution;
mod error;
mod file;
mod spelling;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

pub use condition::{Condition, Operator};
pub use distribution::{Distribution, NORMAL_LIMIT};
pub(crate) use error::did_you_mean;
pub use error::{SpaceError, SpaceProblem};

use crate::random::{Purpose, Stream};

/// The value of one hyperparameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
}

impl Value {
    /// The value as a number, if it is one.
    pub fn number(&self) -> Option<f64> {
        match *self {
            Value::Int(number) => Some(number as f64),
            Value::Float(number) => Some(number),
            Value::Bool(_) | Value::Text(_) => None,
        }
    }

    /// The value as a whole number, if it is one: also a float without a fraction, such as
    /// `quniform` draws.
    pub fn whole(&self) -> Option<i64> {
        match *self {
            Value::Int(number) => Some(number),
            // Up to 2^53 every whole number has a float of its own.
            Value::Float(number) if number.fract() == 0.0 && number.abs() <= 9e15 => {
                Some(number as i64)
            }
            _ => None,
        }
    }
}

/// Floats in the shortest spelling that reads back as the same float: `0.1`, `1e-5`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            Value::Float(value) => write!(f, "{value:?}"),
            Value::Text(value) => write!(f, "{value}"),
        }
    }
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

/// A JSON object, in order.
impl Serialize for Config {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// A hyperparameter of the space: what it is drawn from, and when it is part of a config.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    pub name: String,
    pub distribution: Distribution,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
}

/// The hyperparameters of a search, each with its distribution.
///
/// ```
/// use warpsweep::space::Space;
/// let arguments = ["learning_rate=loguniform(1e-4,1)", "batch_size=choice(16,32)"];
/// let space = Space::from_arguments(&arguments.map(String::from))?;
/// let config = space.sample(7, 0); // a pure function of seed and trial number
/// assert_eq!(config, space.sample(7, 0));
/// assert!(config.get("learning_rate").is_some());
/// # Ok::<(), warpsweep::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Parameter>", into = "Vec<Parameter>")]
pub struct Space {
    parameters: Vec<Parameter>,
    plan: Vec<Step>,
}

/// One step of a draw. The steps stand in an order in which parents come before their children.
#[derive(Clone, Debug, PartialEq)]
struct Step {
    parameter: usize,
    parent: Option<usize>,
    stream: u16,
}

impl Space {
    /// A space of these parameters, in this order.
    ///
    /// # Errors
    /// A name that is no name or stands twice, a distribution that cannot be drawn from, and a
    /// condition without its parent, without meaning, or in a circle.
    pub fn new(parameters: Vec<Parameter>) -> Result<Self, SpaceError> {
        let mut places = HashMap::new();
        for (index, parameter) in parameters.iter().enumerate() {
            let name = &parameter.name;
            let here = |problem: SpaceProblem| problem.at(format!("parameter {name:?}"));
            if !is_name(name) {
                return Err(here(SpaceProblem::Name { name: name.clone() }));
            }
            parameter.distribution.check().map_err(here)?;
            if places.insert(name.as_str(), index).is_some() {
                return Err(here(SpaceProblem::Duplicate { name: name.clone() }));
            }
        }
        let parents = find_parents(&parameters, &places)?;
        let mut order = Vec::with_capacity(parameters.len());
        for index in 0..parameters.len() {
            order.push((depth(index, &parents, &parameters)?, index));
        }
        order.sort_unstable();
        let streams = streams(parameters.iter().map(|parameter| parameter.name.as_str()));
        let plan = order.iter().map(|&(_, parameter)| Step {
            parameter,
            parent: parents[parameter],
            stream: streams[parameters[parameter].name.as_str()],
        });
        let plan = plan.collect();
        Ok(Space { parameters, plan })
    }

    /// The parameters, in the order in which they were given.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// A parameter by its name.
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }

    /// The config of a trial: a pure function of the seed and the trial's number.
    ///
    /// Each parameter is drawn from a stream of its own, chosen by its name, so that its values do
    /// not change when another parameter is added, removed or changed. A parameter is absent where
    /// its condition does not hold, or where the condition's parent is absent.
    pub fn sample(&self, seed: u64, trial: u32) -> Config {
        let mut drawn: Vec<Option<Value>> = vec![None; self.parameters.len()];
        for step in &self.plan {
            let parameter = &self.parameters[step.parameter];
            let active = match (&parameter.when, step.parent) {
                (Some(condition), Some(parent)) => {
                    drawn[parent].as_ref().is_some_and(|value| condition.holds(value))
                }
                _ => true,
            };
            if active {
                let mut stream = Stream::new(seed, Purpose::Config(step.stream), trial);
                drawn[step.parameter] = Some(parameter.distribution.draw(&mut stream));
            }
        }
        let names = self.parameters.iter().map(|parameter| &parameter.name);
        Config(names.zip(drawn).filter_map(|(name, value)| Some((name.clone(), value?))).collect())
    }
}

impl TryFrom<Vec<Parameter>> for Space {
    type Error = SpaceError;

    fn try_from(parameters: Vec<Parameter>) -> Result<Self, SpaceError> {
        Space::new(parameters)
    }
}

impl From<Space> for Vec<Parameter> {
    fn from(space: Space) -> Self {
        space.parameters
    }
}

/// Letters, digits and `_`, not beginning with a digit.
fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The place of each condition's parent.
fn find_parents(
    parameters: &[Parameter],
    places: &HashMap<&str, usize>,
) -> Result<Vec<Option<usize>>, SpaceError> {
    let find = |parameter: &Parameter| {
        let Some(condition) = &parameter.when else { return Ok(None) };
        let here = |problem: SpaceProblem| problem.at(format!("parameter {:?}", parameter.name));
        let Some(&parent) = places.get(condition.parent.as_str()) else {
            let mut names: Vec<&str> = places.keys().copied().collect();
            names.sort_unstable();
            return Err(here(SpaceProblem::NoParent {
                condition: condition.to_string(),
                parent: condition.parent.clone(),
                hint: did_you_mean(&condition.parent, names),
            }));
        };
        condition.check(&parameters[parent].distribution).map_err(here)?;
        Ok(Some(parent))
    };
    parameters.iter().map(find).collect()
}

/// How many conditions stand above a parameter. Each has one parent at most, so a walk up either
/// ends or comes round.
fn depth(
    start: usize,
    parents: &[Option<usize>],
    parameters: &[Parameter],
) -> Result<usize, SpaceError> {
    let mut path = vec![start];
    let mut seen = BTreeSet::from([start]);
    while let Some(parent) = parents[path[path.len() - 1]] {
        path.push(parent);
        if !seen.insert(parent) {
            let names: Vec<&str> = path.iter().map(|&i| parameters[i].name.as_str()).collect();
            let circle = names.join(" depends on ");
            return Err(SpaceProblem::Circle { circle }.at(format!("parameter {:?}", names[0])));
        }
    }
    Ok(path.len() - 1)
}

/// The number of each name's stream: its FNV-1a hash (32 bits), folded to 16 by exclusive or. Of
/// two names with the same number the alphabetically later takes the next free one. (No two
/// hyperparameter names of the `model` room meet; its tests see to that.)
fn streams<'a>(names: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, u16> {
    let names: BTreeSet<&str> = names.collect();
    let mut taken = BTreeSet::new();
    let number = |name: &'a str| {
        let mut number = stream_number(name);
        // More names than numbers would never end; such a space shares streams beyond 65,536.
        while !taken.insert(number) && taken.len() <= usize::from(u16::MAX) {
            number = number.wrapping_add(1);
        }
        (name, number)
    };
    names.into_iter().map(number).collect()
}

/// FNV-1a (Fowler, Noll, Vo) of 32 bits, its halves folded together.
pub(crate) fn stream_number(name: &str) -> u16 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let hash = name.bytes().fold(0x811c_9dc5, step);
    (hash >> 16) as u16 ^ hash as u16
}
