//! `warpsweep bench`: sweeps over axes, measured with care, and compared with an earlier run.

mod search;
mod show;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use clap::ValueEnum;

use super::device::{Device as Asked, auto};
use super::options::{DataArgs, refuse};
use super::{print, remark, signal};
use crate::data;
use crate::engine::cuda::discover::Survey;
use crate::engine::cuda::launch::Driver;
use crate::error::{Error, Result};
use crate::measure::axes::{Axis, cross};
use crate::measure::bench::{Bench, CudaDevice, Device, processor_name};
use crate::measure::compare::{self, Verdict};
use crate::measure::error::MeasureError;
use crate::measure::record::{Conditions, FORMAT, Run};
use crate::measure::sampling::Sampler;
use crate::measure::stopping::Stopping;
use crate::measure::suites::{self, Suite};
use crate::measure::sweep::{self, Step};
use crate::report::bench as report;
use crate::space::did_you_mean;
use show::Show;

/// Measure how fast this machine trains: suites of work along axes, each beside this machine's ceiling.
///
/// Every result is checked before it is timed. A point is measured until its median is known well
/// enough, in several passes over all points, in turn with a reference loop that shows the machine's
/// own ups and downs. On a simulated device counts of instructions take the place of times.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = LONG)]
pub struct Args {
    /// gemm, kernels, train, search, data or known [default: all but known]
    #[arg(value_name = "SUITE")]
    suites: Vec<String>,

    /// An axis and its values, in place of the suite's own: a list 16,64 or a range FROM:TO:xK
    /// (times K), FROM:TO:+K or FROM:TO:K (plus K); may be repeated, all axes are crossed
    #[arg(long = "axis", value_name = "NAME=VALUES")]
    axes: Vec<String>,

    /// Only the points that have all of these words, such as 'product=forward batch=16'
    #[arg(long, value_name = "WORDS")]
    filter: Option<String>,

    /// List suites and axes and measure nothing; with suites, list their points
    #[arg(long)]
    list: bool,

    /// The smallest sizes, to see that everything works
    #[arg(long)]
    quick: bool,

    /// The device to measure: auto, cpu, cuda (all GPUs) or cuda:N (see `warpsweep devices`)
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: Asked,

    /// Threads of the CPU engine [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,

    #[command(flatten)]
    data: DataArgs,

    /// All operands and trials follow from it
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Seconds that a point is measured at least
    #[arg(long, value_name = "SECONDS", default_value_t = 0.5)]
    min_time: f64,

    /// Seconds that a point is measured at most
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    time_limit: f64,

    /// How well the median is to be known, as a share of it: 0.01 is 1 % to both sides
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    noise: f64,

    /// Passes over all points, each with an equal part of the time
    #[arg(long, value_name = "N", default_value_t = 8)]
    passes: usize,

    /// How results are written [default: table; for --output what its ending says, else json]
    #[arg(long, value_enum)]
    format: Option<Format>,

    /// Write the results here, anew after each point, so that Ctrl-C loses nothing
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Compare with this earlier run, a JSON file that --output wrote
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,

    /// End with exit code 1 if a point is slower than the baseline
    #[arg(long, value_enum, value_name = "WHAT", requires = "baseline")]
    fail_on: Option<FailOn>,

    /// Measure nothing: show this earlier run, in another --format or beside a --baseline
    #[arg(long, value_name = "FILE", conflicts_with_all = ["suites", "axes", "list", "quick"])]
    render: Option<PathBuf>,

    /// Say the result only
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
    Markdown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    Slower,
}

const EXAMPLES: &str = "\
Examples:
  warpsweep bench --list                               suites and their axes
  warpsweep bench train --axis trials=1:256:x4 --axis batch=16,64,256
  warpsweep bench train --axis trials=16,64 --axis units=0,64 --output today.json
  warpsweep bench train --axis trials=16,64 --axis units=0,64 --baseline yesterday.json
  warpsweep bench gemm --filter product=forward --output gemm.json --baseline gemm-old.json --fail-on slower
  warpsweep bench --render today.json --format markdown    a table for a README";

