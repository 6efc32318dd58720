//! Compiled kernels on disk, so that only the first start compiles.
//!
//! An entry's name is a digest of all that its code depends on, and it carries a digest of its own
//! contents: one that is damaged, cut off or of another version is compiled again, never trusted. It
//! is written aside, synced and renamed, so what stands under its name is whole, and programs that
//! start side by side write the same bytes to the same place.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::{env, fs};

use etcetera::BaseStrategy;
use twox_hash::XxHash3_128;

/// How an entry begins. Another format takes another number.
const MAGIC: &[u8; 16] = b"warpsweep code 1";

/// What a piece of compiled code depends on, as one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u128);

impl Key {
    /// The key of these parts, in their order: no two lists of parts look alike.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a str>) -> Key {
        let mut hasher = XxHash3_128::new();
        for part in parts {
            hasher.write(&(part.len() as u64).to_le_bytes());
            hasher.write(part.as_bytes());
        }
        Key(hasher.finish_128())
    }
}

/// A folder of compiled code.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// `$WARPSWEEP_CACHE`, or `warpsweep/kernels` in the user's cache folder; none where the user has
    /// none.
    pub fn of_user() -> Option<Cache> {
        let given = env::var_os("WARPSWEEP_CACHE").filter(|value| !value.is_empty());
        let users = || Some(etcetera::choose_base_strategy().ok()?.cache_dir().join("warpsweep"));
        let folder = given.map(PathBuf::from).or_else(users)?.join("kernels");
        Some(Cache { folder })
    }

    /// A cache in this folder, which is made when the first entry is written.
    pub fn at(folder: &Path) -> Cache {
        Cache { folder: folder.to_owned() }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn path(&self, key: Key) -> PathBuf {
        self.folder.join(format!("{:032x}.bin", key.0))
    }

    /// The code of a key, if there is a whole entry of it.
    pub fn get(&self, key: Key) -> Option<Vec<u8>> {
        let entry = fs::read(self.path(key)).ok()?;
        let (magic, rest) = entry.split_first_chunk::<16>()?;
        let (digest, code) = rest.split_first_chunk::<16>()?;
        (magic == MAGIC && u128::from_le_bytes(*digest) == digest_of(key, code))
            .then(|| code.to_owned())
    }

    /// Keeps the code of a key, in the place of a damaged entry where there is one.
    pub fn put(&self, key: Key, code: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let mut aside = tempfile::NamedTempFile::new_in(&self.folder)?;
        aside.write_all(MAGIC)?;
        aside.write_all(&digest_of(key, code).to_le_bytes())?;
        aside.write_all(code)?;
        aside.as_file().sync_all()?;
        aside.persist(self.path(key))?;
        Ok(())
    }
}

/// Of the key too: an entry that was given another's name is none.
fn digest_of(key: Key, code: &[u8]) -> u128 {
    let mut hasher = XxHash3_128::new();
    hasher.write(&key.0.to_le_bytes());
    hasher.write(code);
    hasher.finish_128()
}
