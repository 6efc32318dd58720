//! Studies and trials as JSON. A number that is not finite is `null`.

use serde_json::{Map, Value as Json, json};

use crate::study::{Counts, Study, TrialRecord};

/// A trial with its parameters and epochs.
pub fn trial(trial: &TrialRecord) -> Json {
    let epochs = trial.epochs.iter().map(|epoch| {
        json!({
            "epoch": epoch.epoch,
            "train_loss": epoch.train_loss,
            "validation_loss": epoch.validation_loss,
            "validation_error": epoch.validation_error,
        })
    });
    json!({
        "number": trial.number,
        "state": trial.state,
        "value": trial.value,
        "params": trial.config,
        "epochs": epochs.collect::<Vec<Json>>(),
        "seconds": trial.seconds,
        "reason": trial.reason,
    })
}

/// A whole study.
pub fn study(study: &Study) -> Json {
    let attributes: Map<String, Json> =
        study.attributes().map(|(key, value)| (key.clone(), value.clone())).collect();
    json!({
        "name": study.name(),
        "attributes": attributes,
        "counts": Counts::of(study.trials()),
        "best": study.best().map(|trial| trial.number),
        "trials": study.trials().iter().map(trial).collect::<Vec<Json>>(),
    })
}
