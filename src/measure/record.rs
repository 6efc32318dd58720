//! A run of the bench as it is written down: plain values, each with the conditions it holds under.

use std::fmt;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::ceilings::{Ceilings, Roof};
use super::compare::Change;
use super::error::MeasureError;
use super::statistics::Summary;
use crate::error::{Error, Result};

/// What the files of this version call themselves.
pub const FORMAT: &str = "warpsweep bench 1";

/// A run: its conditions, this machine's roofs, and the points in the order of the sweep.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    pub format: String,
    pub conditions: Conditions,
    pub ceilings: Vec<NamedCeilings>,
    pub points: Vec<PointRecord>,
}

/// What holds for all points of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// The program's version.
    pub version: String,
    /// When it began, UTC.
    pub date: String,
    /// The command line, without the program's path.
    pub command: String,
    /// The processor's name, or the GPU's.
    pub machine: String,
    /// As the engine names it: `cpu (2 threads, AVX-512)`.
    pub device: String,
    /// Times are counts of a simulated device, and say nothing of a real one.
    pub simulated: bool,
    pub threads: usize,
    /// The data set's name and fingerprint.
    pub data: String,
    pub data_fingerprint: String,
    pub seed: u64,
    /// Seconds a point at least and at most, the error aimed at, and the passes over all points.
    pub min_time: f64,
    pub time_limit: f64,
    pub noise: f64,
    pub passes: usize,
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Conditions { machine, device, data, seed, date, version, .. } = self;
        write!(f, "{machine}, {device}, data {data}, seed {seed}, {date}, warpsweep {version}")
    }
}

/// Roofs, and of what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamedCeilings {
    /// `1 thread`, `tf32`: what a point names in its `ceiling`.
    pub name: String,
    #[serde(flatten)]
    pub ceilings: Ceilings,
}

/// A point of the sweep, and what came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PointRecord {
    pub suite: String,
    /// The value on each axis.
    pub axes: Map<String, Json>,
    /// Why it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
    /// How it stands to the same point of a baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Change>,
}

impl PointRecord {
    /// Whether two records are of the same work.
    pub fn is_same(&self, other: &PointRecord) -> bool {
        self.suite == other.suite && self.axes == other.axes
    }

    pub fn name(&self) -> String {
        let axes = self.axes.iter().map(|(name, value)| match value {
            Json::String(word) => format!(" {name}={word}"),
            other => format!(" {name}={other}"),
        });
        format!("{}{}", self.suite, axes.collect::<String>())
    }
}

/// What is done in one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Work {
    #[serde(skip_serializing_if = "is_zero")]
    pub trials: f64,
    #[serde(skip_serializing_if = "is_zero")]
    pub trial_epochs: f64,
    #[serde(skip_serializing_if = "is_zero")]
    pub sample_updates: f64,
    /// Floating-point operations; a fused multiply-add is two.
    #[serde(skip_serializing_if = "is_zero")]
    pub flop: f64,
    /// Bytes that must be moved at the least: each operand and result once.
    #[serde(skip_serializing_if = "is_zero")]
    pub bytes: f64,
    /// Whether these bytes stay in a cache from call to call: then memory's roof is not over them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cached: bool,
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

impl Work {
    /// The roof over this work, and how much of what it counts is done.
    pub fn under(&self, ridge: f64) -> Option<(Roof, f64)> {
        match (self.flop > 0.0, self.bytes > 0.0 && !self.cached) {
            (true, true) if self.flop < ridge * self.bytes => Some((Roof::Copy, self.bytes)),
            (true, _) => Some((Roof::Arithmetic, self.flop)),
            (false, true) => Some((Roof::Copy, self.bytes)),
            (false, false) => None,
        }
    }
}

/// A round: a few samples of the work between two of the reference, which is a roof's own loop.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// The pass over all points that it belongs to, from 0.
    pub pass: usize,
    /// Seconds a call by the wall, or warp instructions where the device is simulated: the fastest of
    /// the round's samples, for what disturbs only ever costs time.
    pub wall: f64,
    /// Processor time a call, of all threads, the median of the samples; 0 where the processor only waits.
    pub processor: f64,
    /// What the reference did a second, by the wall and by processor time; 1 without a reference.
    pub reference_wall: f64,
    pub reference_processor: f64,
}

