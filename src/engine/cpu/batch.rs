//! A batch's way through a network: forward, loss, backward and update, or forward and score.

use super::dense::{
    Activate, Dropout, Forward, Gather, InputGradient, Layout, Learn, NextBatch, Transpose,
};
use super::lanes::{Block, Isa, LANES, blocks, floats_mut};
use super::network::{Layer, Network, row_stride};
use super::products::Samples;
use super::sgd::Rule;
use super::softmax_xent::{Logits, Score, Train};
use crate::data::Part;
use crate::model::{Architecture, Hidden};
use crate::random::{Purpose, Stream};

/// The activations and gradients of up to `capacity` samples.
pub struct Batch {
    isa: Isa,
    capacity: usize,
    inputs: usize,
    /// `capacity x row_stride(inputs)` blocks.
    pixels: Vec<Block>,
    hidden: Vec<HiddenBatch>,
    output: OutputBatch,
    labels: Vec<u8>,
    predicted: Vec<u32>,
}

/// A hidden layer's part; all but `delta_t` are `capacity x stride` blocks.
struct HiddenBatch {
    layer: Hidden,
    stride: usize,
    values: Vec<Block>,
    slopes: Vec<Block>,
    delta: Vec<Block>,
    /// `[unit * samples_stride + sample]`; empty in the first hidden layer, where none needs it.
    delta_t: Vec<f32>,
}

