//! A simulated CUDA device: a stand-in for `libcuda.so.1` that runs kernels by interpreting the PTX
//! that NVRTC made, inline PTX included, and says what they do wrong. A tool for tests.
//!
//! Build it with `cargo build -p cuda-sim` (always optimised; see the profiles of the workspace),
//! copy `target/debug/libcuda.so` to a folder as `libcuda.so.1`, and put the folder on
//! `LD_LIBRARY_PATH`. Compile kernels with `-lineinfo` to see source lines in reports.
//!
//! What it finds: reads and writes out of bounds, use of freed memory, reads of memory or registers
//! never written, races in shared and global memory, barriers not reached by all, shuffles and votes with
//! absent lanes, misaligned accesses, `cp.async` data used before its wait, `wgmma` operands and results
//! used before theirs or without a fence, wrong argument lists and launch shapes. Such a launch fails with `CUDA_ERROR_ILLEGAL_ADDRESS` or
//! `CUDA_ERROR_LAUNCH_FAILED`, and so does every later call, as on a device.
//!
//! Of races it reports what is certain. It may miss one where a word's readers are more than 64 blocks,
//! read different bytes of it or are strong, and one that only another order of warps would show.
//!
//! What it cannot find: anything about speed, the order of asynchronous streams (all is done at
//! once, in the order of the calls), the rounding of approximate and of matrix instructions.
//!
//! | variable | meaning |
//! |---|---|
//! | `CUDA_SIM_DEVICES` | number of devices (1) |
//! | `CUDA_SIM_NAME` | the device's name (`simulated sm_80`): under another, programs take it for a GPU |
//! | `CUDA_SIM_CC` | compute capability: 75, 80, 90, 120 ... (80) |
//! | `CUDA_SIM_MEMORY` | bytes of memory of each device (8 GiB); `K`, `M`, `G` may follow |
//! | `CUDA_SIM_DRIVER_VERSION` | what `cuDriverGetVersion` says (13000) |
//! | `CUDA_VISIBLE_DEVICES` | devices that are seen; empty: none |
//! | `CUDA_SIM_REPORT` | a file to append reports to |
//! | `CUDA_SIM_COUNTS` | a file for the counts, in JSON, written when a context is released and at exit |
//! | `CUDA_SIM_NVTX` | a file for NVTX ranges, if `NVTX_INJECTION64_PATH` is this library |

pub mod counts;
pub mod decode;
pub mod driver;
pub mod machine;
pub mod nvtx;
pub mod ptx;
pub mod report;
