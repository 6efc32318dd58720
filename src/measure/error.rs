//! What goes wrong in measuring.

use std::path::PathBuf;

use crate::error::Error;

/// Every way in which a measurement can fail, or be refused.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// An axis that does not parse.
    #[error("--axis {given}: {reason}; write NAME=VALUES, such as batch=16,64 or trials=1:4096:x2")]
    Axis { given: String, reason: String },

    /// A value that its axis cannot have.
    #[error("--axis {axis}={value}: expected {expected}; `warpsweep bench --list` shows all axes")]
    AxisValue { axis: String, value: String, expected: String },

    /// An axis that none of the chosen suites has.
    #[error(
        "--axis {axis}: {suites} has no such axis{hint}; `warpsweep bench --list` shows all axes"
    )]
    UnknownAxis { axis: String, suites: String, hint: String },

    #[error("there is no suite {name}{hint}; `warpsweep bench --list` shows them")]
    UnknownSuite { name: String, hint: String },

    #[error("{suite}: its axes span {points} points, more than {most}; give them fewer values")]
    TooManyPoints { suite: &'static str, points: usize, most: usize },

    /// A filter that leaves nothing to be measured.
    #[error(
        "--filter {filter}: none of {points} points has these words; `--list` shows the points"
    )]
    NothingLeft { filter: String, points: usize },

    /// A file of an earlier run that is none, or not of this version.
    #[error("{path} {reason}; name a file that `warpsweep bench --format json --output FILE` wrote", path = .path.display())]
    NotARun { path: PathBuf, reason: String },

    /// A baseline that cannot be compared with.
    #[error(
        "{path} has {what} {baseline}, here it is {here}: times of different {what}s say nothing about \
         the program; take a baseline of the same one, or make a new one with --output",
        path = .path.display()
    )]
    OtherConditions { path: PathBuf, what: &'static str, baseline: String, here: String },

    /// A result that is not what the reference says: it is not timed.
    #[error("{point}: the result is wrong, so it was not timed: {what}; please report it")]
    Wrong { point: String, what: String },

    /// Ctrl-C, after something was measured or before.
    #[error(
        "interrupted after {measured} of {points} points; what was measured is kept, the rest needs another run"
    )]
    Interrupted { measured: usize, points: usize },

    /// `--fail-on`, and it happened.
    #[error("{count} of {compared} points are slower than the baseline; see the lines above")]
    Slower { count: usize, compared: usize },
}

impl From<MeasureError> for Error {
    fn from(error: MeasureError) -> Error {
        let exit_code = match error {
            MeasureError::Wrong { .. } | MeasureError::Slower { .. } => 1,
            MeasureError::Interrupted { .. } => 130,
            _ => 2,
        };
        Error::Room { error: Box::new(error), exit_code }
    }
}
