//! The CPU engine: every core trains trials of its own, in the widest vectors that it has.
//!
//! From the outside in: [`mod@array`] deals trials to threads, [`trial`] trains one for an epoch,
//! [`batch`] takes a batch through a [`network`], in passes ([`dense`], [`softmax_xent`], [`sgd`])
//! made of two matrix [`products`] and [`elementwise`] functions, on [`lanes`].

mod array;
mod batch;
mod dense;
mod elementwise;
pub mod lanes;
mod network;
mod products;
mod sgd;
mod softmax_xent;
mod trial;

use crate::data::Part;
use crate::engine::{Engine, Evaluation, Task, Trial, TrialArray};
use crate::error::Result;
use crate::model::{Architecture, Parameters};
use array::CpuArray;
use lanes::Isa;

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

    /// The same engine on another of the machine's instruction sets: same numbers, other speed.
    pub fn with_isa(self, isa: Isa) -> Self {
        CpuEngine { isa, ..self }
    }
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
