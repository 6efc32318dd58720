//! The CUDA engine: held to training in float64, set beside the CPU engine, and its trials to
//! themselves. On a real GPU or on the simulated device; without either it is skipped aloud.
//!
//! The simulated device runs a hundred million instructions a second, so images and sets are small.

mod common;

use common::cases::{
    ACTIVATIONS, Case, check_evaluation, depth_cases, flat_cases, hidden, large_batch_cases,
    layer_kinds, mixed_case, mlp, sgd_cases, shuffle_cases,
};
use common::cuda::{engine as cuda_engine, engine_of};
use common::sorts::{assert_same, bits, trials};
use common::{Record, promises, reference, small_split, train};
use warpsweep::engine::cpu::CpuEngine;
use warpsweep::engine::cuda::tiles::Precision;
use warpsweep::engine::{Engine, EpochMetrics, ShuffleMode, Task, Trial};
use warpsweep::model::{Activation, Hidden, LrSchedule, Parameters};

/// A case on images small enough for the simulated device, with few samples to validate on.
fn small(case: Case) -> Case {
    Case { rows: case.rows.min(5), cols: case.cols.min(7), validation: 20, ..case }
}

fn check_all(cases: Vec<Case>) {
    let Some(engine) = cuda_engine() else { return };
    cases.into_iter().map(small).for_each(|case| case.check(&engine));
}

#[test]
fn the_first_step_follows_the_gradient_for_every_kind_of_layer() {
    let one_step = |case: Case| {
        let mut case = case;
        case.name = format!("{}, smoothing 0.1, one step", case.name);
        case.epochs = 1;
        case.hyperparameters.batch_size = case.samples;
        // A step large enough to stand out of float32's rounding of the weights.
        case.hyperparameters.learning_rate = 1.0;
        case.hyperparameters.label_smoothing = 0.1;
        case
    };
    check_all(layer_kinds().into_iter().map(one_step).collect());
}

#[test]
fn softmax_regression_follows_the_reference_whatever_the_batch_and_image_size() {
    let images = [(5, 7), (1, 1), (4, 4)];
    check_all(flat_cases(&[1, 7, 16, 17, 37, 64], &images));
}

