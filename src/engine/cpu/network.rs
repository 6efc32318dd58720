//! One trial's weights and momentum, padded for the lanes.

use super::lanes::{Block, LANES, blocks, floats, floats_mut};
use super::products::Matrix;
use crate::model::{Linear, Parameters, Shape};

/// The stride of a [`Matrix`] of so many rows: odd, so that a power of two of them does not make
/// neighbouring columns fall into the same few sets of a cache; a few rows stay as small as they are.
pub fn stride_of(rows: usize) -> usize {
    if rows < 32 { rows } else { rows | 1 }
}

/// A layer's parameters. What pads a row is zero and stays zero.
pub struct Layer {
    pub shape: Shape,
    /// Of the matrix of weights: its rows are the outputs.
    pub stride: usize,
    pub weight: Vec<Block>,
    /// `outputs` floats.
    pub bias: Vec<Block>,
    /// As `weight`, or empty where there is no momentum.
    pub weight_velocity: Vec<Block>,
    pub bias_velocity: Vec<Block>,
}

impl Layer {
    pub fn weights(&self) -> Matrix<'_> {
        Matrix { blocks: &self.weight, stride: self.stride }
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
            let stride = stride_of(outputs);
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
