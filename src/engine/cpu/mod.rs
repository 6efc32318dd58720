//! The CPU engine: every core trains trials of its own, in the widest vectors that it has.
//!
//! From the outside in: [`mod@array`] deals trials to threads, large ones to a [`team`] of them, [`trial`] trains
//! one for an epoch, [`batch`] takes a batch through a [`network`], in passes ([`dense`], [`softmax_xent`], [`sgd`]) made
//! of matrix products (of a batch's [`rows`], and [others](products); those of many zeros [`sparse`], by [`sets`] of the
//! rest; of [`pixels`] those that are not zero, which [`places`] knows) and [`elementwise`] functions, on [`lanes`]; a
//! [`probe`] takes the times of them where a profile is wanted, and single [`operations`] can be measured.

#![expect(clippy::needless_range_loop, reason = "lanes and registers are counted, not iterated")]

mod array;
mod batch;
mod dense;
mod elementwise;
pub mod lanes;
mod network;
pub mod operations;
mod pixels;
mod places;
mod probe;
mod products;
mod rows;
mod sets;
mod sgd;
mod softmax_xent;
mod sparse;
mod team;
mod trial;

use crate::data::Part;
use crate::engine::{Engine, Evaluation, Task, Trial, TrialArray};
use crate::error::Result;
use crate::model::{Architecture, Parameters};
use array::CpuArray;
use lanes::Isa;
use team::Team;

/// Trains on the processor. Neither the threads nor the instruction set change any number.
pub struct CpuEngine {
    threads: usize,
    isa: Isa,
}

impl CpuEngine {
    /// An engine on so many threads, or on as many as this process may use; on the widest vectors
    /// of this machine.
    pub fn new(threads: Option<usize>) -> Result<Self> {
        let threads = threads
            .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
            .unwrap_or(1)
            .max(1);
        Ok(CpuEngine { threads, isa: Isa::available()[0] })
    }

    /// How many threads it has.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// The same engine on another of the machine's instruction sets: same numbers, other speed.
    pub fn with_isa(self, isa: Isa) -> Self {
        CpuEngine { isa, ..self }
    }
}

/// How many of so many threads train these trials at a time, at most.
pub fn threads_at_work(threads: usize, trials: &[Trial]) -> usize {
    let teams = trials.iter().map(|trial| Team::of(trial, threads, trials.len()));
    let at_work = Team::in_turn(teams, threads).into_iter();
    at_work.map(|(team, at_a_time)| at_a_time * team.threads()).max().unwrap_or(0)
}

impl Engine for CpuEngine {
    fn device(&self) -> String {
        let plural = if self.threads == 1 { "" } else { "s" };
        format!("cpu ({} thread{plural}, {})", self.threads, self.isa.name())
    }

    fn array<'a>(&'a self, task: &'a Task, trials: Vec<Trial>) -> Result<Box<dyn TrialArray + 'a>> {
        Ok(Box::new(CpuArray::new(self.isa, self.threads, task, trials)))
    }

    fn evaluate(
        &self,
        architecture: &Architecture,
        parameters: &Parameters,
        part: Part<'_>,
    ) -> Result<Evaluation> {
        Ok(trial::evaluate(self.isa, architecture, parameters, part))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::data::{Split, Validation, synthetic};
    use crate::engine::{EpochMetrics, Next, Observer, ShuffleMode};
    use crate::error::Error;
    use crate::model::{Activation, Hidden, Hyperparameters, Init, LrSchedule, Parameters, Recipe};

    /// Keeps what each of two epochs came to, without its time.
    #[derive(Default)]
    struct Keep(Mutex<Vec<(EpochMetrics, Parameters)>>);

    impl Observer for Keep {
        fn after_epoch(
            &self,
            _slot: usize,
            metrics: EpochMetrics,
            parameters: &dyn Fn() -> Result<Parameters>,
        ) -> Result<Next> {
            let mut kept = self.0.lock().unwrap();
            kept.push((EpochMetrics { seconds: 0.0, ..metrics }, parameters()?));
            Ok(if metrics.epoch == 2 { Next::Finish } else { Next::Train })
        }
    }

    fn task() -> Task {
        let split = Split::new(synthetic::generate_sized(330, 50), Validation::Holdout(130));
        Task { split: split.unwrap(), seed: 3, shuffle: ShuffleMode::PerTrial }
    }

    fn recipe(batch_size: usize, hidden: Vec<Hidden>) -> Recipe {
        let hyperparameters = Hyperparameters {
            learning_rate: 0.05,
            lr_schedule: LrSchedule::Cosine,
            batch_size,
            momentum: 0.9,
            nesterov: true,
            weight_decay: 1e-3,
            label_smoothing: 0.1,
            init: Init::Default,
        };
        let architecture = Architecture { inputs: 784, hidden, classes: 10 };
        Recipe { architecture, hyperparameters, epochs: 2 }
    }

    fn train(isa: Isa, batch_size: usize, hidden: Vec<Hidden>) -> Vec<(EpochMetrics, Parameters)> {
        let (task, recipe) = (task(), recipe(batch_size, hidden));
        let engine = CpuEngine::new(Some(1)).unwrap().with_isa(isa);
        let keep = Keep::default();
        let mut array = engine.array(&task, vec![Trial { number: 7, recipe }]).unwrap();
        array.advance(&keep).unwrap();
        keep.0.into_inner().unwrap()
    }

    /// Cannot take what it is told.
    struct Broken;

    impl Observer for Broken {
        fn after_epoch(
            &self,
            _: usize,
            _: EpochMetrics,
            _: &dyn Fn() -> Result<Parameters>,
        ) -> Result<Next> {
            Err(Error::Closed)
        }
    }

    #[test]
    fn an_error_of_the_observer_ends_the_array_on_all_threads() {
        let task = task();
        let trials = (0..50).map(|number| Trial { number, recipe: recipe(64, vec![]) });
        let engine = CpuEngine::new(Some(3)).unwrap();
        let mut array = engine.array(&task, trials.collect()).unwrap();
        assert!(matches!(array.advance(&Broken), Err(Error::Closed)));
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let layer = |units, activation, dropout| Hidden { units, activation, dropout };
        let networks = [
            vec![],
            vec![
                layer(137, Activation::Tanh, 0.2),
                layer(70, Activation::Gelu, 0.0),
                layer(9, Activation::Sigmoid, 0.5),
                layer(16, Activation::Relu, 0.0),
            ],
            // Of so many zeros that they are passed over in the larger batch.
            vec![
                layer(137, Activation::Relu, 0.0),
                layer(70, Activation::Tanh, 0.6),
                layer(90, Activation::Relu, 0.3),
            ],
        ];
        for (hidden, batch_size) in networks.iter().flat_map(|n| [(n, 23), (n, 60)]) {
            let all = Isa::available();
            let first = train(all[0], batch_size, hidden.clone());
            assert!(first.iter().all(|(metrics, _)| metrics.is_finite()));
            for isa in &all[1..] {
                let other = train(*isa, batch_size, hidden.clone());
                assert!(other == first, "{} differs at batch {batch_size}", isa.name());
            }
        }
    }
}
