//! The kernels as source text, embedded by `build.rs`.

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// The source of one module: a `.cu` file with the headers that it may include.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program<'a> {
    /// File name, as the compiler's messages show it.
    pub name: &'a str,
    pub source: &'a str,
    /// File name and text of each header.
    pub headers: &'a [(&'a str, &'a str)],
}

/// The embedded kernel file of this name, `sgd_bias.cu`, with the headers of `kernels/`.
pub fn embedded(name: &str) -> Option<Program<'static>> {
    let (name, source) = SOURCES.iter().find(|(file, _)| *file == name)?;
    Some(Program { name, source, headers: SOURCES })
}

/// All embedded kernel files: every `.cu`, by name.
pub fn all() -> impl Iterator<Item = Program<'static>> {
    SOURCES.iter().filter(|(file, _)| file.ends_with(".cu")).filter_map(|(file, _)| embedded(file))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_checkout_that_was_moved_still_builds() {
        let code = include_str!(concat!(env!("OUT_DIR"), "/kernels.rs"));
        assert!(!code.contains(&format!("\"{}", env!("CARGO_MANIFEST_DIR"))), "names its folder");
    }
}
