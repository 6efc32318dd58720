//! Where a trial's tensors lie on the device: the one place that knows sizes, strides and bytes.
//!
//! A group of trials has two pieces of memory. Its *state* is what training carries from epoch to
//! epoch: weights, biases, velocities. Its *scratch* is what a step makes: the batch, activations,
//! deltas, losses. All offsets are in floats from the start of their piece.

use std::ops::Range;

use crate::model::{Activation, Linear, Parameters, Recipe, Shape};

/// Offsets are multiples of this many floats: a cache line of the device.
const ALIGNMENT: usize = 32;

/// Fewest samples of a scoring step: the same tiles serve them, however small the training batch.
const LEAST_CAPACITY: usize = 16;

/// The leading dimension of a matrix with rows of so many floats: whole vectors of four.
pub fn stride_of(columns: usize) -> usize {
    columns.next_multiple_of(4)
}

/// Hands out places one behind another.
#[derive(Debug, Default)]
pub struct Cursor {
    end: usize,
}

impl Cursor {
    fn take(&mut self, floats: usize) -> usize {
        let place = self.end;
        self.end = place + floats.next_multiple_of(ALIGNMENT);
        place
    }

    /// Floats handed out so far.
    pub fn end(&self) -> usize {
        self.end
    }
}

/// One linear layer of a trial.
#[derive(Debug)]
pub struct LayerPlaces {
    pub shape: Shape,
    /// Of every matrix with a column an output.
    pub stride: usize,
    pub state: StatePlaces,
    /// In the scratch: `[capacity][stride]`, what the layer gives (the logits of the last).
    pub values: usize,
    /// In the scratch: `[capacity][stride]`, a hidden layer's sums before the activation. None for
    /// ReLU, whose derivative can be told from what it gives.
    pub sums: Option<usize>,
    /// In the scratch: `[capacity][stride]`, the loss's gradient at the sums.
    pub delta: usize,
}

impl LayerPlaces {
    fn new(
        recipe: &Recipe,
        (index, shape): (usize, Shape),
        capacity: usize,
        state: &mut Cursor,
        scratch: &mut Cursor,
    ) -> Self {
        let stride = stride_of(shape.outputs);
        let (weights, rows) = (shape.inputs * stride, capacity * stride);
        let momentum = recipe.hyperparameters.momentum > 0.0;
        let hidden = recipe.architecture.hidden.get(index);
        let has_sums = hidden.is_some_and(|hidden| hidden.activation != Activation::Relu);
        LayerPlaces {
            shape,
            stride,
            state: StatePlaces {
                weight: state.take(weights),
                bias: state.take(stride),
                velocities: momentum.then(|| [state.take(weights), state.take(stride)]),
            },
            values: scratch.take(rows),
            sums: has_sums.then(|| scratch.take(rows)),
            delta: scratch.take(rows),
        }
    }
}

/// A layer's places in the state: weights `[inputs][stride]`, biases `[stride]`.
#[derive(Debug)]
pub struct StatePlaces {
    pub weight: usize,
    pub bias: usize,
    /// Of weights and of biases; none without momentum.
    pub velocities: Option<[usize; 2]>,
}

/// All places of one trial.
#[derive(Debug)]
pub struct Layout {
    /// Samples of a training step.
    pub batch: usize,
    /// Samples of a scoring step, and the rows of every matrix with a row a sample.
    pub capacity: usize,
    pub layers: Vec<LayerPlaces>,
    /// All that the trial has of the state.
    pub state: Range<usize>,
    /// In the scratch: `[capacity][input_stride]`.
    pub inputs: usize,
    pub input_stride: usize,
    /// In the scratch, `[capacity]` each.
    pub labels: usize,
    pub losses: usize,
    pub predicted: usize,
}

impl Layout {
    /// Places a trial behind those that are there. `samples` is the number of training samples.
    pub fn new(recipe: &Recipe, samples: usize, state: &mut Cursor, scratch: &mut Cursor) -> Self {
        let numbers = &recipe.hyperparameters;
        let batch = numbers.batch_size.min(samples);
        let start = state.end();
        let capacity = batch.max(LEAST_CAPACITY);
        let shapes = recipe.architecture.shapes().into_iter().enumerate();
        let layers = shapes.map(|(index, shape)| {
            LayerPlaces::new(recipe, (index, shape), capacity, state, scratch)
        });
        let layers = layers.collect();
        let input_stride = stride_of(recipe.architecture.inputs);
        Layout {
            batch,
            capacity,
            layers,
            state: start..state.end(),
            inputs: scratch.take(capacity * input_stride),
            input_stride,
            labels: scratch.take(capacity),
            losses: scratch.take(capacity),
            predicted: scratch.take(capacity),
        }
    }

    /// The model that a copy of the trial's state holds, transposed back and without padding.
    pub fn parameters(&self, state: &[f32]) -> Parameters {
        let layers = self.layers.iter().map(|layer| {
            let weight = &state[layer.state.weight - self.state.start..];
            let bias = &state[layer.state.bias - self.state.start..];
            let Shape { inputs, outputs } = layer.shape;
            let row = |output| (0..inputs).map(move |input| weight[input * layer.stride + output]);
            Linear {
                shape: layer.shape,
                weight: (0..outputs).flat_map(row).collect(),
                bias: bias[..outputs].to_vec(),
            }
        });
        Parameters { layers: layers.collect() }
    }
}

