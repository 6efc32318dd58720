//! How fast the CPU engine trains and how little the driver adds, as shares of what is possible.
//!
//!     cargo bench                         # everything, some minutes
//!     cargo bench -- softmax_regression   # what has this in its name
//!
//! divan's table shows the times, checks included; the lines below it leave the checks out and set
//! the times in relation: GFLOP/s of the matrix products, and their share of the fused
//! multiply-adds that the cores were measured to do just before. FLOPs are 2 a multiply-add, of the
//! forward pass, of both gradients of every layer but the first, which has no input gradient, and
//! of the validation.
//!
//! The data is Fashion-MNIST from `$WARPSWEEP_DATA`, `../shared/data` or the cache, else the
//! synthetic set; the last line says which. A result is checked before its time is printed: trials
//! that share an array must come to the bits that they come to alone, and must have learned.
//! Nothing else should run beside it. `benches/peers.sh` compares with other programs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Instant;

use divan::Bencher;
use divan::counter::ItemsCount;
use warpsweep::Result;
use warpsweep::data::{self, Dataset, Request, Samples, Split, Validation};
use warpsweep::engine::cpu::CpuEngine;
use warpsweep::engine::{Engine, EpochMetrics, Next, Observer, ShuffleMode, Task, Trial};
use warpsweep::measure::ceilings::processor::Processor;
use warpsweep::model::{Defaults, Parameters, Recipe};
use warpsweep::search::{self, Incumbent, Plan, Random, Reporter};
use warpsweep::space::Space;
use warpsweep::study::{Header, Study, TrialRecord};

const TRIALS: u32 = 64;
const SEED: u64 = 0;

/// The d2l.ai chapter's own search, and its table of an MLP's search space.
const SOFTMAX: &[&str] = &["learning_rate=loguniform(1e-4,1)"];
const MLP: &[&str] = &[
    "learning_rate=loguniform(1e-6,1e-1)",
    "batch_size=lograndint(8,256)",
    "momentum=uniform(0,0.99)",
    "activation=choice(tanh,relu)",
    "units=lograndint(32,1024)",
    "layers=randint(1,6)",
];

/// Seconds of every sample, by benchmark: divan does not hand out what it measures.
static SECONDS: Mutex<BTreeMap<&str, Vec<f64>>> = Mutex::new(BTreeMap::new());

fn main() {
    divan::main();
    let seconds = SECONDS.lock().expect("no bench panicked");
    let median = |name: &str| {
        let mut samples = seconds.get(name)?.clone();
        samples.sort_by(f64::total_cmp);
        Some(samples[samples.len() / 2])
    };
    let peak = median("peak").map(|seconds| 1.0 / seconds / 1e9);
    if let Some(peak) = peak {
        println!("\npeak of all cores together: {peak:.1} GFLOP/s in fused multiply-adds");
    }
    for (name, space) in [("softmax_regression", SOFTMAX), ("mlp_space", MLP)] {
        let Some(seconds) = median(name) else { continue };
        let flop: f64 = trials(space).iter().map(flop).sum();
        let (rate, gflops) = (f64::from(TRIALS) / seconds, flop / seconds / 1e9);
        let share = peak.map(|peak| 100.0 * gflops / peak);
        let share = share.map_or(String::new(), |share| format!(", {share:.1} % of the peak"));
        println!("{name}: {rate:.2} trial-epochs/s, {gflops:.1} GFLOP/s{share}");
    }
    if let Some(seconds) = median("driver") {
        let each = 1e3 * seconds / f64::from(RECORDED);
        println!("driver: {each:.4} ms a trial of 0 epochs, each recorded durably");
    }
    let task = &*TASK;
    println!(
        "conditions: {}, float32, {}, {} training and {} validation samples, {TRIALS} trials, \
         1 epoch, seed {SEED}",
        engine().device(),
        task.split.data().name,
        task.split.training().len(),
        task.split.validation().len()
    );
}

/// Runs a benchmark's work as one sample, and keeps its time.
fn timed<T>(name: &'static str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    let seconds = start.elapsed().as_secs_f64();
    SECONDS.lock().expect("no bench panicked").entry(name).or_default().push(seconds);
    result
}

/// What all cores do together in fused multiply-adds from registers, as `warpsweep bench` measures it.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn a_peak(bencher: Bencher) {
    let mut processor = Processor::new(threads());
    bencher.bench_local(|| {
        let peak = processor.ceilings(1.0).flops_per_second;
        SECONDS.lock().expect("no bench panicked").entry("peak").or_default().push(1.0 / peak);
    });
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn engine() -> CpuEngine {
    CpuEngine::new(None).expect("an engine")
}

/// The chapter's own practice: 60,000 samples to train on, the test set to validate.
static TASK: LazyLock<Task> = LazyLock::new(|| {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let data_dir = beside.is_dir().then_some(beside);
    let loaded = data::load(&Request { source: None, data_dir }).expect("a data set");
    let split = Split::new(loaded.dataset, Validation::Test).expect("a split");
    Task { split, seed: SEED, shuffle: ShuffleMode::PerTrial }
});

fn space(parameters: &[&str]) -> Space {
    let parameters: Vec<String> = parameters.iter().map(|&text| text.to_owned()).collect();
    Space::from_arguments(&parameters).expect("a space")
}

