//! Taking samples of a point: warm-up, rounds in turn with the reference, and when to stop.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::ceilings::processor::{Loop, Processor, Rate};
use super::ceilings::{Ceilings, Roof, highest};
use super::compare::{costs, floors_apart};
use super::record::{NamedCeilings, Round, Work};
use super::statistics::median;
use super::stopping::{Stop, Stopping};
use super::workload::{Ceiling, Ready, Reference, Workload};
use crate::error::Result;

/// Seconds of a sample, at least: enough that reading the clocks is none of it, and no more, for the shorter
/// it is, the sooner one of them is not disturbed.
const SAMPLE: f64 = 2.5e-4;
/// Seconds of the samples of a round, at least, between two of the reference.
const ROUND: f64 = 5e-3;
/// Samples of a round, at most.
const SAMPLES: usize = 32;

/// What was measured of a point so far, in all passes.
#[derive(Debug, Default)]
pub struct Taken {
    /// Of a call, by the wall.
    pub samples: Vec<f64>,
    pub rounds: Vec<Round>,
    pub rival: Vec<f64>,
    /// Calls of a sample, once they are known.
    batch: Option<usize>,
    pub calls: usize,
    pub seconds: f64,
    pub stop: Option<Stop>,
}

/// Takes samples, and keeps the reference loops that they take turns with.
pub struct Sampler<'a> {
    pub stopping: Stopping,
    pub passes: usize,
    /// One call is counted, and nothing is timed.
    pub simulated: bool,
    pub interrupt: &'a AtomicBool,
    references: BTreeMap<usize, References>,
}

/// The loops on some threads, and what each of their samples came to by the wall.
struct References {
    processor: Processor,
    flops: Vec<f64>,
    bytes: Vec<f64>,
}

impl<'a> Sampler<'a> {
    pub fn new(
        stopping: Stopping,
        passes: usize,
        simulated: bool,
        interrupt: &'a AtomicBool,
    ) -> Self {
        Sampler { stopping, passes, simulated, interrupt, references: BTreeMap::new() }
    }

