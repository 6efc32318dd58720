//! One trial on a core, or on those of a team: its network, its place in time, and the training of one
//! epoch.

use std::time::Instant;

use super::batch::{Batch, Step};
use super::lanes::{Isa, Kernel, Lanes};
use super::network::Network;
use super::probe::{Operation, Probe, Unwatched};
use super::sgd::Rule;
use super::team::Team;
use crate::data::{Part, PatchedPart};
use crate::engine::profile::{Phase, Work};
use crate::engine::{EpochMetrics, Evaluation, ShuffleMode, Task, Trial};
use crate::model::{Architecture, Parameters};
use crate::random::Shuffle;

/// A trial in training.
pub struct Running<'a> {
    isa: Isa,
    task: &'a Task,
    trial: Trial,
    network: Network<'a>,
    batch: Batch,
    scoring: Batch,
    /// Epochs trained so far.
    pub epochs: usize,
}

/// The epoch was given up in the middle; the network is of no more use.
pub struct Interrupted;

/// Steps between two looks at whether the trial should be given up.
const STEPS_PER_LOOK: usize = 64;

impl<'a> Running<'a> {
    /// A trial with its initial values, before its first epoch.
    pub fn new(isa: Isa, team: Team, task: &'a Task, trial: Trial) -> Self {
        let (architecture, numbers) = (&trial.recipe.architecture, &trial.recipe.hyperparameters);
        let initial = Parameters::initial(architecture, numbers.init, task.seed, trial.number);
        let training = task.split.training().patches();
        let (order, capacity) = (training.order, numbers.batch_size.min(training.len()));
        Running {
            isa,
            task,
            network: Network::new(&initial, order, numbers.momentum > 0.0),
            batch: Batch::new(isa, team, architecture, capacity),
            scoring: scoring_batch(isa, team, architecture),
            trial,
            epochs: 0,
        }
    }

    /// The trial's number.
    pub fn number(&self) -> u32 {
        self.trial.number
    }

    /// The model as it is now.
    pub fn parameters(&self) -> Parameters {
        self.network.parameters()
    }

    /// Trains one more epoch and validates.
    pub fn epoch(
        &mut self,
        interrupted: impl Fn() -> bool,
        probe: &mut impl Probe,
    ) -> Result<EpochMetrics, Interrupted> {
        let start = Instant::now();
        let train_loss = self.pass(interrupted, probe)?;
        self.epochs += 1;
        let part = self.task.split.validation().patches();
        let validation = score(&mut self.scoring, &self.network, part, |_, _| {}, probe);
        Ok(EpochMetrics {
            epoch: self.epochs,
            train_loss,
            validation_loss: validation.loss,
            validation_wrong: validation.wrong,
            seconds: start.elapsed().as_secs_f64(),
        })
    }

    /// One pass over the training samples; returns their mean loss.
    fn pass(
        &mut self,
        interrupted: impl Fn() -> bool,
        probe: &mut impl Probe,
    ) -> Result<f64, Interrupted> {
        probe.enter(Phase::Training);
        let part = self.task.split.training().patches();
        let recipe = &self.trial.recipe;
        let numbers = &recipe.hyperparameters;
        let rule = Rule {
            learning_rate: numbers.learning_rate_at(self.epochs, recipe.epochs),
            momentum: numbers.momentum,
            nesterov: numbers.nesterov,
            weight_decay: numbers.weight_decay,
        };
        let order = self.order(part.len());
        probe.lap(Operation::Shuffle, 0, || Work::moving(4 * order.len()));
        let mut steps = order.chunks(numbers.batch_size).enumerate().peekable();
        let mut before = (self.epochs * part.len()) as u64;
        let mut loss = 0.0;
        while let Some((index, samples)) = steps.next() {
            if index % STEPS_PER_LOOK == 0 && interrupted() {
                return Err(Interrupted);
            }
            loss += self.batch.train(
                &mut self.network,
                part,
                &Step {
                    samples,
                    next: steps.peek().map_or(&[], |(_, next)| next),
                    rule,
                    smoothing: numbers.label_smoothing,
                    seed: self.task.seed,
                    trial: self.trial.number,
                    before,
                },
                probe,
            );
            before += samples.len() as u64;
        }
        Ok(loss / part.len() as f64)
    }

    /// The samples in the order of this epoch.
    fn order(&self, samples: usize) -> Vec<u32> {
        let trial = match self.task.shuffle {
            ShuffleMode::PerTrial => self.trial.number,
            ShuffleMode::Shared => u32::MAX,
            ShuffleMode::None => return (0..samples as u32).collect(),
        };
        let shuffle = Shuffle::new(samples, self.task.seed, trial, self.epochs as u32);
        let mut order = vec![0; samples];
        self.isa.run(Fill { shuffle, order: &mut order });
        order
    }
}

/// Writes a whole order down at once.
struct Fill<'a> {
    shuffle: Shuffle,
    order: &'a mut [u32],
}

impl Kernel for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _lanes: L) {
        self.shuffle.fill(0, self.order);
    }
}

/// A batch for scoring. Its size changes the speed and no number: the weights of softmax regression
/// stay in the first-level cache, so few samples do; larger ones should be read seldom.
fn scoring_batch(isa: Isa, team: Team, architecture: &Architecture) -> Batch {
    Batch::new(isa, team, architecture, if architecture.hidden.is_empty() { 16 } else { 128 })
}

/// Evaluates a model; `isa` changes the speed and no number.
pub fn evaluate(
    isa: Isa,
    architecture: &Architecture,
    parameters: &Parameters,
    part: Part<'_>,
) -> Evaluation {
    let part = part.patches();
    let network = Network::new(parameters, part.order, false);
    let classes = architecture.classes;
    let mut confusion = vec![0; classes * classes];
    let mut batch = scoring_batch(isa, Team::ALONE, architecture);
    let count = |label: usize, predicted: usize| {
        // A sample with a logit that is not a number has no predicted class.
        if let Some(count) =
            confusion.get_mut(label * classes..).and_then(|row| row[..classes].get_mut(predicted))
        {
            *count += 1;
        }
    };
    let mut evaluation = score(&mut batch, &network, part, count, &mut Unwatched);
    evaluation.confusion = confusion;
    evaluation
}

/// Runs a network over samples in their order, telling `each` of the label and the predicted class.
fn score(
    batch: &mut Batch,
    network: &Network<'_>,
    part: PatchedPart<'_>,
    mut each: impl FnMut(usize, usize),
    probe: &mut impl Probe,
) -> Evaluation {
    probe.enter(Phase::Validation);
    let (mut loss, mut wrong) = (0.0, 0);
    let all: Vec<u32> = (0..part.len() as u32).collect();
    let size = batch.capacity();
    for (index, labels) in part.labels.chunks(size).enumerate() {
        let (samples, after) = all[index * size..].split_at(labels.len());
        let next = &after[..size.min(after.len())];
        let predicted = batch.score(network, part, (samples, next), &mut loss, probe);
        for (label, predicted) in labels.iter().zip(predicted) {
            wrong += usize::from(u32::from(*label) != *predicted);
            each(usize::from(*label), *predicted as usize);
        }
    }
    let samples = part.len();
    Evaluation { samples, wrong, loss: loss / samples as f64, confusion: Vec::new() }
}
