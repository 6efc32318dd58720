//! `warpsweep data`: what a data set holds, and whether its files are those that were published.

use std::fmt::Write as _;

use clap::Subcommand;
use serde_json::json;

use super::options::DataArgs;
use super::print;
use crate::data::split::count_classes;
use crate::data::verify::{FileReport, Status, verify};
use crate::data::{Dataset, Loaded, Split, Validation};
use crate::error::Result;

/// Look at a data set and check its files.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show sizes, classes, pixel statistics and fingerprint of a data set.
    Info(InfoArgs),
    /// Read every file and compare its MD5 sum with the published one; nothing stands in for files
    /// that are missing.
    Verify(VerifyArgs),
}

#[derive(Debug, clap::Args)]
struct InfoArgs {
    #[command(flatten)]
    data: DataArgs,
    /// One JSON object on standard output, nothing else
    #[arg(long)]
    json: bool,
    /// Show how this would split it: holdout, holdout:N or test
    #[arg(long, value_name = "HOW")]
    validation: Option<Validation>,
}

#[derive(Debug, clap::Args)]
struct VerifyArgs {
    #[command(flatten)]
    data: DataArgs,
    /// One JSON object a file and one summary on standard output, nothing else
    #[arg(long)]
    json: bool,
}

/// Runs `warpsweep data`.
pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Info(args) => info(args),
        Command::Verify(args) => verify_files(args),
    }
}

fn info(args: InfoArgs) -> Result<()> {
    let Loaded { dataset: data, note, folder } = args.data.load()?;
    let classes = class_counts(&data);
    let pixels = PixelStatistics::of(&data.train.pixels);
    let split = args.validation.map(|how| split_sizes(&data, how)).transpose()?;
    if args.json {
        let split = split.map(|[training, validation, test]| {
            json!({ "training": training, "validation": validation, "test": test })
        });
        return print(&format!(
            "{}\n",
            json!({
                "event": "data",
                "data": data.name,
                "note": note,
                "folder": folder,
                "fingerprint": data.fingerprint,
                "train": data.train.len(),
                "test": data.test.len(),
                "rows": data.rows,
                "cols": data.cols,
                "classes": data.classes,
                "train_samples_by_class": classes,
                "pixel_mean": pixels.mean,
                "pixel_std": pixels.deviation,
                "pixel_zeros": pixels.zeros,
                "validation": args.validation.map(|how| how.to_string()),
                "split": split,
            })
        ));
    }
    let place = folder.map_or("built in".to_string(), |folder| folder.display().to_string());
    let lines = [
        ("data", data.name.clone()),
        ("from", place),
        ("images", format!("{} x {} pixels, {} classes", data.rows, data.cols, data.classes)),
        ("samples", format!("{} to train, {} to test", data.train.len(), data.test.len())),
        ("by class", classes.iter().map(usize::to_string).collect::<Vec<_>>().join(" ")),
        (
            "pixels",
            format!(
                "mean {:.2}, standard deviation {:.2}, {:.1} % zero",
                pixels.mean,
                pixels.deviation,
                100.0 * pixels.zeros
            ),
        ),
        ("fingerprint", data.fingerprint.clone()),
    ];
    let lines = lines.into_iter().chain(split.map(|[training, validation, test]| {
        ("split", format!("{training} to train on, {validation} to validate, {test} to test"))
    }));
    let note = note.map_or(String::new(), |note| format!("note: {note}\n"));
    let text: String = lines.map(|(name, value)| format!("{name:<12} {value}\n")).collect();
    print(&(note + &text))
}

/// Samples to train on, to validate and to test.
fn split_sizes(data: &Dataset, validation: Validation) -> Result<[usize; 3]> {
    let split = Split::new(data.clone(), validation)?;
    Ok([split.training(), split.validation(), split.test()].map(|part| part.len()))
}

/// Training samples of each class.
fn class_counts(data: &Dataset) -> Vec<usize> {
    count_classes(&data.train.labels).into_iter().take(data.classes).collect()
}

/// What the bytes of the training images look like, over all of them together.
struct PixelStatistics {
    mean: f64,
    deviation: f64,
    /// Share of pixels that are zero.
    zeros: f64,
}

impl PixelStatistics {
    fn of(pixels: &[u8]) -> Self {
        let mut counts = [0u64; 256];
        for &pixel in pixels {
            counts[usize::from(pixel)] += 1;
        }
        let total = pixels.len() as f64;
        let moment = |value: &dyn Fn(f64) -> f64| {
            let sum: f64 = (0..256).map(|v| value(f64::from(v as u8)) * counts[v] as f64).sum();
            sum / total
        };
        let mean = moment(&|v| v);
        let deviation = moment(&|v| (v - mean) * (v - mean)).sqrt();
        PixelStatistics { mean, deviation, zeros: counts[0] as f64 / total }
    }
}

fn verify_files(args: VerifyArgs) -> Result<()> {
    let verification = verify(&args.data.request()?)?;
    let fingerprint = verification.dataset.as_ref().ok().map(|data| data.fingerprint.clone());
    let mut text = String::new();
    if args.json {
        for file in &verification.files {
            let _ = writeln!(text, "{}", json!({ "event": "file", "file": file }));
        }
        let ok = verification.files.iter().all(|file| file.status == Status::Ok);
        let summary = json!({
            "event": "summary",
            "data": verification.name,
            "folder": verification.folder,
            "published": ok,
            "fingerprint": fingerprint,
        });
        let _ = writeln!(text, "{summary}");
    } else {
        for file in &verification.files {
            text += &describe(file);
        }
        if let Some(fingerprint) = fingerprint {
            let _ = writeln!(text, "{} reads well: {fingerprint}", verification.name);
        }
    }
    print(&text)?;
    verification.outcome()
}

/// One file on a line: status, size, sum, path; then what its sum should be, or what is wrong.
fn describe(file: &FileReport) -> String {
    let status = match file.status {
        Status::Ok => "ok",
        Status::Mismatch => "mismatch",
        Status::Readable => "readable",
        Status::Damaged => "damaged",
        Status::Missing => "missing",
    };
    let md5 = file.md5.as_deref().unwrap_or("-");
    let mut line =
        format!("{status:<9} {:>10} bytes  md5 {md5:<32}  {}\n", file.bytes, file.path.display());
    if let (Some(expected), true) = (file.expected, file.status != Status::Ok) {
        let _ = writeln!(line, "          published:  md5 {expected}");
    }
    if let Some(problem) = &file.problem {
        let _ = writeln!(line, "          {problem}");
    }
    line
}
