//! The engine beside training in float64, step by step; and that training beside numerical gradients.

mod common;

use common::reference::{self, Metrics, Model, Training};
use common::{small_split, train};
use warpsweep::engine::cpu::CpuEngine;
use warpsweep::engine::{Engine, EpochMetrics, ShuffleMode, Task, Trial};
use warpsweep::model::{
    Activation, Architecture, Hidden, Hyperparameters, Init, LrSchedule, Parameters, Recipe,
};

const ACTIVATIONS: [Activation; 4] =
    [Activation::Relu, Activation::Tanh, Activation::Sigmoid, Activation::Gelu];

/// How far the engine's float32 may be from the reference's float64, relatively.
const TOLERANCE: f64 = 1e-4;

/// One row of the table: a task and a trial on it.
#[derive(Clone)]
struct Case {
    name: String,
    rows: usize,
    cols: usize,
    samples: usize,
    epochs: usize,
    hidden: Vec<Hidden>,
    hyperparameters: Hyperparameters,
    shuffle: ShuffleMode,
}

fn hidden(units: usize, activation: Activation, dropout: f32) -> Hidden {
    Hidden { units, activation, dropout }
}

/// Softmax regression by plain SGD on 37 images of 28 x 28, three epochs of three steps.
fn plain(name: &str) -> Case {
    Case {
        name: name.to_string(),
        rows: 28,
        cols: 28,
        samples: 37,
        epochs: 3,
        hidden: Vec::new(),
        hyperparameters: Hyperparameters {
            learning_rate: 0.05,
            lr_schedule: LrSchedule::Constant,
            batch_size: 16,
            momentum: 0.0,
            nesterov: false,
            weight_decay: 0.0,
            label_smoothing: 0.0,
            init: Init::Default,
        },
        shuffle: ShuffleMode::PerTrial,
    }
}

/// The plain case with other hyperparameters.
fn with(name: &str, change: impl FnOnce(&mut Hyperparameters)) -> Case {
    let mut case = plain(name);
    change(&mut case.hyperparameters);
    case
}

/// An MLP on small images, so that the hidden layers are where the numbers are.
fn mlp(name: &str, hidden: Vec<Hidden>) -> Case {
    Case { rows: 5, cols: 7, hidden, ..plain(name) }
}

impl Case {
    fn task(&self) -> Task {
        let split = small_split(self.samples, 53, self.rows, self.cols);
        Task { split, seed: 0x0123_4567_89ab_cdef, shuffle: self.shuffle }
    }

    fn trial(&self) -> Trial {
        let architecture = Architecture {
            inputs: self.rows * self.cols,
            hidden: self.hidden.clone(),
            classes: 10,
        };
        let hyperparameters = self.hyperparameters;
        Trial { number: 5, recipe: Recipe { architecture, hyperparameters, epochs: self.epochs } }
    }

    /// Trains the case by the engine and by the reference, and compares every epoch.
    fn check(&self) {
        let (task, trial) = (self.task(), self.trial());
        let engine = CpuEngine::new(Some(1)).expect("a CPU engine");
        let records = train(&engine, &task, std::slice::from_ref(&trial), false);
        let start = Model::new(&reference::initial(&task, &trial));
        let steps = self.samples.div_ceil(self.hyperparameters.batch_size);
        let mut training = Training::new(&task, &trial);
        for (metrics, parameters) in &records[0] {
            let expected = training.epoch();
            let place = format!("{}, epoch {}", self.name, metrics.epoch);
            compare_parameters(&place, parameters, &training.model, &start, steps * metrics.epoch);
            compare_metrics(&place, metrics, &expected);
        }
    }
}

/// Every value of a tensor must be right to 1e-4 of the largest change that training has made in
/// that tensor. (Relative to the values themselves, an engine that trains nothing at a small
/// learning rate would pass.) Beside that stands what float32 cannot hold: each step rounds the
/// value once, by at most 2^-24 of it; independent roundings add up as the root of their number,
/// and four such deviations are allowed.
fn compare_parameters(place: &str, got: &Parameters, want: &Model, start: &Model, steps: usize) {
    let got = Model::new(got);
    let tensors = got.tensors().into_iter().zip(want.tensors()).zip(start.tensors());
    for (index, ((got, want), start)) in tensors.enumerate() {
        assert_eq!(got.len(), want.len(), "{place}: size of tensor {index}");
        let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
        let change = largest(&mut want.iter().zip(start).map(|(w, s)| (w - s).abs()));
        let value = largest(&mut want.iter().map(|w| w.abs()));
        let rounding = 4.0 * (steps as f64).sqrt() * value * 2f64.powi(-24);
        let allowed = TOLERANCE * change + rounding;
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            assert!(
                (got - want).abs() <= allowed,
                "{place}: value {i} of tensor {index} is {got:e}, not {want:e}; \
                 {:e} off, {allowed:e} allowed (largest change {change:e})",
                (got - want).abs()
            );
        }
    }
}

