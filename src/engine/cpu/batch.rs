//! A batch's way through a network: forward, loss, backward and update, or forward and score.

use super::dense::{
    Activate, Dropout, Forward, Gather, InputGradient, Layout, Learn, NextBatch, PIXEL, Transpose,
};
use super::lanes::{Block, Isa, LANES, blocks, floats_mut};
use super::network::{Layer, Network, row_stride};
use super::products::{Left, Pixels, Right, Samples};
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
        let dropout = |layer| {
            let stream = Stream::new(step.seed, Purpose::Dropout(layer as u16), step.trial);
            Some(Dropout { stream, first: step.before })
        };
        let mut next = NextBatch::new(part, self.inputs, step.next);
        let next = &mut next;
        self.take_labels(part, step.samples);
        if self.reads_bytes() {
            let rows = rows_of(part, self.inputs, step.samples);
            let inputs = Pixels { rows: &rows };
            self.forward(network, inputs, step.samples.len(), next, dropout);
            let loss = self.loss(step);
            self.backward(network, inputs, step, next);
            loss
        } else {
            self.gather(part, step.samples);
            let pixels = std::mem::take(&mut self.pixels);
            let inputs = Samples { blocks: &pixels, stride: row_stride(self.inputs) };
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
            self.forward(network, Pixels { rows: &rows }, samples.len(), &mut next, |_| None);
        } else {
            self.gather(part, samples);
            let pixels = std::mem::take(&mut self.pixels);
            let inputs = Samples { blocks: &pixels, stride: row_stride(self.inputs) };
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
        let (inputs, stride) = (self.inputs, row_stride(self.inputs));
        let out = &mut self.pixels[..];
        self.isa.run(Gather { pixels: part.pixels, inputs, batch: samples, out, stride });
    }

    fn forward(
        &mut self,
        network: &Network,
        pixels: impl Left,
        samples: usize,
        ahead: &mut NextBatch<'_>,
        dropout: impl Fn(usize) -> Option<Dropout>,
    ) {
        let samples_stride = self.samples_stride();
        let mut below: Option<Samples<'_>> = None;
        for (index, (hidden, layer)) in self.hidden.iter_mut().zip(&network.layers).enumerate() {
            let stride = hidden.stride;
            let (out, layout) =
                (floats_mut(&mut hidden.values), Layout::SampleRows(stride * LANES));
            forward_layer(self.isa, layer, (pixels, below), samples, out, layout, ahead);
            self.isa.run(Activate {
                hidden: hidden.layer,
                values: &mut hidden.values,
                slopes: &mut hidden.slopes,
                stride,
                samples,
                dropout: dropout(index),
            });
            below = Some(Samples { blocks: &hidden.values, stride });
        }
        if let Some(layer) = network.layers.last() {
            let (out, layout) = (&mut self.output.logits[..], Layout::OutputRows(samples_stride));
            forward_layer(self.isa, layer, (pixels, below), samples, out, layout, ahead);
        }
    }

    fn loss(&mut self, step: &Step<'_>) -> f64 {
        let stride = self.samples_stride();
        let output = &mut self.output;
        self.isa.run(Train {
            logits: Logits { values: &output.logits, stride, classes: output.classes },
            labels: &self.labels[..step.samples.len()],
            smoothing: step.smoothing,
            delta_t: &mut output.delta_t,
            delta: floats_mut(&mut output.delta),
            delta_stride: output.stride * LANES,
        })
    }

    fn backward(
        &mut self,
        network: &mut Network,
        pixels: impl Right,
        step: &Step<'_>,
        ahead: &mut NextBatch<'_>,
    ) {
        let samples_stride = self.samples_stride();
        let Batch { isa, hidden, output, .. } = self;
        let (samples, rule) = (step.samples.len(), step.rule);
        let Some((last, below)) = network.layers.split_last_mut() else { return };

        // The output layer's delta stands already; each hidden layer's is made by the one above it.
        let mut above: (&mut Layer, &mut [Block], usize, &[f32]) =
            (last, &mut output.delta, output.stride, &output.delta_t);
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
            let (layer_above, scale, ahead) = (upper, 1.0, &mut *ahead);
            isa.run(Learn {
                layer: layer_above,
                inputs,
                scale,
                samples,
                delta,
                delta_stride,
                rule,
                ahead,
            });
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
            above = (layer, &mut part.delta, part.stride, &part.delta_t);
        }
        let (layer, delta, delta_stride, _) = above;
        let (inputs, scale) = (pixels, PIXEL);
        isa.run(Learn { layer, inputs, scale, samples, delta, delta_stride, rule, ahead });
    }
}

/// One layer forward: from the pixels if nothing lies below it.
fn forward_layer(
    isa: Isa,
    layer: &Layer,
    (pixels, below): (impl Left, Option<Samples<'_>>),
    samples: usize,
    out: &mut [f32],
    layout: Layout,
    ahead: &mut NextBatch<'_>,
) {
    match below {
        Some(inputs) => {
            isa.run(Forward { layer, inputs, scale: 1.0, samples, out, layout, ahead });
        }
        None => {
            let (inputs, scale) = (pixels, PIXEL);
            isa.run(Forward { layer, inputs, scale, samples, out, layout, ahead });
        }
    }
}

/// The pixels of some samples, in blocks.
fn rows_of<'a>(part: Part<'a>, inputs: usize, samples: &[u32]) -> Vec<&'a [[u8; LANES]]> {
    let row = |sample: &u32| &part.pixels[*sample as usize * inputs..][..inputs];
    samples.iter().map(|sample| row(sample).as_chunks().0).collect()
}
