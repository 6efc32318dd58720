//! One GPU at work for the engine: a stream, the kernels, and the data set of the task at hand.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::compile::Compiler;
use super::data::{DeviceData, Key};
use super::fused::kernel::Loaded;
use super::fused::{Ability, Variant};
use super::launch::begin::Begin;
use super::launch::gather::Gather;
use super::launch::gemm::Gemm;
use super::launch::init::Init;
use super::launch::sgd_bias::SgdBias;
use super::launch::softmax_xent::SoftmaxXent;
use super::launch::{Branches, CudaError, Device, Module, Stream};
use super::tiles::{Precision, Tile};
use crate::engine::Task;

/// A GPU, ready to train.
pub struct Worker {
    pub stream: Stream,
    /// For what may run at the same time: the tile configurations of a product, and another kernel.
    pub branches: Branches,
    pub kernels: Kernels,
    compiler: Arc<Compiler>,
    /// The fused kernels that were asked for so far.
    fused: Mutex<HashMap<Variant, Loaded>>,
    /// The last task's data set: a study has one, so this is the only one that is asked for.
    data: Mutex<Option<(Key, Arc<DeviceData>)>>,
}

/// All kernels, loaded.
pub struct Kernels {
    pub begin: Begin,
    pub gather: Gather,
    pub init: Init,
    pub softmax_xent: SoftmaxXent,
    pub sgd_bias: SgdBias,
    pub gemm: Gemm,
}

impl Kernels {
    /// Loads all; `module` compiles a kernel file or takes it from the cache.
    pub fn new(
        module: impl Fn(&str) -> Result<Module, CudaError>,
        precision: Precision,
        capability: u32,
    ) -> Result<Self, CudaError> {
        Ok(Kernels {
            begin: Begin::new(&module("begin.cu")?)?,
            gather: Gather::new(&module("gather.cu")?)?,
            init: Init::new(&module("init.cu")?)?,
            softmax_xent: SoftmaxXent::new(&module("softmax_xent.cu")?)?,
            sgd_bias: SgdBias::new(&module("sgd_bias.cu")?)?,
            gemm: Gemm::new(module, precision, capability)?,
        })
    }
}

/// The share of the free memory that trials may take: the rest is for what runs besides, and for
/// what the driver itself needs for a graph.
const USABLE: f64 = 0.95;

impl Worker {
    /// Compiles the kernels for a GPU and loads them there.
    pub fn new(
        compiler: &Arc<Compiler>,
        device: &Device,
        precision: Precision,
    ) -> Result<Self, CudaError> {
        let module = |name: &str| compiler.kernels(device, name);
        let kernels = Kernels::new(module, precision, device.gpu().capability)?;
        let stream = device.stream()?;
        Ok(Worker {
            branches: Branches::new(&stream, Tile::ALL.len() + 1)?,
            stream,
            kernels,
            compiler: compiler.clone(),
            fused: Mutex::default(),
            data: Mutex::default(),
        })
    }

    /// A fused kernel, compiled and loaded unless it is there: few searches need more than one.
    pub fn fused(&self, variant: Variant) -> Result<Loaded, CudaError> {
        let mut loaded = self.fused.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kernel) = loaded.get(&variant) {
            return Ok(kernel.clone());
        }
        let module = self.compiler.kernels(self.stream.device(), variant.program())?;
        let kernel = Loaded::new(variant, &module)?;
        loaded.insert(variant, kernel.clone());
        Ok(kernel)
    }

    /// What it can do for fused kernels.
    pub fn ability(&self) -> Ability {
        let gpu = self.stream.device().gpu();
        Ability { capability: gpu.capability, shared: gpu.shared_memory }
    }

    /// Bytes of device memory that trials may take.
    pub fn room(&self) -> Result<u64, CudaError> {
        // What was dropped is freed in the stream's order: only then is it counted as free.
        self.stream.synchronize()?;
        let (free, _total) = self.stream.device().memory()?;
        Ok((free as f64 * USABLE) as u64)
    }

    /// The data set of a task on this GPU, uploaded unless it is there.
    pub fn data(&self, task: &Task) -> Result<Arc<DeviceData>, CudaError> {
        let mut kept = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        let key = Key::of(&task.split);
        if let Some((_, data)) = kept.as_ref().filter(|(known, _)| *known == key) {
            return Ok(data.clone());
        }
        // The old one is freed first: there may not be room for two.
        *kept = None;
        let (training, validation) = (task.split.training(), task.split.validation());
        let (pixels, classes) = (task.split.data().pixels(), task.split.data().classes);
        let data = DeviceData::new(&self.stream, training, validation, pixels, classes)?;
        Ok(kept.insert((key, Arc::new(data))).1.clone())
    }
}
