//! What every path of every engine promises of its trials, each promise a check that takes an engine.

use std::sync::atomic::{AtomicUsize, Ordering};

use warpsweep::Result;
use warpsweep::engine::{Engine, EpochMetrics, Next, Observer, Task, Trial};
use warpsweep::model::Parameters;

use super::sorts::{assert_same, bits};
use super::{Record, train};

/// Trains trials in arrays of a size.
fn run(engine: &dyn Engine, task: &Task, trials: &[Trial], array: usize) -> Vec<Record> {
    trials.chunks(array).flat_map(|trials| train(engine, task, trials, false)).collect()
}

/// A trial is the same to the last bit among all the others, in their order and backwards, and alone (asked
/// of the first few).
pub fn neighbours_change_no_bit(engine: &dyn Engine, task: &Task, trials: &[Trial], few: usize) {
    let together = run(engine, task, trials, trials.len());
    let alone = run(engine, task, &trials[..few], 1);
    assert_same("alone", &trials[..few], &together[..few], &alone);
    let mut reversed = trials.to_vec();
    reversed.reverse();
    let mut backwards = run(engine, task, &reversed, trials.len());
    backwards.reverse();
    assert_same("backwards", trials, &together, &backwards);
}

/// Trials 0 and 4, made to diverge, say so, and disturb none of the others.
pub fn divergence_stays_at_home(engine: &dyn Engine, task: &Task, mut trials: Vec<Trial>) {
    let calm = train(engine, task, &trials, false);
    for wild in [0, 4] {
        trials[wild].recipe.hyperparameters.learning_rate = f32::MAX;
        trials[wild].recipe.epochs = 3;
    }
    let records = train(engine, task, &trials, false);
    for (index, (before, after)) in calm.iter().zip(&records).enumerate() {
        let finite = after.iter().all(|(metrics, _)| metrics.is_finite());
        if [0, 4].contains(&index) {
            assert!(!finite, "trial {index} did not diverge");
        } else {
            assert!(finite && bits(before) == bits(after), "trial {index} was disturbed");
        }
    }
}

/// Trains on, for ever, until it is asked for the `limit`-th time whether it is interrupted.
struct Impatient {
    asked: AtomicUsize,
    limit: usize,
}

impl Observer for Impatient {
    fn after_epoch(
        &self,
        _slot: usize,
        _metrics: EpochMetrics,
        _parameters: &dyn Fn() -> Result<Parameters>,
    ) -> Result<Next> {
        Ok(Next::Train)
    }

    fn interrupted(&self) -> bool {
        self.asked.fetch_add(1, Ordering::Relaxed) >= self.limit
    }
}

/// An advance that would go on for ever ends soon after an interruption.
pub fn interruption_ends_an_advance(engine: &dyn Engine, task: &Task, trials: &[Trial]) {
    for limit in [0, 1, 9] {
        let observer = Impatient { asked: AtomicUsize::new(0), limit };
        let mut array = engine.array(task, trials.to_vec()).expect("an array");
        array.advance(&observer).expect("an advance that was interrupted");
        // It may be asked a few times more on the way out, but never once for each step.
        let asked = observer.asked.into_inner();
        assert!(asked <= limit + 4, "asked {asked} times, interrupted after {limit}");
    }
}

struct Failing;

impl Observer for Failing {
    fn after_epoch(
        &self,
        _slot: usize,
        _metrics: EpochMetrics,
        _parameters: &dyn Fn() -> Result<Parameters>,
    ) -> Result<Next> {
        Err(warpsweep::Error::Interrupted)
    }
}

/// What an observer fails with is what `advance` fails with.
pub fn an_observers_error_comes_out(engine: &dyn Engine, task: &Task, trials: Vec<Trial>) {
    let mut array = engine.array(task, trials).expect("an array");
    let error = array.advance(&Failing).expect_err("the observer's error");
    assert!(matches!(error, warpsweep::Error::Interrupted), "{error}");
}
