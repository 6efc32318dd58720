//! A batch's way through a network: forward, loss, backward and update, or forward and score.

use super::dense::{
    Activate, Dropout, Forward, ForwardLogits, Gather, InputGradient, Learn, LearnBiases,
    LearnSparse, NextBatch, PIXEL,
};
use super::lanes::{Block, Isa, LANES, PAIRS, blocks, floats_mut};
use super::network::{Layer, LayerPart, Network, stride_of};
use super::pixels::Floats;
use super::places::Places;
use super::probe::{Operation, Probe};
use super::products::{Matrix, Operand};
use super::sets::Sets;
use super::sgd::Rule;
use super::softmax_xent::{Logits, Score, Train};
use super::sparse::{SPARSE_FROM, WIDEST, has_zeros, is_sparse};
use super::team::Team;
use crate::data::PatchedPart;
use crate::engine::profile::Work;
use crate::model::{Architecture, Hidden, Shape};
use crate::random::{Purpose, Stream};

/// The activations and gradients of up to `capacity` samples; a row of a matrix is a sample.
pub struct Batch {
    isa: Isa,
    team: Team,
    capacity: usize,
    /// Of all matrices.
    stride: usize,
    inputs: usize,
    /// The blocks of a matrix; empty where pixels are read where they lie.
    pixels: Vec<Block>,
    /// Which of them are not zero, of each sample of a batch that may be sparse.
    lit: Sets,
    /// Where they are.
    places: Places,
    hidden: Vec<HiddenBatch>,
    output: OutputBatch,
    labels: Vec<u8>,
    predicted: Vec<u32>,
}

/// A hidden layer's part: the blocks of three matrices.
struct HiddenBatch {
    layer: Hidden,
    values: Vec<Block>,
    slopes: Vec<Block>,
    delta: Vec<Block>,
    /// Which units are not zero, both value and slope, for which samples; where many may be.
    active: Option<Sets>,
}

