//! `kernels/sgd.cu`: one step of SGD for all tensors of all trials.

use bytemuck::{Pod, Zeroable};

use super::module::device_struct;
use super::trial::{Clock, Plan, Tile};
use super::{Buffer, CudaError, Function, Module, Shape, Stream, arg, launch};

/// A tensor for the `sgd` kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct SgdTensor {
    pub values: u64,
    /// 0 without momentum.
    pub velocity: u64,
    /// Of weights, their gradient; of biases, the matrix whose columns add up to it.
    pub gradient: u64,
    pub trial: u32,
    pub count: u32,
    /// Of that matrix; 0 for weights.
    pub stride: u32,
    pub pad: u32,
}

device_struct!(SgdTensor { values, velocity, gradient, trial, count, stride, pad });

/// Weights that a block updates.
pub const VALUES: usize = 4096;
/// Biases that a block updates.
pub const COLUMNS: usize = 32;

/// The kernel.
#[derive(Debug)]
pub struct Sgd(Function);

impl Sgd {
    pub fn new(module: &Module) -> Result<Self, CudaError> {
        module.check_layout::<SgdTensor>()?;
        module.function("sgd").map(Sgd)
    }

    /// Updates the tensors of every trial that trains in this tick; each tile is a tensor and its
    /// first value.
    pub fn launch(
        &self,
        stream: &Stream,
        plans: &Buffer<Plan>,
        clocks: &Buffer<Clock>,
        tensors: &Buffer<SgdTensor>,
        tiles: &Buffer<Tile>,
    ) -> Result<(), CudaError> {
        let addresses = [plans.address(), clocks.address(), tensors.address(), tiles.address()];
        let shape = Shape::line(tiles.len() as u32, 256);
        // SAFETY: four table addresses, as the kernel takes; the tables point into memory that the
        // same `Placed` keeps.
        unsafe { launch(stream, &self.0, shape, &addresses.each_ref().map(arg)) }
    }
}
