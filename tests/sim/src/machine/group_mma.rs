//! `wgmma`: products of four warps that go on by themselves, with one operand in shared memory.
//!
//! A product is computed when it is issued. That it is under way until it is waited for shows in what a kernel may not do
//! meanwhile: look at its sums, write to its operands, or write to shared memory that it reads. So each register has a
//! state, and what is read of shared memory is read twice for the checks of races, at the beginning and at the end.

use super::launch::{Block, Launch};
use super::matrix::{all_lanes, tf32};
use super::warp::Warp;
use crate::counts::lanes;
use crate::decode::inst::{Op, Row};
use crate::decode::uses::Registers;
use crate::report::{Fault, Kind};

/// What a register has to do with a warp's products.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Apart,
    /// Written, and no `wgmma.fence` since.
    Written,
    /// A sum of a product of this group.
    Sum(u32),
    /// A factor of one.
    Factor(u32),
}

/// A warp's products.
#[derive(Default)]
pub struct Products {
    /// By slot.
    states: Vec<State>,
    /// The number of the group that is not committed.
    group: u32,
    /// Groups below have been waited for.
    done: u32,
    /// Of each product that is under way: its group, and the places that it reads.
    reads: Vec<(u32, Lines)>,
}

impl Products {
    fn state(&mut self, slot: u32) -> &mut State {
        let slot = slot as usize;
        if slot >= self.states.len() {
            self.states.resize(slot + 1, State::Apart);
        }
        &mut self.states[slot]
    }

    /// Notes what an instruction reads and writes.
    pub fn check(
        &mut self,
        registers: &Registers,
        pc: usize,
        op: &Op,
        mask: u32,
    ) -> Result<(), Box<Fault>> {
        if mask == 0 {
            return Ok(());
        }
        let (reads, writes, copies) = registers.of(pc);
        let (done, group) = (self.done, self.group);
        let lane = mask.trailing_zeros();
        let fault = |kind: Kind, slot: u32, what: &str| {
            Err(Fault::new(kind, lane, format!("{what}: register {}", registers.name(slot))))
        };
        if let Op::GroupMma { d, a, .. } = op {
            for &slot in a.iter().chain(d.iter()) {
                match *self.state(slot) {
                    State::Written => {
                        let what = "a product begins with what no wgmma.fence stands behind";
                        return fault(Kind::Unfenced, slot, what);
                    }
                    State::Sum(of) if of >= done && a.contains(&slot) => {
                        let what = "multiplies the sum of a product that was not waited for";
                        return fault(Kind::UnfinishedProduct, slot, what);
                    }
                    _ => {}
                }
            }
            a.iter().for_each(|&slot| *self.state(slot) = State::Factor(group));
            d.iter().for_each(|&slot| *self.state(slot) = State::Sum(group));
            return Ok(());
        }
        for &slot in reads {
            if let State::Sum(of) = *self.state(slot)
                && of >= done
                && !copies
            {
                let what = "reads the sum of a product that was not waited for";
                return fault(Kind::UnfinishedProduct, slot, what);
            }
        }
        // A copy that a compiler makes is another name of the same register of the hardware.
        let copied = if copies { reads.first().map(|&slot| *self.state(slot)) } else { None };
        for &slot in writes {
            match *self.state(slot) {
                State::Factor(of) if of >= done => {
                    let what = "writes to the factor of a product that was not waited for";
                    return fault(Kind::UnfinishedProduct, slot, what);
                }
                State::Sum(of) if of >= done && !copies => {
                    let what = "writes to the sum of a product that was not waited for";
                    return fault(Kind::UnfinishedProduct, slot, what);
                }
                _ => *self.state(slot) = copied.unwrap_or(State::Written),
            }
        }
        Ok(())
    }

    pub fn fence(&mut self) {
        let written = self.states.iter_mut().filter(|state| **state == State::Written);
        written.for_each(|state| *state = State::Apart);
    }

    pub fn commit(&mut self) {
        self.group += 1;
    }
}

/// What the asynchronous proxy may read of a block's shared memory: words whose writer has passed a fence since.
#[derive(Default)]
pub struct Proxy {
    /// Of each word, who wrote it last, and how many fences it had passed.
    words: Vec<(u32, u32)>,
    /// Fences that each thread has passed, one at least.
    fences: Vec<u32>,
}

impl Proxy {
    /// Of so many bytes and threads; nothing where no product reads them.
    pub fn new(asynchronous: bool, bytes: usize, threads: u32) -> Proxy {
        if !asynchronous {
            return Proxy::default();
        }
        let fences = vec![1; threads.next_multiple_of(32) as usize];
        Proxy { words: vec![(0, 0); bytes.div_ceil(4)], fences }
    }

    pub fn wrote(&mut self, at: usize, bytes: usize, thread: u32) {
        let passed = self.fences[thread as usize];
        self.words[at / 4..(at + bytes).div_ceil(4)].fill((thread, passed));
    }

    pub fn fence(&mut self, warp: u32, mask: u32) {
        lanes(mask).for_each(|lane| self.fences[warp as usize * 32 + lane] += 1);
    }

    /// The thread whose write of some of these bytes the proxy may not see yet.
    fn hidden(&self, at: usize, bytes: usize) -> Option<u32> {
        let mut words = self.words[at / 4..(at + bytes).div_ceil(4)].iter();
        let found =
            words.find(|&&(thread, passed)| passed > 0 && self.fences[thread as usize] == passed);
        found.map(|&(thread, _)| thread)
    }
}

