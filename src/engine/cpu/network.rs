//! One trial's weights and momentum, padded for the lanes.

use super::lanes::{Block, LANES, blocks, floats, floats_mut};
use super::products::Weights;
use crate::model::{Linear, Parameters, Shape};

/// Blocks from a row to the next for rows of `len` floats: odd, so that the rows of a power-of-two
/// width do not all fall into the same few sets of a cache.
pub fn row_stride(len: usize) -> usize {
    blocks(len) | 1
}

/// Blocks from a block of inputs to the next in the weights of so many outputs: odd for the same
/// reason, but for a few outputs, which cannot collide and should stay small.
fn weight_stride(outputs: usize) -> usize {
    if outputs < 32 { outputs } else { outputs | 1 }
}

/// A layer's parameters. What pads a row is zero and stays zero.
pub struct Layer {
    pub shape: Shape,
    /// Blocks from a block of inputs to the next.
    pub stride: usize,
    /// As [`Weights`].
    pub weight: Vec<Block>,
    /// `outputs` floats.
    pub bias: Vec<Block>,
    /// As `weight`, or empty where there is no momentum.
    pub weight_velocity: Vec<Block>,
    pub bias_velocity: Vec<Block>,
}

impl Layer {
    pub fn weights(&self) -> Weights<'_> {
        Weights { blocks: &self.weight, stride: self.stride }
    }
}

/// The layers of one trial, first to last.
pub struct Network {
    pub layers: Vec<Layer>,
}

impl Network {
    /// Lays parameters out for training, with room for velocities if there is momentum.
    pub fn new(parameters: &Parameters, momentum: bool) -> Self {
        let velocity = |len| vec![Block::ZERO; if momentum { len } else { 0 }];
        let layers = parameters.layers.iter().map(|linear| {
            let Shape { inputs, outputs } = linear.shape;
            let stride = weight_stride(outputs);
            let mut weight = vec![Block::ZERO; blocks(inputs) * stride];
            for (output, row) in linear.weight.chunks(inputs).enumerate() {
                for (column, values) in row.chunks(LANES).enumerate() {
                    weight[column * stride + output].0[..values.len()].copy_from_slice(values);
                }
            }
            let mut bias = vec![Block::ZERO; blocks(outputs)];
            floats_mut(&mut bias)[..outputs].copy_from_slice(&linear.bias);
            Layer {
                shape: linear.shape,
                stride,
                weight_velocity: velocity(weight.len()),
                bias_velocity: velocity(bias.len()),
                weight,
                bias,
            }
        });
        Network { layers: layers.collect() }
    }

    /// The parameters, without padding.
    pub fn parameters(&self) -> Parameters {
        let layers = self.layers.iter().map(|layer| {
            let Shape { inputs, outputs } = layer.shape;
            let mut weight = Vec::with_capacity(outputs * inputs);
            for output in 0..outputs {
                let row = layer.weight[output..].iter().step_by(layer.stride);
                weight.extend(row.flat_map(|block| block.0).take(inputs));
            }
            let bias = floats(&layer.bias)[..outputs].to_vec();
            Linear { shape: layer.shape, weight, bias }
        });
        Parameters { layers: layers.collect() }
    }
}
