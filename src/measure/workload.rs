//! Work that can be measured: it knows how much it does, whether it is right, and how to take its time.

use serde_json::{Map, Value as Json};

use super::clock::{Elapsed, Moment};
use super::record::Work;
use crate::engine::cuda::tiles::Precision;
use crate::error::Result;

/// Work that can be done again and again.
pub trait Workload {
    /// Of one call.
    fn work(&self) -> Work;

    /// Does it once and compares the result with a reference. `Ok` says against what, `Err` what is
    /// wrong; nothing wrong is ever timed.
    fn check(&mut self) -> Result<Result<String, String>>;

    /// Does it once.
    fn call(&mut self) -> Result<()>;

    /// The time of so many calls: of this process's clocks, unless the work has a better one.
    fn time(&mut self, calls: usize) -> Result<Elapsed> {
        let start = Moment::now();
        for _ in 0..calls {
            self.call()?;
        }
        Ok(start.elapsed())
    }

    /// Fills the caches with something else.
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    /// Seconds of so many calls of another library that does the same, where there is one.
    fn rival(&mut self, _calls: usize) -> Result<Option<f64>> {
        Ok(None)
    }
}

/// What takes turns with the work, so that the machine's own ups and downs can be told from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// Nothing: a GPU has clocks of its own, and a sleep is the same on every machine.
    None,
    /// The loops of [`super::ceilings::processor`], on so many threads.
    Processor(usize),
}

/// Which roofs stand over the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ceiling {
    /// Of so many threads of the processor.
    Processor(usize),
    /// Of the GPU, in a precision.
    Gpu(Precision),
}

impl Ceiling {
    /// `2 threads`, `tf32`.
    pub fn name(self) -> String {
        match self {
            Ceiling::Processor(1) => "1 thread".to_owned(),
            Ceiling::Processor(threads) => format!("{threads} threads"),
            Ceiling::Gpu(precision) => precision.name().to_owned(),
        }
    }

    /// Whether a ceiling of this name is that of several threads together.
    pub fn is_of_several_threads(name: &str) -> bool {
        name.ends_with(" threads")
    }
}

/// A point's work, ready to be checked and timed.
pub struct Ready<'a> {
    pub workload: &'a mut dyn Workload,
    pub reference: Reference,
    /// Whether the caches are flushed before every call.
    pub cold: bool,
    pub ceiling: Ceiling,
    /// What the numbers depend on beside the axes.
    pub conditions: Map<String, Json>,
}

/// Empties a processor's caches by reading and writing more than they hold.
pub struct Flusher {
    memory: Vec<u8>,
    count: u8,
}

impl Flusher {
    /// Larger than the last-level cache of most machines (the share of a core, of all).
    const BYTES: usize = 64 << 20;

    pub fn new() -> Flusher {
        Flusher { memory: vec![0; Flusher::BYTES], count: 0 }
    }

    pub fn flush(&mut self) {
        self.count = self.count.wrapping_add(1);
        self.memory.fill(self.count);
        std::hint::black_box(&self.memory);
    }
}

impl Default for Flusher {
    fn default() -> Self {
        Flusher::new()
    }
}

/// Conditions from names and values.
pub fn conditions<const N: usize>(pairs: [(&str, Json); N]) -> Map<String, Json> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
