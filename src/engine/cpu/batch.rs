//! A batch's way through a network: forward, loss, backward and update, or forward and score.

use std::ops::Range;

use super::dense::{
    Activate, Dropout, Forward, ForwardLogits, Gather, InputGradient, Learn, LearnBiases,
    NextBatch, PIXEL, Transpose,
};
use super::lanes::{Block, ByteRows, Isa, LANES, blocks, floats_mut};
use super::network::{Layer, Network, stride_of};
use super::products::{Matrix, Operand, Pixels};
use super::sgd::Rule;
use super::softmax_xent::{Logits, Score, Train};
use crate::data::Part;
use crate::model::{Architecture, Hidden};
use crate::random::{Purpose, Stream};

/// The activations and gradients of up to `capacity` samples; a row of a matrix is a sample.
pub struct Batch {
    isa: Isa,
    capacity: usize,
    /// Of all matrices.
    stride: usize,
    inputs: usize,
    /// The blocks of a matrix; empty where pixels are read where they lie.
    pixels: Vec<Block>,
    hidden: Vec<HiddenBatch>,
    output: OutputBatch,
    labels: Vec<u8>,
    predicted: Vec<u32>,
}

/// A hidden layer's part: the blocks of three matrices, and a transposed one.
struct HiddenBatch {
    layer: Hidden,
    values: Vec<Block>,
    slopes: Vec<Block>,
    delta: Vec<Block>,
    /// `[unit * samples_stride + sample]`; empty in the first hidden layer, where none needs it.
    delta_t: Vec<f32>,
}

/// The output layer's part.
struct OutputBatch {
    classes: usize,
    /// Sums on their way to the logits, sixteen a class.
    sums: Vec<Block>,
    /// `[class * samples_stride + sample]`
    logits: Vec<f32>,
    delta_t: Vec<f32>,
    /// The blocks of a matrix.
    delta: Vec<Block>,
}

/// Which samples a step trains on, and what belongs to the step alone.
pub struct Step<'a> {
    pub samples: &'a [u32],
    /// The samples of the next step.
    pub next: &'a [u32],
    pub rule: Rule,
    pub smoothing: f32,
    pub seed: u64,
    pub trial: u32,
    /// Samples trained on before this step, in all epochs.
    pub before: u64,
}

impl Batch {
    /// Room for batches of up to `capacity` samples.
    pub fn new(isa: Isa, architecture: &Architecture, capacity: usize) -> Self {
        let (stride, samples) = (stride_of(capacity), capacity.next_multiple_of(LANES));
        let hidden = architecture.hidden.iter().enumerate().map(|(index, layer)| {
            let zeros = vec![Block::ZERO; blocks(layer.units) * stride];
            HiddenBatch {
                layer: *layer,
                values: zeros.clone(),
                slopes: zeros.clone(),
                delta: zeros,
                delta_t: vec![0.0; if index == 0 { 0 } else { layer.units * samples }],
            }
        });
        let (inputs, classes) = (architecture.inputs, architecture.classes);
        let mut batch = Batch {
            isa,
            capacity,
            stride,
            inputs,
            pixels: Vec::new(),
            hidden: hidden.collect(),
            output: OutputBatch {
                classes,
                sums: vec![Block::ZERO; classes * LANES],
                logits: vec![0.0; classes * samples],
                delta_t: vec![0.0; classes * samples],
                delta: vec![Block::ZERO; blocks(classes) * stride],
            },
            labels: vec![0; capacity],
            predicted: vec![0; capacity],
        };
        if !batch.reads_bytes() {
            batch.pixels = vec![Block::ZERO; blocks(inputs) * stride];
        }
        batch
    }

    /// Floats from a unit's row of a transposed matrix to the next.
    fn samples_stride(&self) -> usize {
        self.capacity.next_multiple_of(LANES)
    }

