//! The CPU engine beside training in float64, step by step; and that training beside numerical gradients.

mod common;

use common::cases::{
    ACTIVATIONS, Case, check_evaluation, depth_cases, flat_cases, hidden, large_batch_cases,
    layer_kinds, mixed_case, mlp, sgd_cases, shuffle_cases, with,
};
use common::reference::{self, Training};
use warpsweep::engine::cpu::CpuEngine;
use warpsweep::model::Activation;

fn engine() -> CpuEngine {
    CpuEngine::new(Some(1)).expect("a CPU engine")
}

fn check_all(cases: Vec<Case>) {
    cases.iter().for_each(|case| case.check(&engine()));
}

#[test]
fn the_reference_gradients_are_those_of_central_differences() {
    let step = 1e-5;
    for mut case in layer_kinds() {
        // Few pixels, so that every single parameter can be moved.
        (case.rows, case.cols) = (3, 4);
        for smoothing in [0.0, 0.1] {
            let (task, trial) = (case.task(), case.trial());
            let a = &trial.recipe.architecture;
            let training = Training::new(&task, &trial);
            let batch = &training.samples()[..7];
            let analytic = reference::gradient(a, &training.model, batch, smoothing);
            for (tensor, gradient) in analytic.tensors().into_iter().enumerate() {
                let scale = gradient.iter().fold(0.0, |m: f64, g| m.max(g.abs()));
                assert!(scale > 0.0, "{}: tensor {tensor} has no gradient", case.name);
                for (i, expected) in gradient.iter().enumerate() {
                    let moved = |by: f64| {
                        let mut model = training.model.clone();
                        model.tensors_mut()[tensor][i] += by;
                        reference::loss(a, &model, batch, smoothing)
                    };
                    let numerical = (moved(step) - moved(-step)) / (2.0 * step);
                    assert!(
                        (numerical - expected).abs() <= 1e-6 * scale + 1e-10,
                        "{}, smoothing {smoothing}: gradient {i} of tensor {tensor} is \
                         {expected:e}, by differences {numerical:e}",
                        case.name
                    );
                }
            }
        }
    }
}

#[test]
fn the_first_step_follows_the_gradient_for_every_kind_of_layer() {
    for case in layer_kinds() {
        for smoothing in [0.0, 0.1] {
            let mut case = case.clone();
            case.name = format!("{}, smoothing {smoothing}, one step", case.name);
            case.epochs = 1;
            case.hyperparameters.batch_size = case.samples;
            // A step large enough to stand out of float32's rounding of the weights.
            case.hyperparameters.learning_rate = 1.0;
            case.hyperparameters.label_smoothing = smoothing;
            case.check(&engine());
        }
    }
}

#[test]
fn softmax_regression_follows_the_reference_whatever_the_batch_and_image_size() {
    let images = [(28, 28), (5, 7), (1, 1), (1, 17), (16, 16), (29, 31)];
    check_all(flat_cases(&[1, 2, 7, 8, 15, 16, 17, 32, 37, 64], &images));
}

#[test]
fn large_batches_follow_the_reference_with_their_partial_last_batch() {
    check_all(large_batch_cases(&[8, 16, 31, 64, 100, 128, 255, 256]));
}

#[test]
fn large_layers_follow_the_reference_in_large_batches_with_their_partial_last_batch() {
    // Layers go forward in strips of 128 inputs, of which these have two and more.
    for batch_size in [16, 32, 47, 100, 256] {
        let name = format!("three large layers, batch {batch_size} of 300");
        let case = with(&name, |h| (h.batch_size, h.momentum) = (batch_size, 0.5));
        let layers = vec![
            hidden(150, Activation::Gelu, 0.1),
            hidden(131, Activation::Tanh, 0.0),
            hidden(64, Activation::Relu, 0.2),
        ];
        Case { rows: 28, cols: 28, samples: 300, hidden: layers, ..case }.check(&engine());
    }
}

#[test]
fn layers_of_many_zeros_follow_the_reference_in_large_batches_with_their_partial_last_batch() {
    // From 32 samples on they are passed over, in strips of 64 samples or units.
    for batch_size in [31, 33, 64, 130, 256] {
        let name = format!("three layers of many zeros, batch {batch_size} of 300");
        let case = with(&name, |h| (h.batch_size, h.momentum) = (batch_size, 0.5));
        let layers = vec![
            hidden(150, Activation::Relu, 0.0),
            hidden(131, Activation::Tanh, 0.5),
            hidden(65, Activation::Relu, 0.2),
        ];
        Case { rows: 28, cols: 28, samples: 300, hidden: layers, ..case }.check(&engine());
    }
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
fn mlps_follow_the_reference_whatever_their_units_and_activation() {
    for units in [1, 7, 16, 17, 33, 137] {
        for activation in ACTIVATIONS {
            let name = format!("{units} {activation:?} units");
            mlp(&name, vec![hidden(units, activation, 0.0)]).check(&engine());
            let name = format!("{units} {activation:?} units in two layers on 28 x 28");
            let layers = vec![hidden(units, activation, 0.0), hidden(11, activation, 0.0)];
            Case { rows: 28, cols: 28, ..mlp(&name, layers) }.check(&engine());
        }
    }
}

#[test]
fn mlps_follow_the_reference_whatever_their_depth() {
    check_all(depth_cases());
}

#[test]
fn each_hidden_layer_has_units_dropout_and_activation_of_its_own() {
    mixed_case().check(&engine());
}

#[test]
fn evaluation_counts_what_the_reference_counts() {
    let engine = CpuEngine::new(Some(2)).expect("a CPU engine");
    layer_kinds().iter().for_each(|case| check_evaluation(case, &engine));
}
