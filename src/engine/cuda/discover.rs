//! What of CUDA is on this machine, and whether the CUDA engine can use it.

use std::path::PathBuf;

use super::launch::{CudaError, Device, Driver, Gpu, Nvrtc};

/// What was found. Whatever is missing is an error in its place: a survey itself never fails.
#[derive(Debug)]
pub struct Survey {
    /// The CUDA version that the driver supports, 13000 for 13.0.
    pub version: Result<i32, CudaError>,
    /// Every GPU that the driver shows, or why it cannot be used.
    pub gpus: Result<Vec<Found>, CudaError>,
    pub nvrtc: Result<Compiler, CudaError>,
}

/// A GPU, and whether the CUDA engine can use it.
#[derive(Debug)]
pub struct Found {
    pub gpu: Gpu,
    /// With a context, which lasts as long as this; or why there is none, or no code for it.
    pub usable: Result<Device, CudaError>,
}

/// The compiler of kernels that was found.
#[derive(Debug)]
pub struct Compiler {
    pub version: (i32, i32),
    pub path: PathBuf,
}

impl Survey {
    /// Looks for the driver, its GPUs and the compiler. Makes a context on each GPU, which takes
    /// tenths of a second and some hundred megabytes of its memory.
    pub fn take() -> Survey {
        let version = Driver::version_here();
        let nvrtc = Nvrtc::load(version.as_ref().ok().copied());
        let gpus = Driver::load().and_then(|driver| {
            (0..driver.gpus()).map(|ordinal| found(&driver, ordinal, nvrtc.as_ref().ok())).collect()
        });
        let nvrtc =
            nvrtc.map(|nvrtc| Compiler { version: nvrtc.version(), path: nvrtc.path().to_owned() });
        Survey { version, gpus, nvrtc }
    }

    /// The ordinals of the GPUs that can be used, at least one. The simulated device of the tests is
    /// none of them: it works for whoever asks for it, and a thousand times slower than the CPU.
    ///
    /// # Errors
    /// What is missing first of all, in words.
    pub fn usable(&self) -> Result<Vec<usize>, String> {
        let gpus = self.gpus.as_ref().map_err(CudaError::to_string)?;
        if let Err(error) = &self.nvrtc {
            return Err(error.to_string());
        }
        let real = || gpus.iter().filter(|found| !found.gpu.is_simulated());
        let usable = real().filter(|found| found.usable.is_ok());
        let ordinals: Vec<usize> = usable.map(|found| found.gpu.ordinal).collect();
        if !ordinals.is_empty() {
            return Ok(ordinals);
        }
        match real().find_map(|found| found.usable.as_ref().err()) {
            Some(error) => Err(error.to_string()),
            None => Err("the driver shows only a simulated device, which is for tests; \
                         take --device cuda to train on it"
                .to_owned()),
        }
    }
}

impl Found {
    /// Free bytes of its memory.
    pub fn free(&self) -> Option<usize> {
        self.usable.as_ref().ok()?.memory().ok().map(|(free, _total)| free)
    }
}

fn found(driver: &Driver, ordinal: usize, nvrtc: Option<&Nvrtc>) -> Result<Found, CudaError> {
    let gpu = driver.gpu(ordinal)?;
    let code = nvrtc.map_or(Ok(()), |nvrtc| nvrtc.target(&gpu).map(|_| ()));
    Ok(Found { gpu, usable: code.and_then(|()| Device::new(driver, ordinal)) })
}
