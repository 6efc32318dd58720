//! Single kernels of the CUDA engine around the products, on the tables of a whole trial array.

use bytemuck::{Pod, Zeroable};
use serde_json::Map;

use super::gemm::FLUSH;
use super::{Outcome, Visit, cached, skipped};
use crate::engine::cuda::launch::gather::{self, Gather};
use crate::engine::cuda::launch::gemm::{GemmProblem, Grouped, Product, Step};
use crate::engine::cuda::launch::init::{self, Init, InitTensor};
use crate::engine::cuda::launch::softmax_xent::{self, SoftmaxXent};
use crate::engine::cuda::launch::trial::{Clock, Data, Plan, Rule, Samples, Tile};
use crate::engine::cuda::launch::{Buffer, CudaError, Stream};
use crate::engine::cuda::tiles::Precision;
use crate::error::Result;
use crate::measure::axes::Point;
use crate::measure::bench::{Bench, CudaDevice};
use crate::measure::clock::{Elapsed, device_seconds};
use crate::measure::gpu_product::Matrices;
use crate::measure::record::Work;
use crate::measure::workload::{Ceiling, Ready, Reference, Workload};
use crate::random::{Purpose, Shuffle, Stream as Draws, symmetric_f32};

/// Makes a kernel's tables and has it visited.
pub fn measure(
    bench: &Bench,
    cuda: &CudaDevice,
    point: &Point,
    visit: Visit<'_>,
) -> Result<Outcome> {
    let kernel = match point.word("op") {
        "gather" => Kernel::gather(bench, cuda, point)?,
        "softmax_xent" => Kernel::softmax_xent(bench, cuda, point)?,
        "sgd" => Kernel::sgd(bench, cuda, point)?,
        "init" => Kernel::init(bench, cuda, point)?,
        _ => return skipped("on a GPU activations are part of the forward product: see gemm"),
    };
    if point.word("cache") == "rotating" {
        return skipped("a trial array has one set of tables: take cache=warm or cache=cold");
    }
    let cold = point.word("cache") == "cold";
    let flusher = if cold { Some(Buffer::zeroed(&cuda.stream, FLUSH)?) } else { None };
    let cached = cached(point, kernel.bytes);
    let mut workload = OnGpu { stream: &cuda.stream, kernel, cached, flusher };
    visit(Ready {
        workload: &mut workload,
        reference: Reference::None,
        cold,
        ceiling: Ceiling::Gpu(Precision::Fp32),
        conditions: Map::new(),
    })?;
    Ok(Outcome::Visited)
}

type Launch = dyn Fn(&Stream) -> Result<(), CudaError>;
/// What is wrong, if anything is.
type Check = dyn Fn() -> Result<Option<String>, CudaError>;

/// A kernel with everything that it works on.
struct Kernel {
    bytes: f64,
    launch: Box<Launch>,
    /// Compares what one launch made of fresh memory with the definition.
    check: Box<Check>,
}

struct OnGpu<'a> {
    stream: &'a Stream,
    kernel: Kernel,
    cached: bool,
    flusher: Option<Buffer<u8>>,
}

impl Workload for OnGpu<'_> {
    fn work(&self) -> Work {
        Work { bytes: self.kernel.bytes, cached: self.cached, ..Work::default() }
    }

    fn check(&mut self) -> Result<Result<String, String>> {
        self.call()?;
        Ok(match (self.kernel.check)()? {
            Some(wrong) => Err(wrong),
            None => Ok("the definition on the host".to_owned()),
        })
    }

    fn call(&mut self) -> Result<()> {
        Ok((self.kernel.launch)(self.stream)?)
    }

    fn time(&mut self, calls: usize) -> Result<Elapsed> {
        let wall = device_seconds(self.stream, || (0..calls).try_for_each(|_| self.call()))?;
        Ok(Elapsed { wall, processor: 0.0 })
    }

    fn flush(&mut self) -> Result<()> {
        self.flusher.as_mut().map_or(Ok(()), |buffer| Ok(buffer.clear()?))
    }
}

/// The sizes of a point.
struct Sizes {
    trials: usize,
    rows: usize,
    units: usize,
    inputs: usize,
}

