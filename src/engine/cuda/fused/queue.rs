//! What the host and its running kernels say to each other: calls, reports, and when to stop.

use std::mem::offset_of;

use crate::engine::cuda::launch::fused::{FusedCall, FusedDesk, FusedLaunch, FusedReport};
use crate::engine::cuda::launch::{Buffer, CudaError, Mapped, Stream};

/// The calls and reports of a group of trials. A trial has at most one call that is not reported.
///
/// It must outlive the launches that were given its addresses.
#[derive(Debug)]
pub struct Queue {
    calls: Mapped<FusedCall>,
    desk: Mapped<FusedDesk>,
    reports: Mapped<FusedReport>,
    taken: Buffer<u32>,
    /// Calls written so far, modulo 2^32.
    called: u32,
}

/// A call's place in the order of all calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(u32);

impl Queue {
    /// An empty queue of so many trials, none of which has trained. The stream is one for copies: it is
    /// never that of the launches, which run for long.
    pub fn new(copies: &Stream, trials: usize) -> Result<Self, CudaError> {
        let device = copies.device();
        Ok(Queue {
            calls: Mapped::zeroed(device, trials.next_power_of_two())?,
            desk: Mapped::zeroed(device, 1)?,
            reports: Mapped::zeroed(device, trials)?,
            taken: Buffer::from_slice(copies, &[0])?,
            called: 0,
        })
    }

    /// Fills in where the queue lies.
    pub fn place(&self, argument: FusedLaunch) -> FusedLaunch {
        FusedLaunch {
            calls: self.calls.address(),
            desk: self.desk.address(),
            reports: self.reports.address(),
            taken: self.taken.address(),
            capacity: self.calls.len() as u32,
            ..argument
        }
    }

    /// Lets a trial train an epoch: a block takes it now, or one of the next launch.
    pub fn call(&mut self, call: FusedCall) -> Ticket {
        let ticket = Ticket(self.called);
        self.calls.write(self.called as usize & (self.calls.len() - 1), call);
        self.called = self.called.wrapping_add(1);
        self.desk.release(0, offset_of!(FusedDesk, called), self.called);
        ticket
    }

    /// What the trial's last epoch came to, if it is a later one than `epoch`.
    pub fn report(&self, trial: usize, epoch: u32) -> Option<FusedReport> {
        let reported = self.reports.acquire(trial, offset_of!(FusedReport, epoch));
        (reported > epoch).then(|| self.reports.read(trial))
    }

    /// Asks all blocks to leave at their next step.
    pub fn stop(&self) {
        self.desk.release(0, offset_of!(FusedDesk, stop), 1);
    }

    /// Lets blocks work again; to be called between launches.
    pub fn go_on(&self) {
        self.desk.release(0, offset_of!(FusedDesk, stop), 0);
    }

    /// How many calls were taken so far, as a mark to hold tickets against. To be asked between launches.
    pub fn taken(&self) -> Result<Taken, CudaError> {
        Ok(Taken(self.taken.download()?[0]))
    }
}

/// How far blocks have come in the order of all calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken(u32);

impl Taken {
    /// Whether a block has taken the call with this ticket.
    pub fn includes(self, ticket: Ticket) -> bool {
        // Calls and takings are at most a queue apart, far below 2^31.
        self.0.wrapping_sub(ticket.0) as i32 > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_included_once_it_is_counted_also_where_the_count_wraps() {
        for first in [0, 7, u32::MAX - 1, u32::MAX] {
            let ticket = Ticket(first);
            assert!(!Taken(first).includes(ticket));
            assert!(!Taken(first.wrapping_sub(3)).includes(ticket));
            assert!(Taken(first.wrapping_add(1)).includes(ticket));
            assert!(Taken(first.wrapping_add(900)).includes(ticket));
        }
    }
}
