//! A search space in a TOML file, a table a parameter:
//!
//! ```toml
//! [learning_rate]
//! type = "float"          # float, int, categorical, fixed, normal or lognormal
//! low = 1e-6
//! high = 1e-1
//! log = true
//!
//! [layers]
//! type = "int"
//! low = 1
//! high = 6
//!
//! [units_3]
//! type = "int"
//! low = 32
//! high = 1024
//! step = 32
//! when = "layers >= 3"
//! ```
//!
//! `name = value` is a fixed value, and `name = "lograndint(32,1024) if layers >= 3"` is read as
//! on the command line.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::did_you_mean;
use super::spelling::{condition, spec};
use super::{Condition, Distribution, Parameter, Space, SpaceError, SpaceProblem, Value};
use crate::error::{Error, Result};

/// A space of thousands of parameters is smaller; another kind of file is often larger.
const SIZE_LIMIT: u64 = 1 << 20;

impl Space {
    /// A space from a TOML file: a table a parameter.
    pub fn from_toml(path: &Path) -> Result<Self> {
        let text = read(path)?;
        let in_file = |error: SpaceError| {
            Error::from(error.problem.at(format!("{}, {}", path.display(), error.place)))
        };
        from_text(&text).map_err(in_file)
    }
}

fn read(path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(SIZE_LIMIT + 1).read_to_end(&mut bytes));
    read.map_err(|error| Error::File {
        action: "read",
        path: path.to_path_buf(),
        reason: error.to_string(),
        next: "give the path of a TOML file with the search space",
    })?;
    if bytes.len() as u64 > SIZE_LIMIT {
        return Err(SpaceProblem::TooLarge { limit: SIZE_LIMIT }
            .at(path.display().to_string())
            .into());
    }
    String::from_utf8(bytes).map_err(|error| Error::File {
        action: "read",
        path: path.to_path_buf(),
        reason: format!("byte {} is not UTF-8 text", error.utf8_error().valid_up_to()),
        next: "save it as UTF-8 text",
    })
}

fn from_text(text: &str) -> Result<Space, SpaceError> {
    let document = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(text.len(), |span| span.start);
        // The parser's message may run over several lines; ours is one.
        let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
        SpaceProblem::Toml { message }.at(place(text, at))
    })?;
    let entries = document.get_ref();
    if entries.is_empty() {
        return Err(SpaceProblem::Empty.at(place(text, 0)));
    }
    let mut parameters = Vec::with_capacity(entries.len());
    for (name, value) in entries {
        parameters.push(parameter(text, name.get_ref(), value)?);
    }
    // A mistake between parameters is placed at the name of the one that it was found in.
    Space::new(parameters).map_err(|error| {
        let at =
            entries.keys().find(|name| error.place == format!("parameter {:?}", name.get_ref()));
        let at = at.map_or(0, |name| name.span().start);
        error.problem.at(format!("{}, {}", place(text, at), error.place))
    })
}

/// `line 3, column 7`, both from 1, of a byte offset.
fn place(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line {line}, column {column}")
}

fn parameter(
    text: &str,
    name: &str,
    value: &Spanned<DeValue<'_>>,
) -> Result<Parameter, SpaceError> {
    let at = |problem: SpaceProblem, offset: usize| {
        problem.at(format!("{}, parameter {name:?}", place(text, offset)))
    };
    let start = value.span().start;
    let (distribution, when) = match value.get_ref() {
        DeValue::Table(table) => {
            let table = Table { table, start };
            table.read().map_err(|(problem, offset)| at(problem, offset))?
        }
        DeValue::String(text) => spec(text, 0).map_err(|problem| at(problem, start))?,
        other => {
            let value = scalar(name, other).map_err(|problem| at(problem, start))?;
            (Distribution::Fixed { value }, None)
        }
    };
    distribution.check().map_err(|problem| at(problem, start))?;
    Ok(Parameter { name: name.to_string(), distribution, when })
}

/// A problem and the byte offset where it stands.
type Located<T> = Result<T, (SpaceProblem, usize)>;

/// The table of one parameter.
struct Table<'a> {
    table: &'a DeTable<'a>,
    start: usize,
}

/// Each type with its keys, beside `type` and `when`.
const TYPES: [(&str, &[&str]); 6] = [
    ("float", &["low", "high", "log", "step"]),
    ("int", &["low", "high", "log", "step"]),
    ("categorical", &["choices"]),
    ("fixed", &["value"]),
    ("normal", &["mean", "sd"]),
    ("lognormal", &["mean", "sd"]),
];

