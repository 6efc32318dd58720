//! The tables that the kernels work from: which problem lies where, and which block takes what.
//!
//! They are built once for a group of trials, since the greatest shape of every product is known;
//! what changes from tick to tick stands in the trials' clocks.

use std::mem::offset_of;

use super::launch::gemm::{Dropout, GemmProblem};
use super::launch::init::{self, InitTensor};
use super::launch::sgd_bias::{self, BiasLayer};
use super::launch::trial::{Clock, Plan, Tile};
use super::launch::{gather, softmax_xent};
use super::layout::{LayerPlaces, Layout};
use crate::engine::{ShuffleMode, Trial};
use crate::model::{Activation, Hidden, Init};
use crate::random::Purpose;

/// Where a group's memory begins on the device.
#[derive(Clone, Copy, Debug)]
pub struct Bases {
    pub state: u64,
    pub scratch: u64,
    pub clocks: u64,
    pub dropouts: u64,
}

impl Bases {
    fn state(&self, place: usize) -> u64 {
        self.state + 4 * place as u64
    }

    fn scratch(&self, place: usize) -> u64 {
        self.scratch + 4 * place as u64
    }

    /// A clock begins with its step.
    fn step(&self, slot: usize) -> u64 {
        self.clocks + (slot * size_of::<Clock>()) as u64
    }

    /// The step as gradients read it: without rows where it is scored.
    fn learning(&self, slot: usize) -> u64 {
        self.step(slot) + offset_of!(Clock, learning) as u64
    }

    fn rule(&self, slot: usize) -> u64 {
        self.step(slot) + offset_of!(Clock, rule) as u64
    }
}

/// All tables of a group.
#[derive(Debug, Default)]
pub struct Tables {
    pub plans: Vec<Plan>,
    pub gather: Vec<Tile>,
    pub xent: Vec<Tile>,
    pub init: (Vec<InitTensor>, Vec<Tile>),
    pub biases: (Vec<BiasLayer>, Vec<Tile>),
    pub dropouts: Vec<Dropout>,
    /// `forward[l]`: the trials' layers `l`, counted from the pixels.
    pub forward: Vec<Vec<GemmProblem>>,
    /// `input_gradients[d]`: the trials' layers `d`, counted from the logits.
    pub input_gradients: Vec<Vec<GemmProblem>>,
    /// Of every layer: they wait for nothing but the deltas, and for the input gradients, which read the
    /// weights that they change.
    pub weight_gradients: Vec<GemmProblem>,
}

/// Cuts `count` things of tensor or trial `of` into tiles.
fn tiles(of: usize, count: usize, size: usize) -> impl Iterator<Item = Tile> {
    (0..count).step_by(size).map(move |first| Tile { of: of as u32, first: first as u32 })
}

impl Tables {
    /// The tables of trials that lie as `layouts` say.
    pub fn new(
        trials: &[Trial],
        layouts: &[Layout],
        bases: Bases,
        seed: u64,
        shuffle: ShuffleMode,
    ) -> Tables {
        let init = initial(trials, layouts, bases.state, seed);
        let mut tables = Tables { init, ..Tables::default() };
        for (slot, (trial, layout)) in trials.iter().zip(layouts).enumerate() {
            let place = Place { slot, trial, layout, bases, seed };
            tables.plans.push(place.plan(shuffle));
            tables.gather.extend(tiles(slot, layout.capacity, gather::ROWS));
            tables.xent.extend(tiles(slot, layout.capacity, softmax_xent::ROWS));
            tables.add_biases(&place);
            tables.add_products(&place);
        }
        tables
    }

    fn add_biases(&mut self, place: &Place<'_>) {
        let (layers, work) = &mut self.biases;
        for layer in &place.layout.layers {
            work.extend(tiles(layers.len(), layer.shape.outputs, sgd_bias::COLUMNS));
            layers.push(place.biases(layer));
        }
    }

