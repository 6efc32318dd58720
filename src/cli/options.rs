//! Options that `search` and `train` share, and what they resolve to.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::{Map, Value as Json, json};

use super::device::Chosen;
use crate::data::{self, Source, Split, Validation};
use crate::engine::{ShuffleMode, Task};
use crate::error::{Error, Result};
use crate::model::{Architecture, Defaults, Init, Parameters, checkpoint};
use crate::space::{Config, Distribution, Space};

/// Where the samples come from.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DataArgs {
    /// fashion-mnist, mnist, kmnist, synthetic, or a folder of four IDX files [default:
    /// fashion-mnist; the synthetic set, with a note, where that can be neither found nor fetched]
    #[arg(long, value_name = "NAME|DIR")]
    pub data: Option<String>,

    /// Look for the data set here first, before $WARPSWEEP_DATA and the cache folder
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl DataArgs {
    /// Loads the data set. A note says that another one was taken than the default.
    pub fn load(self) -> Result<data::Loaded> {
        data::load(&self.request()?)
    }

    pub fn request(self) -> Result<data::Request> {
        let source = self.data.map(|text| text.parse::<Source>()).transpose()?;
        Ok(data::Request { source, data_dir: self.data_dir })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shuffle {
    /// Each trial has an order of its own, a new one each epoch
    PerTrial,
    /// All trials share one order, a new one each epoch
    Shared,
    /// The order of the files
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Initial {
    /// PyTorch's nn.Linear: uniform in +-1/sqrt(fan_in)
    Default,
    Zeros,
}

/// What fixes a trial's numbers, beside its config.
#[derive(Clone, Debug, clap::Args)]
pub struct TaskArgs {
    /// Epochs of every trial
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub epochs: usize,

    /// Samples a step, where the config does not say
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub batch_size: usize,

    /// Every random number follows from it
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// What validates: holdout (10,000 training images), holdout:N, or test
    #[arg(long, value_name = "HOW", default_value = "holdout")]
    pub validation: String,

    /// The order in which samples are visited
    #[arg(long, value_enum, default_value = "per-trial")]
    pub shuffle: Shuffle,

    /// Initial weights and biases, where the config does not say
    #[arg(long, value_enum, default_value = "default")]
    pub init: Initial,
}

/// A task and the conditions under which its numbers hold.
pub struct Setting {
    pub task: Task,
    pub defaults: Defaults,
    pub validation: Validation,
    /// Engine and precision, which a trial's numbers depend on: `cpu float32`.
    pub arithmetic: String,
    /// Set when the default data set could not be had: which was taken, and why.
    pub note: Option<String>,
}

impl TaskArgs {
    /// Checks the options before anything is loaded, then loads the data.
    pub fn resolve(self, data: DataArgs, chosen: &Chosen) -> Result<Setting> {
        if self.batch_size == 0 {
            return Err(refuse("--batch-size", 0, "at least 1", "16 is the default"));
        }
        let validation: Validation = self.validation.parse()?;
        let data::Loaded { dataset, note, .. } = data.load()?;
        let split = Split::new(dataset, validation)?;
        let shuffle = match self.shuffle {
            Shuffle::PerTrial => ShuffleMode::PerTrial,
            Shuffle::Shared => ShuffleMode::Shared,
            Shuffle::None => ShuffleMode::None,
        };
        let init = match self.init {
            Initial::Default => Init::Default,
            Initial::Zeros => Init::Zeros,
        };
        let (epochs, batch_size) = (self.epochs, self.batch_size);
        let defaults = Defaults { epochs, batch_size, init, ..Defaults::default() };
        let task = Task { split, seed: self.seed, shuffle };
        let arithmetic = chosen.arithmetic();
        Ok(Setting { task, defaults, validation, arithmetic, note })
    }
}

impl Setting {
    /// What a study must agree in to be gone on with: all that its numbers depend on, and nothing
    /// that they do not (threads, array size, number of trials, paths).
    pub fn stored(&self) -> Map<String, Json> {
        let data = self.task.split.data();
        let shuffle = match self.task.shuffle {
            ShuffleMode::PerTrial => "per-trial",
            ShuffleMode::Shared => "shared",
            ShuffleMode::None => "none",
        };
        let init = match self.defaults.init {
            Init::Default => "default",
            Init::Zeros => "zeros",
        };
        let settings = [
            ("seed", json!(self.task.seed)),
            ("epochs", json!(self.defaults.epochs)),
            ("batch_size", json!(self.defaults.batch_size)),
            ("learning_rate", json!(self.defaults.learning_rate)),
            ("init", json!(init)),
            ("shuffle", json!(shuffle)),
            ("validation", json!(self.validation.to_string())),
            ("data", json!(data.name)),
            ("data_fingerprint", json!(data.fingerprint)),
            ("engine", json!(self.arithmetic)),
        ];
        settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// The batch size: a number, or what it is drawn from.
    pub fn batch(&self, space: &Space) -> Json {
        match space.get("batch_size").map(|parameter| &parameter.distribution) {
            None => json!(self.defaults.batch_size),
            Some(Distribution::Fixed { value }) => json!(value),
            Some(drawn) => json!(drawn.to_string()),
        }
    }

    /// The conditions of a result, for people.
    pub fn conditions(&self, device: &str, precision: &str, batch: &Json) -> String {
        let batch = batch.as_str().map_or(batch.to_string(), str::to_owned);
        format!(
            "{device}, {precision}, {}, {} training samples, validation {}, batch {batch}, \
             {} epochs, seed {}",
            self.task.split.data().name,
            self.task.split.training().len(),
            self.validation,
            self.defaults.epochs,
            self.task.seed,
        )
    }

    /// Saves a trial's model, with what it takes to train it again.
    pub fn save(
        &self,
        path: &Path,
        (architecture, parameters): &(Architecture, Parameters),
        number: u32,
        config: &Config,
    ) -> Result<()> {
        let mut extra = vec![
            ("trial".to_owned(), number.to_string()),
            ("config".to_owned(), json!(config).to_string()),
        ];
        extra.extend(self.stored().into_iter().map(|(key, value)| match value {
            Json::String(text) => (key, text),
            other => (key, other.to_string()),
        }));
        checkpoint::save(path, architecture, parameters, &extra)
    }
}

/// `--param` and `--space`: a parameter given on the command line goes before the file's, whose
/// condition it keeps.
pub fn space(file: Option<&Path>, params: &[String], otherwise: &str) -> Result<Space> {
    let Some(file) = file else {
        let otherwise = [otherwise.to_owned()];
        return Space::from_arguments(if params.is_empty() { &otherwise } else { params });
    };
    let mut parameters = Space::from_toml(file)?.parameters().to_vec();
    if !params.is_empty() {
        for given in Space::from_arguments(params)?.parameters() {
            match parameters.iter_mut().find(|parameter| parameter.name == given.name) {
                Some(parameter) => parameter.distribution = given.distribution.clone(),
                None => parameters.push(given.clone()),
            }
        }
    }
    Ok(Space::new(parameters)?)
}

/// Refuses what has more than one value where one config is asked for.
pub fn fixed(space: &Space) -> Result<()> {
    for parameter in space.parameters() {
        if !matches!(parameter.distribution, Distribution::Fixed { .. }) {
            let (name, given) = (parameter.name.clone(), parameter.distribution.to_string());
            return Err(Error::NotOneConfig { name, given });
        }
    }
    Ok(())
}

/// Refuses, before anything is trained, a place where no model can be saved.
pub fn check_saveable(path: &Path) -> Result<()> {
    check_writable(path, "save a model to", "name a file in an existing folder with --save-model")
}

/// Refuses a place where no file can be.
pub fn check_writable(path: &Path, action: &'static str, next: &'static str) -> Result<()> {
    let refusal = |reason: &str| Error::File {
        action,
        path: path.to_path_buf(),
        reason: reason.to_owned(),
        next,
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if path.is_dir() {
        return Err(refusal("it is a folder"));
    }
    match folder {
        Some(folder) if !folder.is_dir() => Err(refusal("its folder does not exist")),
        _ => Ok(()),
    }
}

pub fn refuse(
    option: &'static str,
    value: impl ToString,
    expected: &'static str,
    next: &'static str,
) -> Error {
    Error::Setting { option, value: value.to_string(), expected, next }
}
