//! The three products of a layer, which are nearly all of training.

use serde_json::json;

use super::{CACHE, Outcome, PRECISION, Suite, Visit, cached, copies, count, skipped, words};
use crate::engine::cpu::lanes::Isa;
use crate::engine::cpu::operations::{Operation, Prepared, Sizes};
use crate::engine::cuda::launch::Buffer;
use crate::engine::cuda::launch::gemm::Product;
use crate::engine::cuda::tiles::Precision;
use crate::error::Result;
use crate::measure::axes::{AxisSpec, Point};
use crate::measure::bench::{Bench, CPU_PRECISION, CudaDevice, Device, precision_of};
use crate::measure::clock::{Elapsed, device_seconds};
use crate::measure::gpu_product::{Extent, GpuProduct};
use crate::measure::record::Work;
use crate::measure::workload::{Ceiling, Flusher, Ready, Reference, Workload, conditions};

pub struct Gemm;

impl Suite for Gemm {
    fn name(&self) -> &'static str {
        "gemm"
    }

    fn about(&self) -> &'static str {
        "the products of a layer: forward, weight gradient, input gradient; beside cuBLAS on a GPU"
    }

    fn axes(&self) -> &'static [AxisSpec] {
        const AXES: &[AxisSpec] = &[
            words(
                "product",
                "which product of the layer",
                &["forward", "weight_gradient", "input_gradient"],
                "forward,weight_gradient,input_gradient",
                "forward,weight_gradient,input_gradient",
            ),
            count("batch", "samples, the rows", [1, 65_536], "16,64,256", "16"),
            count("units", "outputs of the layer", [1, 65_536], "10,64,256", "10"),
            count("inputs", "inputs of the layer", [1, 65_536], "784", "64"),
            count("trials", "products in one launch (GPU)", [1, 65_536], "1", "1"),
            PRECISION,
            CACHE,
        ];
        AXES
    }

    fn measure(&self, bench: &Bench, point: &Point, visit: Visit<'_>) -> Result<Outcome> {
        let precision = precision_of(point.word("precision"));
        match &bench.device {
            Device::Processor(_) => on_processor(bench, point, precision, visit),
            Device::Cuda(cuda) => on_gpu(bench, cuda, point, precision, visit),
        }
    }
}

fn on_processor(
    bench: &Bench,
    point: &Point,
    precision: Precision,
    visit: Visit<'_>,
) -> Result<Outcome> {
    if precision != Precision::Fp32 {
        return skipped(CPU_PRECISION);
    }
    if point.count("trials") > 1 {
        return skipped("a core trains one trial at a time: there are no groups on the CPU");
    }
    let operation = match point.word("product") {
        "forward" => Operation::Forward,
        "weight_gradient" => Operation::WeightGradient,
        _ => Operation::InputGradient,
    };
    let sizes = Sizes {
        samples: point.count("batch"),
        inputs: point.count("inputs"),
        outputs: point.count("units"),
    };
    visit_operation(bench, point, operation, sizes, visit)
}

/// Has an operation of the CPU engine visited, on one thread, as training does it.
pub fn visit_operation(
    bench: &Bench,
    point: &Point,
    operation: Operation,
    sizes: Sizes,
    visit: Visit<'_>,
) -> Result<Outcome> {
    let isa = Isa::available()[0];
    let first = Prepared::new(isa, operation, sizes, bench.seed);
    let cached = cached(point, first.bytes());
    let (copies, cold) = copies(point, first.bytes());
    let more = (1..copies).map(|_| Prepared::new(isa, operation, sizes, bench.seed));
    let mut workload = OnProcessor {
        cached,
        copies: std::iter::once(first).chain(more).collect(),
        next: 0,
        flusher: cold.then(Flusher::new),
    };
    visit(Ready {
        workload: &mut workload,
        reference: Reference::Processor(1),
        cold,
        ceiling: Ceiling::Processor(1),
        conditions: conditions([("isa", json!(isa.name())), ("threads", json!(1))]),
    })?;
    Ok(Outcome::Visited)
}

/// An operation of the CPU engine, on one or more sets of operands in turn.
struct OnProcessor {
    cached: bool,
    copies: Vec<Prepared>,
    next: usize,
    flusher: Option<Flusher>,
}

/// The worst error of an operation of the CPU engine, as a share of what is added up.
const PROCESSOR_BAR: f64 = 1e-5;

impl Workload for OnProcessor {
    fn work(&self) -> Work {
        let of = |value: fn(&Prepared) -> f64| self.copies.first().map_or(0.0, value);
        let (flop, bytes) = (of(Prepared::flop), of(Prepared::bytes));
        Work { flop, bytes, cached: self.cached, ..Work::default() }
    }

    fn check(&mut self) -> Result<Result<String, String>> {
        let errors = self.copies.iter_mut().map(Prepared::worst_error);
        let worst = errors.fold(0.0, f64::max);
        Ok(match worst <= PROCESSOR_BAR {
            true => Ok(format!("float64, worst error {worst:.1e}")),
            false => {
                Err(format!("an error of {worst:.1e}, at most {PROCESSOR_BAR:.0e} was expected"))
            }
        })
    }

