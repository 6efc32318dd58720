//! The bytes of images.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use super::large_pages::LargePages;
use super::patches::Patches;

/// Bytes of images, which are read in random order. Clones share them.
#[derive(Clone)]
pub struct Pixels(Arc<Forms>);

struct Forms {
    bytes: LargePages,
    /// Made when they are first wanted: a GPU never does.
    patches: OnceLock<Patches>,
}

impl Pixels {
    /// The same images, of `size` rows and columns each, in patches.
    ///
    /// # Panics
    /// If they were of another size before: images have one.
    pub fn patches(&self, size: [usize; 2]) -> &Patches {
        let patches = self.0.patches.get_or_init(|| Patches::new(&self.0.bytes, size));
        assert_eq!(patches.size(), size, "images of two sizes");
        patches
    }
}

impl From<LargePages> for Pixels {
    fn from(bytes: LargePages) -> Self {
        Pixels(Arc::new(Forms { bytes, patches: OnceLock::new() }))
    }
}

impl From<Vec<u8>> for Pixels {
    fn from(bytes: Vec<u8>) -> Self {
        LargePages::from(bytes).into()
    }
}

impl Deref for Pixels {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.bytes
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