/// The trials that `warpsweep search --epochs 1` draws from a space.
fn trials(parameters: &[&str]) -> Vec<Trial> {
    let space = space(parameters);
    let data = TASK.split.data();
    let defaults = Defaults { epochs: 1, ..Defaults::default() };
    let trial = |number| {
        let config = space.sample(SEED, number);
        let recipe = Recipe::from_config(&config, &defaults, data.pixels(), data.classes);
        Trial { number, recipe: recipe.expect("a config that a model accepts") }
    };
    (0..TRIALS).map(trial).collect()
}

/// Floating-point operations of the matrix products in one epoch of a trial and its validation.
fn flop(trial: &Trial) -> f64 {
    let architecture = &trial.recipe.architecture;
    let hidden = architecture.hidden.iter().map(|layer| layer.units);
    let mut sizes = vec![architecture.inputs];
    sizes.extend(hidden.chain([architecture.classes]));
    let products: usize = sizes.windows(2).map(|pair| pair[0] * pair[1]).sum();
    let training = TASK.split.training().len() * (3 * products - sizes[0] * sizes[1]);
    2.0 * (training + TASK.split.validation().len() * products) as f64
}

/// Writes down the only epoch of every trial.
struct OneEpoch(Vec<Mutex<Option<EpochMetrics>>>);

impl Observer for OneEpoch {
    fn after_epoch(
        &self,
        slot: usize,
        metrics: EpochMetrics,
        _: &dyn Fn() -> Result<Parameters>,
    ) -> Result<Next> {
        *self.0[slot].lock().expect("no thread panicked") = Some(metrics);
        Ok(Next::Finish)
    }
}

/// Trains trials side by side for an epoch; train loss, validation loss and error of each.
fn train(engine: &CpuEngine, trials: &[Trial]) -> Vec<[f64; 3]> {
    let observer = OneEpoch(trials.iter().map(|_| Mutex::new(None)).collect());
    let mut array = engine.array(&TASK, trials.to_vec()).expect("an array");
    array.advance(&observer).expect("an epoch");
    let samples = TASK.split.validation().len() as f64;
    let numbers = observer.0.into_iter().map(|slot| {
        let metrics = slot.into_inner().expect("no thread panicked").expect("an epoch of each");
        let error = metrics.validation_wrong as f64 / samples;
        [metrics.train_loss, metrics.validation_loss, error]
    });
    numbers.collect()
}

/// Trains all trials of a space for an epoch, and sees that they are trained as one alone is.
fn train_space(bencher: Bencher, name: &'static str, parameters: &[&str]) {
    let trials = trials(parameters);
    let cheap = (0..trials.len()).min_by(|&a, &b| flop(&trials[a]).total_cmp(&flop(&trials[b])));
    let cheap = cheap.expect("trials");
    let bits = |numbers: &[f64; 3]| numbers.map(f64::to_bits);
    let alone = train(&CpuEngine::new(Some(1)).expect("an engine"), &trials[cheap..=cheap]);
    bencher.counter(ItemsCount::new(TRIALS)).bench_local(|| {
        let numbers = timed(name, || train(&engine(), &trials));
        assert_eq!(bits(&numbers[cheap]), bits(&alone[0]), "a trial alone comes to other bits");
        let errors = numbers.iter().map(|[_, _, error]| *error);
        let best = errors.reduce(f64::min).expect("trials");
        assert!(best < 0.25, "the best trial is wrong on {best} of the samples");
    });
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn b_softmax_regression(bencher: Bencher) {
    train_space(bencher, "softmax_regression", SOFTMAX);
}

#[divan::bench(sample_count = 1, sample_size = 1)]
fn c_mlp_space(bencher: Bencher) {
    train_space(bencher, "mlp_space", MLP);
}

/// Trials of the driver's benchmark.
const RECORDED: u32 = 10_000;

/// A search's reporter with nothing to say.
struct Silent;

impl Reporter for Silent {
    fn start(&mut self, _: &Plan, _: usize) -> Result<()> {
        Ok(())
    }

    fn trial(&mut self, _: &TrialRecord, _: Option<Incumbent>) -> Result<()> {
        Ok(())
    }
}

/// A data set so small that evaluating the untrained models costs next to nothing.
fn tiny() -> Task {
    let samples =
        || Samples { pixels: vec![7; 4 * 20].into(), labels: (0..20).map(|i| i % 10).collect() };
    let data = Dataset::new("tiny", samples(), samples(), [2, 2], 10);
    let split = Split::new(data, Validation::Test).expect("a split");
    Task { split, seed: SEED, shuffle: ShuffleMode::PerTrial }
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn d_driver(bencher: Bencher) {
    let (task, space) = (tiny(), space(SOFTMAX));
    bencher.counter(ItemsCount::new(RECORDED)).bench_local(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("study.jsonl");
        let header =
            Header { name: "bench".into(), space: space.clone(), settings: serde_json::Map::new() };
        let plan = Plan {
            sampler: Box::new(Random { space: space.clone(), seed: SEED }),
            trials: RECORDED,
            defaults: Defaults { epochs: 0, ..Defaults::default() },
            array: 1024,
            time_limit: None,
            target_error: None,
            want_model: false,
            interrupt: Arc::new(AtomicBool::new(false)),
        };
        timed("driver", || {
            let mut study = Study::open(&path, &header).expect("a study");
            search::run(&plan, &engine(), &task, &mut study, &mut Silent).expect("a search");
        });
        let study = Study::read(&path).expect("the study");
        assert_eq!(study.trials().len(), RECORDED as usize);
        for trial in study.trials() {
            assert_eq!(trial.config, space.sample(SEED, trial.number), "another config");
        }
    });
}