fn compare_metrics(place: &str, got: &EpochMetrics, want: &Metrics) {
    close(&format!("{place}: train loss"), got.train_loss, want.train_loss);
    close(&format!("{place}: validation loss"), got.validation_loss, want.validation_loss);
    let difference = got.validation_wrong.abs_diff(want.validation_wrong);
    assert!(
        difference <= want.near_ties,
        "{place}: {} validation samples wrong, not {} ({} near ties)",
        got.validation_wrong,
        want.validation_wrong,
        want.near_ties
    );
}

fn close(what: &str, got: f64, want: f64) {
    assert!((got - want).abs() <= TOLERANCE * want.abs(), "{what} is {got}, not {want}");
}

/// Every kind of layer: none hidden, each activation, several, with and without dropout.
fn layer_kinds() -> Vec<Case> {
    let mut cases = vec![plain("no hidden layer")];
    for activation in ACTIVATIONS {
        for dropout in [0.0, 0.3] {
            let name = format!("one {activation:?} layer, dropout {dropout}");
            cases.push(mlp(&name, vec![hidden(17, activation, dropout)]));
        }
    }
    let deep = ACTIVATIONS.iter().map(|&a| hidden(9, a, 0.2)).collect();
    cases.push(mlp("four layers of four kinds", deep));
    cases
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
            case.check();
        }
    }
}

#[test]
fn softmax_regression_follows_the_reference_whatever_the_batch_and_image_size() {
    for batch_size in [1, 2, 7, 8, 15, 16, 17, 32, 37, 64] {
        for (rows, cols) in [(28, 28), (5, 7), (1, 1), (1, 17), (16, 16), (29, 31)] {
            let name = format!("softmax regression, batch {batch_size}, {rows} x {cols}");
            let case = with(&name, |h| {
                h.batch_size = batch_size;
                h.learning_rate = 0.02;
            });
            Case { rows, cols, ..case }.check();
        }
    }
}

#[test]
fn large_batches_follow_the_reference_with_their_partial_last_batch() {
    for batch_size in [8, 16, 31, 64, 100, 128, 255, 256] {
        let change = |h: &mut Hyperparameters| h.batch_size = batch_size;
        let flat = with(&format!("softmax regression, batch {batch_size} of 300"), change);
        Case { samples: 300, ..flat.clone() }.check();
        let layers = vec![hidden(33, Activation::Relu, 0.1), hidden(17, Activation::Tanh, 0.0)];
        let name = format!("two layers, batch {batch_size} of 300");
        Case { name, rows: 5, cols: 7, samples: 300, hidden: layers, ..flat }.check();
    }
}

#[test]
fn large_layers_follow_the_reference_in_large_batches_with_their_partial_last_batch() {
    // From 32 samples and 64 units on, a layer goes forward by another product, in strips of 128.
    for batch_size in [16, 32, 47, 100, 256] {
        let name = format!("three large layers, batch {batch_size} of 300");
        let case = with(&name, |h| (h.batch_size, h.momentum) = (batch_size, 0.5));
        let layers = vec![
            hidden(150, Activation::Gelu, 0.1),
            hidden(131, Activation::Tanh, 0.0),
            hidden(64, Activation::Relu, 0.2),
        ];
        Case { rows: 28, cols: 28, samples: 300, hidden: layers, ..case }.check();
    }
}

