//! What the kernels cost, as the simulated device counts it: instructions a multiply-add, bank
//! conflicts, memory sectors beside the fewest that could do. The figures never vary, so one that
//! grows is a change of the code, and is either mended or written down here with its reason.
//!
//! A child process runs the kernels, because the counts of a process are written at its end.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use bytemuck::Zeroable;
use common::cuda::{Gpu, buffer, gemm, gpu, tiles, zeros};
use common::cuda_search::on_simulated_device;
use warpsweep::engine::cuda::launch::gather::{self, Gather};
use warpsweep::engine::cuda::launch::gemm::{GemmProblem, Grouped, Product, Step};
use warpsweep::engine::cuda::launch::sgd_bias::{self, BiasLayer, SgdBias};
use warpsweep::engine::cuda::launch::softmax_xent::{self, SoftmaxXent};
use warpsweep::engine::cuda::launch::trial::{Clock, Data, Plan, Rule, Samples};
use warpsweep::engine::cuda::tiles::{Precision, Tile};

/// Names the precision whose kernels the child runs.
const WORK: &str = "WARPSWEEP_TEST_COUNTS";
const PRODUCTS: [Product; 3] = [Product::Forward, Product::WeightGradient, Product::InputGradient];
/// The length of every product's sums.
const K: usize = 256;
/// Multiply-adds of a step of SGD without Nesterov's.
const UPDATE: usize = 3;
const INPUTS: usize = 784;
const CLASSES: usize = 10;
const ROWS: usize = 64;
const BIASES: usize = 256;

/// The counts of one kernel.
type Counts = BTreeMap<String, u64>;

/// Runs the kernels of a precision in a child; counts by kernel.
fn counted(precision: Precision, capability: u32) -> BTreeMap<String, Counts> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("counts.json");
    let tests = std::env::current_exe().expect("the path of these tests");
    let mut child = Command::new(tests);
    child.args(["--exact", "the_work_that_is_counted", "--nocapture"]);
    child.env(WORK, precision.name()).env("CUDA_SIM_CC", capability.to_string());
    let output = child.env("CUDA_SIM_COUNTS", &path).output();
    let output = output.expect("a child");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    read(&path)
}

fn read(path: &Path) -> BTreeMap<String, Counts> {
    let text = std::fs::read_to_string(path).expect("the counts");
    serde_json::from_str(&text).expect("counts as JSON")
}

#[test]
fn the_work_that_is_counted() {
    let Some(name) = std::env::var_os(WORK) else { return };
    let gpu = gpu().expect("the simulated device");
    let precision = Precision::ALL.into_iter().find(|p| *p.name() == name).expect("a precision");
    products(&gpu, precision);
    if precision == Precision::Fp32 {
        others(&gpu);
    }
    gpu.stream.synchronize().expect("kernels that run");
}

/// One full tile of every product in every configuration, all rows beginning at a sector.
fn products(gpu: &Gpu, precision: Precision) {
    let gemm = gemm(gpu, precision).expect("the kernels");
    let tiles: Vec<Tile> = gemm.tiles().collect();
    for (product, tile) in PRODUCTS.iter().flat_map(|p| tiles.iter().map(|tile| (*p, *tile))) {
        let (m, n) = (tile.m as usize, tile.n as usize);
        let [a, b, c, velocity] =
            [m * K, K * n, m * n, m * n].map(|floats| zeros::<f32>(gpu, floats));
        // The update is part of it, as in training.
        let rule = buffer(gpu, &[Rule { momentum: 0.9, ..Rule::default() }]);
        let (rule, velocity) = match product {
            Product::WeightGradient => (rule.address(), velocity.address()),
            _ => (0, 0),
        };
        let (lda, ldb) = match product {
            Product::Forward => (K, n),
            Product::WeightGradient => (m, n),
            Product::InputGradient => (K, K),
        };
        let problem = GemmProblem {
            a: a.address(),
            b: b.address(),
            c: c.address(),
            rule,
            velocity,
            m: tile.m,
            n: tile.n,
            k: K as u32,
            lda: lda as u32,
            ldb: ldb as u32,
            ldc: tile.n,
            ..GemmProblem::default()
        };
        let grouped = Grouped::with_tiles(&gemm, &gpu.stream, product, &[problem], |_| tile);
        grouped.expect("tables").launch(&gpu.stream).expect("a launch");
        gpu.stream.synchronize().expect("a kernel that runs");
    }
}

