//! What the kernels know of a trial: the structs of `kernels/trial.cuh`, field by field.
//!
//! Addresses are of device memory; the kernels' files say what lies there.

use std::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use super::DeviceStruct;
use super::gemm::Step;

/// What the host decided last: epoch `epoch` (from 1) may be trained, at this learning rate.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
pub struct Command {
    pub epoch: u32,
    pub learning_rate: f32,
}

impl DeviceStruct for Command {
    const NAME: &'static str = "Command";
    const LAYOUT: &'static [u32] = &[
        size_of::<Command>() as u32,
        offset_of!(Command, epoch) as u32,
        offset_of!(Command, learning_rate) as u32,
    ];
}

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
    pub learning_rate: f32,
    pub pad: u32,
    /// Sums over the epoch's samples so far.
    pub train_loss: f64,
    pub validation_loss: f64,
    /// Round keys of this epoch's shuffle.
    pub keys: [u32; 8],
}

impl DeviceStruct for Clock {
    const NAME: &'static str = "Clock";
    const LAYOUT: &'static [u32] = &[
        size_of::<Clock>() as u32,
        offset_of!(Clock, step) as u32,
        offset_of!(Clock, learning) as u32,
        offset_of!(Clock, phase) as u32,
        offset_of!(Clock, first) as u32,
        offset_of!(Clock, finished) as u32,
        offset_of!(Clock, wrong) as u32,
        offset_of!(Clock, learning_rate) as u32,
        offset_of!(Clock, pad) as u32,
        offset_of!(Clock, train_loss) as u32,
        offset_of!(Clock, validation_loss) as u32,
        offset_of!(Clock, keys) as u32,
    ];
}

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
    pub momentum: f32,
    pub weight_decay: f32,
    pub smoothing: f32,
    pub nesterov: u32,
}

impl DeviceStruct for Plan {
    const NAME: &'static str = "Plan";
    const LAYOUT: &'static [u32] = &[
        size_of::<Plan>() as u32,
        offset_of!(Plan, seed) as u32,
        offset_of!(Plan, inputs) as u32,
        offset_of!(Plan, labels) as u32,
        offset_of!(Plan, logits) as u32,
        offset_of!(Plan, delta) as u32,
        offset_of!(Plan, losses) as u32,
        offset_of!(Plan, predicted) as u32,
        offset_of!(Plan, input_stride) as u32,
        offset_of!(Plan, class_stride) as u32,
        offset_of!(Plan, batch) as u32,
        offset_of!(Plan, capacity) as u32,
        offset_of!(Plan, shuffled) as u32,
        offset_of!(Plan, shuffle_trial) as u32,
        offset_of!(Plan, momentum) as u32,
        offset_of!(Plan, weight_decay) as u32,
        offset_of!(Plan, smoothing) as u32,
        offset_of!(Plan, nesterov) as u32,
    ];
}

/// One part of the data set on the device: `pixels [count][inputs]` and `labels [count]`, bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Samples {
    pub pixels: u64,
    pub labels: u64,
    pub count: u32,
    pub pad: u32,
}

impl DeviceStruct for Samples {
    const NAME: &'static str = "Samples";
    const LAYOUT: &'static [u32] = &[
        size_of::<Samples>() as u32,
        offset_of!(Samples, pixels) as u32,
        offset_of!(Samples, labels) as u32,
        offset_of!(Samples, count) as u32,
        offset_of!(Samples, pad) as u32,
    ];
}

/// The data set of a task on the device.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Data {
    pub training: Samples,
    pub validation: Samples,
    pub inputs: u32,
    pub classes: u32,
}

impl DeviceStruct for Data {
    const NAME: &'static str = "Data";
    const LAYOUT: &'static [u32] = &[
        size_of::<Data>() as u32,
        offset_of!(Data, training) as u32,
        offset_of!(Data, validation) as u32,
        offset_of!(Data, inputs) as u32,
        offset_of!(Data, classes) as u32,
    ];
}

/// A block's work: a trial (or tensor) and where in it the block begins.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
pub struct Tile {
    pub of: u32,
    pub first: u32,
}

impl DeviceStruct for Tile {
    const NAME: &'static str = "Tile";
    const LAYOUT: &'static [u32] =
        &[size_of::<Tile>() as u32, offset_of!(Tile, of) as u32, offset_of!(Tile, first) as u32];
}
