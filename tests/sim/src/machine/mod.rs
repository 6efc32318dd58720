//! The machine: memory with its shadow, warps, blocks, and the ways they run.
//!
//! One thread runs everything, in one order, so that results, reports and counts are the same from
//! run to run. A block runs until its warps can do no more or have had their share; then the next
//! one starts, and all that have started take turns: a kernel whose blocks wait for each other
//! goes on.

mod arithmetic;
mod atomics;
mod copies;
mod group_mma;
mod lanes;
mod launch;
mod loads;
mod matrix;
pub mod memory;
mod shadow;
mod sync;
mod warp;

pub use launch::{Launch, Shape, launch};

use crate::ptx::ast::Space;

/// Where a space's addresses begin among the generic ones; 0 for those that need no moving.
pub fn window(space: Space) -> u64 {
    match space {
        Space::Shared => 0x0a00_0000_0000,
        Space::Local => 0x0b00_0000_0000,
        Space::Param => 0x0c00_0000_0000,
        _ => 0,
    }
}

/// Size of a window in bytes.
pub const WINDOW: u64 = 1 << 32;