/// A step of softmax regression in the other kernels: 64 samples of 784 pixels, 10 classes.
fn others(gpu: &Gpu) {
    let load = |name: &str| gpu.compiler.kernels(&gpu.device, name).expect("a module");
    let bytes = |count: usize| buffer(gpu, &vec![1u8; count]);
    let floats = |count: usize| zeros::<f32>(gpu, count);
    let (pixels, labels) = (bytes(ROWS * INPUTS), bytes(ROWS));
    let [inputs, logits, delta, losses] = [ROWS * INPUTS, ROWS * 12, ROWS * 12, ROWS].map(floats);
    let batch_labels = zeros::<u32>(gpu, ROWS);
    let part =
        Samples { pixels: pixels.address(), labels: labels.address(), count: ROWS as u32, pad: 0 };
    let data =
        Data { training: part, validation: part, inputs: INPUTS as u32, classes: CLASSES as u32 };
    let plan = Plan {
        inputs: inputs.address(),
        labels: batch_labels.address(),
        logits: logits.address(),
        delta: delta.address(),
        losses: losses.address(),
        input_stride: INPUTS as u32,
        class_stride: 12,
        shuffled: 1,
        ..Plan::zeroed()
    };
    let step = Step { rows: ROWS as u32, training: 1, before: 0 };
    let clock = Clock { step, learning: step, ..Clock::zeroed() };
    let (plans, clocks, data) = (buffer(gpu, &[plan]), buffer(gpu, &[clock]), buffer(gpu, &[data]));
    let stream = &gpu.stream;
    let work = |count, size| buffer(gpu, &tiles(0, count, size));
    let launched = "a launch";
    Gather::new(&load("gather.cu"))
        .expect("the kernel")
        .launch(stream, &plans, &clocks, &work(ROWS, gather::ROWS), &data)
        .expect(launched);
    SoftmaxXent::new(&load("softmax_xent.cu"))
        .expect("the kernel")
        .launch(stream, &plans, &clocks, &work(ROWS, softmax_xent::ROWS), &data)
        .expect(launched);
    let [biases, slopes] = [BIASES, ROWS * BIASES].map(floats);
    let layer = BiasLayer {
        values: biases.address(),
        delta: slopes.address(),
        count: BIASES as u32,
        stride: BIASES as u32,
        ..BiasLayer::zeroed()
    };
    SgdBias::new(&load("sgd_bias.cu"))
        .expect("the kernel")
        .launch(stream, &clocks, &buffer(gpu, &[layer]), &work(BIASES, sgd_bias::COLUMNS))
        .expect(launched);
    stream.synchronize().expect("kernels that run");
}

/// Bounds of a tile's three products, in their order.
struct Bounds {
    tile: &'static str,
    /// Instructions of threads, a multiply-add of the product.
    instructions: [f64; 3],
    /// Percent of the passes over the banks that are conflicts.
    conflicts: [f64; 3],
    /// Sectors of global memory, tables included.
    sectors: [u64; 3],
}

const fn bounds(
    tile: &'static str,
    instructions: [f64; 3],
    conflicts: [f64; 3],
    sectors: [u64; 3],
) -> Bounds {
    Bounds { tile, instructions, conflicts, sectors }
}

/// Holds the first tiles of a precision on a GPU of a compute capability to their bounds.
fn check(precision: Precision, capability: u32, all: &[Bounds]) {
    if !on_simulated_device() {
        return;
    }
    // What is counted as one, and how many of them are taken for each multiply-add of the product.
    let (multiply_adds, passes) = match precision {
        Precision::Fp32 => ("fmas", 1),
        Precision::Tf32 => ("matrix_fmas", 1),
        Precision::Tf32x3 => ("matrix_fmas", 3),
    };
    let counts = counted(precision, capability);
    let has_largest = precision.large_program(capability).is_some();
    let tiles = Tile::ALL.iter().filter(|tile| has_largest || **tile != Tile::LARGEST);
    let mut over = Vec::new();
    for (tile, bounds) in tiles.zip(all) {
        let (m, n) = (tile.m as usize, tile.n as usize);
        assert_eq!(bounds.tile, format!("{m}x{n}"));
        for (i, product) in ["forward", "weight_gradient", "input_gradient"].iter().enumerate() {
            let name = format!("{product}_{m}x{n}");
            let kernel = &counts[&name];
            let place = format!("{precision:?} {name}");
            let multiply_adds = kernel[multiply_adds];
            // The update's are ordinary ones: UPDATE a weight.
            let updates = precision == Precision::Fp32 && *product == "weight_gradient";
            let expected = (passes * K + if updates { UPDATE } else { 0 }) * m * n;
            assert_eq!(multiply_adds, expected as u64, "multiply-adds of {place}");
            assert_eq!(kernel["local_requests"], 0, "local memory: {place}");
            let share = |part: &str, whole: u64| kernel[part] as f64 / whole as f64;
            let instructions = share("thread_instructions", (m * n * K) as u64);
            let conflicts = 100.0 * share("bank_conflicts", kernel["shared_transactions"]);
            // Weights and velocities are read and written.
            let results = if *product == "weight_gradient" { 4 * m * n } else { m * n };
            let floor = ((m * K + K * n + results) / 8) as u64;
            let sectors = kernel["global_sectors"];
            let line = format!(
                "{place}: {instructions:.3} instructions a multiply-add, {conflicts:.2} % conflicts, \
                 {sectors} sectors where {floor} do"
            );
            println!("{line}");
            let fits = instructions <= bounds.instructions[i]
                && conflicts <= bounds.conflicts[i]
                && sectors <= bounds.sectors[i];
            if !fits {
                over.push(line);
            }
        }
    }
    assert!(over.is_empty(), "beyond their bounds:\n{}", over.join("\n"));
}

