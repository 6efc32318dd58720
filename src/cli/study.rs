//! `warpsweep study`: looks into study files. Nothing here writes to one.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};

use super::{print, remark};
use crate::error::Result;
use crate::report::{csv, json, table};
use crate::study::{Counts, Study, StudyError, Summary, summaries};

/// Look into study files
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the studies of a file, or of all study files of a folder
    List {
        /// A study file, or a folder of *.jsonl, *.journal and *.log files
        #[arg(default_value = ".")]
        path: PathBuf,
        /// One JSON object a study
        #[arg(long)]
        json: bool,
    },
    /// Show a study: what it searches, and its trials; or one trial with its epochs
    Show {
        #[command(flatten)]
        which: Which,
        /// Show this trial, epoch by epoch
        #[arg(long, value_name = "N")]
        trial: Option<u32>,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show the best trials of a study
    Best {
        #[command(flatten)]
        which: Which,
        /// How many
        #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        count: u32,
        /// One JSON object a trial
        #[arg(long)]
        json: bool,
    },
    /// Export the trials of a study
    Export {
        #[command(flatten)]
        which: Which,
        #[arg(long, value_enum)]
        format: Format,
        /// Where to [default: standard output]
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The study file
    file: PathBuf,
    /// Which of the file's studies, where it has several
    #[arg(long)]
    name: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Csv,
    Json,
}

/// Runs the subcommand.
pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::List { path, json } => list(&path, json),
        Command::Show { which, trial, json } => {
            let study = which.read()?;
            match trial {
                Some(number) => show_trial(&study, number, json),
                None => show(&study, json),
            }
        }
        Command::Best { which, count, json } => best(&which.read()?, count as usize, json),
        Command::Export { which, format, output } => {
            export(&which.read()?, format, output.as_deref())
        }
    }
}

impl Which {
    fn read(&self) -> Result<Study> {
        let study = Study::read_named(&self.file, self.name.as_deref())?;
        if let Some(repair) = study.repair() {
            remark(&format!("note: {repair}"));
        }
        Ok(study)
    }
}

fn list(path: &Path, json: bool) -> Result<()> {
    let mut studies: Vec<(String, Summary)> = Vec::new();
    for file in study_files(path)? {
        let found = match summaries(&file) {
            Ok(found) => found,
            // One file of many that cannot be read does not hide the others.
            Err(error) if path.is_dir() => {
                remark(&format!("note: {error}"));
                continue;
            }
            Err(error) => return Err(error),
        };
        let name = file.display().to_string();
        studies.extend(found.into_iter().map(|study| (name.clone(), study)));
    }
    let text = match json {
        false => table::studies(&studies),
        true => json_lines(studies.iter().map(|(file, study)| {
            let (name, counts, best) = (&study.name, &study.trials, study.best);
            serde_json::json!({"file": file, "name": name, "trials": counts, "best": best, "attributes": study.attributes})
        })),
    };
    print(&text)
}

/// The file itself, or the files of a folder that have a journal's usual endings, by name.
fn study_files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).map_err(|error| StudyError::Open {
        action: "read",
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    let journal = |file: &PathBuf| {
        let ending = file.extension().and_then(|ending| ending.to_str());
        file.is_file() && matches!(ending, Some("jsonl" | "journal" | "log"))
    };
    let mut files: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(journal).collect();
    files.sort();
    match files.is_empty() {
        true => Err(StudyError::NoFiles { path: path.to_owned() }.into()),
        false => Ok(files),
    }
}

fn show(study: &Study, json: bool) -> Result<()> {
    if json {
        return print(&json_lines([json::study(study)]));
    }
    let trials: Vec<_> = study.trials().iter().collect();
    print(&format!("{}\n{}", head(study), table::trials(&trials)))
}

/// What a study searches, and how far it has come.
fn head(study: &Study) -> String {
    let mut lines = vec![format!("study {} in {}", study.name(), study.path().display())];
    for parameter in study.header().into_iter().flat_map(|header| header.space.parameters()) {
        let when = parameter.when.as_ref().map(|when| format!(" when {when}")).unwrap_or_default();
        lines.push(format!("  {} = {}{when}", parameter.name, parameter.distribution));
    }
    for (key, value) in study.header().into_iter().flat_map(|header| &header.settings) {
        lines.push(format!("  {key}: {value}"));
    }
    let own = ["warpsweep:space", "warpsweep:settings"];
    for (key, value) in study.attributes().filter(|(key, _)| !own.contains(&key.as_str())) {
        lines.push(format!("  {key}: {value}"));
    }
    let Counts { running, complete, pruned, failed } = Counts::of(study.trials());
    let total = study.trials().len();
    lines.push(format!(
        "{total} trials: {complete} complete, {running} running, {pruned} pruned, {failed} failed"
    ));
    if let Some((trial, value)) = study.best().and_then(|trial| Some((trial.number, trial.value?)))
    {
        lines.push(format!("best: trial {trial}, {value:.4}"));
    }
    lines.join("\n") + "\n"
}

fn show_trial(study: &Study, number: u32, json: bool) -> Result<()> {
    let trial = study.trials().get(number as usize).ok_or_else(|| StudyError::NoTrial {
        path: study.path().to_owned(),
        number,
        have: match study.trials().len() {
            0 => "none yet".into(),
            count => format!("0 to {}", count - 1),
        },
    })?;
    if json {
        return print(&json_lines([json::trial(trial)]));
    }
    let mut text = format!("trial {number}: {}", trial.state.name());
    if let Some(value) = trial.value {
        text += &format!(", error {value:.4}");
    }
    text += &format!(", {:.2} s\n", trial.seconds);
    if let Some(reason) = &trial.reason {
        text += &format!("  {reason}\n");
    }
    for (name, value) in &trial.config.0 {
        text += &format!("  {name} = {value}\n");
    }
    print(&(text + "\n" + &table::epochs(&trial.epochs)))
}

fn best(study: &Study, count: usize, json: bool) -> Result<()> {
    let ranked = study.ranked();
    let best = &ranked[..count.min(ranked.len())];
    print(&match json {
        true => json_lines(best.iter().map(|trial| json::trial(trial))),
        false if best.is_empty() => "no trial is complete yet\n".into(),
        false => table::trials(best),
    })
}

fn export(study: &Study, format: Format, output: Option<&Path>) -> Result<()> {
    let trials: Vec<_> = study.trials().iter().collect();
    let write = |out: &mut dyn Write| match format {
        Format::Csv => csv::write(&trials, out),
        Format::Json => writeln!(out, "{:#}", json::study(study)),
    };
    let Some(path) = output else {
        let mut text = Vec::new();
        write(&mut text).map_err(|error| unwritten("standard output", &error))?;
        return print(&String::from_utf8_lossy(&text));
    };
    // Both must exist to be the same file.
    if let (Ok(from), Ok(to)) = (study.path().canonicalize(), path.canonicalize())
        && from == to
    {
        return Err(StudyError::OntoItself { path: path.to_owned() }.into());
    }
    let write_file = || {
        let mut out = BufWriter::new(File::create(path)?);
        write(&mut out)?;
        out.flush()
    };
    write_file().map_err(|error| unwritten(path, &error).into())
}

fn json_lines(values: impl IntoIterator<Item = serde_json::Value>) -> String {
    values.into_iter().map(|value| format!("{value}\n")).collect()
}

fn unwritten(path: impl Into<PathBuf>, error: &io::Error) -> StudyError {
    StudyError::Output { path: path.into(), reason: error.to_string() }
}
