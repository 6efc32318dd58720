//! The grouped GEMM beside cuBLAS, on the shapes of this work and on squares.
//!
//!     cargo bench --bench cuda_gemm -- [--json FILE] [--small]
//!
//! Every result is checked first, in float64 on a sample of its elements; a wrong one is not timed. Times
//! are of the GPU's own clock, medians of rounds in which ours and cuBLAS take turns, each round many
//! launches. Groups are 64 products of one shape: for cuBLAS one batched call, for ours one launch.
//! Operands stay in the second-level cache where they fit, for both alike. `--small` runs tiny shapes,
//! on the simulated device too: it proves that this program works, and its times mean nothing.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde::Serialize;
use warpsweep::engine::cuda::compile::Compiler;
use warpsweep::engine::cuda::launch::cublas::{Cublas, Shapes};
use warpsweep::engine::cuda::launch::gemm::{Gemm, GemmProblem, Grouped, Product};
use warpsweep::engine::cuda::launch::{Buffer, CudaError, Device, Driver, Stream};
use warpsweep::engine::cuda::program::embedded;
use warpsweep::engine::cuda::tiles::{Precision, Tile};
use warpsweep::random::{Purpose, Stream as Draws, symmetric_f32};

type Failure = Box<dyn std::error::Error>;

#[derive(Parser)]
struct Arguments {
    /// Where to write the results
    #[arg(long)]
    json: Option<PathBuf>,
    /// Tiny shapes, to see that this program works
    #[arg(long)]
    small: bool,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// A shape, and how many products of it there are.
#[derive(Clone, Copy, Debug, Serialize)]
struct Shape {
    m: usize,
    n: usize,
    k: usize,
    group: usize,
}

#[derive(Debug, Serialize)]
struct Measurement {
    product: &'static str,
    precision: &'static str,
    #[serde(flatten)]
    shape: Shape,
    tile: String,
    /// Of the sampled elements' sums of absolute products.
    worst_error: f64,
    seconds: f64,
    tflops: f64,
    /// Absent without cuBLAS, and for 3xTF32 where it has no counterpart but FP32's.
    cublas_seconds: Option<f64>,
    /// cuBLAS's time over ours: above 1, ours is faster.
    speed_beside_cublas: Option<f64>,
}

#[derive(Serialize)]
struct Report {
    gpu: String,
    driver: String,
    date: String,
    command: String,
    commit: String,
    rounds: usize,
    measurements: Vec<Measurement>,
}

const ROUNDS: usize = 7;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cuda_gemm: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let driver = match Driver::load() {
        // `cargo bench` runs every benchmark, also where there is no GPU.
        Err(error @ (CudaError::NoDriver | CudaError::NoGpu)) if arguments.json.is_none() => {
            println!("skipped: {error}");
            return Ok(());
        }
        other => other?,
    };
    let compiler = Compiler::new(&driver)?;
    let device = Device::new(&driver, 0)?;
    let stream = device.stream()?;
    let cublas = Cublas::load(&stream).inspect_err(|error| println!("ours alone: {error}")).ok();
    let mut measurements = Vec::new();
    for precision in Precision::ALL {
        if device.gpu().capability < precision.least_capability() {
            continue;
        }
        let program = embedded(precision.program()).ok_or("a kernel file is not embedded")?;
        let gemm = Gemm::new(compiler.module(&device, &program)?)?;
        for shape in shapes(arguments.small) {
            for product in products(shape) {
                let bench = Bench { stream: &stream, cublas: cublas.as_ref(), gemm: &gemm };
                let measurement = bench.measure(product, precision, shape)?;
                println!("{}", line(&measurement));
                measurements.push(measurement);
            }
        }
    }
    let Some(path) = &arguments.json else { return Ok(()) };
    let commit = std::env::var("WARPSWEEP_COMMIT").or_else(|_| commit()).unwrap_or_default();
    let report = Report {
        gpu: device.gpu().name.clone(),
        driver: warpsweep::engine::cuda::launch::version(driver.version()),
        date: jiff::Timestamp::now().to_string(),
        command: std::env::args().collect::<Vec<_>>().join(" "),
        commit,
        rounds: ROUNDS,
        measurements,
    };
    std::fs::write(path, serde_json::to_string_pretty(&report)?)?;
    Ok(())
}

fn commit() -> Result<String, std::env::VarError> {
    let git = std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    Ok(git.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned()).unwrap_or_default())
}

