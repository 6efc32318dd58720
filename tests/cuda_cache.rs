//! The cache of compiled kernels: what it trusts, what it writes, and what it costs when it cannot.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use common::cuda::nvrtc;
use warpsweep::engine::cuda::cache::{Cache, Key};
use warpsweep::engine::cuda::compile::Compiler;
use warpsweep::engine::cuda::launch::Target;
use warpsweep::engine::cuda::program::Program;

const TARGET: Target = Target::Ptx(80);

fn program<'a>(source: &'a str, headers: &'a [(&'a str, &'a str)]) -> Program<'a> {
    Program { name: "set.cu", source, headers }
}

const SET: &str =
    "#include \"value.cuh\"\nextern \"C\" __global__ void set(float *x) { *x = VALUE; }\n";
const ONE: &[(&str, &str)] = &[("value.cuh", "#define VALUE 1.0f\n")];
const TWO: &[(&str, &str)] = &[("value.cuh", "#define VALUE 2.0f\n")];

fn entries(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).expect("a cache folder");
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("an entry").path()).collect();
    paths.sort();
    paths
}

#[test]
fn code_comes_back_as_it_was_put() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(&folder.path().join("new/folder"));
    let (one, two) = (Key::of(["a", "b"]), Key::of(["ab", ""]));
    assert_ne!(one, two);
    assert_eq!(cache.get(one), None);
    cache.put(one, b"code").unwrap();
    cache.put(two, b"").unwrap();
    assert_eq!(cache.get(one).as_deref(), Some(&b"code"[..]));
    assert_eq!(cache.get(two).as_deref(), Some(&b""[..]));
    cache.put(one, b"other code").unwrap();
    assert_eq!(cache.get(one).as_deref(), Some(&b"other code"[..]));
    assert_eq!(entries(cache.folder()).len(), 2, "nothing is left aside");
}

#[test]
fn an_entry_that_is_damaged_anywhere_is_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, key) = (Cache::at(folder.path()), Key::of(["kernel"]));
    cache.put(key, b"some machine code").unwrap();
    let path = entries(folder.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    for place in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        assert_eq!(cache.get(key), None, "byte {place} changed");
        fs::write(&path, &whole[..place]).unwrap();
        assert_eq!(cache.get(key), None, "cut off after {place} bytes");
    }
    fs::write(&path, [&whole[..], b"!"].concat()).unwrap();
    assert_eq!(cache.get(key), None, "a byte too many");
    fs::write(&path, &whole).unwrap();
    assert!(cache.get(key).is_some());
}

#[test]
fn an_entry_under_another_s_name_is_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, one, two) = (Cache::at(folder.path()), Key::of(["one"]), Key::of(["two"]));
    cache.put(one, b"one").unwrap();
    let first = entries(folder.path()).remove(0);
    cache.put(two, b"two").unwrap();
    let second = entries(folder.path()).into_iter().find(|path| *path != first).unwrap();
    fs::copy(&first, &second).unwrap();
    assert_eq!(cache.get(two), None);
}

#[test]
fn writers_side_by_side_leave_whole_entries() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, key) = (Cache::at(folder.path()), Key::of(["shared"]));
    let code = vec![7u8; 100_000];
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    cache.put(key, &code).unwrap();
                    if cache.get(key).as_ref() != Some(&code) {
                        failed.lock().unwrap().push("a torn entry");
                    }
                }
            });
        }
    });
    assert!(failed.lock().unwrap().is_empty());
    assert_eq!(entries(folder.path()).len(), 1);
}

#[test]
fn a_kernel_is_compiled_once_and_again_when_anything_it_depends_on_changes() {
    let Some(nvrtc) = nvrtc() else { return };
    let folder = tempfile::tempdir().unwrap();
    let compiler = Compiler::with(nvrtc, Some(Cache::at(folder.path())));
    let one = compiler.image(&program(SET, ONE), TARGET, &[]).unwrap();
    assert_eq!(entries(folder.path()).len(), 1);
    assert_eq!(compiler.image(&program(SET, ONE), TARGET, &[]).unwrap(), one);
    assert_eq!(entries(folder.path()).len(), 1);
    let two = compiler.image(&program(SET, TWO), TARGET, &[]).unwrap();
    assert_ne!(two, one, "a header changed");
    compiler.image(&program(&SET.replace("*x", "x[1]"), ONE), TARGET, &[]).unwrap();
    compiler.image(&program(SET, ONE), Target::Ptx(90), &[]).unwrap();
    compiler.image(&program(SET, ONE), TARGET, &["--maxrregcount=32"]).unwrap();
    assert_eq!(entries(folder.path()).len(), 5);
    assert_eq!(compiler.image(&program(SET, ONE), TARGET, &[]).unwrap(), one);
    assert_eq!(compiler.warning(), None);
}

#[test]
fn what_is_in_the_cache_is_what_is_used_and_a_damaged_entry_is_compiled_again() {
    let Some(nvrtc) = nvrtc() else { return };
    let folder = tempfile::tempdir().unwrap();
    let compiler = Compiler::with(nvrtc, Some(Cache::at(folder.path())));
    let good = compiler.image(&program(SET, ONE), TARGET, &[]).unwrap();
    let path = entries(folder.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(&path, &damaged).unwrap();
    assert_eq!(compiler.image(&program(SET, ONE), TARGET, &[]).unwrap(), good);
    assert_eq!(fs::read(&path).unwrap(), whole, "the entry is mended");
}

#[test]
fn a_cache_that_cannot_be_written_to_costs_a_warning_and_nothing_else() {
    let Some(nvrtc) = nvrtc() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, b"in the way").unwrap();
    let compiler = Compiler::with(nvrtc, Some(Cache::at(&file)));
    let image = compiler.image(&program(SET, ONE), TARGET, &[]).unwrap();
    assert!(!image.is_empty());
    let warning = compiler.warning().expect("a warning");
    assert!(warning.contains("WARPSWEEP_CACHE") && warning.contains("file"), "{warning}");
    assert_eq!(compiler.warning(), None, "it is said once");
    assert_eq!(fs::read(&file).unwrap(), b"in the way");
}

#[test]
fn a_kernel_that_does_not_compile_is_not_kept() {
    let Some(nvrtc) = nvrtc() else { return };
    let folder = tempfile::tempdir().unwrap();
    let compiler = Compiler::with(nvrtc, Some(Cache::at(folder.path())));
    assert!(compiler.image(&program("nonsense", &[]), TARGET, &[]).is_err());
    assert!(entries(folder.path()).is_empty());
}
