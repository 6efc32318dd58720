//! Fetching a published data set from its mirror.
//!
//! Each file is written aside, checked against its published MD5 sum, synced and renamed, so what
//! stands under its name is whole. Fetchers that run side by side write to files of their own and
//! rename the same bytes into the same place: neither harms the other.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::files::{FILES, Published, locate};

/// How long a name or a connection may take: a machine without a network must know soon.
const CONNECT: Duration = Duration::from_secs(3);

/// How long the mirror may stay silent before the transfer is given up.
const SILENCE: Duration = Duration::from_secs(15);

/// No published file comes near; a mirror that sends more is not one.
const LIMIT: u64 = 1 << 28;

/// Why a data set could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{url}: {reason}")]
    Network { url: String, reason: String },
    #[error("{url} sent a file with MD5 {found} instead of {expected}")]
    Sum { url: String, found: String, expected: String },
    #[error("cannot write {path}: {reason}", path = .path.display())]
    Write { path: PathBuf, reason: String },
}

/// Fetches those of a data set's files that `folder` does not have yet, from `mirror` (a URL that
/// ends in a slash).
pub fn fetch(set: Published, mirror: &str, folder: &Path) -> Result<(), Failure> {
    // A mirror on this very machine is not behind the user's proxy.
    let local = mirror.starts_with("http://127.0.0.1");
    let proxy = if local { None } else { ureq::Proxy::try_from_env() };
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .proxy(proxy)
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .timeout_per_read(Some(SILENCE))
        .build()
        .into();
    // From the back: the smallest file comes first, so that failures show soon.
    for (file, md5) in FILES.into_iter().zip(set.md5()).rev() {
        if !matches!(locate(folder, file), Ok(Some(_))) {
            let name = format!("{file}.gz");
            fetch_file(&agent, &format!("{mirror}{name}"), md5, folder, &name)?;
        }
    }
    Ok(())
}

/// Fetches one file to `folder/name`, where it appears only if its sum is right.
fn fetch_file(
    agent: &ureq::Agent,
    url: &str,
    md5: &str,
    folder: &Path,
    name: &str,
) -> Result<(), Failure> {
    let network = |reason: String| Failure::Network { url: url.to_string(), reason };
    let response = agent.get(url).call().map_err(|error| network(error.to_string()))?;
    let mut body = response.into_body().into_reader().take(LIMIT);

    // Only now: a machine without a network is left without empty folders.
    fs::create_dir_all(folder).map_err(|error| failed_to_write(folder, &error))?;
    let path = &folder.join(name);
    let (aside, mut file) = Aside::create(path).map_err(|e| failed_to_write(path, &e))?;
    let mut hasher = md5::Context::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = body.read(&mut buffer).map_err(|error| network(error.to_string()))?;
        if n == 0 {
            break;
        }
        hasher.consume(&buffer[..n]);
        file.write_all(&buffer[..n]).map_err(|error| failed_to_write(path, &error))?;
    }
    let found = format!("{:x}", hasher.finalize());
    if found != md5 {
        return Err(Failure::Sum { url: url.to_string(), found, expected: md5.to_string() });
    }
    file.sync_all().map_err(|error| failed_to_write(path, &error))?;
    fs::rename(&aside.0, path).map_err(|error| failed_to_write(path, &error))
}

fn failed_to_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Write { path: path.to_path_buf(), reason: error.to_string() }
}

/// A file of this fetcher's own beside the one it is to become; gone when dropped.
struct Aside(PathBuf);

impl Aside {
    fn create(path: &Path) -> std::io::Result<(Aside, File)> {
        // Every `RandomState` has keys of its own, in every thread and process.
        let unique = RandomState::new().hash_one(std::process::id());
        let aside = path.with_extension(format!("{unique:016x}.part"));
        let file = OpenOptions::new().write(true).create_new(true).open(&aside)?;
        Ok((Aside(aside), file))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // After the rename there is nothing left to remove; before it, leftovers only cost space.
        let _ = fs::remove_file(&self.0);
    }
}
