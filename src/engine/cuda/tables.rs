//! The tables that the kernels work from: which problem lies where, and which block takes what.
//!
//! They are built once for the trials of a group, and anew when half of them have finished, since the
//! greatest shape of every product is known; what changes from tick to tick stands in the trials' clocks.

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

/// A group's trials, and where they lie.
#[derive(Debug)]
pub struct Members {
    pub trials: Vec<Trial>,
    pub layouts: Vec<Layout>,
    pub bases: Bases,
    pub seed: u64,
}

impl Members {
    fn places(&self) -> impl Iterator<Item = Place<'_>> {
        let &Members { bases, seed, .. } = self;
        let trials = self.trials.iter().zip(&self.layouts).enumerate();
        trials.map(move |(slot, (trial, layout))| Place { slot, trial, layout, bases, seed })
    }

    /// What never changes of each trial.
    pub fn plans(&self, shuffle: ShuffleMode) -> Vec<Plan> {
        self.places().map(|place| place.plan(shuffle)).collect()
    }

    /// The initial values that are to be drawn, with the tiles of the kernel that draws them.
    pub fn initial(&self) -> (Vec<InitTensor>, Vec<Tile>) {
        initial(&self.trials, &self.layouts, self.bases.state, self.seed)
    }
}

/// The tables of what a tick launches.
#[derive(Debug, Default)]
pub struct Tables {
    pub gather: Vec<Tile>,
    pub xent: Vec<Tile>,
    pub biases: (Vec<BiasLayer>, Vec<Tile>),
    pub dropouts: Vec<Dropout>,
    /// `forward[l]`: the trials' layers `l`, counted from the pixels.
    pub forward: Vec<Vec<GemmProblem>>,
    /// `input_gradients[d]`: the trials' layers `d`, counted from the logits.
    pub input_gradients: Vec<Vec<GemmProblem>>,
    /// Of every layer: they wait for the deltas, and for the input gradients, which read the weights that
    /// they change.
    pub weight_gradients: Vec<GemmProblem>,
}

/// Cuts `count` things of tensor or trial `of` into tiles.
fn tiles(of: usize, count: usize, size: usize) -> impl Iterator<Item = Tile> {
    (0..count).step_by(size).map(move |first| Tile { of: of as u32, first: first as u32 })
}

impl Tables {
    /// The tables of those `active` of a group's trials: a block of another would find nothing to do.
    pub fn new(members: &Members, active: &[bool]) -> Tables {
        let mut tables = Tables::default();
        for place in members.places().filter(|place| active[place.slot]) {
            let (slot, capacity) = (place.slot, place.layout.capacity);
            tables.gather.extend(tiles(slot, capacity, gather::ROWS));
            tables.xent.extend(tiles(slot, capacity, softmax_xent::ROWS));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::cuda::layout::Cursor;
    use crate::model::{Architecture, Hyperparameters, LrSchedule, Recipe};

    fn trial(number: u32, layers: usize) -> Trial {
        let hidden = Hidden { units: 5, activation: Activation::Tanh, dropout: 0.1 };
        let architecture = Architecture { inputs: 12, hidden: vec![hidden; layers], classes: 3 };
        let hyperparameters = Hyperparameters {
            learning_rate: 0.1,
            lr_schedule: LrSchedule::Constant,
            batch_size: 40,
            momentum: 0.9,
            nesterov: false,
            weight_decay: 0.0,
            label_smoothing: 0.0,
            init: Init::Default,
        };
        Trial { number, recipe: Recipe { architecture, hyperparameters, epochs: 1 } }
    }

    #[test]
    fn a_tick_launches_nothing_for_a_trial_that_is_not_active() {
        let trials: Vec<Trial> = (0..4).map(|number| trial(number, number as usize)).collect();
        let (mut state, mut scratch) = (Cursor::default(), Cursor::default());
        let layout = |t: &Trial| Layout::new(&t.recipe, 100, &mut state, &mut scratch);
        let layouts = trials.iter().map(layout).collect();
        let bases = Bases { state: 1 << 20, scratch: 1 << 30, clocks: 1 << 10, dropouts: 1 << 15 };
        let members = Members { trials, layouts, bases, seed: 1 };
        let tables = Tables::new(&members, &[false, true, false, true]);
        let slots = |tiles: &[Tile]| tiles.iter().all(|tile| [1, 3].contains(&tile.of));
        assert!(slots(&tables.gather) && slots(&tables.xent));
        // One and three hidden layers, and the logits of each.
        assert_eq!(tables.dropouts.len(), 4);
        assert_eq!(tables.biases.0.len(), 6);
        assert!(tables.biases.0.iter().all(|layer| [1, 3].contains(&layer.trial)));
        assert_eq!(tables.weight_gradients.len(), 6);
        assert_eq!(tables.forward.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1, 1]);
        assert_eq!(tables.input_gradients.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1]);
        let steps = [1, 3].map(|slot| bases.learning(slot));
        assert!(tables.weight_gradients.iter().all(|problem| steps.contains(&problem.step)));
    }
}
