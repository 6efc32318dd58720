//! Allocations, copies and fills.

use std::ffi::{c_int, c_uint, c_void};

use super::state::{Command, Handle, State, state, status, working_device};
use super::streams::send;
use super::{INVALID_VALUE, OUT_OF_MEMORY, SUCCESS, Status, device};
use crate::machine::memory::{Missing, is_device};
use crate::report::announce;

fn allocate(bytes: usize) -> Result<u64, Status> {
    let mut state = state();
    let device = working_device(&state)?;
    if bytes == 0 {
        return Err(INVALID_VALUE);
    }
    state.memory.allocate(device, bytes as u64, device::memory_bytes()).ok_or(OUT_OF_MEMORY)
}

fn free(address: u64) -> Result<(), Status> {
    if state().memory.free(address) || address == 0 {
        return Ok(());
    }
    announce(&format!(
        "simulated device: {address:#x} is freed and is no allocation, or was freed before"
    ));
    Err(INVALID_VALUE)
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> Status {
    // SAFETY: the caller gives a place for an address.
    status(allocate(bytes).map(|found| unsafe { *address = found }))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAllocAsync(
    address: *mut u64,
    bytes: usize,
    _stream: Handle,
) -> Status {
    // SAFETY: the caller gives a place for an address.
    unsafe { cuMemAlloc_v2(address, bytes) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFree_v2(address: u64) -> Status {
    status(free(address))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFreeAsync(address: u64, _stream: Handle) -> Status {
    status(free(address))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemHostAlloc(
    memory: *mut *mut c_void,
    bytes: usize,
    _flags: c_uint,
) -> Status {
    let address = state().memory.allocate_host(bytes as u64);
    // SAFETY: the caller gives a place for a pointer.
    unsafe { *memory = address as *mut c_void };
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFreeHost(memory: *mut c_void) -> Status {
    status(free(memory as u64))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemHostGetDevicePointer_v2(
    address: *mut u64,
    memory: *mut c_void,
    _flags: c_uint,
) -> Status {
    // SAFETY: the caller gives a place for an address.
    unsafe { *address = memory as u64 };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> Status {
    let state = state();
    status(working_device(&state).map(|device| {
        let all = device::memory_bytes();
        let phantom = device::phantom_bytes();
        // SAFETY: the caller gives places for two numbers.
        unsafe {
            *free = (all.saturating_sub(state.memory.used(device)) + phantom) as usize;
            *total = all as usize;
        }
    }))
}

/// Runs a copy. Host memory that was not allocated here is reached by its pointer.
pub fn copy(state: &mut State, to: u64, from: u64, bytes: u64) -> Result<(), Status> {
    if bytes == 0 {
        return Ok(());
    }
    let size = bytes as usize;
    let mut data = vec![0u8; size];
    let mut written = None;
    match state.memory.find(from, bytes) {
        Ok((source, at)) => {
            data.copy_from_slice(&source.data()[at..at + size]);
            let whole =
                (0..size).step_by(16).all(|i| source.shadow.is_written(at + i, 16.min(size - i)));
            if !whole {
                let bits = (0..size).map(|i| source.shadow.is_written(at + i, 1));
                written = Some(bits.collect::<Vec<bool>>());
            }
        }
        Err(_) if !is_device(from) => {
            // SAFETY: the caller says that `bytes` bytes of host memory lie there.
            unsafe { std::ptr::copy_nonoverlapping(from as *const u8, data.as_mut_ptr(), size) };
        }
        Err(why) => return Err(refused("copies from", from, bytes, why)),
    }
    match state.memory.find(to, bytes) {
        Ok((target, at)) => {
            target.data_mut()[at..at + size].copy_from_slice(&data);
            match written {
                None if size as u64 == target.bytes => target.shadow.mark_all(),
                None => target.shadow.mark(at, size, true),
                Some(bits) => {
                    bits.iter()
                        .enumerate()
                        .for_each(|(i, &bit)| target.shadow.mark(at + i, 1, bit));
                }
            }
        }
        Err(_) if !is_device(to) => {
            // SAFETY: the caller says that `bytes` bytes of host memory lie there.
            unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), to as *mut u8, size) };
        }
        Err(why) => return Err(refused("copies to", to, bytes, why)),
    }
    Ok(())
}

/// Fills memory with `count` elements of `size` bytes.
pub fn fill(state: &mut State, to: u64, value: u32, size: u8, count: u64) -> Result<(), Status> {
    let bytes = count * u64::from(size);
    if bytes == 0 {
        return Ok(());
    }
    match state.memory.find(to, bytes) {
        Ok((target, at)) => {
            let element = &value.to_le_bytes()[..usize::from(size)];
            let data = &mut target.data_mut()[at..at + bytes as usize];
            if element.iter().all(|&byte| byte == element[0]) {
                data.fill(element[0]);
            } else {
                data.chunks_mut(element.len()).for_each(|place| place.copy_from_slice(element));
            }
            if bytes == target.bytes {
                target.shadow.mark_all();
            } else {
                target.shadow.mark(at, bytes as usize, true);
            }
            Ok(())
        }
        Err(why) => Err(refused("fills", to, bytes, why)),
    }
}

fn refused(did: &str, address: u64, bytes: u64, why: Missing) -> Status {
    announce(&format!("simulated device: the host {did} {bytes} bytes at {address:#x}: {why:?}"));
    INVALID_VALUE
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyHtoDAsync_v2(
    to: u64,
    from: *const c_void,
    bytes: usize,
    stream: Handle,
) -> Status {
    send(stream, Command::Copy { to, from: from as u64, bytes: bytes as u64 })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyDtoHAsync_v2(
    to: *mut c_void,
    from: u64,
    bytes: usize,
    stream: Handle,
) -> Status {
    send(stream, Command::Copy { to: to as u64, from, bytes: bytes as u64 })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: Handle) -> Status {
    send(stream, Command::Copy { to, from, bytes: bytes as u64 })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyPeerAsync(
    to: u64,
    _to_context: Handle,
    from: u64,
    _from_context: Handle,
    bytes: usize,
    stream: Handle,
) -> Status {
    send(stream, Command::Copy { to, from, bytes: bytes as u64 })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyHtoD_v2(to: u64, from: *const c_void, bytes: usize) -> Status {
    cuMemcpyHtoDAsync_v2(to, from, bytes, std::ptr::null_mut())
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyDtoH_v2(to: *mut c_void, from: u64, bytes: usize) -> Status {
    cuMemcpyDtoHAsync_v2(to, from, bytes, std::ptr::null_mut())
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) -> Status {
    cuMemcpyDtoDAsync_v2(to, from, bytes, std::ptr::null_mut())
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD8Async(to: u64, value: u8, count: usize, stream: Handle) -> Status {
    send(stream, Command::Fill { to, value: u32::from(value), size: 1, count: count as u64 })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD32Async(to: u64, value: c_uint, count: usize, stream: Handle) -> Status {
    send(stream, Command::Fill { to, value, size: 4, count: count as u64 })
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD8_v2(to: u64, value: u8, count: usize) -> Status {
    cuMemsetD8Async(to, value, count, std::ptr::null_mut())
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemsetD32_v2(to: u64, value: c_uint, count: usize) -> Status {
    cuMemsetD32Async(to, value, count, std::ptr::null_mut())
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetDefaultMemPool(pool: *mut Handle, _device: c_int) -> Status {
    if !pool.is_null() {
        // SAFETY: the caller gives a place for a handle.
        unsafe { *pool = 0x6000_0000 as Handle };
    }
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemPoolSetAttribute(
    _pool: Handle,
    _attribute: c_int,
    _value: *mut c_void,
) -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemPoolTrimTo(_pool: Handle, _keep: usize) -> Status {
    SUCCESS
}