#[test]
fn large_batches_follow_the_reference_with_their_partial_last_batch() {
    check_all(large_batch_cases(&[31, 64, 255]));
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
fn mlps_follow_the_reference_whatever_their_units() {
    let case = |units: usize| {
        let layers =
            vec![hidden(units, ACTIVATIONS[units % 4], 0.0), hidden(11, ACTIVATIONS[0], 0.0)];
        mlp(&format!("{units} units and 11"), layers)
    };
    check_all([1, 7, 16, 17, 33, 137].map(case).into());
}

#[test]
fn mlps_follow_the_reference_up_to_six_layers() {
    // Each depth with one of the activations, with and without dropout.
    let cases = depth_cases().into_iter().enumerate();
    check_all(cases.filter(|(index, _)| index % 8 / 2 == index / 8 % 4).map(|(_, c)| c).collect());
}

#[test]
fn each_hidden_layer_has_units_dropout_and_activation_of_its_own() {
    check_all(vec![mixed_case()]);
}

#[test]
fn evaluation_counts_what_the_reference_counts() {
    let Some(engine) = cuda_engine() else { return };
    layer_kinds().into_iter().map(small).for_each(|case| check_evaluation(&case, &engine));
}

/// Trials like those of a search, of which every epoch is one step: `samples` a batch.
fn search_like(samples: usize, epochs: usize) -> Vec<Trial> {
    let mut trials = trials(6, 16, [samples; 6]);
    for trial in &mut trials {
        trial.recipe.epochs = epochs;
        trial.recipe.hyperparameters.learning_rate = 0.02;
        trial.recipe.hyperparameters.lr_schedule = LrSchedule::Cosine;
        trial.recipe.architecture.hidden.iter_mut().for_each(|hidden| hidden.units = 12);
    }
    trials
}

#[test]
fn losses_agree_with_the_cpu_engine_step_by_step_over_two_hundred_steps() {
    let Some(engine) = cuda_engine() else { return };
    let (samples, steps) = (24, 200);
    let task = task(samples, 20, 4, 4);
    let trials = search_like(samples, steps);
    let ours = train(&engine, &task, &trials, false);
    let cpu = CpuEngine::new(Some(2)).expect("a CPU engine");
    let theirs = train(&cpu, &task, &trials, false);
    for ((trial, ours), theirs) in trials.iter().zip(&ours).zip(&theirs) {
        for ((a, _), (b, _)) in ours.iter().zip(theirs) {
            let place = format!("trial {}, step {}", trial.number, a.epoch);
            common::cases::close(&place, a.train_loss, b.train_loss);
            common::cases::close(&place, a.validation_loss, b.validation_loss);
        }
    }
}

#[test]
fn initial_weights_are_the_hosts_bit_for_bit() {
    let Some(engine) = cuda_engine() else { return };
    let task = task(24, 20, 5, 7);
    let mut trials = trials(9, 35, [24; 6]);
    for trial in &mut trials {
        // A step of length zero changes nothing.
        trial.recipe.hyperparameters.learning_rate = 0.0;
        trial.recipe.epochs = 1;
    }
    for (trial, record) in trials.iter().zip(train(&engine, &task, &trials, false)) {
        assert_eq!(record[0].1, reference::initial(&task, trial), "trial {}", trial.number);
    }
}

fn task(train: usize, validation: usize, rows: usize, cols: usize) -> Task {
    Task {
        split: small_split(train, validation, rows, cols),
        seed: 99,
        shuffle: ShuffleMode::PerTrial,
    }
}

/// Sixty-four trials, most of them small, that share an array.
fn neighbours() -> Vec<Trial> {
    let mut trials = trials(64, 12, [16, 5, 20, 20, 16, 3]);
    for trial in trials.iter_mut().filter(|trial| trial.number >= 8) {
        trial.recipe.architecture.hidden.truncate(1);
        trial.recipe.architecture.hidden.iter_mut().for_each(|hidden| hidden.units = 9);
        trial.recipe.epochs = 1;
    }
    trials
}

#[test]
fn a_trial_is_the_same_to_the_last_bit_alone_and_among_sixty_four_in_any_order() {
    let Some(engine) = cuda_engine() else { return };
    let (task, trials) = (task(20, 20, 3, 4), neighbours());
    promises::neighbours_change_no_bit(&engine, &task, &trials, 12);
}

#[test]
fn pausing_after_every_epoch_changes_no_bit() {
    let Some(engine) = cuda_engine() else { return };
    let (task, trials) = (task(20, 20, 3, 4), trials(9, 12, [16, 5, 20, 20, 16, 3]));
    let straight = train(&engine, &task, &trials, false);
    let paused = train(&engine, &task, &trials, true);
    assert_same("paused", &trials, &straight, &paused);
}

#[test]
fn a_trial_that_diverges_says_so_and_leaves_its_neighbours_alone() {
    let Some(engine) = cuda_engine() else { return };
    promises::divergence_stays_at_home(
        &engine,
        &task(20, 20, 3, 4),
        trials(8, 12, [16, 5, 20, 20, 16, 3]),
    );
}

#[test]
fn an_interruption_ends_an_advance_that_would_go_on_for_ever() {
    let Some(engine) = cuda_engine() else { return };
    promises::interruption_ends_an_advance(&engine, &task(20, 20, 3, 4), &trials(3, 12, [16; 6]));
}

#[test]
fn what_an_observer_fails_with_is_what_advance_fails_with() {
    let Some(engine) = cuda_engine() else { return };
    promises::an_observers_error_comes_out(&engine, &task(20, 20, 3, 4), trials(3, 12, [16; 6]));
}

#[test]
fn other_sizes_and_numbers_of_classes_are_trained_as_on_the_cpu() {
    let Some(engine) = cuda_engine() else { return };
    let cpu = CpuEngine::new(Some(2)).expect("a CPU engine");
    for (classes, rows, cols) in [(2, 3, 3), (10, 1, 5), (17, 4, 4)] {
        let split = common::split_of(60, 40, rows, cols, classes);
        let task = Task { split, seed: 5, shuffle: ShuffleMode::PerTrial };
        let mut trials = trials(4, rows * cols, [16, 7, 20, 60, 16, 3]);
        for trial in &mut trials {
            trial.recipe.architecture.classes = classes;
            let shrink = |hidden: &mut Hidden| hidden.units = hidden.units.min(20);
            trial.recipe.architecture.hidden.iter_mut().for_each(shrink);
        }
        let ours = train(&engine, &task, &trials, false);
        let theirs = train(&cpu, &task, &trials, false);
        for (a, b) in ours.iter().flatten().zip(theirs.iter().flatten()) {
            let place = format!("{classes} classes, {rows} x {cols}");
            common::cases::close(&place, a.0.train_loss, b.0.train_loss);
            common::cases::close(&place, a.0.validation_loss, b.0.validation_loss);
        }
    }
}

/// The largest relative difference of any loss of two runs.
fn largest_difference(ours: &[Record], theirs: &[Record]) -> f64 {
    let losses = |records: &[Record]| -> Vec<f64> {
        let losses = |(m, _): &(EpochMetrics, Parameters)| [m.train_loss, m.validation_loss];
        records.iter().flatten().flat_map(losses).collect()
    };
    let (ours, theirs) = (losses(ours), losses(theirs));
    assert_eq!(ours.len(), theirs.len());
    let off = |(a, b): (&f64, &f64)| if a == b { 0.0 } else { ((a - b) / b).abs() };
    // Not `f64::max`, which drops a NaN.
    ours.iter().zip(&theirs).map(off).fold(0.0, |a, b| if b <= a { a } else { b })
}

#[test]
fn each_precision_stays_within_its_bar_of_float32_over_fifty_steps() {
    let samples = 48;
    let task = task(samples, 40, 6, 6);
    let mut trials = trials(6, 36, [samples; 6]);
    for trial in &mut trials {
        trial.recipe.epochs = 50;
        trial.recipe.hyperparameters.learning_rate = 0.02;
        // Sums long enough that rounding their factors shows.
        trial.recipe.architecture.hidden.iter_mut().for_each(|hidden| hidden.units = 40);
    }
    let Some(fp32) = cuda_engine() else { return };
    let exact = train(&fp32, &task, &trials, false);
    let mut differences = Vec::new();
    for (precision, bar) in [(Precision::Tf32x3, 1e-5), (Precision::Tf32, 2e-3)] {
        let Some(engine) = engine_of(precision) else { return };
        assert!(engine.device().contains(precision.name()), "{}", engine.device());
        let rounded = train(&engine, &task, &trials, false);
        let difference = largest_difference(&rounded, &exact);
        assert!(difference <= bar, "{precision:?} is {difference:.1e} off, {bar:.0e} allowed");
        differences.push(difference);
        for (trial, record) in trials.iter().zip(&rounded) {
            let alone = train(&engine, &task, std::slice::from_ref(trial), false);
            assert!(bits(&alone[0]) == bits(record), "{precision:?}, trial {}", trial.number);
        }
    }
    // Each is what it is called: one precision under another's name would be as near to float32.
    assert!(0.0 < differences[0] && 10.0 * differences[0] < differences[1], "{differences:?}");
}

#[test]
fn the_same_units_are_dropped_as_on_the_cpu() {
    let Some(engine) = cuda_engine() else { return };
    let cpu = CpuEngine::new(Some(1)).expect("a CPU engine");
    // One sample a step. A sigmoid is never zero, so the weights that lead out of a unit change
    // just where it was kept.
    let task = task(1, 20, 2, 2);
    let mut trial = trials(1, 4, [1; 6]).remove(0);
    trial.recipe.epochs = 30;
    trial.recipe.hyperparameters.lr_schedule = LrSchedule::Constant;
    trial.recipe.architecture.hidden =
        [17, 33].map(|units| hidden(units, Activation::Sigmoid, 0.4)).into();
    let start = reference::initial(&task, &trial);
    let masks = |engine: &dyn Engine| -> Vec<Vec<bool>> {
        let record = train(engine, &task, std::slice::from_ref(&trial), false).remove(0);
        let mut before = &start;
        let mut masks = Vec::new();
        for (_, after) in &record {
            let (old, new) = (&before.layers[2], &after.layers[2]);
            let units = old.shape.inputs;
            let changed = |unit: usize| {
                let column = (0..old.shape.outputs).map(|output| output * units + unit);
                column.into_iter().any(|at| old.weight[at] != new.weight[at])
            };
            masks.push((0..units).map(changed).collect());
            before = after;
        }
        masks
    };
    let (ours, theirs) = (masks(&engine), masks(&cpu));
    assert_eq!(ours, theirs);
    let kept = ours.iter().flatten().filter(|kept| **kept).count();
    assert!((480..710).contains(&kept), "{kept} of 990 kept, 594 expected");
}
