//! The lock of a study file: `<file>.lock`, as Optuna's journal storage takes it.
//!
//! Whoever makes that file, with `O_EXCL` or as a symbolic link, holds the lock, also over NFS. It is
//! released by rename, then unlink, so that of two who release it only one succeeds. A holder that
//! died is recognised by its lock staying unchanged for half a minute; then it is broken.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// How long a lock may stay unchanged before its holder counts as dead: Optuna's grace period.
const GRACE: Duration = Duration::from_secs(30);

/// The held lock of a file; dropping it releases it.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
}

impl Lock {
    /// Waits for the lock of a file and takes it.
    pub fn acquire(file: &Path) -> io::Result<Lock> {
        Self::acquire_within(file, GRACE)
    }

    fn acquire_within(file: &Path, grace: Duration) -> io::Result<Lock> {
        let path = appended(file, ".lock");
        let mut pause = Duration::from_millis(1);
        let (mut seen, mut unchanged_since) = (stamp(&path), Instant::now());
        loop {
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(_) => return Ok(Lock { path }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            let now = stamp(&path);
            if now != seen {
                (seen, unchanged_since) = (now, Instant::now());
            } else if unchanged_since.elapsed() > grace {
                release(&path);
                continue;
            }
            thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }
}

/// A path with something written behind it.
fn appended(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// What changes when the lock changes hands, or when the holder of a symbolic link (Optuna's
/// default) writes to the file that it points at.
fn stamp(lock: &Path) -> [Option<SystemTime>; 2] {
    [fs::symlink_metadata(lock), fs::metadata(lock)]
        .map(|metadata| metadata.and_then(|metadata| metadata.modified()).ok())
}

/// Fails only when the lock is already gone, which is what was wanted.
fn release(lock: &Path) {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let aside = appended(lock, &format!("{process}-{count}.rename"));
    if fs::rename(lock, &aside).is_ok() {
        let _ = fs::remove_file(&aside);
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        release(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_released_lock_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("study.jsonl");
        drop(Lock::acquire(&file).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_held_lock_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("study.jsonl");
        let held = Lock::acquire(&file).unwrap();
        let order = std::sync::Mutex::new(Vec::new());
        thread::scope(|scope| {
            scope.spawn(|| {
                let _second = Lock::acquire(&file).unwrap();
                order.lock().unwrap().push("second");
            });
            thread::sleep(Duration::from_millis(100));
            order.lock().unwrap().push("first");
            drop(held);
        });
        assert_eq!(order.into_inner().unwrap(), ["first", "second"]);
    }

    #[test]
    fn the_lock_of_a_dead_holder_is_broken_after_its_grace_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("study.jsonl");
        fs::write(folder.path().join("study.jsonl.lock"), "").unwrap();
        let (begin, grace) = (Instant::now(), Duration::from_millis(200));
        let lock = Lock::acquire_within(&file, grace).unwrap();
        assert!(begin.elapsed() >= grace);
        drop(lock);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn a_lock_that_optuna_left_as_a_symbolic_link_is_broken_too() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("study.jsonl");
        std::os::unix::fs::symlink("nowhere", folder.path().join("study.jsonl.lock")).unwrap();
        Lock::acquire_within(&file, Duration::from_millis(50)).unwrap();
    }

    #[test]
    fn a_lock_in_a_folder_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("none").join("study.jsonl");
        assert_eq!(Lock::acquire(&file).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
