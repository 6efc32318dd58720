//! The axes of a sweep: what was given on the command line, and the points that it spans.
//!
//! `--axis batch=16:256:x4` is a range: from, to (included if it is met), and times 4 each step; `+16` or
//! plain `16` adds. `--axis batch=16,64` is a list; both can be mixed. The values of all axes are
//! crossed, the last axis fastest.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::MeasureError;

/// The most values of an axis, and the most points of a sweep: beyond that it is a mistake.
const MOST: usize = 10_000;

/// A value on an axis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    Count(u64),
    Word(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Count(count) => count.fmt(f),
            Value::Word(word) => f.write_str(word),
        }
    }
}

/// What an axis may have on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Whole numbers within these bounds, both inclusive.
    Count {
        low: u64,
        high: u64,
    },
    Words(&'static [&'static str]),
}

/// An axis as a suite declares it.
#[derive(Clone, Copy, Debug)]
pub struct AxisSpec {
    pub name: &'static str,
    pub about: &'static str,
    pub kind: Kind,
    /// In the spelling of the command line.
    pub default: &'static str,
    /// In place of the default where everything is only to be tried.
    pub quick: &'static str,
}

/// An axis with its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    pub name: String,
    pub values: Vec<Value>,
}

impl Axis {
    /// Reads `NAME=VALUES`.
    ///
    /// # Errors
    /// [`MeasureError::Axis`]: no name, an empty value, a range that is none or has too many values.
    pub fn parse(text: &str) -> Result<Axis, MeasureError> {
        let refuse =
            |reason: &str| MeasureError::Axis { given: text.to_owned(), reason: reason.to_owned() };
        let (name, values) = text.split_once('=').ok_or_else(|| refuse("it has no `=`"))?;
        if name.is_empty() {
            return Err(refuse("it has no name"));
        }
        let mut axis = Axis { name: name.trim().to_owned(), values: Vec::new() };
        for item in values.split(',').map(str::trim) {
            let found = match item.split(':').collect::<Vec<_>>()[..] {
                [""] => Err("it has an empty value".to_owned()),
                [value] => Ok(vec![value_of(value)]),
                [from, to] => range(from, to, "1"),
                [from, to, step] => range(from, to, step),
                _ => Err(format!("{item} has more than three parts")),
            };
            for value in found.map_err(|reason| refuse(&reason))? {
                if !axis.values.contains(&value) {
                    axis.values.push(value);
                }
            }
            if axis.values.len() > MOST {
                return Err(refuse("it has more than 10,000 values"));
            }
        }
        Ok(axis)
    }

    /// Checks the values against what a suite's axis may have.
    pub fn check(&self, kind: Kind) -> Result<(), MeasureError> {
        let fits = |value: &&Value| match (kind, value) {
            (Kind::Count { low, high }, Value::Count(count)) => (low..=high).contains(count),
            (Kind::Words(words), Value::Word(word)) => words.contains(&word.as_str()),
            _ => false,
        };
        let Some(value) = self.values.iter().find(|value| !fits(value)) else { return Ok(()) };
        let expected = match kind {
            Kind::Count { low, high } => format!("whole numbers from {low} to {high}"),
            Kind::Words(words) => words.join(", "),
        };
        let (axis, value) = (self.name.clone(), value.to_string());
        Err(MeasureError::AxisValue { axis, value, expected })
    }
}

fn value_of(text: &str) -> Value {
    text.parse().map_or_else(|_| Value::Word(text.to_owned()), Value::Count)
}

/// `from:to:xK`, `from:to:+K` or `from:to:K`.
fn range(from: &str, to: &str, step: &str) -> Result<Vec<Value>, String> {
    let number = |text: &str| {
        text.parse::<u64>().map_err(|_| format!("`{text}` in its range is no whole number"))
    };
    let (first, last) = (number(from)?, number(to)?);
    if first > last {
        return Err(format!("its range goes down from {first} to {last}"));
    }
    let (factor, summand) = match step.strip_prefix('x') {
        Some(factor) => (number(factor)?, 0),
        None => (1, number(step.strip_prefix('+').unwrap_or(step))?),
    };
    if (factor < 2 && summand == 0) || (factor > 1 && first == 0) {
        return Err(format!("its range never gets from {first} to {last} by `{step}`"));
    }
    let next = |&value: &u64| value.checked_mul(factor)?.checked_add(summand);
    let values = std::iter::successors(Some(first), next).take_while(|&value| value <= last);
    Ok(values.take(MOST + 1).map(Value::Count).collect())
}

/// One point of a sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    pub suite: &'static str,
    /// A value of each axis, in the order in which the suite declares them.
    pub settings: Vec<(String, Value)>,
}

impl Point {
    fn get(&self, axis: &str) -> Option<&Value> {
        self.settings.iter().find(|(name, _)| name == axis).map(|(_, value)| value)
    }

    /// The count on an axis; 0 where the suite declares none of this name.
    pub fn count(&self, axis: &str) -> usize {
        match self.get(axis) {
            Some(Value::Count(count)) => usize::try_from(*count).unwrap_or(usize::MAX),
            _ => 0,
        }
    }

