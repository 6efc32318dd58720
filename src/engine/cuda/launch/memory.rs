//! Device memory, and host memory that a GPU copies to by itself.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use bytemuck::Pod;
use cudarc::driver::sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY;
use cudarc::driver::{CudaSlice, DevicePtr, DriverError, PinnedHostSlice};

use super::{CudaError, Event, Stream};

/// `len` values of `T` on a GPU, freed in its stream's order when dropped. Its address is a multiple
/// of 256.
#[derive(Debug)]
pub struct Buffer<T> {
    stream: Stream,
    bytes: CudaSlice<u8>,
    len: usize,
    of: PhantomData<T>,
}

impl<T: Pod> Buffer<T> {
    /// Memory with zeros.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`] where a smaller array would have fitted.
    pub fn zeroed(stream: &Stream, len: usize) -> Result<Self, CudaError> {
        let mut buffer = Self::unset(stream, len)?;
        buffer.clear()?;
        Ok(buffer)
    }

    /// Memory whose contents the first kernel is to write: a read before that reads anything.
    pub fn unset(stream: &Stream, len: usize) -> Result<Self, CudaError> {
        // The driver refuses to allocate nothing.
        let bytes = len.saturating_mul(size_of::<T>()).max(1);
        // SAFETY: no value of the memory is used on the host before it was written; on the device any
        // bytes are a value of every `Pod` type.
        let allocated = unsafe { stream.inner().alloc::<u8>(bytes) };
        let bytes = allocated.map_err(|error| out_of_memory(error, stream, bytes, "cuMemAlloc"))?;
        Ok(Buffer { stream: stream.clone(), bytes, len, of: PhantomData })
    }

    /// A copy of values of the host.
    pub fn from_slice(stream: &Stream, values: &[T]) -> Result<Self, CudaError> {
        let mut buffer = Self::unset(stream, values.len())?;
        buffer.upload(0, values)?;
        Ok(buffer)
    }

    /// How many values it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The device address of the first value, for parameter tables; valid while the buffer lives.
    pub fn address(&self) -> u64 {
        self.bytes.device_ptr(self.stream.inner()).0
    }

    /// The device address of the value at `index`.
    pub fn address_of(&self, index: usize) -> u64 {
        self.address() + (index * size_of::<T>()) as u64
    }

    /// Makes all of it zero.
    pub fn clear(&mut self) -> Result<(), CudaError> {
        let call = self.stream.inner().memset_zeros(&mut self.bytes);
        call.map_err(CudaError::of("cuMemsetD8Async"))
    }

    /// Copies values of the host to `first` onward; returns when they have left the host.
    ///
    /// # Panics
    /// If they do not fit: a mistake in the calling code.
    pub fn upload(&mut self, first: usize, values: &[T]) -> Result<(), CudaError> {
        if values.is_empty() {
            return Ok(());
        }
        let place = byte_range::<T>(first..first + values.len(), self.len);
        let stream = self.stream.inner();
        let mut view = self.bytes.slice_mut(place);
        stream
            .memcpy_htod(bytemuck::cast_slice::<T, u8>(values), &mut view)
            .map_err(CudaError::of("cuMemcpyHtoDAsync"))?;
        self.stream.synchronize()
    }

    /// All values, once the stream has come so far.
    pub fn download(&self) -> Result<Vec<T>, CudaError> {
        self.download_range(0..self.len)
    }

    /// The values of a range, once the stream has come so far.
    ///
    /// # Panics
    /// If the range goes beyond the buffer: a mistake in the calling code.
    pub fn download_range(&self, range: Range<usize>) -> Result<Vec<T>, CudaError> {
        let mut values = vec![T::zeroed(); range.len()];
        if values.is_empty() {
            return Ok(values);
        }
        let view = self.bytes.slice(byte_range::<T>(range, self.len));
        let stream = self.stream.inner();
        stream
            .memcpy_dtoh(&view, bytemuck::cast_slice_mut::<T, u8>(&mut values))
            .map_err(CudaError::of("cuMemcpyDtoHAsync"))?;
        self.stream.synchronize()?;
        Ok(values)
    }

    /// Copies all values of another buffer of this GPU to the beginning of this one, in the stream's
    /// order.
    ///
    /// # Panics
    /// If they do not fit: a mistake in the calling code.
    pub fn copy_from(&mut self, from: &Buffer<T>) -> Result<(), CudaError> {
        let mut view = self.bytes.slice_mut(byte_range::<T>(0..from.len, self.len));
        let stream = self.stream.inner();
        stream.memcpy_dtod(&from.bytes, &mut view).map_err(CudaError::of("cuMemcpyDtoDAsync"))
    }

