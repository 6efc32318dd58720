//! NVRTC, NVIDIA's compiler of CUDA C++ as a library: found, loaded and called.
//!
//! It is bound here and not through cudarc, which takes only what the loader finds by name and drops
//! the log of what compiled.

use std::collections::BTreeSet;
use std::env;
use std::ffi::{CStr, CString, OsStr, c_char, c_int};
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

use libloading::Library;

use super::{CudaError, Gpu, release};
use crate::engine::cuda::program::Program;

/// What code is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Machine code for one compute capability (and later ones of the same generation).
    Cubin(u32),
    /// PTX, which a driver or the simulated device compiles on.
    Ptx(u32),
    /// PTX for this capability and no other, with what it alone has.
    OwnPtx(u32),
}

/// The capability of which kernels use what it alone has (`wgmma`): `sm_90a`.
const OWN: u32 = 90;

impl Target {
    /// The name of the architecture: `sm_80`, `compute_80`, `sm_90a`.
    pub fn arch(self) -> String {
        match self {
            Target::Cubin(OWN) => format!("sm_{OWN}a"),
            Target::Cubin(capability) => format!("sm_{capability}"),
            Target::Ptx(capability) => format!("compute_{capability}"),
            Target::OwnPtx(capability) => format!("compute_{capability}a"),
        }
    }
}

/// What a compilation came to.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// A cubin, or PTX with its final zero byte.
    pub image: Vec<u8>,
    /// What the compiler said though it compiled: empty, or warnings and what was asked for.
    pub log: String,
}

/// The loaded compiler. It is never unloaded.
#[derive(Debug)]
pub struct Nvrtc {
    api: Api,
    path: PathBuf,
    version: (i32, i32),
    capabilities: BTreeSet<u32>,
}

impl Nvrtc {
    /// Loads the first NVRTC that is found in `$WARPSWEEP_NVRTC` (a folder or file, and then nowhere
    /// else), by the loader, in a CUDA toolkit or in a Python environment. Where the CUDA version of
    /// the driver is given, one that makes code which it cannot run is passed over.
    ///
    /// # Errors
    /// [`CudaError::NoNvrtc`] with all paths that were tried; [`CudaError::DriverTooOld`] if all that
    /// were found are too new for the driver.
    pub fn load(driver: Option<i32>) -> Result<Nvrtc, CudaError> {
        let (mut tried, mut too_new) = (Vec::new(), None);
        for path in candidates() {
            // A path that is none says nothing; a name is the loader's to find.
            if path.is_absolute() && !path.is_file() {
                continue;
            }
            match Self::open(&path) {
                Ok(nvrtc) if driver.is_some_and(|driver| driver / 1000 < nvrtc.version.0) => {
                    too_new.get_or_insert(nvrtc.version);
                }
                Ok(nvrtc) => return Ok(nvrtc),
                Err(reason) if path.is_absolute() => tried.push(reason),
                Err(_) => {}
            }
        }
        if let (Some((major, minor)), Some(found)) = (too_new, driver) {
            let (needed, what) = (1000 * major, format!("NVRTC {major}.{minor}"));
            return Err(CudaError::DriverTooOld { found, needed, what, release: release(needed) });
        }
        tried.push(format!("looked in {}", places()));
        Err(CudaError::NoNvrtc { tried: tried.join("; ") })
    }

    fn open(path: &Path) -> Result<Nvrtc, String> {
        let failure = |error: libloading::Error| format!("{}: {error}", path.display());
        // SAFETY: loading NVRTC runs its initialisers, which do nothing but set it up.
        let library = unsafe { Library::new(path) }.map_err(failure)?;
        let api = Api::bind(&library).map_err(failure)?;
        let version = api.version().map_err(|error| format!("{}: {error}", path.display()))?;
        let capabilities = api.capabilities().map_err(|error| error.to_string())?;
        if let Some(folder) = path.parent().filter(|_| path.is_absolute()) {
            // Asked for by name at the first compilation, and found only if it is loaded by then.
            let builtins = format!("libnvrtc-builtins.so.{}.{}", version.0, version.1);
            // SAFETY: it is data and functions for NVRTC alone. Without it NVRTC says so itself.
            if let Ok(builtins) = unsafe { Library::new(folder.join(builtins)) } {
                std::mem::forget(builtins);
            }
        }
        // The functions in `api` are those of a library that stays for good.
        std::mem::forget(library);
        Ok(Nvrtc { api, path: path.to_owned(), version, capabilities })
    }