const LONG: &str = "\
Comparing with yesterday:
  warpsweep bench train --axis trials=16,64 --axis batch=16,256 --output yesterday.json
  (a day later)
  warpsweep bench train --axis trials=16,64 --axis batch=16,256 --baseline yesterday.json

  Each point is the same, faster, slower, or unclear. Compared is what a call costs on an undisturbed
  machine: of each pass the fastest sample, for what disturbs only ever costs time, and the two fastest
  passes must agree. What a reference loop, which takes turns with the work, was slower in one run than
  in the other is put down to the machine. Of work that memory binds the median is compared, in copies that
  the reference makes in that time. A change under 5 % is never called one (10 % of several threads' work), surely
  under it is the same; unclear means that the intervals are too wide to tell: raise --time-limit. Where
  cores had to be waited for, processor time is compared in place of wall time.
  Machine, device, data set and seed must be the same.

Examples:
  warpsweep bench --list                               suites and their axes
  warpsweep bench train --axis trials=1:256:x4 --axis batch=16,64,256
  warpsweep bench gemm --axis units=10:640:x2 --axis precision=fp32,tf32 --filter product=forward
  warpsweep bench gemm --output gemm.json --baseline gemm-old.json --fail-on slower
  warpsweep bench --render today.json --format markdown    a table for a README

Exit codes: 0 done, 1 a wrong result or slower with --fail-on, 2 a mistake, 130 stopped by Ctrl-C.";

/// The suites of all rooms.
fn all_suites() -> Vec<&'static dyn Suite> {
    let mut all = suites::ALL.to_vec();
    all.insert(3, &search::Search);
    all
}

/// What is to be measured, checked as far as that goes without a device.
struct Settings {
    steps: Vec<Step<'static>>,
    stopping: Stopping,
    passes: usize,
    outlet: Outlet,
    baseline: Option<(PathBuf, Run)>,
    fail_on: Option<FailOn>,
    quiet: bool,
}

/// Where results go, and how.
#[derive(Clone, Debug)]
struct Outlet {
    file: Option<(PathBuf, Format)>,
    /// On standard output.
    shown: Format,
}

impl Outlet {
    fn new(output: Option<PathBuf>, format: Option<Format>) -> Outlet {
        let Some(path) = output else {
            return Outlet { file: None, shown: format.unwrap_or(Format::Table) };
        };
        let by_ending = match path.extension().and_then(|ending| ending.to_str()) {
            Some("csv") => Format::Csv,
            Some("md") => Format::Markdown,
            Some("txt") => Format::Table,
            _ => Format::Json,
        };
        Outlet { file: Some((path, format.unwrap_or(by_ending))), shown: Format::Table }
    }

    /// Writes the file anew, if there is one.
    fn write(&self, run: &Run) -> Result<()> {
        let Some((path, format)) = &self.file else { return Ok(()) };
        crate::measure::record::write(path, &render(run, *format)?)
    }
}

fn render(run: &Run, format: Format) -> Result<String> {
    match format {
        Format::Table => Ok(report::tables(run)),
        Format::Json => Ok(run.to_json()),
        Format::Markdown => Ok(report::markdown(run)),
        Format::Csv => report::csv(run).map_err(|reason| Error::Output { reason }),
    }
}

pub fn run(args: Args) -> Result<()> {
    if let Some(path) = &args.render {
        return rerender(path, &args);
    }
    let chosen = choose(&args.suites)?;
    let given = args.axes.iter().map(|text| Axis::parse(text)).collect::<Result<Vec<_>, _>>()?;
    check_axes(&chosen, &given)?;
    let steps = steps(&chosen, &given, args.quick, args.filter.as_deref())?;
    if args.list {
        return list(&chosen, (!args.suites.is_empty()).then_some(&steps[..]));
    }
    let (device, data, seed, threads) = (args.device, args.data.clone(), args.seed, args.threads);
    let settings = args.resolve(steps)?;
    let bench = bench(device, threads, data, seed, settings.quiet)?;
    measure(&settings, &bench)
}

impl Args {
    fn resolve(self, steps: Vec<Step<'static>>) -> Result<Settings> {
        let seconds = |option, value: f64| match value.is_finite() && value >= 0.0 {
            true => Ok(value),
            false => Err(refuse(option, value, "seconds, 0 or more", "0.5 means half a second")),
        };
        let (least, most) =
            (seconds("--min-time", self.min_time)?, seconds("--time-limit", self.time_limit)?);
        if most < least {
            let next = "raise --time-limit, or lower --min-time";
            return Err(refuse("--time-limit", most, "at least --min-time", next));
        }
        if !(self.noise > 0.0 && self.noise <= 1.0) {
            let next = "0.01 means 1 % to both sides";
            return Err(refuse("--noise", self.noise, "a share above 0 and up to 1", next));
        }
        if self.passes == 0 || self.passes > 1000 {
            return Err(refuse("--passes", self.passes, "1 to 1000", "8 is the default"));
        }
        if self.threads == Some(0) {
            return Err(refuse("--threads", 0, "at least 1", "leave it out to use all cores"));
        }
        let baseline = match self.baseline {
            Some(path) => {
                let run = Run::read(&path)?;
                Some((path, run))
            }
            None => None,
        };
        Ok(Settings {
            steps,
            stopping: Stopping { least, error: self.noise, most },
            passes: self.passes,
            outlet: Outlet::new(self.output, self.format),
            baseline,
            fail_on: self.fail_on,
            quiet: self.quiet,
        })
    }
}

