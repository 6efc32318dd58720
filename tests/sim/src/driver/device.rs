//! Devices and contexts.

use std::ffi::{c_char, c_int, c_uint, c_void};

use super::state::{self, Handle, context_of, current_device, state, status};
use super::{INVALID_DEVICE, INVALID_VALUE, NO_DEVICE, SUCCESS, Status};

/// Multiprocessors of a simulated device: few, so that persistent grids are small.
pub const MULTIPROCESSORS: u32 = 4;

fn number(name: &str, default: u64) -> u64 {
    let Ok(text) = std::env::var(name) else { return default };
    let (digits, factor) = match text.trim().to_ascii_uppercase() {
        text if text.ends_with('K') => (text[..text.len() - 1].to_string(), 1 << 10),
        text if text.ends_with('M') => (text[..text.len() - 1].to_string(), 1 << 20),
        text if text.ends_with('G') => (text[..text.len() - 1].to_string(), 1 << 30),
        text => (text, 1),
    };
    match digits.parse::<u64>() {
        Ok(value) => value * factor,
        Err(_) => {
            crate::report::announce(&format!(
                "simulated device: {name}={text} is no number; {default} is used"
            ));
            default
        }
    }
}

/// Memory of a device, in bytes.
pub fn memory_bytes() -> u64 {
    number("CUDA_SIM_MEMORY", 8 << 30)
}

/// Bytes that a device claims to have free beside those that it has: an allocation that was estimated
/// to fit then fails.
pub fn phantom_bytes() -> u64 {
    number("CUDA_SIM_PHANTOM_MEMORY", 0)
}

/// Launches before the device is lost: a sticky error, as when a GPU falls off its bus.
pub fn launches_before_loss() -> u64 {
    number("CUDA_SIM_LOSE_AFTER", u64::MAX)
}

/// Compute capability, as 10 x major + minor.
pub fn capability() -> u32 {
    number("CUDA_SIM_CC", 80) as u32
}

pub fn count() -> usize {
    let all = number("CUDA_SIM_DEVICES", 1).min(15) as usize;
    match std::env::var("CUDA_VISIBLE_DEVICES") {
        // As the driver: the list ends at the first entry that is no device.
        Ok(list) => list
            .split(',')
            .take_while(|entry| entry.trim().parse::<usize>().is_ok_and(|device| device < all))
            .count(),
        Err(_) => all,
    }
}

