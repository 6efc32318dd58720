//! Steps of SGD against float64: every rule of `torch.optim.SGD`, on weights, which the product that is
//! their gradient updates, in every tile and precision, and on biases, whose gradient is a sum over rows.

mod common;

use bytemuck::Zeroable;
use common::cuda::{Gpu, buffer, gemm, gpu, tiles};
use warpsweep::engine::cuda::launch::Buffer;
use warpsweep::engine::cuda::launch::gemm::{Gemm, GemmProblem, Grouped, Product, Step};
use warpsweep::engine::cuda::launch::sgd_bias::{self, BiasLayer, SgdBias};
use warpsweep::engine::cuda::launch::trial::{Clock, Rule};
use warpsweep::engine::cuda::tiles::{Precision, Tile};
use warpsweep::random::{Purpose, Stream, symmetric_f32};

/// Updates one after the other, so that velocities have a past.
const STEPS: usize = 3;

const fn rule(momentum: f32, nesterov: u32, weight_decay: f32) -> Rule {
    Rule { learning_rate: 0.3, momentum, weight_decay, nesterov }
}

const RULES: [Rule; 6] = [
    rule(0.0, 0, 0.0),
    rule(0.0, 0, 0.1),
    rule(0.9, 0, 0.0),
    rule(0.7, 1, 0.0),
    rule(0.9, 0, 0.05),
    rule(0.8, 1, 0.2),
];

/// An error may be this part of the value's size and of all that was added to it.
fn bar(precision: Precision) -> f64 {
    match precision {
        Precision::Fp32 => 1e-6,
        Precision::Tf32x3 => 1e-5,
        Precision::Tf32 => 2e-3,
    }
}

/// Values in [-1, 1), rows of `columns` at a distance of whole vectors of four. What pads a row is what
/// `padding` says.
#[derive(Clone)]
struct Matrix {
    columns: usize,
    stride: usize,
    values: Vec<f32>,
}

impl Matrix {
    fn random(seed: u64, rows: usize, columns: usize, padding: f32) -> Matrix {
        let stream = Stream::new(seed, Purpose::Synthetic(1), 0);
        let stride = columns.next_multiple_of(4);
        let value = |i: usize| match i % stride < columns {
            true => symmetric_f32(stream.word(i as u64), 1.0),
            false => padding,
        };
        Matrix { columns, stride, values: (0..rows * stride).map(value).collect() }
    }

    fn at(&self, row: usize, column: usize) -> f64 {
        f64::from(self.values[row * self.stride + column])
    }
}

/// What a trial learns: a matrix of weights, or biases as one row, and what its gradient is made of.
struct Placed {
    trial: usize,
    rows: usize,
    /// Of weights.
    given: Option<Matrix>,
    delta: Matrix,
    initial: Matrix,
    values: Buffer<f32>,
    velocity: Option<Buffer<f32>>,
    operands: [Buffer<f32>; 2],
}

impl Placed {
    /// `inputs` are none for biases.
    fn new(gpu: &Gpu, trial: usize, inputs: Option<usize>, outputs: usize, rows: usize) -> Self {
        let seed = (10_000 * trial + 100 * outputs + rows + inputs.unwrap_or(0)) as u64;
        // One row more than is live: it may be anything.
        let garbage = |mut matrix: Matrix| {
            matrix.values.extend(vec![f32::NAN; matrix.stride]);
            matrix
        };
        let given = inputs.map(|inputs| garbage(Matrix::random(seed, rows, inputs, f32::NAN)));
        let delta = garbage(Matrix::random(seed + 1, rows, outputs, f32::NAN));
        let initial = Matrix::random(seed + 2, inputs.unwrap_or(1), outputs, 0.0);
        let velocity = (RULES[trial].momentum > 0.0).then(|| vec![0.0; initial.values.len()]);
        Placed {
            trial,
            rows,
            values: buffer(gpu, &initial.values),
            velocity: velocity.map(|zeros| buffer(gpu, &zeros)),
            operands: [
                buffer(gpu, given.as_ref().map_or(&[0.0], |given| given.values.as_slice())),
                buffer(gpu, &delta.values),
            ],
            given,
            delta,
            initial,
        }
    }

    fn weights(gpu: &Gpu, trial: usize, [inputs, outputs, rows]: [usize; 3]) -> Self {
        Self::new(gpu, trial, Some(inputs), outputs, rows)
    }