    /// Where it was found; only a file name if the loader found it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Major and minor version.
    pub fn version(&self) -> (i32, i32) {
        self.version
    }

    /// Compute capabilities that it compiles for: 90 for 9.0.
    pub fn capabilities(&self) -> &BTreeSet<u32> {
        &self.capabilities
    }

    /// What to compile for this GPU: machine code where this compiler knows its generation, PTX where
    /// the GPU is newer, simulated, or `$WARPSWEEP_CUDA_PTX` is 1.
    pub fn target(&self, gpu: &Gpu) -> Result<Target, CudaError> {
        let (version, found) = (self.version, gpu.capability);
        let Some(&known) = self.capabilities.range(..=found).next_back() else {
            let oldest = self.capabilities.first().copied().unwrap_or_default();
            return Err(CudaError::GpuTooOld { version, oldest, found });
        };
        let ptx = gpu.is_simulated()
            || env::var_os("WARPSWEEP_CUDA_PTX").is_some_and(|value| value == "1")
            || known / 10 != found / 10;
        Ok(match ptx {
            true if found == OWN && known == OWN => Target::OwnPtx(known),
            true => Target::Ptx(known),
            false => Target::Cubin(known),
        })
    }

    /// The options of every compilation. Lines are kept for profilers and the simulated device;
    /// products and sums may be fused; division and square roots are exact.
    pub fn options(target: Target, extra: &[&str]) -> Vec<String> {
        let arch = format!("--gpu-architecture={}", target.arch());
        let ours = [&*arch, "--std=c++17", "--generate-line-info", "--fmad=true"];
        ours.into_iter().chain(extra.iter().copied()).map(str::to_owned).collect()
    }

    /// Compiles a program, with options beside those of [`Nvrtc::options`].
    ///
    /// # Errors
    /// [`CudaError::Compile`] with the compiler's whole log.
    pub fn compile(
        &self,
        program: &Program<'_>,
        target: Target,
        extra: &[&str],
    ) -> Result<Compiled, CudaError> {
        let failed = |log: String| CudaError::Compile {
            kernel: program.name.to_owned(),
            arch: target.arch(),
            version: self.version,
            log,
        };
        let c = |text: &str| {
            CString::new(text)
                .map_err(|_| failed("a zero byte in its source or options".to_owned()))
        };
        let options = Self::options(target, extra);
        let options = options.iter().map(|option| c(option)).collect::<Result<Vec<_>, _>>()?;
        let mut handle = self.api.create(
            &c(program.source)?,
            &c(program.name)?,
            &program.headers.iter().map(|(_, text)| c(text)).collect::<Result<Vec<_>, _>>()?,
            &program.headers.iter().map(|(name, _)| c(name)).collect::<Result<Vec<_>, _>>()?,
        )?;
        let compiled = handle.compile(&options);
        let log = handle.log()?;
        match compiled {
            Ok(()) => Ok(Compiled { image: handle.image(target)?, log }),
            Err(CudaError::Nvrtc { name, .. }) => Err(failed(format!("{name}\n{log}"))),
            Err(other) => Err(other),
        }
    }
}

/// A program of NVRTC's, destroyed when dropped.
struct Handle<'a> {
    api: &'a Api,
    program: RawProgram,
}