    /// The word on an axis; empty where the suite declares none of this name.
    pub fn word(&self, axis: &str) -> &str {
        match self.get(axis) {
            Some(Value::Word(word)) => word,
            _ => "",
        }
    }
}

impl fmt::Display for Point {
    /// `gemm product=forward batch=16`: what a filter's words are looked for in.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.suite)?;
        self.settings.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

/// The points of a suite: all values of its axes crossed, those given in place of its own.
pub fn cross(
    suite: &'static str,
    axes: &[AxisSpec],
    given: &[Axis],
    quick: bool,
) -> Result<Vec<Point>, MeasureError> {
    let mut points = vec![Point { suite, settings: Vec::new() }];
    for spec in axes {
        let values = match given.iter().rfind(|axis| axis.name == spec.name) {
            Some(axis) => {
                axis.check(spec.kind)?;
                axis.values.clone()
            }
            None => {
                let values = if quick { spec.quick } else { spec.default };
                Axis::parse(&format!("{}={values}", spec.name))?.values
            }
        };
        if points.len() * values.len() > MOST {
            let points = points.len() * values.len();
            return Err(MeasureError::TooManyPoints { suite, points, most: MOST });
        }
        let longer = |point: &Point| {
            let settings = point.settings.clone();
            let with = move |value: &Value| {
                let setting = (spec.name.to_owned(), value.clone());
                Point { suite, settings: settings.iter().cloned().chain([setting]).collect() }
            };
            values.iter().map(with).collect::<Vec<Point>>()
        };
        points = points.iter().flat_map(longer).collect();
    }
    Ok(points)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(text: &str) -> Vec<String> {
        Axis::parse(text).unwrap().values.iter().map(Value::to_string).collect()
    }

    #[test]
    fn ranges_multiply_or_add_and_mix_with_lists() {
        assert_eq!(counts("trials=1:4096:x8"), ["1", "8", "64", "512", "4096"]);
        assert_eq!(counts("trials=1:100:x2").last().unwrap(), "64");
        assert_eq!(counts("batch=16:64:+16"), ["16", "32", "48", "64"]);
        assert_eq!(counts("batch=0:10:5"), ["0", "5", "10"]);
        assert_eq!(counts("batch=3:5"), ["3", "4", "5"]);
        assert_eq!(counts("units=0,64,100:102,64"), ["0", "64", "100", "101", "102"]);
        assert_eq!(counts("precision=fp32,3xtf32"), ["fp32", "3xtf32"]);
        assert_eq!(counts("top=18446744073709551614:18446744073709551615:x2").len(), 1);
    }

    #[test]
    fn what_is_no_axis_is_refused_with_a_reason() {
        for (text, reason) in [
            ("batch", "no `=`"),
            ("=16", "no name"),
            ("batch=", "empty"),
            ("batch=16,,64", "empty"),
            ("batch=64:16:x2", "down"),
            ("batch=0:16:x2", "never"),
            ("batch=1:16:x1", "never"),
            ("batch=1:16:+0", "never"),
            ("batch=1:16:x", "no whole number"),
            ("batch=a:16", "no whole number"),
            ("batch=-1:16", "no whole number"),
            ("batch=1:2:3:4", "three parts"),
            ("batch=1:99999999", "10,000"),
        ] {
            let message = Axis::parse(text).unwrap_err().to_string();
            assert!(message.contains(reason) && message.contains(text), "{text}: {message}");
        }
    }

    const AXES: [AxisSpec; 2] = [
        AxisSpec {
            name: "op",
            about: "",
            kind: Kind::Words(&["a", "b"]),
            default: "a,b",
            quick: "b",
        },
        AxisSpec {
            name: "n",
            about: "",
            kind: Kind::Count { low: 1, high: 9 },
            default: "1,2",
            quick: "3",
        },
    ];

    #[test]
    fn axes_are_crossed_the_last_one_fastest_and_given_ones_take_the_place_of_defaults() {
        let points = |given: &[&str], quick| {
            let given: Vec<Axis> = given.iter().map(|text| Axis::parse(text).unwrap()).collect();
            let points = cross("s", &AXES, &given, quick)?;
            Ok(points.iter().map(Point::to_string).collect::<Vec<_>>())
        };
        let all = points(&[], false).unwrap();
        assert_eq!(all, ["s op=a n=1", "s op=a n=2", "s op=b n=1", "s op=b n=2"]);
        assert_eq!(points(&[], true).unwrap(), ["s op=b n=3"]);
        assert_eq!(points(&["n=7", "op=a", "n=5"], true).unwrap(), ["s op=a n=5"]);
        for given in ["n=10", "n=0", "n=x", "op=c", "op=1"] {
            let refused: Result<_, MeasureError> = points(&[given], false);
            let message = refused.unwrap_err().to_string();
            assert!(message.contains(given.split_once('=').unwrap().1), "{message}");
        }
    }

    #[test]
    fn a_point_gives_its_settings_by_name_and_kind() {
        let point = &cross("s", &AXES, &[], false).unwrap()[1];
        assert_eq!((point.word("op"), point.count("n")), ("a", 2));
        assert_eq!((point.word("n"), point.count("op"), point.count("m")), ("", 0, 0));
    }
}
