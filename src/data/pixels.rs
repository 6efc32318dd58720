//! The bytes of images.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::large_pages::LargePages;

/// Bytes of images, which are read in random order. Clones share them.
#[derive(Clone)]
pub struct Pixels(Arc<LargePages>);

impl From<Vec<u8>> for Pixels {
    fn from(bytes: Vec<u8>) -> Self {
        Pixels(Arc::new(LargePages::from(bytes)))
    }
}

impl Deref for Pixels {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Default for Pixels {
    fn default() -> Self {
        Pixels::from(Vec::new())
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
