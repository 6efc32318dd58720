//! Training: epochs of a whole trial array, as a search trains them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::{Outcome, PRECISION, Suite, Visit, count, skipped};
use crate::engine::cpu::{CpuEngine, threads_at_work};
use crate::engine::cuda::launch::Stream;
use crate::engine::cuda::tiles::Precision;
use crate::engine::{Engine, EpochMetrics, Next, Observer, Task, Trial, TrialArray};
use crate::error::{Error, Result};
use crate::measure::axes::{AxisSpec, Point};
use crate::measure::bench::{Bench, Device, precision_of};
use crate::measure::clock::{Elapsed, Moment, device_seconds};
use crate::measure::record::Work;
use crate::measure::workload::{Ceiling, Ready, Reference, Workload, conditions};
use crate::model::{
    Activation, Architecture, Hidden, Hyperparameters, Init, LrSchedule, Parameters, Recipe,
};

pub struct Train;

impl Suite for Train {
    fn name(&self) -> &'static str {
        "train"
    }

    fn about(&self) -> &'static str {
        "epochs of a trial array, validation included: trial-epochs/s and sample-updates/s"
    }

    fn axes(&self) -> &'static [AxisSpec] {
        const AXES: &[AxisSpec] = &[
            count("trials", "trials trained side by side", [1, 65_536], "1,16", "1,3"),
            count("batch", "samples a step", [1, 65_536], "16,256", "16"),
            count(
                "units",
                "units of each hidden layer; 0: softmax regression",
                [0, 8192],
                "0,256",
                "0,8",
            ),
            count("layers", "hidden layers, where units is not 0", [1, 6], "1", "1"),
            count(
                "samples",
                "training samples, the first of the data set",
                [1, 60_000],
                "2000",
                "48",
            ),
            PRECISION,
        ];
        AXES
    }

    fn measure(&self, bench: &Bench, point: &Point, visit: Visit<'_>) -> Result<Outcome> {
        let precision = precision_of(point.word("precision"));
        let engine = match bench.engine(precision)? {
            Ok(engine) => engine,
            Err(reason) => return skipped(reason),
        };
        let task = bench.task(point.count("samples"))?;
        let trials = trials(&task, point);
        let (reference, ceiling, counter) = match &bench.device {
            Device::Processor(threads) => {
                let threads = threads_at_work(*threads, &trials);
                (Reference::Processor(threads), Ceiling::Processor(threads), None)
            }
            Device::Cuda(cuda) => {
                let counter = cuda.is_simulated().then_some(&cuda.stream);
                (Reference::None, Ceiling::Gpu(precision), counter)
            }
        };
        let (train, validation) = (task.split.training().len(), task.split.validation().len());
        let mut conditions = conditions([
            ("model", json!(model(&trials))),
            ("training_samples", json!(train)),
            ("validation_samples", json!(validation)),
            ("learning_rate", json!(RATE)),
        ]);
        if let Device::Processor(_) = bench.device {
            let dark = (1e3 * task.split.training().patches().dark()).round() / 1e3;
            conditions.insert("dark_patches".to_owned(), json!(dark));
        }
        let array = engine.array(&task, trials.clone())?;
        let mut workload = Training {
            bench,
            precision,
            engine: &*engine,
            task: &task,
            trials: &trials,
            array,
            counter,
        };
        visit(Ready { workload: &mut workload, reference, cold: false, ceiling, conditions })?;
        Ok(Outcome::Visited)
    }
}

const RATE: f32 = 0.05;
/// More than are ever trained: an array that has no end.
const EPOCHS: usize = 1 << 30;

/// Equal trials but for their numbers, and so their initial values and orders of samples.
fn trials(task: &Task, point: &Point) -> Vec<Trial> {
    let (units, data) = (point.count("units"), task.split.data());
    let hidden = Hidden { units, activation: Activation::Relu, dropout: 0.0 };
    let layers = if units == 0 { 0 } else { point.count("layers") };
    let recipe = Recipe {
        architecture: Architecture {
            inputs: data.pixels(),
            hidden: vec![hidden; layers],
            classes: data.classes,
        },
        hyperparameters: Hyperparameters {
            learning_rate: RATE,
            lr_schedule: LrSchedule::Constant,
            batch_size: point.count("batch"),
            momentum: 0.0,
            nesterov: false,
            weight_decay: 0.0,
            label_smoothing: 0.0,
            init: Init::Default,
        },
        epochs: EPOCHS,
    };
    (0..point.count("trials") as u32)
        .map(|number| Trial { number, recipe: recipe.clone() })
        .collect()
}

/// `784-256-10`
fn model(trials: &[Trial]) -> String {
    let Some(trial) = trials.first() else { return String::new() };
    let sizes = sizes(&trial.recipe.architecture);
    sizes.iter().map(usize::to_string).collect::<Vec<_>>().join("-")
}

fn sizes(architecture: &Architecture) -> Vec<usize> {
    let hidden = architecture.hidden.iter().map(|layer| layer.units);
    [architecture.inputs].into_iter().chain(hidden).chain([architecture.classes]).collect()
}

