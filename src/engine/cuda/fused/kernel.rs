//! A fused kernel with what its launches need: one block a trial, or a team of them.

use crate::engine::cuda::fused::{Mlp, Variant};
use crate::engine::cuda::launch::fused::{Fused, FusedLaunch, check_layouts};
use crate::engine::cuda::launch::fused_mlp::{FusedMlp, Teams};
use crate::engine::cuda::launch::{CudaError, Device, Module, Stream};

/// A kernel, loaded on a GPU.
#[derive(Clone, Debug)]
pub enum Loaded {
    /// A trial is a block's.
    Blocks(Fused),
    /// A trial is a team's.
    Teams(FusedMlp),
}

impl Loaded {
    /// The kernel of a variant in the module of its file.
    pub fn new(variant: Variant, module: &Module) -> Result<Loaded, CudaError> {
        match variant {
            Variant::Softmax { .. } => {
                check_layouts(module)?;
                let (entry, threads, shared) =
                    (variant.entry(), variant.threads(), variant.shared());
                Fused::new(module, entry, threads, shared).map(Loaded::Blocks)
            }
            Variant::Mlp(Mlp { shape, team, inputs, momentum }) => {
                FusedMlp::new(module, shape, (inputs, momentum), team).map(Loaded::Teams)
            }
        }
    }

    /// Trials that a GPU trains at a time.
    pub fn slots(&self, device: &Device) -> Result<usize, CudaError> {
        match self {
            Loaded::Blocks(kernel) => {
                Ok(kernel.blocks_per_multiprocessor()?.max(1) * device.gpu().multiprocessors)
            }
            Loaded::Teams(kernel) => kernel.teams_at_once(device),
        }
    }
}

/// A kernel, ready to be launched for up to `slots` trials at a time.
#[derive(Debug)]
pub enum Kernel {
    Blocks { kernel: Fused, slots: usize },
    Teams { kernel: FusedMlp, slots: usize, teams: Box<Teams> },
}

impl Kernel {
    /// For as many of `trials` trials as the GPU trains at a time; `copies` is not the stream of the
    /// launches.
    pub fn new(loaded: Loaded, copies: &Stream, trials: usize) -> Result<Kernel, CudaError> {
        let slots = loaded.slots(copies.device())?.min(trials);
        Ok(match loaded {
            Loaded::Blocks(kernel) => Kernel::Blocks { kernel, slots },
            Loaded::Teams(kernel) => {
                let teams = Box::new(Teams::new(copies, &kernel, slots)?);
                Kernel::Teams { kernel, slots, teams }
            }
        })
    }

    /// Trials that are trained at a time.
    pub fn slots(&self) -> usize {
        match self {
            Kernel::Blocks { slots, .. } | Kernel::Teams { slots, .. } => *slots,
        }
    }

    /// Lets blocks train what is called, `slots` trials at a time. The launch before must be over.
    pub fn launch(
        &mut self,
        stream: &Stream,
        slots: u32,
        argument: &FusedLaunch,
    ) -> Result<(), CudaError> {
        match self {
            Kernel::Blocks { kernel, .. } => kernel.launch(stream, slots, argument),
            Kernel::Teams { kernel, teams, .. } => {
                kernel.launch(stream, teams, slots as usize, argument)
            }
        }
    }
}
