//! Where a group's time on a GPU goes, kernel by kernel.
//!
//! A graph has room for no events, so of every four graphs three are launched as what they are
//! recorded from, tick by tick, with an event before and after each kernel: that gives the kernels'
//! times and the gaps between them. The fourth is launched as a graph between two events: its branches
//! run side by side, and launches cost no time of the host. The numbers of trials are the same in all
//! of these.

use std::collections::BTreeMap;
use std::time::Instant;

use super::launch::gemm::{Gemm, Product};
use super::launch::{CudaError, Event, Graph, Stream, Watched};
use super::layout::Layout;
use super::placed::Placed;
use crate::data::Split;
use crate::engine::Trial;
use crate::engine::profile::{KernelFacts, Place, Recorder, Span, Spent, Ticks, Work};

/// One graph in so many is launched as a graph.
const GRAPH_ONE_IN: usize = 4;

/// What is to be read once a flight has landed.
pub enum Timed {
    Apart(Vec<Watched>),
    Graph { before: Event, after: Event },
}

/// The times of one advance of a group.
pub struct Tally<'r> {
    recorder: &'r Recorder,
    stream: Stream,
    /// The GPU's clock begins here, at this second of the recorder's.
    origin: (Event, f64),
    begun: Instant,
    launched: usize,
    kernels: BTreeMap<String, Seen>,
    ticks: Ticks,
    spans: Vec<Span>,
}

/// What was seen of a kernel.
struct Seen {
    facts: KernelFacts,
    seconds: f64,
}

impl<'r> Tally<'r> {
    /// Begins when the work before it is done.
    pub fn new(recorder: &'r Recorder, stream: &Stream) -> Result<Self, CudaError> {
        stream.synchronize()?;
        let begun = Instant::now();
        let origin = (stream.event()?, recorder.seconds_at(begun));
        Ok(Tally {
            recorder,
            stream: stream.clone(),
            origin,
            begun,
            launched: 0,
            kernels: BTreeMap::new(),
            ticks: Ticks::default(),
            spans: Vec::new(),
        })
    }

    /// Sends a GPU off for the ticks of one graph, in one way or the other.
    pub fn launch(
        &mut self,
        placed: &Placed<'_>,
        graph: &Graph,
        ticks: usize,
    ) -> Result<Timed, CudaError> {
        self.launched += 1;
        if self.launched.is_multiple_of(GRAPH_ONE_IN) {
            let before = self.stream.event()?;
            graph.launch()?;
            return Ok(Timed::Graph { before, after: self.stream.event()? });
        }
        self.stream.watch(None);
        let sent = (0..ticks).try_for_each(|_| placed.tick());
        let watched = self.stream.unwatch();
        sent.map(|()| Timed::Apart(watched))
    }

    /// Reads the times of a flight that has landed.
    pub fn landed(&mut self, timed: Timed, ticks: usize) -> Result<(), CudaError> {
        match timed {
            Timed::Graph { before, after } => {
                let seconds = before.seconds_until(&after)?;
                self.ticks.graphs += ticks as u64;
                self.ticks.graph_seconds += seconds;
                self.span(&before, seconds, || format!("graph of {ticks} ticks"))
            }
            Timed::Apart(watched) => {
                self.ticks.apart += ticks as u64;
                let mut last: Option<&Event> = None;
                for launch in &watched {
                    if let Some(last) = last {
                        self.ticks.apart_gap_seconds += last.seconds_until(&launch.before)?;
                    }
                    self.add(launch)?;
                    last = Some(&launch.after);
                }
                Ok(())
            }
        }
    }

    /// Takes the one launch of a run in.
    pub fn once(&mut self, launch: &Watched) -> Result<(), CudaError> {
        self.ticks.apart = 1;
        self.add(launch)
    }

    /// Takes a launch in, that is done.
    fn add(&mut self, launch: &Watched) -> Result<(), CudaError> {
        let seconds = launch.before.seconds_until(&launch.after)?;
        let name = launch.function.name();
        self.ticks.apart_kernel_seconds += seconds;
        self.span(&launch.before, seconds, || name.to_owned())?;
        if !self.kernels.contains_key(name) {
            let facts = facts(&self.stream, launch)?;
            self.kernels.insert(name.to_owned(), Seen { facts, seconds: 0.0 });
        }
        if let Some(seen) = self.kernels.get_mut(name) {
            let (x, y, z) = launch.shape.grid;
            seen.seconds += seconds;
            seen.facts.launches += 1;
            seen.facts.blocks += u64::from(x) * u64::from(y) * u64::from(z);
        }
        Ok(())
    }

    fn span(
        &mut self,
        before: &Event,
        seconds: f64,
        name: impl FnOnce() -> String,
    ) -> Result<(), CudaError> {
        if self.spans.len() >= 10 * self.recorder.spans_an_epoch() {
            return Ok(());
        }
        let ordinal = self.stream.device().gpu().ordinal;
        let (track, start) =
            (format!("cuda:{ordinal} kernels"), self.origin.0.seconds_until(before)?);
        self.spans.push(Span { track, name: name(), start: self.origin.1 + start, seconds });
        Ok(())
    }

