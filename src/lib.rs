//! Trains a whole hyperparameter search at once.
//!
//! One trial's way through the rooms: [`space`] draws its config, [`model`] reads it into sizes and
//! numbers, [`engine`] trains it with its array, [`study`] writes it down, [`report`] shows it.

#![deny(unsafe_code)] // but for the CPU's vector lanes and the CUDA wing's launch layer, which say so

pub mod cli;
pub mod data;
pub mod engine;
pub mod error;
pub mod measure;
pub mod model;
pub mod random;
pub mod report;
pub mod search;
pub mod space;
pub mod study;

pub use error::{Error, Result};
