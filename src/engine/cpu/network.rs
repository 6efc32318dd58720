//! One trial's weights and momentum, padded for the lanes.

use std::ops::Range;

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

impl Layer {
    /// Its weights in parts of so many columns, to be changed apart from each other.
    pub fn parts(&mut self, columns: usize) -> impl Iterator<Item = LayerPart<'_>> {
        let (shape, stride) = (self.shape, self.stride);
        let velocities = self.weight_velocity.chunks_mut(columns * stride);
        let weights = self.weight.chunks_mut(columns * stride);
        let both = weights.zip(velocities.chain(std::iter::repeat_with(Default::default)));
        both.enumerate().map(move |(index, (weight, velocity))| {
            let first = index * columns;
            LayerPart {
                shape,
                stride,
                columns: first..first + weight.len() / stride,
                weight,
                velocity,
            }
        })
    }

    /// All of its weights as one part.
    pub fn whole(&mut self) -> LayerPart<'_> {
        LayerPart {
            shape: self.shape,
            stride: self.stride,
            columns: 0..blocks(self.shape.inputs),
            weight: &mut self.weight,
            velocity: &mut self.weight_velocity,
        }
    }
}

/// Some columns of a layer's weights.
pub struct LayerPart<'a> {
    /// Of the layer.
    pub shape: Shape,
    pub stride: usize,
    /// Which of the layer's inputs, in blocks.
    pub columns: Range<usize>,
    /// These columns alone.
    pub weight: &'a mut [Block],
    /// As `weight`, or empty where there is no momentum.
    pub velocity: &'a mut [Block],
}

impl LayerPart<'_> {
    pub fn weights(&self) -> Matrix<'_> {
        Matrix { blocks: self.weight, stride: self.stride }
    }

    /// Inputs of the layer that it has.
    pub fn width(&self) -> usize {
        self.shape.inputs.min(self.columns.end * LANES) - self.columns.start * LANES
    }
}

/// The layers of one trial, first to last.
pub struct Network<'a> {
    order: &'a [u32],
    pub layers: Vec<Layer>,
}

impl<'a> Network<'a> {
    /// Lays parameters out for training, with room for velocities if there is momentum; `order` says
    /// which input of the first layer is at each place of a sample.
    pub fn new(parameters: &Parameters, order: &'a [u32], momentum: bool) -> Self {
        let velocity = |len| vec![Block::ZERO; if momentum { len } else { 0 }];
        let layers = parameters.layers.iter().enumerate().map(|(index, linear)| {
            let Shape { inputs, outputs } = linear.shape;
            let stride = stride_of(outputs);
            let mut weight = vec![Block::ZERO; blocks(inputs) * stride];
            let order = if index == 0 { order } else { &[] };
            for (output, row) in linear.weight.chunks(inputs).enumerate() {
                let row = in_order(row, order);
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
        Network { order, layers: layers.collect() }
    }

    /// The parameters, without padding and in their own order.
    pub fn parameters(&self) -> Parameters {
        let layers = self.layers.iter().enumerate().map(|(index, layer)| {
            let Shape { inputs, outputs } = layer.shape;
            let mut weight = Vec::with_capacity(outputs * inputs);
            for output in 0..outputs {
                let row = layer.weight[output..].iter().step_by(layer.stride);
                weight.extend(row.flat_map(|block| block.0).take(inputs));
            }
            if index == 0 {
                weight.chunks_exact_mut(inputs).for_each(|row| put_back(row, self.order));
            }
            let bias = floats(&layer.bias)[..outputs].to_vec();
            Linear { shape: layer.shape, weight, bias }
        });
        Parameters { layers: layers.collect() }
    }
}

/// A row's values in the order of their places; without an order, as they are.
fn in_order(row: &[f32], order: &[u32]) -> Vec<f32> {
    match order {
        [] => row.to_vec(),
        order => order.iter().map(|&input| row[input as usize]).collect(),
    }
}

/// Undoes [`in_order`].
fn put_back(row: &mut [f32], order: &[u32]) {
    let placed = row.to_vec();
    for (value, &input) in placed.iter().zip(order) {
        row[input as usize] = *value;
    }
}