impl Handle<'_> {
    fn compile(&mut self, options: &[CString]) -> Result<(), CudaError> {
        let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        // SAFETY: the program is alive, the options are as many C strings.
        let status = unsafe {
            (self.api.compile_program)(self.program, options.len() as c_int, options.as_ptr())
        };
        self.api.check("nvrtcCompileProgram", status)
    }

    fn log(&self) -> Result<String, CudaError> {
        let api = self.api;
        let bytes = self.read("nvrtcGetProgramLog", api.program_log_size, api.program_log)?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.trim_end_matches(['\0', '\n']).to_owned())
    }

    fn image(&self, target: Target) -> Result<Vec<u8>, CudaError> {
        let api = self.api;
        match target {
            Target::Cubin(_) => self.read("nvrtcGetCUBIN", api.cubin_size, api.cubin),
            Target::Ptx(_) | Target::OwnPtx(_) => self.read("nvrtcGetPTX", api.ptx_size, api.ptx),
        }
    }

    /// What one of NVRTC's pairs of functions, for a size and for as many bytes, gives.
    fn read(&self, call: &'static str, size: GetSize, get: Get) -> Result<Vec<u8>, CudaError> {
        let mut bytes = 0;
        // SAFETY: the program is alive.
        self.api.check(call, unsafe { size(self.program, &mut bytes) })?;
        let mut content = vec![0u8; bytes];
        // SAFETY: there is room for as many bytes as were announced.
        self.api.check(call, unsafe { get(self.program, content.as_mut_ptr().cast()) })?;
        Ok(content)
    }
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        // SAFETY: the program is alive, and nobody has it after this.
        unsafe { (self.api.destroy_program)(&mut self.program) };
    }
}

type RawProgram = *mut std::ffi::c_void;
type Status = c_int;
type GetSize = unsafe extern "C" fn(RawProgram, *mut usize) -> Status;
type Get = unsafe extern "C" fn(RawProgram, *mut c_char) -> Status;

/// The functions of libnvrtc that we call, with the types of `nvrtc.h`.
#[derive(Debug)]
struct Api {
    get_version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> Status,
    error_string: unsafe extern "C" fn(Status) -> *const c_char,
    arch_count: unsafe extern "C" fn(*mut c_int) -> Status,
    archs: unsafe extern "C" fn(*mut c_int) -> Status,
    create_program: CreateProgram,
    compile_program: unsafe extern "C" fn(RawProgram, c_int, *const *const c_char) -> Status,
    destroy_program: unsafe extern "C" fn(*mut RawProgram) -> Status,
    program_log_size: GetSize,
    program_log: Get,
    ptx_size: GetSize,
    ptx: Get,
    cubin_size: GetSize,
    cubin: Get,
}

type CreateProgram = unsafe extern "C" fn(
    *mut RawProgram,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> Status;

impl Api {
    fn bind(library: &Library) -> Result<Api, libloading::Error> {
        // SAFETY: each name is that of a function of `nvrtc.h` with the type of its field, unchanged
        // since NVRTC 11.2. The caller keeps the library.
        unsafe {
            Ok(Api {
                get_version: *library.get(b"nvrtcVersion")?,
                error_string: *library.get(b"nvrtcGetErrorString")?,
                arch_count: *library.get(b"nvrtcGetNumSupportedArchs")?,
                archs: *library.get(b"nvrtcGetSupportedArchs")?,
                create_program: *library.get(b"nvrtcCreateProgram")?,
                compile_program: *library.get(b"nvrtcCompileProgram")?,
                destroy_program: *library.get(b"nvrtcDestroyProgram")?,
                program_log_size: *library.get(b"nvrtcGetProgramLogSize")?,
                program_log: *library.get(b"nvrtcGetProgramLog")?,
                ptx_size: *library.get(b"nvrtcGetPTXSize")?,
                ptx: *library.get(b"nvrtcGetPTX")?,
                cubin_size: *library.get(b"nvrtcGetCUBINSize")?,
                cubin: *library.get(b"nvrtcGetCUBIN")?,
            })
        }
    }

    fn check(&self, call: &'static str, status: Status) -> Result<(), CudaError> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: it gives a constant C string for every number.
        let name = unsafe { CStr::from_ptr((self.error_string)(status)) };
        Err(CudaError::Nvrtc { call, name: name.to_string_lossy().into_owned() })
    }

    fn version(&self) -> Result<(i32, i32), CudaError> {
        let (mut major, mut minor) = (0, 0);
        // SAFETY: it writes two numbers.
        self.check("nvrtcVersion", unsafe { (self.get_version)(&mut major, &mut minor) })?;
        Ok((major, minor))
    }

    fn capabilities(&self) -> Result<BTreeSet<u32>, CudaError> {
        let mut count = 0;
        // SAFETY: it writes one number.
        self.check("nvrtcGetNumSupportedArchs", unsafe { (self.arch_count)(&mut count) })?;
        let mut archs = vec![0; usize::try_from(count).unwrap_or(0)];
        // SAFETY: there is room for as many numbers as were announced.
        self.check("nvrtcGetSupportedArchs", unsafe { (self.archs)(archs.as_mut_ptr()) })?;
        Ok(archs.into_iter().filter_map(|arch| u32::try_from(arch).ok()).collect())
    }

    fn create(
        &self,
        source: &CStr,
        name: &CStr,
        headers: &[CString],
        header_names: &[CString],
    ) -> Result<Handle<'_>, CudaError> {
        let pointers = |texts: &[CString]| texts.iter().map(|text| text.as_ptr()).collect();
        let (texts, names): (Vec<_>, Vec<_>) = (pointers(headers), pointers(header_names));
        let first = |list: &[*const c_char]| if list.is_empty() { null() } else { list.as_ptr() };
        let mut program = null_mut();
        // SAFETY: C strings, and as many headers as names; NVRTC copies all of them.
        let status = unsafe {
            (self.create_program)(
                &mut program,
                source.as_ptr(),
                name.as_ptr(),
                texts.len() as c_int,
                first(&texts),
                first(&names),
            )
        };
        self.check("nvrtcCreateProgram", status)?;
        Ok(Handle { api: self, program })
    }
}

