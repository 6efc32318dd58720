//! Where the time of a training run goes: the run itself, and the rows that its records come to.
//!
//! A row says how near its operation comes to this machine's roofs (Williams, Waterman and Patterson,
//! "Roofline", 2009): the arithmetic peak, and a copy through memory. Work is counted as the algorithm
//! needs it, each operand moved once, so a share of a roof is a share of what could be, whatever
//! the kernel itself does. An operation that moves more bytes a second than a copy through memory has
//! them from the caches; its roof is then the arithmetic.

use std::sync::atomic::{AtomicBool, Ordering};

use super::ceilings::processor::Processor;
use super::ceilings::{Ceilings, gpu};
use super::clock::{Elapsed, Moment};
use super::statistics::{median, median_interval};
use crate::engine::cuda::compile::Compiler;
use crate::engine::cuda::launch::cublas::Cublas;
use crate::engine::cuda::launch::gemm::Gemm;
use crate::engine::cuda::launch::{Device, Driver};
use crate::engine::cuda::tiles::Precision;
use crate::engine::profile::{KernelFacts, Place, Recorder, Records, Spent, Ticks, moves_only};
use crate::engine::{Engine, EpochMetrics, Next, Observer, Task, Trial};
use crate::error::{Error, Result};
use crate::model::Parameters;

/// A profile, ready to be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    pub unit: Unit,
    /// Threads or GPUs at work.
    pub lanes: usize,
    pub trial_epochs: u64,
    /// From the first trial's begin to the last one's end, and the processor time of all threads.
    pub run: Elapsed,
    /// Time in the training loops, over all lanes.
    pub loop_seconds: f64,
    /// Of all lanes together.
    pub ceilings: Option<Ceilings>,
    /// The costliest first.
    pub rows: Vec<Row>,
    /// How a GPU's ticks were launched.
    pub ticks: Option<Ticks>,
}

/// What the `seconds` of a profile are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    /// A simulated device has no time: its events count the instructions of warps, 10^9 of them are
    /// one here, and no rate means anything.
    WarpInstructions,
}

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Unit::Seconds => "seconds",
            Unit::WarpInstructions => "warp instructions",
        }
    }
}

/// One operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub place: Place,
    pub spent: Spent,
    /// Of the time of all rows.
    pub share: f64,
    /// None where nothing counts as work, or where there is no time.
    pub rates: Option<Rates>,
    pub kernel: Option<KernelFacts>,
}

/// What an operation does a second while it runs, on all lanes together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// 0 where there is no arithmetic that counts.
    pub flops_per_second: f64,
    pub bytes_per_second: f64,
    /// The roof that it meets and the share of it that it reaches.
    pub met: Option<(RoofMet, f64)>,
}

impl Rates {
    /// FLOP a byte.
    pub fn intensity(&self) -> f64 {
        self.flops_per_second / self.bytes_per_second
    }
}

/// What an operation is bound by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoofMet {
    /// It has more arithmetic a byte than the roofs' ridge, or its bytes come from the caches.
    Arithmetic,
    Memory,
    /// No arithmetic, and its bytes come from the caches: it is under neither roof.
    Cache,
}

impl RoofMet {
    pub fn name(self) -> &'static str {
        match self {
            RoofMet::Arithmetic => "arithmetic",
            RoofMet::Memory => "memory",
            RoofMet::Cache => "cache",
        }
    }

    /// The roof above an operation of these rates, and the share of it that is reached: of the cache,
    /// how many times memory's roof.
    fn of(flops: f64, bytes: f64, ceilings: &Ceilings) -> (RoofMet, f64) {
        let memory = bytes / ceilings.bytes_per_second;
        let arithmetic = flops / ceilings.flops_per_second;
        match (flops > 0.0, memory > 1.0) {
            (true, true) => (RoofMet::Arithmetic, arithmetic),
            (true, false) if flops / bytes >= ceilings.ridge() => (RoofMet::Arithmetic, arithmetic),
            (false, true) => (RoofMet::Cache, memory),
            (_, false) => (RoofMet::Memory, memory),
        }
    }
}