    /// One step of SGD; returns the sum of the samples' losses, before the update.
    pub fn train(&mut self, network: &mut Network, part: Part<'_>, step: &Step<'_>) -> f64 {
        let dropout = |layer| {
            let stream = Stream::new(step.seed, Purpose::Dropout(layer as u16), step.trial);
            Some(Dropout { stream, first: step.before })
        };
        let mut next = NextBatch::new(part, self.inputs, step.next);
        let next = &mut next;
        self.take_labels(part, step.samples);
        if self.reads_bytes() {
            let rows = rows_of(part, self.inputs, step.samples);
            let inputs = Pixels { rows: ByteRows::new(&rows) };
            self.forward(network, inputs, step.samples.len(), next, dropout);
            let loss = self.loss(step);
            self.backward(network, inputs, step, next);
            loss
        } else {
            self.gather(part, step.samples);
            let pixels = std::mem::take(&mut self.pixels);
            let inputs = Matrix { blocks: &pixels, stride: self.stride };
            self.forward(network, inputs, step.samples.len(), next, dropout);
            let loss = self.loss(step);
            self.backward(network, inputs, step, next);
            self.pixels = pixels;
            loss
        }
    }

    /// Scores samples: adds their losses to `total` and returns their predicted classes.
    pub fn score(
        &mut self,
        network: &Network,
        part: Part<'_>,
        samples: &[u32],
        total: &mut f64,
    ) -> &[u32] {
        let mut next = NextBatch::new(part, self.inputs, &[]);
        self.take_labels(part, samples);
        if self.reads_bytes() {
            let rows = rows_of(part, self.inputs, samples);
            self.forward(
                network,
                Pixels { rows: ByteRows::new(&rows) },
                samples.len(),
                &mut next,
                |_| None,
            );
        } else {
            self.gather(part, samples);
            let pixels = std::mem::take(&mut self.pixels);
            let inputs = Matrix { blocks: &pixels, stride: self.stride };
            self.forward(network, inputs, samples.len(), &mut next, |_| None);
            self.pixels = pixels;
        }
        let logits = Logits {
            values: &self.output.logits,
            stride: self.samples_stride(),
            classes: self.output.classes,
        };
        let predicted = &mut self.predicted[..samples.len()];
        let labels = &self.labels[..samples.len()];
        self.isa.run(Score { logits, labels, predicted, total });
        predicted
    }

    /// The most samples that a batch may have.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether the first layer reads pixels where they lie: where it is the only one, so that they
    /// are read once each way, and where a sample is whole blocks. It changes no number.
    fn reads_bytes(&self) -> bool {
        self.hidden.is_empty() && self.inputs.is_multiple_of(LANES)
    }

    fn take_labels(&mut self, part: Part<'_>, samples: &[u32]) {
        for (label, sample) in self.labels.iter_mut().zip(samples) {
            *label = part.labels[*sample as usize];
        }
    }

    fn gather(&mut self, part: Part<'_>, samples: &[u32]) {
        let (inputs, stride, out) = (self.inputs, self.stride, &mut self.pixels[..]);
        self.isa.run(Gather { pixels: part.pixels, inputs, batch: samples, out, stride });
    }

    fn forward(
        &mut self,
        network: &Network,
        pixels: impl Operand,
        samples: usize,
        ahead: &mut NextBatch<'_>,
        dropout: impl Fn(usize) -> Option<Dropout>,
    ) {
        let (stride, samples_stride) = (self.stride, self.samples_stride());
        let mut below: Option<Matrix<'_>> = None;
        for (index, (hidden, layer)) in self.hidden.iter_mut().zip(&network.layers).enumerate() {
            let (isa, out, ahead) = (self.isa, &mut hidden.values[..], &mut *ahead);
            match below {
                Some(inputs) => {
                    isa.run(Forward { layer, inputs, scale: 1.0, samples, out, stride, ahead });
                }
                None => {
                    let (inputs, scale) = (pixels, PIXEL);
                    isa.run(Forward { layer, inputs, scale, samples, out, stride, ahead });
                }
            }
            self.isa.run(Activate {
                hidden: hidden.layer,
                values: &mut hidden.values,
                slopes: &mut hidden.slopes,
                stride,
                samples,
                dropout: dropout(index),
            });
            below = Some(Matrix { blocks: &hidden.values, stride });
        }
        if let Some(layer) = network.layers.last() {
            let (isa, stride, OutputBatch { sums, logits: out, .. }) =
                (self.isa, samples_stride, &mut self.output);
            match below {
                Some(inputs) => {
                    let scale = 1.0;
                    isa.run(ForwardLogits {
                        layer,
                        inputs,
                        scale,
                        samples,
                        sums,
                        out,
                        stride,
                        ahead,
                    });
                }
                None => {
                    let (inputs, scale) = (pixels, PIXEL);
                    isa.run(ForwardLogits {
                        layer,
                        inputs,
                        scale,
                        samples,
                        sums,
                        out,
                        stride,
                        ahead,
                    });
                }
            }
        }
    }