/// NVRTC's file names, the newest first.
const NAMES: [&str; 3] = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"];

/// Where NVRTC may be, in the order in which it is looked for.
fn candidates() -> Vec<PathBuf> {
    let in_folder = |folder: PathBuf| NAMES.map(|name| folder.join(name));
    if let Some(given) = given() {
        return if given.is_dir() { in_folder(given).into() } else { vec![given] };
    }
    let by_loader = NAMES.map(PathBuf::from);
    by_loader.into_iter().chain(folders().into_iter().flat_map(in_folder)).collect()
}

/// `$WARPSWEEP_NVRTC`, as an absolute path.
fn given() -> Option<PathBuf> {
    let given = env::var_os("WARPSWEEP_NVRTC").filter(|value| !value.is_empty())?;
    Some(std::path::absolute(&given).unwrap_or_else(|_| PathBuf::from(given)))
}

/// Folders that usually have it: CUDA toolkits, newest first, and what pip installs.
pub(super) fn folders() -> Vec<PathBuf> {
    let mut toolkits = subfolders(Path::new("/usr/local"), |name| name.starts_with("cuda"));
    toolkits
        .extend(env::var_os("CUDA_HOME").or_else(|| env::var_os("CUDA_PATH")).map(PathBuf::from));
    toolkits.reverse();
    let lib = ["lib64", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib"];
    let mut folders: Vec<PathBuf> =
        toolkits.iter().flat_map(|toolkit| lib.map(|lib| toolkit.join(lib))).collect();
    let environments = ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(env::var_os);
    for environment in environments.map(PathBuf::from) {
        folders.push(environment.join("lib"));
        for python in subfolders(&environment.join("lib"), |name| name.starts_with("python")) {
            let packages = python.join("site-packages/nvidia");
            folders.extend(["cu13/lib", "cuda_nvrtc/lib"].map(|lib| packages.join(lib)));
        }
    }
    folders
}

fn subfolders(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let named = |path: &PathBuf| path.file_name().and_then(OsStr::to_str).is_some_and(&wanted);
    let mut paths: Vec<PathBuf> = paths.filter(named).collect();
    paths.sort();
    paths
}

/// Where [`candidates`] looks, in words.
fn places() -> String {
    match given() {
        Some(given) => format!("{}, which WARPSWEEP_NVRTC names", given.display()),
        None => "the loader's path, /usr/local/cuda*, $CUDA_HOME, $VIRTUAL_ENV and $CONDA_PREFIX"
            .to_owned(),
    }
}