    fn biases(gpu: &Gpu, trial: usize, outputs: usize, rows: usize) -> Self {
        Self::new(gpu, trial, None, outputs, rows)
    }

    fn problem(&self, clocks: &Buffer<Clock>) -> GemmProblem {
        let clock = clocks.address_of(self.trial);
        GemmProblem {
            a: self.operands[0].address(),
            b: self.operands[1].address(),
            c: self.values.address(),
            rule: clock + std::mem::offset_of!(Clock, rule) as u64,
            velocity: self.velocity.as_ref().map_or(0, Buffer::address),
            step: clock + std::mem::offset_of!(Clock, learning) as u64,
            m: (self.initial.values.len() / self.initial.stride) as u32,
            n: self.initial.columns as u32,
            // One more than the step has.
            k: self.rows as u32 + 1,
            lda: self.given.as_ref().map_or(0, |given| given.stride as u32),
            ldb: self.delta.stride as u32,
            ldc: self.initial.stride as u32,
            ..GemmProblem::default()
        }
    }

    fn layer(&self) -> BiasLayer {
        BiasLayer {
            values: self.values.address(),
            velocity: self.velocity.as_ref().map_or(0, Buffer::address),
            delta: self.operands[1].address(),
            trial: self.trial as u32,
            count: self.initial.columns as u32,
            stride: self.delta.stride as u32,
            pad: 0,
        }
    }

    /// The gradient of a value in float64, and the sum of the sizes that it is made of.
    fn gradient(&self, row: usize, column: usize) -> (f64, f64) {
        let term = |sample| {
            let given = self.given.as_ref().map_or(1.0, |given| given.at(sample, row));
            given * self.delta.at(sample, column)
        };
        let terms = (0..self.rows).map(term);
        terms.fold((0.0, 0.0), |(sum, size), g| (sum + g, size + g.abs()))
    }

    /// Compares values and velocities with `steps` updates in float64.
    fn check(&self, steps: usize, bar: f64) {
        let Rule { learning_rate, momentum, weight_decay, nesterov } = RULES[self.trial];
        let [rate, momentum, decay] = [learning_rate, momentum, weight_decay].map(f64::from);
        let values = self.values.download().expect("values");
        let velocities = self.velocity.as_ref().map(|v| v.download().expect("velocities"));
        for (index, &value) in values.iter().enumerate() {
            let (row, column) = (index / self.initial.stride, index % self.initial.stride);
            let velocity = velocities.as_ref().map(|velocities| velocities[index]);
            let place = format!(
                "{:?}, row {row}, column {column}, {} samples",
                RULES[self.trial], self.rows
            );
            if column >= self.initial.columns {
                assert!(value == 0.0 && velocity.unwrap_or(0.0) == 0.0, "padding: {place}");
                continue;
            }
            let (gradient, size) = self.gradient(row, column);
            let (mut w, mut v) = (self.initial.at(row, column), 0.0);
            let mut scale = w.abs();
            for _ in 0..steps {
                let g = gradient + decay * w;
                v = momentum * v + g;
                w -= rate * if nesterov == 1 { g + momentum * v } else { v };
                scale += rate * (size + decay * w.abs()) * (1.0 + momentum) / (1.0 - momentum);
            }
            let off = (f64::from(value) - w).abs();
            // Not `off > bar`: a NaN must fail.
            assert!(off <= bar * scale, "{value} for {w}, off by {off:.1e}: {place}");
            if let Some(velocity) = velocity {
                let off = (f64::from(velocity) - v).abs();
                assert!(off <= bar * scale / rate, "velocity {velocity} for {v}: {place}");
            }
        }
    }
}

/// A clock a trial, which learns from so many rows.
fn clocks(gpu: &Gpu, rows: impl Fn(usize) -> usize) -> Buffer<Clock> {
    let clock = |trial| Clock {
        // What scores has rows, but none to learn from.
        step: Step { rows: 9, training: 0, before: 0 },
        learning: Step { rows: rows(trial) as u32, training: 1, before: 0 },
        rule: RULES[trial],
        ..Clock::zeroed()
    };
    buffer(gpu, &(0..RULES.len()).map(clock).collect::<Vec<_>>())
}

