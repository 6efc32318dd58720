//! Trials that engines are held to: each is trained by an engine and in float64, and compared epoch by
//! epoch.

use super::reference::{self, Metrics, Model, Training};
use super::{small_split, train};
use warpsweep::engine::{Engine, EpochMetrics, ShuffleMode, Task, Trial};
use warpsweep::model::{
    Activation, Architecture, Hidden, Hyperparameters, Init, LrSchedule, Parameters, Recipe,
};

pub const ACTIVATIONS: [Activation; 4] =
    [Activation::Relu, Activation::Tanh, Activation::Sigmoid, Activation::Gelu];

/// How far the engine's float32 may be from the reference's float64, relatively.
const TOLERANCE: f64 = 1e-4;

/// One row of the table: a task and a trial on it.
#[derive(Clone)]
pub struct Case {
    pub name: String,
    pub rows: usize,
    pub cols: usize,
    pub samples: usize,
    pub validation: usize,
    pub epochs: usize,
    pub hidden: Vec<Hidden>,
    pub hyperparameters: Hyperparameters,
    pub shuffle: ShuffleMode,
}

pub fn hidden(units: usize, activation: Activation, dropout: f32) -> Hidden {
    Hidden { units, activation, dropout }
}

/// Softmax regression by plain SGD on 37 images of 28 x 28, three epochs of three steps.
pub fn plain(name: &str) -> Case {
    Case {
        name: name.to_string(),
        rows: 28,
        cols: 28,
        samples: 37,
        validation: 53,
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
pub fn with(name: &str, change: impl FnOnce(&mut Hyperparameters)) -> Case {
    let mut case = plain(name);
    change(&mut case.hyperparameters);
    case
}

/// An MLP on small images, so that the hidden layers are where the numbers are.
pub fn mlp(name: &str, hidden: Vec<Hidden>) -> Case {
    Case { rows: 5, cols: 7, hidden, ..plain(name) }
}

impl Case {
    pub fn task(&self) -> Task {
        let split = small_split(self.samples, self.validation, self.rows, self.cols);
        Task { split, seed: 0x0123_4567_89ab_cdef, shuffle: self.shuffle }
    }

    pub fn trial(&self) -> Trial {
        let architecture = Architecture {
            inputs: self.rows * self.cols,
            hidden: self.hidden.clone(),
            classes: 10,
        };
        let hyperparameters = self.hyperparameters;
        Trial { number: 5, recipe: Recipe { architecture, hyperparameters, epochs: self.epochs } }
    }

    /// Trains the case by the engine and by the reference, and compares every epoch.
    pub fn check(&self, engine: &dyn Engine) {
        let (task, trial) = (self.task(), self.trial());
        let records = train(engine, &task, std::slice::from_ref(&trial), false);
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

pub fn close(what: &str, got: f64, want: f64) {
    assert!((got - want).abs() <= TOLERANCE * want.abs(), "{what} is {got}, not {want}");
}

/// Every kind of layer: none hidden, each activation, several, with and without dropout.
pub fn layer_kinds() -> Vec<Case> {
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

/// Softmax regression: every batch size on every image size.
pub fn flat_cases(batches: &[usize], images: &[(usize, usize)]) -> Vec<Case> {
    let case = |(&batch_size, &(rows, cols)): (&usize, &(usize, usize))| {
        let name = format!("softmax regression, batch {batch_size}, {rows} x {cols}");
        let change = |h: &mut Hyperparameters| {
            h.batch_size = batch_size;
            h.learning_rate = 0.02;
        };
        Case { rows, cols, ..with(&name, change) }
    };
    let pairs = batches.iter().flat_map(|batch| images.iter().map(move |image| (batch, image)));
    pairs.map(case).collect()
}

/// Large batches of 300 samples, the last one partial: without hidden layers and with two.
pub fn large_batch_cases(batches: &[usize]) -> Vec<Case> {
    let both = |&batch_size: &usize| {
        let change = |h: &mut Hyperparameters| h.batch_size = batch_size;
        let flat = with(&format!("softmax regression, batch {batch_size} of 300"), change);
        let flat = Case { samples: 300, ..flat };
        let layers = vec![hidden(33, Activation::Relu, 0.1), hidden(17, Activation::Tanh, 0.0)];
        let name = format!("two layers, batch {batch_size} of 300");
        [flat.clone(), Case { name, rows: 5, cols: 7, hidden: layers, ..flat }]
    };
    batches.iter().flat_map(both).collect()
}

/// Every hyperparameter of SGD and of the loss, without hidden layers and with one.
pub fn sgd_cases() -> Vec<Case> {
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
    let both = |case: Case| {
        let layers = vec![hidden(33, Activation::Relu, 0.0)];
        let name = format!("{}, one hidden layer", case.name);
        [case.clone(), Case { name, rows: 5, cols: 7, hidden: layers, epochs: 4, ..case }]
    };
    cases.into_iter().flat_map(both).collect()
}

/// Every order of samples, without hidden layers and with one.
pub fn shuffle_cases() -> Vec<Case> {
    let both = |shuffle| {
        let name = format!("{shuffle:?} order");
        let layers = vec![hidden(20, Activation::Tanh, 0.25)];
        let deep = mlp(&format!("{name}, one hidden layer"), layers);
        [Case { shuffle, ..plain(&name) }, Case { shuffle, ..deep }]
    };
    [ShuffleMode::PerTrial, ShuffleMode::Shared, ShuffleMode::None]
        .into_iter()
        .flat_map(both)
        .collect()
}

/// One to six hidden layers of every activation, with and without dropout.
pub fn depth_cases() -> Vec<Case> {
    let units = [33, 7, 17, 64, 5, 21];
    let mut cases = Vec::new();
    for layers in 1..=units.len() {
        for activation in ACTIVATIONS {
            for dropout in [0.0, 0.2] {
                let name = format!("{layers} {activation:?} layers, dropout {dropout}");
                let stack = units[..layers].iter().map(|&u| hidden(u, activation, dropout));
                let mut case = mlp(&name, stack.collect());
                (case.hyperparameters.momentum, case.hyperparameters.batch_size) = (0.5, 10);
                cases.push(case);
            }
        }
    }
    cases
}

/// Four hidden layers, each with units, activation and dropout of its own, and all of SGD.
pub fn mixed_case() -> Case {
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
    case
}

/// Trains a case, evaluates it on the test samples, and compares with the reference.
pub fn check_evaluation(case: &Case, engine: &dyn Engine) {
    let (task, trial) = (case.task(), case.trial());
    let records = train(engine, &task, std::slice::from_ref(&trial), false);
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
