//! Real Fashion-MNIST: where training ends must be where PyTorch's ends.
//!
//! The rows were measured with PyTorch 2.13.0 (CPU, float32, one process a trial, `nn.Linear`'s
//! default initial values, pixels / 255, plain SGD at a constant rate, a new order every epoch;
//! trained on all 60,000 training images, the error being that on the test images after the last
//! epoch). Each seed is a draw from a row's distribution; three of ours must look like such draws.
//! They are the same three on every machine, so a test that passes goes on passing.

mod common;

use common::train;
use warpsweep::data::{Request, Source, Split, Validation, load};
use warpsweep::engine::cpu::CpuEngine;
use warpsweep::engine::{ShuffleMode, Task, Trial};
use warpsweep::model::{
    Activation, Architecture, Hidden, Hyperparameters, Init, LrSchedule, Recipe,
};

/// Errors of `n` seeds of one setting in PyTorch.
struct Row {
    learning_rate: f32,
    n: usize,
    mean: f64,
    std: f64,
    q10: f64,
    q90: f64,
    min: f64,
    max: f64,
}

/// A row of the table: mean, std, 10 % and 90 % quantiles, min, max.
const fn row(learning_rate: f32, n: usize, errors: [f64; 6]) -> Row {
    let [mean, std, q10, q90, min, max] = errors;
    Row { learning_rate, n, mean, std, q10, q90, min, max }
}

/// Softmax regression, batch 16, 8 epochs.
const SOFTMAX_16: [Row; 9] = [
    row(0.0001, 40, [0.3055, 0.0037, 0.3009, 0.3100, 0.2992, 0.3128]),
    row(0.0003, 40, [0.2421, 0.0015, 0.2405, 0.2441, 0.2390, 0.2445]),
    row(0.001, 40, [0.1977, 0.0010, 0.1966, 0.1986, 0.1957, 0.2004]),
    row(0.003, 40, [0.1758, 0.0012, 0.1746, 0.1769, 0.1730, 0.1792]),
    row(0.01, 40, [0.1652, 0.0018, 0.1637, 0.1681, 0.1617, 0.1699]),
    row(0.03, 40, [0.1625, 0.0053, 0.1580, 0.1693, 0.1557, 0.1815]),
    row(0.1, 40, [0.1768, 0.0213, 0.1633, 0.1911, 0.1583, 0.2821]),
    row(0.3, 40, [0.1994, 0.0341, 0.1750, 0.2336, 0.1669, 0.3551]),
    row(1.0, 40, [0.2065, 0.0324, 0.1803, 0.2277, 0.1662, 0.3630]),
];

/// Softmax regression, batch 256, 10 epochs.
const SOFTMAX_256: Row = row(0.1, 40, [0.1697, 0.0050, 0.1653, 0.1773, 0.1647, 0.1870]);

/// 784-256-10 with ReLU, batch 256, 10 epochs.
const MLP_256: Row = row(0.1, 10, [0.1577, 0.0236, 0.1437, 0.1761, 0.1429, 0.2207]);

/// The real data, trained on whole and validated on the test images; `None` where it is absent.
fn task() -> Option<Task> {
    let Some(folder) = common::fashion_mnist() else {
        common::skip("the real Fashion-MNIST files are not here; set WARPSWEEP_DATA to them");
        return None;
    };
    let source: Source = folder.display().to_string().parse().expect("a folder is a source");
    let loaded = load(&Request { source: Some(source), data_dir: None }).expect("the real data");
    let split = Split::new(loaded.dataset, Validation::Test).expect("the published split");
    assert_eq!((split.training().len(), split.validation().len()), (60_000, 10_000));
    Some(Task { split, seed: 2026, shuffle: ShuffleMode::PerTrial })
}

fn trial(number: usize, hidden: &[Hidden], rate: f32, batch: usize, epochs: usize) -> Trial {
    let architecture = Architecture { inputs: 784, hidden: hidden.to_vec(), classes: 10 };
    let hyperparameters = Hyperparameters {
        learning_rate: rate,
        lr_schedule: LrSchedule::Constant,
        batch_size: batch,
        momentum: 0.0,
        nesterov: false,
        weight_decay: 0.0,
        label_smoothing: 0.0,
        init: Init::Default,
    };
    Trial { number: number as u32, recipe: Recipe { architecture, hyperparameters, epochs } }
}

/// The last validation error of each trial.
fn errors(task: &Task, trials: &[Trial]) -> Vec<f64> {
    let engine = CpuEngine::new(None).expect("a CPU engine");
    let records = train(&engine, task, trials, false);
    let last = |record: &common::Record| record.last().expect("an epoch").0.validation_wrong;
    records.iter().map(|record| last(record) as f64 / 10_000.0).collect()
}

