//! Embeds `kernels/`: a table of file name and source text, and a digest of them all, so that the
//! binary needs no file beside it.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=kernels");
    let variable = |name| env::var(name).map_err(io::Error::other);
    let folder = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("kernels");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let name = entry?
            .file_name()
            .into_string()
            .map_err(|name| io::Error::other(format!("{name:?}")))?;
        if name.ends_with(".cu") || name.ends_with(".cuh") {
            names.push(name);
        }
    }
    // Not in the order of the disk: the same sources give the same program.
    names.sort();

    let (mut table, mut digest) = (String::new(), Fnv::default());
    for name in names {
        digest.add(name.as_bytes());
        digest.add(&fs::read(folder.join(&name))?);
        // Not the folder's own name: Cargo does not run this again where the whole checkout was moved.
        let path =
            format!("concat!(env!(\"CARGO_MANIFEST_DIR\"), {:?})", format!("/kernels/{name}"));
        writeln!(table, "    ({name:?}, include_str!({path})),").map_err(io::Error::other)?;
    }
    let code = format!(
        "/// File name and source text of every file of `kernels/`, by name.\n\
         pub const SOURCES: &[(&str, &str)] = &[\n{table}];\n\n\
         /// A digest of all names and texts.\n\
         pub const DIGEST: &str = \"{:016x}\";\n",
        digest.0
    );
    fs::write(Path::new(&variable("OUT_DIR")?).join("kernels.rs"), code)
}

/// FNV-1a: enough to tell two versions of the sources apart, and no crate to build first.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// Adds a text and its length, so that no two lists of texts look alike.
    fn add(&mut self, text: &[u8]) {
        for byte in text.iter().copied().chain((text.len() as u64).to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
