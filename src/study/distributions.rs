//! The space's distributions and values in Optuna's words, and values back from them.
//!
//! Optuna stores a parameter as a number, its internal value, beside the distribution that gives
//! the number its meaning: a float as it is, an int as a float, a choice as its index.

use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::space::{Distribution, Value};

/// Above 2^53 neighbouring ints share a float; such an int is written as a JSON int, which Optuna
/// reads without loss too.
const LARGEST_EXACT: u64 = 1 << 53;

/// A distribution as Optuna's JSON. What Optuna has no name for is told as the nearest that it
/// has: a fixed value is a choice of one, a normal draw lies in its (wide, finite) bounds.
pub fn to_optuna(distribution: &Distribution) -> Json {
    let float = |low: f64, high: f64, log: bool, step: Option<f64>| json!({"name": "FloatDistribution", "attributes": {"step": step, "low": low, "high": high, "log": log}});
    match distribution {
        Distribution::Float { low, high, log, step } => float(*low, *high, *log, *step),
        Distribution::Int { low, high, log, step } => {
            json!({"name": "IntDistribution", "attributes": {"log": log, "step": step, "low": low, "high": high}})
        }
        Distribution::Normal { .. } | Distribution::LogNormal { .. } => {
            let (low, high) = distribution.bounds().unwrap_or((f64::MIN, f64::MAX));
            float(low, high, matches!(distribution, Distribution::LogNormal { .. }), None)
        }
        Distribution::Categorical { .. } | Distribution::Fixed { .. } => {
            json!({"name": "CategoricalDistribution", "attributes": {"choices": distribution.values()}})
        }
    }
}

/// The internal value of a drawn value; none if the distribution cannot have drawn it.
pub fn to_internal(distribution: &Distribution, value: &Value) -> Option<Json> {
    match (distribution, value) {
        (Distribution::Categorical { .. } | Distribution::Fixed { .. }, value) => {
            distribution.values().iter().position(|choice| choice == value).map(Json::from)
        }
        (Distribution::Int { .. }, Value::Int(int)) => {
            let exact = int.unsigned_abs() <= LARGEST_EXACT;
            Some(if exact { json!(*int as f64) } else { json!(int) })
        }
        (Distribution::Int { .. }, _) => None,
        (_, Value::Float(float)) if float.is_finite() => Some(json!(float)),
        _ => None,
    }
}

/// What an internal value of one parameter means.
#[derive(Clone, Debug, PartialEq)]
pub enum Meaning {
    Float,
    Int,
    Choice(Vec<Value>),
}

impl Meaning {
    /// Reads Optuna's JSON of a distribution, also with the names that it had before Optuna 3.
    pub fn from_optuna(text: &str) -> Result<Meaning, String> {
        #[derive(Deserialize)]
        struct Named {
            name: String,
            attributes: Attributes,
        }
        #[derive(Deserialize)]
        struct Attributes {
            choices: Option<Vec<Json>>,
        }
        let named: Named = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match (named.name.as_str(), named.attributes.choices) {
            ("CategoricalDistribution", Some(choices)) => {
                Ok(Meaning::Choice(choices.into_iter().map(choice).collect()))
            }
            (name, _) if name.starts_with("Int") => Ok(Meaning::Int),
            (name, _) if name.contains("Uniform") || name.starts_with("Float") => {
                Ok(Meaning::Float)
            }
            (name, _) => Err(format!("unknown distribution {name}")),
        }
    }

    /// The value that an internal value stands for.
    pub fn value(&self, internal: &Json) -> Option<Value> {
        match self {
            Meaning::Float => internal.as_f64().map(Value::Float),
            Meaning::Int => {
                let whole = || internal.as_f64().map(|float| float as i64);
                internal.as_i64().or_else(whole).map(Value::Int)
            }
            Meaning::Choice(choices) => {
                let index = internal.as_f64().filter(|index| *index >= 0.0)?;
                choices.get(index as usize).cloned()
            }
        }
    }
}

/// A choice as a value. Those of other programs may be what no space here has: told as JSON.
fn choice(json: Json) -> Value {
    match serde_json::from_value(json.clone()) {
        Ok(value) => value,
        Err(_) => Value::Text(json.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(distribution: &Distribution, value: Value) {
        let text = to_optuna(distribution).to_string();
        let internal = to_internal(distribution, &value).unwrap().to_string();
        let meaning = Meaning::from_optuna(&text).unwrap();
        let back = meaning.value(&serde_json::from_str(&internal).unwrap());
        assert_eq!(back, Some(value), "{text} {internal}");
    }

    #[test]
    fn every_value_comes_back_with_its_type_and_its_last_bit() {
        let float = Distribution::float(1e-5, 1.0, true);
        for value in [1e-5, 0.1 + 0.2, f64::MIN_POSITIVE, 5e-324, 1.0, 0.007_000_000_000_000_001] {
            round_trip(&float, Value::Float(value));
        }
        round_trip(&Distribution::Normal { mean: 0.0, sd: 1.0 }, Value::Float(-0.25));
        let int = Distribution::int(i64::MIN, i64::MAX, false);
        for value in [0, -7, 1 << 53, (1 << 53) + 1, i64::MAX, i64::MIN] {
            round_trip(&int, Value::Int(value));
        }
        let values = [
            Value::Bool(true),
            Value::Int(1),
            Value::Float(1.0),
            Value::Float(1e300),
            Value::Text("groß".into()),
        ];
        let choices = Distribution::Categorical { choices: values.to_vec() };
        for value in values {
            round_trip(&choices, value.clone());
            round_trip(&Distribution::Fixed { value: value.clone() }, value);
        }
    }

    #[test]
    fn a_value_that_cannot_have_been_drawn_has_no_internal_value() {
        let choices = Distribution::Categorical { choices: vec![Value::Int(1)] };
        assert_eq!(to_internal(&choices, &Value::Bool(true)), None);
        assert_eq!(to_internal(&Distribution::int(1, 2, false), &Value::Float(1.0)), None);
        let float = Distribution::float(0.0, 1.0, false);
        assert_eq!(to_internal(&float, &Value::Float(f64::NAN)), None);
    }

    #[test]
    fn distributions_of_older_optunas_are_understood() {
        for (name, meaning) in [
            ("UniformDistribution", Meaning::Float),
            ("LogUniformDistribution", Meaning::Float),
            ("DiscreteUniformDistribution", Meaning::Float),
            ("IntUniformDistribution", Meaning::Int),
        ] {
            let text = format!(r#"{{"name":"{name}","attributes":{{"low":1,"high":2}}}}"#);
            assert_eq!(Meaning::from_optuna(&text), Ok(meaning));
        }
        let nothing = r#"{"name":"CategoricalDistribution","attributes":{"choices":[null,"a"]}}"#;
        let meaning = Meaning::from_optuna(nothing).unwrap();
        assert_eq!(meaning.value(&json!(0)), Some(Value::Text("null".into())));
        assert_eq!(meaning.value(&json!(2)), None);
        assert_eq!(meaning.value(&json!(-1)), None);
    }
}
