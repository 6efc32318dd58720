//! The CUDA engine: kernels of our own, compiled at run time, on whole trial arrays.
//!
//! Nothing of CUDA is needed to build or to start: the driver and the compiler NVRTC are loaded when
//! first asked for. From the ground up: [`launch`] holds all that is unsafe (libraries, memory,
//! launches), [`program`] the embedded kernels, [`compile`] turns them into code for a GPU.

pub mod compile;
pub mod launch;
pub mod layout;
pub mod program;
pub mod tables;
pub mod tiles;
