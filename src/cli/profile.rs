//! `warpsweep profile`: where the time of a training run goes.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use clap::ValueEnum;
use serde_json::{Value as Json, json};

use super::device::{Chosen, DeviceArgs, Hardware};
use super::options::{self, DataArgs, Setting, TaskArgs, refuse};
use super::{print, remark, signal};
use crate::engine::cuda::Choice;
use crate::engine::profile::{Recorder, Records};
use crate::engine::{Engine, Trial};
use crate::error::{Error, Result};
use crate::measure::clock::Elapsed;
use crate::measure::profile::{Profile, Unit, gpu_ceilings, overhead, processor_ceilings, train};
use crate::measure::trace;
use crate::model::{self, Recipe};
use crate::report;
use crate::space::Space;

/// The space of a command without --param: softmax regression.
const DEFAULT_PARAM: &str = "learning_rate=0.1";

/// Show where the time of a training run goes, operation by operation.
///
/// Trains some trials side by side, as `search` does, and keeps nothing of them. Each operation is shown
/// with its calls, its time and share, what it reaches in FLOP/s and bytes/s, and how much that
/// is of this machine's own peak, measured just before. On the CPU so many steps are timed that
/// it costs about one per cent. On a GPU
/// most ticks are launched kernel by kernel between events, the others as the graphs that a search
/// runs; registers, shared memory, spills and occupancy are the driver's. No number of any trial is
/// changed by it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, allow_negative_numbers = true)]
#[command(mut_arg("epochs", |epochs| epochs.default_value("2")))]
pub struct Args {
    /// A hyperparameter and what it is drawn from, as of `search`; may be repeated
    /// [default: learning_rate=0.1]
    #[arg(long = "param", value_name = "NAME=SPEC")]
    params: Vec<String>,

    /// A TOML file with a table a hyperparameter; --param adds to it or goes before it
    #[arg(long, value_name = "FILE")]
    space: Option<PathBuf>,

    /// Trials to train side by side
    #[arg(long, value_name = "N", default_value_t = 4)]
    trials: u32,

    #[command(flatten)]
    task: TaskArgs,

    #[command(flatten)]
    data: DataArgs,

    #[command(flatten)]
    device: DeviceArgs,

    /// How the result is written to standard output
    #[arg(long, value_enum, default_value = "table")]
    format: Format,

    /// Write a trace that ui.perfetto.dev and chrome://tracing open: every epoch, and the first
    /// operations of each
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// Draw the operations under this machine's roofs, as SVG
    #[arg(long, value_name = "FILE.svg")]
    roofline: Option<PathBuf>,

    /// On a GPU, run the first step up to this kernel, once, and nothing else: for ncu
    ///
    /// The kernel is named as in the table, `forward_64x16`, or without its tile, `forward`; it is
    /// in an NVTX range of the name `once forward_64x16`.
    #[arg(long, value_name = "KERNEL", conflicts_with_all = ["overhead", "trace", "roofline"])]
    once: Option<String>,

    /// Measure what profiling costs instead: so many runs with it, in turns with as many without
    #[arg(long, value_name = "PAIRS", conflicts_with_all = ["trace", "roofline", "format"])]
    overhead: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For the eye
    Table,
    /// One JSON object
    Json,
    /// A line an operation
    Csv,
    /// A table for a README
    Markdown,
}

const EXAMPLES: &str = "\
Examples:
  warpsweep profile
  warpsweep profile --param layers=2 --param units=256 --batch-size 64 --trace trace.json
  warpsweep profile --device cuda --trials 64 --roofline roofline.svg --format json
  nsys profile warpsweep profile --device cuda
  ncu --nvtx --nvtx-include 'regex:once.*/' warpsweep profile --device cuda --once forward
  warpsweep profile --overhead 15";

