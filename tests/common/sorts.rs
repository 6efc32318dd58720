//! Trials of all sorts, and whether two engines' records of them are the same to the last bit.

use super::Record;
use warpsweep::engine::{EpochMetrics, Trial};
use warpsweep::model::{
    Activation, Architecture, Hidden, Hyperparameters, Init, LrSchedule, Parameters, Recipe,
};

/// `count` trials of all sorts: 0 to 3 hidden layers, odd sizes, batches, momentum, dropout.
pub fn trials(count: u32, inputs: usize, batches: [usize; 6]) -> Vec<Trial> {
    let activations = [Activation::Relu, Activation::Tanh, Activation::Sigmoid, Activation::Gelu];
    let trial = |number: u32| {
        let k = number as usize;
        let hidden = (0..k % 4).map(|layer| Hidden {
            units: [1, 16, 33, 70][(k / 4 + layer) % 4],
            activation: activations[(k / 3 + layer) % 4],
            dropout: [0.0, 0.2, 0.5][(k + layer) % 3],
        });
        let architecture = Architecture { inputs, hidden: hidden.collect(), classes: 10 };
        let hyperparameters = Hyperparameters {
            learning_rate: [0.01, 0.1, 0.3][k % 3],
            lr_schedule: [LrSchedule::Constant, LrSchedule::Cosine][k / 2 % 2],
            batch_size: batches[k % 6],
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

/// Every number of every epoch as its bits; the seconds alone may differ.
pub fn bits(record: &Record) -> Vec<Vec<u64>> {
    let epoch = |(metrics, parameters): &(EpochMetrics, Parameters)| {
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

pub fn assert_same(what: &str, trials: &[Trial], a: &[Record], b: &[Record]) {
    assert_eq!(a.len(), b.len());
    for ((trial, a), b) in trials.iter().zip(a).zip(b) {
        assert!(bits(a) == bits(b), "{what}: trial {} differs ({:?})", trial.number, trial.recipe);
    }
}