    fn add_products(&mut self, place: &Place<'_>) {
        let layers = &place.layout.layers;
        // Of each hidden layer, the address of what its dropout draws from, or 0.
        let dropouts: Vec<u64> = (0..layers.len())
            .map(|index| {
                let Some(dropout) = place.dropout(index) else { return 0 };
                self.dropouts.push(dropout);
                place.bases.dropouts + ((self.dropouts.len() - 1) * size_of::<Dropout>()) as u64
            })
            .collect();
        for index in 0..layers.len() {
            let forward = GemmProblem { dropout: dropouts[index], ..place.forward(index) };
            push(&mut self.forward, index, forward);
            self.weight_gradients.push(place.weight_gradient(index));
            if index > 0 {
                let dropout = dropouts[index - 1];
                let gradient = GemmProblem { dropout, ..place.input_gradient(index) };
                push(&mut self.input_gradients, layers.len() - 1 - index, gradient);
            }
        }
    }
}

/// The initial values that are to be drawn, with the tiles of the kernel that draws them. `state` is the
/// address that the layouts' states begin at.
pub fn initial(
    trials: &[Trial],
    layouts: &[Layout],
    state: u64,
    seed: u64,
) -> (Vec<InitTensor>, Vec<Tile>) {
    let (mut tensors, mut tiled) = (Vec::new(), Vec::new());
    for (trial, layout) in trials.iter().zip(layouts) {
        if trial.recipe.hyperparameters.init != Init::Default {
            continue;
        }
        for (index, layer) in layout.layers.iter().enumerate() {
            let tensor = |number: usize, place: usize, inputs: usize| InitTensor {
                seed,
                values: state + 4 * place as u64,
                trial: trial.number,
                purpose: Purpose::Init(number as u16).word(),
                inputs: inputs as u32,
                outputs: layer.shape.outputs as u32,
                stride: layer.stride as u32,
                bound: layer.shape.initial_bound(),
            };
            let weight = tensor(2 * index, layer.state.weight, layer.shape.inputs);
            for tensor in [weight, tensor(2 * index + 1, layer.state.bias, 1)] {
                let blocks = ((tensor.inputs * tensor.outputs) as usize).div_ceil(4);
                tiled.extend(tiles(tensors.len(), blocks, init::BLOCKS));
                tensors.push(tensor);
            }
        }
    }
    (tensors, tiled)
}

/// Whose order of samples a trial has: a plan's `shuffled` and `shuffle_trial`.
pub fn order(trial: &Trial, shuffle: ShuffleMode) -> (u32, u32) {
    let of = match shuffle {
        ShuffleMode::PerTrial => trial.number,
        ShuffleMode::Shared | ShuffleMode::None => u32::MAX,
    };
    (u32::from(shuffle != ShuffleMode::None), of)
}

/// Adds to the level of a table of levels.
fn push(levels: &mut Vec<Vec<GemmProblem>>, level: usize, problem: GemmProblem) {
    while levels.len() <= level {
        levels.push(Vec::new());
    }
    levels[level].push(problem);
}

/// One trial and where it is.
struct Place<'a> {
    slot: usize,
    trial: &'a Trial,
    layout: &'a Layout,
    bases: Bases,
    seed: u64,
}

