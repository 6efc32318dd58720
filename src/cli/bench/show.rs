//! What the bench says while it measures: a bar on a terminal, and the file after each point.

use std::io::{IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Outlet, Settings};
use crate::error::Result;
use crate::measure::axes::Point;
use crate::measure::compare;
use crate::measure::record::Run;
use crate::measure::sweep::Watcher;

/// Writes the results after each point.
pub struct Show<'a> {
    outlet: &'a Outlet,
    baseline: Option<&'a Run>,
    bar: ProgressBar,
}

impl<'a> Show<'a> {
    pub fn new(settings: &'a Settings, baseline: Option<&'a Run>) -> Self {
        let visits = (settings.steps.len() * settings.passes) as u64;
        let bar = match !settings.quiet && stderr().is_terminal() {
            true => ProgressBar::new(visits).with_style(style()),
            false => ProgressBar::hidden(),
        };
        Show { outlet: &settings.outlet, baseline, bar }
    }

    /// Takes the bar off the screen.
    pub fn done(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Show<'_> {
    /// An error leaves no bar behind, either.
    fn drop(&mut self) {
        self.done();
    }
}

impl Watcher for Show<'_> {
    fn begin(&mut self, point: &Point, pass: usize) -> Result<()> {
        self.bar.set_message(format!("pass {}: {point}", pass + 1));
        Ok(())
    }

    fn point(&mut self, run: &mut Run, _last: bool) -> Result<()> {
        if let Some(baseline) = self.baseline {
            compare::compare(run, baseline);
        }
        self.bar.inc(1);
        self.outlet.write(run)
    }
}

fn style() -> ProgressStyle {
    let template = "{bar:30} {pos}/{len} visits, {eta} left, {msg}";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