    pub fn is_interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }

    /// One visit of a point, in a pass over all of them; false if it was interrupted.
    pub fn visit(&mut self, ready: &mut Ready<'_>, taken: &mut Taken, pass: usize) -> Result<bool> {
        if self.simulated {
            count(ready.workload, taken)?;
            return Ok(true);
        }
        let batch = match taken.batch {
            Some(batch) => {
                ready.workload.time(batch)?;
                batch
            }
            None => *taken.batch.insert(self.batch(ready)?),
        };
        let reference = self.reference_loop(ready);
        loop {
            if self.is_interrupted() {
                return Ok(false);
            }
            self.round(ready, taken, (pass, batch), reference)?;
            let costs = costs(&taken.rounds);
            // What memory binds is compared by medians alone.
            let apart = match reference {
                Loop::Copy => None,
                _ => floors_apart(&taken.rounds),
            };
            taken.stop = self.stopping.now(&costs, apart, taken.seconds, (pass, self.passes));
            if taken.stop.is_some() {
                return Ok(true);
            }
        }
    }

    /// How many calls make a sample; finding out warms everything up.
    fn batch(&self, ready: &mut Ready<'_>) -> Result<usize> {
        if ready.cold {
            ready.workload.time(1)?;
            return Ok(1);
        }
        let mut calls = 1;
        loop {
            let seconds = ready.workload.time(calls)?.wall;
            if seconds >= SAMPLE || calls >= 1 << 24 {
                return Ok(calls);
            }
            calls = if seconds * 8.0 < SAMPLE { calls * 4 } else { calls * 2 };
        }
    }

    /// The loop that takes turns with the work: the one that minds what the work minds. The roofs are
    /// measured again on the way, as long as a run lasts.
    fn reference_loop(&mut self, ready: &Ready<'_>) -> Loop {
        let Reference::Processor(threads) = ready.reference else { return Loop::Cache };
        let work: Work = ready.workload.work();
        let references = self.reference(threads);
        references.sample_roofs();
        match work.under(references.ceilings().ridge()) {
            Some((Roof::Copy, _)) => Loop::Copy,
            _ => Loop::Cache,
        }
    }

    fn round(
        &mut self,
        ready: &mut Ready<'_>,
        taken: &mut Taken,
        (pass, batch): (usize, usize),
        reference: Loop,
    ) -> Result<()> {
        let begun = Instant::now();
        let before = self.sample_reference(ready.reference, reference);
        let (mut walls, mut processors) = (Vec::new(), Vec::new());
        let first = Instant::now();
        while walls.is_empty() || (first.elapsed().as_secs_f64() < ROUND && walls.len() < SAMPLES) {
            if ready.cold {
                ready.workload.flush()?;
            }
            let elapsed = ready.workload.time(batch)?;
            walls.push(elapsed.wall / batch as f64);
            processors.push(elapsed.processor / batch as f64);
        }
        if let Some(rival) = ready.workload.rival(batch)? {
            taken.rival.push(rival / batch as f64);
        }
        let after = self.sample_reference(ready.reference, reference);
        if self.is_interrupted() {
            return Ok(()); // what was interrupted may have ended early
        }
        // Of two rates for the same work, the mean of the times is the harmonic mean.
        let mean = |a: f64, b: f64| 2.0 / (1.0 / a + 1.0 / b);
        taken.rounds.push(Round {
            pass,
            wall: fastest(&walls),
            processor: if ready.reference == Reference::None { 0.0 } else { median(&processors) },
            reference_wall: mean(before.wall, after.wall),
            reference_processor: mean(before.processor, after.processor),
        });
        taken.calls += batch * walls.len();
        taken.samples.extend(walls);
        taken.seconds += begun.elapsed().as_secs_f64();
        Ok(())
    }

    fn sample_reference(&mut self, reference: Reference, what: Loop) -> Rate {
        match reference {
            Reference::None => Rate { wall: 1.0, processor: 1.0 },
            Reference::Processor(threads) => self.reference(threads).processor.sample(what),
        }
    }

    fn reference(&mut self, threads: usize) -> &mut References {
        self.references.entry(threads).or_insert_with(|| References::new(threads))
    }

    /// The ceilings of this machine as they are known by now.
    pub fn ceilings(&self) -> Vec<NamedCeilings> {
        let named = |(threads, reference): (&usize, &References)| NamedCeilings {
            name: Ceiling::Processor(*threads).name(),
            ceilings: reference.ceilings(),
        };
        self.references.iter().map(named).collect()
    }
}

impl References {
    /// Measured a little at once, so that there are both roofs.
    fn new(threads: usize) -> References {
        let mut references =
            References { processor: Processor::new(threads), flops: Vec::new(), bytes: Vec::new() };
        (0..10).for_each(|_| references.sample_roofs());
        references
    }

    fn sample_roofs(&mut self) {
        for _ in 0..3 {
            self.flops.push(self.processor.roof(Loop::Arithmetic));
            self.bytes.push(self.processor.roof(Loop::Copy));
        }
    }

    fn ceilings(&self) -> Ceilings {
        Ceilings { flops_per_second: highest(&self.flops), bytes_per_second: highest(&self.bytes) }
    }
}

fn fastest(seconds: &[f64]) -> f64 {
    seconds.iter().copied().fold(f64::INFINITY, f64::min)
}

