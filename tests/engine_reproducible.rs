//! A trial's numbers are its own: they do not change, to the last bit, with the threads, with the
//! trials beside it, or with pauses.

mod common;

use common::sorts::{assert_same, bits};
use common::{Record, promises, small_split, sorts, train};
use warpsweep::engine::cpu::CpuEngine;
use warpsweep::engine::{ShuffleMode, Task, Trial};
use warpsweep::model::{Activation, Hidden};

fn task(shuffle: ShuffleMode) -> Task {
    Task { split: small_split(150, 40, 9, 11), seed: 99, shuffle }
}

fn trials(count: u32) -> Vec<Trial> {
    sorts::trials(count, 99, [16, 1, 7, 64, 150, 16])
}

/// Trains the trials in arrays of a size, on so many threads.
fn run(task: &Task, trials: &[Trial], threads: usize, array: usize, pause: bool) -> Vec<Record> {
    let engine = CpuEngine::new(Some(threads)).expect("a CPU engine");
    trials.chunks(array).flat_map(|trials| train(&engine, task, trials, pause)).collect()
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
fn a_team_of_threads_changes_no_bit_of_a_trial_that_is_large() {
    // Steps of more than ten million multiply-adds: batches of one block, of two that are not full, of
    // three for a wide product; one of so many parameters that it has a team among others too. The second four have
    // zeros to pass over.
    let (task, mut trials) = (task(ShuffleMode::PerTrial), trials(8));
    let sizes = [(16, 520, 2), (20, 410, 3), (40, 300, 2), (7, 1500, 2)].into_iter().cycle();
    for (trial, (batch, units, layers)) in trials.iter_mut().zip(sizes) {
        let number = trial.number as usize;
        let layer = Hidden {
            units: units + number,
            activation: [Activation::Gelu, Activation::Relu][number / 4 % 2],
            dropout: [0.0, 0.3][number / 4 % 2],
        };
        trial.recipe.architecture.hidden = vec![layer; layers];
        trial.recipe.hyperparameters.batch_size = batch;
        trial.recipe.hyperparameters.momentum = [0.9, 0.0][number / 4 % 2];
        trial.recipe.epochs = 1;
    }
    let alone = run(&task, &trials, 1, 8, false);
    for (threads, array) in [(2, 1), (3, 1), (2, 8), (5, 2)] {
        let team = run(&task, &trials, threads, array, false);
        assert_same(&format!("{threads} threads, arrays of {array}"), &trials, &alone, &team);
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
    let engine = CpuEngine::new(Some(2)).expect("an engine");
    promises::divergence_stays_at_home(&engine, &task(ShuffleMode::PerTrial), trials(12));
}
