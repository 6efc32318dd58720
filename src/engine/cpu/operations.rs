//! Single operations of the CPU engine on drawn operands, for measuring: each can be run again and
//! again, and be compared with its definition in float64.
//!
//! They are the very passes of training; what a step adds is the walk through the data set, which the
//! training benchmarks measure.

use std::hint::black_box;

use super::dense::{Activate, Forward, Gather, InputGradient, Learn, NextBatch};
use super::lanes::{Block, Isa, LANES, blocks};
use super::network::{Layer, Network, stride_of};
use super::products::Matrix;
use super::sgd::Rule;
use super::softmax_xent::{Logits, Train};
use crate::model::{Activation, Hidden, Linear, Parameters, Shape};
use crate::random::{Purpose, Stream, symmetric_f32};

/// A pass of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A hidden layer's sums, `z = W x + b`.
    Forward,
    /// A layer's weight gradient, `d^T x`, and the update of its weights.
    WeightGradient,
    /// The gradient of a layer's inputs, `d W`.
    InputGradient,
    /// Bytes of scattered samples as floats.
    Gather,
    /// tanh and its derivative.
    Activate,
    /// Loss and gradient of logits: `outputs` classes.
    SoftmaxXent,
}

/// Sizes of an operation: a layer of some inputs and outputs, on some samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub samples: usize,
    pub inputs: usize,
    pub outputs: usize,
}

/// An operation with operands of its own.
pub struct Prepared {
    isa: Isa,
    operation: Operation,
    sizes: Sizes,
    layer: Layer,
    /// Samples x inputs.
    inputs: Grid,
    /// Samples x outputs: what goes forward, or comes back.
    outputs: Grid,
    /// The same with a row an output: logits.
    outputs_t: Grid,
    /// Samples x inputs.
    result: Grid,
    slopes: Vec<Block>,
    pixels: Vec<u8>,
    picked: Vec<u32>,
    labels: Vec<u8>,
    rule: Rule,
}

/// How many samples the pixels of a gather are picked from, for each that is picked.
const SPREAD: usize = 8;

/// Drawn values of a matrix, and the matrix.
struct Grid {
    blocks: Vec<Block>,
    stride: usize,
}

impl Grid {
    fn zeros(rows: usize, columns: usize, stride: usize) -> Grid {
        debug_assert!(rows <= stride);
        Grid { blocks: vec![Block::ZERO; blocks(columns) * stride], stride }
    }

    fn fill(&mut self, rows: usize, columns: usize, value: impl Fn(usize, usize) -> f32) {
        for row in 0..rows {
            for column in 0..columns {
                self.blocks[column / LANES * self.stride + row].0[column % LANES] =
                    value(row, column);
            }
        }
    }

    fn at(&self, row: usize, column: usize) -> f64 {
        f64::from(self.blocks[column / LANES * self.stride + row].0[column % LANES])
    }

    fn matrix(&self) -> Matrix<'_> {
        Matrix { blocks: &self.blocks, stride: self.stride }
    }
}

/// Values in [-1, 1) that depend on nothing but their place.
fn drawn(seed: u64, which: u16, columns: usize) -> impl Fn(usize, usize) -> f32 {
    let stream = Stream::new(seed, Purpose::Synthetic(which), 0);
    move |row, column| symmetric_f32(stream.word((row * columns + column) as u64), 1.0)
}

