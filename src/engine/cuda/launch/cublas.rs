//! cuBLAS, for comparison only: the benchmarks load it where it is found, nothing else knows it.

use std::env;
use std::ffi::{c_int, c_void};
use std::path::PathBuf;
use std::ptr::null_mut;

use libloading::Library;

use super::gemm::Product;
use super::nvrtc::folders;
use super::{Buffer, Stream};

/// Why cuBLAS cannot be compared with.
#[derive(Debug, thiserror::Error)]
pub enum CublasError {
    #[error(
        "cuBLAS was not found ({tried}); install the CUDA toolkit, or set WARPSWEEP_CUBLAS to the file \
         libcublas.so.13"
    )]
    Missing { tried: String },

    #[error("{call} of cuBLAS failed with status {status}; see the table of cublasStatus_t")]
    Status { call: &'static str, status: c_int },
}

type Handle = *mut c_void;
type Create = unsafe extern "C" fn(*mut Handle) -> c_int;
type SetStream = unsafe extern "C" fn(Handle, *mut c_void) -> c_int;
type Destroy = unsafe extern "C" fn(Handle) -> c_int;
/// `cublasGemmBatchedEx`: the operands are device arrays of device addresses.
type GemmBatched = unsafe extern "C" fn(
    Handle,
    c_int,
    c_int,
    c_int,
    c_int,
    c_int,
    *const f32,
    *const c_void,
    c_int,
    c_int,
    *const c_void,
    c_int,
    c_int,
    *const f32,
    *const c_void,
    c_int,
    c_int,
    c_int,
    c_int,
    c_int,
) -> c_int;
/// `cublasGemmEx`: as above without the count, and the operands are device addresses.
type Gemm = unsafe extern "C" fn(
    Handle,
    c_int,
    c_int,
    c_int,
    c_int,
    c_int,
    *const f32,
    *const c_void,
    c_int,
    c_int,
    *const c_void,
    c_int,
    c_int,
    *const f32,
    *const c_void,
    c_int,
    c_int,
    c_int,
    c_int,
) -> c_int;

const CUDA_R_32F: c_int = 0;
const COMPUTE_32F: c_int = 68;
const COMPUTE_32F_FAST_TF32: c_int = 77;
const GEMM_DEFAULT: c_int = -1;
const OP_N: c_int = 0;
const OP_T: c_int = 1;

/// Products of one shape on row-major matrices; leading dimensions in floats.
#[derive(Clone, Copy, Debug)]
pub struct Shapes {
    pub product: Product,
    pub m: u32,
    pub n: u32,
    pub k: u32,
    pub lda: u32,
    pub ldb: u32,
    pub ldc: u32,
    /// On the tensor cores in TF32, else in plain FP32.
    pub tf32: bool,
}

/// A loaded cuBLAS that works on one stream.
#[derive(Debug)]
pub struct Cublas {
    handle: Handle,
    gemm: Gemm,
    batched: GemmBatched,
    destroy: Destroy,
}

impl Cublas {
    /// Loads `$WARPSWEEP_CUBLAS`, or what the loader or a CUDA toolkit has.
    pub fn load(stream: &Stream) -> Result<Cublas, CublasError> {
        let mut tried = Vec::new();
        for path in candidates() {
            // SAFETY: loading cuBLAS runs its initialisers, which do nothing but set it up.
            match unsafe { Library::new(&path) } {
                Ok(library) => return Self::bind(library, stream),
                Err(_) => tried.push(path.display().to_string()),
            }
        }
        Err(CublasError::Missing { tried: tried.join(", ") })
    }

    fn bind(library: Library, stream: &Stream) -> Result<Cublas, CublasError> {
        let missing = |error: libloading::Error| CublasError::Missing { tried: error.to_string() };
        // SAFETY: the types are those of cublas_api.h, the same since CUDA 11.
        let (create, set_stream, gemm, batched, destroy) = unsafe {
            (
                *library.get::<Create>(b"cublasCreate_v2\0").map_err(missing)?,
                *library.get::<SetStream>(b"cublasSetStream_v2\0").map_err(missing)?,
                *library.get::<Gemm>(b"cublasGemmEx\0").map_err(missing)?,
                *library.get::<GemmBatched>(b"cublasGemmBatchedEx\0").map_err(missing)?,
                *library.get::<Destroy>(b"cublasDestroy_v2\0").map_err(missing)?,
            )
        };
        // Never unloaded: the functions stay.
        std::mem::forget(library);
        let mut handle = null_mut();
        // SAFETY: a place for the handle; the device's context is current, for it made the stream.
        check("cublasCreate", unsafe { create(&mut handle) })?;
        let cublas = Cublas { handle, gemm, batched, destroy };
        // SAFETY: a handle that was just made, and a stream that is alive.
        check("cublasSetStream", unsafe { set_stream(handle, stream.inner().cu_stream().cast()) })?;
        Ok(cublas)
    }

