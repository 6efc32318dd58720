//! Memory of the host that running kernels read and write in place, over the bus.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use bytemuck::Pod;
use cudarc::driver::{result, sys};

use super::{CudaError, Device};

/// The least that a value takes and is aligned to: the words that the bus moves as one.
const WORD: usize = size_of::<u32>();

/// `len` values in memory that the host and the kernels of a GPU share while they run. Values are moved
/// word by word, so that none is torn; what was written before a [`release`](Mapped::release) is
/// there for whoever sees what it wrote.
///
/// It must outlive every kernel that has its address: who launches waits before it is dropped.
#[derive(Debug)]
pub struct Mapped<T> {
    device: Device,
    values: NonNull<c_void>,
    address: u64,
    len: usize,
    of: PhantomData<T>,
}

// SAFETY: the memory is the driver's, reached through atomic words alone, and may be freed by any thread.
unsafe impl<T: Send> Send for Mapped<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Mapped<T> {}

impl<T: Pod> Mapped<T> {
    /// Mapped zeros; at least one value.
    pub fn zeroed(device: &Device, len: usize) -> Result<Self, CudaError> {
        const { assert!(size_of::<T>() > 0 && size_of::<T>().is_multiple_of(WORD)) };
        let bytes = len.max(1).saturating_mul(size_of::<T>());
        let bound = device.context().bind_to_thread();
        bound.map_err(CudaError::of("cuCtxSetCurrent"))?;
        let flags = sys::CU_MEMHOSTALLOC_DEVICEMAP | sys::CU_MEMHOSTALLOC_PORTABLE;
        // SAFETY: it is written with zeros before it is read.
        let values = unsafe { result::malloc_host(bytes, flags) };
        let values = values.map_err(CudaError::of("cuMemHostAlloc"))?;
        let mut address = 0;
        // SAFETY: the memory was just allocated as mapped, and there is a place for its address.
        let found = unsafe { sys::cuMemHostGetDevicePointer_v2(&mut address, values, 0) };
        let found = found.result().map_err(CudaError::of("cuMemHostGetDevicePointer"));
        // SAFETY: as many bytes as were allocated, and nobody else has them yet.
        unsafe { std::ptr::write_bytes(values.cast::<u8>(), 0, bytes) };
        // The driver never gives null with success.
        let values = NonNull::new(values)
            .ok_or(CudaError::OutOfMemory { gpu: device.gpu().ordinal, bytes })?;
        let mapped = Mapped { device: device.clone(), values, address, len, of: PhantomData };
        found.map(|()| mapped)
    }

    /// How many values it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The address of the first value for kernels, valid while this lives.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// The value at `index` as it is now. Of a value that a kernel writes meanwhile some words may be new.
    pub fn read(&self, index: usize) -> T {
        let mut value = T::zeroed();
        let words = bytemuck::bytes_of_mut(&mut value).chunks_exact_mut(WORD);
        for (place, word) in words.enumerate() {
            word.copy_from_slice(&self.word(index, place).load(Ordering::Relaxed).to_ne_bytes());
        }
        value
    }

    /// Writes the value at `index`.
    pub fn write(&self, index: usize, value: T) {
        for (place, word) in bytemuck::bytes_of(&value).chunks_exact(WORD).enumerate() {
            let word = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
            self.word(index, place).store(word, Ordering::Relaxed);
        }
    }

    /// A 32-bit field of the value at `index`, `offset` bytes into it; later reads see what was written
    /// before the field got this value.
    pub fn acquire(&self, index: usize, offset: usize) -> u32 {
        self.word(index, offset / WORD).load(Ordering::Acquire)
    }

    /// Writes a 32-bit field of the value at `index`, `offset` bytes into it, after all else that this
    /// thread wrote.
    pub fn release(&self, index: usize, offset: usize, field: u32) {
        self.word(index, offset / WORD).store(field, Ordering::Release);
    }

    fn word(&self, index: usize, place: usize) -> &AtomicU32 {
        let words = size_of::<T>() / WORD;
        assert!(index < self.len && place < words, "word {place} of value {index} of {}", self.len);
        let first = self.values.cast::<AtomicU32>();
        // SAFETY: it lies within the allocation, is aligned (the driver aligns to pages), and is only ever
        // reached as an atomic word.
        unsafe { first.add(index * words + place).as_ref() }
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // After an error of the device nothing can be freed, and nothing is lost.
        let _ = self.device.context().bind_to_thread();
        // SAFETY: allocated by `malloc_host`; no kernel that has its address runs, as promised.
        let _ = unsafe { result::free_host(self.values.as_ptr()) };
    }
}