impl Prepared {
    /// Draws the operands by `seed`.
    pub fn new(isa: Isa, operation: Operation, sizes: Sizes, seed: u64) -> Prepared {
        let Sizes { samples, inputs, outputs } = sizes;
        let shape = Shape { inputs, outputs };
        // A gradient from zero weights at rate 1 stands in the weights afterwards, the sign turned.
        let learns = operation == Operation::WeightGradient;
        let weight = (0..outputs).flat_map(|o| (0..inputs).map(move |i| (o, i)));
        let value = drawn(seed, 0, inputs);
        let weight = weight.map(|(o, i)| if learns { 0.0 } else { value(o, i) }).collect();
        let bias = (0..outputs).map(|o| drawn(seed, 1, outputs)(0, o)).collect();
        let parameters = Parameters { layers: vec![Linear { shape, weight, bias }] };
        let mut layers = Network::new(&parameters, &[], false).layers;
        let stride = stride_of(samples);
        let mut prepared = Prepared {
            isa,
            operation,
            sizes,
            layer: layers.remove(0),
            inputs: Grid::zeros(samples, inputs, stride),
            outputs: Grid::zeros(samples, outputs, stride),
            outputs_t: Grid::zeros(outputs, samples, outputs),
            result: Grid::zeros(samples, inputs, stride),
            slopes: Vec::new(),
            pixels: Vec::new(),
            picked: Vec::new(),
            labels: Vec::new(),
            rule: Rule { learning_rate: 1.0, momentum: 0.0, nesterov: false, weight_decay: 0.0 },
        };
        prepared.draw(seed);
        prepared
    }

    /// The operands of this operation.
    fn draw(&mut self, seed: u64) {
        let Sizes { samples, inputs, outputs } = self.sizes;
        match self.operation {
            Operation::Forward => {
                self.inputs.fill(samples, inputs, drawn(seed, 2, inputs));
            }
            Operation::WeightGradient => {
                self.inputs.fill(samples, inputs, drawn(seed, 2, inputs));
                self.outputs.fill(samples, outputs, drawn(seed, 3, outputs));
            }
            Operation::InputGradient => {
                self.outputs.fill(samples, outputs, drawn(seed, 3, outputs));
                self.slopes = vec![Block([1.0; LANES]); self.result.blocks.len()];
            }
            Operation::Gather => {
                let byte = Stream::new(seed, Purpose::Synthetic(4), 0);
                let count = samples * SPREAD;
                self.pixels = (0..count * inputs).map(|i| byte.word(i as u64) as u8).collect();
                self.picked = (0..samples)
                    .map(|i| (i * 7919 % samples * SPREAD + i % SPREAD) as u32)
                    .collect();
            }
            Operation::Activate => {
                self.outputs.fill(samples, outputs, drawn(seed, 5, outputs));
                self.slopes = self.outputs.blocks.clone();
            }
            Operation::SoftmaxXent => {
                self.outputs_t.fill(outputs, samples, drawn(seed, 6, samples));
                self.labels = (0..samples).map(|i| (i * 7 % outputs) as u8).collect();
                self.slopes = self.outputs_t.blocks.clone();
            }
        }
    }

    /// Floating-point operations of a run; 0 where they are not what an operation is about.
    pub fn flop(&self) -> f64 {
        let Sizes { samples, inputs, outputs } = self.sizes;
        match self.operation {
            Operation::Forward | Operation::WeightGradient | Operation::InputGradient => {
                2.0 * (samples * inputs * outputs) as f64
            }
            _ => 0.0,
        }
    }

    /// Bytes of all operands and results of a run, each once for each time it is read or written.
    pub fn bytes(&self) -> f64 {
        let Sizes { samples, inputs, outputs } = self.sizes;
        let floats = match self.operation {
            Operation::Forward | Operation::InputGradient => {
                samples * inputs + inputs * outputs + samples * outputs
            }
            Operation::WeightGradient => {
                samples * inputs + 2 * inputs * outputs + samples * outputs
            }
            // A byte in, four out.
            Operation::Gather => return (5 * samples * inputs) as f64,
            // Values both ways, and the slopes.
            Operation::Activate => 3 * samples * outputs,
            // Logits in, two forms of the gradient out.
            Operation::SoftmaxXent => 3 * samples * outputs,
        };
        4.0 * floats as f64
    }

