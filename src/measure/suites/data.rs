//! The way of the samples: from files to memory, in another order each epoch, to a GPU.

use std::path::Path;

use serde_json::Map;

use super::{Outcome, Suite, Visit, count, skipped, words};
use crate::data::{Dataset, files};
use crate::engine::cuda::launch::{Buffer, Stream};
use crate::engine::cuda::tiles::Precision;
use crate::error::Result;
use crate::measure::axes::{AxisSpec, Point};
use crate::measure::bench::{Bench, Device};
use crate::measure::clock::{Elapsed, device_seconds};
use crate::measure::record::Work;
use crate::measure::workload::{Ceiling, Ready, Reference, Workload};
use crate::random::Shuffle;

pub struct Data;

impl Suite for Data {
    fn name(&self) -> &'static str {
        "data"
    }

    fn about(&self) -> &'static str {
        "samples: load from files, digest, shuffle (CPU), upload (GPU)"
    }

    fn axes(&self) -> &'static [AxisSpec] {
        const OPS: &[&str] = &["load", "digest", "shuffle", "upload"];
        const AXES: &[AxisSpec] = &[
            words(
                "op",
                "what is done",
                OPS,
                "load,digest,shuffle,upload",
                "load,digest,shuffle,upload",
            ),
            count("samples", "samples that are shuffled or uploaded", [1, 1 << 24], "60000", "500"),
        ];
        AXES
    }

    fn measure(&self, bench: &Bench, point: &Point, visit: Visit<'_>) -> Result<Outcome> {
        let (op, samples) = (point.word("op"), point.count("samples"));
        match (&bench.device, op) {
            (Device::Cuda(cuda), "upload") => {
                let bytes = &bench.data.train.pixels;
                let count = (samples * bench.data.pixels()).min(bytes.len());
                let host = bytes.get(..count).unwrap_or_default();
                let device = Buffer::zeroed(&cuda.stream, host.len())?;
                let mut workload =
                    Upload { stream: &cuda.stream, host, device, simulated: cuda.is_simulated() };
                let ceiling = Ceiling::Gpu(Precision::Fp32);
                let conditions = Map::new();
                visit(Ready {
                    workload: &mut workload,
                    reference: Reference::None,
                    cold: false,
                    ceiling,
                    conditions,
                })?;
            }
            (Device::Processor(_), "upload") => return skipped("there is no GPU to upload to"),
            (Device::Cuda(_), _) => return skipped("the processor does this: take --device cpu"),
            (Device::Processor(_), "load") => {
                let Some(folder) = bench.data_folder.as_deref() else {
                    return skipped("the built-in data set has no files");
                };
                on_processor(&mut Load { bench, folder }, visit)?;
            }
            (Device::Processor(_), "digest") => {
                on_processor(&mut Digest { data: &bench.data }, visit)?
            }
            (Device::Processor(_), _) => {
                let order = vec![0; samples];
                on_processor(&mut Order { seed: bench.seed, epoch: 0, order }, visit)?;
            }
        }
        Ok(Outcome::Visited)
    }
}

fn on_processor(workload: &mut dyn Workload, visit: Visit<'_>) -> Result<()> {
    visit(Ready {
        workload,
        reference: Reference::Processor(1),
        cold: false,
        ceiling: Ceiling::Processor(1),
        conditions: Map::new(),
    })
}

/// Bytes of all pixels and labels.
fn bytes_of(data: &Dataset) -> f64 {
    let parts = [&data.train, &data.test];
    parts.iter().map(|part| part.pixels.len() + part.labels.len()).sum::<usize>() as f64
}

fn same(got: &Dataset, expected: &Dataset) -> Result<String, String> {
    match got.fingerprint == expected.fingerprint {
        true => Ok("the data set's fingerprint".to_owned()),
        false => Err(format!("fingerprint {}, not {}", got.fingerprint, expected.fingerprint)),
    }
}

/// Reads the four files again; compressed ones are unpacked.
struct Load<'a> {
    bench: &'a Bench,
    folder: &'a Path,
}

impl Workload for Load<'_> {
    fn work(&self) -> Work {
        Work { bytes: bytes_of(&self.bench.data), ..Work::default() }
    }

    fn check(&mut self) -> Result<Result<String, String>> {
        Ok(same(&files::load_folder(&self.bench.data.name, self.folder)?, &self.bench.data))
    }

    fn call(&mut self) -> Result<()> {
        std::hint::black_box(files::load_folder(&self.bench.data.name, self.folder)?);
        Ok(())
    }
}

/// The fingerprint of a whole data set.
struct Digest<'a> {
    data: &'a Dataset,
}

impl Digest<'_> {
    fn digest(&self) -> Dataset {
        let Dataset { name, train, test, rows, cols, classes, .. } = self.data;
        Dataset::new(name, train.clone(), test.clone(), [*rows, *cols], *classes)
    }
}

impl Workload for Digest<'_> {
    fn work(&self) -> Work {
        Work { bytes: bytes_of(self.data), ..Work::default() }
    }

    fn check(&mut self) -> Result<Result<String, String>> {
        Ok(same(&self.digest(), self.data))
    }

    fn call(&mut self) -> Result<()> {
        std::hint::black_box(self.digest());
        Ok(())
    }
}

/// The order of an epoch.
struct Order {
    seed: u64,
    epoch: u32,
    order: Vec<u32>,
}

impl Workload for Order {
    fn work(&self) -> Work {
        // Computed, not copied: memory is no roof over it.
        Work { bytes: (4 * self.order.len()) as f64, cached: true, ..Work::default() }
    }

    fn check(&mut self) -> Result<Result<String, String>> {
        self.call()?;
        let mut sorted = self.order.clone();
        sorted.sort_unstable();
        Ok(match sorted.iter().copied().eq(0..sorted.len() as u32) {
            true => Ok("every sample once".to_owned()),
            false => Err("a sample is missing in the order".to_owned()),
        })
    }

    fn call(&mut self) -> Result<()> {
        self.epoch = self.epoch.wrapping_add(1);
        Shuffle::new(self.order.len(), self.seed, 0, self.epoch).fill(0, &mut self.order);
        std::hint::black_box(&self.order);
        Ok(())
    }
}

/// Pixels from the host's memory to the GPU's.
struct Upload<'a> {
    stream: &'a Stream,
    host: &'a [u8],
    device: Buffer<u8>,
    simulated: bool,
}

impl Workload for Upload<'_> {
    fn work(&self) -> Work {
        Work { bytes: self.host.len() as f64, ..Work::default() }
    }

    fn check(&mut self) -> Result<Result<String, String>> {
        self.call()?;
        Ok(match self.device.download()? == self.host {
            true => Ok("every byte, copied back".to_owned()),
            false => Err("bytes differ that were copied there and back".to_owned()),
        })
    }

    fn call(&mut self) -> Result<()> {
        Ok(self.device.upload(0, self.host)?)
    }

    fn time(&mut self, calls: usize) -> Result<Elapsed> {
        let wall = device_seconds(self.stream, || (0..calls).try_for_each(|_| self.call()))?;
        // A copy executes no instruction: the bytes are what can be counted.
        let wall = if self.simulated { 1e-9 * (calls * self.host.len()) as f64 } else { wall };
        Ok(Elapsed { wall, processor: 0.0 })
    }
}
