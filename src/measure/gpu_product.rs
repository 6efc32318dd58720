//! The products of a layer on a GPU, in groups, ours and cuBLAS's, on operands that are drawn.
//!
//! The result can be checked in float64 on a sample of its elements before anything is timed.

use crate::engine::cuda::launch::cublas::{Cublas, CublasError, Shapes};
use crate::engine::cuda::launch::gemm::{Gemm, GemmProblem, Grouped, Product};
use crate::engine::cuda::launch::{Buffer, CudaError, Stream};
use crate::engine::cuda::tiles::{Precision, Tile};
use crate::error::{Error, Result};
use crate::random::{Purpose, Stream as Draws, symmetric_f32};

/// A layer of some inputs and outputs on some rows of samples, and how many such products there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub rows: usize,
    pub outputs: usize,
    pub inputs: usize,
    pub group: usize,
}

impl Extent {
    /// Floating-point operations of all products, the same for each kind of product.
    pub fn flop(&self) -> f64 {
        2.0 * (self.rows * self.outputs * self.inputs) as f64 * self.group as f64
    }

    /// The tile that our kernels compute a product in: `64x16`.
    pub fn tile(&self, product: Product, gemm: &Gemm) -> String {
        let [m, n, _] = self.sizes(product).map(|size| size as u32);
        let Tile { m, n } = gemm.tile(m, n);
        format!("{m}x{n}")
    }

    /// `m`, `n` and `k` of a product: C is `m x n`, `k` is what is summed over.
    fn sizes(&self, product: Product) -> [usize; 3] {
        let Extent { rows, outputs, inputs, .. } = *self;
        match product {
            Product::Forward => [rows, outputs, inputs],
            Product::WeightGradient => [inputs, outputs, rows],
            Product::InputGradient => [rows, inputs, outputs],
        }
    }

    /// Rows and columns of A and of B as they lie in memory.
    fn operands(&self, product: Product) -> [[usize; 2]; 2] {
        let Extent { rows, outputs, inputs, .. } = *self;
        match product {
            Product::Forward => [[rows, inputs], [inputs, outputs]],
            Product::WeightGradient => [[rows, inputs], [rows, outputs]],
            Product::InputGradient => [[rows, outputs], [inputs, outputs]],
        }
    }
}

/// An element that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{got} for {expected} at row {row}, column {column} of product {index}")]
pub struct WrongElement {
    pub index: usize,
    pub row: usize,
    pub column: usize,
    pub got: f32,
    pub expected: f64,
}

/// One product, or a group of them, on the GPU's memory.
pub struct GpuProduct {
    product: Product,
    precision: Precision,
    extent: Extent,
    a: Matrices,
    b: Matrices,
    c: Buffer<f32>,
    ldc: usize,
    grouped: Grouped,
    /// Device addresses of all A, B and C, for cuBLAS.
    addresses: [Buffer<u64>; 3],
}

impl GpuProduct {
    /// Draws the operands by `seed` and builds our tables.
    pub fn new(
        stream: &Stream,
        gemm: &Gemm,
        product: Product,
        precision: Precision,
        extent: Extent,
        seed: u64,
    ) -> Result<Self, CudaError> {
        let [m, n, k] = extent.sizes(product);
        let [of_a, of_b] = extent.operands(product);
        let group = extent.group;
        let a = Matrices::random(stream, (seed, 0), group, of_a)?;
        let b = Matrices::random(stream, (seed, 1), group, of_b)?;
        let ldc = n.next_multiple_of(4);
        let c = Buffer::<f32>::zeroed(stream, group * m * ldc)?;
        let address_of_c = |index: usize| c.address_of(index * m * ldc);
        let problem = |index: usize| GemmProblem {
            a: a.address(index),
            b: b.address(index),
            c: address_of_c(index),
            m: m as u32,
            n: n as u32,
            k: k as u32,
            lda: a.stride as u32,
            ldb: b.stride as u32,
            ldc: ldc as u32,
            ..GemmProblem::default()
        };
        let problems: Vec<GemmProblem> = (0..group).map(problem).collect();
        let grouped = Grouped::new(gemm, stream, product, &problems)?;
        let list = |address: &dyn Fn(usize) -> u64| {
            Buffer::from_slice(stream, &(0..group).map(address).collect::<Vec<u64>>())
        };
        let addresses = [
            list(&|index| a.address(index))?,
            list(&|index| b.address(index))?,
            list(&address_of_c)?,
        ];
        Ok(GpuProduct { product, precision, extent, a, b, c, ldc, grouped, addresses })
    }

