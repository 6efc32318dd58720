//! The file under a study: lines of an Optuna journal, appended in groups under a lock.
//!
//! What is in memory is always the replay of what is on disk: a group is written, synced, and only
//! then read back through the same code as a file. So nothing is known that would be lost.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::Result;

use super::StudyError;
use super::lock::Lock;
use super::records::Lines;
use super::replay::{Fault, Replay};

/// How the first line of every journal begins.
const BEGINNING: &[u8] = b"{\"op_code\":";

/// A tail that was not a whole record: what a killed process or a lost power supply left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repair {
    pub path: PathBuf,
    /// Bytes after the last whole record.
    pub bytes: u64,
    /// Whether they were cut off; a reader leaves them where they are.
    pub cut: bool,
}

impl std::fmt::Display for Repair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Repair { path, bytes, cut } = self;
        let done = if *cut { "were cut off" } else { "are passed over" };
        let path = path.display();
        write!(
            f,
            "the last {bytes} bytes of {path} are not a whole record and {done}; all before them is kept"
        )
    }
}

/// A journal and the replay of its lines.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    replay: Replay,
    /// Bytes and lines replayed so far: whole records only.
    end: u64,
    lines: usize,
    repair: Option<Repair>,
}

impl Journal {
    /// Reads a journal and changes nothing: a torn tail is left where it is.
    pub fn read(path: &Path) -> Result<Journal> {
        let mut journal = Journal::at(path);
        let bytes = check_regular(path)
            .and_then(|()| fs::read(path))
            .map_err(|error| journal.refusal("read", error))?;
        let torn = journal.catch_up(&bytes)?;
        journal.note_tail(torn, false);
        Ok(journal)
    }

    /// Opens a journal for writing: makes the file where it is missing, and cuts a torn tail back
    /// to the last whole record.
    pub fn open(path: &Path) -> Result<Journal> {
        let mut journal = Journal::at(path);
        if !path.exists() {
            check_folder(path)?;
            create(path).map_err(|error| journal.refusal("make", error))?;
        }
        journal.update(|_| Ok(Lines::default()))?;
        Ok(journal)
    }

