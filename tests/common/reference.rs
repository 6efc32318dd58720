//! Training in float64, written as plainly as its definitions: what every engine is held to.
//!
//! Nothing here is shared with an engine but the random numbers (initial values, orders, dropout
//! words) and the learning rate's schedule, which are tested where they are defined.

use warpsweep::data::Part;
use warpsweep::engine::{ShuffleMode, Task, Trial};
use warpsweep::model::{Activation, Architecture, Parameters};
use warpsweep::random::{Purpose, Shuffle, Stream, unit_f32};

/// One linear layer: `weight[output * inputs + input]`.
#[derive(Clone)]
pub struct Layer {
    pub inputs: usize,
    pub weight: Vec<f64>,
    pub bias: Vec<f64>,
}

/// The parameters of a model, or anything of the same shape: a gradient, a velocity.
#[derive(Clone)]
pub struct Model(pub Vec<Layer>);

impl Model {
    pub fn new(parameters: &Parameters) -> Self {
        let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect();
        let layers = parameters.layers.iter().map(|layer| Layer {
            inputs: layer.shape.inputs,
            weight: wide(&layer.weight),
            bias: wide(&layer.bias),
        });
        Model(layers.collect())
    }

    pub fn zeros_like(&self) -> Self {
        let mut zeros = self.clone();
        zeros.tensors_mut().into_iter().for_each(|tensor| tensor.fill(0.0));
        zeros
    }

    /// `weight, bias` of each layer, first to last.
    pub fn tensors(&self) -> Vec<&Vec<f64>> {
        self.0.iter().flat_map(|layer| [&layer.weight, &layer.bias]).collect()
    }

    pub fn tensors_mut(&mut self) -> Vec<&mut Vec<f64>> {
        self.0.iter_mut().flat_map(|layer| [&mut layer.weight, &mut layer.bias]).collect()
    }
}

/// One sample on its way through a model.
#[derive(Clone)]
pub struct Sample {
    pub pixels: Vec<f64>,
    pub label: usize,
    /// `keep[layer][unit]`: what dropout multiplies each hidden value by, 0 or `1 / (1 - p)`.
    pub keep: Vec<Vec<f64>>,
}

/// The sample at a place of a part, without dropout.
pub fn sample(architecture: &Architecture, part: Part<'_>, index: usize) -> Sample {
    let pixels = &part.pixels[index * architecture.inputs..][..architecture.inputs];
    Sample {
        pixels: pixels.iter().map(|&byte| f64::from(byte) / 255.0).collect(),
        label: usize::from(part.labels[index]),
        keep: architecture.hidden.iter().map(|layer| vec![1.0; layer.units]).collect(),
    }
}

pub fn activate(activation: Activation, z: f64) -> f64 {
    match activation {
        Activation::Relu => z.max(0.0),
        Activation::Tanh => libm::tanh(z),
        Activation::Sigmoid => 1.0 / (1.0 + libm::exp(-z)),
        Activation::Gelu => z * normal_cdf(z),
    }
}

/// The derivative of [`activate`].
fn slope(activation: Activation, z: f64) -> f64 {
    match activation {
        Activation::Relu => f64::from(u8::from(z > 0.0)),
        Activation::Tanh => 1.0 - libm::tanh(z).powi(2),
        Activation::Sigmoid => {
            let y = activate(activation, z);
            y * (1.0 - y)
        }
        Activation::Gelu => {
            let density = libm::exp(-z * z / 2.0) / (2.0 * std::f64::consts::PI).sqrt();
            normal_cdf(z) + z * density
        }
    }
}

fn normal_cdf(z: f64) -> f64 {
    0.5 * (1.0 + libm::erf(z / std::f64::consts::SQRT_2))
}

/// What each layer was given and the sums it made: `z[layer]`, of which the last are the logits.
struct Trace {
    inputs: Vec<Vec<f64>>,
    z: Vec<Vec<f64>>,
}