/// A part of a matrix in shared memory, as its descriptor has it: 32 bytes of each of some lines of 128, swizzled.
#[derive(Clone, Copy)]
struct Lines {
    start: u64,
    /// From eight lines to the next.
    stride: u64,
    count: u64,
}

impl Lines {
    /// As the PTX manual lays out a descriptor: the bits from 16 on (between columns of such matrices) are not used here.
    fn of(descriptor: u64, count: u64) -> Result<Lines, Box<Fault>> {
        let field = |from: u32| (descriptor >> from & 0x3fff) * 16;
        let (start, stride) = (field(0), field(32));
        let (base, swizzle) = (descriptor >> 49 & 7, descriptor >> 62);
        let fault = |kind, what| Err(Fault::new(kind, 0, what));
        if swizzle != 1 || base != 0 {
            let what =
                format!("a descriptor {descriptor:#x} with another swizzle than that of 128 bytes");
            return fault(Kind::Unsupported, what);
        }
        if start & 0x380 != 0 || stride % 1024 != 0 {
            let what = format!(
                "swizzled lines at {start:#x}, {stride:#x} from eight to the next: no multiples of 1024"
            );
            return fault(Kind::Misaligned, what);
        }
        Ok(Lines { start, stride, count })
    }

    /// Where the first or the last 16 of a line's bytes are.
    fn place(&self, line: u64, half: u64) -> u64 {
        let at = self.start + line / 8 * self.stride + line % 8 * 128 + half * 16;
        at ^ (at >> 7 & 7) << 4
    }

    fn places(self) -> impl Iterator<Item = (u64, u64, u64)> {
        (0..self.count)
            .flat_map(move |line| [0, 1].map(|half| (line, half, self.place(line, half))))
    }
}

impl Launch<'_> {
    /// Lanes hold their parts of the warp's rows of A and of the sums as those of `mma.sync.m16n8k8`.
    pub fn group_mma(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        mask: u32,
        (columns, accumulate): (u16, bool),
        (d, a, lines): (&[Row], [Row; 4], Row),
    ) -> Result<(), Box<Fault>> {
        all_lanes(warp, mask, "wgmma")?;
        if !block.threads.is_multiple_of(128) {
            let what =
                format!("wgmma in a block of {} threads: no whole warpgroups", block.threads);
            return Err(Fault::new(Kind::AbsentLanes, 0, what));
        }
        let descriptor = warp.rows.lane(lines, true, 0);
        if let Some(lane) = (1..32).find(|&lane| warp.rows.lane(lines, true, lane) != descriptor) {
            let what = "has another descriptor than lane 0".to_string();
            return Err(Fault::new(Kind::AbsentLanes, lane as u32, what));
        }
        let lines = Lines::of(descriptor, u64::from(columns))?;
        self.read_lines(block, warp, lines)?;
        let mut right = vec![[0f64; 8]; usize::from(columns)];
        for (line, half, at) in lines.places() {
            if let Some(thread) = block.proxy.hidden(at as usize, 16) {
                let what = format!(
                    "reads {at:#x} of shared memory, which thread {thread} wrote with no fence.proxy.async since"
                );
                return Err(Fault::new(Kind::Unfenced, (line % 32) as u32, what));
            }
            let bytes = &block.shared[at as usize..at as usize + 16];
            for (k, bytes) in bytes.as_chunks::<4>().0.iter().enumerate() {
                right[line as usize][4 * half as usize + k] = tf32(u32::from_le_bytes(*bytes));
            }
        }
        let mut left = [[0f64; 8]; 16];
        for (i, row) in a.into_iter().enumerate() {
            for (lane, &bits) in warp.rows.get(row).iter().enumerate() {
                left[lane / 4 + 8 * (i % 2)][lane % 4 + 4 * (i / 2)] = tf32(bits);
            }
        }
        for (i, &row) in d.iter().enumerate() {
            for (lane, sum) in warp.rows.get_mut(row).iter_mut().enumerate() {
                let left = &left[lane / 4 + 8 * (i / 2 % 2)];
                let right = &right[8 * (i / 4) + 2 * (lane % 4) + i % 2];
                let start = if accumulate { f64::from(f32::from_bits(*sum)) } else { 0.0 };
                let value = left.iter().zip(right).fold(start, |sum, (a, b)| sum + a * b);
                *sum = (value as f32).to_bits();
            }
        }
        warp.products.reads.push((warp.products.group, lines));
        self.counts.matrix_fmas += 16 * 8 * u64::from(columns);
        if warp.index.is_multiple_of(4) {
            // Once for the four warps: 128 bytes a pass, and no conflicts.
            self.counts.shared_requests += 1;
            self.counts.shared_transactions += u64::from(columns) / 4;
        }
        Ok(())
    }

    /// Waits for all but the last `pending` committed groups.
    pub fn group_wait(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        pending: u32,
    ) -> Result<(), Box<Fault>> {
        let done = warp.products.group.saturating_sub(pending);
        warp.products.done = done.max(warp.products.done);
        let reads = std::mem::take(&mut warp.products.reads);
        let (ended, left): (Vec<_>, Vec<_>) = reads.into_iter().partition(|&(of, _)| of < done);
        warp.products.reads = left;
        ended.into_iter().try_for_each(|(_, lines)| self.read_lines(block, warp, lines))
    }

    /// The checks of a read of shared memory, of all that a product reads.
    fn read_lines(
        &mut self,
        block: &mut Block,
        warp: &Warp,
        lines: Lines,
    ) -> Result<(), Box<Fault>> {
        for (line, _, at) in lines.places() {
            self.read_shared(block, warp, line as usize % 32, at, 16, false)?;
        }
        Ok(())
    }
}