/// The suites of these names; without names all but the one that checks the bench itself.
fn choose(names: &[String]) -> Result<Vec<&'static dyn Suite>> {
    let all = all_suites();
    if names.is_empty() {
        return Ok(all.into_iter().filter(|suite| suite.name() != "known").collect());
    }
    let find = |name: &String| {
        let hint = || did_you_mean(name, all.iter().map(|suite| suite.name()));
        let found = all.iter().find(|suite| suite.name() == name);
        found
            .copied()
            .ok_or_else(|| MeasureError::UnknownSuite { name: name.clone(), hint: hint() })
    };
    let mut chosen: Vec<&'static dyn Suite> = Vec::new();
    for name in names {
        let suite = find(name)?;
        // A suite that is named twice is measured once.
        if chosen.iter().all(|known| known.name() != suite.name()) {
            chosen.push(suite);
        }
    }
    Ok(chosen)
}

/// Refuses an axis that none of the suites has.
fn check_axes(suites: &[&dyn Suite], given: &[Axis]) -> Result<(), MeasureError> {
    let known = || suites.iter().flat_map(|suite| suite.axes()).map(|axis| axis.name);
    for axis in given {
        if known().all(|name| name != axis.name) {
            let names: Vec<&str> = suites.iter().map(|suite| suite.name()).collect();
            let (hint, axis) = (did_you_mean(&axis.name, known()), axis.name.clone());
            return Err(MeasureError::UnknownAxis { axis, suites: names.join(" "), hint });
        }
    }
    Ok(())
}

/// All points of the suites that have the filter's words.
fn steps(
    suites: &[&'static dyn Suite],
    given: &[Axis],
    quick: bool,
    filter: Option<&str>,
) -> Result<Vec<Step<'static>>, MeasureError> {
    let mut steps: Vec<Step<'static>> = Vec::new();
    for &suite in suites {
        let points = cross(suite.name(), suite.axes(), given, quick)?;
        steps.extend(points.into_iter().map(|point| (suite, point)));
    }
    let Some(filter) = filter else { return Ok(steps) };
    let wanted: Vec<&str> = filter.split_whitespace().collect();
    let points = steps.len();
    steps.retain(|(_, point)| {
        let text = point.to_string();
        wanted.iter().all(|word| text.split(' ').any(|own| own == *word))
    });
    match steps.is_empty() {
        true => Err(MeasureError::NothingLeft { filter: filter.to_owned(), points }),
        false => Ok(steps),
    }
}