/// How many trials of these [`bytes`], taken in their order, fit so many together; 0 if not even the
/// first does.
pub fn fitting(bytes: impl Iterator<Item = u64>, free: u64) -> usize {
    let mut left = free;
    bytes
        .take_while(|bytes| {
            let rest = left.checked_sub(*bytes);
            left = rest.unwrap_or(0);
            rest.is_some()
        })
        .count()
}

/// The bytes of device memory that a trial needs on the layered path, tables included.
pub fn bytes(recipe: &Recipe, samples: usize) -> u64 {
    /// Problems, plans and clocks, the same for every trial up to the number of its layers.
    const FIXED: u64 = 8192;
    /// Tiles: the smallest is of 256 floats, and takes 16 bytes of a table.
    const TILES: u64 = 64;
    let (mut state, mut scratch) = (Cursor::default(), Cursor::default());
    Layout::new(recipe, samples, &mut state, &mut scratch);
    let tensors = 4 * (state.end() + scratch.end()) as u64;
    tensors + tensors / TILES + FIXED
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Architecture, Hidden, Hyperparameters, Init, LrSchedule};

    fn recipe(units: &[usize], activation: Activation, batch_size: usize, momentum: f32) -> Recipe {
        let hidden = units.iter().map(|&units| Hidden { units, activation, dropout: 0.0 });
        let architecture = Architecture { inputs: 33, hidden: hidden.collect(), classes: 10 };
        let hyperparameters = Hyperparameters {
            learning_rate: 0.1,
            lr_schedule: LrSchedule::Constant,
            batch_size,
            momentum,
            nesterov: false,
            weight_decay: 0.0,
            label_smoothing: 0.0,
            init: Init::Default,
        };
        Recipe { architecture, hyperparameters, epochs: 1 }
    }

    /// First place and floats of all that a layout has in the state, and in the scratch.
    fn places(layout: &Layout) -> [Vec<(usize, usize)>; 2] {
        let (mut state, mut scratch) = (Vec::new(), Vec::new());
        for layer in &layout.layers {
            let (weights, rows) =
                (layer.shape.inputs * layer.stride, layout.capacity * layer.stride);
            state.extend([(layer.state.weight, weights), (layer.state.bias, layer.stride)]);
            if let Some([of_weights, of_biases]) = layer.state.velocities {
                state.extend([(of_weights, weights), (of_biases, layer.stride)]);
            }
            scratch.extend([(layer.values, rows), (layer.delta, rows)]);
            scratch.extend(layer.sums.map(|place| (place, rows)));
        }
        scratch.push((layout.inputs, layout.capacity * layout.input_stride));
        let by_row = [layout.labels, layout.losses, layout.predicted];
        scratch.extend(by_row.map(|place| (place, layout.capacity)));
        [state, scratch]
    }

    #[test]
    fn no_two_tensors_overlap_and_all_begin_at_a_cache_line() {
        let recipes = [
            recipe(&[], Activation::Relu, 1, 0.0),
            recipe(&[7, 130], Activation::Gelu, 64, 0.9),
            recipe(&[16], Activation::Relu, 1000, 0.5),
        ];
        let (mut state, mut scratch) = (Cursor::default(), Cursor::default());
        let layouts = recipes.map(|recipe| Layout::new(&recipe, 500, &mut state, &mut scratch));
        for (piece, end) in [state.end(), scratch.end()].into_iter().enumerate() {
            let mut all: Vec<_> = layouts.iter().flat_map(|l| places(l)[piece].clone()).collect();
            all.sort_unstable();
            all.push((end, 0));
            assert!(all.iter().all(|(place, _)| place % ALIGNMENT == 0));
            assert!(all.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "{all:?}");
        }
        for layout in &layouts {
            let state = &places(layout)[0];
            assert!(
                state.iter().all(|(p, n)| layout.state.start <= *p && p + n <= layout.state.end)
            );
        }
    }

    #[test]
    fn a_batch_is_no_larger_than_the_data_and_scoring_fills_a_tile() {
        let layout = |batch_size| {
            let recipe = recipe(&[], Activation::Relu, batch_size, 0.0);
            Layout::new(&recipe, 100, &mut Cursor::default(), &mut Cursor::default())
        };
        let sizes = [1, 16, 33, 65_536].map(|batch| (layout(batch).batch, layout(batch).capacity));
        assert_eq!(sizes, [(1, 16), (16, 16), (33, 33), (100, 100)]);
    }

    #[test]
    fn as_many_trials_fit_as_their_bytes_say() {
        let recipes = [8, 16, 24].map(|units| recipe(&[units], Activation::Tanh, 32, 0.9));
        let each = recipes.each_ref().map(|recipe| bytes(recipe, 100));
        let fit = |free| fitting(each.iter().copied(), free);
        assert_eq!(fit(each[0] - 1), 0);
        assert_eq!(fit(each[0]), 1);
        assert_eq!(fit(each[0] + each[1] + each[2] - 1), 2);
        assert_eq!(fit(each.iter().sum()), 3);
        // Weights of 33 x 8 and 8 x 12, and their velocities, are part of it.
        assert!(each[0] > 4 * 2 * (33 * 8 + 8 * 12), "{each:?}");
    }
}
