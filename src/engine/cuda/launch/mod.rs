//! Kernels as typed functions: one file an operation, its parameter structs beside it.

pub mod gemm;
pub mod trial;
