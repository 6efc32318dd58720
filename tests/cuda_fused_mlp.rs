//! Fused training of MLPs with one hidden layer: held to training in float64, set beside the CPU engine and
//! the layered path, and its trials to themselves, however launches are cut and units are parted over blocks.
//! On a real GPU or on the simulated device; without either it is skipped aloud.

mod common;

use common::cases::{ACTIVATIONS, Case, hidden, large_batch_cases, mlp, sgd_cases, shuffle_cases};
use common::cuda::engine_with;
use common::sorts::{assert_same, trials};
use common::{promises, small_split, split_of, train};
use warpsweep::engine::cpu::CpuEngine;
use warpsweep::engine::cuda::{Choice, CudaEngine, Limits};
use warpsweep::engine::{Engine, ShuffleMode, Task, Trial};
use warpsweep::model::Hidden;

fn fused(limits: Limits) -> Option<CudaEngine> {
    engine_with(Choice::Fused, limits)
}

fn limits(blocks: u32, ticks: u32) -> Limits {
    Limits { blocks: Some(blocks), ticks: Some(ticks), ..Limits::default() }
}

/// Checks cases on small images, with few samples to validate on.
fn check_all(cases: impl IntoIterator<Item = Case>) {
    let Some(engine) = fused(Limits::default()) else { return };
    for case in cases {
        Case { rows: case.rows.min(5), cols: case.cols.min(7), validation: 20, ..case }
            .check(&engine);
    }
}

/// The cases with a hidden layer.
fn with_layer(cases: Vec<Case>, layer: Hidden) -> impl Iterator<Item = Case> {
    cases.into_iter().map(move |case| Case { hidden: vec![layer], ..case })
}

#[test]
fn every_size_of_a_block_and_of_a_team_follows_the_reference() {
    let sizes = [1, 12, 16, 17, 32, 60, 64, 65, 128, 150];
    check_all(sizes.into_iter().enumerate().flat_map(|(index, units)| {
        [16, 37].map(|batch| {
            let layer = hidden(units, ACTIVATIONS[index % 4], 0.0);
            let mut case = mlp(&format!("{units} units, batch {batch}"), vec![layer]);
            case.hyperparameters.batch_size = batch;
            case.epochs = 2;
            case
        })
    }));
}

#[test]
fn every_activation_follows_the_reference_with_dropout_and_without() {
    check_all(ACTIVATIONS.into_iter().flat_map(|activation| {
        [0.0, 0.3].map(|dropout| {
            let layer = hidden(70, activation, dropout);
            mlp(&format!("{activation:?}, dropout {dropout}"), vec![layer])
        })
    }));
}

#[test]
fn every_hyperparameter_of_sgd_follows_the_reference() {
    check_all(with_layer(sgd_cases(), hidden(20, ACTIVATIONS[1], 0.2)));
}

#[test]
fn all_shuffle_modes_follow_the_reference() {
    check_all(with_layer(shuffle_cases(), hidden(9, ACTIVATIONS[0], 0.5)));
}

#[test]
fn batches_of_several_chunks_follow_the_reference_with_momentum_and_without() {
    let cases = with_layer(large_batch_cases(&[65, 128, 200]), hidden(40, ACTIVATIONS[3], 0.1));
    check_all(cases.flat_map(|case| {
        [(0.0, false), (0.9, false), (0.9, true)].map(|(momentum, nesterov)| {
            let mut case = case.clone();
            case.name = format!("{}, momentum {momentum}, nesterov {nesterov}", case.name);
            case.hyperparameters.momentum = momentum;
            case.hyperparameters.nesterov = nesterov;
            case.hyperparameters.weight_decay = 0.01;
            case.epochs = 2;
            case
        })
    }));
}

#[test]
fn images_of_any_size_follow_the_reference() {
    let Some(engine) = fused(Limits::default()) else { return };
    for (rows, cols) in [(1, 1), (4, 4), (8, 10), (3, 43)] {
        let mut case = mlp(&format!("{rows} x {cols}"), vec![hidden(24, ACTIVATIONS[0], 0.0)]);
        (case.rows, case.cols, case.validation, case.epochs) = (rows, cols, 20, 2);
        case.check(&engine);
    }
}

/// Trials of all sorts with one hidden layer.
fn mlps(count: u32, inputs: usize) -> Vec<Trial> {
    let mut trials = trials(count, inputs, [16, 7, 20, 60, 33, 3]);
    for (index, trial) in trials.iter_mut().enumerate() {
        let units = [1, 16, 33, 70, 20][index % 5];
        let layer = Hidden {
            units,
            activation: ACTIVATIONS[index % 4],
            dropout: [0.0, 0.2][index / 2 % 2],
        };
        trial.recipe.architecture.hidden = vec![layer];
    }
    trials
}

fn task(train: usize, validation: usize, rows: usize, cols: usize) -> Task {
    Task {
        split: small_split(train, validation, rows, cols),
        seed: 99,
        shuffle: ShuffleMode::PerTrial,
    }
}