/// A point that was measured, its result checked before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// `checked against ...`: what the result was compared with, before it was timed.
    pub checked: String,
    /// Precision, model, samples and whatever else the numbers depend on beside the axes.
    pub conditions: Map<String, Json>,
    /// Of one call.
    pub work: Work,
    /// Calls that were timed.
    pub calls: usize,
    /// Of a call: seconds by the wall or the GPU's clock, or warp instructions of a simulated device.
    pub time: Summary,
    /// Which of the run's ceilings stands over it.
    pub ceiling: String,
    pub roof: Option<Roof>,
    /// The rate of the roof's kind of work as a share of it.
    pub share: Option<f64>,
    /// cuBLAS's median time on the same operands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cublas_seconds: Option<f64>,
    pub rounds: Vec<Round>,
    /// What a reader must know: that the machine was busy, that the time limit came first.
    pub notes: Vec<String>,
}

impl Run {
    /// Puts a point in its place: over its record of an earlier pass, or behind all others.
    pub fn put(&mut self, record: PointRecord) {
        match self.points.iter_mut().find(|known| known.is_same(&record)) {
            Some(known) => *known = record,
            None => self.points.push(record),
        }
        self.settle();
    }

    /// Sets every point in relation to the ceilings, which rise while a run goes on.
    pub fn settle(&mut self) {
        for measured in self.points.iter_mut().filter_map(|point| point.measured.as_mut()) {
            let named = self.ceilings.iter().find(|named| named.name == measured.ceiling);
            let Some(NamedCeilings { ceilings, .. }) = named else { continue };
            let under = measured.work.under(ceilings.ridge());
            measured.roof = under.map(|(roof, _)| roof);
            measured.share =
                under.map(|(roof, work)| work / measured.time.median / ceilings.of(roof));
        }
    }

    /// As the files have it.
    pub fn to_json(&self) -> String {
        // Plain structs of numbers and text: nothing in them that JSON cannot hold.
        let text = serde_json::to_string_pretty(self);
        text.map_or_else(|error| format!("{{\"error\": \"{error}\"}}\n"), |text| text + "\n")
    }

    /// Reads a run back.
    ///
    /// # Errors
    /// A file that cannot be read, that is no run, or one of another version.
    pub fn read(path: &Path) -> Result<Run> {
        let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => not_a_run(path, "is no text"),
            _ => Error::reading(path, &error),
        })?;
        let json: Json = serde_json::from_str(&text)
            .map_err(|error| not_a_run(path, &format!("is no JSON ({error})")))?;
        match json.get("format").and_then(Json::as_str) {
            Some(FORMAT) => {}
            Some(other) => {
                return Err(not_a_run(path, &format!("has format `{other}`, not `{FORMAT}`")));
            }
            None => return Err(not_a_run(path, "is not a run of the bench")),
        }
        serde_json::from_value(json)
            .map_err(|error| not_a_run(path, &format!("is damaged ({error})")))
    }
}

/// Writes a text in place of a file: beside it first, so that at no instant is it cut off.
pub fn write(path: &Path, text: &str) -> Result<()> {
    let refuse = |error: &std::io::Error| Error::File {
        action: "write",
        path: path.to_path_buf(),
        reason: error.to_string(),
        next: "name a file in an existing folder with --output",
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut aside = tempfile::Builder::new();
    // As any other file's, less what the user's mask takes: temporary files are private else.
    #[cfg(unix)]
    aside.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file =
        aside.tempfile_in(folder.unwrap_or(Path::new("."))).map_err(|error| refuse(&error))?;
    file.write_all(text.as_bytes()).map_err(|error| refuse(&error))?;
    file.persist(path).map_err(|error| refuse(&error.error))?;
    Ok(())
}

fn not_a_run(path: &Path, reason: &str) -> Error {
    MeasureError::NotARun { path: path.to_path_buf(), reason: reason.to_owned() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_stands_under_the_roof_that_it_meets_first() {
        let work = |flop, bytes| Work { flop, bytes, ..Work::default() };
        assert_eq!(work(100.0, 10.0).under(9.0), Some((Roof::Arithmetic, 100.0)));
        assert_eq!(work(100.0, 10.0).under(11.0), Some((Roof::Copy, 10.0)));
        assert_eq!(work(0.0, 10.0).under(1.0), Some((Roof::Copy, 10.0)));
        assert_eq!(work(7.0, 0.0).under(1.0), Some((Roof::Arithmetic, 7.0)));
        assert_eq!(work(0.0, 0.0).under(1.0), None);
        let cached = Work { cached: true, ..work(100.0, 10.0) };
        assert_eq!(cached.under(11.0), Some((Roof::Arithmetic, 100.0)));
        assert_eq!(Work { flop: 0.0, ..cached }.under(11.0), None);
    }
}
