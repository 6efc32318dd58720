//! `--device` and `--precision`: where the arithmetic is done, and which engine that makes.

use std::str::FromStr;

use clap::ValueEnum;

use super::options::refuse;
use crate::engine::cpu::{self, CpuEngine};
use crate::engine::cuda::discover::Survey;
use crate::engine::cuda::launch::Driver;
use crate::engine::cuda::{Choice, CudaEngine, Settings, tiles};
use crate::engine::{Engine, Trial};
use crate::error::{Error, Result};

/// Where the arithmetic is done.
#[derive(Clone, Debug, clap::Args)]
pub struct DeviceArgs {
    /// The device to train on: auto, cpu, cuda (all GPUs) or cuda:N (see `warpsweep devices`)
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: Device,

    /// How products are computed; tf32 and 3xtf32 are for GPUs of compute capability 8.0 and later
    #[arg(long, value_enum, default_value = "fp32")]
    pub precision: Precision,

    /// How a GPU trains: fused, a trial's epochs within one kernel launch (small models, fp32); layered, a
    /// launch an operation; auto, what the cost model says is faster for each trial
    #[arg(long, value_enum, default_value = "auto")]
    pub kernel: Kernel,

    /// Threads of the CPU engine; no number of any trial depends on it [default: all cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Auto,
    Cpu,
    /// All GPUs, or the one of this ordinal.
    Cuda(Option<usize>),
}

impl FromStr for Device {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Device, Self::Err> {
        let of_number =
            |number: &str| number.parse().ok().map(|ordinal| Device::Cuda(Some(ordinal)));
        match text {
            "auto" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            "cuda" => Ok(Device::Cuda(None)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(of_number)
                .ok_or("expected auto, cpu, cuda or cuda:N, such as cuda:0"),
        }
    }
}

/// By which path a GPU trains a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kernel {
    /// What the cost model says is faster for a trial, by its own sizes alone
    Auto,
    /// Whole epochs within one launch: softmax regression of up to 784 pixels and 10 classes, and MLPs with one
    /// hidden layer that fits the shared memory of 16 multiprocessors
    Fused,
    /// A launch an operation, for all trials: any model
    Layered,
}

impl Kernel {
    fn of_engine(self) -> Choice {
        match self {
            Kernel::Auto => Choice::Auto,
            Kernel::Fused => Choice::Fused,
            Kernel::Layered => Choice::Layered,
        }
    }
}

/// How products are computed. All else is float32 everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// float32
    Fp32,
    /// Tensor cores, factors rounded to 10 bits: fast, errors near 1e-3
    Tf32,
    /// Tensor cores, each factor as two of TF32: accuracy near float32's
    #[value(name = "3xtf32")]
    Tf32x3,
}

impl Precision {
    /// As it is shown and recorded.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Fp32 => "float32",
            Precision::Tf32 => "tf32",
            Precision::Tf32x3 => "3xtf32",
        }
    }

    pub fn of_engine(self) -> tiles::Precision {
        match self {
            Precision::Fp32 => tiles::Precision::Fp32,
            Precision::Tf32 => tiles::Precision::Tf32,
            Precision::Tf32x3 => tiles::Precision::Tf32x3,
        }
    }

    fn option(self) -> &'static str {
        match self {
            Precision::Fp32 => "fp32",
            other => other.name(),
        }
    }
}

/// What was taken.
pub struct Chosen {
    pub engine: Box<dyn Engine + Sync>,
    pub precision: Precision,
    pub hardware: Hardware,
    /// By which path it trains; none on the CPU.
    pub kernel: Option<&'static str>,
    /// Why, where the user left it open.
    pub why: Option<String>,
}

/// What the engine runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hardware {
    Cpu {
        threads: usize,
    },
    /// By their ordinals.
    Gpus(Vec<usize>),
}

impl Hardware {
    pub fn is_gpu(&self) -> bool {
        matches!(self, Hardware::Gpus(_))
    }

    /// How many threads or GPUs train these trials.
    pub fn lanes(&self, trials: &[Trial]) -> usize {
        match self {
            Hardware::Cpu { threads } => cpu::threads_at_work(*threads, trials),
            Hardware::Gpus(gpus) => gpus.len().min(trials.len()),
        }
    }

    /// The engine's family.
    fn family(&self) -> &'static str {
        if self.is_gpu() { "cuda" } else { "cpu" }
    }
}

