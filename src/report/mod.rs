//! Tables, figures and exporters: they read studies and measurements, and know nothing that runs.

pub mod bench;
pub mod csv;
pub mod json;
pub mod profile;
pub mod roofline;
pub mod table;

use crate::study::TrialRecord;

/// The names of all parameters that any of the trials has, in the order in which they are met.
fn parameter_names<'a>(trials: &[&'a TrialRecord]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for trial in trials {
        let mut place = 0;
        for (name, _) in &trial.config.0 {
            match names.iter().position(|known| known == name) {
                Some(known) => place = known + 1,
                // A parameter that is not in every config stands behind its neighbour there.
                None => {
                    names.insert(place, name);
                    place += 1;
                }
            }
        }
    }
    names
}
