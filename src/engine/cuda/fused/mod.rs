//! Trials that are trained by one persistent kernel: the host's side of `kernels/fused.cuh`.
//!
//! A [`variant`] is a kernel, what it can train and what that costs; it also says by which path a trial is
//! trained. The [`queue`] is what host and running kernels say to each other. Trials [`placed`] in memory
//! are advanced by a [`group`], launch after launch.

pub mod group;
pub mod placed;
pub mod queue;
pub mod variant;

pub use variant::{Choice, Variant};
