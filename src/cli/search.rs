//! `warpsweep search`: draws configs, trains them side by side, keeps the best.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value as Json, json};
use twox_hash::xxhash3_128::Hasher;

use super::device::{Chosen, DeviceArgs};
use super::options::{self, DataArgs, Setting, TaskArgs, refuse};
use super::progress::{Announcer, Console, config_words};
use super::{remark, signal};
use crate::error::Result;
use crate::model;
use crate::search::{self, Best, End, Outcome, Plan, Random};
use crate::space::Space;
use crate::study::{Header, State, Study, TrialRecord};

/// The space of a search that is not told one.
const DEFAULT_PARAM: &str = "learning_rate=loguniform(1e-4,1)";

/// The study's name in its file: always the same, so that a file has one search, and another one
/// is refused there.
const STUDY_NAME: &str = "warpsweep";

/// Search hyperparameters: draw configs, train them side by side, keep the best.
///
/// Without --param and --space the space is learning_rate=loguniform(1e-4,1); a hyperparameter
/// outside the space has its default. Every finished trial is on disk before it is announced.
///
/// The study file, unless --study names one, is warpsweep-XXXXXXXX.journal in the current folder;
/// XXXXXXXX is a digest of the space, the seed, the data set and every option that a trial's
/// numbers depend on. So the same command goes on with its own study, however it was stopped, a
/// larger --trials adds to it, and another search has another file. A search that is complete
/// trains nothing and shows its result again.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, allow_negative_numbers = true)]
pub struct Args {
    /// A hyperparameter and what it is drawn from; may be repeated
    ///
    /// Distributions: uniform(a,b) loguniform(a,b) randint(a,b) lograndint(a,b) quniform(a,b,q)
    /// choice(x,y,...) normal(mean,sd) lognormal(mean,sd), or a plain value. Bounds are inclusive.
    /// Hyperparameters: learning_rate batch_size momentum nesterov weight_decay activation layers
    /// units units_1.. dropout dropout_1.. lr_schedule label_smoothing init.
    #[arg(long = "param", value_name = "NAME=SPEC")]
    params: Vec<String>,

    /// A TOML file with a table a hyperparameter; --param adds to it or goes before it
    #[arg(long, value_name = "FILE")]
    space: Option<PathBuf>,

    /// Trials the study is to have
    #[arg(long, value_name = "N", default_value_t = 5)]
    trials: u32,

    #[command(flatten)]
    task: TaskArgs,

    #[command(flatten)]
    data: DataArgs,

    #[command(flatten)]
    device: DeviceArgs,

    /// The study file: made, or gone on with if it is of the same search
    #[arg(long, value_name = "FILE")]
    study: Option<PathBuf>,

    /// Trials trained side by side; no number of any trial depends on it [default: up to 1024]
    #[arg(long, value_name = "N")]
    array: Option<usize>,

    /// Stop after this time; running trials are left to the next run of the same command
    #[arg(long, value_name = "SECONDS")]
    time_limit: Option<f64>,

    /// Stop when a trial's validation error is this or less
    ///
    /// Which other trials are finished by then depends on timing; those that are not stay running
    /// in the study, and what is recorded is what the whole search would have recorded.
    #[arg(long, value_name = "ERROR")]
    target_error: Option<f64>,

    /// Save the best trial's model, as safetensors with PyTorch's names
    #[arg(long, value_name = "FILE")]
    save_model: Option<PathBuf>,

    /// One JSON object a finished trial and one summary on standard output, nothing else
    #[arg(long)]
    json: bool,