impl Place<'_> {
    fn plan(&self, shuffle: ShuffleMode) -> Plan {
        let (layout, bases) = (self.layout, &self.bases);
        let numbers = &self.trial.recipe.hyperparameters;
        let last = &layout.layers[layout.layers.len() - 1];
        let (shuffled, shuffle_trial) = order(self.trial, shuffle);
        Plan {
            seed: self.seed,
            inputs: bases.scratch(layout.inputs),
            labels: bases.scratch(layout.labels),
            logits: bases.scratch(last.values),
            delta: bases.scratch(last.delta),
            losses: bases.scratch(layout.losses),
            predicted: bases.scratch(layout.predicted),
            input_stride: layout.input_stride as u32,
            class_stride: last.stride as u32,
            batch: layout.batch as u32,
            capacity: layout.capacity as u32,
            shuffled,
            shuffle_trial,
            smoothing: numbers.label_smoothing,
            pad: 0,
        }
    }

    /// The biases of a layer, as they are updated.
    fn biases(&self, layer: &LayerPlaces) -> BiasLayer {
        BiasLayer {
            values: self.bases.state(layer.state.bias),
            velocity: self.velocity(layer, |[_, biases]| biases),
            delta: self.bases.scratch(layer.delta),
            trial: self.slot as u32,
            count: layer.shape.outputs as u32,
            stride: layer.stride as u32,
            pad: 0,
        }
    }

    /// The address of a layer's velocities, of weights or of biases; 0 without momentum.
    fn velocity(&self, layer: &LayerPlaces, which: impl Fn([usize; 2]) -> usize) -> u64 {
        layer.state.velocities.map_or(0, |places| self.bases.state(which(places)))
    }

    fn hidden(&self, index: usize) -> Option<&Hidden> {
        self.trial.recipe.architecture.hidden.get(index)
    }

    /// What a hidden layer's dropout draws from; none where nothing is dropped.
    fn dropout(&self, index: usize) -> Option<Dropout> {
        let hidden = self.hidden(index).filter(|hidden| hidden.dropout > 0.0)?;
        Some(Dropout {
            seed: self.seed,
            trial: self.trial.number,
            purpose: Purpose::Dropout(index as u16).word(),
            probability: hidden.dropout,
            units: hidden.units as u32,
        })
    }

    /// Address and leading dimension of what a layer is given.
    fn given(&self, index: usize) -> (u64, usize) {
        match index.checked_sub(1).map(|below| &self.layout.layers[below]) {
            Some(below) => (self.bases.scratch(below.values), below.stride),
            None => (self.bases.scratch(self.layout.inputs), self.layout.input_stride),
        }
    }

    /// `values = activation(inputs x weights + bias)`
    fn forward(&self, index: usize) -> GemmProblem {
        let layer = &self.layout.layers[index];
        let (a, lda) = self.given(index);
        GemmProblem {
            a,
            b: self.bases.state(layer.state.weight),
            c: self.bases.scratch(layer.values),
            bias: self.bases.state(layer.state.bias),
            z: layer.sums.map_or(0, |place| self.bases.scratch(place)),
            step: self.bases.step(self.slot),
            m: self.layout.capacity as u32,
            n: layer.shape.outputs as u32,
            k: layer.shape.inputs as u32,
            lda: lda as u32,
            ldb: layer.stride as u32,
            ldc: layer.stride as u32,
            activation: activation(self.hidden(index)),
            ..GemmProblem::default()
        }
    }

    /// A step of SGD of the weights, by the gradient `inputs^T x delta`.
    fn weight_gradient(&self, index: usize) -> GemmProblem {
        let layer = &self.layout.layers[index];
        let (a, lda) = self.given(index);
        GemmProblem {
            a,
            b: self.bases.scratch(layer.delta),
            c: self.bases.state(layer.state.weight),
            rule: self.bases.rule(self.slot),
            velocity: self.velocity(layer, |[weights, _]| weights),
            step: self.bases.learning(self.slot),
            m: layer.shape.inputs as u32,
            n: layer.shape.outputs as u32,
            k: self.layout.batch as u32,
            lda: lda as u32,
            ldb: layer.stride as u32,
            ldc: layer.stride as u32,
            ..GemmProblem::default()
        }
    }

    /// `delta below = (delta x weights^T) * activation'(sums below)`
    fn input_gradient(&self, index: usize) -> GemmProblem {
        let (layer, below) = (&self.layout.layers[index], &self.layout.layers[index - 1]);
        GemmProblem {
            a: self.bases.scratch(layer.delta),
            b: self.bases.state(layer.state.weight),
            c: self.bases.scratch(below.delta),
            // ReLU gives something above zero exactly where its derivative is one.
            z: self.bases.scratch(below.sums.unwrap_or(below.values)),
            step: self.bases.learning(self.slot),
            m: self.layout.batch as u32,
            n: layer.shape.inputs as u32,
            k: layer.shape.outputs as u32,
            lda: layer.stride as u32,
            ldb: layer.stride as u32,
            ldc: below.stride as u32,
            activation: activation(self.hidden(index - 1)),
            ..GemmProblem::default()
        }
    }
}

/// The kernels' number of an activation; 0 for the logits.
pub fn activation(hidden: Option<&Hidden>) -> u32 {
    match hidden.map(|hidden| hidden.activation) {
        None => 0,
        Some(Activation::Relu) => 1,
        Some(Activation::Tanh) => 2,
        Some(Activation::Sigmoid) => 3,
        Some(Activation::Gelu) => 4,
    }
}