impl Profile {
    /// The rows that records come to.
    pub fn new(
        records: &Records,
        unit: Unit,
        lanes: usize,
        run: Elapsed,
        ceilings: Option<Ceilings>,
    ) -> Profile {
        let total: f64 = records.spent.values().map(|spent| spent.seconds).sum();
        let ceilings = ceilings.filter(|_| unit == Unit::Seconds);
        let row = |(place, spent): (&Place, &Spent)| Row {
            place: place.clone(),
            spent: *spent,
            share: if total > 0.0 { spent.seconds / total } else { 0.0 },
            rates: rates(&place.operation, spent, unit, lanes, ceilings.as_ref()),
            kernel: records.kernels.get(&*place.operation).cloned(),
        };
        let mut rows: Vec<Row> = records.spent.iter().map(row).collect();
        rows.sort_by(|a, b| b.spent.seconds.total_cmp(&a.spent.seconds));
        let ticks = (records.ticks != Ticks::default()).then_some(records.ticks);
        let (trial_epochs, loop_seconds) = (records.trial_epochs, records.loop_seconds);
        Profile { unit, lanes, trial_epochs, run, loop_seconds, ceilings, rows, ticks }
    }

    /// The time of all rows.
    pub fn row_seconds(&self) -> f64 {
        self.rows.iter().map(|row| row.spent.seconds).sum()
    }

    /// The share of the training loops' time that a CPU's threads had a processor: in the rest others
    /// had it, and every time here is longer for that.
    pub fn had_processor(&self) -> f64 {
        (self.run.processor / self.loop_seconds).min(1.0)
    }

    /// How much of the training loops' time is in the rows: 1 if they add up to it.
    pub fn covered(&self) -> f64 {
        self.row_seconds() / self.loop_seconds
    }

    /// The share of the calls whose time was taken.
    pub fn timed(&self) -> f64 {
        let sum = |of: fn(&Row) -> f64| self.rows.iter().map(of).sum::<f64>();
        sum(|row| row.spent.timed as f64) / sum(|row| row.spent.calls)
    }

    /// The share of the wall time that the lanes were in their training loops.
    pub fn busy(&self) -> f64 {
        self.loop_seconds / (self.run.wall * self.lanes as f64)
    }
}

fn rates(
    operation: &str,
    spent: &Spent,
    unit: Unit,
    lanes: usize,
    ceilings: Option<&Ceilings>,
) -> Option<Rates> {
    if unit != Unit::Seconds || spent.seconds <= 0.0 || spent.work.bytes <= 0.0 {
        return None;
    }
    // Each lane's time is in the sum, so all of them together are that many times as fast.
    let a_second = |work: f64| work / spent.seconds * lanes as f64;
    let (flops, bytes) = (a_second(spent.work.flops), a_second(spent.work.bytes));
    // Where arithmetic is not counted, only what merely moves values has a roof that is known.
    let known = spent.work.flops > 0.0 || moves_only(operation);
    let met = ceilings.filter(|_| known).map(|ceilings| RoofMet::of(flops, bytes, ceilings));
    Some(Rates { flops_per_second: flops, bytes_per_second: bytes, met })
}

/// Lets every trial train to its end.
struct Training<'a> {
    epochs: Vec<usize>,
    recorder: Option<&'a Recorder>,
    interrupt: &'a AtomicBool,
    warn: &'a (dyn Fn(&str) + Sync),
}

impl Observer for Training<'_> {
    fn after_epoch(
        &self,
        slot: usize,
        metrics: EpochMetrics,
        _: &dyn Fn() -> Result<Parameters>,
    ) -> Result<Next> {
        // One that has diverged goes on: its steps cost what they cost.
        let done = self.epochs.get(slot).is_none_or(|epochs| metrics.epoch >= *epochs);
        Ok(if done { Next::Finish } else { Next::Train })
    }

    fn warn(&self, line: &str) {
        (self.warn)(line);
    }

    fn recorder(&self) -> Option<&Recorder> {
        self.recorder
    }

    fn interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }
}

