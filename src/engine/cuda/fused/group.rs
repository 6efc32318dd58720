//! Trials that share the launches of a fused kernel, and their advance.
//!
//! While a launch runs, the host looks for reports, asks the observer, and calls the trials that are to
//! train on: blocks take them up in the same launch. A launch is bounded in time; a trial whose block had to
//! leave in the midst of an epoch is called again for the rest of it.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Variant;
use super::placed::Placed;
use super::queue::Ticket;
use crate::engine::cuda::launch::{CudaError, Event};
use crate::engine::cuda::profile::{Tally, Timed};
use crate::engine::cuda::seat::{self, Group, Member, Seat, Stage, Sums};
use crate::engine::cuda::worker::Worker;
use crate::engine::{Next, Observer, Task};
use crate::error::Result;

/// How long a launch is meant to take: long beside what it costs to begin one, short beside the seconds
/// after which a driver ends a kernel on the GPU of a display.
const LAUNCH_SECONDS: f64 = 0.25;
/// Between two looks at the reports.
const LOOK: Duration = Duration::from_micros(20);
/// Looks at an empty queue, of 2 microseconds and more, before a block leaves: as long as a launch takes.
const PATIENCE: u32 = 100_000;

/// Bounds of a launch, for who wants others than the cost model's. They change the speed and no number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Blocks, or teams of them, at a time, at most.
    pub blocks: Option<u32>,
    /// Ticks that a block may spend.
    pub ticks: Option<u32>,
    /// Bytes of shared memory of a block, at most.
    pub shared: Option<usize>,
}

/// Trials on a device.
pub struct FusedGroup<'a> {
    task: &'a Task,
    placed: Placed<'a>,
    members: Vec<Member>,
    /// Of each member's last call.
    tickets: Vec<Option<Ticket>>,
    slots: u32,
    ticks: u32,
    /// Whether blocks may wait for calls. Not where a launch is over before the host can go on (the driver
    /// does so with `CUDA_LAUNCH_BLOCKING=1`): they would wait in vain. Told by the launch before.
    patient: bool,
}

impl<'a> FusedGroup<'a> {
    /// Places trials on a device.
    pub fn new(
        gpu: &'a Worker,
        task: &'a Task,
        variant: Variant,
        limits: Limits,
        seats: &[Seat],
    ) -> Result<Self, CudaError> {
        let placed = Placed::new(gpu, task, variant, seats)?;
        let slots = placed.slots().min(limits.blocks.unwrap_or(u32::MAX)).max(1);
        let ticks = (LAUNCH_SECONDS / variant.seconds_a_tick()) as u32;
        Ok(FusedGroup {
            task,
            placed,
            members: seats.iter().map(Member::new).collect(),
            tickets: vec![None; seats.len()],
            slots,
            ticks: limits.ticks.unwrap_or(ticks).max(1),
            patient: false,
        })
    }

    fn training(&self) -> usize {
        self.members.iter().filter(|member| member.trains()).count()
    }

    fn call(&mut self, index: usize) {
        let (epoch, learning_rate) = self.members[index].call();
        self.tickets[index] = Some(self.placed.call(index, epoch, learning_rate));
    }

    /// One launch, from its begin to its end. False: the observer has interrupted it.
    fn launch(&mut self, observer: &dyn Observer) -> Result<bool> {
        self.placed.queue.go_on();
        let slots = self.slots.min(self.training() as u32);
        let patience = if self.patient { PATIENCE } else { 0 };
        let stream = &self.placed.gpu.stream;
        let mut tally = observer.recorder().map(|to| Tally::new(to, stream)).transpose()?;
        if tally.is_some() {
            stream.watch(None);
        }
        let launched = self.placed.launch(slots, self.ticks, patience);
        let watched = stream.unwatch();
        let over = launched?;
        self.patient = !over.is_past()?;
        let goes_on = self.watch(&over, observer, tally.as_mut());
        if !matches!(goes_on, Ok(true)) {
            self.placed.queue.stop();
        }
        let ended = over.synchronize();
        let goes_on = goes_on?;
        ended?;
        if let Some(mut tally) = tally {
            tally.landed(Timed::Apart(watched), 1)?;
            self.finish(tally);
        }
        if goes_on {
            self.call_again()?;
        }
        Ok(goes_on)
    }

