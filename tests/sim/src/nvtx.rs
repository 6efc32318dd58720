//! A tool that listens to NVTX ranges, as Nsight Systems does: for the program's own tests.
//!
//! The program loads this library once more by `NVTX_INJECTION64_PATH` and calls
//! [`InitializeInjectionNvtx2`]; each range is then a line of the file that `CUDA_SIM_NVTX` names:
//! `start 1 trial 0 epoch 1`, `end 1`, `push once forward_64x16`, `pop`.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// `NvtxExportTableCallbacks`
#[repr(C)]
struct Callbacks {
    size: usize,
    module_functions:
        unsafe extern "C" fn(c_uint, *mut *const *mut *const c_void, *mut c_uint) -> c_int,
}

/// Where tools hook themselves in: `exports` gives the program's tables. Returns 1 if it listens.
///
/// # Safety
/// As NVTX calls it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn InitializeInjectionNvtx2(
    exports: unsafe extern "C" fn(u32) -> *const c_void,
) -> c_int {
    if std::env::var_os("CUDA_SIM_NVTX").is_none() {
        return 0;
    }
    // SAFETY: by the protocol, table 1 is of this type, and the functions of module 1 (the core) are
    // in places for 16 of them, which the tool writes to.
    unsafe {
        let callbacks = exports(1).cast::<Callbacks>();
        if callbacks.is_null() || (*callbacks).size < size_of::<Callbacks>() {
            return 0;
        }
        let (mut table, mut size) = (std::ptr::null(), 0);
        if ((*callbacks).module_functions)(1, &raw mut table, &raw mut size) == 0 || size < 12 {
            return 0;
        }
        for (id, function) in [
            (5, range_start as *const c_void),
            (7, range_end as *const c_void),
            (9, range_push as *const c_void),
            (11, range_pop as *const c_void),
        ] {
            **table.add(id) = function;
        }
    }
    1
}

fn say(line: &str) {
    let Some(path) = std::env::var_os("CUDA_SIM_NVTX") else { return };
    let file = std::fs::File::options().append(true).create(true).open(path);
    // In one write: threads add their lines at the same time.
    if let Err(error) = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes())) {
        eprintln!("simulated device: an NVTX range cannot be written: {error}");
    }
}

unsafe extern "C" fn range_start(name: *const c_char) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the program gives a C string.
    say(&format!("start {id} {}", unsafe { CStr::from_ptr(name) }.to_string_lossy()));
    id
}

unsafe extern "C" fn range_end(id: u64) {
    say(&format!("end {id}"));
}

unsafe extern "C" fn range_push(name: *const c_char) -> c_int {
    // SAFETY: the program gives a C string.
    say(&format!("push {}", unsafe { CStr::from_ptr(name) }.to_string_lossy()));
    0
}

unsafe extern "C" fn range_pop() -> c_int {
    say("pop");
    0
}