    /// Say the result only
    #[arg(long, short)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  warpsweep search
  warpsweep search --trials 64 --epochs 4 --param 'learning_rate=loguniform(1e-3,1)' \\
      --param 'momentum=uniform(0,0.99)'
  warpsweep search --trials 200 --epochs 10 --param 'learning_rate=loguniform(1e-6,1e-1)' \\
      --param 'batch_size=lograndint(8,256)' --param 'activation=choice(tanh,relu)' \\
      --param 'units=lograndint(32,1024)' --param 'layers=randint(1,6)'
  warpsweep search --space space.toml --study mlp.journal --time-limit 600
  warpsweep search --json | jq 'select(.event == \"trial\") | .value'";

/// Most trials in an array when `--array` does not say.
const ARRAY: usize = 1024;

/// What a search works with, checked.
struct Settings {
    space: Space,
    trials: u32,
    array: usize,
    time_limit: Option<Duration>,
    target_error: Option<f64>,
    study: Option<PathBuf>,
    save_model: Option<PathBuf>,
    task: TaskArgs,
    data: DataArgs,
    device: DeviceArgs,
    console: Console,
}

impl Args {
    fn resolve(self) -> Result<Settings> {
        if self.trials == 0 {
            return Err(refuse("--trials", 0, "at least 1", "5 is the default"));
        }
        if self.array == Some(0) {
            return Err(refuse("--array", 0, "at least 1", "leave it out for up to 1024"));
        }
        let time_limit = self.time_limit.map(time_limit).transpose()?;
        if let Some(error) = self.target_error.filter(|error| !(0.0..=1.0).contains(error)) {
            let (expected, next) = ("a share from 0 to 1", "0.15 means 15 % of the samples");
            return Err(refuse("--target-error", error, expected, next));
        }
        if let Some(path) = &self.save_model {
            options::check_saveable(path)?;
        }
        let space = options::space(self.space.as_deref(), &self.params, DEFAULT_PARAM)?;
        model::check_space(&space)?;
        Ok(Settings {
            space,
            trials: self.trials,
            array: self.array.unwrap_or(ARRAY),
            time_limit,
            target_error: self.target_error,
            study: self.study,
            save_model: self.save_model,
            task: self.task,
            data: self.data,
            device: self.device,
            console: Console { json: self.json, quiet: self.quiet },
        })
    }
}

fn time_limit(seconds: f64) -> Result<Duration> {
    let (expected, next) = ("seconds above 0", "600 means ten minutes");
    let refusal = || refuse("--time-limit", seconds, expected, next);
    let limit = Duration::try_from_secs_f64(seconds).map_err(|_| refusal())?;
    if limit.is_zero() { Err(refusal()) } else { Ok(limit) }
}

pub fn run(args: Args) -> Result<()> {
    let settings = args.resolve()?;
    let console = settings.console;
    let chosen = settings.device.choose()?;
    let setting = settings.task.resolve(settings.data, &chosen)?;
    let header = Header {
        name: STUDY_NAME.to_owned(),
        space: settings.space.clone(),
        settings: setting.stored(),
    };
    if let Some(note) = &setting.note {
        console.result(&format!("note: {note}"))?;
    }
    let path = settings.study.unwrap_or_else(|| default_study(&header));
    let mut study = Study::open(&path, &header)?;
    if let Some(repair) = study.repair() {
        remark(&format!("note: {repair}"));
    }
    let plan = Plan {
        sampler: Box::new(Random { space: settings.space, seed: setting.task.seed }),
        trials: settings.trials,
        defaults: setting.defaults.clone(),
        array: settings.array,
        time_limit: settings.time_limit,
        target_error: settings.target_error,
        want_model: settings.save_model.is_some(),
        interrupt: signal::interrupt()?,
    };
    let engine = &*chosen.engine;
    let (device, space) = (engine.device(), &header.space);
    let view = View { console, device, chosen: &chosen, setting: &setting, space, path: &path };
    view.opening(&plan, &study)?;
    let mut announcer = Announcer::new(console);
    let outcome = search::run(&plan, engine, &setting.task, &mut study, &mut announcer)?;
    announcer.done();
    let saved = save(settings.save_model.as_deref(), &setting, &outcome, &study)?;
    view.closing(&plan, &study, &outcome, saved)
}

/// Where a search is kept that was not told where.
fn default_study(header: &Header) -> PathBuf {
    let words = json!([header.space, header.settings]).to_string();
    let digest = Hasher::oneshot(words.as_bytes());
    PathBuf::from(format!("warpsweep-{:08x}.journal", digest as u32))
}

/// Saves the incumbent where that was asked for.
fn save<'a>(
    path: Option<&'a Path>,
    setting: &Setting,
    outcome: &Outcome,
    study: &Study,
) -> Result<Option<&'a Path>> {
    let Some(path) = path else { return Ok(None) };
    let (Some(Best { model: Some(model), .. }), Some(best)) = (&outcome.best, study.best()) else {
        remark("note: no trial is complete, so there is no model to save");
        return Ok(None);
    };
    setting.save(path, model, best.number, &best.config)?;
    Ok(Some(path))
}