/// One call on a simulated device: the warp instructions that it executes, always the same.
fn count(workload: &mut dyn Workload, taken: &mut Taken) -> Result<()> {
    if !taken.rounds.is_empty() {
        return Ok(());
    }
    // The simulated clock ticks once a warp instruction, which it calls a nanosecond.
    let wall = (workload.time(1)?.wall * 1e9).round();
    taken.samples.push(wall);
    taken.calls += 1;
    taken.rounds.push(Round {
        pass: 0,
        wall,
        processor: 0.0,
        reference_wall: 1.0,
        reference_processor: 1.0,
    });
    taken.stop = Some(Stop::Certain);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::clock::Elapsed;
    use serde_json::Map;

    /// Takes as long as it says, by a clock of its own.
    struct Script {
        seconds: Vec<f64>,
        place: usize,
        flushed: usize,
    }

    impl Workload for Script {
        fn work(&self) -> Work {
            Work::default()
        }

        fn check(&mut self) -> Result<Result<String, String>> {
            Ok(Ok("nothing".to_owned()))
        }

        fn call(&mut self) -> Result<()> {
            Ok(())
        }

        fn time(&mut self, calls: usize) -> Result<Elapsed> {
            let each = self.seconds[self.place % self.seconds.len()];
            self.place += 1;
            Ok(Elapsed { wall: each * calls as f64, processor: 0.0 })
        }

        fn flush(&mut self) -> Result<()> {
            self.flushed += 1;
            Ok(())
        }
    }

    fn script(seconds: f64) -> Script {
        Script { seconds: vec![seconds], place: 0, flushed: 0 }
    }

    fn ready(workload: &mut Script, cold: bool) -> Ready<'_> {
        let (reference, ceiling) = (Reference::None, Ceiling::Processor(1));
        Ready { workload, reference, cold, ceiling, conditions: Map::new() }
    }

    const QUICK: Stopping = Stopping { least: 0.0, error: 0.01, most: 60.0 };

    #[test]
    fn times_are_of_one_call_however_many_a_sample_has() {
        let interrupt = AtomicBool::new(false);
        let mut sampler = Sampler::new(QUICK, 1, false, &interrupt);
        let mut taken = Taken::default();
        assert!(sampler.visit(&mut ready(&mut script(2e-5), false), &mut taken, 0).unwrap());
        assert!(taken.batch.unwrap() >= 12, "{:?}", taken.batch);
        assert!(taken.samples.iter().all(|&sample| (sample - 2e-5).abs() < 1e-12));
        assert_eq!(taken.stop, Some(Stop::Certain));
        assert_eq!(taken.calls, taken.samples.len() * taken.batch.unwrap());
    }

    #[test]
    fn cold_calls_are_single_ones() {
        let interrupt = AtomicBool::new(false);
        let mut sampler = Sampler::new(QUICK, 1, false, &interrupt);
        let mut taken = Taken::default();
        let mut script = script(2e-5);
        sampler.visit(&mut ready(&mut script, true), &mut taken, 0).unwrap();
        assert_eq!((taken.batch, taken.calls), (Some(1), taken.samples.len()));
        assert_eq!(script.flushed, taken.calls);
    }

    #[test]
    fn a_simulated_device_is_asked_once_and_gives_counts() {
        let interrupt = AtomicBool::new(false);
        let mut sampler = Sampler::new(QUICK, 1, true, &interrupt);
        let mut taken = Taken::default();
        for pass in 0..3 {
            sampler.visit(&mut ready(&mut script(12345e-9), false), &mut taken, pass).unwrap();
        }
        assert_eq!((&taken.samples[..], taken.calls), (&[12345.0][..], 1));
    }

    #[test]
    fn an_interruption_ends_a_visit_before_the_next_round() {
        let interrupt = AtomicBool::new(true);
        let mut sampler = Sampler::new(QUICK, 1, false, &interrupt);
        let mut taken = Taken::default();
        assert!(!sampler.visit(&mut ready(&mut script(1.0), false), &mut taken, 0).unwrap());
        assert!(taken.rounds.is_empty());
    }

    #[test]
    fn later_passes_go_on_from_the_samples_of_earlier_ones() {
        let interrupt = AtomicBool::new(false);
        let mut sampler = Sampler::new(QUICK, 2, false, &interrupt);
        let mut taken = Taken::default();
        let mut script = script(2e-3);
        let mut ready = ready(&mut script, false);
        sampler.visit(&mut ready, &mut taken, 0).unwrap();
        let first = taken.rounds.len();
        sampler.visit(&mut ready, &mut taken, 1).unwrap();
        assert!(taken.rounds.len() > first);
        assert_eq!(taken.rounds.last().unwrap().pass, 1);
    }
}
