//! `kernels/begin.cu`: closes every trial's last step and opens its next one.

use super::trial::{Clock, Command, Data, Plan, Rule, Samples, Tile};
use super::{Buffer, CudaError, Function, Module, Shape, Stream, arg, launch};

/// The kernel.
#[derive(Debug)]
pub struct Begin(Function);

impl Begin {
    /// Its file speaks for all kernels of how the structs of a trial are laid out.
    pub fn new(module: &Module) -> Result<Self, CudaError> {
        module.check_layout::<Clock>()?;
        module.check_layout::<Rule>()?;
        module.check_layout::<Command>()?;
        module.check_layout::<Plan>()?;
        module.check_layout::<Samples>()?;
        module.check_layout::<Data>()?;
        module.check_layout::<Tile>()?;
        module.function("begin").map(Begin)
    }

    /// One tick of every trial's clock.
    pub fn launch(
        &self,
        stream: &Stream,
        plans: &Buffer<Plan>,
        commands: &Buffer<Command>,
        clocks: &Buffer<Clock>,
        data: &Buffer<Data>,
    ) -> Result<(), CudaError> {
        let addresses = [plans.address(), commands.address(), clocks.address(), data.address()];
        let shape = Shape::line(clocks.len() as u32, 128);
        // SAFETY: four table addresses, as the kernel takes; the tables point into memory that the
        // same `Placed` keeps.
        unsafe { launch(stream, &self.0, shape, &addresses.each_ref().map(arg)) }
    }
}
