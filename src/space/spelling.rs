//! How parameters are spelled on the command line, as SciPy, Ray and Syne Tune spell them:
//! `learning_rate=loguniform(1e-4,1)`, `units_3=lograndint(32,1024) if layers>=3`, `nesterov=true`.
//!
//! ```text
//! argument  = name "=" spec
//! spec      = (scalar | distribution "(" scalar {"," scalar} ")") [" if " condition]
//! condition = name ("==" | "!=" | "<=" | ">=" | "<" | ">") scalar
//! scalar    = "true" | "false" | number | word | quoted text
//! ```

use super::error::did_you_mean;
use super::{Condition, Distribution, Operator, Parameter, Space, SpaceError, SpaceProblem, Value};
use crate::error::Result;

/// How each distribution is written.
const SPELLINGS: [(&str, &str); 8] = [
    ("uniform", "uniform(low,high)"),
    ("loguniform", "loguniform(low,high)"),
    ("randint", "randint(low,high), both bounds inclusive"),
    ("lograndint", "lograndint(low,high), both bounds inclusive"),
    ("quniform", "quniform(low,high,q)"),
    ("choice", "choice(x,y,...)"),
    ("normal", "normal(mean,sd)"),
    ("lognormal", "lognormal(mean,sd), mean and sd of the logarithm"),
];

impl Space {
    /// A space from command-line arguments, each `name=spec`.
    pub fn from_arguments(arguments: &[String]) -> Result<Self> {
        let parameters: Result<Vec<Parameter>, SpaceError> =
            arguments.iter().map(|argument| parameter(argument)).collect();
        Ok(Space::new(parameters?)?)
    }
}

fn parameter(argument: &str) -> Result<Parameter, SpaceError> {
    let here = |problem: SpaceProblem| problem.at(format!("parameter {argument:?}"));
    let (name, text) = argument.split_once('=').ok_or_else(|| here(SpaceProblem::NoValue))?;
    let skipped = name.chars().count() + 1;
    let name = name.trim();
    if !super::is_name(name) {
        return Err(here(SpaceProblem::Name { name: name.to_string() }));
    }
    let (distribution, when) = spec(text, skipped).map_err(here)?;
    distribution.check().map_err(here)?;
    Ok(Parameter { name: name.to_string(), distribution, when })
}

/// Reads a spec; columns in errors count from `skipped` characters further left.
pub(super) fn spec(
    text: &str,
    skipped: usize,
) -> Result<(Distribution, Option<Condition>), SpaceProblem> {
    let mut reader = Reader { text, at: 0, skipped };
    let distribution = reader.distribution()?;
    let when = match reader.word_if() {
        true => Some(reader.condition()?),
        false => None,
    };
    reader.end("the end, or ` if ` and a condition")?;
    Ok((distribution, when))
}

/// Reads a condition such as `layers >= 3`.
pub(super) fn condition(text: &str) -> Result<Condition, SpaceProblem> {
    let mut reader = Reader { text, at: 0, skipped: 0 };
    let condition = reader.condition()?;
    reader.end("the end")?;
    Ok(condition)
}

/// A place in a text; `at` is a byte offset and always on a character's border.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    skipped: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_spaces(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// What could not be read, from a byte offset on.
    fn unreadable(&self, at: usize, expected: &'static str) -> SpaceProblem {
        let before = self.text.get(..at).unwrap_or_default().chars().count();
        let rest = self.text.get(at..).unwrap_or_default();
        let shown: String = rest.chars().take(20).collect();
        let dots = if rest.chars().nth(20).is_some() { "..." } else { "" };
        let found = if rest.is_empty() { "the end".into() } else { format!("{shown:?}{dots}") };
        SpaceProblem::Unreadable { column: self.skipped + before + 1, found, expected }
    }

    fn take(&mut self, sign: &str) -> bool {
        self.skip_spaces();
        let found = self.rest().starts_with(sign);
        self.at += if found { sign.len() } else { 0 };
        found
    }

    fn end(&mut self, expected: &'static str) -> Result<(), SpaceProblem> {
        self.skip_spaces();
        if self.rest().is_empty() { Ok(()) } else { Err(self.unreadable(self.at, expected)) }
    }

    /// The characters that a name or an unquoted scalar may have.
    fn word(&mut self) -> &'a str {
        self.skip_spaces();
        let part = |c: char| c.is_alphanumeric() || "_.+-".contains(c);
        let rest = self.rest();
        let word = rest.split(|c| !part(c)).next().unwrap_or_default();
        self.at += word.len();
        word
    }

    fn word_if(&mut self) -> bool {
        let before = self.at;
        let found = self.word() == "if";
        self.at = if found { self.at } else { before };
        found
    }

    fn scalar(&mut self, expected: &'static str) -> Result<Value, SpaceProblem> {
        self.skip_spaces();
        let start = self.at;
        if let Some(quote) = self.rest().chars().next().filter(|c| "'\"".contains(*c)) {
            let inner = &self.rest()[1..];
            let Some(length) = inner.find(quote) else {
                return Err(self.unreadable(start, "a closing quote"));
            };
            self.at += length + 2;
            return Ok(Value::Text(inner[..length].to_string()));
        }
        read_scalar(self.word()).ok_or_else(|| self.unreadable(start, expected))
    }

    fn distribution(&mut self) -> Result<Distribution, SpaceProblem> {
        self.skip_spaces();
        let start = self.at;
        let name = self.word();
        if !self.take("(") {
            self.at = start;
            let value = self.scalar("a value or a distribution such as uniform(0,1)")?;
            return Ok(Distribution::Fixed { value });
        }
        let Some(&(name, spelling)) = SPELLINGS.iter().find(|(known, _)| *known == name) else {
            let known = SPELLINGS.map(|(name, _)| name);
            let hint = did_you_mean(name, known);
            let (name, known) = (name.to_string(), known.join(", "));
            return Err(SpaceProblem::UnknownDistribution { name, hint, known });
        };
        let arguments = self.arguments()?;
        assemble(name, spelling, &arguments)
    }

    /// Scalars up to the closing parenthesis; the opening one has been read.
    fn arguments(&mut self) -> Result<Vec<Value>, SpaceProblem> {
        let mut values = Vec::new();
        if self.take(")") {
            return Ok(values);
        }
        loop {
            values.push(self.scalar("a value")?);
            if self.take(")") {
                return Ok(values);
            }
            if !self.take(",") {
                return Err(self.unreadable(self.at, "`,` or `)`"));
            }
        }
    }

    fn condition(&mut self) -> Result<Condition, SpaceProblem> {
        self.skip_spaces();
        let start = self.at;
        let parent = self.word();
        if !super::is_name(parent) {
            return Err(self.unreadable(start, "a parameter's name, as in layers >= 3"));
        }
        let operator = Operator::SIGNS.into_iter().find(|(sign, _)| self.take(sign));
        let Some((_, operator)) = operator else {
            return Err(self.unreadable(self.at, "one of == != < <= > >="));
        };
        let value = self.scalar("a value to compare with")?;
        Ok(Condition { parent: parent.to_string(), operator, value })
    }
}

