//! Trials that are trained by one persistent kernel: the host's side of `kernels/fused.cuh`.
//!
//! The [`queue`] is what host and running kernels say to each other.

pub mod queue;
