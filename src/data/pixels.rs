//! The bytes of images, in large pages of memory where the system gives them.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use memmap2::MmapMut;

/// Bytes of images that are read in random order.
///
/// Every step reads rows from all over the data set, and with pages of 4 KiB nearly every row costs
/// a walk through the page tables: softmax regression at batch 16 is 5 % slower so. Linux gives pages
/// of 2 MiB to memory that asks for them; elsewhere, and for small sets, these are ordinary bytes.
#[derive(Clone)]
pub struct Pixels(Memory);

#[derive(Clone)]
enum Memory {
    Ordinary(Vec<u8>),
    /// Shared by clones: it is never written again.
    LargePages(Arc<MmapMut>),
}

/// Below this, large pages would waste more than they save.
const LARGE_PAGE: usize = 2 << 20;

impl From<Vec<u8>> for Pixels {
    /// Copies a large set into large pages: 15 ms for the 47 MB of Fashion-MNIST.
    fn from(bytes: Vec<u8>) -> Self {
        Pixels(match in_large_pages(&bytes) {
            Some(map) => Memory::LargePages(Arc::new(map)),
            None => Memory::Ordinary(bytes),
        })
    }
}

/// A copy in large pages; none if the set is small or the system does not give them.
#[cfg(target_os = "linux")]
fn in_large_pages(bytes: &[u8]) -> Option<MmapMut> {
    if bytes.len() < LARGE_PAGE {
        return None;
    }
    let mut map = MmapMut::map_anon(bytes.len()).ok()?;
    // Asked before the first write, since that is when the pages are given.
    map.advise(memmap2::Advice::HugePage).ok()?;
    map.copy_from_slice(bytes);
    Some(map)
}

#[cfg(not(target_os = "linux"))]
fn in_large_pages(_: &[u8]) -> Option<MmapMut> {
    None
}

impl Deref for Pixels {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Memory::Ordinary(bytes) => bytes,
            Memory::LargePages(map) => map,
        }
    }
}

impl Default for Pixels {
    fn default() -> Self {
        Pixels(Memory::Ordinary(Vec::new()))
    }
}

impl PartialEq for Pixels {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl fmt::Debug for Pixels {
    /// Their number: millions of bytes tell nobody anything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pixels({})", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_sets_hold_the_bytes_they_were_made_of() {
        for len in [0, 1, 784, LARGE_PAGE - 1, LARGE_PAGE, LARGE_PAGE + 4097] {
            let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let pixels = Pixels::from(bytes.clone());
            assert_eq!(pixels.len(), len);
            assert!(*pixels == bytes[..], "{len} bytes");
            assert!(pixels.clone() == pixels);
        }
    }
}