#[test]
fn every_hyperparameter_of_sgd_follows_the_reference() {
    let cases = [
        with("momentum", |h| h.momentum = 0.9),
        with("nesterov", |h| (h.momentum, h.nesterov) = (0.8, true)),
        with("weight decay", |h| h.weight_decay = 0.1),
        with("weight decay and momentum", |h| (h.weight_decay, h.momentum) = (0.05, 0.7)),
        with("all three", |h| (h.weight_decay, h.momentum, h.nesterov) = (0.05, 0.7, true)),
        with("label smoothing", |h| h.label_smoothing = 0.1),
        with("strong label smoothing", |h| h.label_smoothing = 0.6),
        with("a large rate", |h| h.learning_rate = 0.5),
        with("a small rate", |h| h.learning_rate = 1e-4),
        with("no learning", |h| h.learning_rate = 0.0),
        with("zeros", |h| h.init = Init::Zeros),
        with("cosine schedule", |h| h.lr_schedule = LrSchedule::Cosine),
        with("step schedule", |h| h.lr_schedule = LrSchedule::Step),
    ];
    for case in cases {
        case.check();
        let layers = vec![hidden(33, Activation::Relu, 0.0)];
        let name = format!("{}, one hidden layer", case.name);
        Case { name, rows: 5, cols: 7, hidden: layers, epochs: 4, ..case }.check();
    }
}

#[test]
fn all_shuffle_modes_follow_the_reference() {
    for shuffle in [ShuffleMode::PerTrial, ShuffleMode::Shared, ShuffleMode::None] {
        let name = format!("{shuffle:?} order");
        Case { shuffle, ..plain(&name) }.check();
        let layers = vec![hidden(20, Activation::Tanh, 0.25)];
        Case { shuffle, ..mlp(&format!("{name}, one hidden layer"), layers) }.check();
    }
}

#[test]
fn mlps_follow_the_reference_whatever_their_units_and_activation() {
    for units in [1, 7, 16, 17, 33, 137] {
        for activation in ACTIVATIONS {
            let name = format!("{units} {activation:?} units");
            mlp(&name, vec![hidden(units, activation, 0.0)]).check();
            let name = format!("{units} {activation:?} units in two layers on 28 x 28");
            let layers = vec![hidden(units, activation, 0.0), hidden(11, activation, 0.0)];
            Case { rows: 28, cols: 28, ..mlp(&name, layers) }.check();
        }
    }
}

#[test]
fn mlps_follow_the_reference_whatever_their_depth() {
    let units = [33, 7, 17, 64, 5, 21];
    for layers in 1..=units.len() {
        for activation in ACTIVATIONS {
            for dropout in [0.0, 0.2] {
                let name = format!("{layers} {activation:?} layers, dropout {dropout}");
                let stack = units[..layers].iter().map(|&u| hidden(u, activation, dropout));
                let mut case = mlp(&name, stack.collect());
                (case.hyperparameters.momentum, case.hyperparameters.batch_size) = (0.5, 10);
                case.check();
            }
        }
    }
}

#[test]
fn each_hidden_layer_has_units_dropout_and_activation_of_its_own() {
    let layers = vec![
        hidden(40, Activation::Relu, 0.5),
        hidden(17, Activation::Sigmoid, 0.0),
        hidden(33, Activation::Gelu, 0.1),
        hidden(16, Activation::Tanh, 0.9),
    ];
    let mut case = mlp("four different layers", layers);
    case.hyperparameters.label_smoothing = 0.1;
    case.hyperparameters.weight_decay = 0.01;
    case.hyperparameters.momentum = 0.9;
    case.hyperparameters.nesterov = true;
    case.hyperparameters.lr_schedule = LrSchedule::Cosine;
    case.check();
}

#[test]
fn evaluation_counts_what_the_reference_counts() {
    for case in layer_kinds() {
        let (task, trial) = (case.task(), case.trial());
        let engine = CpuEngine::new(Some(2)).expect("a CPU engine");
        let records = train(&engine, &task, std::slice::from_ref(&trial), false);
        let (_, parameters) = records[0].last().expect("an epoch");
        let a = &trial.recipe.architecture;
        let part = task.split.test();
        let got = engine.evaluate(a, parameters, part).expect("an evaluation");

        let model = Model::new(parameters);
        let samples: Vec<_> = (0..part.len()).map(|i| reference::sample(a, part, i)).collect();
        close(&case.name, got.loss, reference::loss(a, &model, &samples, 0.0));
        let mut confusion = vec![0; a.classes * a.classes];
        for sample in &samples {
            let logits = reference::logits(a, &model, sample);
            assert!(!reference::is_near_tie(&logits), "{}: choose other data", case.name);
            confusion[sample.label * a.classes + reference::largest(&logits)] += 1;
        }
        let right: u64 = (0..a.classes).map(|c| confusion[c * a.classes + c]).sum();
        assert_eq!((got.samples, got.wrong), (part.len(), part.len() - right as usize));
        assert_eq!(got.confusion, confusion, "{}", case.name);
    }
}
