//! A GPU for the CUDA tests: a real one, or the simulated device that `tests/run.sh` puts in the
//! driver's place.

use warpsweep::engine::cuda::compile::Compiler;
use warpsweep::engine::cuda::launch::gemm::Gemm;
use warpsweep::engine::cuda::launch::trial::Tile;
use warpsweep::engine::cuda::launch::{Buffer, CudaError, Device, Driver, Nvrtc, Stream};
use warpsweep::engine::cuda::tiles::Precision;
use warpsweep::engine::cuda::{Choice, CudaEngine, Limits, Settings};
use warpsweep::random;

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
    engine_as(Settings { precision: Precision::Fp32, kernel, limits })
}

/// The same as [`engine`], in this precision.
pub fn engine_of(precision: Precision) -> Option<CudaEngine> {
    engine_as(Settings { precision, kernel: Choice::Layered, limits: Limits::default() })
}

/// An engine on the first GPU; none, said aloud, also where the GPU is too old for the precision.
fn engine_as(settings: Settings) -> Option<CudaEngine> {
    let (capability, precision) = (gpu()?.device.gpu().capability, settings.precision);
    if capability < precision.least_capability() {
        super::skip(&format!("the GPU is too old for {}", precision.name()));
        return None;
    }
    Some(CudaEngine::new(&[0], settings).expect("an engine on the first GPU"))
}

/// The products in a precision; none, said aloud, where the GPU is too old for it.
pub fn gemm(gpu: &Gpu, precision: Precision) -> Option<Gemm> {
    let capability = gpu.device.gpu().capability;
    if capability < precision.least_capability() {
        super::skip(&format!("the GPU is too old for {}", precision.name()));
        return None;
    }
    let module = |name: &str| gpu.compiler.kernels(&gpu.device, name);
    Some(Gemm::new(module, precision, capability).expect("the kernels"))
}

/// A copy of these values on the GPU.
pub fn buffer<T: bytemuck::Pod>(gpu: &Gpu, values: &[T]) -> Buffer<T> {
    Buffer::from_slice(&gpu.stream, values).expect("a buffer")
}

/// So many zeros on the GPU.
pub fn zeros<T: bytemuck::Pod>(gpu: &Gpu, len: usize) -> Buffer<T> {
    Buffer::zeroed(&gpu.stream, len).expect("a buffer")
}

/// Cuts `count` things of trial or tensor `of` into tiles of a block each.
pub fn tiles(of: usize, count: usize, size: usize) -> Vec<Tile> {
    let tile = |first| Tile { of: of as u32, first: first as u32 };
    (0..count).step_by(size).map(tile).collect()
}

/// The round keys of an epoch's shuffle, as `begin` draws them.
pub fn keys(seed: u64, trial: u32, epoch: u64) -> [u32; 8] {
    let stream = random::Stream::new(seed, random::Purpose::Shuffle, trial);
    let [a, b] = [0, 1].map(|half| stream.block(2 * epoch + half));
    std::array::from_fn(|i| if i < 4 { a[i] } else { b[i - 4] })
}
