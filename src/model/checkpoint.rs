//! Model files: safetensors with the names and shapes of PyTorch's `nn.Sequential`.
//!
//! The modules are numbered as a user would stack them: `Linear, activation, [Dropout,] ...,
//! Linear`, so an MLP's tensors are `0.weight [units, inputs]`, `0.bias [units]`, `2.weight`, ...
//! The metadata holds `architecture` (JSON, which `load` reads), `pytorch` (the Python expression
//! that builds the module), `input` (what it is fed with) and whatever the caller adds.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use serde_json::json;

use super::{Activation, Architecture, Linear, Parameters, Shape};
use crate::error::{Error, Result};

/// The largest file that is read: several times the largest model of the search space.
const SIZE_LIMIT: u64 = 8 << 30;

/// Why a model file was refused, or could not be written.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CheckpointError {
    #[error("{path} is damaged or no safetensors file ({reason}); {NEXT}", path = .path.display())]
    Damaged { path: PathBuf, reason: String },

    #[error("{path} is {what}, expected a safetensors file; {NEXT}", path = .path.display())]
    NotAFile { path: PathBuf, what: &'static str },

    #[error("{path} has {bytes} bytes, expected {SIZE_LIMIT} at most; {NEXT}", path = .path.display())]
    TooLarge { path: PathBuf, bytes: u64 },

    #[error(
        "{path} was not written by warpsweep: its metadata has no `architecture`, and it holds \
         {found}; {NEXT}",
        path = .path.display()
    )]
    Foreign { path: PathBuf, found: String },

    #[error("{path} has metadata `architecture` that is no model: {reason}; {NEXT}", path = .path.display())]
    Architecture { path: PathBuf, reason: String },

    #[error("{path} holds {found} where its architecture needs {expected}; {NEXT}", path = .path.display())]
    Tensor { path: PathBuf, found: String, expected: String },

    #[error(
        "{path} has {value} at position {position} of {tensor}, which is not a finite number; {NEXT}",
        path = .path.display()
    )]
    NotFinite { path: PathBuf, tensor: String, position: usize, value: f32 },

    #[error("cannot write the model {path}: {reason}; make room or take another disk, then save again", path = .path.display())]
    Write { path: PathBuf, reason: String },
}

impl From<CheckpointError> for Error {
    fn from(error: CheckpointError) -> Error {
        // The disk failed while the run went on; all other troubles with a model are its user's.
        let exit_code = if matches!(error, CheckpointError::Write { .. }) { 1 } else { 2 };
        Error::Room { error: Box::new(error), exit_code }
    }
}

const NEXT: &str = "give a file that `--save-model` wrote";

/// A model as it stands in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    pub architecture: Architecture,
    pub parameters: Parameters,
    /// All metadata of the file, `architecture` and the caller's own included.
    pub metadata: BTreeMap<String, String>,
}

impl Activation {
    /// The class in `torch.nn`.
    fn module(self) -> &'static str {
        match self {
            Activation::Relu => "nn.ReLU()",
            Activation::Tanh => "nn.Tanh()",
            Activation::Sigmoid => "nn.Sigmoid()",
            Activation::Gelu => "nn.GELU()",
        }
    }
}

/// The Python expression that builds the module, with `from torch import nn`.
pub fn pytorch_expression(architecture: &Architecture) -> String {
    format!("nn.Sequential({})", modules(architecture).join(", "))
}

fn modules(architecture: &Architecture) -> Vec<String> {
    let mut modules = Vec::new();
    for (index, Shape { inputs, outputs }) in architecture.shapes().into_iter().enumerate() {
        modules.push(format!("nn.Linear({inputs}, {outputs})"));
        let Some(layer) = architecture.hidden.get(index) else { continue };
        modules.push(layer.activation.module().to_string());
        if layer.dropout > 0.0 {
            modules.push(format!("nn.Dropout({:?})", layer.dropout));
        }
    }
    modules
}