/// What a search says before and after its trials.
struct View<'a> {
    console: Console,
    device: String,
    chosen: &'a Chosen,
    setting: &'a Setting,
    space: &'a Space,
    path: &'a Path,
}

impl View<'_> {
    fn conditions(&self) -> String {
        self.setting.conditions(
            &self.device,
            self.chosen.precision.name(),
            &self.setting.batch(self.space),
        )
    }

    fn opening(&self, plan: &Plan, study: &Study) -> Result<()> {
        let (trials, path) = (plan.trials, self.path.display());
        let spaces = self.space.parameters().iter();
        let space: Vec<String> = spaces.map(|p| format!("{}={}", p.name, p.distribution)).collect();
        self.console.line(&format!("search: {trials} trials of {}", space.join(" ")))?;
        self.console.line(&self.chosen.line())?;
        let below = study.trials().iter().filter(|trial| trial.number < trials);
        match below.filter(|trial| trial.state != State::Running).count() {
            0 => Ok(()),
            done if done == trials as usize => self.console.line(&format!(
                "nothing to train: {path} has all {trials} trials of this search; ask for more \
                 with --trials, or for others with --seed"
            )),
            done => self
                .console
                .line(&format!("going on with {path}: {done} of {trials} trials are finished")),
        }
    }

    fn closing(
        &self,
        plan: &Plan,
        study: &Study,
        outcome: &Outcome,
        saved: Option<&Path>,
    ) -> Result<()> {
        self.console.object(&self.summary(plan, study, outcome, saved))?;
        let say = |line: String| self.console.result(&line);
        match (study.best(), &outcome.best) {
            (Some(trial), Some(best)) => say(incumbent_line(trial, best))?,
            _ => say("best: none, because no trial is complete".to_owned())?,
        }
        match outcome.end {
            End::Complete => {}
            End::TimeLimit => say("stopped at --time-limit; the same command goes on".to_owned())?,
            End::TargetError => {
                say("stopped at --target-error; without it the same command goes on".to_owned())?;
            }
        }
        if let Some(rate) = outcome.trial_epochs_per_second() {
            let (epochs, seconds) = (outcome.trial_epochs, outcome.seconds);
            say(format!(
                "time: {seconds:.2} s, {epochs} trial-epochs, {rate:.1} trial-epochs/s ({})",
                self.conditions()
            ))?;
        }
        if let Some(path) = saved {
            say(format!("model: {}", path.display()))?;
        }
        say(format!("study: {}", self.path.display()))?;
        match &self.setting.note {
            Some(note) => say(format!("note: {note}")),
            None => Ok(()),
        }
    }

    fn summary(&self, plan: &Plan, study: &Study, outcome: &Outcome, saved: Option<&Path>) -> Json {
        let best = study.best().map(
            |best| json!({ "number": best.number, "value": best.value, "params": best.config }),
        );
        let count = |state| study.trials().iter().filter(|trial| trial.state == state).count();
        let task = &self.setting.task;
        json!({
            "event": "summary",
            "best": best,
            "test_error": outcome.best.as_ref().map(|best| best.test_error),
            "trial_epochs_per_second": outcome.trial_epochs_per_second(),
            "trial_epochs": outcome.trial_epochs,
            "seconds": outcome.seconds,
            "device": self.device,
            "device_choice": self.chosen.why,
            "precision": self.chosen.precision.name(),
            "kernel": self.chosen.kernel,
            "data": task.split.data().name,
            "training_samples": task.split.training().len(),
            "validation": self.setting.validation.to_string(),
            "seed": task.seed,
            "epochs": plan.defaults.epochs,
            "batch_size": self.setting.batch(self.space),
            "trials": {
                "complete": count(State::Complete),
                "pruned": count(State::Pruned),
                "failed": count(State::Failed),
                "running": count(State::Running),
                "resumed": outcome.resumed,
            },
            "ended": match outcome.end {
                End::Complete => "complete",
                End::TimeLimit => "time-limit",
                End::TargetError => "target-error",
            },
            "study": self.path.display().to_string(),
            "model": saved.map(|path| path.display().to_string()),
            "note": self.setting.note,
        })
    }
}

fn incumbent_line(trial: &TrialRecord, best: &Best) -> String {
    let (number, value) = (trial.number, trial.value.unwrap_or(f64::NAN));
    let (config, test) = (config_words(&trial.config), best.test_error);
    format!("best: trial {number}, validation error {value:.4}, test error {test:.4}, {config}")
}
