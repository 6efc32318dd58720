//! What the calls share: devices, modules, streams, events, graphs, under one lock.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{INVALID_CONTEXT, Status};
use crate::counts::{self, Counts};
use crate::decode::inst::Kernel;
use crate::machine::memory::Memory;

/// A handle: its number as a pointer. Never dereferenced.
pub type Handle = *mut c_void;

#[derive(Default)]
pub struct State {
    pub memory: Memory,
    pub modules: HashMap<u64, Module>,
    pub functions: HashMap<u64, Function>,
    pub streams: HashMap<u64, Stream>,
    /// Events: when they were recorded, in counted instructions, and the capture they belong to.
    pub events: HashMap<u64, Event>,
    pub graphs: HashMap<u64, Graph>,
    pub counts: BTreeMap<String, Counts>,
    /// The error of each device that nothing clears.
    pub broken: [Status; 16],
    pub launches: u64,
    next: u64,
}

pub struct Module {
    /// Variables: (address, bytes).
    pub variables: HashMap<String, (u64, u64)>,
    pub kernels: HashMap<String, Arc<Kernel>>,
}

pub struct Function {
    pub kernel: Arc<Kernel>,
    /// The most dynamic shared memory that a launch may ask for.
    pub dynamic_shared: u32,
}

#[derive(Default, Clone)]
pub struct Stream {
    /// The capture that takes what is sent here.
    pub capture: Option<Capture>,
}

#[derive(Default, Clone)]
pub struct Event {
    pub recorded: u64,
    pub capture: Option<Capture>,
}

/// A place in a graph that is being recorded.
#[derive(Default, Clone)]
pub struct Capture {
    pub graph: u64,
    /// The nodes that what comes next waits for.
    pub after: BTreeSet<usize>,
}

/// What a graph does; it owns nothing.
#[derive(Default, Clone)]
pub struct Graph {
    /// While it is recorded.
    pub nodes: Vec<Node>,
    /// Once it is, in the order in which they run.
    pub commands: Vec<Command>,
}

#[derive(Clone)]
pub struct Node {
    pub command: Command,
    /// The nodes before it that it waits for.
    pub after: BTreeSet<usize>,
}

/// Work for a device.
#[derive(Clone)]
pub enum Command {
    Launch {
        device: usize,
        kernel: Arc<Kernel>,
        shape: crate::machine::Shape,
        params: Vec<u8>,
    },
    /// Copies between addresses of host or device.
    Copy {
        to: u64,
        from: u64,
        bytes: u64,
    },
    /// Sets `count` elements of `size` bytes.
    Fill {
        to: u64,
        value: u32,
        size: u8,
        count: u64,
    },
}

impl State {
    pub fn new_handle(&mut self) -> u64 {
        self.next += 16;
        0x5000_0000 + self.next
    }
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

/// The state, locked.
pub struct Locked(MutexGuard<'static, Option<State>>);

impl std::ops::Deref for Locked {
    type Target = State;

    fn deref(&self) -> &State {
        self.0.as_ref().expect("made when it was locked")
    }
}

impl std::ops::DerefMut for Locked {
    fn deref_mut(&mut self) -> &mut State {
        self.0.get_or_insert_default()
    }
}

pub fn state() -> Locked {
    let mut guard = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    if guard.is_none() {
        *guard = Some(State::default());
        // SAFETY: the function is `extern "C"` and takes nothing.
        unsafe { atexit(write_counts) };
    }
    Locked(guard)
}

unsafe extern "C" {
    fn atexit(function: extern "C" fn()) -> i32;
}

/// Writes the counts of all launches so far.
pub extern "C" fn write_counts() {
    let state = state();
    if state.launches > 0 {
        counts::write(&state.counts);
    }
}

thread_local! {
    static CURRENT: Cell<u64> = const { Cell::new(0) };
}

/// Handles of the devices' primary contexts.
pub fn context_of(device: usize) -> u64 {
    0x4000_0000 + 0x1000 * device as u64
}

pub fn set_current(context: u64) {
    CURRENT.set(context);
}

pub fn current() -> u64 {
    CURRENT.get()
}

/// The device of the calling thread's context.
pub fn current_device() -> Result<usize, Status> {
    match current() {
        0 => Err(INVALID_CONTEXT),
        context => Ok((context - context_of(0)) as usize / 0x1000),
    }
}

/// The device of the calling thread, if it still works.
pub fn working_device(state: &State) -> Result<usize, Status> {
    let device = current_device()?;
    match state.broken[device] {
        0 => Ok(device),
        error => Err(error),
    }
}

/// A result as the number that C callers get.
pub fn status(result: Result<(), Status>) -> Status {
    result.err().unwrap_or(0)
}