impl Chosen {
    /// Whether a simulated device stands in for a GPU, as in the tests.
    pub fn is_simulated(&self) -> bool {
        self.hardware.is_gpu() && self.engine.device().contains("simulated")
    }

    /// What the numbers of a trial depend on: the same on every device of the family.
    pub fn arithmetic(&self) -> String {
        let plain = format!("{} {}", self.hardware.family(), self.precision.name());
        match self.kernel {
            // The two paths agree to rounding only. Layered studies are older than the choice.
            Some(kernel) if kernel != Choice::Layered.name() => format!("{plain} {kernel}"),
            _ => plain,
        }
    }

    /// The line that says what was taken, and why where the user left that open.
    pub fn line(&self) -> String {
        let why = self.why.as_ref().map_or(String::new(), |why| format!(" (--device auto: {why})"));
        format!("device: {}{why}", self.engine.device())
    }
}

impl DeviceArgs {
    /// The engine that was asked for; with `auto` all usable GPUs, else the CPU, and why.
    ///
    /// # Errors
    /// A device that is not here, or a precision that it does not have: never another one instead.
    pub fn choose(&self) -> Result<Chosen> {
        self.choose_with(Choice::Auto)
    }

    /// The same, for who has another meaning for `--kernel auto`.
    pub fn choose_with(&self, usual: Choice) -> Result<Chosen> {
        if self.threads == Some(0) {
            return Err(refuse("--threads", 0, "at least 1", "leave it out to use all cores"));
        }
        match self.device {
            Device::Cpu => self.cpu(None),
            Device::Cuda(ordinal) => {
                let driver = Driver::load()?;
                let all = (0..driver.gpus()).collect();
                self.cuda(&driver, &ordinal.map_or(all, |ordinal| vec![ordinal]), usual, None)
            }
            Device::Auto => {
                // The survey's contexts are the engine's: making them takes a while.
                let survey = Survey::take();
                match auto(&survey) {
                    (gpus, why) if gpus.is_empty() => self.cpu(Some(why)),
                    (gpus, why) => self.cuda(&Driver::load()?, &gpus, usual, Some(why)),
                }
            }
        }
    }

    fn cpu(&self, why: Option<String>) -> Result<Chosen> {
        if self.precision != Precision::Fp32 {
            let (precision, device) = (self.precision.option(), "the CPU engine".to_owned());
            return Err(Error::Precision { precision, device });
        }
        if self.kernel != Kernel::Auto {
            let kernel = self.kernel.of_engine().name();
            let next = "leave it out, or take --device cuda";
            return Err(refuse(
                "--kernel",
                kernel,
                "auto, since the CPU engine has no kernels",
                next,
            ));
        }
        let engine = CpuEngine::new(self.threads)?;
        let hardware = Hardware::Cpu { threads: engine.threads() };
        let (engine, precision) = (Box::new(engine), self.precision);
        Ok(Chosen { engine, precision, hardware, kernel: None, why })
    }

    fn cuda(
        &self,
        driver: &Driver,
        gpus: &[usize],
        kernel: Choice,
        why: Option<String>,
    ) -> Result<Chosen> {
        let precision = self.precision.of_engine();
        for &ordinal in gpus {
            let gpu = driver.gpu(ordinal)?;
            if gpu.capability < precision.least_capability() {
                return Err(Error::Precision {
                    precision: self.precision.option(),
                    device: gpu.name,
                });
            }
        }
        let kernel = if self.kernel == Kernel::Auto { kernel } else { self.kernel.of_engine() };
        let settings = Settings { kernel, ..Settings::of(precision) };
        let engine = Box::new(CudaEngine::new(gpus, settings)?);
        let hardware = Hardware::Gpus(gpus.to_vec());
        let (precision, kernel) = (self.precision, Some(kernel.name()));
        Ok(Chosen { engine, precision, hardware, kernel, why })
    }
}

/// The GPUs that `auto` takes, all that can be used, and why; none: it takes the CPU.
pub fn auto(survey: &Survey) -> (Vec<usize>, String) {
    match survey.usable() {
        Ok(gpus) => {
            let plural = if gpus.len() == 1 { "" } else { "s" };
            let why = format!("{} usable GPU{plural}, and NVRTC, are here", gpus.len());
            (gpus, why)
        }
        // Without what to do: who says `auto` need do nothing.
        Err(reason) => (Vec::new(), reason.split("; ").next().unwrap_or(&reason).to_owned()),
    }
}
