//! Streams and events. Work is done at once, or, where a stream is captured, written down.

use std::ffi::{c_int, c_uint};

use super::graphs::{self, perform};
use super::state::{Command, Event, Handle, Stream, state, status, working_device};
use super::{INVALID_HANDLE, SUCCESS, Status};

/// Does a command, or adds it to the graph that the stream's capture makes.
pub fn send(stream: Handle, command: Command) -> Status {
    let mut state = state();
    let captured = match state.streams.get(&(stream as u64)) {
        Some(stream) => stream.capture.is_some(),
        // The default streams need not be made.
        None if (stream as u64) <= 2 => false,
        None => return INVALID_HANDLE,
    };
    if captured {
        return graphs::add(&mut state, stream, command);
    }
    status(perform(&mut state, &command))
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamCreate(stream: *mut Handle, _flags: c_uint) -> Status {
    let mut state = state();
    let handle = state.new_handle();
    state.streams.insert(handle, Stream::default());
    // SAFETY: the caller gives a place for a handle.
    unsafe { *stream = handle as Handle };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamCreateWithPriority(
    stream: *mut Handle,
    flags: c_uint,
    _priority: c_int,
) -> Status {
    // SAFETY: as above.
    unsafe { cuStreamCreate(stream, flags) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamDestroy_v2(stream: Handle) -> Status {
    match state().streams.remove(&(stream as u64)) {
        Some(_) => SUCCESS,
        None => INVALID_HANDLE,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamSynchronize(_stream: Handle) -> Status {
    status(working_device(&state()).map(|_| ()))
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamQuery(_stream: Handle) -> Status {
    status(working_device(&state()).map(|_| ()))
}

/// A stream that waits for an event of a captured stream joins the capture.
#[unsafe(no_mangle)]
pub extern "C" fn cuStreamWaitEvent(stream: Handle, event: Handle, _flags: c_uint) -> Status {
    let mut state = state();
    let Some(event) = state.events.get(&(event as u64)).cloned() else { return INVALID_HANDLE };
    if let Some(moment) = event.capture
        && let Some(stream) = state.streams.get_mut(&(stream as u64))
    {
        let place = stream.capture.get_or_insert_default();
        place.graph = moment.graph;
        place.after.extend(moment.after);
    }
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventCreate(event: *mut Handle, _flags: c_uint) -> Status {
    let mut state = state();
    let handle = state.new_handle();
    state.events.insert(handle, Event::default());
    // SAFETY: the caller gives a place for a handle.
    unsafe { *event = handle as Handle };
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventDestroy_v2(event: Handle) -> Status {
    match state().events.remove(&(event as u64)) {
        Some(_) => SUCCESS,
        None => INVALID_HANDLE,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventRecord(event: Handle, stream: Handle) -> Status {
    let mut state = state();
    let capture = state.streams.get(&(stream as u64)).and_then(|stream| stream.capture.clone());
    let recorded = state.counts.values().map(|counts| counts.warp_instructions).sum();
    let Some(event) = state.events.get_mut(&(event as u64)) else { return INVALID_HANDLE };
    *event = Event { recorded, capture };
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventSynchronize(_event: Handle) -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventQuery(_event: Handle) -> Status {
    SUCCESS
}

/// The time between two events: a simulated microsecond is a thousand warp instructions. It says
/// nothing about a real device, but is the same from run to run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventElapsedTime_v2(
    milliseconds: *mut f32,
    start: Handle,
    end: Handle,
) -> Status {
    let state = state();
    let time = |event: Handle| state.events.get(&(event as u64)).map(|event| event.recorded);
    let (Some(start), Some(end)) = (time(start), time(end)) else { return INVALID_HANDLE };
    // SAFETY: the caller gives a place for a number.
    unsafe { *milliseconds = end.saturating_sub(start) as f32 / 1e6 };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventElapsedTime(
    milliseconds: *mut f32,
    start: Handle,
    end: Handle,
) -> Status {
    // SAFETY: as above.
    unsafe { cuEventElapsedTime_v2(milliseconds, start, end) }
}
