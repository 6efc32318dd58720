//! The functions that libcuda exports, as far as they are called.
//!
//! All work is done within the call that asks for it, under one lock, so streams are always idle.
//! [`state`] holds what the calls share; the other files hold the calls by subject.
#![allow(unsafe_code, non_snake_case)] // C functions under the names of the driver API
#![allow(clippy::missing_safety_doc)] // the driver API's manual is the contract

pub mod device;
pub mod errors;
pub mod graphs;
pub mod launches;
pub mod memory;
pub mod modules;
pub mod state;
pub mod streams;

/// `CUresult`.
pub type Status = i32;

pub const SUCCESS: Status = 0;
pub const INVALID_VALUE: Status = 1;
pub const OUT_OF_MEMORY: Status = 2;
pub const NO_DEVICE: Status = 100;
pub const INVALID_DEVICE: Status = 101;
pub const INVALID_CONTEXT: Status = 201;
pub const NO_BINARY_FOR_GPU: Status = 209;
pub const INVALID_PTX: Status = 218;
pub const INVALID_HANDLE: Status = 400;
pub const NOT_FOUND: Status = 500;
pub const ILLEGAL_ADDRESS: Status = 700;
pub const LAUNCH_OUT_OF_RESOURCES: Status = 701;
pub const MISALIGNED_ADDRESS: Status = 716;
pub const LAUNCH_FAILED: Status = 719;
pub const COOPERATIVE_LAUNCH_TOO_LARGE: Status = 720;
pub const NOT_SUPPORTED: Status = 801;
pub const STREAM_CAPTURE_INVALIDATED: Status = 901;
pub const STREAM_CAPTURE_UNJOINED: Status = 904;
