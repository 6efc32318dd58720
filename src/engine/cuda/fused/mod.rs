//! Trials that are trained by one persistent kernel: the host's side of `kernels/fused.cuh`.
//!
//! A [`variant`] is a kernel, what it can train and what that costs; it also says by which path a trial is
//! trained; [`mlp`] does for models with a hidden layer. The [`queue`] is what host and running kernels say to each other. Trials [`placed`] in memory
//! and with their [`kernel`] are advanced by a [`group`], launch after launch.

pub mod group;
pub mod kernel;
pub mod mlp;
pub mod placed;
pub mod queue;
pub mod variant;

pub use mlp::{Ability, Mlp};
pub use variant::{Choice, Variant};