    /// Hears reports and answers them until the launch is over. False: the observer has interrupted it.
    fn watch(
        &mut self,
        over: &Event,
        observer: &dyn Observer,
        mut tally: Option<&mut Tally<'_>>,
    ) -> Result<bool> {
        let mut looked = Instant::now();
        loop {
            // Asked first: what was reported before the end is then heard.
            let ended = over.is_past()?;
            seat::share(&mut self.members, looked.elapsed().as_secs_f64());
            looked = Instant::now();
            let heard = self.hear(observer, tally.as_deref_mut())?;
            if ended {
                return Ok(true);
            }
            if observer.interrupted() {
                return Ok(false);
            }
            if self.training() == 0 {
                self.placed.queue.stop();
            }
            if !heard {
                sleep(LOOK);
            }
        }
    }

    /// Tells the observer of every epoch that was reported, and does as it says. Whether there was any.
    fn hear(&mut self, observer: &dyn Observer, mut tally: Option<&mut Tally<'_>>) -> Result<bool> {
        let mut heard = false;
        for index in 0..self.members.len() {
            let member = &mut self.members[index];
            if !member.trains() {
                continue;
            }
            let Some(report) = self.placed.queue.report(index, member.epochs as u32) else {
                continue;
            };
            heard = true;
            self.tickets[index] = None;
            if let Some(tally) = tally.as_deref_mut() {
                tally.epoch(member.trial.number, member.epochs + 1, member.begun);
            }
            let sums = Sums {
                train_loss: report.train_loss,
                validation_loss: report.validation_loss,
                wrong: report.wrong,
            };
            let parameters = || self.placed.parameters(index);
            if member.tell(&sums, self.task, observer, &parameters)? == Next::Train {
                self.call(index);
            }
        }
        Ok(heard)
    }

    /// Hands the profile of a launch over to its recorder.
    fn finish(&mut self, tally: Tally<'_>) {
        let members = self.members.iter().zip(&self.placed.layouts);
        let trained = members.map(|(member, layout)| (&member.trial, layout, member.profiled));
        tally.finish(trained, (&self.task.split, &self.placed.gpu.kernels.gemm));
        self.members.iter_mut().for_each(|member| member.profiled = 0);
    }

    /// Calls again, between launches, the trials that a block has taken and not reported: their epochs are
    /// begun.
    fn call_again(&mut self) -> Result<(), CudaError> {
        let taken = self.placed.queue.taken()?;
        for index in 0..self.members.len() {
            let begun = self.tickets[index].is_some_and(|ticket| taken.includes(ticket));
            if begun && self.members[index].trains() {
                self.call(index);
            }
        }
        Ok(())
    }
}

impl Group for FusedGroup<'_> {
    fn advance(&mut self, observer: &dyn Observer) -> Result<()> {
        if let Some(asked) = observer.recorder().and_then(|recorder| recorder.only()) {
            let launched = vec!["fused kernels, which run for whole epochs".to_owned()];
            return Err(CudaError::NotLaunched { asked: asked.to_owned(), launched }.into());
        }
        for index in 0..self.members.len() {
            if self.members[index].stage == Stage::Paused {
                self.call(index);
            }
        }
        while self.training() > 0 {
            if observer.interrupted() || !self.launch(observer)? {
                self.members.iter_mut().for_each(|member| member.stage = Stage::Finished);
            }
        }
        Ok(())
    }

    fn is_finished(&self) -> bool {
        self.members.iter().all(|member| member.stage == Stage::Finished)
    }

    fn leave(self: Box<Self>) -> Result<Vec<Seat>> {
        seat::seats(&self.members, |index| self.placed.state_of(index))
    }
}
