//! A launch: its blocks, the turns they take, and what becomes of an error.

use std::collections::HashMap;
use std::sync::Arc;

use super::group_mma::Proxy;
use super::memory::Memory;
use super::shadow::Shadow;
use super::warp::{Pause, Warp, run};
use crate::counts::Counts;
use crate::decode::inst::{Kernel, Reduce, Special};
use crate::report::{Fault, Kind, Report};

/// Instructions of a warp before the next warp of its block runs.
const WARP_SHARE: u32 = 4096;
/// Shares of a block's warps before the next block runs.
const BLOCK_TURNS: u32 = 256;

/// What was released at an address: up to which time of which blocks.
pub type Released = HashMap<u32, u64>;

/// The shape of a launch.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    /// Dynamic shared memory in bytes.
    pub shared: u32,
    /// Blocks that a real device of this size keeps at once: more wait for the first to end.
    pub resident: usize,
}

/// A barrier of a block.
#[derive(Default)]
pub struct Barrier {
    pub expected: u32,
    pub arrived: u32,
    pub waiting: Vec<(u32, Option<Reduce>)>,
    /// Threads of a `bar.red` whose predicate holds, and all of them.
    pub holding: u32,
    pub voters: u32,
}

pub struct Block {
    pub linear: u32,
    index: [u32; 3],
    pub threads: u32,
    pub warps: Vec<Warp>,
    pub shared: Vec<u8>,
    pub shadow: Shadow,
    /// A number of its own in the process, for the shadow: memory of blocks is used again.
    pub run: u64,
    pub barriers: [Barrier; 16],
    /// Bytes of shared memory that copies on their way will write.
    pub pending: Vec<(usize, usize)>,
    /// What other blocks did before these times is ordered before.
    pub acquired: HashMap<u32, u64>,
    /// When this block last passed a fence.
    pub fenced: u64,
    /// What of shared memory the asynchronous proxy may read.
    pub proxy: Proxy,
}

impl Block {
    /// Whether a copy that was not waited for writes some of these bytes.
    pub fn is_pending(&self, at: usize, bytes: usize) -> bool {
        self.pending.iter().any(|&(from, length)| at < from + length && from < at + bytes)
    }
}

pub struct Launch<'a> {
    pub kernel: Arc<Kernel>,
    pub memory: &'a mut Memory,
    pub params: &'a [u8],
    pub counts: Counts,
    /// Moved on by every barrier and fence.
    pub clock: u64,
    /// The number of the launch in the process.
    pub id: u64,
    /// By address, what atomics and strong writes there give on.
    pub released: HashMap<u64, Released>,
    shape: Shape,
    /// Blocks that ended: the next ones take their memory.
    spare: Vec<Block>,
}

/// Runs a kernel to its end, or to its first error.
///
/// # Errors
///
/// What the kernel did wrong, and where.
pub fn launch(
    kernel: Arc<Kernel>,
    memory: &mut Memory,
    shape: Shape,
    params: &[u8],
    id: u64,
) -> (Counts, Result<(), Box<Report>>) {
    let counts = Counts { launches: 1, ..Counts::default() };
    let released = HashMap::new();
    let mut launch =
        Launch { kernel, memory, params, counts, clock: 1, id, released, shape, spare: Vec::new() };
    let result = launch.run();
    (launch.counts, result)
}

/// How a block's turn ended.
#[derive(PartialEq, Eq)]
enum Turn {
    Finished,
    Unfinished,
}

