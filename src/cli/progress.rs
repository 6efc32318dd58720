//! What a search says while it runs: lines for the eye, objects for scripts, a bar on a terminal.

use std::io::{IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value as Json, json};

use super::{print, remark};
use crate::error::Result;
use crate::search::{Incumbent, Plan, Reporter};
use crate::space::Config;
use crate::study::{EpochRecord, State, TrialRecord};

/// Where a command's lines go.
///
/// Results for the eye go to standard output; with `--json` that has objects and nothing else, and
/// the lines go to standard error. With `--quiet` only the result itself is said.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    pub json: bool,
    pub quiet: bool,
}

impl Console {
    /// A line for the eye about how things go.
    pub fn line(&self, line: &str) -> Result<()> {
        if self.quiet { Ok(()) } else { self.result(line) }
    }

    /// A line of the result: said even with `--quiet`, unless `--json` says it better.
    pub fn result(&self, line: &str) -> Result<()> {
        match (self.json, self.quiet) {
            (false, _) => print(&format!("{line}\n")),
            (true, false) => {
                remark(line);
                Ok(())
            }
            (true, true) => Ok(()),
        }
    }

    /// One object a line on standard output, with `--json` only.
    pub fn object(&self, object: &Json) -> Result<()> {
        if self.json { print(&format!("{object}\n")) } else { Ok(()) }
    }
}

/// Announces a search's trials as they end.
pub struct Announcer {
    console: Console,
    bar: ProgressBar,
}

impl Announcer {
    pub fn new(console: Console) -> Self {
        Announcer { console, bar: ProgressBar::hidden() }
    }

    /// Takes the bar off the screen.
    pub fn done(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Announcer {
    /// An error leaves no bar behind, either.
    fn drop(&mut self) {
        self.done();
    }
}

impl Reporter for Announcer {
    fn start(&mut self, plan: &Plan, resumed: usize) -> Result<()> {
        let left = u64::from(plan.trials).saturating_sub(resumed as u64);
        let epochs = left * plan.defaults.epochs as u64;
        if !self.console.quiet && epochs > 0 && stderr().is_terminal() {
            self.bar = ProgressBar::new(epochs).with_style(style());
        }
        Ok(())
    }

    fn epoch(&mut self, _: u32, _: &EpochRecord) -> Result<()> {
        self.bar.inc(1);
        Ok(())
    }

    fn warning(&mut self, line: &str) -> Result<()> {
        self.bar.suspend(|| remark(&format!("warning: {line}")));
        Ok(())
    }

    fn trial(&mut self, trial: &TrialRecord, incumbent: Option<Incumbent>) -> Result<()> {
        if let Some(Incumbent { number, value }) = incumbent {
            self.bar.set_message(format!("best {value:.4} (trial {number})"));
        }
        let leads = incumbent.is_some_and(|incumbent| incumbent.number == trial.number);
        let console = self.console;
        self.bar.suspend(|| {
            console.object(&trial_object(trial))?;
            console.line(&trial_line(trial, leads))
        })
    }
}

fn style() -> ProgressStyle {
    let template = "{bar:30} {pos}/{len} trial-epochs, {per_sec}, {eta} left, {msg}";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// A trial as the scripts see it.
pub fn trial_object(trial: &TrialRecord) -> Json {
    let mut object = json!({
        "event": "trial",
        "number": trial.number,
        "state": trial.state.name(),
        "value": trial.value,
        "params": trial.config,
        "epochs": trial.epochs.len(),
        "seconds": trial.seconds,
    });
    if let Some(reason) = &trial.reason {
        object["reason"] = json!(reason);
    }
    object
}

/// A trial as people see it.
fn trial_line(trial: &TrialRecord, leads: bool) -> String {
    let result = match (trial.state, trial.value, &trial.reason) {
        (State::Complete, Some(value), _) => format!("validation error {value:.4}"),
        (state, _, Some(reason)) => format!("{}, {reason}", state.name()),
        (state, ..) => state.name().to_owned(),
    };
    let mark = if leads { "  (best so far)" } else { "" };
    let config = config_words(&trial.config);
    format!("trial {:>3}: {result}  {config}  {:.2} s{mark}", trial.number, trial.seconds)
}

/// `learning_rate=0.1 batch_size=16`: each could be given to `--param` as it stands.
pub fn config_words(config: &Config) -> String {
    let words: Vec<String> =
        config.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
    words.join(" ")
}