    /// Begins to copy the first values to the host's `to`, which waits for them when it is read.
    ///
    /// # Panics
    /// If `to` is longer than the buffer: a mistake in the calling code.
    pub fn send(&self, to: &mut Pinned<T>) -> Result<(), CudaError> {
        let view = self.bytes.slice(byte_range::<T>(0..to.len, self.len));
        let stream = self.stream.inner();
        stream.memcpy_dtoh(&view, &mut to.bytes).map_err(CudaError::of("cuMemcpyDtoHAsync"))?;
        to.set_under_way(self.stream.event()?);
        Ok(())
    }

    /// Begins to copy all values of the host's `from` to the beginning of the buffer; `from` waits
    /// for that when it is written again.
    ///
    /// # Panics
    /// If `from` is longer than the buffer: a mistake in the calling code.
    pub fn receive(&mut self, from: &Pinned<T>) -> Result<(), CudaError> {
        let mut view = self.bytes.slice_mut(byte_range::<T>(0..from.len, self.len));
        let stream = self.stream.inner();
        stream.memcpy_htod(&from.bytes, &mut view).map_err(CudaError::of("cuMemcpyHtoDAsync"))?;
        from.set_under_way(self.stream.event()?);
        Ok(())
    }
}

/// `len` values in memory of the host that stays where it is, so that a GPU copies from and to it
/// beside other work. At least one value.
#[derive(Debug)]
pub struct Pinned<T> {
    bytes: PinnedHostSlice<u8>,
    /// After the last copy. cudarc's own event is not recorded while its tracking is off.
    under_way: Mutex<Option<Event>>,
    len: usize,
    of: PhantomData<T>,
}

impl<T: Pod> Pinned<T> {
    /// Pinned zeros.
    pub fn zeroed(stream: &Stream, len: usize) -> Result<Self, CudaError> {
        let bytes = len.saturating_mul(size_of::<T>());
        let context = stream.device().context();
        // SAFETY: the memory is written with zeros before it is read. No flags: it is read by the
        // host, for which write-combined memory is slow.
        let allocated = unsafe { context.alloc_pinned_with_flags::<u8>(bytes, 0) };
        let bytes =
            allocated.map_err(|error| out_of_memory(error, stream, bytes, "cuMemHostAlloc"))?;
        let mut pinned = Pinned { bytes, under_way: Mutex::default(), len, of: PhantomData };
        pinned.values_mut()?.fill(T::zeroed());
        Ok(pinned)
    }

    /// The values, once copies from or to them are done.
    pub fn values(&self) -> Result<&[T], CudaError> {
        self.wait()?;
        let bytes = self.bytes.as_slice().map_err(CudaError::of("cuEventSynchronize"))?;
        Ok(bytemuck::cast_slice(bytes))
    }

    /// The values, once copies from or to them are done.
    pub fn values_mut(&mut self) -> Result<&mut [T], CudaError> {
        self.wait()?;
        let bytes = self.bytes.as_mut_slice().map_err(CudaError::of("cuEventSynchronize"))?;
        Ok(bytemuck::cast_slice_mut(bytes))
    }
}

impl<T> Pinned<T> {
    /// Notes a copy: work of one stream, so the last is behind all others.
    fn set_under_way(&self, event: Event) {
        *self.under_way.lock().unwrap_or_else(PoisonError::into_inner) = Some(event);
    }

    fn wait(&self) -> Result<(), CudaError> {
        let event = self.under_way.lock().unwrap_or_else(PoisonError::into_inner).take();
        event.map_or(Ok(()), |event| event.synchronize())
    }
}

impl<T> Drop for Pinned<T> {
    /// The memory is not given back while the GPU may still copy.
    fn drop(&mut self) {
        // After an error of the device no copy is under way.
        let _ = self.wait();
    }
}

/// The bytes of a range of values.
fn byte_range<T>(range: Range<usize>, len: usize) -> Range<usize> {
    assert!(range.start <= range.end && range.end <= len, "{range:?} of a buffer of {len}");
    range.start * size_of::<T>()..range.end * size_of::<T>()
}

/// Names what was asked for where memory is what is missing.
fn out_of_memory(
    error: DriverError,
    stream: &Stream,
    bytes: usize,
    call: &'static str,
) -> CudaError {
    match error.0 {
        CUDA_ERROR_OUT_OF_MEMORY => {
            CudaError::OutOfMemory { gpu: stream.device().gpu().ordinal, bytes }
        }
        _ => CudaError::of(call)(error),
    }
}
