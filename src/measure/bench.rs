//! What is measured: a device, a data set and a seed.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::ceilings::{Ceilings, gpu};
use crate::data::{Dataset, Samples, Split, Validation};
use crate::engine::cpu::CpuEngine;
use crate::engine::cuda::compile::Compiler;
use crate::engine::cuda::launch::cublas::Cublas;
use crate::engine::cuda::launch::gemm::Gemm;
use crate::engine::cuda::launch::{CudaError, Device as Gpu, Driver, Stream};
use crate::engine::cuda::tiles::Precision;
use crate::engine::cuda::{CudaEngine, Settings};
use crate::engine::{Engine, ShuffleMode, Task};
use crate::error::Result;

/// The subject of all suites.
pub struct Bench {
    pub device: Device,
    pub data: Dataset,
    /// Where the data set's files are; none of the built-in one.
    pub data_folder: Option<PathBuf>,
    pub seed: u64,
    /// Set to stop as soon as the engine can.
    pub interrupt: Arc<AtomicBool>,
}

/// Where the work is done.
pub enum Device {
    /// On so many threads.
    Processor(usize),
    Cuda(Box<CudaDevice>),
}

/// A GPU with what is needed to launch single kernels, and the GPUs that train.
pub struct CudaDevice {
    pub ordinals: Vec<usize>,
    pub stream: Stream,
    pub compiler: Compiler,
    /// cuBLAS beside our own products, or why it is not there.
    pub cublas: Result<Cublas, String>,
}

impl CudaDevice {
    /// Single kernels run on the first of the GPUs.
    pub fn new(ordinals: &[usize]) -> Result<CudaDevice, CudaError> {
        let driver = Driver::load()?;
        let compiler = Compiler::new(&driver)?;
        let first = ordinals.first().copied().ok_or(CudaError::NoGpu)?;
        let stream = Gpu::new(&driver, first)?.stream()?;
        let cublas = match stream.device().gpu().is_simulated() {
            true => Err("cuBLAS does not run on a simulated device".to_owned()),
            false => Cublas::load(&stream).map_err(|error| error.to_string()),
        };
        Ok(CudaDevice { ordinals: ordinals.to_vec(), stream, compiler, cublas })
    }

    pub fn is_simulated(&self) -> bool {
        self.stream.device().gpu().is_simulated()
    }

    /// The products of a precision.
    pub fn gemm(&self, precision: Precision) -> Result<Gemm, CudaError> {
        let device = self.stream.device();
        let module = |name: &str| self.compiler.kernels(device, name);
        Gemm::new(module, precision, device.gpu().capability)
    }

    /// Why this GPU does not compute in a precision, if it does not.
    pub fn lacks(&self, precision: Precision) -> Option<String> {
        let (has, needs) = (self.stream.device().gpu().capability, precision.least_capability());
        let text = |capability: u32| format!("{}.{}", capability / 10, capability % 10);
        (has < needs).then(|| {
            let name = precision.name();
            format!("{name} needs compute capability {}, this GPU has {}", text(needs), text(has))
        })
    }

    pub fn ceilings(&self, precision: Precision) -> Result<Option<Ceilings>> {
        let cublas = self.cublas.as_ref().ok();
        gpu::ceilings(&self.stream, &self.gemm(precision)?, precision, cublas)
    }
}

impl Bench {
    /// The engine that trains, in a precision; or why there is none.
    pub fn engine(&self, precision: Precision) -> Result<Result<Box<dyn Engine + Sync>, String>> {
        Ok(match &self.device {
            Device::Processor(threads) => match precision {
                Precision::Fp32 => Ok(Box::new(CpuEngine::new(Some(*threads))?)),
                _ => Err(CPU_PRECISION.to_owned()),
            },
            Device::Cuda(cuda) => match cuda.lacks(precision) {
                Some(reason) => Err(reason),
                None => Ok(Box::new(CudaEngine::new(&cuda.ordinals, Settings::of(precision))?)),
            },
        })
    }

    /// A task on the first samples of the data set: so many to train on, a sixth of that to validate.
    pub fn task(&self, samples: usize) -> Result<Task> {
        let first = |of: &Samples, count: usize| {
            let count = count.clamp(1, of.len());
            let pixels = of.pixels[..count * self.data.pixels()].to_vec();
            Samples { pixels: pixels.into(), labels: of.labels[..count].to_vec() }
        };
        let (train, test) = (first(&self.data.train, samples), first(&self.data.test, samples / 6));
        let Dataset { name, rows, cols, classes, .. } = &self.data;
        let data = Dataset::new(name, train, test, [*rows, *cols], *classes);
        let split = Split::new(data, Validation::Test)?;
        Ok(Task { split, seed: self.seed, shuffle: ShuffleMode::PerTrial })
    }

    pub fn is_simulated(&self) -> bool {
        matches!(&self.device, Device::Cuda(cuda) if cuda.is_simulated())
    }
}

/// Why a point of another precision is skipped on the CPU.
pub const CPU_PRECISION: &str = "the CPU engine computes in float32 only";

/// A precision by the name that its axis has.
pub fn precision_of(name: &str) -> Precision {
    Precision::ALL.into_iter().find(|one| one.name() == name).unwrap_or(Precision::Fp32)
}

/// The processor's name; its architecture where the system does not tell.
pub fn processor_name() -> String {
    let told = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = told.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    named.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}
