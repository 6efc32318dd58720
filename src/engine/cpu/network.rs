//! One trial's weights and momentum, padded for the lanes.

use super::lanes::{Block, blocks, floats, floats_mut};
use super::products::Matrix;
use crate::model::{Linear, Parameters, Shape};

/// Blocks from a row to the next for rows of `len` floats: odd, so that the rows of a power-of-two
/// width do not all fall into the same few sets of a cache.
pub fn row_stride(len: usize) -> usize {
    blocks(len) | 1
}

/// A layer's parameters. What pads a row is zero and stays zero.
pub struct Layer {
    pub shape: Shape,
    /// Blocks from a row of `weight` to the next.
    pub stride: usize,
    /// `outputs x stride` blocks.
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
            let stride = row_stride(inputs);
            let mut weight = vec![Block::ZERO; outputs * stride];
            for (row, values) in weight.chunks_mut(stride).zip(linear.weight.chunks(inputs)) {
                floats_mut(row)[..inputs].copy_from_slice(values);
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
            let rows = layer.weight.chunks(layer.stride);
            Linear {
                shape: layer.shape,
                weight: rows.flat_map(|row| floats(row)[..inputs].iter().copied()).collect(),
                bias: floats(&layer.bias)[..outputs].to_vec(),
            }
        });
        Parameters { layers: layers.collect() }
    }
}