/// The output layer's part.
struct OutputBatch {
    classes: usize,
    /// Sums on their way to the logits: of sixteen samples, halved.
    sums: Vec<Block>,
    /// Transposed: a row a class.
    logits: Vec<Block>,
    delta_t: Vec<Block>,
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
    /// Room for batches of up to `capacity` samples, which a team works on: on its pool, if it is one.
    pub fn new(isa: Isa, team: Team, architecture: &Architecture, capacity: usize) -> Self {
        let (stride, columns) = (stride_of(capacity), blocks(capacity));
        let hidden = architecture.hidden.iter().map(|layer| {
            let zeros = vec![Block::ZERO; blocks(layer.units) * stride];
            HiddenBatch {
                layer: *layer,
                values: zeros.clone(),
                slopes: zeros.clone(),
                delta: zeros,
                active: has_zeros(layer).then(|| Sets::new(capacity, layer.units)),
            }
        });
        let (inputs, classes) = (architecture.inputs, architecture.classes);
        let mut batch = Batch {
            isa,
            team,
            capacity,
            stride,
            inputs,
            pixels: Vec::new(),
            lit: Sets::new(capacity, inputs),
            places: Places::new(inputs, capacity),
            hidden: hidden.collect(),
            output: OutputBatch {
                classes,
                sums: vec![Block::ZERO; classes * PAIRS],
                logits: vec![Block::ZERO; classes * columns],
                delta_t: vec![Block::ZERO; classes * columns],
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

    /// One step of SGD; returns the sum of the samples' losses, before the update.
    pub fn train(
        &mut self,
        network: &mut Network<'_>,
        part: PatchedPart<'_>,
        step: &Step<'_>,
        probe: &mut impl Probe,
    ) -> f64 {
        probe.step(step.samples.len());
        let dropout = |layer| {
            let stream = Stream::new(step.seed, Purpose::Dropout(layer as u16), step.trial);
            Some(Dropout { stream, first: step.before })
        };
        let mut next = NextBatch::new(part, step.next);
        let next = &mut next;
        self.take_labels(part, step.samples);
        let mut places = std::mem::take(&mut self.places);
        places.find_both_ways(self.isa, part, step.samples);
        let loss = if self.reads_bytes() {
            probe.lap(Operation::Gather, 0, || Work::moving(step.samples.len()));
            let inputs = places.pixels(part);
            let nothing = &mut NextBatch::nothing();
            self.logits(network, (inputs, PIXEL), step.samples.len(), nothing, probe);
            let loss = self.loss(step, probe);
            self.backward(network, inputs, step, next, probe);
            loss
        } else {
            self.gather(part, step.samples, probe);
            let pixels = std::mem::take(&mut self.pixels);
            let matrix = Matrix { blocks: &pixels, stride: self.stride };
            self.forward(network, matrix, step.samples.len(), dropout, probe);
            let loss = self.loss(step, probe);
            self.backward(network, Floats { matrix, places: &places }, step, next, probe);
            self.pixels = pixels;
            loss
        };
        self.places = places;
        loss
    }

    /// Scores samples, with those after them in sight: adds their losses to `total` and returns their
    /// predicted classes.
    pub fn score(
        &mut self,
        network: &Network<'_>,
        part: PatchedPart<'_>,
        (samples, next): (&[u32], &[u32]),
        total: &mut f64,
        probe: &mut impl Probe,
    ) -> &[u32] {
        probe.step(samples.len());
        self.take_labels(part, samples);
        if self.reads_bytes() {
            let mut places = std::mem::take(&mut self.places);
            places.find(part, samples);
            probe.lap(Operation::Gather, 0, || Work::moving(samples.len()));
            let inputs = places.pixels(part);
            let next = &mut NextBatch::new(part, next);
            self.logits(network, (inputs, PIXEL), samples.len(), next, probe);
            self.places = places;
        } else {
            self.gather(part, samples, probe);
            let pixels = std::mem::take(&mut self.pixels);
            let matrix = Matrix { blocks: &pixels, stride: self.stride };
            self.forward(network, matrix, samples.len(), |_| None, probe);
            self.pixels = pixels;
        }
        let logits = Logits { values: &self.output.logits, classes: self.output.classes };
        let predicted = &mut self.predicted[..samples.len()];
        let labels = &self.labels[..samples.len()];
        self.isa.run(Score { logits, labels, predicted, total });
        let classes = self.output.classes;
        probe.lap(Operation::SoftmaxXent, 0, || Work::moving(4 * labels.len() * (classes + 1)));
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

    fn take_labels(&mut self, part: PatchedPart<'_>, samples: &[u32]) {
        for (label, sample) in self.labels.iter_mut().zip(samples) {
            *label = part.labels[*sample as usize];
        }
    }

    fn gather(&mut self, part: PatchedPart<'_>, samples: &[u32], probe: &mut impl Probe) {
        let (inputs, stride, out) = (self.inputs, self.stride, &mut self.pixels[..]);
        self.isa.run(Gather { pixels: part.pixels, inputs, batch: samples, out, stride });
        if !self.hidden.is_empty() && samples.len() >= SPARSE_FROM {
            let matrix = Matrix { blocks: &self.pixels, stride };
            self.lit.find(self.isa, [matrix], [samples.len(), inputs]);
        }
        // Bytes are read, floats written.
        probe.lap(Operation::Gather, 0, || Work::moving(5 * samples.len() * inputs));
    }

    /// All layers forward.
    fn forward(
        &mut self,
        network: &Network<'_>,
        pixels: Matrix<'_>,
        samples: usize,
        dropout: impl Fn(usize) -> Option<Dropout>,
        probe: &mut impl Probe,
    ) {
        let (isa, team, stride) = (self.isa, self.team, self.stride);
        // Taken out for as long as the logits are computed from the last of them.
        let mut layers = std::mem::take(&mut self.hidden);
        let (mut inputs, mut scale) = (pixels, PIXEL);
        let mut active: Option<&Sets> = Some(&self.lit);
        for (index, (hidden, layer)) in layers.iter_mut().zip(&network.layers).enumerate() {
            let number = index + 1;
            let sets = active.filter(|sets| is_sparse(sets, samples, layer.shape.inputs));
            let width = team.part(blocks(layer.shape.outputs));
            team.each(hidden.values.chunks_mut(width * stride).enumerate(), |(index, out)| {
                let outputs = index * width..index * width + out.len() / stride;
                let inputs = (inputs, sets.map(Sets::of_rows));
                isa.run(Forward { layer, outputs, inputs, scale, samples, out, stride });
            });
            let values = || sets.map_or(samples * layer.shape.inputs, Sets::count);
            probe.lap(Operation::Forward, number, || forward_work(layer, (values(), 4), samples));
            let (units, layer, dropout) = (layer.shape.outputs, hidden.layer, dropout(index));
            let values = hidden.values.chunks_mut(width * stride);
            let parts = values.zip(hidden.slopes.chunks_mut(width * stride)).enumerate();
            team.each(parts, |(index, (values, slopes))| {
                let (first, hidden, dropout) = (index * width, layer, dropout.clone());
                isa.run(Activate { hidden, first, values, slopes, stride, samples, dropout });
            });
            probe.lap(Operation::Activate, number, || Work::moving(12 * samples * units));
            let matrix = |blocks| Matrix { blocks, stride };
            if let Some(active) = &mut hidden.active {
                let either = [matrix(&hidden.values), matrix(&hidden.slopes)];
                active.find(isa, either, [samples, units]);
                probe.lap(Operation::Activate, number, || Work::moving(8 * samples * units));
            }
            active = hidden.active.as_ref();
            (inputs, scale) = (matrix(&hidden.values), 1.0);
        }
        self.logits(network, (inputs, scale), samples, &mut NextBatch::nothing(), probe);
        self.hidden = layers;
    }

    /// The output layer forward.
    fn logits<X: Operand>(
        &mut self,
        network: &Network<'_>,
        (inputs, scale): (X, f32),
        samples: usize,
        ahead: &mut NextBatch<'_>,
        probe: &mut impl Probe,
    ) {
        let Some(layer) = network.layers.last() else { return };
        let OutputBatch { sums, logits: out, .. } = &mut self.output;
        self.isa.run(ForwardLogits { layer, inputs, scale, samples, sums, out, ahead });
        let values = || (inputs.multiplied(samples, layer.shape.inputs), X::BYTES);
        let work = || forward_work(layer, values(), samples);
        probe.lap(Operation::Forward, network.layers.len(), work);
    }

    fn loss(&mut self, step: &Step<'_>, probe: &mut impl Probe) -> f64 {
        let (delta_stride, output) = (self.stride, &mut self.output);
        let loss = self.isa.run(Train {
            logits: Logits { values: &output.logits, classes: output.classes },
            labels: &self.labels[..step.samples.len()],
            smoothing: step.smoothing,
            delta_t: &mut output.delta_t,
            delta: &mut output.delta,
            delta_stride,
        });
        // Logits are read, gradients written twice.
        let values = step.samples.len() * output.classes;
        probe.lap(Operation::SoftmaxXent, 0, || Work::moving(12 * values));
        loss
    }

    fn backward<X: Operand>(
        &mut self,
        network: &mut Network<'_>,
        pixels: X,
        step: &Step<'_>,
        ahead: &mut NextBatch<'_>,
        probe: &mut impl Probe,
    ) {
        let stride = self.stride;
        let Batch { isa, team, hidden, output, .. } = self;
        let (isa, team) = (*isa, *team);
        let (samples, rule) = (step.samples.len(), step.rule);
        let Some((last, below)) = network.layers.split_last_mut() else { return };

        // The output layer's delta stands already; each hidden layer's is made by the one above it.
        let mut above = Above { layer: last, delta: &mut output.delta, sets: None };
        for (index, (part, lower)) in hidden.iter_mut().zip(below).enumerate().rev() {
            let Above { layer, delta, sets } = above;
            let delta = Matrix { blocks: delta, stride };
            let inputs = Matrix { blocks: &part.values, stride };
            let number = index + 2; // of `layer`: it lies above hidden layer `index`
            // A strip of weights gives its inputs their gradient and is updated while it is near.
            let width = strip_width(layer, if sets.is_some() { WIDEST } else { TILE });
            let (slopes, below) = (&part.slopes[..], &mut part.delta[..]);
            let descend = |strip: &LayerPart<'_>, slopes: &[Block], out: &mut [Block]| {
                let (weights, outputs) = (strip.weights(), strip.shape.outputs);
                let delta = (delta, sets.map(Sets::of_rows));
                isa.run(InputGradient { weights, outputs, samples, delta, slopes, out, stride });
            };
            let learn = |part: LayerPart<'_>| {
                if let Some(sets) = sets {
                    let delta = (delta, sets.of_columns());
                    return isa.run(LearnSparse { part, inputs, samples, delta, rule });
                }
                let ahead = &mut NextBatch::nothing();
                isa.run(Learn { part, inputs, samples, delta, rule, ahead });
            };
            let both = slopes.chunks(width * stride).zip(below.chunks_mut(width * stride));
            let outputs = layer.shape.outputs;
            let deltas = || sets.map_or(samples * outputs, Sets::count);
            let whole = Extent::of(&layer.whole());
            let strips = layer.parts(width).zip(both);
            if team.is_alone() {
                for (strip, (slopes, below)) in strips {
                    descend(&strip, slopes, below);
                    let extent = Extent::of(&strip);
                    let work = || extent.input_gradient(deltas(), samples);
                    probe.lap(Operation::InputGradient, number, work);
                    learn(strip);
                    let work = || extent.weight_gradient(deltas() * extent.inputs, inputs, samples);
                    probe.lap(Operation::WeightGradient, number, work);
                }
            } else {
                team.each(strips, |(strip, (slopes, below))| {
                    descend(&strip, slopes, below);
                    learn(strip);
                });
                let work = || {
                    let products = deltas() * whole.inputs;
                    whole.input_gradient(deltas(), samples)
                        + whole.weight_gradient(products, inputs, samples)
                };
                probe.lap(Operation::Backward, number, work);
            }
            isa.run(LearnBiases { layer, samples, delta, rule });
            probe.lap(Operation::Sgd, number, || biases_work(layer, samples));
            let units = part.layer.units;
            let sets = match &mut part.active {
                Some(active) if is_sparse(active, samples, units) => {
                    active.turn_over(isa, units);
                    Some(&*active)
                }
                _ => None,
            };
            above = Above { layer: lower, delta: &mut part.delta, sets };
        }
        let Above { layer, delta, .. } = above;
        isa.run(LearnBiases { layer, samples, delta: Matrix { blocks: delta, stride }, rule });
        floats_mut(delta).iter_mut().for_each(|value| *value *= PIXEL);
        probe.lap(Operation::Sgd, 1, || biases_work(layer, samples));
        let delta = Matrix { blocks: delta, stride };
        let whole = Extent::of(&layer.whole());
        let learn = |part: LayerPart<'_>, ahead: &mut NextBatch<'_>| {
            isa.run(Learn { part, inputs: pixels, samples, delta, rule, ahead });
        };
        match team.is_alone() {
            true => learn(layer.whole(), ahead),
            false => {
                let parts = layer.parts(strip_width(layer, TILE));
                team.each(parts, |part| learn(part, &mut NextBatch::nothing()));
            }
        }
        let products = || pixels.multiplied(samples, whole.inputs) * whole.outputs;
        let work = || whole.weight_gradient(products(), pixels, samples);
        probe.lap(Operation::WeightGradient, 1, work);
    }
}

/// What is above a hidden layer: the layer that takes its values, and the gradient of the loss at that one's outputs.
struct Above<'a> {
    layer: &'a mut Layer,
    /// The blocks of a matrix, a row a sample.
    delta: &'a mut [Block],
    /// Where it is not zero, if that is worth asking.
    sets: Option<&'a Sets>,
}

/// So many input values of some bytes, and weights, are read, outputs written.
fn forward_work(layer: &Layer, (values, bytes): (usize, usize), samples: usize) -> Work {
    let Shape { inputs, outputs } = layer.shape;
    let bytes = bytes * values + 4 * outputs * (inputs + samples);
    Work::product([values, outputs, 1], bytes)
}

/// How much a pass over a part of a layer's weights works on.
#[derive(Clone, Copy)]
struct Extent {
    inputs: usize,
    outputs: usize,
    momentum: bool,
}

impl Extent {
    fn of(part: &LayerPart<'_>) -> Extent {
        let (inputs, outputs) = (part.width(), part.shape.outputs);
        Extent { inputs, outputs, momentum: !part.velocity.is_empty() }
    }

