//! The command line: one file a subcommand.
//!
//! Raw arguments (`Args`, what clap parsed) and resolved settings (what a command works with) are
//! different types; a value is checked once, where the one becomes the other.

mod bench;
mod completions;
mod data;
mod device;
mod devices;
mod eval;
mod options;
mod profile;
mod progress;
mod search;
mod signal;
mod study;
mod train;

use std::ffi::OsString;
use std::io::{self, Write};

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use crate::error::{Error, Result};

/// Trains a whole hyperparameter search at once.
#[derive(Debug, Parser)]
#[command(name = "warpsweep", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  warpsweep search                            5 trials of softmax regression on Fashion-MNIST
  warpsweep search --trials 64 --param 'learning_rate=loguniform(1e-4,1)' --param layers=2
  warpsweep train --param learning_rate=0.1 --save-model best.safetensors
  warpsweep eval best.safetensors             error, loss and confusion matrix
  warpsweep study best FILE                   the best trial of a study file
  warpsweep bench train --axis batch=16,64    how fast this machine trains

Exit codes: 0 done, 1 the run failed, 2 a mistake in what was asked, 130 stopped by Ctrl-C.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Search hyperparameters: draw configs, train them side by side, keep the best
    Search(search::Args),
    /// Train one config, with a line an epoch
    Train(train::Args),
    /// Show where the time of a training run goes, operation by operation
    Profile(profile::Args),
    /// Evaluate a saved model: error, loss and confusion matrix
    Eval(eval::Args),
    /// Look into a study file
    Study(study::Args),
    /// Look at data sets
    Data(data::Args),
    /// Show what this machine can train on, and what --device auto takes
    Devices(devices::Args),
    /// Measure how fast this machine trains, and compare with an earlier run
    Bench(bench::Args),
    /// Print a shell's completion script
    Completions(completions::Args),
}

/// Runs a command line, the program's name first.
pub fn run(line: impl IntoIterator<Item = OsString>) -> Result<()> {
    let line: Vec<OsString> = line.into_iter().collect();
    let cli = match Cli::try_parse_from(&line) {
        Ok(cli) => cli,
        // Help and version are asked for, not mistakes.
        Err(error) if !error.use_stderr() => {
            return error.print().map_err(|error| output_error(&error));
        }
        Err(error) => return Err(Error::Usage(one_line(&error, &line))),
    };
    match cli.command {
        Command::Search(args) => search::run(args),
        Command::Train(args) => train::run(args),
        Command::Profile(args) => profile::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Study(args) => study::run(args),
        Command::Data(args) => data::run(args),
        Command::Devices(args) => devices::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Completions(args) => completions::run(args),
    }
}

/// Clap's message, which has a paragraph a thought, as one line that ends with where to look.
fn one_line(error: &clap::Error, line: &[OsString]) -> String {
    let message = match error.kind() {
        // Clap's message would be the whole help.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => "a command is missing".to_owned(),
        _ => error.render().to_string(),
    };
    let thoughts: Vec<String> = message
        .trim_start_matches("error:")
        .split("\n\n")
        .map(|thought| thought.split_whitespace().collect::<Vec<_>>().join(" "))
        .take_while(|thought| {
            !thought.starts_with("Usage:") && !thought.starts_with("For more information")
        })
        .collect();
    let mut place = "warpsweep".to_owned();
    let mut command = &Cli::command();
    for word in line.iter().skip(1) {
        let Some(inner) = command.find_subcommand(word) else { break };
        place = format!("{place} {}", inner.get_name());
        command = inner;
    }
    format!("{}; see {place} --help", thoughts.join("; "))
}

/// Writes to standard output. A reader that went away (`| head`) ends the command quietly.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| output_error(&error))
}

fn output_error(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Error::Closed,
        _ => Error::Output { reason: error.to_string() },
    }
}

/// Writes a line for the eye to standard error; that it cannot be read is no failure.
fn remark(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests;
