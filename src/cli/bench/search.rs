//! The suite `search`: what a search costs beside the training, from drawing configs to the file.

use std::sync::Arc;

use serde_json::{Map, json};

use crate::data::{Dataset, Samples, Split, Validation};
use crate::engine::cuda::launch::Stream;
use crate::engine::cuda::tiles::Precision;
use crate::engine::{Engine, ShuffleMode, Task};
use crate::error::{Error, Result};
use crate::measure::axes::{AxisSpec, Kind, Point};
use crate::measure::bench::{Bench, Device};
use crate::measure::clock::{Elapsed, Moment, device_seconds};
use crate::measure::record::Work;
use crate::measure::suites::{Outcome, Suite, Visit};
use crate::measure::workload::{Ceiling, Ready, Reference, Workload, conditions};
use crate::model::Defaults;
use crate::search::{self, Incumbent, Plan, Random, Reporter};
use crate::space::Space;
use crate::study::{Header, Study, TrialRecord};

pub struct Search;

const AXES: &[AxisSpec] = &[
    AxisSpec {
        name: "trials",
        about: "trials of the study",
        kind: Kind::Count { low: 1, high: 1_000_000 },
        default: "100,1000",
        quick: "5",
    },
    AxisSpec {
        name: "epochs",
        about: "epochs of each, on 20 samples of 4 pixels",
        kind: Kind::Count { low: 0, high: 1000 },
        default: "0,1",
        quick: "1",
    },
];

impl Suite for Search {
    fn name(&self) -> &'static str {
        "search"
    }

    fn about(&self) -> &'static str {
        "a whole search with next to no training: configs, driver and study file, fsync included"
    }

    fn axes(&self) -> &'static [AxisSpec] {
        AXES
    }

    fn measure(&self, bench: &Bench, point: &Point, visit: Visit<'_>) -> Result<Outcome> {
        let engine = match bench.engine(Precision::Fp32)? {
            Ok(engine) => engine,
            Err(reason) => return Ok(Outcome::Skipped(reason)),
        };
        let parameter = ["learning_rate=loguniform(1e-4,1)".to_owned()];
        let counter = match &bench.device {
            Device::Cuda(cuda) if cuda.is_simulated() => Some(&cuda.stream),
            _ => None,
        };
        let (reference, ceiling) = match &bench.device {
            Device::Processor(_) => (Reference::Processor(1), Ceiling::Processor(1)),
            Device::Cuda(_) => (Reference::None, Ceiling::Gpu(Precision::Fp32)),
        };
        let mut workload = Searching {
            bench,
            engine: &*engine,
            task: tiny(bench.seed)?,
            space: Space::from_arguments(&parameter)?,
            trials: point.count("trials") as u32,
            epochs: point.count("epochs"),
            counter,
        };
        let folder = std::env::temp_dir();
        let conditions = conditions([("study_folder", json!(folder.display().to_string()))]);
        visit(Ready { workload: &mut workload, reference, cold: false, ceiling, conditions })?;
        Ok(Outcome::Visited)
    }
}

/// A data set so small that training on it costs next to nothing.
fn tiny(seed: u64) -> Result<Task> {
    let samples =
        || Samples { pixels: vec![7; 4 * 20].into(), labels: (0..20).map(|i| i % 10).collect() };
    let data = Dataset::new("tiny", samples(), samples(), [2, 2], 10);
    let split = Split::new(data, Validation::Test)?;
    Ok(Task { split, seed, shuffle: ShuffleMode::PerTrial })
}

struct Searching<'a> {
    bench: &'a Bench,
    engine: &'a (dyn Engine + Sync),
    task: Task,
    space: Space,
    trials: u32,
    epochs: usize,
    /// Where the device is simulated, what its instructions are counted by.
    counter: Option<&'a Stream>,
}

/// A search's reporter with nothing to say.
struct Silent;

impl Reporter for Silent {
    fn start(&mut self, _: &Plan, _: usize) -> Result<()> {
        Ok(())
    }

    fn trial(&mut self, _: &TrialRecord, _: Option<Incumbent>) -> Result<()> {
        Ok(())
    }
}

impl Searching<'_> {
    /// A whole search into a file of its own; the study is read back if wanted.
    fn search(&self, read: bool) -> Result<Option<Study>> {
        let folder = tempfile::tempdir().map_err(|error| Error::File {
            action: "make a folder in",
            path: std::env::temp_dir(),
            reason: error.to_string(),
            next: "name a folder that can be written to with TMPDIR",
        })?;
        let path = folder.path().join("study.jsonl");
        let header =
            Header { name: "bench".into(), space: self.space.clone(), settings: Map::new() };
        let plan = Plan {
            sampler: Box::new(Random { space: self.space.clone(), seed: self.bench.seed }),
            trials: self.trials,
            defaults: Defaults { epochs: self.epochs, ..Defaults::default() },
            array: 1024,
            time_limit: None,
            target_error: None,
            want_model: false,
            interrupt: Arc::clone(&self.bench.interrupt),
        };
        let mut study = Study::open(&path, &header)?;
        search::run(&plan, self.engine, &self.task, &mut study, &mut Silent)?;
        read.then(|| Study::read(&path)).transpose()
    }
}

impl Workload for Searching<'_> {
    fn work(&self) -> Work {
        let trials = f64::from(self.trials);
        Work { trials, trial_epochs: trials * self.epochs as f64, ..Work::default() }
    }

    fn check(&mut self) -> Result<Result<String, String>> {
        let Some(study) = self.search(true)? else {
            return Ok(Err("there is no study".to_owned()));
        };
        if study.trials().len() != self.trials as usize {
            return Ok(Err(format!("{} trials of {}", study.trials().len(), self.trials)));
        }
        let other = study
            .trials()
            .iter()
            .find(|trial| trial.config != self.space.sample(self.bench.seed, trial.number));
        Ok(match other {
            None => Ok("the study read back, every config drawn again".to_owned()),
            Some(trial) => Err(format!("trial {} has another config", trial.number)),
        })
    }

    fn call(&mut self) -> Result<()> {
        self.search(false).map(|_| ())
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