/// The output layer's part.
struct OutputBatch {
    classes: usize,
    /// `[class * samples_stride + sample]`
    logits: Vec<f32>,
    delta_t: Vec<f32>,
    /// `capacity x stride` blocks.
    delta: Vec<Block>,
    stride: usize,
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
        let samples = capacity.next_multiple_of(LANES);
        let hidden = architecture.hidden.iter().enumerate().map(|(index, layer)| {
            let stride = row_stride(layer.units);
            let zeros = vec![Block::ZERO; capacity * stride];
            HiddenBatch {
                layer: *layer,
                stride,
                values: zeros.clone(),
                slopes: zeros.clone(),
                delta: zeros,
                delta_t: vec![0.0; if index == 0 { 0 } else { layer.units * samples }],
            }
        });
        let (inputs, classes) = (architecture.inputs, architecture.classes);
        Batch {
            isa,
            capacity,
            inputs,
            pixels: vec![Block::ZERO; capacity * row_stride(inputs)],
            hidden: hidden.collect(),
            output: OutputBatch {
                classes,
                logits: vec![0.0; classes * samples],
                delta_t: vec![0.0; classes * samples],
                delta: vec![Block::ZERO; capacity * blocks(classes)],
                stride: blocks(classes),
            },
            labels: vec![0; capacity],
            predicted: vec![0; capacity],
        }
    }

    /// Floats from a unit's row of a transposed matrix to the next.
    fn samples_stride(&self) -> usize {
        self.capacity.next_multiple_of(LANES)
    }

    /// One step of SGD; returns the sum of the samples' losses, before the update.
    pub fn train(&mut self, network: &mut Network, part: Part<'_>, step: &Step<'_>) -> f64 {
        self.gather(part, step.samples);
        let (pixels, inputs, samples) = (part.pixels, self.inputs, step.next);
        let mut next = NextBatch { pixels, inputs, samples };
        self.forward(network, step.samples.len(), &mut next, |layer| {
            let stream = Stream::new(step.seed, Purpose::Dropout(layer as u16), step.trial);
            Some(Dropout { stream, first: step.before })
        });
        let stride = self.samples_stride();
        let output = &mut self.output;
        let loss = self.isa.run(Train {
            logits: Logits { values: &output.logits, stride, classes: output.classes },
            labels: &self.labels[..step.samples.len()],
            smoothing: step.smoothing,
            delta_t: &mut output.delta_t,
            delta: floats_mut(&mut output.delta),
            delta_stride: output.stride * LANES,
        });
        self.backward(network, step.samples.len(), step.rule, &mut next);
        loss
    }

    /// The most samples that a batch may have.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Scores samples: adds their losses to `total` and returns their predicted classes.
    pub fn score(
        &mut self,
        network: &Network,
        part: Part<'_>,
        samples: &[u32],
        total: &mut f64,
    ) -> &[u32] {
        self.gather(part, samples);
        let mut next = NextBatch { pixels: &[], inputs: self.inputs, samples: &[] };
        self.forward(network, samples.len(), &mut next, |_| None);
        let logits = Logits {
            values: &self.output.logits,
            stride: self.capacity.next_multiple_of(LANES),
            classes: self.output.classes,
        };
        let predicted = &mut self.predicted[..samples.len()];
        let labels = &self.labels[..samples.len()];
        self.isa.run(Score { logits, labels, predicted, total });
        predicted
    }

    fn gather(&mut self, part: Part<'_>, samples: &[u32]) {
        let stride = row_stride(self.inputs);
        let (pixels, inputs, out) = (part.pixels, self.inputs, &mut self.pixels[..]);
        self.isa.run(Gather { pixels, inputs, batch: samples, out, stride });
        for (label, sample) in self.labels.iter_mut().zip(samples) {
            *label = part.labels[*sample as usize];
        }
    }

    fn forward(
        &mut self,
        network: &Network,
        samples: usize,
        ahead: &mut NextBatch<'_>,
        dropout: impl Fn(usize) -> Option<Dropout>,
    ) {
        let samples_stride = self.samples_stride();
        let mut inputs = Samples { blocks: &self.pixels, stride: row_stride(self.inputs) };
        for (index, (hidden, layer)) in self.hidden.iter_mut().zip(&network.layers).enumerate() {
            let stride = hidden.stride;
            let out = floats_mut(&mut hidden.values);
            let layout = Layout::SampleRows(stride * LANES);
            self.isa.run(Forward { layer, inputs, samples, out, layout, ahead: &mut *ahead });
            self.isa.run(Activate {
                hidden: hidden.layer,
                values: &mut hidden.values,
                slopes: &mut hidden.slopes,
                stride,
                samples,
                dropout: dropout(index),
            });
            inputs = Samples { blocks: &hidden.values, stride };
        }
        if let Some(layer) = network.layers.last() {
            let out = &mut self.output.logits[..];
            let layout = Layout::OutputRows(samples_stride);
            self.isa.run(Forward { layer, inputs, samples, out, layout, ahead: &mut *ahead });
        }
    }

    fn backward(
        &mut self,
        network: &mut Network,
        samples: usize,
        rule: Rule,
        ahead: &mut NextBatch<'_>,
    ) {
        let Batch { isa, pixels, hidden, output, .. } = self;
        let samples_stride = self.capacity.next_multiple_of(LANES);
        let Some((last, below)) = network.layers.split_last_mut() else { return };

        // The output layer's delta stands already; each hidden layer's is made by the one above it.
        let mut above: (&mut Layer, &[Block], usize, &[f32]) =
            (last, &output.delta, output.stride, &output.delta_t);
        for (index, (part, layer)) in hidden.iter_mut().zip(below).enumerate().rev() {
            let (upper, delta, delta_stride, delta_t) = above;
            isa.run(InputGradient {
                layer: upper,
                samples,
                delta_t: (delta_t, samples_stride),
                slopes: &part.slopes,
                out: &mut part.delta,
                stride: part.stride,
            });
            let inputs = Samples { blocks: &part.values, stride: part.stride };
            let ahead = &mut *ahead;
            isa.run(Learn { layer: upper, inputs, samples, delta, delta_stride, rule, ahead });
            if index > 0 {
                isa.run(Transpose {
                    from: &part.delta,
                    from_stride: part.stride,
                    samples,
                    units: part.layer.units,
                    to: &mut part.delta_t,
                    stride: samples_stride,
                });
            }
            above = (layer, &part.delta, part.stride, &part.delta_t);
        }
        let (layer, delta, delta_stride, _) = above;
        let inputs = Samples { blocks: pixels, stride: row_stride(self.inputs) };
        isa.run(Learn { layer, inputs, samples, delta, delta_stride, rule, ahead });
    }
}
