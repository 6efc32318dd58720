//! A GPU for the CUDA tests: a real one, or the simulated device that `tests/run.sh` puts in the
//! driver's place.

use warpsweep::engine::cuda::compile::Compiler;
use warpsweep::engine::cuda::launch::{CudaError, Device, Driver, Nvrtc, Stream};
use warpsweep::engine::cuda::tiles::Precision;
use warpsweep::engine::cuda::{Choice, CudaEngine, Limits, Settings};

/// The first GPU with a stream on it, and a compiler for it.
pub struct Gpu {
    pub driver: Driver,
    pub device: Device,
    pub stream: Stream,
    pub compiler: Compiler,
}

/// The first GPU; none, said aloud, where there is no driver or no NVRTC. A driver that is there must
/// work.
pub fn gpu() -> Option<Gpu> {
    let driver = match Driver::load() {
        Err(error @ (CudaError::NoDriver | CudaError::NoGpu)) => {
            super::skip(&error.to_string());
            return None;
        }
        other => other.expect("a driver that works"),
    };
    let compiler = match Compiler::new(&driver) {
        Err(error @ CudaError::NoNvrtc { .. }) => {
            super::skip(&error.to_string());
            return None;
        }
        other => other.expect("a compiler that works"),
    };
    let device = Device::new(&driver, 0).expect("a context");
    let stream = device.stream().expect("a stream");
    Some(Gpu { driver, device, stream, compiler })
}

/// NVRTC alone, which needs no GPU; none, said aloud, where it is not found.
pub fn nvrtc() -> Option<Nvrtc> {
    match Nvrtc::load(None) {
        Err(error @ CudaError::NoNvrtc { .. }) => {
            super::skip(&error.to_string());
            None
        }
        other => Some(other.expect("a compiler that works")),
    }
}

/// The CUDA engine on the first GPU, training layer by layer; none, said aloud, where [`gpu`] says so.
pub fn engine() -> Option<CudaEngine> {
    engine_with(Choice::Layered, Limits::default())
}

/// The same, training by this path.
pub fn engine_with(kernel: Choice, limits: Limits) -> Option<CudaEngine> {
    gpu()?;
    let settings = Settings { precision: Precision::Fp32, kernel, limits };
    Some(CudaEngine::new(&[0], settings).expect("an engine on the first GPU"))
}