    fn at(path: &Path) -> Journal {
        Journal { path: path.into(), replay: Replay::default(), end: 0, lines: 0, repair: None }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn replay(&self) -> &Replay {
        &self.replay
    }

    /// The torn tail that was found last, if one was.
    pub fn repair(&self) -> Option<&Repair> {
        self.repair.as_ref()
    }

    /// Appends one group of lines, all of it or nothing, and syncs it.
    ///
    /// `lines` is called under the lock with the replay of all that other programs have written up
    /// to now, so the numbers that it counts on cannot change under it.
    pub fn update(&mut self, lines: impl FnOnce(&Replay) -> Result<Lines>) -> Result<()> {
        check_regular(&self.path).map_err(|error| self.refusal("open", error))?;
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(&self.path)
            .map_err(|error| self.refusal("open", error))?;
        let _lock = Lock::acquire(&self.path).map_err(|error| self.refusal("lock", error))?;
        self.follow(&mut file)?;
        let group = lines(&self.replay)?.into_bytes();
        if group.is_empty() {
            return Ok(());
        }
        // `sync_data` covers the file's new length too; only its timestamps are left out.
        if let Err(error) = file.write_all(&group).and_then(|()| file.sync_data()) {
            // If this fails as well, the next who opens the file finds a torn tail and cuts it.
            let _ = file.set_len(self.end);
            let reason = error.to_string();
            return Err(StudyError::Write { path: self.path.clone(), reason }.into());
        }
        self.catch_up(&group)?;
        Ok(())
    }

    /// Replays what was appended since the last time, and cuts off a torn tail.
    fn follow(&mut self, file: &mut File) -> Result<()> {
        let mut bytes = Vec::new();
        let length = file
            .seek(SeekFrom::End(0))
            .and_then(|length| file.seek(SeekFrom::Start(self.end)).map(|_| length))
            .and_then(|length| file.read_to_end(&mut bytes).map(|_| length))
            .map_err(|error| self.refusal("read", error))?;
        if length < self.end {
            let reason = format!("it had {} bytes and now has {length}", self.end);
            return Err(StudyError::Changed { path: self.path.clone(), reason }.into());
        }
        let torn = self.catch_up(&bytes)?;
        if torn > 0 {
            file.set_len(self.end).map_err(|error| self.refusal("repair", error))?;
        }
        self.note_tail(torn, true);
        Ok(())
    }

    fn note_tail(&mut self, bytes: u64, cut: bool) {
        if bytes > 0 {
            self.repair = Some(Repair { path: self.path.clone(), bytes, cut });
        }
    }

    /// Replays the lines that follow `self.end`; returns how many bytes of a torn tail are left.
    fn catch_up(&mut self, bytes: &[u8]) -> Result<u64> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (line, after) = split_line(rest);
            let fault = match line {
                Some(line) => self.replay.apply(line).err(),
                None => Some(Fault::NotJson("it has no end".into())),
            };
            let Some(fault) = fault else {
                self.end += (rest.len() - after.len()) as u64;
                self.lines += 1;
                rest = after;
                continue;
            };
            if self.lines == 0 && !is_torn_beginning(rest) {
                return Err(StudyError::NotAJournal { path: self.path.clone() }.into());
            }
            return match fault {
                Fault::NotJson(_) if !has_record(after) => Ok(rest.len() as u64),
                Fault::NotJson(reason) | Fault::Wrong(reason) => {
                    let (path, line) = (self.path.clone(), self.lines + 1);
                    Err(StudyError::Damaged { path, line, reason }.into())
                }
            };
        }
        Ok(0)
    }

    /// The error for a file that cannot be used at all. A full disk is a failure of the run, and a
    /// file that vanished while it was in use another program's doing.
    fn refusal(&self, action: &'static str, error: io::Error) -> StudyError {
        let (path, reason) = (self.path.clone(), error.to_string());
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StudyError::Write { path, reason },
            ErrorKind::NotFound if self.lines > 0 => StudyError::Changed { path, reason },
            _ => StudyError::Open { action, path, reason },
        }
    }
}

/// A line without its `\n`, and what follows it; no line where there is no `\n`.
fn split_line(bytes: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let mut after = bytes;
    // A slice is read from memory: this cannot fail, and it searches many bytes at once.
    let length = after.skip_until(b'\n').unwrap_or(bytes.len());
    (bytes[..length].strip_suffix(b"\n"), after)
}

/// Whether any whole line of these is a record: then what stands before it is not a torn tail.
fn has_record(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let (line, after) = split_line(bytes);
        if line.is_some_and(|line| serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()) {
            return true;
        }
        bytes = after;
    }
    false
}

/// Whether a file without any whole record can be a journal whose first line was never finished.
/// Any other file is somebody's, and must not be cut.
fn is_torn_beginning(bytes: &[u8]) -> bool {
    let begins = bytes.starts_with(BEGINNING) || BEGINNING.starts_with(bytes);
    begins && !bytes.contains(&b'\n') || bytes.iter().all(|&byte| byte == 0)
}

fn check_regular(path: &Path) -> io::Result<()> {
    let kind = fs::metadata(path)?.file_type();
    match () {
        () if kind.is_dir() => Err(io::Error::other("it is a folder")),
        () if !kind.is_file() => Err(io::Error::other("it is not a regular file")),
        () => Ok(()),
    }
}

/// A folder that is not there is more often misspelled than wanted: the user makes it.
fn check_folder(path: &Path) -> Result<(), StudyError> {
    let folder = folder_of(path);
    if folder.is_dir() {
        return Ok(());
    }
    Err(StudyError::NoFolder { path: path.to_owned(), folder: folder.to_owned() })
}

fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Makes an empty file, durably: its folder is synced too.
fn create(path: &Path) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).open(path)?;
    #[cfg(unix)]
    File::open(folder_of(path))?.sync_all()?;
    Ok(())
}