// Conflicts of FP32's 128x128: in PTX the compiler stores some sums one by one, which the device would see as
// 16 bytes (so in SASS). Those of lines of 16 are a greater part since stages beyond the end are written as zeros.

#[test]
fn products_in_float32_cost_what_is_written_here() {
    check(
        Precision::Fp32,
        80,
        &[
            bounds("128x128", [1.26, 1.24, 1.24], [2.2, 2.2, 2.2], [11352, 16728, 10968]),
            bounds("64x64", [1.33, 1.33, 1.29], [0.4, 1.4, 0.1], [4908, 6252, 4812]),
            bounds("32x32", [1.52, 1.55, 1.48], [1.2, 0.1, 0.1], [2284, 2636, 2260]),
            bounds("64x16", [1.53, 1.57, 1.49], [1.2, 3.1, 3.1], [2796, 3148, 2772]),
            bounds("16x64", [1.55, 1.57, 1.49], [1.2, 0.1, 0.1], [2796, 3148, 2772]),
            bounds("16x16", [2.69, 2.67, 2.52], [4.4, 3.0, 3.0], [1160, 1292, 1154]),
        ],
    );
}

/// On sm_90 alone; the smaller ones are those of others.
#[test]
fn products_in_tf32_of_the_largest_tile_cost_what_is_written_here() {
    check(
        Precision::Tf32,
        90,
        &[bounds("256x128", [0.13, 0.16, 0.10], [0.1, 0.1, 0.1], [18520, 28824, 17752])],
    );
}

#[test]
fn products_in_tf32_cost_what_is_written_here() {
    check(
        Precision::Tf32,
        80,
        &[
            bounds("128x128", [0.25, 0.25, 0.21], [0.2, 0.2, 0.2], [11308, 16492, 10924]),
            bounds("64x64", [0.40, 0.39, 0.37], [0.3, 0.3, 0.3], [4908, 6252, 4812]),
            bounds("32x32", [0.60, 0.58, 0.56], [0.1, 0.1, 0.1], [2284, 2636, 2260]),
            bounds("64x16", [0.64, 0.64, 0.61], [14.6, 14.6, 7.1], [2796, 3148, 2772]),
            bounds("16x64", [0.64, 0.64, 0.61], [0.1, 8.7, 0.1], [2796, 3148, 2772]),
            bounds("16x16", [1.82, 1.63, 1.69], [25.8, 38.2, 7.2], [1160, 1292, 1154]),
        ],
    );
}

#[test]
fn products_in_3xtf32_cost_what_is_written_here() {
    check(
        Precision::Tf32x3,
        80,
        &[
            bounds("128x128", [0.41, 0.41, 0.37], [0.2, 0.2, 0.2], [11308, 16492, 10924]),
            bounds("64x64", [0.65, 0.65, 0.63], [0.3, 0.3, 0.3], [4908, 6252, 4812]),
            bounds("32x32", [0.85, 0.84, 0.82], [0.1, 0.1, 0.1], [2284, 2636, 2260]),
            bounds("64x16", [0.94, 0.95, 0.92], [14.6, 14.6, 7.1], [2796, 3148, 2772]),
            bounds("16x64", [0.94, 0.95, 0.91], [0.1, 8.7, 0.1], [2796, 3148, 2772]),
            bounds("16x16", [2.26, 2.07, 2.13], [25.8, 38.2, 7.2], [1160, 1292, 1154]),
        ],
    );
}

#[test]
fn the_other_kernels_touch_little_more_memory_than_they_must() {
    if !on_simulated_device() {
        return;
    }
    let counts = counted(Precision::Fp32, 80);
    let floors = [
        // Bytes in, floats out.
        ("gather", ROWS * INPUTS * 5 / 32, 1.22),
        // Delta in, biases in and out.
        ("sgd_bias", BIASES * 4 * (ROWS + 2) / 32, 1.27),
        // Logits in, their gradient out, a loss a row: rows of ten floats, a few at a time.
        ("softmax_xent", ROWS * (8 * CLASSES + 4) / 32, 5.34),
    ];
    for (name, floor, allowed) in floors {
        let kernel = &counts[name];
        let ratio = kernel["global_sectors"] as f64 / floor as f64;
        println!("{name}: {} sectors, {floor} do, {ratio:.2} x", kernel["global_sectors"]);
        assert!(ratio <= allowed, "{name} touches {ratio:.2} x the sectors that it must");
        assert_eq!((kernel["bank_conflicts"], kernel["local_requests"]), (0, 0), "{name}");
    }
}
