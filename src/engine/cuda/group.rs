//! A group of trials that stand in one device's memory together, and their advance.
//!
//! A graph of some ticks is launched again and again; in each tick every trial takes one step of
//! its own epoch, so none waits for another. While one graph runs, the clocks that the last one
//! left are looked at: a trial that has finished its epoch idles until the observer has decided.

use std::collections::VecDeque;
use std::time::Instant;

use super::launch::trial::{Clock, Command};
use super::launch::{CudaError, Event, Graph, Pinned, nvtx};
use super::layout::Layout;
use super::placed::Placed;
use super::profile::{Tally, Timed};
use super::worker::Worker;
use crate::engine::profile::Recorder;
use crate::engine::{EpochMetrics, Next, Observer, Task, Trial};
use crate::error::Result;
use crate::model::Parameters;

/// Graphs launched and not yet looked at: one runs while another waits behind it.
const IN_FLIGHT: usize = 2;
/// The most ticks of a graph: enough to make a launch cheap, few enough to stop soon.
const MOST_TICKS: usize = 64;
/// A trial waits for its next epoch for up to two graphs, so a graph is this small a part of one.
const GRAPHS_PER_EPOCH: usize = 32;
/// Multiplications of a graph, at most: a quarter of a second of a device that does 10^13 a second.
const MOST_WORK: f64 = 2.5e12;

/// A trial on its way onto a device, or between two stays there.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The trial's place in its array.
    pub slot: usize,
    pub trial: Trial,
    /// Its state, if it has begun.
    pub kept: Option<Kept>,
}

/// What a paused trial takes along.
#[derive(Clone, Debug)]
pub struct Kept {
    pub state: Vec<f32>,
    pub clock: Clock,
}

/// Trials on a device.
pub struct Group<'a> {
    gpu: &'a Worker,
    task: &'a Task,
    placed: Placed<'a>,
    /// Of a graph.
    ticks: usize,
    members: Vec<Member>,
    commands: Vec<Command>,
    /// Those that are not on their way.
    flights: Vec<Flight>,
}

struct Member {
    slot: usize,
    trial: Trial,
    stage: Stage,
    /// Epochs trained so far.
    epochs: usize,
    /// The member's share of the wall time of its epoch so far.
    seconds: f64,
    /// When it was let train its epoch.
    begun: Instant,
    /// The epoch, for a tool that listens.
    range: Option<nvtx::Range>,
    /// Epochs of this advance, for a profile.
    profiled: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Training,
    Paused,
    Finished,
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

impl<'a> Group<'a> {
    /// Places trials on a device and draws or restores their state.
    pub fn new(gpu: &'a Worker, task: &'a Task, seats: &[Seat]) -> Result<Self, CudaError> {
        let trials: Vec<Trial> = seats.iter().map(|seat| seat.trial.clone()).collect();
        let data = gpu.data(task)?;
        let mut placed = Placed::new(gpu, data, &trials, task.seed, task.shuffle)?;
        placed.draw_initial()?;
        for (index, seat) in seats.iter().enumerate() {
            if let Some(kept) = &seat.kept {
                placed.set_state(index, &kept.state)?;
                placed.set_clock(index, kept.clock)?;
            }
        }
        let ticks = ticks_per_graph(&trials, &placed.layouts, task);
        let flight = |_| Flight::new(gpu, seats.len());
        let flights = (0..IN_FLIGHT).map(flight).collect::<Result<_, CudaError>>()?;
        let members = seats.iter().map(Member::new).collect();
        let commands = vec![Command::default(); seats.len()];
        Ok(Group { gpu, task, placed, ticks, members, commands, flights })
    }

