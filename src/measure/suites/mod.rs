//! The ready-made suites: each knows its axes, and makes the work of a point.

mod data;
mod gemm;
mod gpu_kernels;
mod kernels;
mod known;
mod train;

pub use known::SLOWDOWN;

use super::axes::{AxisSpec, Kind, Point};
use super::bench::Bench;
use super::workload::Ready;
use crate::error::Result;

/// Measures the work of one point when it is called, which is while the work lives.
pub type Visit<'v> = &'v mut dyn FnMut(Ready<'_>) -> Result<()>;

/// What became of a point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Visited,
    /// Why it cannot be measured here.
    Skipped(String),
}

/// Some work along some axes.
pub trait Suite: Sync {
    fn name(&self) -> &'static str;

    /// What it measures, in a line.
    fn about(&self) -> &'static str;

    fn axes(&self) -> &'static [AxisSpec];

    /// Makes a point's work ready and has it visited.
    fn measure(&self, bench: &Bench, point: &Point, visit: Visit<'_>) -> Result<Outcome>;
}

/// The suites of this room; the command line adds those that need a search.
pub const ALL: [&dyn Suite; 5] =
    [&gemm::Gemm, &kernels::Kernels, &train::Train, &data::Data, &known::Known];

fn skipped(reason: impl Into<String>) -> Result<Outcome> {
    Ok(Outcome::Skipped(reason.into()))
}

const fn count(
    name: &'static str,
    about: &'static str,
    [low, high]: [u64; 2],
    default: &'static str,
    quick: &'static str,
) -> AxisSpec {
    AxisSpec { name, about, kind: Kind::Count { low, high }, default, quick }
}

const fn words(
    name: &'static str,
    about: &'static str,
    words: &'static [&'static str],
    default: &'static str,
    quick: &'static str,
) -> AxisSpec {
    AxisSpec { name, about, kind: Kind::Words(words), default, quick }
}

const PRECISION: AxisSpec = words(
    "precision",
    "how products are computed",
    &["fp32", "tf32", "3xtf32"],
    "fp32",
    "fp32,tf32",
);

const CACHE: AxisSpec = words(
    "cache",
    "warm: the same operands again; cold: caches flushed before each call; rotating: operands \
     in turn, more than the caches hold",
    &["warm", "cold", "rotating"],
    "warm",
    "warm",
);

/// Bytes of operands that a rotation goes through: beyond a last-level cache.
const ROTATION: f64 = (64 << 20) as f64;

/// Operands that are used again and again and are smaller than this stay in a cache.
const CACHED: f64 = (8 << 20) as f64;

/// Whether a point's operands are in a cache when they are used.
fn cached(point: &Point, bytes: f64) -> bool {
    point.word("cache") == "warm" && bytes < CACHED
}

/// Copies of operands that a cache axis asks for, and whether caches are flushed.
fn copies(point: &Point, bytes: f64) -> (usize, bool) {
    match point.word("cache") {
        "rotating" => (((ROTATION / bytes.max(1.0)).ceil() as usize).clamp(2, 4096), false),
        other => (1, other == "cold"),
    }
}
