//! The driver against an engine whose numbers are known: every result follows from trial and epoch.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::data::{Dataset, Part, Samples, Split, Validation};
use crate::engine::{
    Engine, EpochMetrics, Evaluation, Next, Observer, ShuffleMode, Task, Trial, TrialArray,
};
use crate::error::Error;
use crate::model::Init;
use crate::space::Space;
use crate::study::{Header, State, Study};

const SEED: u64 = 3;
/// Validation samples: an error is a multiple of a hundredth.
const VALIDATION: usize = 100;
const EPOCHS: usize = 3;

/// Trains nothing: trial `n` ends with `wrong[n % len]` wrong samples, or diverges in epoch 2.
struct Fake {
    wrong: Vec<Option<usize>>,
    /// Trials that were begun.
    begun: AtomicUsize,
}

impl Fake {
    fn new(wrong: &[Option<usize>]) -> Self {
        Fake { wrong: wrong.to_vec(), begun: AtomicUsize::new(0) }
    }

    fn of_trials() -> Self {
        Fake::new(&[31, 27, 44, 12, 19, 50, 23].map(Some))
    }

    fn metrics(&self, trial: u32, epoch: usize) -> EpochMetrics {
        let wrong = self.wrong[trial as usize % self.wrong.len()];
        let diverged = wrong.is_none() && epoch == 2;
        EpochMetrics {
            epoch,
            train_loss: if diverged { f64::NAN } else { 1.0 / (epoch + trial as usize) as f64 },
            validation_loss: 0.5,
            validation_wrong: wrong.unwrap_or(0) + EPOCHS - epoch,
            seconds: 0.25,
        }
    }
}

struct FakeArray<'a> {
    fake: &'a Fake,
    trials: Vec<Trial>,
}

impl TrialArray for FakeArray<'_> {
    fn advance(&mut self, observer: &dyn Observer) -> Result<()> {
        observer.warn(&format!("an array of {}", self.trials.len()));
        // Last slot first: nothing may depend on the order of finishing.
        for (slot, trial) in self.trials.iter().enumerate().rev() {
            self.fake.begun.fetch_add(1, Ordering::Relaxed);
            let Trial { number, recipe } = trial;
            let model =
                || Ok(Parameters::initial(&recipe.architecture, Init::Default, SEED, *number));
            let next = |epoch: &usize| {
                observer.after_epoch(slot, self.fake.metrics(*number, *epoch), &model)
            };
            if observer.interrupted() {
                return Ok(());
            }
            let mut epoch = 1;
            while next(&epoch)? == Next::Train {
                epoch += 1;
            }
        }
        Ok(())
    }
}

impl Engine for Fake {
    fn device(&self) -> String {
        "fake".to_owned()
    }

    fn array<'a>(&'a self, _: &'a Task, trials: Vec<Trial>) -> Result<Box<dyn TrialArray + 'a>> {
        Ok(Box::new(FakeArray { fake: self, trials }))
    }

    /// The first weight in thousandths, so that a test knows whose model was evaluated.
    fn evaluate(
        &self,
        _: &Architecture,
        parameters: &Parameters,
        _: Part<'_>,
    ) -> Result<Evaluation> {
        let weight = f64::from(parameters.layers[0].weight[0]);
        let wrong = ((weight + 1.0) * 1000.0) as usize;
        Ok(Evaluation { samples: 2000, wrong, loss: 0.0, confusion: vec![0; 4] })
    }
}

fn task() -> Task {
    let samples = |n: usize| Samples {
        pixels: vec![0; n].into(),
        labels: (0..n).map(|i| (i % 2) as u8).collect(),
    };
    let data = Dataset::new("tiny", samples(VALIDATION + 2), samples(4), [1, 1], 2);
    let split = Split::new(data, Validation::Holdout(VALIDATION)).unwrap();
    Task { split, seed: SEED, shuffle: ShuffleMode::PerTrial }
}

fn space() -> Space {
    Space::from_arguments(&["learning_rate=loguniform(1e-4,1)".to_owned()]).unwrap()
}

fn plan(trials: u32, array: usize) -> Plan {
    Plan {
        sampler: Box::new(Random { space: space(), seed: SEED }),
        trials,
        defaults: Defaults { epochs: EPOCHS, ..Defaults::default() },
        array,
        time_limit: None,
        target_error: None,
        want_model: false,
        interrupt: Arc::default(),
    }
}