    /// Trains every member that is not finished until the observer stops it.
    ///
    /// After an interruption or an error the group is of no more use.
    pub fn advance(&mut self, observer: &dyn Observer) -> Result<()> {
        for index in 0..self.members.len() {
            if self.members[index].stage == Stage::Paused {
                self.command(index);
            }
        }
        if let Some((recorder, kernel)) = once(observer) {
            return self.once(recorder, kernel);
        }
        // Recorded anew for each advance: it costs milliseconds, and a graph belongs to its thread.
        let ticks = || (0..self.ticks).try_for_each(|_| self.placed.tick());
        let graph = self.gpu.stream.capture::<CudaError>(ticks)?;
        let tally = |recorder| Tally::new(recorder, &self.gpu.stream);
        let mut tally = observer.recorder().map(tally).transpose()?;
        let mut under_way = VecDeque::new();
        let mut landed = Instant::now();
        while !observer.interrupted() {
            while let Some(flight) = self.flights.pop_if(|_| self.members.iter().any(trains)) {
                under_way.push_back(self.launch(&graph, flight, tally.as_mut())?);
            }
            let Some(mut flight) = under_way.pop_front() else {
                self.finish(tally);
                return Ok(());
            };
            if let Some(landed) = &flight.landed {
                landed.synchronize()?;
            }
            let clocks = flight.clocks.values()?;
            self.share(landed.elapsed().as_secs_f64());
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

    /// Whether no member is left to train.
    pub fn is_finished(&self) -> bool {
        self.members.iter().all(|member| member.stage == Stage::Finished)
    }

    /// Takes the members that are not finished off the device.
    pub fn leave(self) -> Result<Vec<Seat>> {
        let clocks = self.placed.clocks()?;
        let members = self.members.iter().enumerate();
        let paused = members.filter(|(_, member)| member.stage == Stage::Paused);
        let seat = |(index, member): (usize, &Member)| {
            let kept = Kept { state: self.placed.state_of(index)?, clock: clocks[index] };
            Ok(Seat { slot: member.slot, trial: member.trial.clone(), kept: Some(kept) })
        };
        paused.map(seat).collect()
    }

    /// Lets a member train its next epoch.
    fn command(&mut self, index: usize) {
        let member = &mut self.members[index];
        member.stage = Stage::Training;
        let recipe = &member.trial.recipe;
        let rate = recipe.hyperparameters.learning_rate_at(member.epochs, recipe.epochs);
        let epoch = member.epochs + 1;
        self.commands[index] = Command { epoch: epoch as u32, learning_rate: rate };
        member.begun = Instant::now();
        member.range = nvtx::range(|| format!("trial {} epoch {epoch}", member.trial.number));
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

    /// Shares out wall time among those who trained in it.
    fn share(&mut self, seconds: f64) {
        let training = self.members.iter().filter(|member| trains(member)).count();
        let share = seconds / training.max(1) as f64;
        for member in self.members.iter_mut().filter(|member| trains(member)) {
            member.seconds += share;
        }
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
            let ended = clock.finished as usize > member.epochs;
            if member.stage != Stage::Training || !ended {
                continue;
            }
            member.epochs += 1;
            member.profiled += 1;
            member.range = None;
            if let Some(tally) = tally.as_deref_mut() {
                tally.epoch(member.trial.number, member.epochs, member.begun);
            }
            let metrics = EpochMetrics {
                epoch: member.epochs,
                train_loss: clock.train_loss / self.task.split.training().len() as f64,
                validation_loss: clock.validation_loss / self.task.split.validation().len() as f64,
                validation_wrong: clock.wrong as usize,
                seconds: std::mem::take(&mut member.seconds),
            };
            let slot = member.slot;
            let next = observer.after_epoch(slot, metrics, &|| self.parameters(index))?;
            match next {
                Next::Train => self.command(index),
                Next::Pause => self.members[index].stage = Stage::Paused,
                Next::Finish => self.members[index].stage = Stage::Finished,
            }
        }
        Ok(())
    }

    /// Hands a profile over to its recorder.
    fn finish(&mut self, tally: Option<Tally<'_>>) {
        let Some(tally) = tally else { return };
        let members = self.members.iter().zip(&self.placed.layouts);
        let trained = members.map(|(member, layout)| (&member.trial, layout, member.profiled));
        tally.finish(trained, &self.task.split);
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

    fn parameters(&self, index: usize) -> Result<Parameters> {
        Ok(self.placed.parameters(index)?)
    }
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

fn trains(member: &Member) -> bool {
    member.stage == Stage::Training
}

impl Member {
    /// Paused: an advance lets it train.
    fn new(seat: &Seat) -> Self {
        let epochs = seat.kept.as_ref().map_or(0, |kept| kept.clock.finished as usize);
        let (slot, trial) = (seat.slot, seat.trial.clone());
        Member {
            slot,
            trial,
            stage: Stage::Paused,
            epochs,
            seconds: 0.0,
            begun: Instant::now(),
            range: None,
            profiled: 0,
        }
    }
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
