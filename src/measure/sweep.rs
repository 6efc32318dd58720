//! A sweep: all points in turn, several times over, so that what changes slowly on a machine falls on
//! all of them alike and shows as a difference between the passes.

use super::axes::Point;
use super::bench::{Bench, Device};
use super::diagnosis::notes;
use super::error::MeasureError;
use super::record::{Measured, NamedCeilings, PointRecord, Run};
use super::sampling::{Sampler, Taken};
use super::statistics::{Summary, median};
use super::suites::{Outcome, Suite};
use super::workload::{Ceiling, Ready};
use crate::error::Result;

/// A point and the suite that knows its work.
pub type Step<'s> = (&'s dyn Suite, Point);

/// Is told how the sweep goes on, on the thread that called [`run`]. An error ends the sweep.
pub trait Watcher {
    /// A point is about to be visited.
    fn begin(&mut self, point: &Point, pass: usize) -> Result<()>;

    /// A point's record is in the run, and `last`: no later pass will change it.
    fn point(&mut self, run: &mut Run, last: bool) -> Result<()>;
}

/// Measures all points into `run`; false if it was interrupted, with what there is in the run.
pub fn run(
    bench: &Bench,
    steps: &[Step<'_>],
    sampler: &mut Sampler<'_>,
    run: &mut Run,
    watcher: &mut dyn Watcher,
) -> Result<bool> {
    let mut taken: Vec<Taken> = steps.iter().map(|_| Taken::default()).collect();
    let passes = if sampler.simulated { 1 } else { sampler.passes };
    for pass in 0..passes {
        for ((suite, point), taken) in steps.iter().zip(&mut taken) {
            if sampler.is_interrupted() {
                return Ok(false);
            }
            watcher.begin(point, pass)?;
            let mut measured = None;
            let outcome = suite.measure(bench, point, &mut |mut ready| {
                measured = visit(bench, point, &mut ready, sampler, taken, run, pass)?;
                Ok(())
            });
            // What fails because it was interrupted did not fail.
            let skipped = match outcome {
                _ if sampler.is_interrupted() && measured.is_none() => return Ok(false),
                Ok(Outcome::Visited) => None,
                Ok(Outcome::Skipped(reason)) => Some(reason),
                Err(error) => return Err(error),
            };
            let record = record(point, skipped, measured);
            run.put(record);
            watcher.point(run, pass + 1 == passes)?;
        }
    }
    Ok(!sampler.is_interrupted())
}

/// Checks and measures a point's work; none if it was interrupted before there was anything.
fn visit(
    bench: &Bench,
    point: &Point,
    ready: &mut Ready<'_>,
    sampler: &mut Sampler<'_>,
    taken: &mut Taken,
    run: &mut Run,
    pass: usize,
) -> Result<Option<Measured>> {
    let checked = match ready.workload.check()? {
        Ok(against) => against,
        Err(what) => return Err(MeasureError::Wrong { point: point.to_string(), what }.into()),
    };
    add_gpu_ceilings(bench, ready.ceiling, run)?;
    sampler.visit(ready, taken, pass)?;
    for named in sampler.ceilings() {
        put_ceilings(run, named);
    }
    let Some(time) = Summary::of(&taken.samples) else { return Ok(None) };
    let rival = taken.rival.first().map(|_| median(&taken.rival));
    Ok(Some(Measured {
        checked,
        conditions: ready.conditions.clone(),
        work: ready.workload.work(),
        calls: taken.calls,
        time,
        ceiling: ready.ceiling.name(),
        roof: None,
        share: None,
        cublas_seconds: rival,
        rounds: taken.rounds.clone(),
        notes: notes(&taken.rounds, &time, taken.stop, sampler.stopping.error),
    }))
}

/// A GPU's roofs are measured when the first point stands under them.
fn add_gpu_ceilings(bench: &Bench, ceiling: Ceiling, run: &mut Run) -> Result<()> {
    let (Ceiling::Gpu(precision), Device::Cuda(cuda)) = (ceiling, &bench.device) else {
        return Ok(());
    };
    let name = ceiling.name();
    if run.ceilings.iter().all(|named| named.name != name)
        && let Some(ceilings) = cuda.ceilings(precision)?
    {
        put_ceilings(run, NamedCeilings { name, ceilings });
    }
    Ok(())
}

fn put_ceilings(run: &mut Run, named: NamedCeilings) {
    match run.ceilings.iter_mut().find(|known| known.name == named.name) {
        Some(known) => *known = named,
        None => run.ceilings.push(named),
    }
}

fn record(point: &Point, skipped: Option<String>, measured: Option<Measured>) -> PointRecord {
    let axes = point.settings.iter().map(|(name, value)| {
        let value = serde_json::to_value(value).unwrap_or_default();
        (name.clone(), value)
    });
    PointRecord {
        suite: point.suite.to_owned(),
        axes: axes.collect(),
        skipped,
        measured,
        baseline: None,
    }
}