pub fn run(args: Args) -> Result<()> {
    args.check()?;
    // A fused launch has no operations to time apart: it is shown where it is asked for.
    let chosen = args.device.choose_with(Choice::Layered)?;
    if let Some(kernel) = args.once.as_ref().filter(|_| !chosen.hardware.is_gpu()) {
        let next = "take --device cuda; on the CPU `perf record` sees every operation";
        return Err(refuse("--once", kernel, "a GPU, which alone has kernels to launch", next));
    }
    if let Some(path) = args.roofline.as_ref().filter(|_| chosen.is_simulated()) {
        let next = "leave it out: a simulated device has no times";
        return Err(refuse("--roofline", path.display(), "a device with a clock", next));
    }
    let space = options::space(args.space.as_deref(), &args.params, DEFAULT_PARAM)?;
    model::check_space(&space)?;
    let setting = args.task.clone().resolve(args.data.clone(), &chosen)?;
    if let Some(note) = &setting.note {
        remark(&format!("note: {note}"));
    }
    let trials = draw(&space, &setting, args.trials)?;
    let session = Session { args: &args, chosen: &chosen, setting: &setting, space: &space };
    let interrupt = signal::interrupt()?;
    match args.overhead {
        Some(pairs) => session.overhead(&trials, pairs, &interrupt),
        None => session.profile(trials, &interrupt),
    }
}

/// The first trials of a search of this space.
fn draw(space: &Space, setting: &Setting, count: u32) -> Result<Vec<Trial>> {
    let data = setting.task.split.data();
    let trial = |number| {
        let config = space.sample(setting.task.seed, number);
        let recipe = Recipe::from_config(&config, &setting.defaults, data.pixels(), data.classes)?;
        Ok(Trial { number, recipe })
    };
    (0..count).map(trial).collect()
}

impl Args {
    /// Refuses, before anything is trained, what cannot be meant.
    fn check(&self) -> Result<()> {
        if self.trials == 0 {
            return Err(refuse("--trials", 0, "at least 1", "4 is the default"));
        }
        if self.task.epochs == 0 {
            return Err(refuse("--epochs", 0, "at least 1", "2 is the default"));
        }
        if self.overhead == Some(0) {
            return Err(refuse(
                "--overhead",
                0,
                "at least 1 pair",
                "15 is enough on a quiet machine",
            ));
        }
        for (path, action) in [(&self.trace, "write a trace to"), (&self.roofline, "draw to")] {
            if let Some(path) = path {
                options::check_writable(path, action, "name a file in an existing folder")?;
            }
        }
        Ok(())
    }
}

/// A run and what it holds under.
struct Session<'a> {
    args: &'a Args,
    chosen: &'a Chosen,
    setting: &'a Setting,
    space: &'a Space,
}