/// Shared memory that a block may have, in bytes: without and with asking for more.
pub fn shared_limits() -> (u32, u32) {
    let most = match capability() {
        75 => 64,
        80 | 87 => 163,
        86 | 89 | 120 | 121 => 99,
        _ => 227,
    };
    (48 << 10, most << 10)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuInit(flags: c_uint) -> Status {
    match (flags, count()) {
        (0, 0) => NO_DEVICE,
        (0, _) => SUCCESS,
        _ => INVALID_VALUE,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> Status {
    // SAFETY: the caller gives a place for a number.
    unsafe { *version = number("CUDA_SIM_DRIVER_VERSION", 13000) as c_int };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetCount(found: *mut c_int) -> Status {
    // SAFETY: the caller gives a place for a number.
    unsafe { *found = count() as c_int };
    SUCCESS
}

fn existing(device: c_int) -> Result<usize, Status> {
    usize::try_from(device).ok().filter(|&device| device < count()).ok_or(INVALID_DEVICE)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> Status {
    // SAFETY: the caller gives a place for a number.
    status(existing(ordinal).map(|_| unsafe { *device = ordinal }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetName(
    name: *mut c_char,
    length: c_int,
    device: c_int,
) -> Status {
    // By this name the program knows it; a test that wants it taken for a GPU gives it another.
    let given = std::env::var("CUDA_SIM_NAME").ok();
    let text = given.unwrap_or_else(|| format!("simulated sm_{}", capability())) + "\0";
    if (length as usize) < text.len() {
        return INVALID_VALUE;
    }
    status(existing(device).map(|_| {
        // SAFETY: the caller gives `length` bytes, which suffice.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), name.cast(), text.len()) };
    }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetUuid_v2(uuid: *mut [u8; 16], device: c_int) -> Status {
    let mut bytes = *b"simulated CUDA 0";
    bytes[15] = b'0' + device as u8;
    // SAFETY: the caller gives a place for 16 bytes.
    status(existing(device).map(|_| unsafe { *uuid = bytes }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetUuid(uuid: *mut [u8; 16], device: c_int) -> Status {
    // SAFETY: as above.
    unsafe { cuDeviceGetUuid_v2(uuid, device) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, device: c_int) -> Status {
    // SAFETY: the caller gives a place for a number.
    status(existing(device).map(|_| unsafe { *bytes = memory_bytes() as usize }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetAttribute(
    value: *mut c_int,
    attribute: c_int,
    device: c_int,
) -> Status {
    let (shared, shared_most) = shared_limits();
    let answer = match attribute {
        1..=3 => 1024,
        4 => 64,
        5 => i32::MAX,
        6 | 7 => 65535,
        8 => shared as c_int,
        9 => 65536,
        10 => 32,
        12 | 82 => 65536,
        13 => 1_000_000,
        14 => 512,
        16 => MULTIPROCESSORS as c_int,
        31 | 41 | 95 => 1,
        33..=35 => device,
        36 => 1_000_000,
        37 => 256,
        38 => 4 << 20,
        39 => {
            if capability() == 75 {
                1024
            } else {
                2048
            }
        }
        40 => 1,
        75 => (capability() / 10) as c_int,
        76 => (capability() % 10) as c_int,
        81 => (shared_most + 1024) as c_int,
        97 => shared_most as c_int,
        106 => {
            if capability() == 75 {
                16
            } else {
                32
            }
        }
        111 => 1024,
        // Memory pools: allocations in the order of a stream.
        115 => 1,
        _ => 0,
    };
    // SAFETY: the caller gives a place for a number.
    status(existing(device).map(|_| unsafe { *value = answer }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut Handle, device: c_int) -> Status {
    // SAFETY: the caller gives a place for a handle.
    status(existing(device).map(|device| unsafe { *context = context_of(device) as Handle }))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxRelease_v2(device: c_int) -> Status {
    state::write_counts();
    status(existing(device).map(|_| ()))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxReset_v2(device: c_int) -> Status {
    status(existing(device).map(|device| state().broken[device] = 0))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxSetFlags_v2(_device: c_int, _flags: c_uint) -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetCurrent(context: Handle) -> Status {
    state::set_current(context as u64);
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxGetCurrent(context: *mut Handle) -> Status {
    // SAFETY: the caller gives a place for a handle.
    unsafe { *context = state::current() as Handle };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxGetDevice(device: *mut c_int) -> Status {
    // SAFETY: the caller gives a place for a number.
    status(current_device().map(|found| unsafe { *device = found as c_int }))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSynchronize() -> Status {
    status(state::working_device(&state()).map(|_| ()))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetFlags(_flags: c_uint) -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetLimit(_limit: c_int, _value: usize) -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxGetStreamPriorityRange(
    least: *mut c_int,
    greatest: *mut c_int,
) -> Status {
    for place in [least, greatest].into_iter().filter(|place| !place.is_null()) {
        // SAFETY: the caller gives places for numbers, or none.
        unsafe { *place = 0 };
    }
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuProfilerStart() -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuProfilerStop() -> Status {
    SUCCESS
}

/// A hook for callers that resolve functions through the driver itself: none are given, so that
/// they look the symbol up.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetProcAddress_v2(
    _name: *const c_char,
    function: *mut *mut c_void,
    _version: c_int,
    _flags: u64,
    _found: *mut c_int,
) -> Status {
    if !function.is_null() {
        // SAFETY: the caller gives a place for a pointer.
        unsafe { *function = std::ptr::null_mut() };
    }
    super::NOT_FOUND
}
