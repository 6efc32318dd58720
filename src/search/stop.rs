//! When a search stops before all its trials are trained.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Reasons to stop, asked between an engine's steps and between arrays.
#[derive(Debug, Default)]
pub struct Stop {
    interrupt: Arc<AtomicBool>,
    deadline: Option<Instant>,
    target_reached: AtomicBool,
    failed: AtomicBool,
}

impl Stop {
    pub fn new(interrupt: Arc<AtomicBool>, deadline: Option<Instant>) -> Self {
        Stop { interrupt, deadline, ..Stop::default() }
    }

    /// The user asked to stop.
    pub fn interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }

    pub fn out_of_time(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    pub fn target_reached(&self) -> bool {
        self.target_reached.load(Ordering::Relaxed)
    }

    pub fn set_target_reached(&self) {
        self.target_reached.store(true, Ordering::Relaxed);
    }

    /// Nothing can be recorded or announced any more: training on would be in vain.
    pub fn set_failed(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Whether there is any reason to stop.
    pub fn requested(&self) -> bool {
        self.interrupted()
            || self.target_reached()
            || self.failed.load(Ordering::Relaxed)
            || self.out_of_time()
    }
}
