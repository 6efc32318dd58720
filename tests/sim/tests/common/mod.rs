//! What the tests share: NVRTC, loaded at run time, and the driver's functions in Rust's words.
#![allow(dead_code)] // each test binary uses its own part of this

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::PathBuf;
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use cuda::driver::{device, launches, memory, modules};
use libloading::{Library, Symbol};

/// Says that a test was left out, and why; where nothing may be left out, fails.
pub fn skip(reason: &str) {
    assert!(std::env::var_os("WARPSWEEP_REQUIRE_ALL").is_none(), "may not be skipped: {reason}");
    println!("skipped: {reason}");
}

/// The compiler, kept loaded; none where `WARPSWEEP_NVRTC` does not lead to one.
pub struct Nvrtc {
    library: Library,
    _builtins: Library,
}

pub fn nvrtc() -> Option<&'static Nvrtc> {
    static NVRTC: OnceLock<Option<Nvrtc>> = OnceLock::new();
    NVRTC.get_or_init(load_nvrtc).as_ref()
}

fn load_nvrtc() -> Option<Nvrtc> {
    let folder = PathBuf::from(std::env::var_os("WARPSWEEP_NVRTC")?);
    // SAFETY: NVIDIA's libraries, which do nothing when they are loaded.
    unsafe {
        let _builtins = Library::new(folder.join("libnvrtc-builtins.so.13.0")).ok()?;
        let library = Library::new(folder.join("libnvrtc.so.13")).ok()?;
        Some(Nvrtc { library, _builtins })
    }
}

impl Nvrtc {
    fn get<T>(&self, name: &str) -> Symbol<'_, T> {
        // SAFETY: the types below are those of nvrtc.h.
        unsafe { self.library.get(name.as_bytes()) }.expect("a function of NVRTC")
    }

    /// PTX of a source with line information; of 9.0 with what it alone has.
    pub fn compile(&self, source: &str, name: &str, arch: u32) -> String {
        type Create = unsafe extern "C" fn(
            *mut *mut c_void,
            *const c_char,
            *const c_char,
            c_int,
            *const *const c_char,
            *const *const c_char,
        ) -> c_int;
        type Compile = unsafe extern "C" fn(*mut c_void, c_int, *const *const c_char) -> c_int;
        type Size = unsafe extern "C" fn(*mut c_void, *mut usize) -> c_int;
        type Get = unsafe extern "C" fn(*mut c_void, *mut c_char) -> c_int;
        let source = CString::new(source).expect("no NUL in a source");
        let name = CString::new(name).expect("no NUL in a name");
        let own = if arch == 90 { "a" } else { "" };
        let options = [format!("--gpu-architecture=compute_{arch}{own}"), "-lineinfo".to_string()];
        let options = options.map(|option| CString::new(option).expect("no NUL in an option"));
        let pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        let mut program = null_mut();
        // SAFETY: as nvrtc.h says; the texts outlive the calls.
        unsafe {
            let create = self.get::<Create>("nvrtcCreateProgram");
            let (none, no) = (std::ptr::null(), std::ptr::null());
            assert_eq!(create(&mut program, source.as_ptr(), name.as_ptr(), 0, none, no), 0);
            let compiled =
                self.get::<Compile>("nvrtcCompileProgram")(program, 2, pointers.as_ptr());
            let text = |size: &str, get: &str| {
                let mut bytes = 0;
                self.get::<Size>(size)(program, &mut bytes);
                let mut buffer = vec![0u8; bytes];
                self.get::<Get>(get)(program, buffer.as_mut_ptr().cast());
                let text = CStr::from_bytes_until_nul(&buffer).unwrap_or_default();
                text.to_string_lossy().into_owned()
            };
            assert_eq!(compiled, 0, "{}", text("nvrtcGetProgramLogSize", "nvrtcGetProgramLog"));
            text("nvrtcGetPTXSize", "nvrtcGetPTX")
        }
    }
}

