//! What can be wrong with a search space.

use super::Value;
use crate::error::Error;

/// A mistake in a search space: where it stands, and what it is.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct SpaceError {
    /// The parameter as it was spelled, or the file with line and column.
    pub place: String,
    pub problem: SpaceProblem,
}

impl From<SpaceError> for Error {
    fn from(error: SpaceError) -> Error {
        Error::mistake(error)
    }
}

/// What is wrong, in values; each message ends with what to do.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SpaceProblem {
    /// Text that does not parse; the column counts characters from 1.
    #[error("found {found} at column {column}, expected {expected}; mend it there")]
    Unreadable { column: usize, found: String, expected: &'static str },

    #[error("`{name}` is not a name; use letters, digits and `_`, not beginning with a digit")]
    Name { name: String },

    #[error("it has no value; write name=value, such as batch_size=16 or units=randint(32,64)")]
    NoValue,

    #[error("{name} stands there twice; keep one")]
    Duplicate { name: String },

    #[error("unknown distribution `{name}`{hint}; known are {known}")]
    UnknownDistribution { name: String, hint: String, known: String },

    #[error("the number of arguments is {given}; write {spelling}")]
    ArgumentCount { given: usize, spelling: &'static str },

    #[error("{what} is {value}, expected {expected}; give one")]
    WrongType { what: String, value: String, expected: &'static str },

    #[error("{what} is {value}, which is not a finite number; give a finite one")]
    NotFinite { what: &'static str, value: f64 },

    #[error("low {low} is above high {high}; exchange them")]
    Reversed { low: Value, high: Value },

    #[error(
        "a logarithmic range needs low > 0, but low is {low}; use a small one such as {example}"
    )]
    LogNeedsPositive { low: Value, example: Value },

    #[error("log and step {step} together have no meaning; drop one")]
    LogWithStep { step: Value },

    #[error("step is {step}; use one above 0, with no more than 9e15 of them from low to high")]
    Step { step: Value },

    #[error("high {high} is not low {low} plus a multiple of {step}; use high = {nearest}")]
    OffGrid { low: Value, high: Value, step: Value, nearest: Value },

    #[error(
        "{low} or {high} is no multiple of q = {q}; use quniform({inner_low}, {inner_high}, {q})"
    )]
    NotMultiples { low: f64, high: f64, q: f64, inner_low: f64, inner_high: f64 },

    #[error("no multiple of q = {q} lies between {low} and {high}; use a smaller q")]
    NoMultiple { low: f64, high: f64, q: f64 },

    #[error("there are no choices; list at least one")]
    NoChoices,

    #[error("the choice {value} stands there twice; keep one")]
    SameChoice { value: Value },

    #[error("sd is {sd}; use one above 0")]
    Deviation { sd: f64 },

    #[error("mean {mean} and sd {sd} reach beyond the numbers; a draw is within mean +- 10 sd{of}")]
    Overflow { mean: f64, sd: f64, of: &'static str },

    #[error(
        "its condition `{condition}` refers to {parent}, which is not in the space{hint}; add it"
    )]
    NoParent { condition: String, parent: String, hint: String },

    #[error("its condition `{condition}` can never be decided: {parent} is {distribution}")]
    Incomparable { condition: String, parent: String, distribution: String },

    #[error("conditions run in a circle, {circle}; break it")]
    Circle { circle: String },

    #[error("unknown key `{key}`{hint}; a parameter of type {kind} takes {known}")]
    UnknownKey { key: String, hint: String, kind: &'static str, known: String },

    #[error("the key `{key}` is missing; a parameter of type {kind} needs it")]
    MissingKey { key: &'static str, kind: &'static str },

    #[error("unknown type `{name}`{hint}; known are {known}")]
    UnknownType { name: String, hint: String, known: String },

    #[error("{message}; mend the TOML there")]
    Toml { message: String },

    #[error("the space has no parameters; add a table such as [learning_rate]")]
    Empty,

    #[error("the file has over {limit} bytes, too many for a search space; give a TOML file")]
    TooLarge { limit: u64 },
}

impl SpaceProblem {
    pub(crate) fn at(self, place: impl Into<String>) -> SpaceError {
        SpaceError { place: place.into(), problem: self }
    }
}

/// ` (did you mean X?)` when a known name is close to the one that was given, else nothing.
pub(crate) fn did_you_mean<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let scored = known.into_iter().map(|name| (strsim::jaro_winkler(given, name), name));
    match scored.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((score, name)) if score > 0.75 => format!(" (did you mean {name}?)"),
        _ => String::new(),
    }
}
