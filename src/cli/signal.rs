//! Ctrl-C and requests to terminate: the first asks, the second insists.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::remark;
use crate::error::{Error, Result};

/// The exit code of a process that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// The flag that the first Ctrl-C sets; from the first call on, the process no longer dies of one.
pub fn interrupt() -> Result<Arc<AtomicBool>> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    if let Some(flag) = FLAG.get() {
        return Ok(flag.clone());
    }
    let flag = FLAG.get_or_init(Arc::default).clone();
    let shared = flag.clone();
    ctrlc::set_handler(move || {
        if shared.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED);
        }
        remark("stopping; once more to stop at once");
    })
    .map_err(|error| Error::Signals { reason: error.to_string() })?;
    Ok(flag)
}
