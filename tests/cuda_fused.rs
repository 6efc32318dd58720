//! Fused kernels: held to training in float64, set beside the CPU engine and the layered path, and their
//! trials to themselves, however launches are cut. On a real GPU or on the simulated device; without either
//! it is skipped aloud.

mod common;

use common::cases::{Case, close, flat_cases, large_batch_cases, sgd_cases, shuffle_cases};
use common::cuda::engine_with;
use common::sorts::{assert_same, trials};
use common::{Record, promises, reference, small_split, split_of, train};
use warpsweep::engine::cpu::CpuEngine;
use warpsweep::engine::cuda::{Choice, CudaEngine, Limits};
use warpsweep::engine::{Engine, ShuffleMode, Task, Trial};

fn fused(limits: Limits) -> Option<CudaEngine> {
    engine_with(Choice::Fused, limits)
}

fn limits(blocks: u32, ticks: u32) -> Limits {
    Limits { blocks: Some(blocks), ticks: Some(ticks), ..Limits::default() }
}

/// Checks the cases without hidden layers, with few samples to validate on.
fn check_all(cases: Vec<Case>) {
    let Some(engine) = fused(Limits::default()) else { return };
    let cases: Vec<Case> = cases.into_iter().filter(|case| case.hidden.is_empty()).collect();
    assert!(!cases.is_empty());
    for case in cases {
        Case { validation: 20, ..case }.check(&engine);
    }
}

#[test]
fn softmax_regression_follows_the_reference_whatever_the_batch_and_image_size() {
    let images = [(28, 28), (4, 4), (8, 12)];
    check_all(flat_cases(&[1, 7, 8, 16, 17, 37, 64], &images));
}

#[test]
fn large_batches_follow_the_reference_with_their_partial_last_batch() {
    check_all(large_batch_cases(&[31, 48, 64, 128, 129, 255, 300]));
}

#[test]
fn every_hyperparameter_of_sgd_follows_the_reference() {
    check_all(sgd_cases());
}

#[test]
fn all_shuffle_modes_follow_the_reference() {
    check_all(shuffle_cases());
}

#[test]
fn any_number_of_classes_up_to_ten_follows_the_reference_of_the_cpu() {
    let Some(engine) = fused(Limits::default()) else { return };
    let cpu = CpuEngine::new(Some(2)).expect("a CPU engine");
    for classes in [2, 3, 5, 6, 9, 10] {
        let task = Task {
            split: split_of(60, 40, 4, 4, classes),
            seed: 5,
            shuffle: ShuffleMode::PerTrial,
        };
        let mut trials = flat(4, 16);
        trials.iter_mut().for_each(|trial| trial.recipe.architecture.classes = classes);
        compare(&format!("{classes} classes"), 1e-4, &task, &trials, &engine, &cpu);
    }
}

/// Trials of all sorts without hidden layers.
fn flat(count: u32, inputs: usize) -> Vec<Trial> {
    let mut trials = trials(count, inputs, [16, 7, 20, 60, 33, 3]);
    trials.iter_mut().for_each(|trial| trial.recipe.architecture.hidden.clear());
    trials
}

/// Trains the same trials by two engines: losses may differ by so much, relatively.
fn compare(
    what: &str,
    tolerance: f64,
    task: &Task,
    trials: &[Trial],
    ours: &dyn Engine,
    theirs: &dyn Engine,
) {
    let (ours, theirs) = (train(ours, task, trials, false), train(theirs, task, trials, false));
    for (trial, (a, b)) in trials.iter().zip(ours.iter().zip(&theirs)) {
        for ((a, _), (b, _)) in a.iter().zip(b) {
            let place = format!("{what}, trial {}, epoch {}", trial.number, a.epoch);
            for (a, b) in [(a.train_loss, b.train_loss), (a.validation_loss, b.validation_loss)] {
                assert!((a - b).abs() <= tolerance * b.abs(), "{place}: {a}, not {b}");
            }
        }
    }
}

fn task(train: usize, validation: usize, rows: usize, cols: usize) -> Task {
    Task {
        split: small_split(train, validation, rows, cols),
        seed: 99,
        shuffle: ShuffleMode::PerTrial,
    }
}

#[test]
fn the_first_two_hundred_steps_are_the_cpus() {
    let Some(engine) = fused(Limits::default()) else { return };
    let cpu = CpuEngine::new(Some(2)).expect("a CPU engine");
    // An epoch a step, so that every step is compared.
    let task = task(16, 20, 28, 28);
    let mut trials = flat(2, 784);
    for trial in &mut trials {
        trial.recipe.hyperparameters.batch_size = 16;
        trial.recipe.epochs = 200;
    }
    compare("200 steps", 1e-4, &task, &trials, &engine, &cpu);
}

#[test]
fn fused_and_layered_agree_after_an_epoch() {
    let (Some(fused), Some(layered)) =
        (fused(Limits::default()), engine_with(Choice::Layered, Limits::default()))
    else {
        return;
    };
    let (task, mut trials) = (task(160, 40, 28, 28), flat(8, 784));
    for trial in &mut trials {
        // Larger ones diverge, and with them what rounding they began with.
        trial.recipe.hyperparameters.learning_rate = 0.005;
        trial.recipe.epochs = 1;
    }
    compare("an epoch", 1e-5, &task, &trials, &fused, &layered);
}

