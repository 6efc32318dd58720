//! A group of trials that stand in one device's memory together, and their advance.
//!
//! A graph of some ticks is launched again and again; in each tick every trial takes one step of
//! its own epoch, so none waits for another. While one graph runs, the clocks that the last one
//! left are looked at: a trial that has finished its epoch idles until the observer has decided.

use std::collections::VecDeque;
use std::time::Instant;

use super::launch::gemm::Step;
use super::launch::trial::{Clock, Command, Rule};
use super::launch::{CudaError, Event, Graph, Pinned};
use super::layout::Layout;
use super::placed::Placed;
use super::profile::{Tally, Timed};
use super::seat::{self, Group, Member, Seat, Stage, Sums};
use super::worker::Worker;
use crate::engine::profile::Recorder;
use crate::engine::{Next, Observer, Task, Trial};
use crate::error::Result;

/// Graphs launched and not yet looked at: one runs while another waits behind it.
const IN_FLIGHT: usize = 2;
/// The most ticks of a graph: enough to make a launch cheap, few enough to stop soon.
const MOST_TICKS: usize = 64;
/// A trial waits for its next epoch for up to two graphs, so a graph is this small a part of one.
const GRAPHS_PER_EPOCH: usize = 32;
/// Multiplications of a graph, at most: a quarter of a second of a device that does 10^13 a second.
const MOST_WORK: f64 = 2.5e12;

/// Trials on a device.
pub struct LayeredGroup<'a> {
    gpu: &'a Worker,
    task: &'a Task,
    placed: Placed<'a>,
    /// Of a graph.
    ticks: usize,
    /// The members whose work its ticks launch.
    active: Vec<bool>,
    members: Vec<Member>,
    commands: Vec<Command>,
    /// Those that are not on their way.
    flights: Vec<Flight>,
}

/// What goes along with a graph: the commands that it starts from, the clocks that it leaves.
struct Flight {
    commands: Pinned<Command>,
    clocks: Pinned<Clock>,
    /// After both copies: until then the host may touch neither.
    landed: Option<Event>,
    /// For a profile.
    timed: Option<Timed>,
}

impl<'a> LayeredGroup<'a> {
    /// Places trials on a device and draws or restores their state.
    pub fn new(gpu: &'a Worker, task: &'a Task, seats: &[Seat]) -> Result<Self, CudaError> {
        let trials: Vec<Trial> = seats.iter().map(|seat| seat.trial.clone()).collect();
        let data = gpu.data(task)?;
        let mut placed = Placed::new(gpu, data, &trials, task.seed, task.shuffle)?;
        placed.draw_initial()?;
        for (index, seat) in seats.iter().enumerate() {
            if let Some(kept) = &seat.kept {
                placed.set_state(index, &kept.state)?;
                placed.set_clock(index, clock_after(kept.epochs, task))?;
            }
        }
        let ticks = ticks_per_graph(&trials, placed.layouts(), task);
        let flight = |_| Flight::new(gpu, seats.len());
        let flights = (0..IN_FLIGHT).map(flight).collect::<Result<_, CudaError>>()?;
        let members = seats.iter().map(Member::new).collect();
        let commands = vec![Command::default(); seats.len()];
        let active = vec![true; seats.len()];
        Ok(LayeredGroup { gpu, task, placed, ticks, active, members, commands, flights })
    }

    /// Lets a member train its next epoch.
    fn command(&mut self, index: usize) {
        let member = &mut self.members[index];
        let (epoch, learning_rate) = member.call();
        let numbers = &member.trial.recipe.hyperparameters;
        let rule = Rule {
            learning_rate,
            momentum: numbers.momentum,
            weight_decay: numbers.weight_decay,
            nesterov: u32::from(numbers.nesterov),
        };
        self.commands[index] = Command { rule, epoch };
    }