    /// Does it once. Operands stay what they are; the weights too, once they were learned.
    pub fn run(&mut self) {
        let Prepared { isa, layer, inputs, outputs, outputs_t, result, rule, .. } = self;
        let (isa, samples) = (*isa, self.sizes.samples);
        match self.operation {
            Operation::Forward => {
                let (out, stride) = (&mut outputs.blocks[..], outputs.stride);
                let (inputs, scale) = ((inputs.matrix(), None), 1.0);
                let outputs = 0..blocks(layer.shape.outputs);
                isa.run(Forward { layer, outputs, inputs, scale, samples, out, stride });
            }
            Operation::WeightGradient => {
                let (delta, inputs, rule) = (outputs.matrix(), inputs.matrix(), *rule);
                let (part, ahead) = (layer.whole(), &mut NextBatch::nothing());
                isa.run(Learn { part, inputs, samples, delta, rule, ahead });
            }
            Operation::InputGradient => {
                let delta = (outputs.matrix(), None);
                let (weights, outputs) = (layer.weights(), layer.shape.outputs);
                let (slopes, stride) = (&self.slopes[..], result.stride);
                let out = &mut result.blocks;
                isa.run(InputGradient { weights, outputs, samples, delta, slopes, out, stride });
            }
            Operation::Gather => {
                let (stride, out) = (result.stride, &mut result.blocks[..]);
                let (pixels, batch) = (&self.pixels[..], &self.picked[..]);
                isa.run(Gather { pixels, inputs: self.sizes.inputs, batch, out, stride });
            }
            Operation::Activate => {
                let hidden = tanh(self.sizes.outputs);
                let (stride, values) = (outputs.stride, &mut outputs.blocks[..]);
                let slopes = &mut self.slopes;
                let (first, dropout) = (0, None);
                isa.run(Activate { hidden, first, values, slopes, stride, samples, dropout });
            }
            Operation::SoftmaxXent => {
                let loss = isa.run(Train {
                    logits: Logits { values: &outputs_t.blocks, classes: self.sizes.outputs },
                    labels: &self.labels,
                    smoothing: 0.0,
                    delta_t: &mut self.slopes,
                    delta: &mut outputs.blocks,
                    delta_stride: outputs.stride,
                });
                black_box(loss);
            }
        }
    }

    /// Does it once on fresh operands and compares every result with the definition in float64: the
    /// worst error, as a share of what is added up in its element. To be asked before any other run.
    pub fn worst_error(&mut self) -> f64 {
        let before = Grid { blocks: self.outputs.blocks.clone(), stride: self.outputs.stride };
        self.run();
        let Sizes { samples, inputs, outputs } = self.sizes;
        let worst = |rows: usize, columns: usize, error: &dyn Fn(usize, usize) -> f64| {
            let all = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
            // Every element would take longer than the measurement: about 2,000 of them, spread out.
            let step = (rows * columns / 2000).max(1) | 1;
            let errors = all.step_by(step).map(|(row, column)| error(row, column));
            // A result that is not a number is the worst of all.
            errors
                .map(|error| if error.is_nan() { f64::INFINITY } else { error })
                .fold(0.0, f64::max)
        };
        let sum = |got: f64, terms: &mut dyn Iterator<Item = f64>| {
            let (total, scale) = terms.fold((0.0, 0.0), |(t, s), x| (t + x, s + x.abs()));
            (got - total).abs() / f64::max(scale, f64::MIN_POSITIVE)
        };
        let weight = |o: usize, i: usize| {
            let layer = &self.layer;
            f64::from(layer.weight[i / LANES * layer.stride + o].0[i % LANES])
        };
        let bias = |o: usize| f64::from(self.layer.bias[o / LANES].0[o % LANES]);
        let error = match self.operation {
            Operation::Forward => worst(samples, outputs, &|b, o| {
                let products = (0..inputs).map(|i| weight(o, i) * self.inputs.at(b, i));
                sum(self.outputs.at(b, o), &mut products.chain([bias(o)]))
            }),
            Operation::WeightGradient => worst(outputs, inputs, &|o, i| {
                let products = (0..samples).map(|b| -before.at(b, o) * self.inputs.at(b, i));
                sum(weight(o, i), &mut products.into_iter())
            }),
            Operation::InputGradient => worst(samples, inputs, &|b, i| {
                let products = (0..outputs).map(|o| self.outputs.at(b, o) * weight(o, i));
                sum(self.result.at(b, i), &mut products.into_iter())
            }),
            Operation::Gather => worst(samples, inputs, &|b, i| {
                let pixel = self.pixels[self.picked[b] as usize * inputs + i];
                (self.result.at(b, i) - f64::from(pixel)).abs()
            }),
            Operation::Activate => worst(samples, outputs, &|b, o| {
                (self.outputs.at(b, o) - before.at(b, o).tanh()).abs()
            }),
            Operation::SoftmaxXent => worst(samples, outputs, &|b, c| {
                let z = |c: usize| self.outputs_t.at(c, b);
                let total: f64 = (0..outputs).map(|c| z(c).exp()).sum();
                let target = f64::from(u8::from(usize::from(self.labels[b]) == c));
                let expected = (z(c).exp() / total - target) / samples as f64;
                (self.outputs.at(b, c) - expected).abs() * samples as f64
            }),
        };
        self.rule.learning_rate = 0.0;
        error
    }
}

