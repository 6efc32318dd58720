//! `warpsweep train`: one config, a line an epoch.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};

use super::device::{Chosen, DeviceArgs};
use super::options::{self, DataArgs, Initial, Setting, Shuffle, TaskArgs, refuse};
use super::progress::{Console, config_words};
use super::{remark, signal};
use crate::engine::Trial;
use crate::error::{Error, Result};
use crate::model::{self, Recipe};
use crate::search::{News, Trained, train_one};
use crate::space::Config;
use crate::study::{EpochRecord, Header, State, Study};

/// The config of a command without `--param`.
const DEFAULT_PARAM: &str = "learning_rate=0.1";

/// Train one config, with a line an epoch.
///
/// It is trial --trial of the seed: with the config of a search's trial, its number and the
/// search's options it gives that trial's numbers, to the last bit. --study takes all of these from
/// a study file and checks that the trial comes to the same error again.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, allow_negative_numbers = true)]
pub struct Args {
    /// A hyperparameter and its value; may be repeated [default: learning_rate=0.1]
    #[arg(long = "param", value_name = "NAME=VALUE")]
    params: Vec<String>,

    /// A TOML file with a table a hyperparameter, each fixed; --param goes before it
    #[arg(long, value_name = "FILE")]
    space: Option<PathBuf>,

    /// The trial's number: another one has other initial values and another order of samples
    /// [default: 0]
    #[arg(long, value_name = "N")]
    trial: Option<u32>,

    /// Train a trial of this study again, with the study's own settings
    #[arg(
        long,
        value_name = "FILE",
        requires = "trial",
        conflicts_with_all = [
            "params", "space", "epochs", "batch_size", "seed", "validation", "shuffle", "init",
        ]
    )]
    study: Option<PathBuf>,

    #[command(flatten)]
    task: TaskArgs,

    #[command(flatten)]
    data: DataArgs,

    #[command(flatten)]
    device: DeviceArgs,

    /// Save the model, as safetensors with PyTorch's names
    #[arg(long, value_name = "FILE")]
    save_model: Option<PathBuf>,

    /// One JSON object an epoch and one summary on standard output, nothing else
    #[arg(long)]
    json: bool,

    /// Say the result only
    #[arg(long, short)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  warpsweep train --param learning_rate=0.1 --save-model best.safetensors
  warpsweep train --epochs 10 --param learning_rate=0.1 --param layers=1 --param units=256
  warpsweep train --study warpsweep-1a2b3c4d.journal --trial 3";

/// What is trained, and what it must come to if it was trained before.
struct Run {
    setting: Setting,
    config: Config,
    number: u32,
    recorded: Option<f64>,
}

pub fn run(args: Args) -> Result<()> {
    let console = Console { json: args.json, quiet: args.quiet };
    if let Some(path) = &args.save_model {
        options::check_saveable(path)?;
    }
    let chosen = args.device.choose()?;
    let (engine, precision) = (&*chosen.engine, chosen.precision.name());
    let number = args.trial.unwrap_or(0);
    let run = match &args.study {
        Some(path) => replay(path, number, args.data.clone(), &chosen)?,
        None => {
            let Args { space, params, task, data, .. } = &args;
            fresh(space.as_deref(), params, number, task.clone(), data.clone(), &chosen)?
        }
    };
    let Run { setting, config, number, recorded } = &run;
    let data = setting.task.split.data();
    let recipe = Recipe::from_config(config, &setting.defaults, data.pixels(), data.classes)?;
    if let Some(note) = &setting.note {
        console.result(&format!("note: {note}"))?;
    }
    let conditions =
        setting.conditions(&engine.device(), precision, &json!(recipe.hyperparameters.batch_size));
    console.line(&format!("trial {number}: {}", config_words(config)))?;
    console.line(&chosen.line())?;
    let architecture = recipe.architecture.clone();
    let trial = Trial { number: *number, recipe };
    let interrupt = signal::interrupt()?;
    let trained = train_one(engine, &setting.task, trial, interrupt, |news| match news {
        News::Epoch(epoch, seconds) => {
            console.object(&epoch_object(epoch, seconds))?;
            console.line(&epoch_line(epoch, seconds))
        }
        News::Warning(line) => {
            remark(&format!("warning: {line}"));
            Ok(())
        }
    });
    // There is no study here that a second run could go on with.
    let trained = trained.map_err(|error| match error {
        Error::Interrupted => Error::TrainingInterrupted,
        other => other,
    })?;
    if let Some(recorded) = recorded.filter(|&recorded| recorded != trained.value) {
        let (trial, recorded, now) = (*number, Some(recorded), trained.value);
        return Err(Error::NotReproduced { trial, recorded, now });
    }
    let Trained { value, epochs, seconds, parameters } = trained;
    if let Some(path) = &args.save_model {
        setting.save(path, &(architecture, parameters), *number, config)?;
    }
    console.object(&json!({
        "event": "summary",
        "number": number,
        "value": value,
        "params": config,
        "epochs": epochs.len(),
        "seconds": seconds,
        "device": engine.device(),
        "device_choice": chosen.why,
        "precision": precision,
        "kernel": chosen.kernel,
        "data": data.name,
        "validation": setting.validation.to_string(),
        "seed": setting.task.seed,
        "reproduced": recorded.map(|_| true),
        "model": args.save_model.as_ref().map(|path| path.display().to_string()),
        "note": setting.note,
    }))?;
    let same = recorded.map_or("", |_| ", as the study says");
    console.result(&format!("validation error {value:.4}{same}, {seconds:.2} s ({conditions})"))?;
    if let Some(path) = &args.save_model {
        console.result(&format!("model: {}", path.display()))?;
    }
    match &setting.note {
        Some(note) => console.result(&format!("note: {note}")),
        None => Ok(()),
    }
}

