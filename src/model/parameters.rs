//! The parameters of one model: shapes, order and initial values, as `nn.Sequential` has them.

use super::{Architecture, Init};
use crate::random::{Purpose, Stream, symmetric_f32};

/// A layer's shape: `weight` is `outputs x inputs`, row-major, and `bias` has `outputs` values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub inputs: usize,
    pub outputs: usize,
}

impl Shape {
    /// Initial values are uniform in plus or minus this: `1 / sqrt(inputs)`, as `nn.Linear`'s.
    pub fn initial_bound(&self) -> f32 {
        (1.0 / (self.inputs as f64).sqrt()) as f32
    }
}

impl Architecture {
    /// The shapes of the linear layers, first to last.
    pub fn shapes(&self) -> Vec<Shape> {
        let units = self.hidden.iter().map(|layer| layer.units);
        let sizes: Vec<usize> =
            std::iter::once(self.inputs).chain(units).chain([self.classes]).collect();
        sizes.windows(2).map(|pair| Shape { inputs: pair[0], outputs: pair[1] }).collect()
    }

    /// The number of weights and biases.
    pub fn parameter_count(&self) -> usize {
        self.shapes().iter().map(|s| (s.inputs + 1) * s.outputs).sum()
    }
}

/// The weights and biases of one model, layer by layer, without padding.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    pub layers: Vec<Linear>,
}

/// One `nn.Linear`: `weight[output * inputs + input]`, `bias[output]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    pub shape: Shape,
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

impl Parameters {
    /// A trial's initial values. Value `i` of tensor `t` (`weight, bias` a layer, counted through)
    /// is word `i` of the stream `Init(t)`, so any device can draw any of them by itself.
    pub fn initial(architecture: &Architecture, init: Init, seed: u64, trial: u32) -> Self {
        let layers = architecture.shapes().into_iter().enumerate().map(|(index, shape)| {
            let bound = shape.initial_bound();
            let draw = |tensor: usize, len: usize| match init {
                Init::Zeros => vec![0.0; len],
                Init::Default => {
                    uniform(&Stream::new(seed, Purpose::Init(tensor as u16), trial), bound, len)
                }
            };
            Linear {
                shape,
                weight: draw(2 * index, shape.outputs * shape.inputs),
                bias: draw(2 * index + 1, shape.outputs),
            }
        });
        Parameters { layers: layers.collect() }
    }
}

/// `len` values, uniform in `[-bound, bound)`.
fn uniform(stream: &Stream, bound: f32, len: usize) -> Vec<f32> {
    let words = (0..len.div_ceil(4) as u64).flat_map(|block| stream.block(block));
    words.take(len).map(|word| symmetric_f32(word, bound)).collect()
}
