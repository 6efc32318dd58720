//! A GPU's roofs: a large product, by our own kernels or cuBLAS, whichever is faster, and a copy.

use super::{Ceilings, highest};
use crate::engine::cuda::launch::cublas::Cublas;
use crate::engine::cuda::launch::gemm::{Gemm, Product};
use crate::engine::cuda::launch::{Buffer, CudaError, Stream};
use crate::engine::cuda::tiles::Precision;
use crate::error::Result;
use crate::measure::clock::device_seconds;
use crate::measure::gpu_product::{Extent, GpuProduct};

/// Rows, columns and depth of the product: 137 GFLOP, some milliseconds.
const SIZE: usize = 4096;
/// Bytes of the copy: beyond every second-level cache.
const BYTES: usize = 512 << 20;
const SAMPLES: usize = 9;

/// Both roofs of a stream's GPU in a precision; none on a simulated device, which has no time.
///
/// Takes 200 MB for the product, then 1 GB for the copy, and some tenths of a second.
pub fn ceilings(
    stream: &Stream,
    gemm: &Gemm,
    precision: Precision,
    cublas: Option<&Cublas>,
) -> Result<Option<Ceilings>> {
    if stream.device().gpu().is_simulated() {
        return Ok(None);
    }
    let flops_per_second = product(stream, gemm, precision, cublas)?;
    Ok(Some(Ceilings { flops_per_second, bytes_per_second: copy(stream)? }))
}

fn product(
    stream: &Stream,
    gemm: &Gemm,
    precision: Precision,
    cublas: Option<&Cublas>,
) -> Result<f64> {
    let extent = Extent { rows: SIZE, outputs: SIZE, inputs: SIZE, group: 1 };
    let product = GpuProduct::new(stream, gemm, Product::Forward, precision, extent, 0)?;
    let flop = extent.flop();
    let mut rates = Vec::new();
    // The first of each warms up.
    for sample in 0..=SAMPLES {
        let ours = flop / device_seconds(stream, || product.launch(stream))?;
        let theirs = match cublas {
            Some(cublas) => flop / device_seconds(stream, || product.launch_cublas(cublas))?,
            None => 0.0,
        };
        if sample > 0 {
            rates.push(ours.max(theirs));
        }
    }
    Ok(highest(&rates))
}

fn copy(stream: &Stream) -> Result<f64, CudaError> {
    let from = Buffer::<u8>::zeroed(stream, BYTES)?;
    let mut to = Buffer::<u8>::zeroed(stream, BYTES)?;
    let mut rates = Vec::new();
    for sample in 0..=SAMPLES {
        let seconds = device_seconds(stream, || to.copy_from(&from))?;
        if sample > 0 {
            rates.push(2.0 * BYTES as f64 / seconds);
        }
    }
    Ok(highest(&rates))
}
