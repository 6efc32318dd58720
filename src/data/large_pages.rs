//! Memory in large pages, where the system gives them.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// Bytes that are read from all over, or by the gigabyte.
///
/// With pages of 4 KiB nearly every row of a data set costs a walk through the page tables: softmax
/// regression at batch 16 is 5 % slower so, a copy through memory 15 %. Linux gives pages of 2 MiB to memory that
/// asks for them; elsewhere, and where there are few, these are ordinary bytes.
pub struct LargePages(Memory);

enum Memory {
    Ordinary(Vec<u8>),
    Mapped(MmapMut),
}

/// Below this, large pages would waste more than they save.
const LARGE_PAGE: usize = 2 << 20;

impl LargePages {
    /// Zeros, none of which was touched.
    pub fn zeroed(len: usize) -> LargePages {
        LargePages(mapped(len).map_or_else(|| Memory::Ordinary(vec![0; len]), Memory::Mapped))
    }

    /// The same, unless there is no memory for them.
    pub fn try_zeroed(len: usize) -> Option<LargePages> {
        if let Some(map) = mapped(len) {
            return Some(LargePages(Memory::Mapped(map)));
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len).ok()?;
        bytes.resize(len, 0);
        Some(LargePages(Memory::Ordinary(bytes)))
    }
}

impl From<Vec<u8>> for LargePages {
    /// Copies many bytes: 15 ms for 47 MB.
    fn from(bytes: Vec<u8>) -> Self {
        LargePages(match mapped(bytes.len()) {
            Some(mut map) => {
                map.copy_from_slice(&bytes);
                Memory::Mapped(map)
            }
            None => Memory::Ordinary(bytes),
        })
    }
}

/// Zeros in large pages; none if they are few or the system does not give such pages.
#[cfg(target_os = "linux")]
fn mapped(len: usize) -> Option<MmapMut> {
    if len < LARGE_PAGE {
        return None;
    }
    let map = MmapMut::map_anon(len).ok()?;
    // Asked before the first write, since that is when the pages are given.
    map.advise(memmap2::Advice::HugePage).ok()?;
    Some(map)
}

#[cfg(not(target_os = "linux"))]
fn mapped(_: usize) -> Option<MmapMut> {
    None
}

impl Deref for LargePages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Memory::Ordinary(bytes) => bytes,
            Memory::Mapped(map) => map,
        }
    }
}

impl DerefMut for LargePages {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Memory::Ordinary(bytes) => bytes,
            Memory::Mapped(map) => map,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_and_many_bytes_are_what_they_were_made_of_and_can_be_written() {
        for len in [0, 1, 784, LARGE_PAGE - 1, LARGE_PAGE, LARGE_PAGE + 4097] {
            let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let mut memory = LargePages::from(bytes.clone());
            assert!(*memory == bytes[..], "{len} bytes");
            assert!(LargePages::zeroed(len).iter().eq(&vec![0; len]), "{len} bytes");
            memory.fill(7);
            assert!(memory.iter().all(|&byte| byte == 7), "{len} bytes");
        }
    }
}