    /// One product.
    pub fn gemm(&self, shapes: &Shapes, [a, b, c]: [u64; 3]) -> Result<(), CublasError> {
        let Shapes { m, n, k, lda, ldb, ldc, .. } = *shapes;
        let (op_b, op_a, compute) = shapes.settings();
        let (one, zero) = (1.0f32, 0.0f32);
        let int = |x: u32| x as c_int;
        // Row-major C = A B is column-major C^T = B^T A^T: the operands change places.
        // SAFETY: addresses of device matrices of these shapes, by the caller's tables.
        check("cublasGemmEx", unsafe {
            (self.gemm)(
                self.handle,
                op_b,
                op_a,
                int(n),
                int(m),
                int(k),
                &one,
                b as *const c_void,
                CUDA_R_32F,
                int(ldb),
                a as *const c_void,
                CUDA_R_32F,
                int(lda),
                &zero,
                c as *const c_void,
                CUDA_R_32F,
                int(ldc),
                compute,
                GEMM_DEFAULT,
            )
        })
    }

    /// Products of one shape; each buffer holds the device addresses of their matrices.
    pub fn gemm_batched(
        &self,
        shapes: &Shapes,
        [a, b, c]: [&Buffer<u64>; 3],
    ) -> Result<(), CublasError> {
        let Shapes { m, n, k, lda, ldb, ldc, .. } = *shapes;
        let (op_b, op_a, compute) = shapes.settings();
        let (one, zero) = (1.0f32, 0.0f32);
        let int = |x: u32| x as c_int;
        // SAFETY: as in `gemm`, with arrays of such addresses.
        check("cublasGemmBatchedEx", unsafe {
            (self.batched)(
                self.handle,
                op_b,
                op_a,
                int(n),
                int(m),
                int(k),
                &one,
                b.address() as *const c_void,
                CUDA_R_32F,
                int(ldb),
                a.address() as *const c_void,
                CUDA_R_32F,
                int(lda),
                &zero,
                c.address() as *const c_void,
                CUDA_R_32F,
                int(ldc),
                a.len() as c_int,
                compute,
                GEMM_DEFAULT,
            )
        })
    }
}

impl Drop for Cublas {
    fn drop(&mut self) {
        // SAFETY: the handle is not used again. A failure frees nothing and harms nothing.
        unsafe { (self.destroy)(self.handle) };
    }
}

impl Shapes {
    /// What becomes of B and of A, and the type to compute in.
    fn settings(&self) -> (c_int, c_int, c_int) {
        let (op_b, op_a) = match self.product {
            Product::Forward => (OP_N, OP_N),
            Product::WeightGradient => (OP_N, OP_T),
            Product::InputGradient => (OP_T, OP_N),
        };
        (op_b, op_a, if self.tf32 { COMPUTE_32F_FAST_TF32 } else { COMPUTE_32F })
    }
}

fn check(call: &'static str, status: c_int) -> Result<(), CublasError> {
    if status == 0 { Ok(()) } else { Err(CublasError::Status { call, status }) }
}

fn candidates() -> Vec<PathBuf> {
    const NAMES: [&str; 3] = ["libcublas.so.13", "libcublas.so.12", "libcublas.so"];
    if let Some(given) = env::var_os("WARPSWEEP_CUBLAS").filter(|value| !value.is_empty()) {
        return vec![given.into()];
    }
    let by_loader = NAMES.map(PathBuf::from);
    let in_folders = folders().into_iter().flat_map(|folder| NAMES.map(|name| folder.join(name)));
    by_loader.into_iter().chain(in_folders).collect()
}