impl Session<'_> {
    fn engine(&self) -> &dyn Engine {
        &*self.chosen.engine
    }

    fn profile(&self, trials: Vec<Trial>, interrupt: &AtomicBool) -> Result<()> {
        let lanes = self.chosen.hardware.lanes(&trials);
        let recorder = match &self.args.once {
            Some(kernel) => Recorder::once(kernel),
            None => Recorder::new(self.args.trace.is_some()),
        };
        let ceilings = match &self.chosen.hardware {
            _ if self.args.once.is_some() => None,
            Hardware::Cpu { .. } => Some(processor_ceilings(lanes)),
            Hardware::Gpus(gpus) => gpu_ceilings(gpus, self.chosen.precision.of_engine())?,
        };
        let warn = |line: &str| remark(&format!("warning: {line}"));
        let task = &self.setting.task;
        let run = train(self.engine(), task, trials, Some(&recorder), interrupt, &warn)?;
        let clock = recorder.clock();
        let records = recorder.into_records();
        let unit = match self.chosen.is_simulated() {
            true => Unit::WarpInstructions,
            false => Unit::Seconds,
        };
        let profile = Profile::new(&records, unit, lanes, run, ceilings);
        self.print(&profile, clock)?;
        if let Some(path) = &self.args.trace {
            self.write_trace(path, &records, unit)?;
        }
        if let Some((path, svg)) = self
            .args
            .roofline
            .as_ref()
            .and_then(|path| Some((path, report::roofline::svg(&profile, &self.conditions())?)))
        {
            write_file(path, |out| out.write_all(svg.as_bytes()))?;
            remark(&format!("roofline: {}", path.display()));
        }
        Ok(())
    }

    fn print(&self, profile: &Profile, clock: f64) -> Result<()> {
        match self.args.format {
            Format::Table => {
                print(&format!("{}\n\n{}\n", self.conditions(), report::profile::table(profile)))?;
                self.notes(profile, clock)
                    .into_iter()
                    .try_for_each(|note| print(&format!("{note}\n")))
            }
            Format::Markdown => {
                print(&format!(
                    "{}\n\n{}\n",
                    self.conditions(),
                    report::profile::markdown(profile)
                ))?;
                let notes = self.notes(profile, clock).into_iter();
                notes.map(|note| format!("- {note}\n")).try_for_each(|note| print(&note))
            }
            Format::Json => {
                let mut object = report::profile::json(profile, &self.conditions_object());
                object["notes"] = json!(self.notes(profile, clock));
                print(&format!("{object}\n"))
            }
            Format::Csv => {
                let mut text = Vec::new();
                report::profile::csv(profile, &mut text)
                    .map_err(|error| Error::Output { reason: error.to_string() })?;
                print(&String::from_utf8_lossy(&text))
            }
        }
    }

    /// What a reader has to know of the numbers.
    fn notes(&self, profile: &Profile, clock: f64) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(kernel) = &self.args.once {
            notes
                .push(format!("the first step up to {kernel}, launched once; nothing was trained"));
            return notes;
        }
        match (&self.chosen.hardware, profile.unit) {
            (Hardware::Cpu { .. }, _) => notes.extend([
                format!(
                    "operations: {:.1} % of the {:.3} s in training loops, {:.1} % of {} x {:.3} s \
                     wall time",
                    100.0 * profile.covered(),
                    profile.loop_seconds,
                    100.0 * profile.busy(),
                    counted(profile.lanes, "thread"),
                    profile.run.wall,
                ),
                format!(
                    "timed: {:.0} % of the calls, which stand for the others; a read of the clock \
                     ({:.0} ns) is taken off each",
                    100.0 * profile.timed(),
                    1e9 * clock
                ),
            ]),
            (Hardware::Gpus(_), Unit::WarpInstructions) => notes.push(
                "simulated device: it has no times, so instructions of warps are counted in their \
                 place; they say nothing of a real GPU's speed"
                    .to_owned(),
            ),
            (Hardware::Gpus(_), Unit::Seconds) => notes.push(format!(
                "kernels: {:.1} % of the {:.3} s that the host waited for {}",
                100.0 * profile.covered(),
                profile.loop_seconds,
                counted(profile.lanes, "GPU"),
            )),
        }
        if !self.chosen.hardware.is_gpu() && profile.had_processor() < 0.95 {
            notes.push(format!(
                "a busy machine: the threads had a processor {:.0} % of that time, so times are longer \
                 and rates lower than on a quiet one",
                100.0 * profile.had_processor()
            ));
        }
        let fused = self.chosen.kernel == Some(Choice::Fused.name());
        notes.extend(profile.ticks.filter(|_| !fused).and_then(|ticks| gaps(&ticks, profile.unit)));
        if fused {
            notes.push(
                "fused: a launch trains whole epochs of many trials, so its time has their waiting for \
                 the host in it; --kernel layered shows the operations apart"
                    .to_owned(),
            );
        }
        if let Some(ceilings) = &profile.ceilings {
            notes.push(format!(
                "roofs, measured before the run: {:.1} GFLOP/s of arithmetic, {:.1} GB/s copied through \
                 memory; they meet at {:.1} FLOP a byte",
                ceilings.flops_per_second / 1e9,
                ceilings.bytes_per_second / 1e9,
                ceilings.ridge(),
            ));
        }
        notes
    }

    fn overhead(&self, trials: &[Trial], pairs: usize, interrupt: &AtomicBool) -> Result<()> {
        let warn = |line: &str| remark(&format!("warning: {line}"));
        let task = &self.setting.task;
        // What other processes do is in the wall's time; a GPU's work is in it alone.
        let gpu = self.chosen.hardware.is_gpu();
        let clock = |run: Elapsed| if gpu { run.wall } else { run.processor };
        let cost = overhead(pairs, clock, |recorder| {
            train(self.engine(), task, trials.to_vec(), recorder, interrupt, &warn)
        })?;
        let interval = cost.interval.map_or("no interval from so few".to_owned(), |(low, high)| {
            format!("95 % interval {:.2} to {:.2} %", 100.0 * low, 100.0 * high)
        });
        print(&format!(
            "{}\nprofiling costs {:.2} % of a run's {} time (median of {}, {interval}); without it that \
             is {:.4} s\n",
            self.conditions(),
            100.0 * cost.median,
            if gpu { "wall" } else { "processor" },
            counted(pairs, "pair"),
            cost.seconds,
        ))
    }

    fn conditions(&self) -> String {
        let (device, precision) = (self.engine().device(), self.chosen.precision.name());
        let batch = self.setting.batch(self.space);
        let space = self.space.parameters().iter();
        let space: Vec<String> = space.map(|p| format!("{}={}", p.name, p.distribution)).collect();
        let conditions = self.setting.conditions(&device, precision, &batch);
        format!(
            "{} of {}: {conditions}",
            counted(self.args.trials as usize, "trial"),
            space.join(" ")
        )
    }

    fn conditions_object(&self) -> Json {
        let Setting { task, defaults, validation, note, .. } = self.setting;
        json!({
            "device": self.engine().device(),
            "device_choice": self.chosen.why,
            "precision": self.chosen.precision.name(),
            "space": self.space,
            "trials": self.args.trials,
            "epochs": defaults.epochs,
            "batch_size": self.setting.batch(self.space),
            "seed": task.seed,
            "data": task.split.data().name,
            "training_samples": task.split.training().len(),
            "validation": validation.to_string(),
            "note": note,
        })
    }

    fn write_trace(&self, path: &Path, records: &Records, unit: Unit) -> Result<()> {
        let mut about = self.conditions_object();
        about["unit"] = json!(match unit {
            Unit::Seconds => "real time",
            Unit::WarpInstructions => "kernels: a nanosecond is a counted instruction of a warp",
        });
        write_file(path, |out| trace::write(&records.spans, &about, out))?;
        remark(&format!("trace: {}, for ui.perfetto.dev or chrome://tracing", path.display()));
        Ok(())
    }
}

