//! `kernels/sgd_bias.cu`: one step of SGD for the biases of all trials.

use bytemuck::{Pod, Zeroable};

use super::module::device_struct;
use super::trial::{Clock, Tile};
use super::{Buffer, CudaError, Function, Module, Shape, Stream, arg, launch};

/// The biases of a trial's layer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct BiasLayer {
    pub values: u64,
    /// 0 without momentum.
    pub velocity: u64,
    /// The matrix whose columns add up to the gradient.
    pub delta: u64,
    pub trial: u32,
    pub count: u32,
    /// Of `delta`, in floats.
    pub stride: u32,
    pub pad: u32,
}

device_struct!(BiasLayer { values, velocity, delta, trial, count, stride, pad });

/// Biases that a block updates.
pub const COLUMNS: usize = 32;

/// The kernel.
#[derive(Debug)]
pub struct SgdBias(Function);

impl SgdBias {
    pub fn new(module: &Module) -> Result<Self, CudaError> {
        module.check_layout::<BiasLayer>()?;
        module.function("sgd_bias").map(SgdBias)
    }

    /// Updates the biases of every trial that trains in this tick; each tile is a layer and its first
    /// bias.
    pub fn launch(
        &self,
        stream: &Stream,
        clocks: &Buffer<Clock>,
        layers: &Buffer<BiasLayer>,
        tiles: &Buffer<Tile>,
    ) -> Result<(), CudaError> {
        let addresses = [clocks.address(), layers.address(), tiles.address()];
        let shape = Shape::line(tiles.len() as u32, 256);
        // SAFETY: three table addresses, as the kernel takes; the tables point into memory that the
        // same `Placed` keeps.
        unsafe { launch(stream, &self.0, shape, &addresses.each_ref().map(arg)) }
    }
}
