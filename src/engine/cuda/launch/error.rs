//! What goes wrong between this program and a GPU.

use cudarc::driver::DriverError;

use super::driver::version;
use crate::error::Error;

/// Every way in which the CUDA wing fails. A message is one line and ends with what to do next; only
/// a compiler's log follows it on lines of its own.
#[derive(Debug, thiserror::Error)]
pub enum CudaError {
    /// libcuda cannot be loaded.
    #[error(
        "there is no NVIDIA driver here (libcuda.so.1 was not found); install the driver, or take --device cpu"
    )]
    NoDriver,

    /// The driver is older than what this program or its compiler needs.
    #[error(
        "the NVIDIA driver supports CUDA {}, but {what} needs {} ({release}); update the driver, or take \
         --device cpu",
        version(*.found), version(*.needed)
    )]
    DriverTooOld { found: i32, needed: i32, what: String, release: &'static str },

    /// There is a driver, but no GPU that it would show.
    #[error("the NVIDIA driver shows no GPU{}; take --device cpu", hidden_by())]
    NoGpu,

    /// A GPU that is not there.
    #[error("there is no GPU {ordinal}, only {count}; `warpsweep devices` shows them")]
    NoSuchGpu { ordinal: usize, count: usize },

    /// The compiler of kernels cannot be loaded.
    #[error(
        "NVRTC, the compiler of the kernels, was not found ({tried}); `pip install \
         nvidia-cuda-nvrtc` and set WARPSWEEP_NVRTC to the folder of libnvrtc.so, or take --device cpu"
    )]
    NoNvrtc { tried: String },

    /// NVRTC knows no architecture that the GPU can run.
    #[error(
        "NVRTC {}.{} compiles for compute capability {oldest} and later, but the GPU has {found}; take \
         an older NVRTC by WARPSWEEP_NVRTC, or take --device cpu",
        .version.0, .version.1
    )]
    GpuTooOld { version: (i32, i32), oldest: u32, found: u32 },

    /// A kernel does not compile: a mistake of this program, or an NVRTC that it does not know.
    #[error(
        "kernel {kernel} does not compile for {arch} with NVRTC {}.{}; please report it with these \
         lines:\n{log}",
        .version.0, .version.1
    )]
    Compile { kernel: String, arch: String, version: (i32, i32), log: String },

    /// NVRTC fails at something else than a program.
    #[error("NVRTC failed in {call}: {name}; check its installation with `warpsweep devices`")]
    Nvrtc { call: &'static str, name: String },

    /// A function or variable that a compiled kernel file should have.
    #[error("the compiled {module} has no {symbol}; please report it")]
    NoSymbol { module: String, symbol: String },

    /// A struct that the host and the kernels lay out differently, or sizes that differ.
    #[error(
        "{table} is {device:?} in {module}, but {host:?} on the host (of a struct: its size, then the \
         place of each field); please report it"
    )]
    Layout { module: String, table: String, host: Vec<u32>, device: Vec<u32> },

    /// Blocks that must be on the GPU together and are not.
    #[error(
        "GPU {gpu} does not hold {blocks} blocks with {shared} bytes of shared memory at once; take \
         --kernel layered"
    )]
    TeamTooLarge { gpu: usize, blocks: usize, shared: usize },

    /// `--once` names a kernel that a step of these trials does not have.
    #[error("a step of these trials launches no kernel {asked}, but {}; name one of them", .launched.join(", "))]
    NotLaunched { asked: String, launched: Vec<String> },

    /// A trial that was to be trained within one launch, and cannot be.
    #[error(
        "no fused kernel can train trial {trial}: {reason}; take --kernel auto, which trains such a trial \
         layer by layer"
    )]
    NotFused { trial: u32, reason: String },

    /// A precision that no fused kernel has.
    #[error(
        "the fused kernels compute in fp32 only, not {precision}; take --precision fp32, or --kernel layered"
    )]
    FusedPrecision { precision: &'static str },

    /// Device memory is used up.
    #[error(
        "GPU {gpu} has no {bytes} bytes left; give it fewer trials with --array, or free its memory"
    )]
    OutOfMemory { gpu: usize, bytes: usize },

    /// The driver refused a call, or a kernel that ran before it failed.
    #[error("CUDA error {code} ({name}) in {call}: {meaning}; {}", next_step(*.code))]
    Driver { call: &'static str, code: u32, name: String, meaning: String },
}

impl CudaError {
    /// The driver's answer to a call. To be asked only where the driver is loaded, since its names
    /// for errors come from there.
    pub(super) fn of(call: &'static str) -> impl Fn(DriverError) -> CudaError {
        move |error| {
            let text = |text: Result<&std::ffi::CStr, DriverError>| match text {
                Ok(text) => text.to_string_lossy().into_owned(),
                Err(_) => "unknown".to_owned(),
            };
            let (name, meaning) = (text(error.error_name()), text(error.error_string()));
            CudaError::Driver { call, code: error.0 as u32, name, meaning }
        }
    }

    /// Whether less memory would have done.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, CudaError::OutOfMemory { .. })
    }
}

impl From<CudaError> for Error {
    /// Asking for a device that is not there is the user's mistake; the rest are failures of the run.
    fn from(error: CudaError) -> Error {
        let exit_code = match error {
            CudaError::NoDriver
            | CudaError::DriverTooOld { .. }
            | CudaError::NoGpu
            | CudaError::NoSuchGpu { .. }
            | CudaError::NoNvrtc { .. }
            | CudaError::GpuTooOld { .. }
            | CudaError::NotLaunched { .. }
            | CudaError::NotFused { .. }
            | CudaError::FusedPrecision { .. } => 2,
            _ => 1,
        };
        Error::Room { error: Box::new(error), exit_code }
    }
}

/// Why a driver may show no GPU though one is there.
fn hidden_by() -> String {
    match std::env::var("CUDA_VISIBLE_DEVICES") {
        Ok(value) => format!(" (CUDA_VISIBLE_DEVICES is `{value}`, which may hide it)"),
        Err(_) => String::new(),
    }
}

fn next_step(code: u32) -> &'static str {
    match code {
        // Of a driver's kernel module and its library, or of a container without the device files.
        100 | 101 | 999 | 803 | 804 => "check the driver with nvidia-smi",
        // A kernel read or wrote where it may not, or trapped.
        700 | 702 | 710 | 714..=719 => "please report it with the command line",
        _ => "see `warpsweep devices`",
    }
}