/// A config from the command line.
fn fresh(
    file: Option<&Path>,
    params: &[String],
    number: u32,
    task: TaskArgs,
    data: DataArgs,
    chosen: &Chosen,
) -> Result<Run> {
    if task.epochs == 0 {
        return Err(refuse("--epochs", 0, "at least 1", "8 is the default"));
    }
    let space = options::space(file, params, DEFAULT_PARAM)?;
    options::fixed(&space)?;
    model::check_space(&space)?;
    let setting = task.resolve(data, chosen)?;
    let config = space.sample(setting.task.seed, number);
    Ok(Run { setting, config, number, recorded: None })
}

/// A trial of a study, under the study's settings.
fn replay(path: &Path, number: u32, data: DataArgs, chosen: &Chosen) -> Result<Run> {
    let study = Study::read(path)?;
    let refusal = |reason: String| Error::CannotReplay { path: path.to_owned(), number, reason };
    let trial = study.trials().iter().find(|trial| trial.number == number);
    let trial = trial.ok_or_else(|| {
        refusal(format!("it has {} trials, counted from 0", study.trials().len()))
    })?;
    if trial.state == State::Pruned {
        return Err(refusal("it was not trained to its end".to_owned()));
    }
    let header = study.header().ok_or_else(|| refusal("another program wrote it".to_owned()))?;
    let task = stored_task(header)
        .ok_or_else(|| refusal("its settings are not those of this version".to_owned()))?;
    let named = header.settings.get("data").and_then(Json::as_str).map(str::to_owned);
    let setting = task.resolve(DataArgs { data: data.data.or(named), ..data }, chosen)?;
    let differs = setting
        .stored()
        .into_iter()
        .find(|(key, value)| header.settings.get(key).is_some_and(|stored| stored != value));
    if let Some((key, now)) = differs {
        return Err(refusal(format!("its {key} is {}, here it is {now}", header.settings[&key])));
    }
    Ok(Run { setting, config: trial.config.clone(), number, recorded: trial.value })
}

/// The options that a study was made with.
fn stored_task(header: &Header) -> Option<TaskArgs> {
    use clap::ValueEnum;
    let settings: &Map<String, Json> = &header.settings;
    let text = |key: &str| settings.get(key).and_then(Json::as_str);
    let number = |key: &str| settings.get(key).and_then(Json::as_u64);
    Some(TaskArgs {
        epochs: usize::try_from(number("epochs")?).ok()?,
        batch_size: usize::try_from(number("batch_size")?).ok()?,
        seed: number("seed")?,
        validation: text("validation")?.to_owned(),
        shuffle: Shuffle::from_str(text("shuffle")?, false).ok()?,
        init: Initial::from_str(text("init")?, false).ok()?,
    })
}

fn epoch_object(epoch: &EpochRecord, seconds: f64) -> Json {
    json!({
        "event": "epoch",
        "epoch": epoch.epoch,
        "train_loss": epoch.train_loss,
        "validation_loss": epoch.validation_loss,
        "validation_error": epoch.validation_error,
        "seconds": seconds,
    })
}

fn epoch_line(epoch: &EpochRecord, seconds: f64) -> String {
    format!(
        "epoch {:>3}: train loss {:.4}, validation loss {:.4}, validation error {:.4}, {seconds:.2} s",
        epoch.epoch, epoch.train_loss, epoch.validation_loss, epoch.validation_error,
    )
}
