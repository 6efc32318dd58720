//! From a kernel's source to a module on a GPU, by way of the cache.

use std::sync::{Mutex, PoisonError};

use super::cache::{Cache, Key};
use super::launch::{CudaError, Device, Driver, Module, Nvrtc, Target};
use super::program::{self, Program};

/// Compiles kernels and loads them. What was compiled once is taken from the cache.
#[derive(Debug)]
pub struct Compiler {
    nvrtc: Nvrtc,
    cache: Option<Cache>,
    /// Why nothing can be kept, once that was tried.
    warning: Mutex<Option<String>>,
}

impl Compiler {
    /// A compiler whose code the driver can run, with the user's cache.
    pub fn new(driver: &Driver) -> Result<Compiler, CudaError> {
        Ok(Self::with(Nvrtc::load(Some(driver.version()))?, Cache::of_user()))
    }

    /// A compiler with this cache, or with none.
    pub fn with(nvrtc: Nvrtc, cache: Option<Cache>) -> Compiler {
        Compiler { nvrtc, cache, warning: Mutex::default() }
    }

    /// The compiler underneath.
    pub fn nvrtc(&self) -> &Nvrtc {
        &self.nvrtc
    }

    /// A file of `kernels/` by its name, as a module on a GPU.
    pub fn kernels(&self, device: &Device, name: &str) -> Result<Module, CudaError> {
        let missing = || CudaError::NoSymbol { module: "program".into(), symbol: name.to_owned() };
        self.module(device, &program::embedded(name).ok_or_else(missing)?)
    }

    /// A program as a module on a GPU.
    pub fn module(&self, device: &Device, program: &Program<'_>) -> Result<Module, CudaError> {
        let target = self.nvrtc.target(device.gpu())?;
        Module::load(device, program.name, &self.image(program, target, &[])?)
    }

    /// A program as code, with options beside the usual ones. A cache that cannot be written to costs
    /// a compilation each time and a [warning](Compiler::warning), nothing else.
    pub fn image(
        &self,
        program: &Program<'_>,
        target: Target,
        extra: &[&str],
    ) -> Result<Vec<u8>, CudaError> {
        let Some(cache) = &self.cache else {
            return Ok(self.nvrtc.compile(program, target, extra)?.image);
        };
        let key = self.key(program, target, extra);
        if let Some(image) = cache.get(key) {
            return Ok(image);
        }
        let image = self.nvrtc.compile(program, target, extra)?.image;
        if let Err(error) = cache.put(key, &image) {
            let folder = cache.folder().display();
            *self.warning.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!(
                "compiled kernels cannot be kept in {folder} ({error}), so every start compiles them; \
                 name a folder with WARPSWEEP_CACHE"
            ));
        }
        Ok(image)
    }

    /// What there is to say of the cache, for people; said once.
    pub fn warning(&self) -> Option<String> {
        self.warning.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// All that the code depends on: the compiler's version, the options with the architecture in
    /// them, and every text that it may read.
    fn key(&self, program: &Program<'_>, target: Target, extra: &[&str]) -> Key {
        let (major, minor) = self.nvrtc.version();
        let (version, options) = (format!("{major}.{minor}"), Nvrtc::options(target, extra));
        let count = options.len().to_string();
        let own = [&*version, &count];
        let texts = [program.name, program.source];
        // Other kernel files cannot be included, so a change of theirs changes nothing.
        let headers = program.headers.iter().filter(|(name, _)| !name.ends_with(".cu"));
        let headers = headers.flat_map(|(name, text)| [*name, *text]);
        let options = options.iter().map(String::as_str);
        Key::of(own.into_iter().chain(options).chain(texts).chain(headers))
    }
}