/// Name and shape of every tensor, `weight, bias` a layer, first to last.
fn tensors(architecture: &Architecture) -> Vec<(String, Vec<usize>)> {
    let mut names = Vec::new();
    let mut module = 0;
    for (index, Shape { inputs, outputs }) in architecture.shapes().into_iter().enumerate() {
        names.push((format!("{module}.weight"), vec![outputs, inputs]));
        names.push((format!("{module}.bias"), vec![outputs]));
        let dropout = architecture.hidden.get(index).is_some_and(|layer| layer.dropout > 0.0);
        module += if dropout { 3 } else { 2 };
    }
    names
}

/// Writes a model: aside, synced, then renamed, so that a file of this name is always whole.
/// The same model and extras give the same bytes; an extra cannot take a key of this module's.
///
/// # Errors
/// A folder that is absent or closed to the user, and a write that fails, such as on a full disk.
pub fn save(
    path: &Path,
    architecture: &Architecture,
    parameters: &Parameters,
    extra: &[(String, String)],
) -> Result<()> {
    if path.is_dir() {
        return Err(cannot_make(path, "it is a folder".to_string()));
    }
    let Some(name) = path.file_name() else {
        return Err(cannot_make(path, "it names no file".to_string()));
    };
    let mut name = name.to_os_string();
    name.push(format!(".{}.partial", std::process::id()));
    let aside = path.with_file_name(name);
    let file = File::create(&aside).map_err(|error| cannot_make(path, error.to_string()))?;
    let header = header(architecture, extra);
    let written = write(file, &header, parameters)
        .and_then(|()| fs::rename(&aside, path))
        .and_then(|()| sync_folder(path));
    written.map_err(|error| {
        // Best effort: the error that matters is the one that stopped the write.
        let _ = fs::remove_file(&aside);
        CheckpointError::Write { path: path.to_path_buf(), reason: error.to_string() }.into()
    })
}

fn write(mut file: File, header: &str, parameters: &Parameters) -> std::io::Result<()> {
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    for tensor in parameters.layers.iter().flat_map(|layer| [&layer.weight, &layer.bias]) {
        let bytes: Vec<u8> = tensor.iter().flat_map(|value| value.to_le_bytes()).collect();
        file.write_all(&bytes)?;
    }
    file.sync_all()
}

fn cannot_make(path: &Path, reason: String) -> Error {
    let next = "name a file in a folder that exists and that you may write to";
    Error::File { action: "write", path: path.to_path_buf(), reason, next }
}

/// Makes the rename itself durable, where folders can be synced.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if cfg!(unix) { File::open(folder.unwrap_or(Path::new(".")))?.sync_all() } else { Ok(()) }
}

/// The safetensors header: JSON, padded with spaces to a multiple of eight bytes. It is written
/// here because the crate's own writer keeps metadata in a hash map, in a new order every time.
fn header(architecture: &Architecture, extra: &[(String, String)]) -> String {
    let input = format!("float32 [batch, {}], pixels / 255", architecture.inputs);
    let mut metadata = BTreeMap::from([
        ("format", "pt".to_string()),
        ("architecture", json!(architecture).to_string()),
        ("pytorch", pytorch_expression(architecture)),
        ("input", input),
    ]);
    for (key, value) in extra {
        metadata.entry(key).or_insert_with(|| value.clone());
    }
    let mut entries = serde_json::Map::from_iter([("__metadata__".to_string(), json!(metadata))]);
    let mut offset = 0;
    for (name, shape) in tensors(architecture) {
        let end = offset + 4 * shape.iter().product::<usize>();
        let entry = json!({ "dtype": "F32", "shape": shape, "data_offsets": [offset, end] });
        entries.insert(name, entry);
        offset = end;
    }
    let mut header = json!(entries).to_string();
    header.extend(std::iter::repeat_n(' ', header.len().next_multiple_of(8) - header.len()));
    header
}