/// Updates weights, so often as `STEPS` says.
fn update_weights(
    gpu: &Gpu,
    gemm: &Gemm,
    placed: &[Placed],
    clocks: &Buffer<Clock>,
    tile: Option<Tile>,
) {
    let problems: Vec<_> = placed.iter().map(|placed| placed.problem(clocks)).collect();
    let choose = |problem: &GemmProblem| tile.unwrap_or(gemm.tile(problem.m, problem.n));
    let product = Product::WeightGradient;
    let grouped = Grouped::with_tiles(gemm, &gpu.stream, product, &problems, choose);
    let grouped = grouped.expect("tables");
    for _ in 0..STEPS {
        grouped.launch(&gpu.stream).expect("a launch");
    }
    gpu.stream.synchronize().expect("a kernel that runs");
}

fn update_biases(gpu: &Gpu, placed: &[Placed], clocks: &Buffer<Clock>) {
    let module = gpu.compiler.kernels(&gpu.device, "sgd_bias.cu").expect("a module");
    let kernel = SgdBias::new(&module).expect("the kernel");
    let layers = buffer(gpu, &placed.iter().map(Placed::layer).collect::<Vec<_>>());
    let work = placed
        .iter()
        .enumerate()
        .flat_map(|(index, placed)| tiles(index, placed.initial.columns, sgd_bias::COLUMNS));
    let work = buffer(gpu, &work.collect::<Vec<_>>());
    for _ in 0..STEPS {
        kernel.launch(&gpu.stream, clocks, &layers, &work).expect("a launch");
    }
    gpu.stream.synchronize().expect("a kernel that runs");
}

#[test]
fn weights_follow_float64_under_every_rule_in_every_tile_and_precision() {
    let Some(gpu) = gpu() else { return };
    let rows = [1, 3, 8, 17, 9, 33];
    let clocks = clocks(&gpu, |trial| rows[trial]);
    for precision in Precision::ALL {
        let Some(gemm) = gemm(&gpu, precision) else { continue };
        for tile in gemm.tiles() {
            let (m, n) = (tile.m as usize, tile.n as usize);
            // Within a tile, over its edges, and columns that fill no vector.
            let shapes = [[5, 3], [m, n], [m + 1, n + 2], [m - 3, 1], [2, n - 1], [m, n + 5]];
            let placed: Vec<Placed> = (0..RULES.len())
                .map(|trial| {
                    let [inputs, outputs] = shapes[trial];
                    Placed::weights(&gpu, trial, [inputs, outputs, rows[trial]])
                })
                .collect();
            update_weights(&gpu, &gemm, &placed, &clocks, Some(tile));
            placed.iter().for_each(|placed| placed.check(STEPS, bar(precision)));
        }
    }
}

#[test]
fn biases_follow_the_sum_of_their_rows_in_float64() {
    let Some(gpu) = gpu() else { return };
    let rows = [1, 7, 8, 9, 64, 100];
    let of_trial = |trial: usize| {
        [1, 10, 31, 32, 33, 130].map(|count| Placed::biases(&gpu, trial, count, rows[trial]))
    };
    let placed: Vec<Placed> = (0..RULES.len()).flat_map(of_trial).collect();
    update_biases(&gpu, &placed, &clocks(&gpu, |trial| rows[trial]));
    placed.iter().for_each(|placed| placed.check(STEPS, bar(Precision::Fp32)));
}

#[test]
fn a_trial_that_scores_or_idles_learns_nothing() {
    let Some(gpu) = gpu() else { return };
    let Some(gemm) = gemm(&gpu, Precision::Fp32) else { return };
    let idles = |trial: usize| trial % 2 == 1;
    let clocks = clocks(&gpu, |trial| if idles(trial) { 0 } else { 9 });
    let trials = 0..RULES.len();
    let weights: Vec<_> =
        trials.clone().map(|trial| Placed::weights(&gpu, trial, [20, 10, 9])).collect();
    let biases: Vec<_> = trials.map(|trial| Placed::biases(&gpu, trial, 10, 9)).collect();
    update_weights(&gpu, &gemm, &weights, &clocks, None);
    update_biases(&gpu, &biases, &clocks);
    for placed in weights.iter().chain(&biases) {
        if idles(placed.trial) {
            assert_eq!(placed.values.download().expect("values"), placed.initial.values);
        }
        placed.check(if idles(placed.trial) { 0 } else { STEPS }, bar(Precision::Fp32));
    }
}
