//! The CUDA engine: kernels of our own, compiled at run time, on whole trial arrays.
//!
//! Nothing of CUDA is needed to build or to start: the driver and the compiler NVRTC are loaded when
//! first asked for. From the ground up: [`launch`] holds all that is unsafe (libraries, memory,
//! launches), [`program`] the embedded kernels, [`compile`] turns them into code for a GPU,
//! which the [`cache`] keeps; [`discover`] says what of all that is here; a [`worker`] is a GPU with
//! all kernels. Above that, trials: [`layout`] says where their tensors lie, [`tables`] what each
//! block works on, in [`tiles`]; [`placed`] has both in device memory and launches a tick of them; a
//! [`group`] advances tick by tick, with a [`profile`] of it if one is wanted. That is the layered path;
//! small models are trained within one launch, by [`fused`] kernels. An [`mod@array`] is dealt out in groups
//! of either.

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
mod seat;
pub mod tables;
pub mod tiles;
mod worker;

use std::sync::Arc;

use crate::data::Part;
use crate::engine::{Engine, Evaluation, Task, Trial, TrialArray};
use crate::error::Result;
use crate::model::{Architecture, Parameters};
use array::CudaArray;
use compile::Compiler;
pub use fused::Choice;
pub use fused::group::Limits;
use launch::{CudaError, Device, Driver};
use tiles::Precision;
use worker::Worker;

/// How trials are trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    pub precision: Precision,
    pub kernel: Choice,
    /// Of a fused launch.
    pub limits: Limits,
}

impl Settings {
    /// The usual ones in a precision.
    pub fn of(precision: Precision) -> Settings {
        Settings { precision, kernel: Choice::Auto, limits: Limits::default() }
    }
}

/// Trains on NVIDIA GPUs. Neither their number nor the trials that share one change any number.
pub struct CudaEngine {
    workers: Vec<Worker>,
    settings: Settings,
    /// What it has to say to a user is said by the next array.
    compiler: Arc<Compiler>,
}

impl CudaEngine {
    /// An engine on the GPUs of these ordinals, at least one.
    ///
    /// # Errors
    /// What [`Driver::load`] says, a GPU that is not there, kernels that do not compile;
    /// [`CudaError::FusedPrecision`].
    pub fn new(ordinals: &[usize], settings: Settings) -> Result<Self, CudaError> {
        let Settings { precision, kernel, .. } = settings;
        if kernel == Choice::Fused && precision != Precision::Fp32 {
            return Err(CudaError::FusedPrecision { precision: precision.name() });
        }
        let driver = Driver::load()?;
        let compiler = Arc::new(Compiler::new(&driver)?);
        let worker =
            |&ordinal: &usize| Worker::new(&compiler, &Device::new(&driver, ordinal)?, precision);
        let workers = ordinals.iter().map(worker).collect::<Result<Vec<_>, CudaError>>()?;
        if workers.is_empty() {
            return Err(CudaError::NoGpu);
        }
        Ok(CudaEngine { workers, settings, compiler })
    }
}

impl Engine for CudaEngine {
    fn device(&self) -> String {
        let name = |worker: &Worker| worker.stream.device().gpu().name.clone();
        let names: Vec<String> = self.workers.iter().map(name).collect();
        let Settings { precision, kernel, .. } = self.settings;
        format!("cuda ({}, {}, kernel {})", names.join(" + "), precision.name(), kernel.name())
    }

    fn array<'a>(&'a self, task: &'a Task, trials: Vec<Trial>) -> Result<Box<dyn TrialArray + 'a>> {
        let warning = self.compiler.warning();
        Ok(Box::new(CudaArray::new(&self.workers, self.settings, task, trials, warning)?))
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