fn open(folder: &tempfile::TempDir) -> Study {
    let header = Header { name: "test".to_owned(), space: space(), settings: Default::default() };
    Study::open(&folder.path().join("study.journal"), &header).unwrap()
}

/// Hears of trials; checks that each is on disk by then; interrupts or fails after so many.
#[derive(Default)]
struct Ear {
    file: Option<std::path::PathBuf>,
    resumed: usize,
    heard: Vec<u32>,
    warnings: Vec<String>,
    incumbents: Vec<Option<Incumbent>>,
    interrupt_after: Option<(usize, Arc<AtomicBool>)>,
    fail_after: Option<usize>,
}

impl Reporter for Ear {
    fn start(&mut self, _: &Plan, resumed: usize) -> Result<()> {
        self.resumed = resumed;
        Ok(())
    }

    fn warning(&mut self, line: &str) -> Result<()> {
        self.warnings.push(line.to_owned());
        Ok(())
    }

    fn trial(&mut self, trial: &TrialRecord, incumbent: Option<Incumbent>) -> Result<()> {
        if let Some(file) = &self.file {
            let on_disk = Study::read(file).unwrap();
            assert_eq!(&on_disk.trials()[trial.number as usize], trial);
        }
        self.heard.push(trial.number);
        self.incumbents.push(incumbent);
        if let Some((after, flag)) = &self.interrupt_after {
            flag.store(self.heard.len() >= *after, Ordering::Relaxed);
        }
        match self.fail_after {
            Some(after) if self.heard.len() >= after => Err(Error::Closed),
            _ => Ok(()),
        }
    }
}

/// A whole search in a folder of its own.
fn whole(fake: &Fake, plan: &Plan) -> (Vec<TrialRecord>, Outcome, Ear) {
    let folder = tempfile::tempdir().unwrap();
    let mut study = open(&folder);
    let mut ear = Ear { file: Some(study.path().to_owned()), ..Ear::default() };
    let outcome = run(plan, fake, &task(), &mut study, &mut ear).unwrap();
    (study.trials().to_vec(), outcome, ear)
}

/// The test error that the fake gives a trial's model.
fn test_error_of(number: u32) -> f64 {
    let architecture = Architecture { inputs: 1, hidden: Vec::new(), classes: 2 };
    let parameters = Parameters::initial(&architecture, Init::Default, SEED, number);
    let task = task();
    Fake::new(&[]).evaluate(&architecture, &parameters, task.split.test()).unwrap().error()
}

#[test]
fn a_search_records_the_same_trials_with_any_array_size() {
    let (expected, outcome, ear) = whole(&Fake::of_trials(), &plan(10, 1));
    assert_eq!(outcome.end, End::Complete);
    assert_eq!(outcome.trial_epochs, 10 * EPOCHS);
    assert_eq!(ear.heard, (0..10).collect::<Vec<_>>());
    assert_eq!(expected.len(), 10);
    assert!(expected.iter().all(|t| t.epochs.len() == EPOCHS && t.seconds == 0.75));
    assert_eq!(expected[4].config, space().sample(SEED, 4));
    for array in [2, 3, 10, 1000] {
        let (trials, outcome, _) = whole(&Fake::of_trials(), &plan(10, array));
        assert_eq!(trials, expected, "array of {array}");
        let best = outcome.best.unwrap();
        assert_eq!((best.number, best.test_error), (3, test_error_of(3)));
    }
}

#[test]
fn an_engine_s_warnings_reach_the_reporter_in_order() {
    let (.., ear) = whole(&Fake::of_trials(), &plan(5, 2));
    assert_eq!(ear.warnings, ["an array of 2", "an array of 2", "an array of 1"]);
}

#[test]
fn a_diverged_trial_fails_with_reason_and_epoch_and_never_wins() {
    let fake = Fake::new(&[Some(40), None, Some(30)]);
    let (trials, outcome, ear) = whole(&fake, &plan(3, 3));
    assert_eq!(trials[1].state, State::Failed);
    assert_eq!(trials[1].value, None);
    assert_eq!(trials[1].epochs.len(), 1);
    assert_eq!(trials[1].reason.as_deref(), Some("diverged: training loss not finite in epoch 2"));
    assert_eq!(outcome.best.unwrap().number, 2);
    assert!(ear.incumbents.iter().flatten().all(|incumbent| incumbent.number != 1));
}