impl Sizes {
    fn of(point: &Point) -> Sizes {
        let [trials, rows, units, inputs] =
            ["trials", "batch", "units", "inputs"].map(|axis| point.count(axis));
        Sizes { trials, rows, units, inputs }
    }

    /// A tile list: `count` things of each trial, cut.
    fn tiles(&self, count: usize, size: usize) -> Vec<Tile> {
        let of_trial = |trial: usize| {
            (0..count)
                .step_by(size)
                .map(move |first| Tile { of: trial as u32, first: first as u32 })
        };
        (0..self.trials).flat_map(of_trial).collect()
    }

    /// Trials in the first step of their first epoch.
    fn clocks(&self, keys: impl Fn(u32) -> [u32; 8]) -> Vec<Clock> {
        let step = Step { rows: self.rows as u32, training: 1, before: 0 };
        let clock = |trial: usize| Clock {
            step,
            learning: step,
            keys: keys(trial as u32),
            ..Clock::zeroed()
        };
        (0..self.trials).map(clock).collect()
    }
}

const RULE: Rule = Rule { learning_rate: 0.125, momentum: 0.5, weight_decay: 0.0, nesterov: 0 };

fn drawn(seed: u64, which: u16, count: usize) -> Vec<f32> {
    let stream = Draws::new(seed, Purpose::Synthetic(which), 0);
    (0..count).map(|i| symmetric_f32(stream.word(i as u64), 1.0)).collect()
}

fn upload<T: Pod>(cuda: &CudaDevice, values: &[T]) -> Result<Buffer<T>, CudaError> {
    Buffer::from_slice(&cuda.stream, values)
}

fn zeroed<T: Pod>(cuda: &CudaDevice, len: usize) -> Result<Buffer<T>, CudaError> {
    Buffer::zeroed(&cuda.stream, len)
}

/// Some of `count` places, spread out: all would take longer than the measurement.
fn sampled(count: usize) -> impl Iterator<Item = usize> {
    (0..count).step_by((count / 2000).max(1) | 1)
}

impl Kernel {
    fn gather(bench: &Bench, cuda: &CudaDevice, point: &Point) -> Result<Kernel, CudaError> {
        let sizes = Sizes::of(point);
        let Sizes { trials, rows, inputs, .. } = sizes;
        // Eight batches to pick from.
        let count = 8 * rows;
        let words = Draws::new(bench.seed, Purpose::Synthetic(0), 0);
        let host: Vec<u8> = (0..count * inputs).map(|i| words.word(i as u64) as u8).collect();
        let host_labels: Vec<u8> = (0..count).map(|i| (i % 10) as u8).collect();
        let (pixels, labels) = (upload(cuda, &host)?, upload(cuda, &host_labels)?);
        let part = Samples {
            pixels: pixels.address(),
            labels: labels.address(),
            count: count as u32,
            pad: 0,
        };
        let data = Data { training: part, validation: part, inputs: inputs as u32, classes: 10 };
        let stride = inputs.next_multiple_of(4);
        let out = zeroed::<f32>(cuda, trials * rows * stride)?;
        let out_labels = zeroed::<u32>(cuda, trials * rows)?;
        let plan = |trial: usize| Plan {
            inputs: out.address_of(trial * rows * stride),
            labels: out_labels.address_of(trial * rows),
            input_stride: stride as u32,
            shuffled: 1,
            ..Plan::zeroed()
        };
        let seed = bench.seed;
        // As `begin` draws the round keys of an epoch's shuffle.
        let keys = move |trial: u32| {
            let stream = Draws::new(seed, Purpose::Shuffle, trial);
            let [a, b] = [0, 1].map(|half| stream.block(half));
            std::array::from_fn(|i| if i < 4 { a[i] } else { b[i - 4] })
        };
        let plans = upload(cuda, &(0..trials).map(plan).collect::<Vec<_>>())?;
        let clocks = upload(cuda, &sizes.clocks(keys))?;
        let tiles = upload(cuda, &sizes.tiles(rows, gather::ROWS))?;
        let data = upload(cuda, &[data])?;
        let kernel = Gather::new(&cuda.compiler.kernels(cuda.stream.device(), "gather.cu")?)?;
        let check = move || {
            let _kept = (&labels, &out_labels);
            let got = out.download()?;
            let wrong = sampled(trials * rows * inputs).find_map(|place| {
                let (row, input) = (place / inputs, place % inputs);
                let shuffle = Shuffle::new(count, seed, (row / rows) as u32, 0);
                let sample = shuffle.index((row % rows) as u32) as usize;
                let expected = f32::from(host[sample * inputs + input]) / 255.0;
                let value = got[row * stride + input];
                (value.to_bits() != expected.to_bits())
                    .then(|| format!("{value} for {expected} in row {row}, pixel {input}"))
            });
            Ok(wrong)
        };
        Ok(Kernel {
            // A byte in, a float out, and the labels.
            bytes: (trials * rows * (5 * inputs + 5)) as f64,
            launch: Box::new(move |stream| {
                let _pixels = &pixels;
                kernel.launch(stream, &plans, &clocks, &tiles, &data)
            }),
            check: Box::new(check),
        })
    }

