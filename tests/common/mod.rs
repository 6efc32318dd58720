//! What the integration tests share: small made-up data sets, the real one, and skipping aloud.
#![allow(dead_code)] // each test binary uses its own part of this

pub mod cases;
pub mod cli;
pub mod cuda;
pub mod cuda_search;
pub mod promises;
pub mod reference;
pub mod sorts;

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use warpsweep::Result;
use warpsweep::data::{Dataset, Samples, Split, Validation};
use warpsweep::engine::{Engine, EpochMetrics, Next, Observer, Task, Trial};
use warpsweep::model::Parameters;
use warpsweep::random::{Purpose, Stream, unit_f32};

/// Says that a test was left out, and why; where nothing may be left out, fails.
pub fn skip(reason: &str) {
    assert!(std::env::var_os("WARPSWEEP_REQUIRE_ALL").is_none(), "may not be skipped: {reason}");
    println!("skipped: {reason}");
}

/// The folder of the real Fashion-MNIST files, if this machine has them.
pub fn fashion_mnist() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let given = std::env::var_os("WARPSWEEP_DATA").map(PathBuf::from);
    let folder = |root: PathBuf| [root.join("fashion-mnist"), root];
    given.into_iter().chain([beside]).flat_map(folder).find(|folder| {
        folder.join("train-images-idx3-ubyte.gz").exists()
            || folder.join("train-images-idx3-ubyte").exists()
    })
}

/// Samples that can be learnt but not perfectly: a pattern for each class (1 or 10), under noise.
pub fn samples(count: usize, pixels: usize, classes: usize, part: u16) -> Samples {
    let noise = Stream::new(77, Purpose::Synthetic(900 + part), 0);
    let pattern = Stream::new(77, Purpose::Synthetic(899), 0);
    let (mut bytes, mut labels) = (Vec::new(), Vec::new());
    for sample in 0..count {
        // Every ten in a row have every class, so that any holdout of twenty does.
        let label = (7 * sample + 3 * (sample / 10)) % classes;
        labels.push(label as u8);
        for pixel in 0..pixels {
            let bright = f64::from(unit_f32(pattern.word((label * pixels + pixel) as u64)));
            let speck = f64::from(unit_f32(noise.word((sample * pixels + pixel) as u64)));
            bytes.push((255.99 * (0.4 * bright + 0.6 * speck)) as u8);
        }
    }
    Samples { pixels: bytes.into(), labels }
}

/// A split of `train` samples to train on, `validation` to validate on, 10 classes.
pub fn small_split(train: usize, validation: usize, rows: usize, cols: usize) -> Split {
    split_of(train, validation, rows, cols, 10)
}

/// A split with any number of classes; enough samples must validate to hold each of them.
pub fn split_of(
    train: usize,
    validation: usize,
    rows: usize,
    cols: usize,
    classes: usize,
) -> Split {
    let dataset = Dataset {
        name: "made up".to_string(),
        train: samples(train + validation, rows * cols, classes, 0),
        test: samples(51, rows * cols, classes, 1),
        rows,
        cols,
        classes,
        fingerprint: format!("{train} {validation} {rows} {cols} {classes}"),
    };
    Split::new(dataset, Validation::Holdout(validation)).expect("a split of made-up data")
}

/// What an engine told about one trial: an entry an epoch.
pub type Record = Vec<(EpochMetrics, Parameters)>;

/// Writes down every epoch of every trial, and stops each after its recipe's epochs.
pub struct Recorder {
    epochs: Vec<usize>,
    /// Whether each epoch needs an `advance` of its own.
    pause: bool,
    records: Mutex<Vec<Record>>,
}

impl Observer for Recorder {
    fn after_epoch(
        &self,
        slot: usize,
        metrics: EpochMetrics,
        parameters: &dyn Fn() -> Result<Parameters>,
    ) -> Result<Next> {
        let mut records = self.records.lock().expect("no panic under the lock");
        records[slot].push((metrics, parameters()?));
        Ok(match (records[slot].len() == self.epochs[slot], self.pause) {
            (true, _) => Next::Finish,
            (false, true) => Next::Pause,
            (false, false) => Next::Train,
        })
    }
}

/// Trains trials as one array, pausing after every epoch if asked.
pub fn train(engine: &dyn Engine, task: &Task, trials: &[Trial], pause: bool) -> Vec<Record> {
    let epochs: Vec<usize> = trials.iter().map(|trial| trial.recipe.epochs).collect();
    let advances = if pause { epochs.iter().copied().max().unwrap_or(0) } else { 1 };
    let records = Mutex::new(vec![Record::new(); trials.len()]);
    let recorder = Recorder { epochs, pause, records };
    let mut array = engine.array(task, trials.to_vec()).expect("an array");
    for _ in 0..advances {
        array.advance(&recorder).expect("an advance");
    }
    let records = recorder.records.into_inner().expect("no panic under the lock");
    for (trial, record) in trials.iter().zip(&records) {
        let epochs: Vec<usize> = record.iter().map(|(metrics, _)| metrics.epoch).collect();
        let expected: Vec<usize> = (1..=trial.recipe.epochs).collect();
        assert_eq!(epochs, expected, "the epochs of trial {}", trial.number);
    }
    records
}