#[test]
fn a_search_whose_trials_all_fail_has_no_best_and_is_no_error() {
    let (trials, outcome, _) = whole(&Fake::new(&[None]), &plan(3, 2));
    assert!(trials.iter().all(|trial| trial.state == State::Failed));
    assert!(outcome.best.is_none());
    assert_eq!(outcome.end, End::Complete);
}

#[test]
fn of_equal_errors_the_lowest_number_wins_whoever_finishes_first() {
    for array in [1, 6] {
        let (_, outcome, ear) = whole(&Fake::new(&[Some(20)]), &plan(6, array));
        let best = outcome.best.unwrap();
        assert_eq!((best.number, best.test_error), (0, test_error_of(0)));
        let last = ear.incumbents.last().copied().flatten().unwrap();
        assert_eq!(last, Incumbent { number: 0, value: 0.2 });
    }
}

#[test]
fn an_interrupted_search_leaves_running_trials_and_resumes_to_the_same_study() {
    let (expected, ..) = whole(&Fake::of_trials(), &plan(10, 1));
    for array in [1, 4] {
        let folder = tempfile::tempdir().unwrap();
        let (fake, stopped) = (Fake::of_trials(), plan(10, array));
        let interrupt_after = Some((3, stopped.interrupt.clone()));
        let mut ear = Ear { interrupt_after, ..Ear::default() };
        let mut study = open(&folder);
        let error = run(&stopped, &fake, &task(), &mut study, &mut ear).unwrap_err();
        assert!(matches!(error, Error::Interrupted), "{error}");
        let done = study.trials().iter().filter(|t| t.state == State::Complete).count();
        assert_eq!(done, ear.heard.len());
        assert!((3..10).contains(&done), "{done} trials");
        drop(study);

        let mut study = open(&folder);
        let (again, mut ear) = (Fake::of_trials(), Ear::default());
        let outcome = run(&plan(10, 2), &again, &task(), &mut study, &mut ear).unwrap();
        assert_eq!((ear.resumed, ear.heard.len()), (done, 10 - done));
        assert_eq!(study.trials(), expected);
        // The incumbent is trained again if it was trained in the other process.
        let retrained = usize::from(!ear.heard.contains(&3));
        assert_eq!(again.begun.into_inner(), 10 - done + retrained);
        assert_eq!(outcome.best.unwrap().test_error, test_error_of(3));
    }
}

#[test]
fn a_complete_search_trains_nothing_and_keeps_its_test_error() {
    let folder = tempfile::tempdir().unwrap();
    run(&plan(5, 5), &Fake::of_trials(), &task(), &mut open(&folder), &mut Ear::default()).unwrap();
    let (fake, mut ear) = (Fake::of_trials(), Ear::default());
    let outcome = run(&plan(5, 5), &fake, &task(), &mut open(&folder), &mut ear).unwrap();
    assert_eq!(fake.begun.into_inner(), 0);
    assert!(ear.heard.is_empty());
    assert_eq!(outcome.trial_epochs_per_second(), None);
    assert_eq!(outcome.best.unwrap().test_error, test_error_of(3));
}

#[test]
fn a_model_that_is_wanted_later_is_trained_again_and_must_be_the_same() {
    let folder = tempfile::tempdir().unwrap();
    run(&plan(5, 5), &Fake::of_trials(), &task(), &mut open(&folder), &mut Ear::default()).unwrap();
    let wanting = Plan { want_model: true, ..plan(5, 5) };
    let fake = Fake::of_trials();
    let outcome = run(&wanting, &fake, &task(), &mut open(&folder), &mut Ear::default()).unwrap();
    let (architecture, parameters) = outcome.best.unwrap().model.unwrap();
    assert_eq!(parameters, Parameters::initial(&architecture, Init::Default, SEED, 3));

    let other = Fake::new(&[Some(99)]);
    let error =
        run(&wanting, &other, &task(), &mut open(&folder), &mut Ear::default()).unwrap_err();
    assert!(matches!(error, Error::NotReproduced { trial: 3, .. }), "{error}");
}

