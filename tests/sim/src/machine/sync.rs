//! What orders threads and what lets lanes exchange values.

use super::atomics::combine;
use super::launch::{Block, Launch, Released};
use super::warp::Warp;
use crate::counts::lanes;
use crate::decode::inst::{Op, Reduce, ReduceOp, Row, ShuffleMode, VoteMode};
use crate::report::{Fault, Kind};

/// Lanes of a `.sync` instruction: those that take part must be just those that its mask names.
fn members(warp: &Warp, mask: u32, row: Row, what: &str) -> Result<(), Box<Fault>> {
    for lane in lanes(mask) {
        let named = warp.rows.get(row)[lane];
        if named != mask {
            let absent = if named & !mask != 0 { named & !mask } else { mask & !named };
            let what = format!(
                "{what} names lanes {named:#010x} in warp {}, and lanes {mask:#010x} take part",
                warp.index
            );
            return Err(Fault::new(Kind::AbsentLanes, absent.trailing_zeros(), what));
        }
    }
    Ok(())
}

/// Runs a vote, a shuffle or their like.
pub fn exchange(
    launch: &mut Launch,
    warp: &mut Warp,
    mask: u32,
    op: &Op,
) -> Result<(), Box<Fault>> {
    match *op {
        Op::ActiveMask { d } => lanes(mask).for_each(|lane| warp.rows.get_mut(d)[lane] = mask),
        Op::WarpSync { mask: named } => {
            members(warp, mask, named, "bar.warp.sync")?;
            launch.clock += 1;
            // A sync of a part of the warp is taken as one of the whole: less is found, nothing
            // wrong is reported.
            warp.synced_clock = launch.clock;
        }
        Op::Vote { mode, d, p, a, negated, mask: named } => {
            members(warp, mask, named, "vote")?;
            let value = warp.preds[a as usize] ^ if negated { u32::MAX } else { 0 };
            let holds = value & mask;
            let answer = match mode {
                VoteMode::All => holds == mask,
                VoteMode::Any => holds != 0,
                VoteMode::Uniform => holds == 0 || holds == mask,
                VoteMode::Ballot => {
                    lanes(mask).for_each(|lane| warp.rows.get_mut(d)[lane] = holds);
                    return Ok(());
                }
            };
            warp.set_pred(p, if answer { u32::MAX } else { 0 }, mask);
        }
        Op::Shuffle { mode, d, p, a, b, c, mask: named } => {
            members(warp, mask, named, "shfl")?;
            let (values, b, c) = (*warp.rows.get(a), *warp.rows.get(b), *warp.rows.get(c));
            let mut inside = 0;
            for lane in lanes(mask) {
                let (source, valid) = shuffle_source(mode, lane as u32, b[lane], c[lane]);
                if valid && mask >> source & 1 == 0 {
                    let what = format!("shfl reads lane {source}, which does not take part");
                    return Err(Fault::new(Kind::AbsentLanes, lane as u32, what));
                }
                inside |= u32::from(valid) << lane;
                let source = if valid { source as usize } else { lane };
                warp.rows.get_mut(d)[lane] = values[source];
            }
            warp.set_pred(p, inside, mask);
        }
        Op::Match { all, wide, d, p, a, mask: named } => {
            members(warp, mask, named, "match")?;
            let values: [u64; 32] = std::array::from_fn(|lane| warp.rows.lane(a, wide, lane));
            let mut unanimous = 0;
            for lane in lanes(mask) {
                let same = lanes(mask).filter(|&other| values[other] == values[lane]);
                let same = same.fold(0u32, |same, other| same | 1 << other);
                unanimous |= u32::from(same == mask) << lane;
                warp.rows.get_mut(d)[lane] = if all && same != mask { 0 } else { same };
            }
            warp.set_pred(p, unanimous, mask);
        }
        Op::Redux { op, kind, d, a, mask: named } => {
            members(warp, mask, named, "redux")?;
            let values = *warp.rows.get(a);
            let all = lanes(mask).map(|lane| u64::from(values[lane]));
            let result = all.reduce(|one, other| combine(op, kind, one, other, 0)).unwrap_or(0);
            lanes(mask).for_each(|lane| warp.rows.get_mut(d)[lane] = result as u32);
        }
        _ => {}
    }
    Ok(())
}

/// The lane that a shuffle reads, and whether it lies in the lane's segment.
fn shuffle_source(mode: ShuffleMode, lane: u32, b: u32, c: u32) -> (u32, bool) {
    let (clamp, segment) = (c & 31, c >> 8 & 31);
    let b = b & 31;
    let most = (lane & segment) | (clamp & !segment);
    match mode {
        ShuffleMode::Up => (lane.wrapping_sub(b), lane as i32 - b as i32 >= most as i32),
        ShuffleMode::Down => (lane + b, lane + b <= most),
        ShuffleMode::Butterfly => (lane ^ b, lane ^ b <= most),
        ShuffleMode::Index => {
            let source = (lane & segment) | (b & !segment);
            (source, source <= most)
        }
    }
}

