//! What the values of one parameter are drawn from.

use std::fmt;

use rand::RngExt;
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

use super::{SpaceProblem, Value};
use crate::random::Stream;

/// A normal draw lies within so many standard deviations of its mean. Beyond them lie 1.5e-23 of
/// the draws, and with them every distribution has finite bounds.
pub const NORMAL_LIMIT: f64 = 10.0;

/// The distribution of one parameter; all bounds are inclusive.
///
/// `Float`, `Int` and `Categorical` mean what Optuna's distributions of these names mean, and are
/// drawn as its random sampler draws them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Distribution {
    /// Uniform, or uniform in the logarithm; with a step, on `low, low + step, ..., high`, each
    /// as likely as another.
    Float { low: f64, high: f64, log: bool, step: Option<f64> },
    /// Whole numbers `low, low + step, ..., high`, each as likely as another; or with `log` (step
    /// 1), `exp(uniform(ln(low - 1/2), ln(high + 1/2)))` rounded, as Optuna has it. (Ray takes
    /// the floor of `exp(uniform(ln low, ln high))`: its upper bound is exclusive.)
    Int { low: i64, high: i64, log: bool, step: i64 },
    /// One of several values, each as likely as another.
    Categorical { choices: Vec<Value> },
    /// Always the same value.
    Fixed { value: Value },
    /// Normal, limited to `mean +- 10 sd`.
    Normal { mean: f64, sd: f64 },
    /// `exp` of a normal draw, which is limited to `mean +- 10 sd`.
    LogNormal { mean: f64, sd: f64 },
}

impl Distribution {
    /// `uniform(low, high)` or `loguniform(low, high)`.
    pub fn float(low: f64, high: f64, log: bool) -> Self {
        Distribution::Float { low, high, log, step: None }
    }

    /// `randint(low, high)` or `lograndint(low, high)`.
    pub fn int(low: i64, high: i64, log: bool) -> Self {
        Distribution::Int { low, high, log, step: 1 }
    }

    /// Draws a value, within the bounds. Transcendental functions come from `libm`, so a draw has
    /// the same bits on every machine.
    pub fn draw(&self, stream: &mut Stream) -> Value {
        match *self {
            Distribution::Float { low, high, log: false, step: None } => {
                Value::Float(between(low, high, stream))
            }
            Distribution::Float { low, high, log: false, step: Some(step) } => {
                let k = stream.random_range(0..=steps(low, high, step) as u64);
                Value::Float(grid_point(low, step, k as f64).clamp(low, high))
            }
            Distribution::Float { low, high, log: true, .. } => {
                let drawn = libm::exp(between(libm::log(low), libm::log(high), stream));
                Value::Float(drawn.clamp(low, high))
            }
            Distribution::Int { low, high, log: false, step } => {
                let k = stream.random_range(0..=low.abs_diff(high) / step.unsigned_abs().max(1));
                Value::Int((i128::from(low) + i128::from(k) * i128::from(step)) as i64)
            }
            Distribution::Int { low, high, log: true, .. } => {
                let ends = [low as f64 - 0.5, high as f64 + 0.5].map(libm::log);
                let drawn = libm::round(libm::exp(between(ends[0], ends[1], stream)));
                Value::Int((drawn as i64).clamp(low, high))
            }
            Distribution::Categorical { ref choices } => {
                let index = stream.random_range(0..choices.len().max(1) as u64) as usize;
                choices[index].clone()
            }
            Distribution::Fixed { ref value } => value.clone(),
            Distribution::Normal { mean, sd } => Value::Float(normal(mean, sd, stream)),
            Distribution::LogNormal { mean, sd } => {
                Value::Float(libm::exp(normal(mean, sd, stream)))
            }
        }
    }

    /// The least and the greatest number that can be drawn; nothing for choices and fixed values.
    pub fn bounds(&self) -> Option<(f64, f64)> {
        match *self {
            Distribution::Float { low, high, .. } => Some((low, high)),
            Distribution::Int { low, high, .. } => Some((low as f64, high as f64)),
            Distribution::Normal { mean, sd } => {
                Some((mean - NORMAL_LIMIT * sd, mean + NORMAL_LIMIT * sd))
            }
            Distribution::LogNormal { mean, sd } => {
                Some((libm::exp(mean - NORMAL_LIMIT * sd), libm::exp(mean + NORMAL_LIMIT * sd)))
            }
            Distribution::Categorical { .. } | Distribution::Fixed { .. } => None,
        }
    }

    /// The values of choices, and the one value that is fixed; nothing for ranges.
    pub fn values(&self) -> &[Value] {
        match self {
            Distribution::Categorical { choices } => choices,
            Distribution::Fixed { value } => std::slice::from_ref(value),
            _ => &[],
        }
    }

    /// Refuses what cannot be drawn from.
    pub fn check(&self) -> Result<(), SpaceProblem> {
        match *self {
            Distribution::Float { low, high, log, step } => check_float(low, high, log, step),
            Distribution::Int { low, high, log, step } => check_int(low, high, log, step),
            Distribution::Categorical { ref choices } => check_choices(choices),
            Distribution::Fixed { ref value } => check_value("the value", value),
            Distribution::Normal { mean, sd } => check_normal(mean, sd, self, ""),
            Distribution::LogNormal { mean, sd } => {
                check_normal(mean, sd, self, " of its logarithm")
            }
        }
    }
}

/// Uniform in `[low, high)`, without the overflow of `high - low`.
fn between(low: f64, high: f64, stream: &mut Stream) -> f64 {
    let u: f64 = stream.random();
    (low * (1.0 - u) + high * u).clamp(low, high)
}

