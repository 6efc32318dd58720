//! Compiled kernels on a GPU, and the one way to launch them.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::sync::Arc;

use bytemuck::Pod;
use cudarc::driver::sys::CUfunction_attribute as Attribute;
use cudarc::driver::sys::CUresult::CUDA_ERROR_NOT_FOUND;
use cudarc::driver::{CudaFunction, CudaModule, DriverError, result};
use cudarc::nvrtc::Ptx;

use super::{CudaError, Device, Stream};

/// A struct that a kernel reads as it lies in memory.
///
/// A kernel file that has such a struct says how its compiler laid it out, in an array of this name:
///
/// ```c++
/// #include "layout.cuh"
/// extern "C" __device__ const unsigned int Step_layout[] = {
///     sizeof(Step), offsetof(Step, rows), offsetof(Step, training), offsetof(Step, before)};
/// ```
pub trait DeviceStruct: Pod {
    /// The struct's name in the kernels: `Step`.
    const NAME: &'static str;
    /// Its size, then the offset of each field, in bytes and in the order of the declaration.
    const LAYOUT: &'static [u32];
}

/// [`DeviceStruct`] for a struct of the same name in the kernels: all its fields in their order.
macro_rules! device_struct {
    ($type:ident { $($field:ident),* $(,)? }) => {
        impl $crate::engine::cuda::launch::DeviceStruct for $type {
            const NAME: &'static str = stringify!($type);
            const LAYOUT: &'static [u32] = &[
                size_of::<$type>() as u32,
                $(std::mem::offset_of!($type, $field) as u32),*
            ];
        }
    };
}
pub(super) use device_struct;

/// A compiled kernel file, loaded on a GPU.
#[derive(Clone, Debug)]
pub struct Module {
    name: String,
    device: Device,
    module: Arc<CudaModule>,
}

impl Module {
    /// Loads what a compiler made: a cubin, or PTX that ends in a zero byte.
    pub fn load(device: &Device, name: &str, image: &[u8]) -> Result<Module, CudaError> {
        assert!(image.starts_with(b"\x7fELF") || image.ends_with(&[0]), "{name} is no image");
        let module = device.context().load_module(Ptx::from_binary(image.to_vec()));
        let module = module.map_err(CudaError::of("cuModuleLoadData"))?;
        Ok(Module { name: name.to_owned(), device: device.clone(), module })
    }

    /// The kernel of this name.
    pub fn function(&self, name: &str) -> Result<Function, CudaError> {
        let function = self.module.load_function(name);
        let function =
            function.map_err(|error| self.missing(error, name, "cuModuleGetFunction"))?;
        Ok(Function { name: name.into(), function })
    }

    /// Checks that the kernels of this module lay out a struct as the host does.
    ///
    /// # Errors
    /// [`CudaError::Layout`] if not: its launches would read garbage.
    pub fn check_layout<T: DeviceStruct>(&self) -> Result<(), CudaError> {
        self.check_numbers(&format!("{}_layout", T::NAME), T::LAYOUT)
    }

    /// Checks that a table of numbers in this module is what the host takes it to be.
    ///
    /// # Errors
    /// [`CudaError::Layout`] if not.
    pub fn check_numbers(&self, symbol: &str, host: &[u32]) -> Result<(), CudaError> {
        let device = self.numbers(symbol)?;
        if device == host { Ok(()) } else { Err(self.other_layout(symbol, host, device)) }
    }

    /// `N` numbers of this module.
    ///
    /// # Errors
    /// [`CudaError::Layout`] if there are more or fewer.
    pub fn constants<const N: usize>(&self, symbol: &str) -> Result<[u32; N], CudaError> {
        let numbers = self.numbers(symbol)?;
        numbers.try_into().map_err(|device| self.other_layout(symbol, &[0; N], device))
    }

    fn other_layout(&self, symbol: &str, host: &[u32], device: Vec<u32>) -> CudaError {
        let (module, table) = (self.name.clone(), symbol.to_owned());
        CudaError::Layout { module, table, host: host.to_vec(), device }
    }

    fn numbers(&self, symbol: &str) -> Result<Vec<u32>, CudaError> {
        // A stream for one small copy: loading is not what has to be fast.
        let stream = self.device.stream()?;
        let view = self.module.get_global(symbol, stream.inner());
        let view = view.map_err(|error| self.missing(error, symbol, "cuModuleGetGlobal"))?;
        let mut device = vec![0u32; view.len() / size_of::<u32>()];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut device);
        stream.inner().memcpy_dtoh(&view, bytes).map_err(CudaError::of("cuMemcpyDtoHAsync"))?;
        stream.synchronize()?;
        Ok(device)
    }

    fn missing(&self, error: DriverError, symbol: &str, call: &'static str) -> CudaError {
        match error.0 {
            CUDA_ERROR_NOT_FOUND => {
                CudaError::NoSymbol { module: self.name.clone(), symbol: symbol.to_owned() }
            }
            _ => CudaError::of(call)(error),
        }
    }
}

/// A kernel. It keeps its module loaded.
#[derive(Clone, Debug)]
pub struct Function {
    name: Arc<str>,
    function: CudaFunction,
}

