//! Measuring: how fast the engines are on this machine, with what certainty, and beside what.
//!
//! From the ground up: [`clock`] reads the time and the processor's share of it, [`statistics`] makes
//! few numbers of many samples, [`ceilings`] measures what this machine can do at most; a [`gpu_product`] is
//! work for a GPU that knows its own right result. A [`profile`] says where the time of a training run
//! goes, as a [`trace`] when it went there. Nothing here knows the search; results are plain structs that the reports read.

pub mod ceilings;
pub mod clock;
pub mod gpu_product;
pub mod profile;
pub mod statistics;
pub mod trace;