/// Rows that are about normal (learning rates below 0.1): the mean of ours within four standard errors of the row's (its own
/// uncertainty included), and each of ours within five standard deviations.
fn check_normal(row: &Row, ours: &[f64]) {
    let mean = ours.iter().sum::<f64>() / ours.len() as f64;
    let error = row.std * (1.0 / ours.len() as f64 + 1.0 / row.n as f64).sqrt();
    assert!(
        (mean - row.mean).abs() <= 4.0 * error,
        "learning rate {}: mean {mean:.4} of {ours:?}, in PyTorch {:.4} +- {error:.4}",
        row.learning_rate,
        row.mean
    );
    for value in ours {
        assert!(
            (value - row.mean).abs() <= 5.0 * row.std,
            "learning rate {}: {value}, in PyTorch {:.4} +- {:.4}",
            row.learning_rate,
            row.mean,
            row.std
        );
    }
}

/// From 0.1 on at batch 16 (and for the MLP) the error after a fixed epoch depends on the last few
/// batches and has a heavy upper tail: means and deviations say little there. The median of ours must lie
/// between the row's 10 % and 90 % quantiles, and each of ours in the row's range; both are widened,
/// upwards more, for quantiles of 40 draws are themselves uncertain, in the tail the most.
fn check_heavy_tailed(row: &Row, ours: &[f64]) {
    let mut sorted = ours.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = sorted[sorted.len() / 2];
    assert!(
        (row.q10 - 0.01..=row.q90 + 0.03).contains(&median),
        "learning rate {}: median {median} of {ours:?}, in PyTorch {} to {}",
        row.learning_rate,
        row.q10,
        row.q90
    );
    assert!(
        ours.iter().all(|value| (row.min - 0.01..=row.max + 0.05).contains(value)),
        "learning rate {}: {ours:?}, in PyTorch {} to {}",
        row.learning_rate,
        row.min,
        row.max
    );
}

#[test]
fn softmax_regression_at_batch_16_ends_where_pytorch_ends_at_every_learning_rate() {
    let Some(task) = task() else { return };
    let settings = SOFTMAX_16.iter().flat_map(|row| [row.learning_rate; 3]).enumerate();
    let trials: Vec<Trial> = settings.map(|(i, rate)| trial(i, &[], rate, 16, 8)).collect();
    let errors = errors(&task, &trials);
    for (row, ours) in SOFTMAX_16.iter().zip(errors.chunks(3)) {
        println!("softmax, batch 16, 8 epochs, lr {}: {ours:?}", row.learning_rate);
        match row.learning_rate < 0.1 {
            true => check_normal(row, ours),
            false => check_heavy_tailed(row, ours),
        }
    }
}

#[test]
fn softmax_regression_at_batch_256_ends_where_pytorch_ends() {
    let Some(task) = task() else { return };
    // Fifteen seeds, for the tail is heavy here too: with seed 2026 our first three end at 0.1855,
    // 0.1951 and 0.1746, and float64 training in that order of samples ends at 0.1951 as well. Over
    // 400 trials ours have mean 0.1698, deviation 0.0050, median 0.1681 and quantiles 0.1656 and
    // 0.1760, five of them above PyTorch's largest of 40: the same distribution.
    let trials: Vec<Trial> = (0..15).map(|i| trial(i, &[], 0.1, 256, 10)).collect();
    let mut errors = errors(&task, &trials);
    check_heavy_tailed(&SOFTMAX_256, &errors);
    // Four standard errors of the difference of the medians of 15 and of 40 draws, which are 1.25
    // of the means'; the deviation without the tail is (q90 - q10) / 2.56.
    let (row, median) = (&SOFTMAX_256, 0.1683);
    let deviation = (row.q90 - row.q10) / 2.56;
    let allowed = 4.0 * 1.25 * deviation * (1.0f64 / 15.0 + 1.0 / 40.0).sqrt();
    errors.sort_by(f64::total_cmp);
    assert!((errors[7] - median).abs() <= allowed, "median of {errors:?}, in PyTorch {median}");
}

#[test]
fn an_mlp_of_256_units_ends_where_pytorch_ends() {
    let Some(task) = task() else { return };
    let hidden = [Hidden { units: 256, activation: Activation::Relu, dropout: 0.0 }];
    let trials: Vec<Trial> = (0..3).map(|i| trial(i, &hidden, 0.1, 256, 10)).collect();
    check_heavy_tailed(&MLP_256, &errors(&task, &trials));
}