    /// Records a graph of the members that train now. None may be under way.
    fn record(&mut self) -> Result<Graph, CudaError> {
        let active: Vec<bool> = self.members.iter().map(Member::trains).collect();
        if active != self.active {
            self.placed.select(&active)?;
            self.active = active;
        }
        let ticks = || (0..self.ticks).try_for_each(|_| self.placed.tick());
        self.gpu.stream.capture::<CudaError>(ticks)
    }

    fn training(&self) -> usize {
        self.members.iter().filter(|member| member.trains()).count()
    }

    /// Whether so few of the recorded members still train that a new graph pays: blocks of one that is
    /// finished have nothing to do, but take their turn.
    fn is_sparse(&self) -> bool {
        2 * self.training() <= self.active.iter().filter(|active| **active).count()
    }

    /// Sends the device off for one graph.
    fn launch(
        &mut self,
        graph: &Graph,
        mut flight: Flight,
        tally: Option<&mut Tally<'_>>,
    ) -> Result<Flight, CudaError> {
        flight.commands.values_mut()?.copy_from_slice(&self.commands);
        self.placed.command(&flight.commands)?;
        match tally {
            None => graph.launch()?,
            Some(tally) => flight.timed = Some(tally.launch(&self.placed, graph, self.ticks)?),
        }
        self.placed.report(&mut flight.clocks)?;
        flight.landed = Some(self.gpu.stream.event()?);
        Ok(flight)
    }

    /// Tells the observer of every epoch that has ended, and does as it says.
    fn hear(
        &mut self,
        clocks: &[Clock],
        observer: &dyn Observer,
        mut tally: Option<&mut Tally<'_>>,
    ) -> Result<()> {
        for (index, clock) in clocks.iter().enumerate() {
            let member = &mut self.members[index];
            if !member.trains() || clock.finished as usize <= member.epochs {
                continue;
            }
            if let Some(tally) = tally.as_deref_mut() {
                tally.epoch(member.trial.number, member.epochs + 1, member.begun);
            }
            let (train_loss, validation_loss) = (clock.train_loss, clock.validation_loss);
            let sums = Sums { train_loss, validation_loss, wrong: clock.wrong };
            let parameters = || Ok(self.placed.parameters(index)?);
            if member.tell(&sums, self.task, observer, &parameters)? == Next::Train {
                self.command(index);
            }
        }
        Ok(())
    }

    /// Hands a profile over to its recorder.
    fn finish(&mut self, tally: Option<Tally<'_>>) {
        let Some(tally) = tally else { return };
        let members = self.members.iter().zip(self.placed.layouts());
        let trained = members.map(|(member, layout)| (&member.trial, layout, member.profiled));
        tally.finish(trained, (&self.task.split, &self.gpu.kernels.gemm));
        self.members.iter_mut().for_each(|member| member.profiled = 0);
    }

    /// Runs the first tick up to the first launch of a kernel, and nothing else: a profiler that
    /// watches this kernel sees it once. The group is of no more use.
    fn once(&mut self, recorder: &Recorder, kernel: &str) -> Result<()> {
        let Some(mut flight) = self.flights.pop() else { return Ok(()) };
        flight.commands.values_mut()?.copy_from_slice(&self.commands);
        self.placed.command(&flight.commands)?;
        let (stream, mut tally) = (&self.gpu.stream, Tally::new(recorder, &self.gpu.stream)?);
        stream.watch(Some(kernel));
        let sent = self.placed.tick();
        let watched = stream.unwatch();
        sent?;
        stream.synchronize()?;
        self.members.iter_mut().for_each(|member| member.stage = Stage::Finished);
        match watched.last() {
            Some(last) if last.function.is_named(kernel) => tally.once(last)?,
            _ => {
                let launched = watched.iter().map(|launch| launch.function.name().to_owned());
                let (asked, launched) = (kernel.to_owned(), launched.collect());
                return Err(CudaError::NotLaunched { asked, launched }.into());
            }
        }
        self.finish(Some(tally));
        Ok(())
    }
}