#[test]
fn a_target_stops_the_search_and_leaves_the_rest_to_a_search_without_one() {
    let (expected, ..) = whole(&Fake::of_trials(), &plan(10, 1));
    let folder = tempfile::tempdir().unwrap();
    let target = Plan { target_error: Some(0.12), ..plan(10, 2) };
    let mut study = open(&folder);
    let fake = Fake::of_trials();
    let outcome = run(&target, &fake, &task(), &mut study, &mut Ear::default()).unwrap();
    assert_eq!(outcome.end, End::TargetError);
    assert_eq!(outcome.best.unwrap().number, 3);
    assert_eq!(study.trials().len(), 4, "no array is begun after the one of trial 3");

    let again = run(&target, &fake, &task(), &mut study, &mut Ear::default()).unwrap();
    assert_eq!((again.end, again.trial_epochs), (End::TargetError, 0));
    run(&plan(10, 3), &fake, &task(), &mut study, &mut Ear::default()).unwrap();
    assert_eq!(study.trials(), expected);
}

#[test]
fn a_time_limit_that_is_over_begins_nothing() {
    let limit = Plan { time_limit: Some(Duration::ZERO), ..plan(10, 2) };
    let (trials, outcome, _) = whole(&Fake::of_trials(), &limit);
    assert!(trials.is_empty());
    assert_eq!(outcome.end, End::TimeLimit);
    assert!(outcome.best.is_none());
}

#[test]
fn trials_of_0_epochs_are_recorded_without_the_engine() {
    let mut zero = plan(25, 10);
    zero.defaults.epochs = 0;
    let fake = Fake::of_trials();
    let (trials, outcome, ear) = whole(&fake, &zero);
    assert_eq!(fake.begun.into_inner(), 0);
    assert_eq!((trials.len(), ear.heard.len()), (25, 25));
    assert!(trials.iter().all(|trial| trial.state == State::Pruned && trial.value.is_none()));
    assert_eq!(trials[24].reason.as_deref(), Some("0 epochs asked for"));
    assert_eq!((outcome.end, outcome.trial_epochs), (End::Complete, 0));
}

#[test]
fn a_reporter_that_fails_stops_the_engine_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut study = open(&folder);
    let mut ear = Ear { fail_after: Some(2), ..Ear::default() };
    let error = run(&plan(10, 1), &Fake::of_trials(), &task(), &mut study, &mut ear).unwrap_err();
    assert!(matches!(error, Error::Closed), "{error}");
    assert_eq!(ear.heard, [0, 1]);
    assert!(study.trials().iter().all(|trial| trial.state == State::Complete));
    run(&plan(10, 1), &Fake::of_trials(), &task(), &mut study, &mut Ear::default()).unwrap();
    assert_eq!(study.trials(), whole(&Fake::of_trials(), &plan(10, 1)).0);
}

#[test]
fn a_stored_config_that_is_not_the_drawn_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut study = open(&folder);
    study.begin(&[(0, space().sample(SEED + 1, 0))]).unwrap();
    let fake = Fake::of_trials();
    let error = run(&plan(2, 2), &fake, &task(), &mut study, &mut Ear::default()).unwrap_err();
    assert!(matches!(error, Error::ConfigChanged { trial: 0, .. }), "{error}");
    assert_eq!(study.trials().len(), 1);
}

#[test]
fn one_trial_by_itself_is_what_it_was_in_the_search() {
    let (expected, ..) = whole(&Fake::of_trials(), &plan(3, 3));
    let config = &expected[2].config;
    let recipe = crate::model::Recipe::from_config(config, &plan(3, 3).defaults, 1, 2).unwrap();
    let trial = Trial { number: 2, recipe };
    let mut heard = Vec::new();
    let trained = train_one(&Fake::of_trials(), &task(), trial.clone(), Arc::default(), |news| {
        match news {
            News::Epoch(epoch, seconds) => {
                assert_eq!(seconds, 0.25);
                heard.push(*epoch);
            }
            News::Warning(line) => assert_eq!(line, "an array of 1"),
        }
        Ok(())
    })
    .unwrap();
    assert_eq!((Some(trained.value), &trained.epochs), (expected[2].value, &expected[2].epochs));
    assert_eq!(heard, trained.epochs);

    let diverging = Fake::new(&[None]);
    let error =
        train_one(&diverging, &task(), trial.clone(), Arc::default(), |_| Ok(())).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains("not finite in epoch 2"), "{error}");
    let flag = Arc::new(AtomicBool::new(true));
    let error = train_one(&Fake::of_trials(), &task(), trial, flag, |_| Ok(())).unwrap_err();
    assert!(matches!(error, Error::Interrupted), "{error}");
}
