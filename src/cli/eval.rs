//! `warpsweep eval`: a saved model's error, loss and confusion matrix.

use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::json;

use super::device::DeviceArgs;
use super::options::DataArgs;
use super::progress::Console;
use crate::data::{Dataset, Split, Validation};
use crate::engine::Evaluation;
use crate::error::{Error, Result};
use crate::model::Architecture;
use crate::model::checkpoint::{self, Checkpoint};

/// Evaluate a saved model: error, loss and confusion matrix.
///
/// Data set and validation split are those that the model was trained with, unless the command
/// names others.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  warpsweep eval best.safetensors
  warpsweep eval best.safetensors --split validation --json")]
pub struct Args {
    /// A safetensors file of warpsweep
    model: PathBuf,

    /// The samples to evaluate on
    #[arg(long, value_enum, default_value = "test")]
    split: Which,

    /// What validates: holdout, holdout:N, or test [default: what the model was trained with]
    #[arg(long, value_name = "HOW")]
    validation: Option<String>,

    #[command(flatten)]
    data: DataArgs,

    #[command(flatten)]
    device: DeviceArgs,

    /// One JSON object on standard output, nothing else
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    Test,
    Validation,
    Train,
}

impl Which {
    fn name(self) -> &'static str {
        match self {
            Which::Test => "test",
            Which::Validation => "validation",
            Which::Train => "train",
        }
    }
}

pub fn run(mut args: Args) -> Result<()> {
    let console = Console { json: args.json, quiet: false };
    let Checkpoint { architecture, parameters, metadata } = checkpoint::load(&args.model)?;
    let trained_with = |key: &str| metadata.iter().find(|(k, _)| *k == key).map(|(_, v)| v.clone());
    let chosen = args.device.choose()?;
    let (engine, precision) = (&*chosen.engine, chosen.precision.name());
    let validation = args.validation.or_else(|| trained_with("validation"));
    let validation: Validation = validation.as_deref().unwrap_or("holdout").parse()?;
    args.data.data = args.data.data.or_else(|| trained_with("data"));
    let loaded = args.data.load()?;
    check_sizes(&architecture, &loaded.dataset, &args.model)?;
    let foreign = trained_with("data_fingerprint").filter(|f| *f != loaded.dataset.fingerprint);
    let note = loaded.note.or_else(|| {
        foreign.map(|_| "these are not the samples that the model was trained with".to_owned())
    });
    if let Some(note) = &note {
        console.line(&format!("note: {note}"))?;
    }
    let split = Split::new(loaded.dataset, validation)?;
    let part = match args.split {
        Which::Test => split.test(),
        Which::Validation => split.validation(),
        Which::Train => split.training(),
    };
    let result = engine.evaluate(&architecture, &parameters, part)?;
    let (device, name) = (engine.device(), &split.data().name);
    console.object(&json!({
        "event": "evaluation",
        "model": args.model.display().to_string(),
        "data": name,
        "split": args.split.name(),
        "validation": validation.to_string(),
        "samples": result.samples,
        "wrong": result.wrong,
        "error": result.error(),
        "loss": result.loss,
        "confusion": result.confusion.chunks(architecture.classes).collect::<Vec<_>>(),
        "device": device,
        "device_choice": chosen.why,
        "precision": precision,
        "note": note,
    }))?;
    console.line(&format!(
        "error {:.4} ({} of {} samples), loss {:.4}",
        result.error(),
        result.wrong,
        result.samples,
        result.loss
    ))?;
    console.line(&format!("on {name}, {} samples, {device}, {precision}", args.split.name()))?;
    console.line(&confusion_table(&result, architecture.classes))?;
    match note {
        Some(note) => console.line(&format!("note: {note}")),
        None => Ok(()),
    }
}

/// A model runs only on images of its size; fewer classes than it knows are no harm.
fn check_sizes(architecture: &Architecture, data: &Dataset, model: &std::path::Path) -> Result<()> {
    if architecture.inputs == data.pixels() && architecture.classes >= data.classes {
        return Ok(());
    }
    Err(Error::ModelSize {
        model: model.to_owned(),
        inputs: architecture.inputs,
        classes: architecture.classes,
        data: data.name.clone(),
        pixels: data.pixels(),
        data_classes: data.classes,
    })
}

/// A row a label, a column a predicted class.
fn confusion_table(result: &Evaluation, classes: usize) -> String {
    let widest = result.confusion.iter().max().map_or(1, |count| count.to_string().len());
    let width = widest.max(classes.to_string().len()) + 2;
    let heads: String = (0..classes).map(|class| format!("{class:>width$}")).collect();
    let mut table = format!("confusion (a row a label, a column a predicted class):\n     {heads}");
    for (label, row) in result.confusion.chunks(classes).enumerate() {
        let counts: String = row.iter().map(|count| format!("{count:>width$}")).collect();
        table.push_str(&format!("\n{label:>5}{counts}"));
    }
    table
}
