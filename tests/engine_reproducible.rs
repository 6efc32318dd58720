//! A trial's numbers are its own: they do not change, to the last bit, with the threads, with the
//! trials beside it, or with pauses.

mod common;

use common::{Record, small_split, train};
use warpsweep::engine::cpu::CpuEngine;
use warpsweep::engine::{ShuffleMode, Task, Trial};
use warpsweep::model::{
    Activation, Architecture, Hidden, Hyperparameters, Init, LrSchedule, Recipe,
};

fn task(shuffle: ShuffleMode) -> Task {
    Task { split: small_split(150, 40, 9, 11), seed: 99, shuffle }
}

/// `count` trials of all sorts: 0 to 3 hidden layers, odd sizes, batches, momentum, dropout.
fn trials(count: u32) -> Vec<Trial> {
    let activations = [Activation::Relu, Activation::Tanh, Activation::Sigmoid, Activation::Gelu];
    let trial = |number: u32| {
        let k = number as usize;
        let hidden = (0..k % 4).map(|layer| Hidden {
            units: [1, 16, 33, 70][(k / 4 + layer) % 4],
            activation: activations[(k / 3 + layer) % 4],
            dropout: [0.0, 0.2, 0.5][(k + layer) % 3],
        });
        let architecture = Architecture { inputs: 99, hidden: hidden.collect(), classes: 10 };
        let hyperparameters = Hyperparameters {
            learning_rate: [0.01, 0.1, 0.3][k % 3],
            lr_schedule: [LrSchedule::Constant, LrSchedule::Cosine][k / 2 % 2],
            batch_size: [16, 1, 7, 64, 150, 16][k % 6],
            momentum: [0.0, 0.9][k / 5 % 2],
            nesterov: k / 5 % 2 == 1 && k % 2 == 1,
            weight_decay: [0.0, 0.001][k / 7 % 2],
            label_smoothing: [0.0, 0.1][k / 4 % 2],
            init: Init::Default,
        };
        Trial { number, recipe: Recipe { architecture, hyperparameters, epochs: 1 + k % 3 } }
    };
    (0..count).map(trial).collect()
}

/// Trains the trials in arrays of a size, on so many threads.
fn run(task: &Task, trials: &[Trial], threads: usize, array: usize, pause: bool) -> Vec<Record> {
    let engine = CpuEngine::new(Some(threads)).expect("a CPU engine");
    trials.chunks(array).flat_map(|trials| train(&engine, task, trials, pause)).collect()
}

/// Every number of every epoch as its bits; the seconds alone may differ.
fn bits(record: &Record) -> Vec<Vec<u64>> {
    let epoch = |(metrics, parameters): &Epoch| {
        let tensors = parameters.layers.iter().flat_map(|l| l.weight.iter().chain(&l.bias));
        let numbers = [
            metrics.epoch as u64,
            metrics.train_loss.to_bits(),
            metrics.validation_loss.to_bits(),
            metrics.validation_wrong as u64,
        ];
        numbers.into_iter().chain(tensors.map(|value| u64::from(value.to_bits()))).collect()
    };
    record.iter().map(epoch).collect()
}

type Epoch = (warpsweep::engine::EpochMetrics, warpsweep::model::Parameters);

fn assert_same(what: &str, trials: &[Trial], a: &[Record], b: &[Record]) {
    assert_eq!(a.len(), b.len());
    for ((trial, a), b) in trials.iter().zip(a).zip(b) {
        assert!(bits(a) == bits(b), "{what}: trial {} differs ({:?})", trial.number, trial.recipe);
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for shuffle in [ShuffleMode::PerTrial, ShuffleMode::Shared, ShuffleMode::None] {
        let (task, trials) = (task(shuffle), trials(30));
        let one = run(&task, &trials, 1, 30, false);
        for threads in [2, 3] {
            let other = run(&task, &trials, threads, 30, false);
            assert_same(&format!("{shuffle:?}, {threads} threads"), &trials, &one, &other);
        }
    }
}

#[test]
fn the_size_of_the_array_changes_no_bit() {
    let (task, trials) = (task(ShuffleMode::PerTrial), trials(70));
    let alone = run(&task, &trials, 1, 1, false);
    for (array, threads) in [(64, 1), (64, 2), (5, 2), (70, 3)] {
        let other = run(&task, &trials, threads, array, false);
        assert_same(&format!("arrays of {array}"), &trials, &alone, &other);
    }
}

#[test]
fn the_order_of_trials_in_an_array_changes_no_bit() {
    let (task, trials) = (task(ShuffleMode::PerTrial), trials(30));
    let forwards = run(&task, &trials, 2, 30, false);
    let mut reversed = trials.clone();
    reversed.reverse();
    let mut backwards = run(&task, &reversed, 2, 30, false);
    backwards.reverse();
    assert_same("backwards", &trials, &forwards, &backwards);
}

#[test]
fn pausing_after_every_epoch_changes_no_bit() {
    let (task, trials) = (task(ShuffleMode::PerTrial), trials(30));
    let straight = run(&task, &trials, 2, 30, false);
    for (threads, array) in [(1, 1), (1, 30), (2, 30)] {
        let paused = run(&task, &trials, threads, array, true);
        assert_same("paused", &trials, &straight, &paused);
    }
}

#[test]
fn the_seed_and_the_number_make_a_trial_its_own() {
    let trials = trials(30);
    let here = run(&task(ShuffleMode::PerTrial), &trials, 1, 30, false);
    let elsewhere = Task { seed: 100, ..task(ShuffleMode::PerTrial) };
    let there = run(&elsewhere, &trials, 1, 30, false);
    let renumbered = trials.iter().map(|t| Trial { number: t.number + 100, ..t.clone() });
    let renumbered =
        run(&task(ShuffleMode::PerTrial), &renumbered.collect::<Vec<_>>(), 1, 30, false);
    for ((a, b), c) in here.iter().zip(&there).zip(&renumbered) {
        assert!(bits(a) != bits(b), "another seed gave the same trial");
        assert!(bits(a) != bits(c), "another number gave the same trial");
    }
}

#[test]
fn a_trial_that_diverges_says_so_and_leaves_its_neighbours_alone() {
    let (task, mut trials) = (task(ShuffleMode::PerTrial), trials(12));
    let calm = run(&task, &trials, 2, 12, false);
    for wild in [0, 4] {
        trials[wild].recipe.hyperparameters.learning_rate = f32::MAX;
        trials[wild].recipe.epochs = 3;
    }
    let records = run(&task, &trials, 2, 12, false);
    for (index, (before, after)) in calm.iter().zip(&records).enumerate() {
        let finite = after.iter().all(|(metrics, _)| metrics.is_finite());
        if [0, 4].contains(&index) {
            assert!(!finite, "trial {index} did not diverge");
        } else {
            assert!(finite && bits(before) == bits(after), "trial {index} was disturbed");
        }
    }
}