fn shapes(small: bool) -> Vec<Shape> {
    let square = |size| Shape { m: size, n: size, k: size, group: 1 };
    if small {
        let thin = |m, n, group| Shape { m, n, k: 64, group };
        return vec![square(130), thin(16, 10, 1), thin(64, 40, 3)];
    }
    let mut shapes: Vec<Shape> = [512, 1024, 2048, 4096, 8192].map(square).to_vec();
    for (m, n) in [16, 64, 256].into_iter().flat_map(|m| [10, 64, 256, 512].map(|n| (m, n))) {
        shapes.extend([1, 64].map(|group| Shape { m, n, k: 784, group }));
    }
    shapes
}

/// All three products of the thin shapes, which are those of training; of squares the forward one.
fn products(shape: Shape) -> Vec<Product> {
    if shape.m == shape.n {
        return vec![Product::Forward];
    }
    vec![Product::Forward, Product::WeightGradient, Product::InputGradient]
}

/// A matrix as all products of a group have it: `count` times `rows x columns`.
struct Matrices {
    buffer: Buffer<f32>,
    host: Vec<f32>,
    stride: usize,
    rows: usize,
}

impl Matrices {
    fn random(
        stream: &Stream,
        seed: u64,
        count: usize,
        rows: usize,
        columns: usize,
    ) -> Result<Self, CudaError> {
        let (stride, draws) =
            (columns.next_multiple_of(4), Draws::new(seed, Purpose::Synthetic(0), 0));
        let len = count * rows * stride;
        let words = (0..len.div_ceil(4) as u64).flat_map(|block| draws.block(block));
        let host: Vec<f32> = words.take(len).map(|word| symmetric_f32(word, 1.0)).collect();
        Ok(Matrices { buffer: Buffer::from_slice(stream, &host)?, host, stride, rows })
    }

    fn address(&self, index: usize) -> u64 {
        self.buffer.address_of(index * self.rows * self.stride)
    }

    fn addresses(&self, stream: &Stream, count: usize) -> Result<Buffer<u64>, CudaError> {
        Buffer::from_slice(stream, &(0..count).map(|index| self.address(index)).collect::<Vec<_>>())
    }

    fn at(&self, index: usize, row: usize, column: usize) -> f64 {
        f64::from(self.host[(index * self.rows + row) * self.stride + column])
    }
}

struct Bench<'a> {
    stream: &'a Stream,
    cublas: Option<&'a Cublas>,
    gemm: &'a Gemm,
}

impl Bench<'_> {
    fn measure(
        &self,
        product: Product,
        precision: Precision,
        shape: Shape,
    ) -> Result<Measurement, Failure> {
        // A layer of k inputs and n outputs on m rows; what each product makes of it.
        let Shape { m: rows, n: outputs, k: inputs, group } = shape;
        let (m, n, k, a, b) = match product {
            Product::Forward => (rows, outputs, inputs, [rows, inputs], [inputs, outputs]),
            Product::WeightGradient => (inputs, outputs, rows, [rows, inputs], [rows, outputs]),
            Product::InputGradient => (rows, inputs, outputs, [rows, outputs], [inputs, outputs]),
        };
        let a = Matrices::random(self.stream, 1, group, a[0], a[1])?;
        let b = Matrices::random(self.stream, 2, group, b[0], b[1])?;
        let ldc = n.next_multiple_of(4);
        let c = Buffer::<f32>::zeroed(self.stream, group * m * ldc)?;
        let address_of_c = |index: usize| c.address_of(index * m * ldc);
        let problem = |index: usize| GemmProblem {
            a: a.address(index),
            b: b.address(index),
            c: address_of_c(index),
            m: m as u32,
            n: n as u32,
            k: k as u32,
            lda: a.stride as u32,
            ldb: b.stride as u32,
            ldc: ldc as u32,
            ..GemmProblem::default()
        };
        let problems: Vec<GemmProblem> = (0..group).map(problem).collect();
        let grouped = Grouped::new(self.gemm, self.stream, product, &problems)?;
        grouped.launch(self.stream)?;
        let worst_error = check(product, precision, [m, n, k, group], (&a, &b), (&c, ldc))?;

        let ours = || Ok(grouped.launch(self.stream)?);
        let shapes = Shapes {
            product,
            m: m as u32,
            n: n as u32,
            k: k as u32,
            lda: a.stride as u32,
            ldb: b.stride as u32,
            ldc: ldc as u32,
            tf32: precision == Precision::Tf32,
        };
        let lists = [
            a.addresses(self.stream, group)?,
            b.addresses(self.stream, group)?,
            Buffer::from_slice(self.stream, &(0..group).map(address_of_c).collect::<Vec<_>>())?,
        ];
        let theirs = |cublas: &Cublas| -> Result<(), Failure> {
            match group {
                1 => Ok(cublas.gemm(&shapes, [a.address(0), b.address(0), address_of_c(0)])?),
                _ => Ok(cublas.gemm_batched(&shapes, lists.each_ref())?),
            }
        };
        let (mut seconds, mut cublas_seconds) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let (own, other) = (
                self.time(&ours)?,
                match self.cublas {
                    Some(cublas) => Some(self.time(&|| theirs(cublas))?),
                    None => None,
                },
            );
            // The first round warms up.
            if round > 0 {
                seconds.push(own);
                cublas_seconds.extend(other);
            }
        }
        let seconds = median(seconds).ok_or("no round was timed")?;
        let cublas_seconds = median(cublas_seconds);
        let Tile { m: tile_m, n: tile_n, .. } = Tile::of(m as u32, n as u32);
        Ok(Measurement {
            product: name(product),
            precision: precision_name(precision),
            shape,
            tile: format!("{tile_m}x{tile_n}"),
            worst_error,
            seconds,
            tflops: 2.0 * (m * n * k * group) as f64 / seconds / 1e12,
            cublas_seconds,
            speed_beside_cublas: cublas_seconds.map(|theirs| theirs / seconds),
        })
    }

    /// Seconds of one launch, by launching until some milliseconds are full.
    fn time(&self, launch: &dyn Fn() -> Result<(), Failure>) -> Result<f64, Failure> {
        const ENOUGH: f64 = 4e-3;
        let mut launches = 1;
        loop {
            let start = self.stream.event()?;
            for _ in 0..launches {
                launch()?;
            }
            let seconds = start.seconds_until(&self.stream.event()?)?;
            // A simulated device has no clock that means anything: one launch is enough there.
            if seconds >= ENOUGH || launches >= 1024 || self.stream.device().gpu().is_simulated() {
                return Ok(seconds.max(1e-9) / f64::from(launches));
            }
            launches *= 4;
        }
    }
}