fn forward(architecture: &Architecture, model: &Model, sample: &Sample) -> Trace {
    let mut trace = Trace { inputs: vec![sample.pixels.clone()], z: Vec::new() };
    for (index, layer) in model.0.iter().enumerate() {
        let x = &trace.inputs[index];
        let mut z = layer.bias.clone();
        for (output, sum) in z.iter_mut().enumerate() {
            for (input, value) in x.iter().enumerate() {
                *sum += layer.weight[output * layer.inputs + input] * value;
            }
        }
        if let Some(hidden) = architecture.hidden.get(index) {
            let values = z.iter().zip(&sample.keep[index]);
            let values = values.map(|(&z, keep)| activate(hidden.activation, z) * keep).collect();
            trace.inputs.push(values);
        }
        trace.z.push(z);
    }
    trace
}

pub fn logits(architecture: &Architecture, model: &Model, sample: &Sample) -> Vec<f64> {
    forward(architecture, model, sample).z.pop().expect("a model has a layer")
}

fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|z| libm::exp(z - largest)).sum();
    logits.iter().map(|z| z - largest - libm::log(sum)).collect()
}

/// What cross-entropy compares a class with: `nn.CrossEntropyLoss(label_smoothing)`'s target.
fn target(class: usize, label: usize, classes: usize, smoothing: f64) -> f64 {
    let one_hot = f64::from(u8::from(class == label));
    (1.0 - smoothing) * one_hot + smoothing / classes as f64
}

fn cross_entropy(logits: &[f64], label: usize, smoothing: f64) -> f64 {
    let terms = log_softmax(logits).into_iter().enumerate();
    -terms.map(|(c, log_p)| target(c, label, logits.len(), smoothing) * log_p).sum::<f64>()
}

/// The mean loss of a batch.
pub fn loss(a: &Architecture, model: &Model, batch: &[Sample], smoothing: f64) -> f64 {
    let losses = batch.iter().map(|s| cross_entropy(&logits(a, model, s), s.label, smoothing));
    losses.sum::<f64>() / batch.len() as f64
}

/// The gradient of [`loss`], by the chain rule.
pub fn gradient(a: &Architecture, model: &Model, batch: &[Sample], smoothing: f64) -> Model {
    let mut gradient = model.zeros_like();
    for sample in batch {
        let trace = forward(a, model, sample);
        let last = model.0.len() - 1;
        let log_p = log_softmax(&trace.z[last]);
        let mut dz: Vec<f64> = (0..a.classes)
            .map(|c| libm::exp(log_p[c]) - target(c, sample.label, a.classes, smoothing))
            .map(|difference| difference / batch.len() as f64)
            .collect();
        for index in (0..=last).rev() {
            let (layer, sums) = (&model.0[index], &mut gradient.0[index]);
            let x = &trace.inputs[index];
            let mut dx = vec![0.0; layer.inputs];
            for (output, d) in dz.iter().enumerate() {
                sums.bias[output] += d;
                for input in 0..layer.inputs {
                    sums.weight[output * layer.inputs + input] += d * x[input];
                    dx[input] += d * layer.weight[output * layer.inputs + input];
                }
            }
            if index > 0 {
                let (below, keep) = (a.hidden[index - 1].activation, &sample.keep[index - 1]);
                let z = &trace.z[index - 1];
                dz = (0..dx.len()).map(|u| dx[u] * keep[u] * slope(below, z[u])).collect();
            }
        }
    }
    gradient
}

/// What one epoch came to, as `EpochMetrics` defines it.
pub struct Metrics {
    pub train_loss: f64,
    pub validation_loss: f64,
    pub validation_wrong: usize,
    /// Validation samples whose two largest logits are too close for float32 to tell apart.
    pub near_ties: usize,
}

/// A trial in training.
pub struct Training<'a> {
    task: &'a Task,
    trial: &'a Trial,
    pub model: Model,
    velocity: Model,
    epoch: usize,
}

impl<'a> Training<'a> {
    pub fn new(task: &'a Task, trial: &'a Trial) -> Self {
        let model = Model::new(&initial(task, trial));
        let velocity = model.zeros_like();
        Training { task, trial, model, velocity, epoch: 0 }
    }

