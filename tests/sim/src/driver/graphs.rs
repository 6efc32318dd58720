//! Graphs: what captured streams are sent, with what each piece of it waits for.
//!
//! A real device runs what does not wait for each other in any order. Here it runs in the order that is
//! farthest from the one of recording: of all that may come next, what was recorded last. So a wait that
//! is missing shows in the results.

use std::collections::{BTreeSet, BinaryHeap};
use std::ffi::c_int;

use super::state::{Capture, Command, Graph, Handle, Node, State, state, status, working_device};
use super::{
    INVALID_HANDLE, INVALID_VALUE, STREAM_CAPTURE_INVALIDATED, STREAM_CAPTURE_UNJOINED, SUCCESS,
    Status, launches, memory,
};

/// Adds a command of a captured stream to its graph.
pub fn add(state: &mut State, stream: Handle, command: Command) -> Status {
    let Some(place) =
        state.streams.get_mut(&(stream as u64)).and_then(|stream| stream.capture.as_mut())
    else {
        return INVALID_HANDLE;
    };
    let Some(graph) = state.graphs.get_mut(&place.graph) else { return STREAM_CAPTURE_INVALIDATED };
    let own = BTreeSet::from([graph.nodes.len()]);
    let after = std::mem::replace(&mut place.after, own);
    graph.nodes.push(Node { command, after });
    SUCCESS
}

/// Does a command.
pub fn perform(state: &mut State, command: &Command) -> Result<(), Status> {
    working_device(state)?;
    match command {
        &Command::Copy { to, from, bytes } => memory::copy(state, to, from, bytes),
        &Command::Fill { to, value, size, count } => memory::fill(state, to, value, size, count),
        Command::Launch { device, kernel, shape, params } => {
            launches::execute(state, *device, kernel, *shape, params)
        }
    }
}

/// Whether everything in the graph comes before a place in it.
fn is_joined(nodes: &[Node], place: &BTreeSet<usize>) -> bool {
    let mut before = vec![false; nodes.len()];
    place.iter().for_each(|node| before[*node] = true);
    // A node waits for earlier ones only.
    for (index, node) in nodes.iter().enumerate().rev() {
        if before[index] {
            node.after.iter().for_each(|earlier| before[*earlier] = true);
        }
    }
    before.into_iter().all(|before| before)
}

/// The commands in the order in which they will run.
fn order(nodes: Vec<Node>) -> Vec<Command> {
    let mut waits: Vec<usize> = nodes.iter().map(|node| node.after.len()).collect();
    let mut ready: BinaryHeap<usize> = (0..nodes.len()).filter(|node| waits[*node] == 0).collect();
    let mut followers = vec![Vec::new(); nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        node.after.iter().for_each(|earlier| followers[*earlier].push(index));
    }
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(next) = ready.pop() {
        order.push(nodes[next].command.clone());
        for follower in &followers[next] {
            waits[*follower] -= 1;
            if waits[*follower] == 0 {
                ready.push(*follower);
            }
        }
    }
    order
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamBeginCapture_v2(stream: Handle, _mode: c_int) -> Status {
    let mut state = state();
    let graph = state.new_handle();
    match state.streams.get_mut(&(stream as u64)) {
        Some(stream) if stream.capture.is_none() => {
            stream.capture = Some(Capture { graph, ..Capture::default() });
        }
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
    let of_it = |place: &mut Capture| place.graph == captured.graph;
    state.streams.values_mut().for_each(|other| drop(other.capture.take_if(of_it)));
    state.events.values_mut().for_each(|event| drop(event.capture.take_if(of_it)));
    let Some(recorded) = state.graphs.get_mut(&captured.graph) else {
        return STREAM_CAPTURE_INVALIDATED;
    };
    if !is_joined(&recorded.nodes, &captured.after) {
        state.graphs.remove(&captured.graph);
        return STREAM_CAPTURE_UNJOINED;
    }
    recorded.commands = order(std::mem::take(&mut recorded.nodes));
    // SAFETY: the caller gives a place for a handle.
    unsafe { *graph = captured.graph as Handle };
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
