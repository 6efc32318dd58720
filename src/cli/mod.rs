//! The command line: one file a subcommand.

pub mod data;
pub mod study;