/// Floating-point operations of the matrix products of an epoch: forward, and both gradients but for the
/// first layer's inputs, which need none; then the validation. Zeros count, and so do the dark patches that softmax
/// regression passes over on a processor: these are the operations of the task.
pub fn flop(trial: &Trial, task: &Task) -> f64 {
    let sizes = sizes(&trial.recipe.architecture);
    let products = |pair: &[usize]| pair.iter().product::<usize>();
    let all: usize = sizes.windows(2).map(products).sum();
    let first = sizes.windows(2).next().map_or(0, products);
    let (train, validation) = (task.split.training().len(), task.split.validation().len());
    2.0 * (train * (3 * all - first) + validation * all) as f64
}

/// A trial array that trains one epoch of all trials a call.
pub struct Training<'a> {
    bench: &'a Bench,
    precision: Precision,
    engine: &'a dyn Engine,
    task: &'a Task,
    trials: &'a [Trial],
    array: Box<dyn TrialArray + 'a>,
    /// Where the device is simulated, what its instructions are counted by.
    counter: Option<&'a Stream>,
}

impl Training<'_> {
    /// What an epoch of some trials comes to, in an array of their own: losses and errors.
    fn first_epoch(&self, engine: &dyn Engine, trials: &[Trial]) -> Result<Vec<EpochMetrics>> {
        let observer = OneEpoch {
            interrupt: &self.bench.interrupt,
            metrics: trials.iter().map(|_| Mutex::new(None)).collect(),
        };
        engine.array(self.task, trials.to_vec())?.advance(&observer)?;
        let metrics = observer.metrics.into_iter();
        let metrics =
            metrics.map(|slot| slot.into_inner().unwrap_or(None).ok_or(Error::TrainingInterrupted));
        metrics.collect()
    }
}

impl Workload for Training<'_> {
    fn work(&self) -> Work {
        let trials = self.trials.len() as f64;
        Work {
            trial_epochs: trials,
            sample_updates: trials * self.task.split.training().len() as f64,
            flop: self.trials.iter().map(|trial| flop(trial, self.task)).sum(),
            ..Work::default()
        }
    }

    fn check(&mut self) -> Result<Result<String, String>> {
        let Some(last) = self.trials.last() else { return Ok(Err("there is no trial".to_owned())) };
        let together = self.first_epoch(self.engine, self.trials)?;
        let alone = self.first_epoch(self.engine, std::slice::from_ref(last))?;
        let reference = self.first_epoch(&CpuEngine::new(Some(1))?, std::slice::from_ref(last))?;
        let (Some(together), Some(alone), Some(reference)) =
            (together.last(), alone.first(), reference.first())
        else {
            return Ok(Err("an epoch is missing".to_owned()));
        };
        let bits = |of: &EpochMetrics| {
            (of.train_loss.to_bits(), of.validation_loss.to_bits(), of.validation_wrong)
        };
        if bits(together) != bits(alone) {
            return Ok(Err(format!(
                "a trial in its array has loss {}, alone {}",
                together.train_loss, alone.train_loss
            )));
        }
        // Rounding differs from engine to engine, and an epoch carries it on.
        let bar = if self.precision == Precision::Tf32 { 3e-2 } else { 3e-3 };
        let error = (alone.train_loss / reference.train_loss - 1.0).abs();
        Ok(match error <= bar {
            true => Ok("the CPU engine, and each trial alone bit for bit".to_owned()),
            false => Err(format!(
                "its loss is {}, the CPU engine's {}",
                alone.train_loss, reference.train_loss
            )),
        })
    }

    fn call(&mut self) -> Result<()> {
        self.array.advance(&Pausing(&self.bench.interrupt))
    }

    fn time(&mut self, calls: usize) -> Result<Elapsed> {
        if let Some(stream) = self.counter {
            let wall = device_seconds(stream, || (0..calls).try_for_each(|_| self.call()))?;
            return Ok(Elapsed { wall, processor: 0.0 });
        }
        let start = Moment::now();
        (0..calls).try_for_each(|_| self.call())?;
        Ok(start.elapsed())
    }
}

/// Lets every trial train one epoch at a time.
struct Pausing<'a>(&'a AtomicBool);

impl Observer for Pausing<'_> {
    fn after_epoch(
        &self,
        _: usize,
        _: EpochMetrics,
        _: &dyn Fn() -> Result<Parameters>,
    ) -> Result<Next> {
        Ok(Next::Pause)
    }

    fn interrupted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Writes down the first epoch of every trial.
struct OneEpoch<'a> {
    interrupt: &'a AtomicBool,
    metrics: Vec<Mutex<Option<EpochMetrics>>>,
}

impl Observer for OneEpoch<'_> {
    fn after_epoch(
        &self,
        slot: usize,
        metrics: EpochMetrics,
        _: &dyn Fn() -> Result<Parameters>,
    ) -> Result<Next> {
        if let Some(Ok(mut place)) = self.metrics.get(slot).map(Mutex::lock) {
            *place = Some(metrics);
        }
        Ok(Next::Finish)
    }

    fn interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }
}
