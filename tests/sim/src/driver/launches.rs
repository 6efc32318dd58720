//! Launches: arguments and shapes are checked against the kernel, then it runs.

use std::ffi::{c_int, c_uint, c_void};
use std::sync::Arc;

use super::device::launches_before_loss;
use super::device::{MULTIPROCESSORS, capability, shared_limits};
use super::state::{Command, Handle, State, state, status, working_device};
use super::streams::send;
use super::{
    COOPERATIVE_LAUNCH_TOO_LARGE, ILLEGAL_ADDRESS, INVALID_HANDLE, INVALID_VALUE, LAUNCH_FAILED,
    LAUNCH_OUT_OF_RESOURCES, MISALIGNED_ADDRESS, SUCCESS, Status,
};
use crate::decode::inst::Kernel;
use crate::machine::{Shape, launch};
use crate::report::{Kind, announce};

/// Tags of the list that gives the arguments as one buffer.
const EXTRA_END: usize = 0;
const EXTRA_POINTER: usize = 1;
const EXTRA_SIZE: usize = 2;

fn refused(kernel: &Kernel, kind: Kind, what: &str, error: Status) -> Status {
    announce(&format!("simulated device: {kind}: kernel {}: {what}", kernel.name));
    error
}

/// Blocks of a kernel that one multiprocessor holds.
fn occupancy(kernel: &Kernel, threads: u32, dynamic: u32) -> u32 {
    let (_, shared) = shared_limits();
    let most_threads = if capability() == 75 { 1024 } else { 2048 };
    let needed = kernel.shared_bytes + dynamic + 1024;
    let by_threads = most_threads / threads.next_multiple_of(32).max(32);
    by_threads.min((shared + 1024) / needed).min(if capability() == 75 { 16 } else { 32 })
}