impl Launch<'_> {
    fn run(&mut self) -> Result<(), Box<Report>> {
        let [x, y, z] = self.shape.grid.map(u64::from);
        let total = x * y * z;
        let mut next = 0;
        let mut resident: Vec<Block> = Vec::new();
        loop {
            if next < total && resident.len() < self.shape.resident {
                let index = [next % x, next / x % y, next / (x * y)].map(|i| i as u32);
                resident.push(self.start_block(next as u32, index));
                next += 1;
            } else if resident.is_empty() {
                return Ok(());
            }
            let mut at = 0;
            while at < resident.len() {
                match self.turn(&mut resident[at])? {
                    Turn::Finished => {
                        let ended = resident.remove(at);
                        self.spare.push(ended);
                    }
                    Turn::Unfinished => at += 1,
                }
            }
        }
    }

    fn start_block(&mut self, linear: u32, index: [u32; 3]) -> Block {
        self.counts.blocks += 1;
        let run = (self.id << 32) + u64::from(linear) + 1;
        let mut block = self.spare.pop().unwrap_or_else(|| self.new_block());
        block.shadow.forget_writes();
        let threads = block.threads;
        for warp in &mut block.warps {
            warp.restart(threads, &self.kernel.registers.initial);
            self.set_specials(warp, threads, linear, index);
        }
        Block {
            linear,
            index,
            run,
            barriers: Default::default(),
            pending: Vec::new(),
            acquired: HashMap::new(),
            fenced: 0,
            proxy: Proxy::new(self.kernel.registers.asynchronous, block.shared.len(), threads),
            ..block
        }
    }

    /// A block of the launch's shape, its constants filled in.
    fn new_block(&self) -> Block {
        let kernel = &self.kernel;
        let threads: u32 = self.shape.block.iter().product();
        let shared = (kernel.shared_bytes.next_multiple_of(16) + self.shape.shared) as usize;
        let warps = (0..threads.div_ceil(32)).map(|index| {
            let mut warp = Warp::new(index, kernel.rows, kernel.preds, kernel.local_bytes);
            for &(row, wide, value) in &kernel.constants {
                (0..32).for_each(|lane| warp.rows.set_lane(row, wide, lane, value));
            }
            warp
        });
        Block {
            linear: 0,
            index: [0; 3],
            threads,
            warps: warps.collect(),
            shared: vec![0; shared],
            shadow: Shadow::new(shared, false),
            run: 0,
            barriers: Default::default(),
            pending: Vec::new(),
            acquired: HashMap::new(),
            fenced: 0,
            proxy: Proxy::default(),
        }
    }

    fn set_specials(&self, warp: &mut Warp, threads: u32, linear: u32, block: [u32; 3]) {
        let index = warp.index;
        let [bx, by, _] = self.shape.block;
        for &(row, special) in &self.kernel.specials {
            for lane in 0..32 {
                let thread = index * 32 + lane as u32;
                let tid = [thread % bx, thread / bx % by, thread / (bx * by)];
                let value = match special {
                    Special::Tid(axis) => tid[axis as usize],
                    Special::Ntid(axis) => self.shape.block[axis as usize],
                    Special::Ctaid(axis) => block[axis as usize],
                    Special::Nctaid(axis) => self.shape.grid[axis as usize],
                    Special::LaneId => lane as u32,
                    Special::WarpId => index,
                    Special::NWarpId => threads.div_ceil(32),
                    Special::MaskEq => 1 << lane,
                    Special::MaskLt => (1 << lane) - 1,
                    Special::MaskLe => u32::MAX >> (31 - lane),
                    Special::MaskGt => !(u32::MAX >> (31 - lane)),
                    Special::MaskGe => u32::MAX << lane,
                    Special::SmId => linear % crate::driver::device::MULTIPROCESSORS,
                    Special::NSmId => crate::driver::device::MULTIPROCESSORS,
                    Special::GridId => self.id as u32,
                    Special::DynamicShared => self.shape.shared,
                    Special::TotalShared => self.kernel.shared_bytes + self.shape.shared,
                };
                warp.rows.get_mut(row)[lane] = value;
            }
        }
    }

    /// Runs a block's warps in turn until it is done, only sleeps, or had its share.
    fn turn(&mut self, block: &mut Block) -> Result<Turn, Box<Report>> {
        for _ in 0..BLOCK_TURNS {
            let (mut finished, mut ran, mut awake) = (true, false, false);
            for index in 0..block.warps.len() {
                if block.warps[index].live == 0 || block.warps[index].at_barrier {
                    finished &= block.warps[index].live == 0;
                    continue;
                }
                ran = true;
                let mut warp = std::mem::take(&mut block.warps[index]);
                let pause = run(self, block, &mut warp, WARP_SHARE);
                let pc = warp.pc;
                block.warps[index] = warp;
                let pause = pause.map_err(|fault| self.report(block, index as u32, pc, *fault))?;
                awake |= pause != Pause::Sleep;
                finished &= pause == Pause::Finished;
                self.release_barriers(block);
            }
            if finished {
                return Ok(Turn::Finished);
            }
            if !ran {
                return Err(self.stuck(block));
            }
            if !awake {
                break;
            }
        }
        Ok(Turn::Unfinished)
    }

    /// Every warp waits at a barrier that others never reach.
    fn stuck(&self, block: &Block) -> Box<Report> {
        let waiting = block.warps.iter().find(|warp| warp.at_barrier);
        let (index, pc) = waiting.map_or((0, 0), |warp| (warp.index, warp.pc));
        let gone = block.warps.iter().filter(|warp| warp.live == 0).map(|warp| warp.index);
        let gone: Vec<u32> = gone.collect();
        let what = format!(
            "warp {index} waits at a barrier for good; {} of {} warps have ended without it: {gone:?}",
            gone.len(),
            block.warps.len()
        );
        self.report(block, index, pc, Fault { kind: Kind::BarrierDivergence, lane: 0, what })
    }

    fn report(&self, block: &Block, warp: u32, pc: u32, fault: Fault) -> Box<Report> {
        let kernel = &self.kernel;
        let line = kernel.lines.get((pc as usize).saturating_sub(1)).copied().unwrap_or_default();
        // NVRTC puts the working directory before a source's name.
        let source = kernel.files.get(line.file as usize).filter(|_| line.line > 0);
        let source = source.map(|file| file.rsplit('/').next().unwrap_or(file).to_string());
        let thread = warp * 32 + fault.lane;
        let [bx, by, _] = self.shape.block;
        Box::new(Report {
            kind: fault.kind,
            kernel: kernel.name.clone(),
            source: source.map(|file| (file, line.line)),
            block: block.index,
            thread: [thread % bx, thread / bx % by, thread / (bx * by)],
            what: fault.what,
        })
    }
}