    fn softmax_xent(bench: &Bench, cuda: &CudaDevice, point: &Point) -> Result<Kernel, CudaError> {
        let sizes = Sizes::of(point);
        let Sizes { trials, rows, units: classes, .. } = sizes;
        let stride = classes.next_multiple_of(4);
        let host = drawn(bench.seed, 1, trials * rows * stride);
        let logits = upload(cuda, &host)?;
        let host_labels: Vec<u32> = (0..trials * rows).map(|i| (i * 7 % classes) as u32).collect();
        let labels = upload(cuda, &host_labels)?;
        let delta = zeroed::<f32>(cuda, trials * rows * stride)?;
        let losses = zeroed::<f32>(cuda, trials * rows)?;
        let predicted = zeroed::<u32>(cuda, trials * rows)?;
        let plan = |trial: usize| Plan {
            labels: labels.address_of(trial * rows),
            logits: logits.address_of(trial * rows * stride),
            delta: delta.address_of(trial * rows * stride),
            losses: losses.address_of(trial * rows),
            predicted: predicted.address_of(trial * rows),
            class_stride: stride as u32,
            ..Plan::zeroed()
        };
        let plans = upload(cuda, &(0..trials).map(plan).collect::<Vec<_>>())?;
        let clocks = upload(cuda, &sizes.clocks(|_| [0; 8]))?;
        let tiles = upload(cuda, &sizes.tiles(rows, softmax_xent::ROWS))?;
        let data = upload(cuda, &[Data { inputs: 1, classes: classes as u32, ..Data::zeroed() }])?;
        let kernel =
            SoftmaxXent::new(&cuda.compiler.kernels(cuda.stream.device(), "softmax_xent.cu")?)?;
        let check = move || {
            let got = delta.download()?;
            let wrong = sampled(trials * rows * classes).find_map(|place| {
                let (row, class) = (place / classes, place % classes);
                let z = |c: usize| f64::from(host[row * stride + c]).exp();
                let target = f64::from(u8::from(host_labels[row] as usize == class));
                let total: f64 = (0..classes).map(z).sum();
                let expected = (z(class) / total - target) / rows as f64;
                let value = got[row * stride + class];
                let error = (f64::from(value) - expected).abs() * rows as f64;
                (error.is_nan() || error > 1e-5)
                    .then(|| format!("{value} for {expected} in row {row}, class {class}"))
            });
            Ok(wrong)
        };
        Ok(Kernel {
            // Logits and labels in; gradient, loss and prediction out.
            bytes: (4 * trials * rows * (2 * classes + 3)) as f64,
            launch: Box::new(move |stream| {
                let _kept = (&logits, &labels, &losses, &predicted);
                kernel.launch(stream, &plans, &clocks, &tiles, &data)
            }),
            check: Box::new(check),
        })
    }