/// Trains the same trials by two engines: losses may differ by so much, relatively.
fn compare(
    what: &str,
    tolerance: f64,
    task: &Task,
    trials: &[Trial],
    (ours, theirs): (&dyn Engine, &dyn Engine),
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

#[test]
fn any_number_of_classes_up_to_twelve_is_trained_as_on_the_cpu() {
    let Some(engine) = fused(Limits::default()) else { return };
    let cpu = CpuEngine::new(Some(2)).expect("a CPU engine");
    for classes in [2, 3, 9, 11, 12] {
        let split = split_of(60, 40, 4, 4, classes);
        let task = Task { split, seed: 5, shuffle: ShuffleMode::PerTrial };
        let mut trials = mlps(4, 16);
        trials.iter_mut().for_each(|trial| trial.recipe.architecture.classes = classes);
        compare(&format!("{classes} classes"), 1e-4, &task, &trials, (&engine, &cpu));
    }
}

#[test]
fn the_first_two_hundred_steps_are_the_cpus() {
    let Some(engine) = fused(Limits::default()) else { return };
    let cpu = CpuEngine::new(Some(2)).expect("a CPU engine");
    // An epoch a step, so that every step is compared.
    let (task, mut trials) = (task(24, 20, 4, 4), mlps(4, 16));
    for trial in &mut trials {
        trial.recipe.hyperparameters.batch_size = 24;
        trial.recipe.hyperparameters.learning_rate = 0.02;
        trial.recipe.epochs = 200;
    }
    compare("200 steps", 1e-4, &task, &trials, (&engine, &cpu));
}

#[test]
fn fused_and_layered_agree_after_an_epoch() {
    let (Some(fused), Some(layered)) =
        (fused(Limits::default()), engine_with(Choice::Layered, Limits::default()))
    else {
        return;
    };
    let (task, mut trials) = (task(160, 40, 28, 28), mlps(5, 784));
    trials.iter_mut().for_each(|trial| trial.recipe.epochs = 1);
    compare("an epoch", 1e-5, &task, &trials, (&fused, &layered));
}

#[test]
fn a_trial_is_the_same_to_the_last_bit_alone_and_among_sixty_four_in_any_order() {
    let Some(engine) = fused(Limits::default()) else { return };
    let (task, mut trials) = (task(30, 20, 3, 4), mlps(64, 12));
    trials.iter_mut().skip(10).for_each(|trial| trial.recipe.epochs = 1);
    promises::neighbours_change_no_bit(&engine, &task, &trials, 10);
}

#[test]
fn neither_slots_nor_the_length_of_launches_change_a_bit() {
    let Some(engine) = fused(Limits::default()) else { return };
    let (task, trials) = (task(70, 20, 3, 4), mlps(6, 12));
    let usual = train(&engine, &task, &trials, false);
    for (teams, ticks) in [(1, 1), (1, 1_000_000), (3, 7), (40, 2)] {
        let Some(engine) = fused(limits(teams, ticks)) else { return };
        let cut = train(&engine, &task, &trials, false);
        assert_same(&format!("{teams} teams, {ticks} ticks"), &trials, &usual, &cut);
        let paused = train(&engine, &task, &trials, true);
        assert_same(&format!("paused, {teams} teams"), &trials, &usual, &paused);
    }
}

#[test]
fn how_units_are_parted_over_blocks_changes_no_bit() {
    let Some(engine) = fused(Limits::default()) else { return };
    let (task, mut trials) = (task(70, 20, 3, 4), mlps(10, 12));
    trials.iter_mut().for_each(|trial| trial.recipe.architecture.hidden[0].units %= 64);
    let usual = train(&engine, &task, &trials, false);
    // Enough for 16 units a block, and for 32.
    for shared in [31_500, 37_000] {
        let Some(engine) = fused(Limits { shared: Some(shared), ..Limits::default() }) else {
            return;
        };
        let parted = train(&engine, &task, &trials, false);
        assert_same(&format!("{shared} bytes"), &trials, &usual, &parted);
    }
}

#[test]
fn a_trial_that_diverges_says_so_and_leaves_its_neighbours_alone() {
    let Some(engine) = fused(limits(1, 5)) else { return };
    promises::divergence_stays_at_home(&engine, &task(20, 20, 3, 4), mlps(6, 12));
}

#[test]
fn what_does_not_fit_is_refused_with_what_does_and_layered_by_auto() {
    let (Some(fused), Some(auto)) =
        (fused(Limits::default()), engine_with(Choice::Auto, Limits::default()))
    else {
        return;
    };
    let (task, mut trials) = (task(20, 20, 4, 4), mlps(2, 16));
    trials[1].recipe.architecture.hidden[0].units = 1025;
    let Err(error) = fused.array(&task, trials.clone()) else {
        panic!("an array of what cannot be")
    };
    let message = error.to_string();
    assert!(message.contains("1025") && message.contains("--kernel auto"), "{message}");
    assert_eq!(error.exit_code(), 2);
    trials[1].recipe.epochs = 1;
    assert_eq!(train(&auto, &task, &trials, false)[1].len(), 1);
}
