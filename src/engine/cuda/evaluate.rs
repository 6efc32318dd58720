//! Running a finished model over samples on a device.

use std::sync::Arc;

use super::data::DeviceData;
use super::launch::gemm::Step;
use super::launch::trial::Clock;
use super::placed::Placed;
use super::worker::Worker;
use crate::data::Part;
use crate::engine::{Evaluation, ShuffleMode, Trial};
use crate::error::Result;
use crate::model::{Architecture, Hyperparameters, Init, LrSchedule, Parameters, Recipe};

/// Samples of a step. It changes the speed and no number.
const ROWS: usize = 1024;

/// Scores samples in their order, and counts what was taken for what.
pub fn evaluate(
    gpu: &Worker,
    architecture: &Architecture,
    parameters: &Parameters,
    part: Part<'_>,
) -> Result<Evaluation> {
    let classes = architecture.classes;
    let data = DeviceData::new(&gpu.stream, part, part, architecture.inputs, classes)?;
    let trial = [scored(architecture)];
    let mut placed = Placed::new(gpu, Arc::new(data), &trial, 0, ShuffleMode::None)?;
    placed.set_parameters(0, parameters)?;
    let mut confusion = vec![0; classes * classes];
    let (mut loss, mut right) = (0.0, 0);
    for first in (0..part.len()).step_by(ROWS) {
        let labels = &part.labels[first..part.len().min(first + ROWS)];
        placed.set_clock(0, scoring(first, labels.len()))?;
        placed.forward()?;
        let (losses, predicted) = placed.scores(0, labels.len())?;
        for ((label, predicted), sample_loss) in labels.iter().zip(predicted).zip(losses) {
            loss += f64::from(sample_loss);
            right += usize::from(u32::from(*label) == predicted);
            // A sample with a logit that is not a number has no predicted class.
            let row = confusion.get_mut(usize::from(*label) * classes..);
            if let Some(count) = row.and_then(|row| row[..classes].get_mut(predicted as usize)) {
                *count += 1;
            }
        }
    }
    let samples = part.len();
    Ok(Evaluation { samples, wrong: samples - right, loss: loss / samples as f64, confusion })
}

/// A trial that is only scored: of its recipe, the batch size alone matters.
fn scored(architecture: &Architecture) -> Trial {
    let hyperparameters = Hyperparameters {
        learning_rate: 0.0,
        lr_schedule: LrSchedule::Constant,
        batch_size: ROWS,
        momentum: 0.0,
        nesterov: false,
        weight_decay: 0.0,
        label_smoothing: 0.0,
        init: Init::Zeros,
    };
    let recipe = Recipe { architecture: architecture.clone(), hyperparameters, epochs: 0 };
    Trial { number: 0, recipe }
}

/// The clock of a step that scores `rows` samples from `first` on.
fn scoring(first: usize, rows: usize) -> Clock {
    Clock {
        step: Step { rows: rows as u32, training: 0, before: 0 },
        phase: Clock::SCORING,
        first: first as u32,
        ..bytemuck::Zeroable::zeroed()
    }
}
