//! Trials as comma-separated values (RFC 4180): a line a trial, named as Optuna's data frame is.

use std::io::Write;

use csv::Writer;

use super::parameter_names;
use crate::study::TrialRecord;

/// Writes the trials; a parameter that a trial does not have is an empty field.
pub fn write(trials: &[&TrialRecord], out: &mut dyn Write) -> std::io::Result<()> {
    let names = parameter_names(trials);
    let mut writer = Writer::from_writer(out);
    let fixed = ["number", "state", "value", "epochs", "seconds", "reason"].map(String::from);
    let parameters = names.iter().map(|name| format!("params_{name}"));
    writer.write_record(fixed.into_iter().chain(parameters))?;
    for trial in trials {
        let value = trial.value.map(|value| format!("{value:?}")).unwrap_or_default();
        let fixed = [
            trial.number.to_string(),
            trial.state.name().to_owned(),
            value,
            trial.epochs.len().to_string(),
            format!("{:?}", trial.seconds),
            trial.reason.clone().unwrap_or_default(),
        ];
        let parameters = names.iter().map(|name| match trial.config.get(name) {
            Some(value) => value.to_string(),
            None => String::new(),
        });
        writer.write_record(fixed.into_iter().chain(parameters))?;
    }
    writer.flush()
}
