//! The `begin` kernel: a trial's way through its epochs, step by step, with the losses summed in
//! float64 and in the stated order.

mod common;

use bytemuck::Zeroable;
use common::cuda::{Gpu, buffer, gpu, keys, zeros};
use warpsweep::engine::cuda::launch::Buffer;
use warpsweep::engine::cuda::launch::begin::Begin;
use warpsweep::engine::cuda::launch::trial::{Clock, Command, Data, Plan, Rule, Samples};

const TRAINING: usize = 600;
const VALIDATION: usize = 150;
const SEED: u64 = 77;
/// Threads of a block: the losses of a step are dealt out to as many, then added as a tree.
const THREADS: usize = 128;

/// A step as the clock should show it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Expected {
    training: bool,
    first: usize,
    rows: usize,
}

/// The steps of one epoch.
fn epoch(batch: usize, capacity: usize) -> Vec<Expected> {
    let steps = |training, total: usize, size: usize| {
        let step = move |first| Expected { training, first, rows: size.min(total - first) };
        (0..total).step_by(size).map(step)
    };
    steps(true, TRAINING, batch).chain(steps(false, VALIDATION, capacity)).collect()
}

/// The sum in the order that the kernel's file states.
fn sum(losses: &[f32]) -> f64 {
    let mut sums = [0.0f64; THREADS];
    for (row, loss) in losses.iter().enumerate() {
        sums[row % THREADS] += f64::from(*loss);
    }
    let mut half = THREADS / 2;
    while half > 0 {
        for i in 0..half {
            sums[i] += sums[i + half];
        }
        half /= 2;
    }
    sums[0]
}

/// Trials of some batch sizes, with the memory that their plans point to.
struct Bench {
    gpu: Gpu,
    kernel: Begin,
    plans: Buffer<Plan>,
    commands: Buffer<Command>,
    clocks: Buffer<Clock>,
    data: Buffer<Data>,
    losses: Vec<Buffer<f32>>,
    predicted: Vec<Buffer<u32>>,
    labels: Vec<Buffer<u32>>,
}

/// Batch and capacity of each trial: a partial last batch of both kinds, a batch of all samples, more
/// rows than threads, and less.
const SIZES: [(usize, usize); 5] = [(256, 256), (77, 77), (600, 600), (129, 128), (400, 16)];

impl Bench {
    fn new() -> Option<Bench> {
        let gpu = gpu()?;
        let module = gpu.compiler.kernels(&gpu.device, "begin.cu").expect("a module");
        let kernel = Begin::new(&module).expect("the kernel");
        let per_trial = |_| zeros::<u32>(&gpu, TRAINING);
        let losses: Vec<_> = SIZES.iter().map(|_| zeros::<f32>(&gpu, TRAINING)).collect();
        let predicted: Vec<_> = SIZES.iter().map(per_trial).collect();
        let labels: Vec<_> = SIZES.iter().map(per_trial).collect();
        let plan = |(trial, (batch, capacity)): (usize, (usize, usize))| Plan {
            seed: SEED,
            losses: losses[trial].address(),
            predicted: predicted[trial].address(),
            labels: labels[trial].address(),
            batch: batch as u32,
            capacity: capacity as u32,
            shuffled: 1,
            shuffle_trial: 10 + trial as u32,
            ..Plan::zeroed()
        };
        let plans: Vec<Plan> = SIZES.into_iter().enumerate().map(plan).collect();
        let part = |count: usize| Samples { count: count as u32, ..Samples::zeroed() };
        let data =
            Data { training: part(TRAINING), validation: part(VALIDATION), inputs: 1, classes: 10 };
        Some(Bench {
            plans: buffer(&gpu, &plans),
            commands: zeros(&gpu, SIZES.len()),
            clocks: zeros(&gpu, SIZES.len()),
            data: buffer(&gpu, &[data]),
            kernel,
            losses,
            predicted,
            labels,
            gpu,
        })
    }

    /// One tick of all clocks.
    fn tick(&self) -> Vec<Clock> {
        let Bench { plans, commands, clocks, data, .. } = self;
        self.kernel.launch(&self.gpu.stream, plans, commands, clocks, data).expect("a launch");
        self.clocks.download().expect("clocks")
    }

    /// Lets a trial train an epoch.
    fn command(&mut self, trial: usize, epoch: u32, learning_rate: f32) {
        self.commands
            .upload(trial, &[Command { rule: Rule { learning_rate, ..Rule::default() }, epoch }])
            .expect("an upload");
    }