    /// Keeps an epoch of a trial, which ends now, as a span of a track of its own.
    pub fn epoch(&mut self, trial: u32, epoch: usize, begun: Instant) {
        let mut records = self.recorder.records();
        records.trial_epochs += 1;
        if (records.spans.len()) < self.recorder.spans_an_epoch() {
            let track = format!("cuda:{} trial {trial}", self.stream.device().gpu().ordinal);
            let (start, seconds) = (self.recorder.seconds_at(begun), begun.elapsed().as_secs_f64());
            records.spans.push(Span { track, name: format!("epoch {epoch}"), start, seconds });
        }
    }

    /// Hands all over to the recorder; of each trial how many epochs it has trained meanwhile.
    pub fn finish<'t>(
        self,
        trials: impl Iterator<Item = (&'t Trial, &'t Layout, usize)>,
        (split, gemm): (&Split, &Gemm),
    ) {
        let mut works = BTreeMap::new();
        for (trial, layout, epochs) in trials {
            for (kernel, work) in works_of(trial, layout, split, gemm) {
                let times = epochs as f64;
                let all: &mut Work = works.entry(kernel).or_default();
                *all += Work { flops: times * work.flops, bytes: times * work.bytes };
            }
        }
        let mut records = self.recorder.records();
        records.loop_seconds += self.begun.elapsed().as_secs_f64();
        records.ticks += self.ticks;
        records.spans.extend(self.spans);
        // Graphs have the same launches.
        let all_ticks = (self.ticks.apart + self.ticks.graphs) as f64;
        let scale = all_ticks / self.ticks.apart.max(1) as f64;
        for (name, Seen { facts, seconds }) in self.kernels {
            let spent = Spent {
                calls: facts.launches as f64 * scale,
                timed: facts.launches,
                seconds: seconds * scale,
                work: works.get(family(&name)).copied().unwrap_or_default(),
            };
            records
                .charge(Place { phase: None, operation: name.clone().into(), layer: None }, spent);
            records.add_kernel(name, facts);
        }
    }
}

/// All of a trial's epoch is in one fused kernel, whichever it is.
const FUSED: &str = "fused";

/// The name under which the work of a kernel stands.
fn family(kernel: &str) -> &str {
    if kernel.starts_with(FUSED) { FUSED } else { kernel }
}

/// What the driver says of a kernel, and what keeps a multiprocessor from holding more of its blocks.
fn facts(stream: &Stream, launch: &Watched) -> Result<KernelFacts, CudaError> {
    let Watched { function, shape, .. } = launch;
    let needs = function.block_needs(*shape)?;
    let device = stream.device();
    let multiprocessor = device.multiprocessor()?;
    let resident = function.blocks_per_multiprocessor(needs.threads as u32, shape.shared)?;
    let (x, y, z) = shape.grid;
    let blocks = x as usize * y as usize * z as usize;
    let grid = (blocks, device.gpu().multiprocessors);
    Ok(KernelFacts {
        registers: needs.registers,
        local_bytes: function.local_bytes()?,
        shared_bytes: needs.shared,
        threads: needs.threads,
        blocks: 0,
        launches: 0,
        resident,
        occupancy: (resident * needs.threads) as f64 / multiprocessor.threads.max(1) as f64,
        limit: multiprocessor.limit(&needs, resident, grid),
    })
}

/// What each kernel does for one epoch of a trial, as the module's documentation counts work.
fn works_of(trial: &Trial, layout: &Layout, split: &Split, gemm: &Gemm) -> Vec<(String, Work)> {
    let (training, validation) = (split.training().len(), split.validation().len());
    let steps = training.div_ceil(layout.batch);
    let (all, all_steps) = (training + validation, steps + validation.div_ceil(layout.capacity));
    let mut works = Vec::new();
    let inputs = trial.recipe.architecture.inputs;
    let classes = trial.recipe.architecture.classes;
    works.push(("gather".to_owned(), Work::moving(5 * all * inputs)));
    works.push(("softmax_xent".to_owned(), Work::moving(8 * all * classes)));
    for (index, layer) in layout.layers.iter().enumerate() {
        let (inputs, outputs) = (layer.shape.inputs, layer.shape.outputs);
        let weights = inputs * outputs;
        let product = |kind: Product, tile: (usize, usize), samples, steps, bytes: usize| {
            let kernel = kind.kernel(gemm.tile(tile.0 as u32, tile.1 as u32));
            let bytes = 4 * (samples * (inputs + outputs) + steps * weights) + bytes;
            (kernel, Work::product([samples, outputs, inputs], bytes))
        };
        let forward = (layout.capacity, outputs);
        works.push(product(Product::Forward, forward, all, all_steps, 0));
        // The weights are read and written, where there is momentum their velocities too.
        let more = if layer.state.velocities.is_some() { 3 } else { 1 };
        let update = 4 * steps * more * weights;
        works.push(product(Product::WeightGradient, (inputs, outputs), training, steps, update));
        if index > 0 {
            let slopes = 4 * training * inputs;
            let tile = (layout.batch, inputs);
            works.push(product(Product::InputGradient, tile, training, steps, slopes));
        }
        works.push(("sgd_bias".to_owned(), Work::moving(4 * training * outputs)));
    }
    // All products, but of what they move only the pixels: the rest stays on the multiprocessor.
    let flops = works.iter().map(|(_, work)| work.flops).sum();
    works.push((FUSED.to_owned(), Work { flops, bytes: (all * inputs) as f64 }));
    works
}
