//! Streams, events and graphs. Work is done at once, or, where a stream is captured, written down.

use std::ffi::{c_int, c_uint};

use super::state::{Command, Event, Graph, Handle, State, Stream, state, status, working_device};
use super::{
    INVALID_HANDLE, INVALID_VALUE, STREAM_CAPTURE_INVALIDATED, SUCCESS, Status, launches, memory,
};

/// Does a command, or adds it to the graph that the stream's capture makes.
pub fn send(stream: Handle, command: Command) -> Status {
    let mut state = state();
    let capture = match state.streams.get(&(stream as u64)) {
        Some(stream) => stream.capture,
        // The default streams need not be made.
        None if (stream as u64) <= 2 => None,
        None => return INVALID_HANDLE,
    };
    if let Some(graph) = capture {
        let Some(graph) = state.graphs.get_mut(&graph) else { return STREAM_CAPTURE_INVALIDATED };
        graph.commands.push(command);
        return SUCCESS;
    }
    status(perform(&mut state, &command))
}

fn perform(state: &mut State, command: &Command) -> Result<(), Status> {
    working_device(state)?;
    match command {
        &Command::Copy { to, from, bytes } => memory::copy(state, to, from, bytes),
        &Command::Fill { to, value, size, count } => memory::fill(state, to, value, size, count),
        Command::Launch { device, kernel, shape, params } => {
            launches::execute(state, *device, kernel, *shape, params)
        }
    }
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
    if event.capture.is_some()
        && let Some(stream) = state.streams.get_mut(&(stream as u64))
    {
        stream.capture = event.capture;
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
    let capture = state.streams.get(&(stream as u64)).and_then(|stream| stream.capture);
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

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamBeginCapture_v2(stream: Handle, _mode: c_int) -> Status {
    let mut state = state();
    let graph = state.new_handle();
    match state.streams.get_mut(&(stream as u64)) {
        Some(stream) if stream.capture.is_none() => stream.capture = Some(graph),
        Some(_) => return INVALID_VALUE,
        None => return INVALID_HANDLE,
    }
    state.graphs.insert(graph, Graph::default());
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamEndCapture(stream: Handle, graph: *mut Handle) -> Status {
    let mut state = state();
    let Some(captured) =
        state.streams.get_mut(&(stream as u64)).and_then(|stream| stream.capture.take())
    else {
        return INVALID_VALUE;
    };
    state.streams.values_mut().filter(|other| other.capture == Some(captured)).for_each(|other| {
        other.capture = None;
    });
    state.events.values_mut().filter(|event| event.capture == Some(captured)).for_each(|event| {
        event.capture = None;
    });
    // SAFETY: the caller gives a place for a handle.
    unsafe { *graph = captured as Handle };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamIsCapturing(stream: Handle, answer: *mut c_int) -> Status {
    let state = state();
    let captured =
        state.streams.get(&(stream as u64)).is_some_and(|stream| stream.capture.is_some());
    // SAFETY: the caller gives a place for a number.
    unsafe { *answer = c_int::from(captured) };
    SUCCESS
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGraphInstantiateWithFlags(
    executable: *mut Handle,
    graph: Handle,
    _flags: u64,
) -> Status {
    let mut state = state();
    let Some(copy) = state.graphs.get(&(graph as u64)).cloned() else { return INVALID_HANDLE };
    let handle = state.new_handle();
    state.graphs.insert(handle, copy);
    // SAFETY: the caller gives a place for a handle.
    unsafe { *executable = handle as Handle };
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphUpload(_graph: Handle, _stream: Handle) -> Status {
    SUCCESS
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphLaunch(graph: Handle, _stream: Handle) -> Status {
    let mut state = state();
    // Taken out while it runs, since its commands change the state.
    let Some(taken) = state.graphs.remove(&(graph as u64)) else { return INVALID_HANDLE };
    let result = taken.commands.iter().try_for_each(|command| perform(&mut state, command));
    state.graphs.insert(graph as u64, taken);
    status(result)
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphDestroy(graph: Handle) -> Status {
    match state().graphs.remove(&(graph as u64)) {
        Some(_) => SUCCESS,
        None => INVALID_HANDLE,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphExecDestroy(graph: Handle) -> Status {
    cuGraphDestroy(graph)
}
