//! `warpsweep devices`: what this machine can train on, and what `auto` takes.

use serde_json::{Value as Json, json};

use super::device::auto;
use super::print;
use crate::engine::cuda::discover::{Found, Survey};
use crate::engine::cuda::launch::{CudaError, version};
use crate::engine::cuda::program;
use crate::error::Result;

/// What this machine can train on: driver, compiler, GPUs, and what --device auto takes.
///
/// Where something is missing it says what to install. It exits with 0 as long as it could report.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  warpsweep devices
  warpsweep devices --json | jq '.gpus[].name'")]
pub struct Args {
    /// One JSON object on standard output, nothing else
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<()> {
    let survey = Survey::take();
    let (gpus, why) = auto(&survey);
    let device = match &*gpus {
        [] => "cpu".to_owned(),
        gpus => gpus.iter().map(|n| format!("cuda:{n}")).collect::<Vec<_>>().join(" "),
    };
    if args.json {
        return print(&format!("{}\n", object(&survey, &device, &why)));
    }
    let mut rows =
        rows(&survey).into_iter().chain([("auto".to_owned(), format!("{device}: {why}"))]);
    rows.try_for_each(|(name, text)| print(&format!("{name:8} {text}\n")))
}

/// A row a thing: its name, and what there is to say of it.
fn rows(survey: &Survey) -> Vec<(String, String)> {
    let driver = match &survey.version {
        Ok(number) => format!("supports CUDA {}", version(*number)),
        Err(error) => error.to_string(),
    };
    let nvrtc = match &survey.nvrtc {
        Ok(nvrtc) => {
            let (major, minor) = nvrtc.version;
            format!("{major}.{minor}, {}", nvrtc.path.display())
        }
        Err(error) => error.to_string(),
    };
    let mut rows = vec![("driver".to_owned(), driver), ("NVRTC".to_owned(), nvrtc)];
    match (&survey.gpus, &survey.version) {
        (Ok(gpus), _) => rows.extend(gpus.iter().map(gpu_row)),
        // Said in the driver's row.
        (Err(CudaError::NoDriver), Err(_)) => {}
        (Err(error), _) => rows.push(("GPUs".to_owned(), error.to_string())),
    }
    rows
}

fn gpu_row(found: &Found) -> (String, String) {
    let gpu = &found.gpu;
    let gib = |bytes: usize| bytes as f64 / f64::from(1 << 30);
    let usable = match (&found.usable, found.free()) {
        (Ok(_), Some(free)) => format!("{:.1} GiB free", gib(free)),
        (Ok(_), None) => "how much is free is not known".to_owned(),
        (Err(error), _) => format!("cannot be used: {error}"),
    };
    let text = format!(
        "{}, {:.1} GiB ({usable}), {} multiprocessors, compute capability {}.{}, PCI {}, {}",
        gpu.name,
        gib(gpu.memory),
        gpu.multiprocessors,
        gpu.capability / 10,
        gpu.capability % 10,
        gpu.pci,
        gpu.uuid
    );
    (format!("cuda:{}", gpu.ordinal), text)
}

fn object(survey: &Survey, device: &str, why: &str) -> Json {
    let gpu = |found: &Found| {
        let gpu = &found.gpu;
        json!({
            "device": format!("cuda:{}", gpu.ordinal),
            "name": gpu.name,
            "memory": gpu.memory,
            "free": found.free(),
            "multiprocessors": gpu.multiprocessors,
            "compute_capability": format!("{}.{}", gpu.capability / 10, gpu.capability % 10),
            "pci": gpu.pci,
            "uuid": gpu.uuid,
            "error": found.usable.as_ref().err().map(CudaError::to_string),
        })
    };
    let gpus = survey.gpus.as_deref().unwrap_or_default().iter().map(gpu);
    json!({
        "driver": {
            "cuda": survey.version.as_ref().ok().map(|number| version(*number)),
            "error": survey.gpus.as_ref().err().map(CudaError::to_string),
        },
        "nvrtc": {
            "version": survey.nvrtc.as_ref().ok().map(|n| format!("{}.{}", n.version.0, n.version.1)),
            "path": survey.nvrtc.as_ref().ok().map(|nvrtc| nvrtc.path.display().to_string()),
            "error": survey.nvrtc.as_ref().err().map(CudaError::to_string),
        },
        "gpus": gpus.collect::<Vec<_>>(),
        "auto": { "device": device, "why": why },
        "kernels": program::DIGEST,
    })
}
