//! `kernels/fused.cuh`: persistent kernels, which train epoch after epoch within one launch. The structs
//! that they share with the host, field by field, and the launch.

use bytemuck::{Pod, Zeroable};

use super::module::device_struct;
use super::{CudaError, Function, Module, Shape, Stream, arg, launch};

/// Partial sums of an epoch.
pub const LANES: usize = 32;

/// A linear layer of a trial: addresses of its tensors, `[inputs][stride]` and `[stride]`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct FusedLayer {
    pub weight: u64,
    pub bias: u64,
    /// 0 without momentum, as `bias_velocity`.
    pub weight_velocity: u64,
    pub bias_velocity: u64,
    pub inputs: u32,
    pub outputs: u32,
    pub stride: u32,
    pub pad: u32,
}

device_struct!(FusedLayer {
    weight,
    bias,
    weight_velocity,
    bias_velocity,
    inputs,
    outputs,
    stride,
    pad
});

/// What never changes while a trial's group stands.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct FusedPlan {
    pub seed: u64,
    /// From the pixels on; of a model without hidden layers only the first is set.
    pub layers: [FusedLayer; 2],
    /// Memory of the kernel's own, or 0.
    pub scratch: u64,
    /// The trial's number.
    pub trial: u32,
    pub batch: u32,
    pub shuffled: u32,
    pub shuffle_trial: u32,
    pub nesterov: u32,
    pub momentum: f32,
    pub weight_decay: f32,
    pub smoothing: f32,
    /// The products' number of the hidden layer's activation; 0 where there is none.
    pub activation: u32,
    pub dropout: f32,
    pub pad: [u32; 2],
}

device_struct!(FusedPlan {
    seed,
    layers,
    scratch,
    trial,
    batch,
    shuffled,
    shuffle_trial,
    nesterov,
    momentum,
    weight_decay,
    smoothing,
    activation,
    dropout,
    pad
});

/// A trial's place in time; all zeros is a trial before its first epoch.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct FusedClock {
    /// Samples trained on so far, in all epochs.
    pub before: u64,
    pub phase: u32,
    /// Place in the phase of the next step's first sample.
    pub first: u32,
    /// Epochs trained and scored.
    pub finished: u32,
    pub learning_rate: f32,
    /// Round keys of this epoch's shuffle.
    pub keys: [u32; 8],
    /// Sums over this epoch's samples so far, by lane of the warp that adds them up.
    pub train_loss: [f64; LANES],
    pub validation_loss: [f64; LANES],
    pub wrong: [u32; LANES],
}

device_struct!(FusedClock {
    before,
    phase,
    first,
    finished,
    learning_rate,
    keys,
    train_loss,
    validation_loss,
    wrong
});

/// Leave to train epoch `epoch` (from 1) of the trial at a place of the tables.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct FusedCall {
    pub trial: u32,
    pub epoch: u32,
    pub learning_rate: f32,
    pub pad: u32,
}

device_struct!(FusedCall { trial, epoch, learning_rate, pad });

/// What the host tells all blocks.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct FusedDesk {
    /// Calls written so far, modulo 2^32.
    pub called: u32,
    /// 1: leave at the next step.
    pub stop: u32,
}

device_struct!(FusedDesk { called, stop });

/// What a trial's last epoch came to: sums over the samples. `epoch` is written last.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct FusedReport {
    pub train_loss: f64,
    pub validation_loss: f64,
    pub wrong: u32,
    pub epoch: u32,
}

device_struct!(FusedReport { train_loss, validation_loss, wrong, epoch });

/// The argument of every fused kernel: addresses of its tables, and its bounds.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct FusedLaunch {
    pub plans: u64,
    pub clocks: u64,
    pub data: u64,
    /// Of mapped memory, as `desk` and `reports`.
    pub calls: u64,
    pub desk: u64,
    pub reports: u64,
    /// Of a counter: calls taken so far, modulo 2^32.
    pub taken: u64,
    /// Places for calls, a power of two.
    pub capacity: u32,
    /// Ticks that a block may spend.
    pub budget: u32,
    /// Looks at an empty queue before a block leaves.
    pub patience: u32,
    pub pad: u32,
}

device_struct!(FusedLaunch {
    plans,
    clocks,
    data,
    calls,
    desk,
    reports,
    taken,
    capacity,
    budget,
    patience,
    pad
});

/// Checks that a module, which includes `fused_layout.cuh`, lays out all structs as the host does.
pub fn check_layouts(module: &Module) -> Result<(), CudaError> {
    module.check_layout::<FusedLayer>()?;
    module.check_layout::<FusedPlan>()?;
    module.check_layout::<FusedClock>()?;
    module.check_layout::<FusedCall>()?;
    module.check_layout::<FusedDesk>()?;
    module.check_layout::<FusedReport>()?;
    module.check_layout::<FusedLaunch>()
}

/// A fused kernel with the shape of its blocks.
#[derive(Clone, Debug)]
pub struct Fused {
    function: Function,
    /// Of a block.
    threads: u32,
    /// Dynamic shared memory of a block, in bytes.
    shared: u32,
}

impl Fused {
    /// The kernel of this name, which takes a [`FusedLaunch`] by value.
    pub fn new(module: &Module, name: &str, threads: u32, shared: u32) -> Result<Self, CudaError> {
        let function = module.function(name)?;
        function.allow_shared(shared)?;
        Ok(Fused { function, threads, shared })
    }

    /// Blocks that a multiprocessor holds at a time.
    pub fn blocks_per_multiprocessor(&self) -> Result<usize, CudaError> {
        self.function.blocks_per_multiprocessor(self.threads, self.shared)
    }

    /// Lets so many blocks train what was and will be called.
    ///
    /// The launch is over when all blocks have left; until then the tables, the states that the plans
    /// point to and the mapped memory must live.
    pub fn launch(
        &self,
        stream: &Stream,
        blocks: u32,
        argument: &FusedLaunch,
    ) -> Result<(), CudaError> {
        let shape = Shape::line(blocks, self.threads).with_shared(self.shared);
        // SAFETY: one argument by value, as every fused kernel takes; the tables point into memory that
        // the same group keeps until it has waited for the launch.
        unsafe { launch(stream, &self.function, shape, &[arg(argument)]) }
    }
}