/// The worst error among sampled elements, against the sum of their absolute products.
fn check(
    product: Product,
    precision: Precision,
    [m, n, k, group]: [usize; 4],
    (a, b): (&Matrices, &Matrices),
    (c, ldc): (&Buffer<f32>, usize),
) -> Result<f64, Failure> {
    const SAMPLES: u64 = 64;
    let draws = Draws::new(3, Purpose::Synthetic(1), 0);
    let mut worst = 0.0f64;
    for sample in 0..SAMPLES {
        let [x, y, z, _] = draws.block(sample).map(|word| word as usize);
        let (index, row, column) = (x % group, y % m, z % n);
        let (mut sum, mut scale) = (0.0, 0.0);
        for l in 0..k {
            let left = match product {
                Product::WeightGradient => a.at(index, l, row),
                _ => a.at(index, row, l),
            };
            let right = match product {
                Product::InputGradient => b.at(index, column, l),
                _ => b.at(index, l, column),
            };
            sum += left * right;
            scale += (left * right).abs();
        }
        let at = (index * m + row) * ldc + column;
        let value = c.download_range(at..at + 1)?[0];
        let error = (f64::from(value) - sum).abs() / scale;
        let bar = if precision == Precision::Tf32 { 2e-3 } else { 1e-5 };
        if error.is_nan() || error > bar {
            return Err(format!(
                "{} {} {m} x {n} x {k}: {value} for {sum} at row {row}, column {column} of product {index}",
                name(product),
                precision_name(precision)
            )
            .into());
        }
        worst = worst.max(error);
    }
    Ok(worst)
}

fn median(mut seconds: Vec<f64>) -> Option<f64> {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied()
}

fn name(product: Product) -> &'static str {
    match product {
        Product::Forward => "forward",
        Product::WeightGradient => "weight gradient",
        Product::InputGradient => "input gradient",
    }
}

fn precision_name(precision: Precision) -> &'static str {
    match precision {
        Precision::Fp32 => "fp32",
        Precision::Tf32 => "tf32",
        Precision::Tf32x3 => "3xtf32",
    }
}

fn line(measured: &Measurement) -> String {
    let Measurement { product, precision, shape, tile, seconds, tflops, .. } = measured;
    let Shape { m, n, k, group } = shape;
    let beside =
        measured.speed_beside_cublas.map_or(String::new(), |x| format!(", {x:.2} x cuBLAS"));
    let micros = seconds * 1e6;
    format!(
        "{precision:>6} {product:<15} rows {m:>4} outputs {n:>4} inputs {k:>4} group {group:>2} tile {tile:<7} \
         {micros:>9.1} us {tflops:>6.2} TFLOP/s{beside}"
    )
}