/// A word as a value. Infinities and NaN read as floats here, for the check that refuses them.
fn read_scalar(word: &str) -> Option<Value> {
    if let Ok(value) = word.parse() {
        return Some(Value::Bool(value));
    }
    if let Ok(value) = word.parse() {
        return Some(Value::Int(value));
    }
    if let Ok(value) = word.parse() {
        return Some(Value::Float(value));
    }
    let is_text = word.starts_with(|c: char| c.is_alphabetic() || c == '_');
    is_text.then(|| Value::Text(word.to_string()))
}

fn assemble(
    name: &'static str,
    spelling: &'static str,
    arguments: &[Value],
) -> Result<Distribution, SpaceProblem> {
    let count = SpaceProblem::ArgumentCount { given: arguments.len(), spelling };
    match (name, arguments) {
        ("choice", choices) => Ok(Distribution::Categorical { choices: choices.to_vec() }),
        ("uniform" | "loguniform", [low, high]) => {
            let (low, high) = (float("low", low)?, float("high", high)?);
            Ok(Distribution::float(low, high, name == "loguniform"))
        }
        ("randint" | "lograndint", [low, high]) => {
            let (low, high) = (int("low", low)?, int("high", high)?);
            Ok(Distribution::int(low, high, name == "lograndint"))
        }
        ("quniform", [low, high, q]) => {
            quniform(float("low", low)?, float("high", high)?, float("q", q)?)
        }
        ("normal", [mean, sd]) => {
            Ok(Distribution::Normal { mean: float("mean", mean)?, sd: float("sd", sd)? })
        }
        ("lognormal", [mean, sd]) => {
            Ok(Distribution::LogNormal { mean: float("mean", mean)?, sd: float("sd", sd)? })
        }
        _ => Err(count),
    }
}

/// The multiples of q between two bounds that are such multiples themselves, as Ray demands. Each
/// is as likely as another, as with Optuna's step; Ray, which rounds a uniform draw, gives the
/// bounds half of the others' share.
fn quniform(low: f64, high: f64, q: f64) -> Result<Distribution, SpaceProblem> {
    let grid = Distribution::Float { low, high, log: false, step: Some(q) };
    let is_multiple = |bound: f64| (bound / q - libm::round(bound / q)).abs() <= 1e-8;
    // What is no range at all is refused by the distribution's own check, with its own words.
    let is_range = low.is_finite() && high.is_finite() && q.is_finite() && low <= high && q > 0.0;
    if !is_range || (is_multiple(low) && is_multiple(high)) {
        return Ok(grid);
    }
    let (inner_low, inner_high) = (libm::ceil(low / q) * q, libm::floor(high / q) * q);
    if inner_low > inner_high {
        return Err(SpaceProblem::NoMultiple { low, high, q });
    }
    Err(SpaceProblem::NotMultiples { low, high, q, inner_low, inner_high })
}

fn float(what: &str, value: &Value) -> Result<f64, SpaceProblem> {
    value.number().ok_or_else(|| wrong_type(what, value, "a number"))
}

/// A whole number, also one that is written as a float: `1e3`.
fn int(what: &str, value: &Value) -> Result<i64, SpaceProblem> {
    value.whole().ok_or_else(|| wrong_type(what, value, "a whole number"))
}

fn wrong_type(what: &str, value: &Value, expected: &'static str) -> SpaceProblem {
    SpaceProblem::WrongType { what: what.to_string(), value: value.to_string(), expected }
}
