//! Where an engine's time goes: what it tells a [`Recorder`], in the same words on every device.
//!
//! An engine asks its observer for a recorder once an epoch; without one it takes no time and keeps no
//! record. Operations have the names of their kernels (`gather`, `forward`, `softmax_xent`, ...),
//! which are the same in both wings.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Names a range of time for NVIDIA's tools, which see the processor's work too.
pub use super::cuda::launch::nvtx::range as tool_range;

/// Which part of an epoch an operation belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Training,
    Validation,
}

impl Phase {
    pub fn name(self) -> &'static str {
        match self {
            Phase::Training => "train",
            Phase::Validation => "validate",
        }
    }
}

/// What time is charged to: a row of a profile.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// None where a launch serves trials in both.
    pub phase: Option<Phase>,
    /// The kernel's name, with its tile on a GPU: `forward`, `forward_64x16`.
    pub operation: Cow<'static, str>,
    /// Counted from 1, the pixels' side first; none where it has no one layer.
    pub layer: Option<usize>,
}

/// The arithmetic and the traffic of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    /// Two for each multiply-add of a product; other arithmetic is not counted.
    pub flops: f64,
    /// Each operand read once and each result written once, from whichever memory they come.
    pub bytes: f64,
}

impl Work {
    /// No arithmetic that counts.
    pub fn moving(bytes: usize) -> Work {
        Work { flops: 0.0, bytes: bytes as f64 }
    }

    /// A product of `m x k` and `k x n` values.
    pub fn product([m, n, k]: [usize; 3], bytes: usize) -> Work {
        Work { flops: 2.0 * m as f64 * n as f64 * k as f64, bytes: bytes as f64 }
    }
}

/// Whether an operation does no arithmetic to speak of, so that its bytes alone bound it.
pub fn moves_only(operation: &str) -> bool {
    matches!(operation, "gather" | "sgd" | "sgd_bias")
}

impl std::ops::Add for Work {
    type Output = Work;

    fn add(self, other: Work) -> Work {
        Work { flops: self.flops + other.flops, bytes: self.bytes + other.bytes }
    }
}

impl std::ops::AddAssign for Work {
    fn add_assign(&mut self, other: Work) {
        self.flops += other.flops;
        self.bytes += other.bytes;
    }
}

/// What a place has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    pub calls: f64,
    /// Those of them whose time was taken.
    pub timed: u64,
    /// Of all calls, from the timed ones.
    pub seconds: f64,
    /// Of all calls.
    pub work: Work,
}

impl std::ops::AddAssign for Spent {
    fn add_assign(&mut self, other: Spent) {
        self.calls += other.calls;
        self.timed += other.timed;
        self.seconds += other.seconds;
        self.work += other.work;
    }
}

/// Something with a beginning and an end, for a trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Spans of one track nest or follow each other.
    pub track: String,
    pub name: String,
    /// Seconds since the recorder was made.
    pub start: f64,
    pub seconds: f64,
}

/// A kernel as it was compiled and launched.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KernelFacts {
    /// Of a thread; 0 on the simulated device, which has none to count.
    pub registers: usize,
    /// Bytes of local memory of a thread: spills and local arrays.
    pub local_bytes: usize,
    /// Bytes of shared memory of a block, static and dynamic.
    pub shared_bytes: usize,
    /// Of a block.
    pub threads: usize,
    /// Of the launches that were timed.
    pub blocks: u64,
    pub launches: u64,
    /// Blocks that a multiprocessor holds at a time, as the driver says.
    pub resident: usize,
    /// The share of a multiprocessor's warps that these blocks are.
    pub occupancy: f64,
    /// What keeps a multiprocessor from holding more.
    pub limit: &'static str,
}

/// Ticks of a GPU by the way in which they were launched.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ticks {
    /// Launched kernel by kernel, with events around each.
    pub apart: u64,
    pub apart_kernel_seconds: f64,
    /// From the end of one kernel to the beginning of the next.
    pub apart_gap_seconds: f64,
    /// Launched as graphs, with events around each graph.
    pub graphs: u64,
    pub graph_seconds: f64,
}

impl std::ops::AddAssign for Ticks {
    fn add_assign(&mut self, other: Ticks) {
        self.apart += other.apart;
        self.apart_kernel_seconds += other.apart_kernel_seconds;
        self.apart_gap_seconds += other.apart_gap_seconds;
        self.graphs += other.graphs;
        self.graph_seconds += other.graph_seconds;
    }
}

/// All that was recorded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Records {
    pub spent: BTreeMap<Place, Spent>,
    /// Wall time of the training loops, added up over threads or devices: what the places add up to,
    /// but for what lies between them.
    pub loop_seconds: f64,
    pub trial_epochs: u64,
    pub spans: Vec<Span>,
    /// By name; empty on the CPU.
    pub kernels: BTreeMap<String, KernelFacts>,
    pub ticks: Ticks,
}

/// What an engine is to record, and what it has.
#[derive(Debug)]
pub struct Recorder {
    start: Instant,
    /// Seconds that a read of the clock takes.
    clock: f64,
    /// Whether spans are kept.
    spans: bool,
    once: Option<String>,
    records: Mutex<Records>,
}

/// Single operations that are kept as spans, of each trial's epoch: a trace of all of them would be
/// gigabytes.
pub const SPANS_AN_EPOCH: usize = 400;

impl Recorder {
    /// A recorder of times, and of spans if they are wanted.
    pub fn new(spans: bool) -> Recorder {
        let (clock, records) = (clock_cost(), Mutex::default());
        Recorder { start: Instant::now(), clock, spans, once: None, records }
    }

    /// A recorder that has a CUDA engine launch what comes before a kernel, and that kernel once.
    pub fn once(kernel: &str) -> Recorder {
        Recorder { once: Some(kernel.to_owned()), ..Recorder::new(false) }
    }

    /// The kernel that is to be run once, in place of training.
    pub fn only(&self) -> Option<&str> {
        self.once.as_deref()
    }

    /// How many spans of single operations an epoch may keep.
    pub fn spans_an_epoch(&self) -> usize {
        if self.spans { SPANS_AN_EPOCH } else { 0 }
    }

    /// Seconds that a read of the clock takes.
    pub fn clock(&self) -> f64 {
        self.clock
    }

    /// Seconds from the recorder's beginning to a moment.
    pub fn seconds_at(&self, moment: Instant) -> f64 {
        moment.saturating_duration_since(self.start).as_secs_f64()
    }

    /// The records so far, locked: an engine adds to them once an epoch or less.
    pub fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn into_records(self) -> Records {
        self.records.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Records {
    /// Charges a place.
    pub fn charge(&mut self, place: Place, spent: Spent) {
        *self.spent.entry(place).or_default() += spent;
    }

    /// Takes what was seen of a kernel in; as it was compiled it is the same everywhere.
    pub fn add_kernel(&mut self, name: String, facts: KernelFacts) {
        let KernelFacts { blocks, launches, .. } = facts;
        let known =
            self.kernels.entry(name).or_insert(KernelFacts { blocks: 0, launches: 0, ..facts });
        known.blocks += blocks;
        known.launches += launches;
    }
}

/// What a read of the clock costs, in seconds: the median of a few rounds.
fn clock_cost() -> f64 {
    const READS: u32 = 64;
    let mut rounds = [0.0; 15];
    for round in &mut rounds {
        let start = Instant::now();
        let mut last = start;
        for _ in 0..READS {
            last = std::hint::black_box(Instant::now());
        }
        *round = (last - start).as_secs_f64() / f64::from(READS);
    }
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}