    /// The weight gradient, and the step of SGD that is part of it.
    fn sgd(bench: &Bench, cuda: &CudaDevice, point: &Point) -> Result<Kernel, CudaError> {
        let Sizes { trials, rows, units, inputs } = Sizes::of(point);
        let drawn =
            |which, shape| Matrices::random(&cuda.stream, (bench.seed, which), trials, shape);
        let weights = drawn(2, [inputs, units])?;
        let (given, slopes) = (drawn(3, [rows, inputs])?, drawn(4, [rows, units])?);
        let (stride, count) = (weights.stride, inputs * weights.stride);
        let velocity = zeroed::<f32>(cuda, trials * count)?;
        let rule = upload(cuda, &[RULE])?;
        let problem = |trial: usize| GemmProblem {
            a: given.address(trial),
            b: slopes.address(trial),
            c: weights.address(trial),
            rule: rule.address(),
            velocity: velocity.address_of(trial * count),
            m: inputs as u32,
            n: units as u32,
            k: rows as u32,
            lda: given.stride as u32,
            ldb: slopes.stride as u32,
            ldc: stride as u32,
            ..GemmProblem::default()
        };
        let problems: Vec<GemmProblem> = (0..trials).map(problem).collect();
        let gemm = cuda.gemm(Precision::Fp32)?;
        let grouped = Grouped::new(&gemm, &cuda.stream, Product::WeightGradient, &problems)?;
        let check = move || {
            let got = weights.buffer.download()?;
            let inside = |place: &usize| place % stride < units;
            let wrong = sampled(trials * count).filter(inside).find_map(|place| {
                let (trial, input, unit) = (place / count, place % count / stride, place % stride);
                let term = |row| given.at(trial, row, input) * slopes.at(trial, row, unit);
                // The first step: the velocity is the gradient.
                let gradient: f64 = (0..rows).map(term).sum();
                let rate = f64::from(RULE.learning_rate);
                let expected = weights.at(trial, input, unit) - rate * gradient;
                let off = (f64::from(got[place]) - expected).abs();
                // Not `off > bar`: a NaN must be found.
                let right = off <= 1e-6 * (1.0 + rows as f64);
                (!right).then(|| format!("{} for {expected} at {place}", got[place]))
            });
            Ok(wrong)
        };
        Ok(Kernel {
            // Weight and velocity both ways, and what the gradient is made of.
            bytes: (4 * trials * (4 * count + rows * (inputs + units))) as f64,
            launch: Box::new(move |stream| {
                let _kept = (&velocity, &rule);
                grouped.launch(stream)
            }),
            check: Box::new(check),
        })
    }

    fn init(bench: &Bench, cuda: &CudaDevice, point: &Point) -> Result<Kernel, CudaError> {
        let sizes = Sizes::of(point);
        let Sizes { trials, units, inputs, .. } = sizes;
        let stride = units.next_multiple_of(4);
        let (count, seed) = (inputs * stride, bench.seed);
        let values = zeroed::<f32>(cuda, trials * count)?;
        let tensor = |trial: usize| InitTensor {
            seed,
            values: values.address_of(trial * count),
            trial: trial as u32,
            purpose: Purpose::Init(0).word(),
            inputs: inputs as u32,
            outputs: units as u32,
            stride: stride as u32,
            bound: 0.5,
        };
        let tensors = upload(cuda, &(0..trials).map(tensor).collect::<Vec<_>>())?;
        let tiles = upload(cuda, &sizes.tiles((inputs * units).div_ceil(4), init::BLOCKS))?;
        let kernel = Init::new(&cuda.compiler.kernels(cuda.stream.device(), "init.cu")?)?;
        let check = move || {
            let got = values.download()?;
            let wrong = sampled(trials * inputs * units).find_map(|place| {
                let (trial, rest) = (place / (inputs * units), place % (inputs * units));
                let (output, input) = (rest / inputs, rest % inputs);
                let stream = Draws::new(seed, Purpose::Init(0), trial as u32);
                let expected = symmetric_f32(stream.word(rest as u64), 0.5);
                let value = got[trial * count + input * stride + output];
                (value.to_bits() != expected.to_bits())
                    .then(|| format!("{value} for {expected} at input {input}, output {output}"))
            });
            Ok(wrong)
        };
        Ok(Kernel {
            bytes: (4 * trials * inputs * units) as f64,
            launch: Box::new(move |stream| kernel.launch(stream, &tensors, &tiles)),
            check: Box::new(check),
        })
    }
}
