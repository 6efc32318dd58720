//! The `sgd` kernel against float64: every rule of `torch.optim.SGD`, weights around the edges of a
//! tile, biases with the sum over their rows.

mod common;

use bytemuck::Zeroable;
use common::cuda::{Gpu, buffer, gpu, tiles};
use warpsweep::engine::cuda::launch::Buffer;
use warpsweep::engine::cuda::launch::gemm::Step;
use warpsweep::engine::cuda::launch::sgd::{self, Sgd, SgdTensor};
use warpsweep::engine::cuda::launch::trial::{Clock, Plan};
use warpsweep::random::{Purpose, Stream, symmetric_f32};

/// An error may be this part of the value's size and of all that was added to it.
const BAR: f64 = 1e-6;
/// Updates one after the other, so that velocities have a past.
const STEPS: usize = 3;
const RATE: f32 = 0.3;

/// The rule of one trial.
#[derive(Clone, Copy, Debug)]
struct Rule {
    momentum: f32,
    nesterov: bool,
    weight_decay: f32,
}

const fn rule(momentum: f32, nesterov: bool, weight_decay: f32) -> Rule {
    Rule { momentum, nesterov, weight_decay }
}

const RULES: [Rule; 6] = [
    rule(0.0, false, 0.0),
    rule(0.0, false, 0.1),
    rule(0.9, false, 0.0),
    rule(0.7, true, 0.0),
    rule(0.9, false, 0.05),
    rule(0.8, true, 0.2),
];

/// Random values in [-1, 1).
fn random(seed: u64, count: usize) -> Vec<f32> {
    let stream = Stream::new(seed, Purpose::Synthetic(1), 0);
    (0..count).map(|i| symmetric_f32(stream.word(i as u64), 1.0)).collect()
}

/// A tensor on the device with what it began as.
struct Placed {
    trial: usize,
    /// Of biases: rows and leading dimension of what adds up to their gradient.
    rows: Option<(usize, usize)>,
    initial: Vec<f32>,
    source: Vec<f32>,
    values: Buffer<f32>,
    velocity: Option<Buffer<f32>>,
    gradient: Buffer<f32>,
}

impl Placed {
    fn new(gpu: &Gpu, trial: usize, count: usize, rows: Option<(usize, usize)>, seed: u64) -> Self {
        let initial = random(seed, count);
        let mut source = random(seed + 1, rows.map_or(count, |(rows, stride)| rows * stride));
        if let Some((_, stride)) = rows {
            // What pads a row, and a row that is not live, may be anything.
            source.iter_mut().enumerate().filter(|(i, _)| i % stride >= count).for_each(
                |(_, padding)| {
                    *padding = f32::NAN;
                },
            );
            source.extend(vec![f32::NAN; stride]);
        }
        let momentum = RULES[trial].momentum > 0.0;
        Placed {
            trial,
            rows,
            values: buffer(gpu, &initial),
            velocity: momentum.then(|| buffer(gpu, &vec![0.0; count])),
            gradient: buffer(gpu, &source),
            initial,
            source,
        }
    }

    fn tensor(&self) -> SgdTensor {
        SgdTensor {
            values: self.values.address(),
            velocity: self.velocity.as_ref().map_or(0, Buffer::address),
            gradient: self.gradient.address(),
            trial: self.trial as u32,
            count: self.initial.len() as u32,
            stride: self.rows.map_or(0, |(_, stride)| stride as u32),
            pad: 0,
        }
    }

    /// The gradient of a value in float64, and the sum of the sizes that it is made of.
    fn gradient(&self, index: usize) -> (f64, f64) {
        let Some((rows, stride)) = self.rows else {
            let g = f64::from(self.source[index]);
            return (g, g.abs());
        };
        let column = (0..rows).map(|row| f64::from(self.source[row * stride + index]));
        column.fold((0.0, 0.0), |(sum, size), g| (sum + g, size + g.abs()))
    }

    /// Compares values and velocities with `steps` updates in float64.
    fn check(&self, steps: usize) {
        let Rule { momentum, nesterov, weight_decay } = RULES[self.trial];
        let [rate, momentum, decay] = [RATE, momentum, weight_decay].map(f64::from);
        let values = self.values.download().expect("values");
        let velocities = self.velocity.as_ref().map(|v| v.download().expect("velocities"));
        for (index, &value) in values.iter().enumerate() {
            let place =
                format!("{:?}, {} of {}, {:?}", RULES[self.trial], index, values.len(), self.rows);
            let (gradient, size) = self.gradient(index);
            let (mut w, mut v) = (f64::from(self.initial[index]), 0.0);
            let mut scale = w.abs();
            for _ in 0..steps {
                let g = gradient + decay * w;
                v = momentum * v + g;
                w -= rate * if nesterov { g + momentum * v } else { v };
                scale += rate * (size + decay * w.abs()) * (1.0 + momentum) / (1.0 - momentum);
            }
            let off = (f64::from(value) - w).abs();
            // Not `off > bar`: a NaN must fail.
            assert!(off <= BAR * scale, "{value} for {w}, off by {off:.1e}: {place}");
            if let Some(velocities) = &velocities {
                let (got, off) = (velocities[index], (f64::from(velocities[index]) - v).abs());
                assert!(off <= BAR * scale / rate, "velocity {got} for {v}: {place}");
            }
        }
    }
}

