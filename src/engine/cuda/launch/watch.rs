//! Launches watched one by one: each with an event before and after it, for a profile.
//!
//! Nothing of it is on a stream that is not watched but one look at a flag a launch. A stream must not
//! be watched while it is captured: events in a graph take no times.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{CudaError, Event, Function, Shape, Stream, nvtx};

/// A launch that was watched.
#[derive(Debug)]
pub struct Watched {
    pub function: Function,
    pub shape: Shape,
    pub before: Event,
    pub after: Event,
}

/// What a stream keeps of its launches.
#[derive(Debug, Default)]
pub(super) struct Watch {
    on: AtomicBool,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    launches: Vec<Watched>,
    /// The kernel after whose first launch no other is made.
    last: Option<String>,
    skipping: bool,
}

impl Watch {
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a launch under watch, unless it comes after the last one that is wanted.
    pub fn launch(
        &self,
        stream: &Stream,
        (function, shape): (&Function, Shape),
        send: impl FnOnce() -> Result<(), CudaError>,
    ) -> Result<(), CudaError> {
        let (skipping, once) = {
            let log = self.log();
            (log.skipping, log.last.as_deref().is_some_and(|last| function.is_named(last)))
        };
        if skipping {
            return Ok(());
        }
        let name = function.name();
        let range = nvtx::push(|| if once { format!("once {name}") } else { name.to_owned() });
        let before = stream.event()?;
        send()?;
        let after = stream.event()?;
        drop(range);
        let mut log = self.log();
        log.skipping = once;
        log.launches.push(Watched { function: function.clone(), shape, before, after });
        Ok(())
    }
}

impl Stream {
    pub(super) fn is_watched(&self) -> bool {
        self.watching().is_on()
    }

    /// Watches this stream's launches from now on. After the first launch of the kernel `last`, no
    /// launch is made any more.
    pub fn watch(&self, last: Option<&str>) {
        let watch = self.watching();
        *watch.log() = Log { last: last.map(str::to_owned), ..Log::default() };
        watch.on.store(true, Ordering::Relaxed);
    }

    /// Ends the watch; returns the launches in their order.
    pub fn unwatch(&self) -> Vec<Watched> {
        let watch = self.watching();
        watch.on.store(false, Ordering::Relaxed);
        std::mem::take(&mut *watch.log()).launches
    }
}
