//! `kernels/init.cu`: initial weights and biases, drawn on the device.

use bytemuck::{Pod, Zeroable};

use super::module::device_struct;
use super::trial::Tile;
use super::{Buffer, CudaError, Function, Module, Shape, Stream, arg, launch};

/// A tensor for the `init` kernel: `values [inputs][stride]`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct InitTensor {
    pub seed: u64,
    pub values: u64,
    pub trial: u32,
    pub purpose: u32,
    pub inputs: u32,
    pub outputs: u32,
    pub stride: u32,
    pub bound: f32,
}

device_struct!(InitTensor { seed, values, trial, purpose, inputs, outputs, stride, bound });

/// Philox blocks, of four values each, that a block of threads draws.
pub const BLOCKS: usize = 256;

/// The kernel.
#[derive(Debug)]
pub struct Init(Function);

impl Init {
    pub fn new(module: &Module) -> Result<Self, CudaError> {
        module.check_layout::<InitTensor>()?;
        module.function("init").map(Init)
    }

    /// Draws all tensors; each tile is a tensor and its first Philox block.
    pub fn launch(
        &self,
        stream: &Stream,
        tensors: &Buffer<InitTensor>,
        tiles: &Buffer<Tile>,
    ) -> Result<(), CudaError> {
        let shape = Shape::line(tiles.len() as u32, BLOCKS as u32);
        // SAFETY: two table addresses, as the kernel takes; the tables point into memory that the
        // same `Placed` keeps.
        unsafe { launch(stream, &self.0, shape, &[arg(&tensors.address()), arg(&tiles.address())]) }
    }
}
