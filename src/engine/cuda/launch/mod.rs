//! All that is unsafe about a GPU: loading the driver and the compiler, memory, streams, launches.
//!
//! From the ground up: [`driver`] loads libcuda and describes GPUs, [`nvrtc`] finds and calls the
//! compiler, [`device`] holds contexts and streams, [`memory`] buffers, [`mapped`] what running kernels
//! share with the host, [`module`] compiled kernels and the one untyped launch, [`branches`] launches
//! side by side, [`graph`] recorded ones; for profiles, [`watch`] takes the times of launches,
//! [`occupancy`] says what limits a
//! kernel, [`nvtx`] names ranges for NVIDIA's tools. Above it, one file an operation: its parameter
//! structs and the typed functions that launch its kernels.
//!
//! cudarc panics where the driver's library is missing, so nothing here can be had without a
//! [`Driver`], and that not without the library. Copying and launching functions bind the GPU's
//! context to the calling thread; handles may go to any thread.

#![allow(unsafe_code)] // the one place of it in this wing

pub mod begin;
mod branches;
pub mod cublas;
mod device;
mod driver;
mod error;
pub mod fused;
pub mod fused_mlp;
pub mod gather;
pub mod gemm;
mod graph;
pub mod init;
mod mapped;
mod memory;
mod module;
mod nvrtc;
pub mod nvtx;
mod occupancy;
pub mod sgd_bias;
pub mod softmax_xent;
pub mod trial;
mod watch;

pub use branches::{Branches, Fork};
pub use device::{Device, Event, Stream};
pub use driver::{Driver, Gpu, release, version};
pub use error::CudaError;
pub use graph::Graph;
pub use mapped::Mapped;
pub use memory::{Buffer, Pinned};
pub use module::{Arg, DeviceStruct, Function, Module, Shape, arg, launch};
pub use nvrtc::{Compiled, Nvrtc, Target};
pub use occupancy::{BlockNeeds, Multiprocessor};
pub use watch::Watched;
