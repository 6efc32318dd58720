//! When a parameter is part of a config: a comparison with another parameter's value.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Distribution, SpaceProblem, Value};

/// `parent operator value`, such as `layers >= 3` or `activation == relu`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// The parameter whose drawn value decides.
    pub parent: String,
    pub operator: Operator,
    pub value: Value,
}

/// How a condition compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operator {
    #[serde(rename = "==")]
    Equal,
    #[serde(rename = "!=")]
    NotEqual,
    #[serde(rename = "<=")]
    AtMost,
    #[serde(rename = ">=")]
    AtLeast,
    #[serde(rename = "<")]
    Below,
    #[serde(rename = ">")]
    Above,
}

impl Operator {
    /// Every operator with its sign; a sign stands before those that it begins with.
    pub(super) const SIGNS: [(&'static str, Operator); 6] = [
        ("==", Operator::Equal),
        ("!=", Operator::NotEqual),
        ("<=", Operator::AtMost),
        (">=", Operator::AtLeast),
        ("<", Operator::Below),
        (">", Operator::Above),
    ];

    fn sign(self) -> &'static str {
        Self::SIGNS.iter().find(|(_, operator)| *operator == self).map_or("?", |(sign, _)| sign)
    }

    fn needs_order(self) -> bool {
        !matches!(self, Operator::Equal | Operator::NotEqual)
    }
}

impl Condition {
    /// Whether the condition holds for a value of its parent. Numbers compare as numbers, whole
    /// or not; other values are equal or different.
    pub fn holds(&self, parent: &Value) -> bool {
        let ordering = match (parent.number(), self.value.number()) {
            (Some(left), Some(right)) => left.partial_cmp(&right),
            _ => (*parent == self.value).then_some(Ordering::Equal),
        };
        match self.operator {
            Operator::Equal => ordering == Some(Ordering::Equal),
            Operator::NotEqual => ordering != Some(Ordering::Equal),
            Operator::AtMost => ordering.is_some_and(Ordering::is_le),
            Operator::AtLeast => ordering.is_some_and(Ordering::is_ge),
            Operator::Below => ordering.is_some_and(Ordering::is_lt),
            Operator::Above => ordering.is_some_and(Ordering::is_gt),
        }
    }

    /// Refuses a comparison that has no meaning for the parent: a word with a number, an order of
    /// words, or a word that is none of the parent's choices (a typing mistake, nearly always).
    pub(super) fn check(&self, parent: &Distribution) -> Result<(), SpaceProblem> {
        let number = self.value.number().is_some();
        let sensible = match parent {
            Distribution::Categorical { choices } if !self.operator.needs_order() => {
                choices.iter().any(|choice| same(choice, &self.value))
            }
            Distribution::Categorical { choices } => {
                number && choices.iter().all(|choice| choice.number().is_some())
            }
            Distribution::Fixed { value } if self.operator.needs_order() => {
                number && value.number().is_some()
            }
            Distribution::Fixed { value } => kind(value) == kind(&self.value),
            _ => number,
        };
        if sensible {
            return Ok(());
        }
        Err(SpaceProblem::Incomparable {
            condition: self.to_string(),
            parent: self.parent.clone(),
            distribution: parent.to_string(),
        })
    }
}

fn same(left: &Value, right: &Value) -> bool {
    left == right || left.number().is_some_and(|number| right.number() == Some(number))
}

/// Numbers are one kind, whole or not.
fn kind(value: &Value) -> u8 {
    match value {
        Value::Bool(_) => 0,
        Value::Int(_) | Value::Float(_) => 1,
        Value::Text(_) => 2,
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.parent, self.operator.sign(), self.value)
    }
}
