//! The CUDA engine: kernels of our own, compiled at run time, on whole trial arrays.
//!
//! Nothing of CUDA is needed to build or to start: the driver and the compiler NVRTC are loaded when
//! first asked for. From the ground up: [`launch`] holds all that is unsafe (libraries, memory,
//! launches), [`program`] the embedded kernels, [`compile`] turns them into code for a GPU,
//! which the [`cache`] keeps; [`discover`] says what of all that is here.

pub mod cache;
pub mod compile;
pub mod discover;
pub mod launch;
pub mod layout;
pub mod program;
pub mod tables;
pub mod tiles;