    /// Bytes of all operands and results, each once: the least that must be moved.
    pub fn bytes(&self) -> f64 {
        let [m, n, _] = self.extent.sizes(self.product);
        let operands: usize = self.extent.operands(self.product).iter().map(|[r, c]| r * c).sum();
        4.0 * (self.extent.group * (operands + m * n)) as f64
    }

    /// Our kernels, in one launch a tile size.
    pub fn launch(&self, stream: &Stream) -> Result<(), CudaError> {
        self.grouped.launch(stream)
    }

    /// cuBLAS: one product, or one batched call for a group. TF32 where ours is; 3xTF32 has no
    /// counterpart there but plain FP32.
    pub fn launch_cublas(&self, cublas: &Cublas) -> Result<()> {
        let [m, n, k] = self.extent.sizes(self.product).map(|size| size as u32);
        let shapes = Shapes {
            product: self.product,
            m,
            n,
            k,
            lda: self.a.stride as u32,
            ldb: self.b.stride as u32,
            ldc: self.ldc as u32,
            tf32: self.precision == Precision::Tf32,
        };
        let done = match self.extent.group {
            1 => cublas.gemm(&shapes, [self.a.address(0), self.b.address(0), self.c.address()]),
            _ => cublas.gemm_batched(&shapes, self.addresses.each_ref()),
        };
        done.map_err(|error: CublasError| Error::Room { error: Box::new(error), exit_code: 1 })
    }

    /// Compares sampled elements of what was computed last with float64; the worst error, as a share
    /// of an element's sum of absolute products.
    pub fn check(&self) -> Result<Result<f64, WrongElement>, CudaError> {
        const SAMPLES: u64 = 64;
        let [m, n, k] = self.extent.sizes(self.product);
        let bar = if self.precision == Precision::Tf32 { 2e-3 } else { 1e-5 };
        let draws = Draws::new(3, Purpose::Synthetic(1), 0);
        let mut worst = 0.0f64;
        for sample in 0..SAMPLES {
            let [x, y, z, _] = draws.block(sample).map(|word| word as usize);
            let (index, row, column) = (x % self.extent.group, y % m, z % n);
            let (mut sum, mut scale) = (0.0, 0.0);
            for l in 0..k {
                let term = self.term(index, row, column, l);
                sum += term;
                scale += term.abs();
            }
            let at = (index * m + row) * self.ldc + column;
            let Some(&got) = self.c.download_range(at..at + 1)?.first() else { continue };
            let error = (f64::from(got) - sum).abs() / scale;
            if error.is_nan() || error > bar {
                return Ok(Err(WrongElement { index, row, column, got, expected: sum }));
            }
            worst = worst.max(error);
        }
        Ok(Ok(worst))
    }

    /// One of the products that add up to an element.
    fn term(&self, index: usize, row: usize, column: usize, l: usize) -> f64 {
        let left = match self.product {
            Product::WeightGradient => self.a.at(index, l, row),
            _ => self.a.at(index, row, l),
        };
        let right = match self.product {
            Product::InputGradient => self.b.at(index, column, l),
            _ => self.b.at(index, l, column),
        };
        left * right
    }
}

/// A matrix as all products of a group have it: `count` times `rows x stride`.
pub struct Matrices {
    pub buffer: Buffer<f32>,
    host: Vec<f32>,
    pub stride: usize,
    rows: usize,
}

impl Matrices {
    /// Values in [-1, 1), those that pad a row too.
    pub fn random(
        stream: &Stream,
        (seed, purpose): (u64, u16),
        count: usize,
        [rows, columns]: [usize; 2],
    ) -> Result<Self, CudaError> {
        let stride = columns.next_multiple_of(4);
        let draws = Draws::new(seed, Purpose::Synthetic(purpose), 0);
        let len = count * rows * stride;
        let words = (0..len.div_ceil(4) as u64).flat_map(|block| draws.block(block));
        let host: Vec<f32> = words.take(len).map(|word| symmetric_f32(word, 1.0)).collect();
        Ok(Matrices { buffer: Buffer::from_slice(stream, &host)?, host, stride, rows })
    }

    /// Of one of them, on the device.
    pub fn address(&self, index: usize) -> u64 {
        self.buffer.address_of(index * self.rows * self.stride)
    }

    /// An element as it was drawn.
    pub fn at(&self, index: usize, row: usize, column: usize) -> f64 {
        f64::from(self.host[(index * self.rows + row) * self.stride + column])
    }
}