fn tanh(units: usize) -> Hidden {
    Hidden { units, activation: Activation::Tanh, dropout: 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Operation; 6] = [
        Operation::Forward,
        Operation::WeightGradient,
        Operation::InputGradient,
        Operation::Gather,
        Operation::Activate,
        Operation::SoftmaxXent,
    ];

    #[test]
    fn every_operation_agrees_with_float64_on_every_instruction_set() {
        let sizes = [
            (1, 1, 2),
            (16, 784, 10),
            (37, 65, 70),
            // Rows in one tile and in several, of the same and of two sizes; squares that the last outputs do not fill.
            (13, 128, 64),
            (14, 70, 65),
            (43, 90, 77),
            // Several strips forward, the last of which is not full.
            (9, 401, 339),
            (48, 300, 210),
        ];
        for (samples, inputs, outputs) in sizes {
            for (operation, isa) in
                ALL.iter().flat_map(|op| Isa::available().into_iter().map(move |isa| (*op, isa)))
            {
                let sizes = Sizes { samples, inputs, outputs };
                let error = Prepared::new(isa, operation, sizes, 3).worst_error();
                assert!(error < 2e-6, "{operation:?} {sizes:?} {}: {error}", isa.name());
            }
        }
    }

    #[test]
    fn a_wrong_result_is_told_from_a_right_one() {
        let sizes = Sizes { samples: 5, inputs: 20, outputs: 7 };
        for operation in [Operation::Forward, Operation::InputGradient] {
            let mut prepared = Prepared::new(Isa::available()[0], operation, sizes, 3);
            prepared.layer.weight[3].0[2] = f32::NAN;
            assert_eq!(prepared.worst_error(), f64::INFINITY, "{operation:?}");
        }
    }

    #[test]
    fn running_again_changes_no_operand() {
        let sizes = Sizes { samples: 9, inputs: 33, outputs: 12 };
        let mut prepared = Prepared::new(Isa::available()[0], Operation::WeightGradient, sizes, 3);
        prepared.worst_error();
        let learned = prepared.layer.weight.clone();
        prepared.run();
        assert!(prepared.layer.weight == learned);
    }

    #[test]
    fn work_is_counted_as_it_is_defined() {
        let sizes = Sizes { samples: 2, inputs: 3, outputs: 5 };
        let work = |operation| {
            let prepared = Prepared::new(Isa::available()[0], operation, sizes, 3);
            (prepared.flop(), prepared.bytes())
        };
        assert_eq!(work(Operation::Forward), (60.0, 4.0 * 31.0));
        assert_eq!(work(Operation::WeightGradient), (60.0, 4.0 * 46.0));
        assert_eq!(work(Operation::Gather), (0.0, 30.0));
    }
}