impl Function {
    /// The kernel's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a user means this kernel: by its name, or by that without its tile, as `forward` is
    /// for `forward_64x16`.
    pub fn is_named(&self, name: &str) -> bool {
        let rest = self.name.strip_prefix(name);
        rest.is_some_and(|rest| {
            let tile = rest.strip_prefix('_').and_then(|tile| tile.chars().next());
            rest.is_empty() || tile.is_some_and(|first| first.is_ascii_digit())
        })
    }

    /// Bytes of shared memory of a block that the kernel itself declares.
    pub fn static_shared(&self) -> Result<usize, CudaError> {
        self.attribute(Attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)
    }

    /// Registers of a thread; 0 on a device that has none to count.
    pub fn registers(&self) -> Result<usize, CudaError> {
        self.attribute(Attribute::CU_FUNC_ATTRIBUTE_NUM_REGS)
    }

    /// Bytes of a thread's local memory: spills and local arrays.
    pub fn local_bytes(&self) -> Result<usize, CudaError> {
        self.attribute(Attribute::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES)
    }

    fn attribute(&self, attribute: Attribute) -> Result<usize, CudaError> {
        let value = self.function.get_attribute(attribute);
        Ok(value.map_err(CudaError::of("cuFuncGetAttribute"))?.max(0) as usize)
    }

    /// Lets launches take up to so many bytes of dynamic shared memory, beyond 48 KiB too.
    pub fn allow_shared(&self, bytes: u32) -> Result<(), CudaError> {
        let attribute = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        self.function
            .set_attribute(attribute, i32::try_from(bytes).unwrap_or(i32::MAX))
            .map_err(CudaError::of("cuFuncSetAttribute"))
    }

    /// Blocks of so many threads and dynamic shared bytes that a multiprocessor holds at a time.
    pub fn blocks_per_multiprocessor(&self, threads: u32, shared: u32) -> Result<usize, CudaError> {
        self.function
            .occupancy_max_active_blocks_per_multiprocessor(threads, shared as usize, None)
            .map(|blocks| blocks as usize)
            .map_err(CudaError::of("cuOccupancyMaxActiveBlocksPerMultiprocessor"))
    }
}

/// The shape of a launch: blocks, threads of a block, bytes of dynamic shared memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub grid: (u32, u32, u32),
    pub block: (u32, u32, u32),
    pub shared: u32,
    /// Whether the blocks wait for each other: all are on the GPU at the same time, or none is.
    pub together: bool,
}

impl Shape {
    /// `blocks` blocks of `threads` threads in a row.
    pub fn line(blocks: u32, threads: u32) -> Shape {
        Shape { grid: (blocks, 1, 1), block: (threads, 1, 1), shared: 0, together: false }
    }

    pub fn with_shared(self, bytes: u32) -> Shape {
        Shape { shared: bytes, ..self }
    }

    /// The same of blocks that wait for each other.
    pub fn together(self) -> Shape {
        Shape { together: true, ..self }
    }
}

/// One argument of a launch: the driver copies its bytes while it is launched.
pub struct Arg<'a>(*mut c_void, PhantomData<&'a ()>);

/// An argument: a number, a struct, or the address of a buffer.
pub fn arg<T: Pod>(value: &T) -> Arg<'_> {
    Arg(std::ptr::from_ref(value).cast_mut().cast(), PhantomData)
}

/// Launches a kernel on a stream; nothing where the grid is empty. What the kernel itself does wrong
/// is told when the stream is synchronised.
///
/// Each kernel has one typed function around this, which makes the arguments what the kernel takes.
///
/// # Safety
/// The arguments are of the kernel's parameters, in number, order and type; the memory that they point
/// to, or that tables in it point to, is as large as the kernel takes it to be and lives until the
/// stream has come past the launch; and no other stream uses what it writes,
/// unless events put the two in an order.
pub unsafe fn launch(
    stream: &Stream,
    function: &Function,
    shape: Shape,
    args: &[Arg<'_>],
) -> Result<(), CudaError> {
    let Shape { grid, .. } = shape;
    if grid.0 == 0 || grid.1 == 0 || grid.2 == 0 {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    let send = || unsafe { send(stream, function, shape, args) };
    let watch = stream.watching();
    if watch.is_on() { watch.launch(stream, (function, shape), send) } else { send() }
}

/// Hands a launch to the driver.
///
/// # Safety
/// As of [`launch`].
unsafe fn send(
    stream: &Stream,
    function: &Function,
    Shape { grid, block, shared, together }: Shape,
    args: &[Arg<'_>],
) -> Result<(), CudaError> {
    let bound = stream.device().context().bind_to_thread();
    bound.map_err(CudaError::of("cuCtxSetCurrent"))?;
    let mut pointers: Vec<*mut c_void> = args.iter().map(|arg| arg.0).collect();
    let (kernel, on) = (function.function.cu_function(), stream.inner().cu_stream());
    let (call, launch): (_, unsafe fn(_, _, _, _, _, &mut [_]) -> _) = match together {
        false => ("cuLaunchKernel", result::launch_kernel),
        true => ("cuLaunchCooperativeKernel", result::launch_cooperative_kernel),
    };
    // SAFETY: function and stream are alive as long as their handles; the arguments point to values
    // that outlive this call, which copies them; the rest is the caller's promise.
    unsafe { launch(kernel, grid, block, shared, on, &mut pointers) }.map_err(CudaError::of(call))
}