/// The tensors of every rule, updated so often as their trials' rows say.
fn run(gpu: &Gpu, placed: &[Placed], rows: impl Fn(usize) -> usize) {
    let module = gpu.compiler.kernels(&gpu.device, "sgd.cu").expect("a module");
    let kernel = Sgd::new(&module).expect("the kernel");
    let plan = |rule: &Rule| Plan {
        momentum: rule.momentum,
        weight_decay: rule.weight_decay,
        nesterov: u32::from(rule.nesterov),
        ..Plan::zeroed()
    };
    let clock = |trial| Clock {
        // What scores has rows, but none to learn from.
        step: Step { rows: 9, training: 0, before: 0 },
        learning: Step { rows: rows(trial) as u32, training: 1, before: 0 },
        learning_rate: RATE,
        ..Clock::zeroed()
    };
    let plans = buffer(gpu, &RULES.each_ref().map(plan));
    let clocks = buffer(gpu, &(0..RULES.len()).map(clock).collect::<Vec<_>>());
    let tensors: Vec<SgdTensor> = placed.iter().map(Placed::tensor).collect();
    let work = placed.iter().enumerate().flat_map(|(index, tensor)| {
        let size = if tensor.rows.is_some() { sgd::COLUMNS } else { sgd::VALUES };
        tiles(index, tensor.initial.len(), size)
    });
    let (work, tensors) = (buffer(gpu, &work.collect::<Vec<_>>()), buffer(gpu, &tensors));
    for _ in 0..STEPS {
        kernel.launch(&gpu.stream, &plans, &clocks, &tensors, &work).expect("a launch");
    }
    gpu.stream.synchronize().expect("a kernel that runs");
}

#[test]
fn weights_follow_float64_under_every_rule_and_at_the_edges_of_a_tile() {
    let Some(gpu) = gpu() else { return };
    // A weight matrix is a multiple of four long: its rows are padded.
    let counts = [4, 36, sgd::VALUES - 4, sgd::VALUES, sgd::VALUES + 4, 2 * sgd::VALUES + 1004];
    let of_trial = |trial| {
        let seed = move |count: usize| (1000 * trial + count) as u64;
        counts.map(|count| Placed::new(&gpu, trial, count, None, seed(count)))
    };
    let placed: Vec<Placed> = (0..RULES.len()).flat_map(of_trial).collect();
    run(&gpu, &placed, |_| 16);
    placed.iter().for_each(|tensor| tensor.check(STEPS));
}

#[test]
fn biases_follow_the_sum_of_their_rows_in_float64() {
    let Some(gpu) = gpu() else { return };
    let rows = [1, 7, 8, 9, 64, 100];
    let of_trial = |trial: usize| {
        let place = |count: usize| {
            let rows = Some((rows[trial], count.next_multiple_of(4)));
            Placed::new(&gpu, trial, count, rows, (100 * trial + count) as u64)
        };
        [1, 10, 31, 32, 33, 130].map(place)
    };
    let placed: Vec<Placed> = (0..RULES.len()).flat_map(of_trial).collect();
    run(&gpu, &placed, |trial| rows[trial]);
    placed.iter().for_each(|tensor| tensor.check(STEPS));
}

#[test]
fn a_trial_that_scores_or_idles_learns_nothing() {
    let Some(gpu) = gpu() else { return };
    let of_trial = |trial: usize| {
        let seed = trial as u64;
        [
            Placed::new(&gpu, trial, 40, None, seed),
            Placed::new(&gpu, trial, 10, Some((9, 12)), seed + 50),
        ]
    };
    let placed: Vec<Placed> = (0..RULES.len()).flat_map(of_trial).collect();
    run(&gpu, &placed, |trial| if trial % 2 == 0 { 9 } else { 0 });
    for tensor in &placed {
        let idles = tensor.trial % 2 == 1;
        if idles {
            assert_eq!(tensor.values.download().expect("values"), tensor.initial);
        }
        tensor.check(if idles { 0 } else { STEPS });
    }
}