fn normal(mean: f64, sd: f64, stream: &mut Stream) -> f64 {
    let z: f64 = stream.sample(StandardNormal);
    mean + sd * z.clamp(-NORMAL_LIMIT, NORMAL_LIMIT)
}

/// How many steps lie between the bounds, rounded to a whole number.
fn steps(low: f64, high: f64, step: f64) -> f64 {
    libm::round((high - low) / step)
}

/// `low + k step`. Where it can be a whole number divided by a whole number it is: three steps of
/// 0.1 give 0.3 and not 0.30000000000000004.
fn grid_point(low: f64, step: f64, k: f64) -> f64 {
    let (first, per_unit) = (libm::round(low / step), libm::round(1.0 / step));
    let decimal = (first * step - low).abs() <= 1e-9 * step;
    if decimal && (per_unit * step - 1.0).abs() < 1e-12 {
        (first + k) / per_unit
    } else {
        low + k * step
    }
}

fn check_finite(what: &'static str, value: f64) -> Result<(), SpaceProblem> {
    if value.is_finite() { Ok(()) } else { Err(SpaceProblem::NotFinite { what, value }) }
}

fn check_value(what: &'static str, value: &Value) -> Result<(), SpaceProblem> {
    match value {
        Value::Float(number) => check_finite(what, *number),
        _ => Ok(()),
    }
}

fn check_float(low: f64, high: f64, log: bool, step: Option<f64>) -> Result<(), SpaceProblem> {
    check_finite("low", low)?;
    check_finite("high", high)?;
    let [low_value, high_value] = [low, high].map(Value::Float);
    if low > high {
        return Err(SpaceProblem::Reversed { low: low_value, high: high_value });
    }
    if log && low <= 0.0 {
        let example = Value::Float(if high > 1e-6 { 1e-6 } else { 1e-12 });
        return Err(SpaceProblem::LogNeedsPositive { low: low_value, example });
    }
    let Some(step) = step else { return Ok(()) };
    check_finite("step", step)?;
    let step_value = Value::Float(step);
    // Beyond 2^53 steps neighbouring points are no longer different numbers.
    if step <= 0.0 || steps(low, high, step) > 9e15 {
        return Err(SpaceProblem::Step { step: step_value });
    }
    if log {
        return Err(SpaceProblem::LogWithStep { step: step_value });
    }
    let count = (high - low) / step;
    if (count - libm::round(count)).abs() > 1e-8 {
        let nearest = Value::Float(grid_point(low, step, libm::floor(count)));
        let (low, high) = (low_value, high_value);
        return Err(SpaceProblem::OffGrid { low, high, step: step_value, nearest });
    }
    Ok(())
}

fn check_int(low: i64, high: i64, log: bool, step: i64) -> Result<(), SpaceProblem> {
    let [low_value, high_value, step_value] = [low, high, step].map(Value::Int);
    if low > high {
        return Err(SpaceProblem::Reversed { low: low_value, high: high_value });
    }
    if log && low < 1 {
        return Err(SpaceProblem::LogNeedsPositive { low: low_value, example: Value::Int(1) });
    }
    if step < 1 {
        return Err(SpaceProblem::Step { step: step_value });
    }
    if log && step != 1 {
        return Err(SpaceProblem::LogWithStep { step: step_value });
    }
    let rest = low.abs_diff(high) % step.unsigned_abs();
    if rest != 0 {
        let nearest = Value::Int(high.wrapping_sub_unsigned(rest));
        let (low, high, step) = (low_value, high_value, step_value);
        return Err(SpaceProblem::OffGrid { low, high, step, nearest });
    }
    Ok(())
}

fn check_choices(choices: &[Value]) -> Result<(), SpaceProblem> {
    if choices.is_empty() {
        return Err(SpaceProblem::NoChoices);
    }
    for (index, value) in choices.iter().enumerate() {
        check_value("a choice", value)?;
        if choices[..index].contains(value) {
            return Err(SpaceProblem::SameChoice { value: value.clone() });
        }
    }
    Ok(())
}

fn check_normal(
    mean: f64,
    sd: f64,
    distribution: &Distribution,
    of: &'static str,
) -> Result<(), SpaceProblem> {
    check_finite("mean", mean)?;
    check_finite("sd", sd)?;
    if sd <= 0.0 {
        return Err(SpaceProblem::Deviation { sd });
    }
    let (low, high) = distribution.bounds().unwrap_or_default();
    let underflows = !of.is_empty() && low <= 0.0;
    if underflows || !low.is_finite() || !high.is_finite() {
        return Err(SpaceProblem::Overflow { mean, sd, of });
    }
    Ok(())
}

/// As it is spelled on the command line; a step from low that has no such spelling stands behind.
impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Distribution::Float { low, high, log, step } => {
                let name = if *log { "loguniform" } else { "uniform" };
                write!(f, "{name}({low:?},{high:?})")?;
                step.map_or(Ok(()), |step| write!(f, " in steps of {step:?}"))
            }
            Distribution::Int { low, high, log, step } => {
                let name = if *log { "lograndint" } else { "randint" };
                write!(f, "{name}({low},{high})")?;
                if *step == 1 { Ok(()) } else { write!(f, " in steps of {step}") }
            }
            Distribution::Categorical { choices } => {
                let names: Vec<String> = choices.iter().map(Value::to_string).collect();
                write!(f, "choice({})", names.join(","))
            }
            Distribution::Fixed { value } => write!(f, "{value}"),
            Distribution::Normal { mean, sd } => write!(f, "normal({mean:?},{sd:?})"),
            Distribution::LogNormal { mean, sd } => write!(f, "lognormal({mean:?},{sd:?})"),
        }
    }
}