/// The arguments as the kernel's parameter buffer.
unsafe fn arguments(
    kernel: &Kernel,
    params: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> Result<Vec<u8>, Status> {
    let mut buffer = vec![0u8; kernel.param_bytes as usize];
    if !extra.is_null() {
        let (mut pointer, mut size) = (std::ptr::null::<u8>(), 0usize);
        let mut at = 0;
        loop {
            // SAFETY: the list ends with a tag that says so; each other tag has a value.
            let (tag, value) = unsafe {
                let tag = *extra.add(at) as usize;
                (tag, if tag == EXTRA_END { std::ptr::null_mut() } else { *extra.add(at + 1) })
            };
            match tag {
                EXTRA_END => break,
                EXTRA_POINTER => pointer = value.cast(),
                // SAFETY: the value is the address of a size.
                EXTRA_SIZE => size = unsafe { *value.cast::<usize>() },
                _ => return Err(INVALID_VALUE),
            }
            at += 2;
        }
        if size != buffer.len() || (pointer.is_null() && size > 0) {
            let what =
                format!("{size} bytes of arguments are given, {} are expected", buffer.len());
            return Err(refused(kernel, Kind::ArgumentList, &what, INVALID_VALUE));
        }
        // SAFETY: `size` bytes lie there.
        unsafe { std::ptr::copy_nonoverlapping(pointer, buffer.as_mut_ptr(), size) };
        return Ok(buffer);
    }
    for (index, &(offset, bytes)) in kernel.params.iter().enumerate() {
        // SAFETY: the list has a pointer for each parameter, as far as the caller knows them.
        let from =
            if params.is_null() { std::ptr::null_mut() } else { unsafe { *params.add(index) } };
        if from.is_null() {
            let what = format!("argument {index} of {} is missing", kernel.params.len());
            return Err(refused(kernel, Kind::ArgumentList, &what, INVALID_VALUE));
        }
        let place = &mut buffer[offset as usize..(offset + bytes) as usize];
        // SAFETY: the pointer leads to the parameter's bytes.
        unsafe {
            std::ptr::copy_nonoverlapping(from.cast::<u8>(), place.as_mut_ptr(), place.len())
        };
    }
    Ok(buffer)
}

fn check_shape(
    kernel: &Kernel,
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    most_shared: u32,
) -> Result<(), Status> {
    let threads = block.iter().map(|&size| u64::from(size)).product::<u64>();
    let refuse = |what: String, error| Err(refused(kernel, Kind::LaunchShape, &what, error));
    if grid.contains(&0) || block.contains(&0) {
        return refuse(format!("grid {grid:?} and block {block:?} have a zero"), INVALID_VALUE);
    }
    if grid[1] > 65535 || grid[2] > 65535 || block[2] > 64 || threads > 1024 {
        return refuse(format!("grid {grid:?} or block {block:?} is too large"), INVALID_VALUE);
    }
    if let Some(most) = kernel.max_threads.filter(|&most| threads > u64::from(most)) {
        return refuse(
            format!("{threads} threads a block, its launch bounds allow {most}"),
            INVALID_VALUE,
        );
    }
    if let Some(required) = kernel.required_threads.filter(|&required| required != block) {
        return refuse(format!("block {block:?}, the kernel requires {required:?}"), INVALID_VALUE);
    }
    if shared > most_shared {
        let what = format!(
            "{shared} bytes of dynamic shared memory, {most_shared} are allowed (raise it with cuFuncSetAttribute)"
        );
        return refuse(what, INVALID_VALUE);
    }
    Ok(())
}

#[allow(clippy::too_many_arguments)]
unsafe fn submit(
    function: Handle,
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    stream: Handle,
    params: *mut *mut c_void,
    extra: *mut *mut c_void,
    cooperative: bool,
) -> Result<(), Status> {
    let (kernel, most_shared, device) = {
        let state = state();
        let device = working_device(&state)?;
        let function = state.functions.get(&(function as u64)).ok_or(INVALID_HANDLE)?;
        (function.kernel.clone(), function.dynamic_shared, device)
    };
    check_shape(&kernel, grid, block, shared, most_shared)?;
    let resident = occupancy(&kernel, block.iter().product(), shared) * MULTIPROCESSORS;
    if resident == 0 {
        return Err(LAUNCH_OUT_OF_RESOURCES);
    }
    let blocks = grid.iter().map(|&size| u64::from(size)).product::<u64>();
    if cooperative && blocks > u64::from(resident) {
        let what = format!("{blocks} blocks at once, {resident} fit");
        return Err(refused(&kernel, Kind::LaunchShape, &what, COOPERATIVE_LAUNCH_TOO_LARGE));
    }
    // SAFETY: the caller's argument list.
    let params = unsafe { arguments(&kernel, params, extra)? };
    let shape = Shape { grid, block, shared, resident: resident as usize };
    match send(stream, Command::Launch { device, kernel, shape, params }) {
        SUCCESS => Ok(()),
        error => Err(error),
    }
}

/// Runs a kernel now.
pub fn execute(
    state: &mut State,
    device: usize,
    kernel: &Arc<Kernel>,
    shape: Shape,
    params: &[u8],
) -> Result<(), Status> {
    state.launches += 1;
    let id = state.launches;
    if id > launches_before_loss() {
        state.broken[device] = LAUNCH_FAILED;
        return Err(LAUNCH_FAILED);
    }
    let (counts, result) = launch(kernel.clone(), &mut state.memory, shape, params, id);
    state.counts.entry(kernel.name.clone()).or_default().add(&counts);
    result.map_err(|report| {
        report.announce();
        let error = match report.kind {
            Kind::OutOfBounds | Kind::UseAfterFree | Kind::Unwritten => ILLEGAL_ADDRESS,
            Kind::Misaligned => MISALIGNED_ADDRESS,
            _ => LAUNCH_FAILED,
        };
        state.broken[device] = error;
        error
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuLaunchKernel(
    function: Handle,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    shared: c_uint,
    stream: Handle,
    params: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> Status {
    let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
    // SAFETY: the caller's argument list.
    status(unsafe { submit(function, grid, block, shared, stream, params, extra, false) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuLaunchCooperativeKernel(
    function: Handle,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    shared: c_uint,
    stream: Handle,
    params: *mut *mut c_void,
) -> Status {
    let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
    let extra = std::ptr::null_mut();
    // SAFETY: the caller's argument list.
    status(unsafe { submit(function, grid, block, shared, stream, params, extra, true) })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    blocks: *mut c_int,
    function: Handle,
    threads: c_int,
    shared: usize,
    _flags: c_uint,
) -> Status {
    let state = state();
    let Some(function) = state.functions.get(&(function as u64)) else { return INVALID_HANDLE };
    // SAFETY: the caller gives a place for a number.
    unsafe { *blocks = occupancy(&function.kernel, threads as u32, shared as u32) as c_int };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
    blocks: *mut c_int,
    function: Handle,
    threads: c_int,
    shared: usize,
) -> Status {
    // SAFETY: as above.
    unsafe {
        cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(blocks, function, threads, shared, 0)
    }
}