impl Launch<'_> {
    /// A warp arrives at a barrier.
    pub fn barrier(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        mask: u32,
        (id, threads, wait, reduce): (Row, Option<Row>, bool, Option<Reduce>),
    ) -> Result<(), Box<Fault>> {
        let lane = mask.trailing_zeros() as usize;
        let index = warp.rows.get(id)[lane] as usize;
        let expected = threads.map(|row| warp.rows.get(row)[lane]);
        if index >= block.barriers.len() {
            let what = format!("barrier {index}: there are 16");
            return Err(Fault::new(Kind::OutOfBounds, lane as u32, what));
        }
        if mask != warp.born {
            let absent = (warp.born & !mask).trailing_zeros();
            let what = format!(
                "lanes {mask:#010x} of warp {} are at barrier {index} and lanes {:#010x} are not",
                warp.index,
                warp.born & !mask
            );
            return Err(Fault::new(Kind::BarrierDivergence, absent, what));
        }
        if let Some(expected) = expected
            && (expected == 0
                || expected % 32 != 0
                || expected > block.threads.next_multiple_of(32))
        {
            let what =
                format!("barrier {index} for {expected} threads in a block of {}", block.threads);
            return Err(Fault::new(Kind::BarrierDivergence, lane as u32, what));
        }
        let barrier = &mut block.barriers[index];
        let expected = expected.unwrap_or(block.threads.next_multiple_of(32));
        if barrier.arrived > 0 && barrier.expected != expected {
            let what = format!(
                "barrier {index} for {expected} threads, while others wait there for {}",
                barrier.expected
            );
            return Err(Fault::new(Kind::BarrierDivergence, lane as u32, what));
        }
        barrier.expected = expected;
        barrier.arrived += 32;
        if wait {
            warp.at_barrier = true;
            barrier.waiting.push((warp.index, reduce));
        }
        if let Some(reduce) = reduce {
            let value = warp.preds[reduce.a as usize] ^ if reduce.negated { u32::MAX } else { 0 };
            barrier.holding += (value & mask).count_ones();
            barrier.voters += mask.count_ones();
        }
        Ok(())
    }

    /// Releases the warps of a barrier that all have reached. The warp that arrived last must be
    /// back in the block.
    pub fn release_barriers(&mut self, block: &mut Block) {
        for index in 0..block.barriers.len() {
            let barrier = &mut block.barriers[index];
            if barrier.arrived == 0 || barrier.arrived < barrier.expected {
                continue;
            }
            let barrier = std::mem::take(barrier);
            self.clock += 1;
            self.counts.barriers += 1;
            for (waiting, reduce) in barrier.waiting {
                let warp = &mut block.warps[waiting as usize];
                warp.at_barrier = false;
                warp.barrier_clock = self.clock;
                let Some(reduce) = reduce else { continue };
                let born = warp.born;
                let answer = match reduce.op {
                    ReduceOp::Count => {
                        let row = warp.rows.get_mut(reduce.d);
                        lanes(born).for_each(|lane| row[lane] = barrier.holding);
                        continue;
                    }
                    ReduceOp::And => barrier.holding == barrier.voters,
                    ReduceOp::Or => barrier.holding > 0,
                };
                warp.set_pred(reduce.p, if answer { u32::MAX } else { 0 }, born);
            }
        }
    }

    /// A fence: what the block did before may be seen by whoever sees what it writes after.
    pub fn fence(&mut self, block: &mut Block) {
        self.clock += 1;
        block.fenced = self.clock;
    }

    /// A strong read of global memory: what was released there is ordered before.
    #[inline(always)]
    pub fn acquire(&mut self, block: &mut Block, at: u64) {
        if let Some(released) = self.released.get(&at) {
            for (&other, &until) in released {
                if other != block.linear {
                    let known = block.acquired.entry(other).or_insert(0);
                    *known = until.max(*known);
                }
            }
        }
    }

    /// A strong write: gives on what was done before the last fence, or, if it releases by itself,
    /// all that was done.
    #[inline(always)]
    pub fn release(&mut self, block: &mut Block, at: u64, ordered: bool) {
        if ordered {
            self.fence(block);
        }
        if block.fenced == 0 {
            return;
        }
        let released: &mut Released = self.released.entry(at).or_default();
        let known = released.entry(block.linear).or_insert(0);
        *known = block.fenced.max(*known);
        for (&other, &until) in &block.acquired {
            let known = released.entry(other).or_insert(0);
            *known = until.max(*known);
        }
    }
}