/// Trains all trials side by side, under a recorder or without; returns the time that it took.
///
/// # Errors
/// [`Error::TrainingInterrupted`] if `interrupt` was set; the recorder has the epochs before that.
pub fn train(
    engine: &dyn Engine,
    task: &Task,
    trials: Vec<Trial>,
    recorder: Option<&Recorder>,
    interrupt: &AtomicBool,
    warn: &(dyn Fn(&str) + Sync),
) -> Result<Elapsed> {
    let epochs = trials.iter().map(|trial| trial.recipe.epochs).collect();
    let mut array = engine.array(task, trials)?;
    let start = Moment::now();
    array.advance(&Training { epochs, recorder, interrupt, warn })?;
    let run = start.elapsed();
    if interrupt.load(Ordering::Relaxed) { Err(Error::TrainingInterrupted) } else { Ok(run) }
}

/// The roofs of so many threads together, from a third of a second.
pub fn processor_ceilings(threads: usize) -> Ceilings {
    Processor::new(threads).ceilings(0.3)
}

/// The roofs of some GPUs together: as often those of the first. None on simulated devices.
pub fn gpu_ceilings(ordinals: &[usize], precision: Precision) -> Result<Option<Ceilings>> {
    let (Some(first), driver) = (ordinals.first(), Driver::load()?) else { return Ok(None) };
    let device = Device::new(&driver, *first)?;
    if device.gpu().is_simulated() {
        return Ok(None);
    }
    let compiler = Compiler::new(&driver)?;
    let module = |name: &str| compiler.kernels(&device, name);
    let gemm = Gemm::new(module, precision, device.gpu().capability)?;
    let stream = device.stream()?;
    let cublas = Cublas::load(&stream).ok();
    let one = gpu::ceilings(&stream, &gemm, precision, cublas.as_ref())?;
    let times = ordinals.len() as f64;
    Ok(one.map(|one| Ceilings {
        flops_per_second: times * one.flops_per_second,
        bytes_per_second: times * one.bytes_per_second,
    }))
}

/// What profiling costs a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overhead {
    /// Of the ratios of neighbouring runs, less one.
    pub median: f64,
    /// That holds the true median with 95 % confidence.
    pub interval: Option<(f64, f64)>,
    /// Median time of a run without it.
    pub seconds: f64,
}

