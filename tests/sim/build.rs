//! Names the library as the driver's own: a loader that has it under any file name then gives it
//! to whoever asks for `libcuda.so.1`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libcuda.so.1");
}