    fn call(&mut self) -> Result<()> {
        self.next = if self.next + 1 < self.copies.len() { self.next + 1 } else { 0 };
        if let Some(copy) = self.copies.get_mut(self.next) {
            copy.run();
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if let Some(flusher) = &mut self.flusher {
            flusher.flush();
        }
        Ok(())
    }
}

fn on_gpu(
    bench: &Bench,
    cuda: &CudaDevice,
    point: &Point,
    precision: Precision,
    visit: Visit<'_>,
) -> Result<Outcome> {
    if let Some(reason) = cuda.lacks(precision) {
        return skipped(reason);
    }
    let product = match point.word("product") {
        "forward" => Product::Forward,
        "weight_gradient" => Product::WeightGradient,
        _ => Product::InputGradient,
    };
    let extent = Extent {
        rows: point.count("batch"),
        outputs: point.count("units"),
        inputs: point.count("inputs"),
        group: point.count("trials"),
    };
    let (gemm, stream) = (cuda.gemm(precision)?, &cuda.stream);
    let make = || GpuProduct::new(stream, &gemm, product, precision, extent, bench.seed);
    let first = make()?;
    let (copies, cold) = copies(point, first.bytes());
    let mut all = vec![first];
    for _ in 1..copies {
        all.push(make()?);
    }
    let flusher = if cold { Some(Buffer::zeroed(stream, FLUSH)?) } else { None };
    let cached = cached(point, all.first().map_or(0.0, GpuProduct::bytes));
    let mut workload = OnGpu { cuda, extent, cached, copies: all, next: 0, flusher };
    visit(Ready {
        workload: &mut workload,
        reference: Reference::None,
        cold,
        ceiling: Ceiling::Gpu(precision),
        conditions: conditions([
            ("tile", json!(extent.tile(product, &gemm))),
            ("cublas", json!(cuda.cublas.as_ref().err())),
        ]),
    })?;
    Ok(Outcome::Visited)
}

/// Bytes that flush a GPU's second-level cache, as `triton.testing.do_bench` has them.
pub const FLUSH: usize = 256 << 20;

/// A product on a GPU, on one or more sets of operands in turn.
struct OnGpu<'a> {
    cuda: &'a CudaDevice,
    extent: Extent,
    cached: bool,
    copies: Vec<GpuProduct>,
    next: usize,
    flusher: Option<Buffer<u8>>,
}

impl OnGpu<'_> {
    /// The next set of operands.
    fn turn(&mut self) -> Option<&GpuProduct> {
        self.next = if self.next + 1 < self.copies.len() { self.next + 1 } else { 0 };
        self.copies.get(self.next)
    }
}

impl Workload for OnGpu<'_> {
    fn work(&self) -> Work {
        let bytes = self.copies.first().map_or(0.0, GpuProduct::bytes);
        Work { flop: self.extent.flop(), bytes, cached: self.cached, ..Work::default() }
    }

    fn check(&mut self) -> Result<Result<String, String>> {
        let mut worst = 0.0f64;
        for copy in &self.copies {
            if let Ok(cublas) = &self.cuda.cublas {
                // A rival that computes something else is no rival.
                copy.launch_cublas(cublas)?;
                if let Err(wrong) = copy.check()? {
                    return Ok(Err(format!("cuBLAS, as it was called here: {wrong}")));
                }
            }
            copy.launch(&self.cuda.stream)?;
            match copy.check()? {
                Ok(error) => worst = worst.max(error),
                Err(wrong) => return Ok(Err(wrong.to_string())),
            }
        }
        Ok(Ok(format!("float64 on 64 elements, worst error {worst:.1e}")))
    }

    fn call(&mut self) -> Result<()> {
        let stream = &self.cuda.stream;
        match self.turn() {
            Some(product) => Ok(product.launch(stream)?),
            None => Ok(()),
        }
    }

    fn time(&mut self, calls: usize) -> Result<Elapsed> {
        let stream = &self.cuda.stream;
        let wall = device_seconds(stream, || (0..calls).try_for_each(|_| self.call()))?;
        Ok(Elapsed { wall, processor: 0.0 })
    }

    fn flush(&mut self) -> Result<()> {
        self.flusher.as_mut().map_or(Ok(()), |buffer| Ok(buffer.clear()?))
    }

    fn rival(&mut self, calls: usize) -> Result<Option<f64>> {
        let cuda = self.cuda;
        let Ok(cublas) = &cuda.cublas else { return Ok(None) };
        // As cold as ours.
        self.flush()?;
        let mut calls = 0..calls;
        let seconds = device_seconds(&cuda.stream, || {
            calls.try_for_each(|_| self.turn().map_or(Ok(()), |copy| copy.launch_cublas(cublas)))
        })?;
        Ok(Some(seconds))
    }
}