impl Table<'_> {
    fn read(&self) -> Located<(Distribution, Option<Condition>)> {
        let kind = self.kind()?;
        let distribution = match kind {
            "float" => Distribution::Float {
                low: self.float("low", kind)?,
                high: self.float("high", kind)?,
                log: self.log()?,
                step: self.optional("step", number)?,
            },
            "int" => Distribution::Int {
                low: self.required("low", kind, whole)?,
                high: self.required("high", kind, whole)?,
                log: self.log()?,
                step: self.optional("step", whole)?.unwrap_or(1),
            },
            "categorical" => {
                Distribution::Categorical { choices: self.required("choices", kind, list)? }
            }
            "normal" => Distribution::Normal {
                mean: self.float("mean", kind)?,
                sd: self.float("sd", kind)?,
            },
            "lognormal" => Distribution::LogNormal {
                mean: self.float("mean", kind)?,
                sd: self.float("sd", kind)?,
            },
            _ => Distribution::Fixed { value: self.required("value", kind, scalar)? },
        };
        let when = self.optional("when", |key, value| condition(&string(key, value)?))?;
        Ok((distribution, when))
    }

    /// The table's type, after a look at all of its keys.
    fn kind(&self) -> Located<&'static str> {
        let name = self.optional("type", string)?;
        let name = name.ok_or((
            SpaceProblem::MissingKey { key: "type", kind: "float, int, categorical or fixed" },
            self.start,
        ))?;
        let offset = self.table.get("type").map_or(self.start, |value| value.span().start);
        let Some((kind, keys)) = TYPES.iter().find(|(kind, _)| *kind == name) else {
            let known = TYPES.map(|(kind, _)| kind);
            let hint = did_you_mean(&name, known);
            return Err((
                SpaceProblem::UnknownType { name, hint, known: known.join(", ") },
                offset,
            ));
        };
        let known: Vec<&str> = ["type", "when"].iter().chain(keys.iter()).copied().collect();
        for key in self.table.keys() {
            if !known.contains(&key.get_ref().as_ref()) {
                let hint = did_you_mean(key.get_ref(), known.iter().copied());
                let (key, start) = (key.get_ref().to_string(), key.span().start);
                let known = known.join(", ");
                return Err((SpaceProblem::UnknownKey { key, hint, kind, known }, start));
            }
        }
        Ok(kind)
    }

    fn log(&self) -> Located<bool> {
        Ok(self.optional("log", boolean)?.unwrap_or(false))
    }

    fn float(&self, key: &'static str, kind: &'static str) -> Located<f64> {
        self.required(key, kind, number)
    }

    fn required<T>(
        &self,
        key: &'static str,
        kind: &'static str,
        convert: impl Fn(&str, &DeValue<'_>) -> Result<T, SpaceProblem>,
    ) -> Located<T> {
        let value = self.optional(key, convert)?;
        value.ok_or((SpaceProblem::MissingKey { key, kind }, self.start))
    }

    fn optional<T>(
        &self,
        key: &str,
        convert: impl Fn(&str, &DeValue<'_>) -> Result<T, SpaceProblem>,
    ) -> Located<Option<T>> {
        let Some(value) = self.table.get(key) else { return Ok(None) };
        let converted = convert(key, value.get_ref());
        converted.map(Some).map_err(|problem| (problem, value.span().start))
    }
}

fn wrong<T>(key: &str, value: &DeValue<'_>, expected: &'static str) -> Result<T, SpaceProblem> {
    let shown = match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) => "an array".to_string(),
        DeValue::Table(_) => "a table".to_string(),
    };
    Err(SpaceProblem::WrongType { what: key.to_string(), value: shown, expected })
}

fn scalar(key: &str, value: &DeValue<'_>) -> Result<Value, SpaceProblem> {
    match value {
        DeValue::String(text) => Ok(Value::Text(text.to_string())),
        DeValue::Boolean(value) => Ok(Value::Bool(*value)),
        DeValue::Integer(_) => whole(key, value).map(Value::Int),
        DeValue::Float(_) => number(key, value).map(Value::Float),
        _ => wrong(key, value, "a number, a string, true or false"),
    }
}

fn number(key: &str, value: &DeValue<'_>) -> Result<f64, SpaceProblem> {
    let parsed = match value {
        DeValue::Integer(_) => return Ok(whole(key, value)? as f64),
        DeValue::Float(number) => number.as_str().parse().ok(),
        _ => None,
    };
    parsed.map_or_else(|| wrong(key, value, "a number"), Ok)
}

fn whole(key: &str, value: &DeValue<'_>) -> Result<i64, SpaceProblem> {
    let parsed = match value {
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    };
    parsed.map_or_else(|| wrong(key, value, "a whole number of 64 bits"), Ok)
}

fn boolean(key: &str, value: &DeValue<'_>) -> Result<bool, SpaceProblem> {
    match value {
        DeValue::Boolean(value) => Ok(*value),
        _ => wrong(key, value, "true or false"),
    }
}

fn string(key: &str, value: &DeValue<'_>) -> Result<String, SpaceProblem> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        _ => wrong(key, value, "a string"),
    }
}

fn list(key: &str, value: &DeValue<'_>) -> Result<Vec<Value>, SpaceProblem> {
    match value {
        DeValue::Array(values) => values.iter().map(|item| scalar(key, item.get_ref())).collect(),
        _ => wrong(key, value, "an array such as [16, 32, 64]"),
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
