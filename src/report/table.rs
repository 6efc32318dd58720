//! Tables for the eye: plain characters, no colour.

use comfy_table::presets;
use comfy_table::{CellAlignment, Table};

use super::parameter_names;
use crate::space::Value;
use crate::study::{EpochRecord, Summary, TrialRecord};

/// A table of trials, a row each: what came of it, then its parameters.
pub fn trials(trials: &[&TrialRecord]) -> String {
    let names = parameter_names(trials);
    let reasons = trials.iter().any(|trial| trial.reason.is_some());
    let fixed = ["trial", "state", "error", "epochs", "seconds"];
    let header = fixed.into_iter().chain(names.iter().copied()).chain(reasons.then_some("reason"));
    let mut table = empty(header);
    for trial in trials {
        let fixed = [
            trial.number.to_string(),
            trial.state.name().into(),
            trial.value.map_or("-".into(), |value| format!("{value:.4}")),
            trial.epochs.len().to_string(),
            format!("{:.2}", trial.seconds),
        ];
        let parameters = names.iter().map(|name| trial.config.get(name).map_or("-".into(), short));
        let reason = reasons.then(|| trial.reason.clone().unwrap_or_default());
        table.add_row(fixed.into_iter().chain(parameters).chain(reason));
    }
    finished(table, &["state", "reason"])
}

/// A table of one trial's epochs.
pub fn epochs(epochs: &[EpochRecord]) -> String {
    let mut table = empty(["epoch", "train loss", "validation loss", "validation error"]);
    for epoch in epochs {
        table.add_row([
            epoch.epoch.to_string(),
            number(epoch.train_loss),
            number(epoch.validation_loss),
            number(epoch.validation_error),
        ]);
    }
    finished(table, &[])
}

/// A table of studies, each with the file that it is in.
pub fn studies(studies: &[(String, Summary)]) -> String {
    let header = ["file", "study", "complete", "running", "pruned", "failed", "best", "settings"];
    let mut table = empty(header);
    for (file, study) in studies {
        let counts = &study.trials;
        let settings =
            study.attributes.get("warpsweep:settings").and_then(|value| value.as_object());
        let settings = settings.into_iter().flatten().map(|(key, value)| format!("{key}={value}"));
        table.add_row([
            file.clone(),
            study.name.clone(),
            counts.complete.to_string(),
            counts.running.to_string(),
            counts.pruned.to_string(),
            counts.failed.to_string(),
            study.best.map_or("-".into(), |value| format!("{value:.4}")),
            settings.collect::<Vec<_>>().join(" ").replace('"', ""),
        ]);
    }
    finished(table, &["file", "study", "settings"])
}

/// A table of cells, the named columns to the left.
pub fn plain<'a>(
    header: impl IntoIterator<Item = &'a str>,
    rows: &[Vec<String>],
    left: &[&str],
) -> String {
    let mut table = empty(header);
    table.add_rows(rows);
    finished(table, left)
}

pub(super) fn empty<'a>(header: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

/// Numbers to the right, the named columns to the left, nothing behind the last column.
pub(super) fn finished(mut table: Table, left: &[&str]) -> String {
    let titles: Vec<String> = match table.header() {
        Some(header) => header.cell_iter().map(|cell| cell.content()).collect(),
        None => Vec::new(),
    };
    for (column, title) in table.column_iter_mut().zip(titles) {
        if !left.contains(&title.as_str()) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn number(value: f64) -> String {
    if value.is_finite() { format!("{value:.4}") } else { value.to_string() }
}

/// A value in few characters: floats with four significant digits, as `0.0123` or `1.235e-5`.
pub fn short(value: &Value) -> String {
    let Value::Float(float) = *value else { return value.to_string() };
    let rounded: f64 = format!("{float:.3e}").parse().unwrap_or(float);
    match rounded.abs() {
        0.0 | 1e-4..1e6 => rounded.to_string(),
        _ => format!("{rounded:e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_shown_with_four_significant_digits() {
        let shown = [0.1, 123456.0, 1.23456e-5, 0.0, -0.012345, 2.0, 1e300]
            .map(|float| short(&Value::Float(float)));
        assert_eq!(shown, ["0.1", "123500", "1.235e-5", "0", "-0.01235", "2", "1e300"]);
    }
}
