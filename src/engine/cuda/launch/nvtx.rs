//! NVTX ranges: the program's own words in the timelines of Nsight Systems and Nsight Compute.
//!
//! A tool says by the variable `NVTX_INJECTION64_PATH` which library it listens with. NVTX's C header,
//! compiled into a program, loads that library at the first range and hands it a table of places,
//! into which the library writes its functions. The same is done here, in the protocol of NVTX 3's
//! `nvtxDetail/nvtxTypes.h`: cudarc's binding needs `libnvToolsExt`, which CUDA 13 no longer has.
//! Without a tool a range is one look at an empty table.

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Where a tool writes the address of one of its functions.
type Slot = AtomicPtr<c_void>;

/// `NVTX_CB_MODULE_CORE` and what of it is called; the others stay as the tool leaves them.
const CORE: c_uint = 1;
const RANGE_START_A: usize = 5;
const RANGE_END: usize = 7;
const RANGE_PUSH_A: usize = 9;
const RANGE_POP: usize = 11;
const CORE_SIZE: usize = 16;

/// The functions of the tool that listens.
static SLOTS: [Slot; CORE_SIZE] = [const { Slot::new(ptr::null_mut()) }; CORE_SIZE];

/// The addresses of the slots and a null, as the tool is given them: NVTX's callback ids are indices
/// into it, and 0 is none.
struct Table([*const Slot; CORE_SIZE + 1]);

// SAFETY: the table never changes, and what it points to is atomic.
unsafe impl Sync for Table {}

static TABLE: Table = {
    let mut table = [ptr::null(); CORE_SIZE + 1];
    let mut id = 1;
    while id < CORE_SIZE {
        table[id] = &raw const SLOTS[id];
        id += 1;
    }
    Table(table)
};

/// `NvtxExportTableCallbacks`
#[repr(C)]
struct Callbacks {
    size: usize,
    module_functions: unsafe extern "C" fn(c_uint, *mut *const *const Slot, *mut c_uint) -> c_int,
}

/// `NvtxExportTableVersionInfo`
#[repr(C)]
struct VersionInfo {
    size: usize,
    version: u32,
    reserved: u32,
    set_injection_version: unsafe extern "C" fn(u32),
}

static CALLBACKS: Callbacks = Callbacks { size: size_of::<Callbacks>(), module_functions };

static VERSION: VersionInfo =
    VersionInfo { size: size_of::<VersionInfo>(), version: 3, reserved: 0, set_injection_version };

/// Gives the tool the places of a module's functions; of the core module only, so that the tool does
/// not wait for calls of others.
unsafe extern "C" fn module_functions(
    module: c_uint,
    table: *mut *const *const Slot,
    size: *mut c_uint,
) -> c_int {
    if module != CORE {
        return 0;
    }
    // SAFETY: the tool gives places to write to, or null for what it does not ask for.
    unsafe {
        if !table.is_null() {
            *table = TABLE.0.as_ptr();
        }
        if !size.is_null() {
            *size = CORE_SIZE as c_uint;
        }
    }
    1
}

unsafe extern "C" fn set_injection_version(_version: u32) {}

/// `NvtxGetExportTableFunc_t`
unsafe extern "C" fn export_table(id: u32) -> *const c_void {
    match id {
        1 => (&raw const CALLBACKS).cast(),
        3 => (&raw const VERSION).cast(),
        _ => ptr::null(),
    }
}

/// Loads the tool's library, once in a process; whether a tool listens.
fn listened() -> bool {
    static TOOL: OnceLock<Option<libloading::Library>> = OnceLock::new();
    let load = || {
        let path = std::env::var_os("NVTX_INJECTION64_PATH").filter(|path| !path.is_empty())?;
        // SAFETY: the user names a tool's library to be loaded into this process; it is never unloaded.
        let library = unsafe { libloading::Library::new(path) }.ok()?;
        type Initialise = unsafe extern "C" fn(unsafe extern "C" fn(u32) -> *const c_void) -> c_int;
        // SAFETY: by the protocol this symbol is a function of this type.
        let done = unsafe {
            let initialise = library.get::<Initialise>(b"InitializeInjectionNvtx2\0").ok()?;
            initialise(export_table)
        };
        (done != 0).then_some(library)
    };
    TOOL.get_or_init(load).is_some()
}

/// The tool's function in a slot, if it has one.
fn function(id: usize) -> Option<*mut c_void> {
    let function = SLOTS[id].load(Ordering::Acquire);
    (listened() && !function.is_null()).then_some(function)
}

/// A name as C has it; one with a zero byte is cut there.
fn c_string(mut name: String) -> CString {
    name.truncate(name.find('\0').unwrap_or(name.len()));
    CString::new(name).unwrap_or_default()
}

/// A range of the process, which may overlap others and end on another thread; it ends when dropped.
#[derive(Debug)]
pub struct Range(u64);

/// Begins a range of this name, if a tool listens.
pub fn range(name: impl FnOnce() -> String) -> Option<Range> {
    if !listened() {
        return None;
    }
    let start = function(RANGE_START_A)?;
    let name = c_string(name());
    // SAFETY: the tool put a `nvtxRangeStartA_impl_fntype` there; it copies the name.
    let start: unsafe extern "C" fn(*const c_char) -> u64 = unsafe { std::mem::transmute(start) };
    Some(Range(unsafe { start(name.as_ptr()) }))
}

impl Drop for Range {
    fn drop(&mut self) {
        let Some(end) = function(RANGE_END) else { return };
        // SAFETY: the tool put a `nvtxRangeEnd_impl_fntype` there.
        let end: unsafe extern "C" fn(u64) = unsafe { std::mem::transmute(end) };
        unsafe { end(self.0) }
    }
}

/// A range of this thread, within the ranges that it has pushed before; it ends when dropped.
#[derive(Debug)]
pub struct Pushed(PhantomData<*const ()>); // not to be sent to another thread

/// Begins a range of this thread, if a tool listens. `ncu --nvtx` knows kernels by such ranges.
pub fn push(name: impl FnOnce() -> String) -> Option<Pushed> {
    if !listened() {
        return None;
    }
    let push = function(RANGE_PUSH_A)?;
    let name = c_string(name());
    // SAFETY: the tool put a `nvtxRangePushA_impl_fntype` there; it copies the name.
    let push: unsafe extern "C" fn(*const c_char) -> c_int = unsafe { std::mem::transmute(push) };
    unsafe { push(name.as_ptr()) };
    Some(Pushed(PhantomData))
}

impl Drop for Pushed {
    fn drop(&mut self) {
        let Some(pop) = function(RANGE_POP) else { return };
        // SAFETY: the tool put a `nvtxRangePop_impl_fntype` there.
        let pop: unsafe extern "C" fn() -> c_int = unsafe { std::mem::transmute(pop) };
        unsafe { pop() };
    }
}