/// Suites with their axes, or the points that were asked for.
fn list(suites: &[&dyn Suite], points: Option<&[Step<'_>]>) -> Result<()> {
    if let Some(steps) = points {
        return steps.iter().try_for_each(|(_, point)| print(&format!("{point}\n")));
    }
    let mut text = String::new();
    let known = all_suites().into_iter().filter(|suite| suite.name() == "known");
    for suite in suites.iter().copied().chain(known) {
        text += &format!("{}: {}\n", suite.name(), suite.about());
        for axis in suite.axes() {
            text += &format!("  {:<10} {} [{}]\n", axis.name, axis.about, axis.default);
        }
    }
    print(&text)
}

/// The device, as asked for, with the data set.
fn bench(
    asked: Asked,
    threads: Option<usize>,
    data: DataArgs,
    seed: u64,
    quiet: bool,
) -> Result<Bench> {
    let device = device(asked, threads, quiet)?;
    let data::Loaded { dataset, note, folder } = data.load()?;
    if let Some(note) = note {
        remark(&format!("note: {note}"));
    }
    let interrupt = signal::interrupt()?;
    Ok(Bench { device, data: dataset, data_folder: folder, seed, interrupt })
}

fn device(asked: Asked, threads: Option<usize>, quiet: bool) -> Result<Device> {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let processor = || Device::Processor(threads.unwrap_or_else(cores));
    let cuda = |gpus: &[usize]| Ok(Device::Cuda(Box::new(CudaDevice::new(gpus)?)));
    match asked {
        Asked::Cpu => Ok(processor()),
        Asked::Cuda(Some(ordinal)) => cuda(&[ordinal]),
        Asked::Cuda(None) => cuda(&(0..Driver::load()?.gpus()).collect::<Vec<_>>()),
        Asked::Auto => {
            let survey = Survey::take();
            let (gpus, why) = auto(&survey);
            let device = if gpus.is_empty() { Ok(processor()) } else { cuda(&gpus) };
            if !quiet {
                let name = if gpus.is_empty() { "cpu" } else { "cuda" };
                remark(&format!("device: {name} (--device auto: {why})"));
            }
            device
        }
    }
}

/// What holds for the whole run.
fn conditions(settings: &Settings, bench: &Bench) -> Result<Conditions> {
    let engine = bench.engine(crate::engine::cuda::tiles::Precision::Fp32)?;
    let (machine, threads) = match &bench.device {
        Device::Processor(threads) => (processor_name(), *threads),
        Device::Cuda(cuda) => (cuda.stream.device().gpu().name.clone(), 0),
    };
    let words: Vec<String> = std::env::args().skip(1).collect();
    Ok(Conditions {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        command: words.join(" "),
        machine,
        device: engine.map(|engine| engine.device()).unwrap_or_else(|reason| reason),
        simulated: bench.is_simulated(),
        threads,
        data: bench.data.name.clone(),
        data_fingerprint: bench.data.fingerprint.clone(),
        seed: bench.seed,
        min_time: settings.stopping.least,
        time_limit: settings.stopping.most,
        noise: settings.stopping.error,
        passes: settings.passes,
    })
}

fn measure(settings: &Settings, bench: &Bench) -> Result<()> {
    let mut run = Run {
        format: FORMAT.to_owned(),
        conditions: conditions(settings, bench)?,
        ceilings: Vec::new(),
        points: Vec::new(),
    };
    if let Some((path, baseline)) = &settings.baseline {
        compare::check(&run, baseline, path)?;
    }
    // Where nothing can be written nothing is measured.
    settings.outlet.write(&run)?;
    let baseline = settings.baseline.as_ref().map(|(_, baseline)| baseline);
    let mut show = Show::new(settings, baseline);
    let interrupt: &Arc<_> = &bench.interrupt;
    let mut sampler =
        Sampler::new(settings.stopping, settings.passes, bench.is_simulated(), interrupt);
    let whole = sweep::run(bench, &settings.steps, &mut sampler, &mut run, &mut show)?;
    show.done();
    finish(settings, &mut run)?;
    if !whole {
        let measured = run.points.iter().filter(|point| point.measured.is_some()).count();
        return Err(MeasureError::Interrupted { measured, points: settings.steps.len() }.into());
    }
    fail_on(settings.fail_on, &run)
}

/// The last writing, and the result on standard output.
fn finish(settings: &Settings, run: &mut Run) -> Result<()> {
    if let Some((_, baseline)) = &settings.baseline {
        compare::compare(run, baseline);
    }
    settings.outlet.write(run)?;
    if settings.outlet.file.is_none() || !settings.quiet {
        print(&render(run, settings.outlet.shown)?)?;
    }
    if let Some(line) = report::verdicts(run).filter(|_| !settings.quiet) {
        remark(&line);
    }
    Ok(())
}

fn fail_on(fail_on: Option<FailOn>, run: &Run) -> Result<()> {
    let verdicts = || run.points.iter().filter_map(|point| point.baseline);
    let count = verdicts().filter(|change| change.verdict == Verdict::Slower).count();
    match fail_on {
        Some(FailOn::Slower) if count > 0 => {
            Err(MeasureError::Slower { count, compared: verdicts().count() }.into())
        }
        _ => Ok(()),
    }
}

/// Shows an earlier run again.
fn rerender(path: &Path, args: &Args) -> Result<()> {
    let mut run = Run::read(path)?;
    if let Some(baseline) = &args.baseline {
        let earlier = Run::read(baseline)?;
        compare::check(&run, &earlier, baseline)?;
        compare::compare(&mut run, &earlier);
    }
    let outlet = Outlet::new(args.output.clone(), args.format);
    match outlet.file {
        Some(_) => outlet.write(&run)?,
        None => print(&render(&run, outlet.shown)?)?,
    }
    fail_on(args.fail_on, &run)
}