    /// The samples of this epoch in the order in which they are visited, with their dropout.
    pub fn samples(&self) -> Vec<Sample> {
        let a = &self.trial.recipe.architecture;
        let part = self.task.split.training();
        let n = part.labels.len();
        let shuffle = |trial| Shuffle::new(n, self.task.seed, trial, self.epoch as u32);
        let order: Vec<usize> = match self.task.shuffle {
            ShuffleMode::None => (0..n).collect(),
            ShuffleMode::Shared => visit(&shuffle(u32::MAX), n),
            ShuffleMode::PerTrial => visit(&shuffle(self.trial.number), n),
        };
        let place = |(position, &index): (usize, &usize)| {
            let mut sample = sample(a, part, index);
            self.drop_units(&mut sample, (self.epoch * n + position) as u64);
            sample
        };
        order.iter().enumerate().map(place).collect()
    }

    /// `position` counts the samples that the trial has visited before this one.
    fn drop_units(&self, sample: &mut Sample, position: u64) {
        for (index, hidden) in self.trial.recipe.architecture.hidden.iter().enumerate() {
            let purpose = Purpose::Dropout(index as u16);
            let stream = Stream::new(self.task.seed, purpose, self.trial.number);
            let row = hidden.units.next_multiple_of(16) as u64;
            let scale = 1.0 / (1.0 - f64::from(hidden.dropout));
            for (unit, keep) in sample.keep[index].iter_mut().enumerate() {
                let word = stream.word(position * row + unit as u64);
                *keep = if unit_f32(word) < hidden.dropout { 0.0 } else { scale };
            }
        }
    }

    /// Trains one epoch and measures it.
    pub fn epoch(&mut self) -> Metrics {
        let a = &self.trial.recipe.architecture;
        let h = self.trial.recipe.hyperparameters;
        let smoothing = f64::from(h.label_smoothing);
        let samples = self.samples();
        let mut total = 0.0;
        for batch in samples.chunks(h.batch_size) {
            total += loss(a, &self.model, batch, smoothing) * batch.len() as f64;
            let gradient = gradient(a, &self.model, batch, smoothing);
            self.step(&gradient);
        }
        self.epoch += 1;
        self.validate(total / samples.len() as f64)
    }

    /// One step of `torch.optim.SGD`.
    fn step(&mut self, gradient: &Model) {
        let recipe = &self.trial.recipe;
        let h = recipe.hyperparameters;
        let rate = f64::from(h.learning_rate_at(self.epoch, recipe.epochs));
        let (momentum, decay) = (f64::from(h.momentum), f64::from(h.weight_decay));
        let tensors = self.model.tensors_mut().into_iter().zip(self.velocity.tensors_mut());
        for ((values, velocity), gradient) in tensors.zip(gradient.tensors()) {
            for i in 0..values.len() {
                let g = gradient[i] + decay * values[i];
                velocity[i] = momentum * velocity[i] + g;
                let update = if h.nesterov { g + momentum * velocity[i] } else { velocity[i] };
                values[i] -= rate * update;
            }
        }
    }

    fn validate(&self, train_loss: f64) -> Metrics {
        let a = &self.trial.recipe.architecture;
        let part = self.task.split.validation();
        let mut metrics =
            Metrics { train_loss, validation_loss: 0.0, validation_wrong: 0, near_ties: 0 };
        for index in 0..part.labels.len() {
            let sample = sample(a, part, index);
            let logits = logits(a, &self.model, &sample);
            metrics.validation_loss += cross_entropy(&logits, sample.label, 0.0);
            metrics.validation_wrong += usize::from(largest(&logits) != sample.label);
            metrics.near_ties += usize::from(is_near_tie(&logits));
        }
        metrics.validation_loss /= part.labels.len() as f64;
        metrics
    }
}

/// A trial's parameters before its first step.
pub fn initial(task: &Task, trial: &Trial) -> Parameters {
    let recipe = &trial.recipe;
    let init = recipe.hyperparameters.init;
    Parameters::initial(&recipe.architecture, init, task.seed, trial.number)
}

fn visit(shuffle: &Shuffle, n: usize) -> Vec<usize> {
    (0..n).map(|position| shuffle.index(position as u32) as usize).collect()
}

/// The place of the largest logit, the lowest of equals.
pub fn largest(logits: &[f64]) -> usize {
    (1..logits.len()).fold(0, |best, c| if logits[c] > logits[best] { c } else { best })
}

/// Whether float32 could see another class in front.
pub fn is_near_tie(logits: &[f64]) -> bool {
    let mut sorted = logits.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    sorted[0] - sorted[1] < 1e-4 * (1.0 + sorted[0].abs())
}
