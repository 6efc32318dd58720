//! Measuring: how fast the engines are on this machine, with what certainty, and beside what.
//!
//! From the ground up: [`clock`] reads the time and the processor's share of it, [`statistics`] makes
//! few numbers of many samples, [`ceilings`] measures what this machine can do at most; a [`gpu_product`]
//! is work for a GPU that knows its own right result. A [`profile`] says where the time of a training
//! run goes, as a [`trace`] when it went there.
//!
//! The bench: [`axes`] span the points of the [`suites`], each of which makes a [`workload`] on a
//! [`mod@bench`]. A [`sweep`] visits them all in turn, [`sampling`] takes their times until [`stopping`] says
//! that it is enough, [`diagnosis`] what a reader must know. A [`record`] is what is written down, and
//! [`compare`] sets one beside another. Nothing here knows the search; results are plain structs that
//! the reports read.

pub mod axes;
pub mod bench;
pub mod ceilings;
pub mod clock;
pub mod compare;
pub mod diagnosis;
pub mod error;
pub mod gpu_product;
pub mod profile;
pub mod record;
pub mod sampling;
pub mod statistics;
pub mod stopping;
pub mod suites;
pub mod sweep;
pub mod trace;
pub mod workload;