    /// Writes what the kernels of a step leave behind: losses, and predictions of which every third is
    /// wrong. Returns their sum and how many are wrong.
    fn finish_step(&mut self, trial: usize, step: Expected, salt: usize) -> (f64, u32) {
        // Sizes far apart, so that another order of addition gives other bits.
        let loss = |row: usize| {
            let x = (row * 7919 + salt * 104_729 + trial) % 1009;
            (x as f32 + 0.1) * 10f32.powi((x % 13) as i32 - 6)
        };
        let losses: Vec<f32> = (0..step.rows).map(loss).collect();
        let labels: Vec<u32> = (0..step.rows).map(|row| (row % 10) as u32).collect();
        let wrong = |row: usize| (row + salt).is_multiple_of(3);
        let predicted = labels.iter().enumerate().map(|(row, label)| label + u32::from(wrong(row)));
        let predicted: Vec<u32> = predicted.collect();
        self.losses[trial].upload(0, &losses).expect("an upload");
        self.labels[trial].upload(0, &labels).expect("an upload");
        self.predicted[trial].upload(0, &predicted).expect("an upload");
        (sum(&losses), (0..step.rows).filter(|&row| wrong(row)).count() as u32)
    }
}

/// What a trial's epoch should have come to so far.
#[derive(Clone, Copy, Default)]
struct Sums {
    train_loss: f64,
    validation_loss: f64,
    wrong: u32,
}

/// Trains the trials through one epoch at once and looks at every clock of every tick.
fn check_epoch(bench: &mut Bench, finished: u32) {
    let rate = |trial: usize| 0.25 * (trial + 1) as f32 + finished as f32;
    let schedules = SIZES.map(|(batch, capacity)| epoch(batch, capacity));
    let mut sums = [Sums::default(); SIZES.len()];
    (0..SIZES.len()).for_each(|trial| bench.command(trial, finished + 1, rate(trial)));
    let longest = schedules.iter().map(Vec::len).max().unwrap_or(0);
    for tick in 0..=longest {
        for (trial, clock) in bench.tick().iter().enumerate() {
            let place = format!("trial {trial}, tick {tick} of epoch {}", finished + 1);
            let Sums { train_loss, validation_loss, wrong } = sums[trial];
            assert_eq!(clock.train_loss.to_bits(), train_loss.to_bits(), "{place}");
            assert_eq!(clock.validation_loss.to_bits(), validation_loss.to_bits(), "{place}");
            assert_eq!(clock.wrong, wrong, "{place}");
            assert_eq!(clock.rule.learning_rate, rate(trial), "{place}");
            assert_eq!(clock.keys, keys(SEED, 10 + trial as u32, u64::from(finished)), "{place}");
            let Some(step) = schedules[trial].get(tick).copied() else {
                // Until the next command it idles, whatever the others do.
                assert_eq!((clock.step.rows, clock.learning.rows), (0, 0), "{place}");
                assert_eq!(clock.finished, finished + 1, "{place}");
                continue;
            };
            assert_eq!(clock.finished, finished, "{place}");
            let got = Expected {
                training: clock.step.training == 1,
                first: clock.first as usize,
                rows: clock.step.rows as usize,
            };
            assert_eq!(got, step, "{place}");
            let learning = if step.training { step.rows } else { 0 };
            assert_eq!(clock.learning.rows as usize, learning, "{place}");
            let trained = if step.training { step.first } else { TRAINING };
            let before = finished as usize * TRAINING + trained;
            assert_eq!((clock.step.before, clock.learning.before), (before as u64, before as u64));
            let (loss, wrong) = bench.finish_step(trial, step, tick);
            let sums = &mut sums[trial];
            if step.training {
                sums.train_loss += loss;
            } else {
                sums.validation_loss += loss;
                sums.wrong += wrong;
            }
        }
    }
}

#[test]
fn every_tick_of_three_epochs_is_the_step_that_it_should_be_with_its_losses_summed_in_order() {
    let Some(mut bench) = Bench::new() else { return };
    (0..3).for_each(|finished| check_epoch(&mut bench, finished));
}

#[test]
fn a_trial_idles_until_its_next_epoch_is_named() {
    let Some(mut bench) = Bench::new() else { return };
    // Not commanded, and commanded to an epoch that is not the next.
    bench.command(1, 2, 0.5);
    for _ in 0..3 {
        for clock in bench.tick() {
            assert_eq!((clock.step.rows, clock.learning.rows, clock.finished), (0, 0, 0));
        }
    }
    bench.command(1, 1, 0.5);
    let clocks = bench.tick();
    let rows: Vec<u32> = clocks.iter().map(|clock| clock.step.rows).collect();
    assert_eq!(rows, [0, 77, 0, 0, 0]);
}