impl Group for LayeredGroup<'_> {
    fn advance(&mut self, observer: &dyn Observer) -> Result<()> {
        for index in 0..self.members.len() {
            if self.members[index].stage == Stage::Paused {
                self.command(index);
            }
        }
        if let Some((recorder, kernel)) = once(observer) {
            return self.once(recorder, kernel);
        }
        // Recorded anew for each advance: it costs milliseconds, and a graph belongs to its thread.
        let mut graph = self.record()?;
        let tally = |recorder| Tally::new(recorder, &self.gpu.stream);
        let mut tally = observer.recorder().map(tally).transpose()?;
        let mut under_way = VecDeque::new();
        let mut landed = Instant::now();
        while !observer.interrupted() {
            let wanted = self.training() > 0 && !self.is_sparse();
            while wanted && let Some(flight) = self.flights.pop() {
                under_way.push_back(self.launch(&graph, flight, tally.as_mut())?);
            }
            let Some(mut flight) = under_way.pop_front() else {
                if self.training() > 0 {
                    graph = self.record()?;
                    continue;
                }
                self.finish(tally);
                return Ok(());
            };
            if let Some(landed) = &flight.landed {
                landed.synchronize()?;
            }
            let clocks = flight.clocks.values()?;
            seat::share(&mut self.members, landed.elapsed().as_secs_f64());
            landed = Instant::now();
            if let (Some(tally), Some(timed)) = (tally.as_mut(), flight.timed.take()) {
                tally.landed(timed, self.ticks)?;
            }
            self.hear(clocks, observer, tally.as_mut())?;
            self.flights.push(flight);
        }
        self.members.iter_mut().for_each(|member| member.stage = Stage::Finished);
        Ok(self.gpu.stream.synchronize()?)
    }

    fn is_finished(&self) -> bool {
        self.members.iter().all(|member| member.stage == Stage::Finished)
    }

    fn leave(self: Box<Self>) -> Result<Vec<Seat>> {
        seat::seats(&self.members, |index| self.placed.state_of(index))
    }
}

/// The clock of a trial that has trained so many epochs.
fn clock_after(epochs: usize, task: &Task) -> Clock {
    let before = epochs as u64 * task.split.training().len() as u64;
    let step = Step { rows: 0, training: 0, before };
    Clock { step, finished: epochs as u32, ..bytemuck::Zeroable::zeroed() }
}

impl Flight {
    fn new(gpu: &Worker, members: usize) -> Result<Self, CudaError> {
        let commands = Pinned::zeroed(&gpu.stream, members)?;
        let clocks = Pinned::zeroed(&gpu.stream, members)?;
        Ok(Flight { commands, clocks, landed: None, timed: None })
    }
}

/// The kernel that is to be run once, in place of training.
fn once(observer: &dyn Observer) -> Option<(&Recorder, &str)> {
    observer.recorder().and_then(|recorder| Some((recorder, recorder.only()?)))
}

/// The ticks that a trial takes for an epoch: its training steps, then its scoring steps.
pub fn ticks_per_epoch(layout: &Layout, task: &Task) -> usize {
    task.split.training().len().div_ceil(layout.batch)
        + task.split.validation().len().div_ceil(layout.capacity)
}

/// How many ticks a graph has. It changes the speed and no number.
fn ticks_per_graph(trials: &[Trial], layouts: &[Layout], task: &Task) -> usize {
    let shortest = layouts.iter().map(|layout| ticks_per_epoch(layout, task)).min().unwrap_or(1);
    let work = |(trial, layout): (&Trial, &Layout)| {
        3.0 * layout.batch as f64 * trial.recipe.architecture.parameter_count() as f64
    };
    let tick: f64 = trials.iter().zip(layouts).map(work).sum();
    (shortest / GRAPHS_PER_EPOCH).min((MOST_WORK / tick.max(1.0)) as usize).clamp(1, MOST_TICKS)
}