/// Reads a model that `save` wrote.
///
/// # Errors
/// A file that is damaged, foreign or too large, whose tensors are not those of its architecture,
/// or that holds a number that is not finite.
pub fn load(path: &Path) -> Result<Checkpoint> {
    let bytes = read(path)?;
    let damaged = |error: safetensors::SafeTensorError| {
        let reason = error.to_string();
        CheckpointError::Damaged { path: path.to_path_buf(), reason }
    };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
    let file = SafeTensors::deserialize(&bytes).map_err(damaged)?;
    let metadata: BTreeMap<String, String> =
        header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    let architecture = match metadata.get("architecture") {
        Some(text) => read_architecture(text)
            .map_err(|reason| CheckpointError::Architecture { path: path.to_path_buf(), reason })?,
        None => {
            let found = summary(&file);
            return Err(CheckpointError::Foreign { path: path.to_path_buf(), found }.into());
        }
    };
    let parameters = read_parameters(path, &file, &architecture)?;
    Ok(Checkpoint { architecture, parameters, metadata })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let unreadable = |error: std::io::Error| Error::File {
        action: "read",
        path: path.to_path_buf(),
        reason: error.to_string(),
        next: "give the path of a model that `--save-model` wrote",
    };
    let status = fs::metadata(path).map_err(unreadable)?;
    let path_owned = path.to_path_buf();
    if !status.is_file() {
        let what = if status.is_dir() { "a folder" } else { "a device or pipe" };
        return Err(CheckpointError::NotAFile { path: path_owned, what }.into());
    }
    if status.len() > SIZE_LIMIT {
        return Err(CheckpointError::TooLarge { path: path_owned, bytes: status.len() }.into());
    }
    fs::read(path).map_err(unreadable)
}

fn read_architecture(text: &str) -> Result<Architecture, String> {
    let architecture: Architecture =
        serde_json::from_str(text).map_err(|error| error.to_string())?;
    let sizes = [architecture.inputs, architecture.classes];
    let mut sizes = sizes.into_iter().chain(architecture.hidden.iter().map(|layer| layer.units));
    // The bound keeps the products below free of overflow; real sizes are far smaller.
    if sizes.any(|size| size == 0 || size > 1 << 28) {
        return Err("a size is 0 or absurdly large".to_string());
    }
    let mut dropouts = architecture.hidden.iter().map(|layer| layer.dropout);
    if let Some(dropout) = dropouts.find(|dropout| !(0.0..1.0).contains(dropout)) {
        return Err(format!("a dropout is {dropout:?}, not in [0, 1)"));
    }
    Ok(architecture)
}

fn read_parameters(
    path: &Path,
    file: &SafeTensors<'_>,
    architecture: &Architecture,
) -> Result<Parameters, CheckpointError> {
    let expected = tensors(architecture);
    let wrong = |found: String, expected: String| CheckpointError::Tensor {
        path: path.to_path_buf(),
        found,
        expected,
    };
    if file.len() != expected.len() {
        let (found, needed) = (summary(file), format!("{} tensors", expected.len()));
        return Err(wrong(found, needed));
    }
    let mut values = expected.into_iter().map(|(name, shape)| {
        let needed = || format!("{name} of F32 {shape:?}");
        let view = file.tensor(&name).map_err(|_| wrong(summary(file), needed()))?;
        if view.dtype() != Dtype::F32 || view.shape() != shape {
            let found = format!("{name} of {:?} {:?}", view.dtype(), view.shape());
            return Err(wrong(found, needed()));
        }
        let (chunks, _) = view.data().as_chunks::<4>();
        let values: Vec<f32> = chunks.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(position) => Err(CheckpointError::NotFinite {
                path: path.to_path_buf(),
                tensor: name,
                position,
                value: values[position],
            }),
        }
    });
    let mut layers = Vec::new();
    for shape in architecture.shapes() {
        let mut next = || values.next().unwrap_or_else(|| Ok(Vec::new()));
        let (weight, bias) = (next()?, next()?);
        layers.push(Linear { shape, weight, bias });
    }
    Ok(Parameters { layers })
}

/// What a file holds, in a few words.
fn summary(file: &SafeTensors<'_>) -> String {
    let mut names: Vec<String> = file
        .tensors()
        .iter()
        .map(|(name, view)| {
            format!("{} {:?} {:?}", name.escape_debug(), view.dtype(), view.shape())
        })
        .collect();
    names.sort_unstable();
    let shown: String = names.iter().take(3).map(|name| format!(", {name}")).collect();
    let dots = if names.len() > 3 { ", ..." } else { "" };
    format!("{} tensors{shown}{dots}", names.len())
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