#[test]
fn initial_weights_are_the_hosts_bit_for_bit() {
    let Some(engine) = fused(Limits::default()) else { return };
    let (task, mut trials) = (task(24, 20, 4, 4), flat(5, 16));
    for trial in &mut trials {
        // A step of length zero changes nothing.
        trial.recipe.hyperparameters.learning_rate = 0.0;
        trial.recipe.epochs = 1;
    }
    for (trial, record) in trials.iter().zip(train(&engine, &task, &trials, false)) {
        assert_eq!(record[0].1, reference::initial(&task, trial), "trial {}", trial.number);
    }
}

#[test]
fn a_trial_is_the_same_to_the_last_bit_alone_and_among_sixty_four_in_any_order() {
    let Some(engine) = fused(Limits::default()) else { return };
    let (task, trials) = (task(60, 20, 4, 4), flat(64, 16));
    promises::neighbours_change_no_bit(&engine, &task, &trials, 12);
}

#[test]
fn neither_slots_nor_the_length_of_launches_change_a_bit() {
    let Some(engine) = fused(Limits::default()) else { return };
    let (task, trials) = (task(60, 20, 4, 4), flat(12, 16));
    let usual = train(&engine, &task, &trials, false);
    for (blocks, ticks) in [(1, 1), (1, 1_000_000), (3, 7), (40, 2)] {
        let Some(engine) = fused(limits(blocks, ticks)) else { return };
        let cut = train(&engine, &task, &trials, false);
        assert_same(&format!("{blocks} blocks, {ticks} ticks"), &trials, &usual, &cut);
        let paused = train(&engine, &task, &trials, true);
        assert_same(&format!("paused, {blocks} blocks"), &trials, &usual, &paused);
    }
}

#[test]
fn trials_of_both_paths_share_an_array_and_auto_is_either() {
    let engines = [Choice::Auto, Choice::Fused, Choice::Layered];
    let [Some(auto), Some(fused), Some(layered)] =
        engines.map(|kernel| engine_with(kernel, Limits::default()))
    else {
        return;
    };
    let (task, trials) = (task(40, 20, 4, 4), trials(12, 16, [16, 7, 20, 33, 3, 5]));
    type Of = fn(&Trial) -> bool;
    let paths: [(&CudaEngine, Of); 2] = [
        (&fused, |trial| trial.recipe.architecture.hidden.len() < 2),
        (&layered, |trial| trial.recipe.architecture.hidden.len() > 1),
    ];
    for pause in [false, true] {
        let mixed = train(&auto, &task, &trials, pause);
        for (engine, is_of) in paths {
            let of = |trial: &&Trial| is_of(trial);
            let own: Vec<Trial> = trials.iter().filter(of).cloned().collect();
            let expected = train(engine, &task, &own, false);
            let got = trials.iter().zip(&mixed).filter(|(trial, _)| is_of(trial));
            let got: Vec<Record> = got.map(|(_, record)| record.clone()).collect();
            assert_same("mixed", &own, &expected, &got);
        }
    }
}

#[test]
fn a_trial_that_diverges_says_so_and_leaves_its_neighbours_alone() {
    let Some(engine) = fused(limits(1, 5)) else { return };
    promises::divergence_stays_at_home(&engine, &task(20, 20, 4, 4), flat(6, 16));
}

#[test]
fn an_interruption_ends_an_advance_that_would_go_on_for_ever() {
    let Some(engine) = fused(Limits::default()) else { return };
    promises::interruption_ends_an_advance(&engine, &task(20, 20, 4, 4), &flat(3, 16));
}

#[test]
fn what_an_observer_fails_with_is_what_advance_fails_with() {
    let Some(engine) = fused(Limits::default()) else { return };
    promises::an_observers_error_comes_out(&engine, &task(20, 20, 4, 4), flat(3, 16));
}

#[test]
fn a_trial_that_cannot_be_fused_is_refused_before_any_trains() {
    let Some(engine) = fused(Limits::default()) else { return };
    let (task, mut trials) = (task(20, 20, 4, 4), flat(3, 16));
    trials[2].recipe.architecture.inputs = 15;
    let Err(error) = engine.array(&task, trials) else { panic!("an array of what cannot be") };
    let message = error.to_string();
    assert!(message.contains("trial 2") && message.contains("--kernel auto"), "{message}");
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn a_metric_is_what_its_epoch_came_to() {
    let Some(engine) = fused(Limits::default()) else { return };
    let (task, trials) = (task(40, 20, 4, 4), flat(1, 16));
    let record = &train(&engine, &task, &trials, false)[0];
    let evaluation = engine
        .evaluate(&trials[0].recipe.architecture, &record[0].1, task.split.validation())
        .expect("an evaluation");
    assert_eq!(record[0].0.validation_wrong, evaluation.wrong);
    close("validation loss", record[0].0.validation_loss, evaluation.loss);
}
