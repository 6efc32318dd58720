//! `kernels/softmax_xent.cu`: loss, gradient and predicted class of every row of logits.

use super::trial::{Clock, Data, Plan, Tile};
use super::{Buffer, CudaError, Function, Module, Shape, Stream, arg, launch};

/// Rows that a block takes.
pub const ROWS: usize = 16;

/// The kernel.
#[derive(Debug)]
pub struct SoftmaxXent(Function);

impl SoftmaxXent {
    pub fn new(module: &Module) -> Result<Self, CudaError> {
        module.function("softmax_xent").map(SoftmaxXent)
    }

    /// Takes every row of every trial; each tile is a trial and its first row.
    pub fn launch(
        &self,
        stream: &Stream,
        plans: &Buffer<Plan>,
        clocks: &Buffer<Clock>,
        tiles: &Buffer<Tile>,
        data: &Buffer<Data>,
    ) -> Result<(), CudaError> {
        let addresses = [plans.address(), clocks.address(), tiles.address(), data.address()];
        let shape = Shape::line(tiles.len() as u32, 256);
        // SAFETY: four table addresses, as the kernel takes; the tables point into memory that the
        // same `Placed` keeps.
        unsafe { launch(stream, &self.0, shape, &addresses.each_ref().map(arg)) }
    }
}
