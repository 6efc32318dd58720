//! From a kernel's source to a module on a GPU.

use super::launch::{CudaError, Device, Driver, Module, Nvrtc, Target};
use super::program::Program;

/// Compiles kernels and loads them.
#[derive(Debug)]
pub struct Compiler {
    nvrtc: Nvrtc,
}

impl Compiler {
    /// A compiler whose code the driver can run.
    pub fn new(driver: &Driver) -> Result<Compiler, CudaError> {
        Ok(Compiler { nvrtc: Nvrtc::load(Some(driver.version()))? })
    }

    /// The compiler underneath.
    pub fn nvrtc(&self) -> &Nvrtc {
        &self.nvrtc
    }

    /// A program as a module on a GPU.
    pub fn module(&self, device: &Device, program: &Program<'_>) -> Result<Module, CudaError> {
        let target = self.nvrtc.target(device.gpu())?;
        Module::load(device, program.name, &self.image(program, target, &[])?)
    }

    /// A program as code, with options beside the usual ones.
    pub fn image(
        &self,
        program: &Program<'_>,
        target: Target,
        extra: &[&str],
    ) -> Result<Vec<u8>, CudaError> {
        Ok(self.nvrtc.compile(program, target, extra)?.image)
    }
}
