//! The CUDA engine: kernels of our own, compiled at run time, on whole trial arrays.
//!
//! Nothing of CUDA is needed to build or to start: the driver and the compiler NVRTC are loaded when
//! first asked for. From the ground up: [`launch`] holds all that is unsafe (libraries, memory,
//! launches), [`program`] the embedded kernels, [`compile`] turns them into code for a GPU,
//! which the [`cache`] keeps; [`discover`] says what of all that is here; a [`worker`] is a GPU with
//! all kernels. Above that, trials: [`layout`] says where their tensors lie, [`tables`] what each
//! block works on, in [`tiles`]; [`placed`] has both in device memory and launches a tick of them; a
//! [`group`] advances tick by tick, with a [`profile`] of it if one is wanted, an [`mod@array`] is dealt out in groups.

mod array;
pub mod cache;
pub mod compile;
mod data;
pub mod discover;
mod evaluate;
pub mod fused;
mod group;
pub mod launch;
pub mod layout;
mod placed;
mod profile;
pub mod program;
pub mod tables;
pub mod tiles;
mod worker;

use std::sync::{Mutex, PoisonError};

use crate::data::Part;
use crate::engine::{Engine, Evaluation, Task, Trial, TrialArray};
use crate::error::Result;
use crate::model::{Architecture, Parameters};
use array::CudaArray;
use compile::Compiler;
use launch::{CudaError, Device, Driver};
use tiles::Precision;
use worker::Worker;

/// Trains on NVIDIA GPUs. Neither their number nor the trials that share one change any number.
pub struct CudaEngine {
    workers: Vec<Worker>,
    precision: Precision,
    /// What the compiler has to say to a user; said by the first array.
    warning: Mutex<Option<String>>,
}

impl CudaEngine {
    /// An engine on the GPUs of these ordinals, at least one.
    ///
    /// # Errors
    /// What [`Driver::load`] says, a GPU that is not there, kernels that do not compile.
    pub fn new(ordinals: &[usize], precision: Precision) -> Result<Self, CudaError> {
        let driver = Driver::load()?;
        let compiler = Compiler::new(&driver)?;
        let worker =
            |&ordinal: &usize| Worker::new(&compiler, &Device::new(&driver, ordinal)?, precision);
        let workers = ordinals.iter().map(worker).collect::<Result<Vec<_>, CudaError>>()?;
        if workers.is_empty() {
            return Err(CudaError::NoGpu);
        }
        Ok(CudaEngine { workers, precision, warning: Mutex::new(compiler.warning()) })
    }
}

impl Engine for CudaEngine {
    fn device(&self) -> String {
        let name = |worker: &Worker| worker.stream.device().gpu().name.clone();
        let names: Vec<String> = self.workers.iter().map(name).collect();
        format!("cuda ({}, {})", names.join(" + "), self.precision.name())
    }

    fn array<'a>(&'a self, task: &'a Task, trials: Vec<Trial>) -> Result<Box<dyn TrialArray + 'a>> {
        let warning = self.warning.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(Box::new(CudaArray::new(&self.workers, task, trials, warning)))
    }

    fn evaluate(
        &self,
        architecture: &Architecture,
        parameters: &Parameters,
        part: Part<'_>,
    ) -> Result<Evaluation> {
        evaluate::evaluate(&self.workers[0], architecture, parameters, part)
    }
}
