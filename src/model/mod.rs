//! What a config means: layer sizes, hyperparameters, parameter layout, initial values.

use serde::{Deserialize, Serialize};

pub mod checkpoint;
mod parameters;
mod recipe;

pub use parameters::{Linear, Parameters, Shape};
pub use recipe::{
    DEFAULT_UNITS, Defaults, Domain, MAX_LAYERS, RecipeError, check_space, hyperparameter_names,
};

/// The nonlinearity between two layers, as `torch.nn` defines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// `max(z, 0)`
    Relu,
    Tanh,
    /// `1 / (1 + exp(-z))`
    Sigmoid,
    /// `z / 2 * (1 + erf(z / sqrt 2))`: `nn.GELU()`, not its tanh approximation.
    Gelu,
}

/// A hidden layer: `nn.Linear`, its activation, and dropout of what the activation gives.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hidden {
    pub units: usize,
    pub activation: Activation,
    /// The probability that a value is dropped while training, in [0, 1).
    pub dropout: f32,
}

/// The sizes of a classifier; without hidden layers it is softmax regression.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Pixels a sample.
    pub inputs: usize,
    pub hidden: Vec<Hidden>,
    pub classes: usize,
}

/// How the learning rate runs over a trial's epochs; it changes at epoch boundaries only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LrSchedule {
    Constant,
    /// `lr * (1 + cos(pi * epoch / epochs)) / 2`, as `CosineAnnealingLR(T_max=epochs)`, epoch from 0.
    Cosine,
    /// `lr * 0.1^floor(epoch / step)`, `step = max(1, epochs / 3)` rounded up, as `StepLR`.
    Step,
}

/// Initial values of weights and biases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// `nn.Linear`'s: uniform in +-1/sqrt(fan_in), weights and biases.
    Default,
    Zeros,
}

/// The numbers of SGD, as `torch.optim.SGD` and `nn.CrossEntropyLoss` take them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hyperparameters {
    pub learning_rate: f32,
    pub lr_schedule: LrSchedule,
    pub batch_size: usize,
    pub momentum: f32,
    pub nesterov: bool,
    pub weight_decay: f32,
    pub label_smoothing: f32,
    pub init: Init,
}

impl Hyperparameters {
    /// The learning rate of an epoch (from 0) of a trial that is meant to have `epochs`.
    pub fn learning_rate_at(&self, epoch: usize, epochs: usize) -> f32 {
        let base = f64::from(self.learning_rate);
        match self.lr_schedule {
            LrSchedule::Constant => self.learning_rate,
            LrSchedule::Cosine => {
                let turn = std::f64::consts::PI * epoch as f64 / epochs.max(1) as f64;
                (base * (1.0 + libm::cos(turn)) / 2.0) as f32
            }
            LrSchedule::Step => {
                let drops = epoch / epochs.div_ceil(3).max(1);
                (base * libm::pow(0.1, drops as f64)) as f32
            }
        }
    }
}

/// Everything that a trial's numbers depend on beside its seed, its number and the data.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    pub architecture: Architecture,
    pub hyperparameters: Hyperparameters,
    /// How many epochs the trial is meant to have: the learning rate's schedule ends there.
    pub epochs: usize,
}