/// The device with a module, alone: tests of one process take turns.
pub struct Device {
    module: *mut c_void,
    report: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Device {
    /// Loads PTX onto a fresh device of compute capability `arch`.
    pub fn new(ptx: &str, arch: u32) -> Device {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let report = std::env::temp_dir().join(format!("cuda-sim-report-{}", std::process::id()));
        let _ = std::fs::remove_file(&report);
        // SAFETY: the tests of this process that look at the environment hold the turn.
        unsafe {
            std::env::set_var("CUDA_SIM_REPORT", &report);
            std::env::set_var("CUDA_SIM_CC", arch.to_string());
        }
        device::cuDevicePrimaryCtxReset_v2(0);
        let mut context = null_mut();
        let mut module = null_mut();
        let text = CString::new(ptx).expect("no NUL in PTX");
        // SAFETY: places for handles; a text that ends in a NUL.
        unsafe {
            assert_eq!(device::cuDevicePrimaryCtxRetain(&mut context, 0), 0);
            assert_eq!(device::cuCtxSetCurrent(context), 0);
            let status = modules::cuModuleLoadData(&mut module, text.as_ptr().cast());
            let said = std::fs::read_to_string(&report).unwrap_or_default();
            assert_eq!(status, 0, "the module is not loaded: {said}");
        }
        Device { module, report, _turn: turn }
    }

    pub fn function(&self, name: &str) -> *mut c_void {
        let name = CString::new(name).expect("no NUL in a name");
        let mut function = null_mut();
        // SAFETY: a place for a handle; a text that ends in a NUL.
        let status =
            unsafe { modules::cuModuleGetFunction(&mut function, self.module, name.as_ptr()) };
        assert_eq!(status, 0, "no function {name:?}");
        function
    }

    /// Address and size of a variable of the module.
    pub fn global(&self, name: &str) -> (u64, usize) {
        let name = CString::new(name).expect("no NUL in a name");
        let (mut address, mut bytes) = (0, 0);
        // SAFETY: places for an address and a number; a text that ends in a NUL.
        let status = unsafe {
            modules::cuModuleGetGlobal_v2(&mut address, &mut bytes, self.module, name.as_ptr())
        };
        assert_eq!(status, 0, "no variable {name:?}");
        (address, bytes)
    }

    pub fn allocate(&self, bytes: usize) -> u64 {
        let mut address = 0;
        // SAFETY: a place for an address.
        assert_eq!(unsafe { memory::cuMemAlloc_v2(&mut address, bytes) }, 0);
        address
    }

    pub fn upload<T: bytemuck::Pod>(&self, values: &[T]) -> u64 {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let address = self.allocate(bytes.len());
        assert_eq!(memory::cuMemcpyHtoD_v2(address, bytes.as_ptr().cast(), bytes.len()), 0);
        address
    }

    pub fn download<T: bytemuck::Pod>(&self, address: u64, count: usize) -> Vec<T> {
        let mut values = vec![T::zeroed(); count];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut values);
        assert_eq!(memory::cuMemcpyDtoH_v2(bytes.as_mut_ptr().cast(), address, bytes.len()), 0);
        values
    }

    /// Launches with arguments of 8 bytes each (smaller parameters take the low ones).
    pub fn launch(&self, name: &str, grid: u32, block: u32, shared: u32, arguments: &[u64]) -> i32 {
        let function = self.function(name);
        let mut pointers: Vec<*mut c_void> =
            arguments.iter().map(|argument| std::ptr::from_ref(argument) as *mut c_void).collect();
        // SAFETY: a pointer for each of the kernel's parameters.
        unsafe {
            launches::cuLaunchKernel(
                function,
                grid,
                1,
                1,
                block,
                1,
                1,
                shared,
                null_mut(),
                pointers.as_mut_ptr(),
                null_mut(),
            )
        }
    }

    /// What was reported since the device was made.
    pub fn reports(&self) -> String {
        std::fs::read_to_string(&self.report).unwrap_or_default()
    }
}