    /// So many deltas are multiplied. All of them, weights and slopes are read, the deltas below written.
    fn input_gradient(self, deltas: usize, samples: usize) -> Work {
        let Extent { inputs, outputs, .. } = self;
        let bytes = 4 * (samples * outputs + inputs * outputs + 2 * samples * inputs);
        Work::product([deltas, inputs, 1], bytes)
    }

    /// So many pairs of an input and a delta are multiplied. Both are read, weights and velocities read and written.
    fn weight_gradient<X: Operand>(self, pairs: usize, x: X, samples: usize) -> Work {
        let Extent { inputs, outputs, momentum } = self;
        let state = if momentum { 4 } else { 2 };
        let values = x.multiplied(samples, inputs);
        let bytes = X::BYTES * values + 4 * outputs * (samples + state * inputs);
        Work::product([pairs, 1, 1], bytes)
    }
}

/// Deltas are read; biases and velocities, read and written, are next to nothing.
fn biases_work(layer: &Layer, samples: usize) -> Work {
    Work::moving(4 * samples * layer.shape.outputs)
}

/// Inputs of a layer, in blocks, whose weights fit the second-level cache together with their velocities.
/// They are whole tiles, one at least, and change no number.
fn strip_width(layer: &Layer, tile: usize) -> usize {
    // 192 KiB, and as much of velocities: of 512, which few processors fall short of.
    const BLOCKS: usize = 3072;
    (BLOCKS / layer.stride / tile).max(1) * tile
}

/// The most columns of a tile of both products that share a strip, of dense deltas; of sparse ones it is [`WIDEST`].
const TILE: usize = 3;