/// What stands between a GPU's kernels, launched one by one and in graphs.
fn gaps(ticks: &crate::engine::profile::Ticks, unit: Unit) -> Option<String> {
    let apart = ticks.apart.max(1) as f64;
    let (kernels, between) = (ticks.apart_kernel_seconds / apart, ticks.apart_gap_seconds / apart);
    let graph = ticks.graph_seconds / ticks.graphs.max(1) as f64;
    match unit {
        Unit::Seconds => Some(format!(
            "ticks: {} launched one by one, each {:.1} us in kernels and {:.1} us between them; {} in \
             graphs{}",
            ticks.apart,
            1e6 * kernels,
            1e6 * between,
            ticks.graphs,
            if ticks.graphs > 0 {
                format!(", each {:.1} us, branches side by side", 1e6 * graph)
            } else {
                String::new()
            },
        )),
        Unit::WarpInstructions => {
            Some(format!("ticks: {} launched one by one, {} in graphs", ticks.apart, ticks.graphs))
        }
    }
}

/// `1 thread`, `2 threads`.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn write_file(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<()> {
    let written = File::create(path).and_then(|file| {
        let mut out = BufWriter::new(file);
        write(&mut out)?;
        out.flush()
    });
    written.map_err(|error| Error::File {
        action: "write",
        path: path.to_owned(),
        reason: error.to_string(),
        next: "name another place",
    })
}
