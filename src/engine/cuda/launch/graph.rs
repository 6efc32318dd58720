//! Launches recorded once and run many times, at the price of one.

use cudarc::driver::CudaGraph;
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUresult, CUstreamCaptureMode};
use cudarc::driver::{CudaStream, DriverError};

use super::{CudaError, Stream};

/// Recorded launches, with the arguments that they had. What these point to must live as long as the
/// graph is launched.
pub struct Graph {
    graph: CudaGraph,
}

impl Graph {
    pub(super) fn capture<E: From<CudaError>>(
        stream: &Stream,
        work: impl FnOnce() -> Result<(), E>,
    ) -> Result<Graph, E> {
        // Of this thread only: other threads may allocate for arrays of their own meanwhile.
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        stream.inner().begin_capture(mode).map_err(CudaError::of("cuStreamBeginCapture"))?;
        // Ended whatever the work came to: a stream left capturing can do nothing else.
        let ending = Ending(Some(stream.inner()));
        work()?;
        let graph = ending.end().map_err(CudaError::of("cuStreamEndCapture"))?;
        Ok(Graph { graph })
    }

    /// Runs the recorded launches on the stream that they were recorded on.
    pub fn launch(&self) -> Result<(), CudaError> {
        self.graph.launch().map_err(CudaError::of("cuGraphLaunch"))
    }
}

/// A capture that is to be ended.
struct Ending<'a>(Option<&'a std::sync::Arc<CudaStream>>);

impl Ending<'_> {
    fn end(mut self) -> Result<CudaGraph, DriverError> {
        let invalid = DriverError(CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
        let stream = self.0.take().ok_or(invalid)?;
        stream.end_capture(CUgraphInstantiate_flags(0))?.ok_or(invalid)
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if let Some(stream) = self.0.take() {
            // The work's own error is the one that is told.
            let _ = stream.end_capture(CUgraphInstantiate_flags(0));
        }
    }
}