    fn loss(&mut self, step: &Step<'_>) -> f64 {
        let (delta_stride, stride) = (self.stride, self.samples_stride());
        let output = &mut self.output;
        self.isa.run(Train {
            logits: Logits { values: &output.logits, stride, classes: output.classes },
            labels: &self.labels[..step.samples.len()],
            smoothing: step.smoothing,
            delta_t: &mut output.delta_t,
            delta: &mut output.delta,
            delta_stride,
        })
    }

    fn backward(
        &mut self,
        network: &mut Network,
        pixels: impl Operand,
        step: &Step<'_>,
        ahead: &mut NextBatch<'_>,
    ) {
        let (stride, samples_stride) = (self.stride, self.samples_stride());
        let Batch { isa, hidden, output, .. } = self;
        let (samples, rule) = (step.samples.len(), step.rule);
        let Some((last, below)) = network.layers.split_last_mut() else { return };

        // The output layer's delta stands already; each hidden layer's is made by the one above it.
        let mut above: (&mut Layer, &mut [Block], &[f32]) =
            (last, &mut output.delta, &output.delta_t);
        for (index, (part, lower)) in hidden.iter_mut().zip(below).enumerate().rev() {
            let (layer, delta, delta_t) = above;
            let delta = Matrix { blocks: delta, stride };
            let inputs = Matrix { blocks: &part.values, stride };
            // A strip of weights gives its inputs their gradient and is updated while it is near.
            for columns in strips(layer) {
                isa.run(InputGradient {
                    layer,
                    columns: columns.clone(),
                    samples,
                    delta_t: (delta_t, samples_stride),
                    slopes: &part.slopes,
                    out: &mut part.delta,
                    stride,
                });
                let ahead = &mut *ahead;
                isa.run(Learn { layer, inputs, columns, samples, delta, rule, ahead });
            }
            isa.run(LearnBiases { layer, samples, delta, rule });
            if index > 0 {
                isa.run(Transpose {
                    from: Matrix { blocks: &part.delta, stride },
                    samples,
                    units: part.layer.units,
                    to: &mut part.delta_t,
                    stride: samples_stride,
                });
            }
            above = (lower, &mut part.delta, &part.delta_t);
        }
        let (layer, delta, _) = above;
        isa.run(LearnBiases { layer, samples, delta: Matrix { blocks: delta, stride }, rule });
        floats_mut(delta).iter_mut().for_each(|value| *value *= PIXEL);
        let (columns, delta) = (0..blocks(layer.shape.inputs), Matrix { blocks: delta, stride });
        isa.run(Learn { layer, inputs: pixels, columns, samples, delta, rule, ahead });
    }
}

/// The inputs of a layer, in blocks, cut so that the weights of each piece fit the second-level
/// cache together with their velocities. The pieces are of whole tiles and change no number.
fn strips(layer: &Layer) -> impl Iterator<Item = Range<usize>> + use<> {
    const BLOCKS: usize = 8192; // 512 KiB
    const TILE: usize = 6;
    let columns = blocks(layer.shape.inputs);
    let width = (BLOCKS / layer.stride / TILE).max(1) * TILE;
    (0..columns).step_by(width).map(move |first| first..columns.min(first + width))
}

/// The pixels of some samples, in blocks.
fn rows_of<'a>(part: Part<'a>, inputs: usize, samples: &[u32]) -> Vec<&'a [[u8; LANES]]> {
    let row = |sample: &u32| &part.pixels[*sample as usize * inputs..][..inputs];
    samples.iter().map(|sample| row(sample).as_chunks().0).collect()
}