/// Runs under a recorder in turns with runs without, after one of each that does not count, by one of
/// the clocks.
pub fn overhead(
    pairs: usize,
    clock: impl Fn(Elapsed) -> f64,
    mut run: impl FnMut(Option<&Recorder>) -> Result<Elapsed>,
) -> Result<Overhead> {
    let (mut ratios, mut without) = (Vec::new(), Vec::new());
    for pair in 0..=pairs {
        let recorder = Recorder::new(false);
        // Whoever comes second may find a warmer or a busier machine: they take turns in that too.
        let (plain, profiled) = if pair % 2 == 0 {
            let plain = run(None)?;
            (plain, run(Some(&recorder))?)
        } else {
            let profiled = run(Some(&recorder))?;
            (run(None)?, profiled)
        };
        if pair > 0 {
            ratios.push(clock(profiled) / clock(plain) - 1.0);
            without.push(clock(plain));
        }
    }
    let interval = median_interval(&ratios, 0.95).map(|interval| (interval.low, interval.high));
    Ok(Overhead { median: median(&ratios), interval, seconds: median(&without) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::profile::{Phase, Work};

    const CEILINGS: Ceilings = Ceilings { flops_per_second: 1000.0, bytes_per_second: 100.0 };

    const RUN: Elapsed = Elapsed { wall: 5.5, processor: 8.0 };

    fn spent(seconds: f64, flops: f64, bytes: f64) -> Spent {
        Spent { calls: 8.0, timed: 2, seconds, work: Work { flops, bytes } }
    }

    fn records() -> Records {
        let mut records = Records { loop_seconds: 10.0, trial_epochs: 4, ..Records::default() };
        let place = |operation: &'static str, layer| Place {
            phase: Some(Phase::Training),
            operation: operation.into(),
            layer,
        };
        records.charge(place("gather", None), spent(1.0, 0.0, 20.0));
        records.charge(place("forward", Some(1)), spent(6.0, 2400.0, 60.0));
        records.charge(place("forward", Some(2)), spent(2.0, 100.0, 50.0));
        records
    }

    fn profile(lanes: usize) -> Profile {
        Profile::new(&records(), Unit::Seconds, lanes, RUN, Some(CEILINGS))
    }

    #[test]
    fn rows_are_in_the_order_of_their_time_and_their_shares_add_up_to_one() {
        let profile = profile(1);
        let seconds: Vec<f64> = profile.rows.iter().map(|row| row.spent.seconds).collect();
        assert_eq!(seconds, [6.0, 2.0, 1.0]);
        let shares: f64 = profile.rows.iter().map(|row| row.share).sum();
        assert!((shares - 1.0).abs() < 1e-12);
        assert_eq!((profile.covered(), profile.had_processor()), (0.9, 0.8));
    }

    #[test]
    fn rates_are_of_all_lanes_together() {
        let one = profile(1).rows[0].rates.expect("work and time");
        assert_eq!((one.flops_per_second, one.bytes_per_second), (400.0, 10.0));
        let two = profile(2).rows[0].rates.expect("work and time");
        assert_eq!((two.flops_per_second, two.bytes_per_second), (800.0, 20.0));
        assert_eq!(two.intensity(), 40.0);
        assert_eq!(profile(2).busy(), 10.0 / 11.0);
    }

    #[test]
    fn the_roof_is_the_one_that_is_lower_at_an_operations_intensity() {
        // The ridge is at 10 FLOP a byte.
        assert_eq!(RoofMet::of(500.0, 40.0, &CEILINGS), (RoofMet::Arithmetic, 0.5));
        assert_eq!(RoofMet::of(500.0, 80.0, &CEILINGS), (RoofMet::Memory, 0.8));
        assert_eq!(RoofMet::of(0.0, 30.0, &CEILINGS), (RoofMet::Memory, 0.3));
    }

    #[test]
    fn what_moves_more_than_a_copy_through_memory_has_it_from_the_caches() {
        assert_eq!(RoofMet::of(500.0, 400.0, &CEILINGS), (RoofMet::Arithmetic, 0.5));
        assert_eq!(RoofMet::of(0.0, 400.0, &CEILINGS), (RoofMet::Cache, 4.0));
    }

    #[test]
    fn overhead_is_the_median_of_the_ratios_whichever_run_came_first() {
        let mut machine = 1.0; // gets slower all the time
        let wall = |run: Elapsed| run.wall;
        let cost = overhead(21, wall, |recorder| {
            machine *= 1.01;
            let wall = machine * if recorder.is_some() { 1.02 } else { 1.0 };
            Ok(Elapsed { wall, processor: 0.0 })
        });
        let cost = cost.expect("runs that do not fail");
        assert!((cost.median - 0.02).abs() < 0.011, "{cost:?}");
        let (low, high) = cost.interval.expect("an interval of 21");
        assert!(low < 0.02 && 0.02 < high, "{cost:?}");
    }

    #[test]
    fn a_simulated_device_has_no_rates_and_no_roofs() {
        let profile = Profile::new(&records(), Unit::WarpInstructions, 1, RUN, Some(CEILINGS));
        assert_eq!(profile.ceilings, None);
        assert!(profile.rows.iter().all(|row| row.rates.is_none()));
    }
}
