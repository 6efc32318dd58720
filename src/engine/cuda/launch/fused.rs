//! `kernels/fused.cuh`: persistent kernels, which train epoch after epoch within one launch. The structs
//! that they share with the host, field by field, and the launch.

use std::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use super::{CudaError, DeviceStruct, Function, Module, Shape, Stream, arg, launch};

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

impl DeviceStruct for FusedLayer {
    const NAME: &'static str = "FusedLayer";
    const LAYOUT: &'static [u32] = &[
        size_of::<FusedLayer>() as u32,
        offset_of!(FusedLayer, weight) as u32,
        offset_of!(FusedLayer, bias) as u32,
        offset_of!(FusedLayer, weight_velocity) as u32,
        offset_of!(FusedLayer, bias_velocity) as u32,
        offset_of!(FusedLayer, inputs) as u32,
        offset_of!(FusedLayer, outputs) as u32,
        offset_of!(FusedLayer, stride) as u32,
        offset_of!(FusedLayer, pad) as u32,
    ];
}

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

impl DeviceStruct for FusedPlan {
    const NAME: &'static str = "FusedPlan";
    const LAYOUT: &'static [u32] = &[
        size_of::<FusedPlan>() as u32,
        offset_of!(FusedPlan, seed) as u32,
        offset_of!(FusedPlan, layers) as u32,
        offset_of!(FusedPlan, scratch) as u32,
        offset_of!(FusedPlan, trial) as u32,
        offset_of!(FusedPlan, batch) as u32,
        offset_of!(FusedPlan, shuffled) as u32,
        offset_of!(FusedPlan, shuffle_trial) as u32,
        offset_of!(FusedPlan, nesterov) as u32,
        offset_of!(FusedPlan, momentum) as u32,
        offset_of!(FusedPlan, weight_decay) as u32,
        offset_of!(FusedPlan, smoothing) as u32,
        offset_of!(FusedPlan, activation) as u32,
        offset_of!(FusedPlan, dropout) as u32,
        offset_of!(FusedPlan, pad) as u32,
    ];
}

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

impl DeviceStruct for FusedClock {
    const NAME: &'static str = "FusedClock";
    const LAYOUT: &'static [u32] = &[
        size_of::<FusedClock>() as u32,
        offset_of!(FusedClock, before) as u32,
        offset_of!(FusedClock, phase) as u32,
        offset_of!(FusedClock, first) as u32,
        offset_of!(FusedClock, finished) as u32,
        offset_of!(FusedClock, learning_rate) as u32,
        offset_of!(FusedClock, keys) as u32,
        offset_of!(FusedClock, train_loss) as u32,
        offset_of!(FusedClock, validation_loss) as u32,
        offset_of!(FusedClock, wrong) as u32,
    ];
}

/// Leave to train epoch `epoch` (from 1) of the trial at a place of the tables.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct FusedCall {
    pub trial: u32,
    pub epoch: u32,
    pub learning_rate: f32,
    pub pad: u32,
}

impl DeviceStruct for FusedCall {
    const NAME: &'static str = "FusedCall";
    const LAYOUT: &'static [u32] = &[
        size_of::<FusedCall>() as u32,
        offset_of!(FusedCall, trial) as u32,
        offset_of!(FusedCall, epoch) as u32,
        offset_of!(FusedCall, learning_rate) as u32,
        offset_of!(FusedCall, pad) as u32,
    ];
}

/// What the host tells all blocks.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct FusedDesk {
    /// Calls written so far, modulo 2^32.
    pub called: u32,
    /// 1: leave at the next step.
    pub stop: u32,
}

impl DeviceStruct for FusedDesk {
    const NAME: &'static str = "FusedDesk";
    const LAYOUT: &'static [u32] = &[
        size_of::<FusedDesk>() as u32,
        offset_of!(FusedDesk, called) as u32,
        offset_of!(FusedDesk, stop) as u32,
    ];
}

/// What a trial's last epoch came to: sums over the samples. `epoch` is written last.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct FusedReport {
    pub train_loss: f64,
    pub validation_loss: f64,
    pub wrong: u32,
    pub epoch: u32,
}

impl DeviceStruct for FusedReport {
    const NAME: &'static str = "FusedReport";
    const LAYOUT: &'static [u32] = &[
        size_of::<FusedReport>() as u32,
        offset_of!(FusedReport, train_loss) as u32,
        offset_of!(FusedReport, validation_loss) as u32,
        offset_of!(FusedReport, wrong) as u32,
        offset_of!(FusedReport, epoch) as u32,
    ];
}

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

impl DeviceStruct for FusedLaunch {
    const NAME: &'static str = "FusedLaunch";
    const LAYOUT: &'static [u32] = &[
        size_of::<FusedLaunch>() as u32,
        offset_of!(FusedLaunch, plans) as u32,
        offset_of!(FusedLaunch, clocks) as u32,
        offset_of!(FusedLaunch, data) as u32,
        offset_of!(FusedLaunch, calls) as u32,
        offset_of!(FusedLaunch, desk) as u32,
        offset_of!(FusedLaunch, reports) as u32,
        offset_of!(FusedLaunch, taken) as u32,
        offset_of!(FusedLaunch, capacity) as u32,
        offset_of!(FusedLaunch, budget) as u32,
        offset_of!(FusedLaunch, patience) as u32,
        offset_of!(FusedLaunch, pad) as u32,
    ];
}

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
