//! The CUDA engine: kernels of our own, compiled at run time, on whole trial arrays.

pub mod launch;
pub mod layout;
pub mod tables;
