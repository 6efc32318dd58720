//! Two clocks: the one on the wall, and the processor time that this process was given.
//!
//! On a busy machine a process waits for a core, so its wall time says what the machine did. Its
//! processor time leaves the waiting out (not the cache and the memory that others take).

use std::ops::{AddAssign, Sub};
use std::time::{Duration, Instant};

use crate::engine::cuda::launch::{CudaError, Stream};

/// A moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    wall: Instant,
    processor: Duration,
}

impl Moment {
    /// Now; takes some hundred nanoseconds.
    pub fn now() -> Moment {
        Moment { wall: Instant::now(), processor: processor_time() }
    }

    pub fn elapsed(&self) -> Elapsed {
        let processor = processor_time();
        Elapsed {
            wall: self.wall.elapsed().as_secs_f64(),
            processor: processor.saturating_sub(self.processor).as_secs_f64(),
        }
    }
}

/// Time that something took, in seconds on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Elapsed {
    pub wall: f64,
    /// Of all threads of this process together.
    pub processor: f64,
}

impl AddAssign for Elapsed {
    fn add_assign(&mut self, other: Elapsed) {
        self.wall += other.wall;
        self.processor += other.processor;
    }
}

impl Sub for Elapsed {
    type Output = Elapsed;

    fn sub(self, other: Elapsed) -> Elapsed {
        Elapsed { wall: self.wall - other.wall, processor: self.processor - other.processor }
    }
}

/// Processor time of all threads of this process so far, those that have ended included.
#[cfg(unix)]
fn processor_time() -> Duration {
    of_clock(rustix::time::ClockId::ProcessCPUTime)
}

/// Processor time of this thread so far.
#[cfg(unix)]
pub fn thread_time() -> Duration {
    of_clock(rustix::time::ClockId::ThreadCPUTime)
}

#[cfg(unix)]
fn of_clock(clock: rustix::time::ClockId) -> Duration {
    let time = rustix::time::clock_gettime(clock);
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec.max(0) as u32)
}

/// Seconds of the GPU's clock that some work on a stream takes; waits for it.
///
/// On the simulated device it is a billionth of the warp instructions that were executed.
pub fn device_seconds<E: From<CudaError>>(
    stream: &Stream,
    work: impl FnOnce() -> Result<(), E>,
) -> Result<f64, E> {
    let start = stream.event()?;
    work()?;
    Ok(start.seconds_until(&stream.event()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_takes_time_on_the_wall_and_next_to_none_of_the_processor() {
        let start = (Instant::now(), thread_time());
        std::thread::sleep(Duration::from_millis(30));
        let (wall, processor) = (start.0.elapsed(), thread_time() - start.1);
        assert!(wall >= Duration::from_millis(30));
        assert!(processor < wall, "{processor:?} of {wall:?}");
    }

    #[test]
    fn work_of_several_threads_adds_up_on_the_processor() {
        let start = Moment::now();
        let spin = || {
            let begun = thread_time();
            while thread_time() - begun < Duration::from_millis(20) {
                std::hint::spin_loop();
            }
        };
        std::thread::scope(|scope| (0..3).for_each(|_| drop(scope.spawn(spin))));
        assert!(start.elapsed().processor >= 0.06);
    }
}
