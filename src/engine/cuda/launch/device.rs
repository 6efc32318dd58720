//! A GPU in use: its context, and streams of work for it.

use std::sync::Arc;

use cudarc::driver::sys::CUevent_flags;
use cudarc::driver::{CudaContext, CudaEvent, CudaStream};

use super::driver::{Driver, Gpu};
use super::watch::Watch;
use super::{CudaError, Graph};

/// A GPU with its context. Clones are handles to the same one, and may go to any thread.
#[derive(Clone, Debug)]
pub struct Device {
    gpu: Arc<Gpu>,
    context: Arc<CudaContext>,
}

impl Device {
    /// The GPU of this ordinal, with its primary context.
    pub fn new(driver: &Driver, ordinal: usize) -> Result<Device, CudaError> {
        let gpu = Arc::new(driver.gpu(ordinal)?);
        let context =
            CudaContext::new(ordinal).map_err(CudaError::of("cuDevicePrimaryCtxRetain"))?;
        // SAFETY: without tracking, nothing orders streams that share a buffer but their user; and a
        // stream's work with buffers of another is ordered by events where there is any.
        unsafe { context.disable_event_tracking() };
        Ok(Device { gpu, context })
    }

    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Free and total bytes of device memory, now.
    pub fn memory(&self) -> Result<(usize, usize), CudaError> {
        self.context.mem_get_info().map_err(CudaError::of("cuMemGetInfo"))
    }

    /// A new stream: work that runs in order, beside that of other streams.
    pub fn stream(&self) -> Result<Stream, CudaError> {
        let stream = self.context.new_stream().map_err(CudaError::of("cuStreamCreate"))?;
        Ok(Stream { device: self.clone(), stream, watch: Arc::default() })
    }

    pub(super) fn context(&self) -> &Arc<CudaContext> {
        &self.context
    }
}

/// An order of work on a GPU. Buffers, launches and copies belong to a stream; what is freed is freed
/// when the stream comes to it. Clones are handles to the same stream.
#[derive(Clone, Debug)]
pub struct Stream {
    device: Device,
    stream: Arc<CudaStream>,
    watch: Arc<Watch>,
}

impl Stream {
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Waits for all work so far. A kernel's failure is told here, or by any later call.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        self.stream.synchronize().map_err(CudaError::of("cuStreamSynchronize"))
    }

    /// A moment of this stream: after the work so far.
    pub fn event(&self) -> Result<Event, CudaError> {
        let flags = Some(CUevent_flags::CU_EVENT_DEFAULT);
        self.stream.record_event(flags).map(Event).map_err(CudaError::of("cuEventRecord"))
    }

    /// Lets all later work of this stream wait for a moment of another.
    pub fn wait(&self, event: &Event) -> Result<(), CudaError> {
        self.stream.wait(&event.0).map_err(CudaError::of("cuStreamWaitEvent"))
    }

    /// Records the launches that `work` makes on this stream as a graph, without running them.
    ///
    /// Only launches, zeroing and copies between buffers may be in it: an allocation, a copy from or
    /// to the host, or a wait makes the capture fail.
    pub fn capture<E: From<CudaError>>(
        &self,
        work: impl FnOnce() -> Result<(), E>,
    ) -> Result<Graph, E> {
        Graph::capture(self, work)
    }

    pub(super) fn watching(&self) -> &Watch {
        &self.watch
    }

    pub(super) fn inner(&self) -> &Arc<CudaStream> {
        &self.stream
    }
}

/// A moment in a stream.
#[derive(Debug)]
pub struct Event(CudaEvent);

impl Event {
    /// Waits for the moment.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        self.0.synchronize().map_err(CudaError::of("cuEventSynchronize"))
    }

    /// Whether the moment has come.
    pub fn is_past(&self) -> Result<bool, CudaError> {
        self.0.try_is_complete().map_err(CudaError::of("cuEventQuery"))
    }

    /// Seconds of the GPU's clock from this moment to a later one; waits for both.
    pub fn seconds_until(&self, later: &Event) -> Result<f64, CudaError> {
        let ms = self.0.elapsed_ms(&later.0).map_err(CudaError::of("cuEventElapsedTime"))?;
        Ok(f64::from(ms) / 1e3)
    }
}
