//! What the kernels know of a trial: the structs of `kernels/trial.cuh`, field by field.
//!
//! Addresses are of device memory; the kernels' files say what lies there.

use bytemuck::{Pod, Zeroable};

use super::gemm::Step;
use super::module::device_struct;

/// What a step of SGD goes by, as `torch.optim.SGD` names it: `kernels/rule.cuh`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Rule {
    pub learning_rate: f32,
    pub momentum: f32,
    pub weight_decay: f32,
    pub nesterov: u32,
}

device_struct!(Rule { learning_rate, momentum, weight_decay, nesterov });

/// What the host decided last: epoch `epoch` (from 1) may be trained, by this rule.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Command {
    pub rule: Rule,
    pub epoch: u32,
}

device_struct!(Command { rule, epoch });

/// A trial's place in time; all zeros is a trial before its first epoch.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Clock {
    pub step: Step,
    /// The same, but without rows where the step is scored: what gradients read.
    pub learning: Step,
    pub phase: u32,
    /// Place in the phase of the step's first sample.
    pub first: u32,
    /// Epochs trained and scored.
    pub finished: u32,
    /// Validation samples found wrong so far in this epoch.
    pub wrong: u32,
    /// Of this epoch.
    pub rule: Rule,
    /// Sums over the epoch's samples so far.
    pub train_loss: f64,
    pub validation_loss: f64,
    /// Round keys of this epoch's shuffle.
    pub keys: [u32; 8],
}

device_struct!(Clock {
    step,
    learning,
    phase,
    first,
    finished,
    wrong,
    rule,
    train_loss,
    validation_loss,
    keys
});

impl Clock {
    pub const SCORING: u32 = 2;
}

/// What never changes while a trial's array stands.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Plan {
    pub seed: u64,
    pub inputs: u64,
    pub labels: u64,
    pub logits: u64,
    pub delta: u64,
    pub losses: u64,
    pub predicted: u64,
    pub input_stride: u32,
    pub class_stride: u32,
    pub batch: u32,
    pub capacity: u32,
    pub shuffled: u32,
    pub shuffle_trial: u32,
    pub smoothing: f32,
    pub pad: u32,
}

device_struct!(Plan {
    seed,
    inputs,
    labels,
    logits,
    delta,
    losses,
    predicted,
    input_stride,
    class_stride,
    batch,
    capacity,
    shuffled,
    shuffle_trial,
    smoothing,
    pad
});

/// One part of the data set on the device: `pixels [count][inputs]` and `labels [count]`, bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Samples {
    pub pixels: u64,
    pub labels: u64,
    pub count: u32,
    pub pad: u32,
}

device_struct!(Samples { pixels, labels, count, pad });

/// The data set of a task on the device.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Data {
    pub training: Samples,
    pub validation: Samples,
    pub inputs: u32,
    pub classes: u32,
}

device_struct!(Data { training, validation, inputs, classes });

/// A block's work: a trial (or tensor) and where in it the block begins.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Tile {
    pub of: u32,
    pub first: u32,
}

device_struct!(Tile { of, first });
