//! Read-modify-write instructions, lane by lane in order.

use super::launch::{Block, Launch};
use super::loads::{addresses, aligned, by_space, missing};
use super::warp::Warp;
use crate::counts::{lanes, sectors};
use crate::decode::inst::{AtomicOp, NOWHERE, Op};
use crate::ptx::ast::{Space, Type};
use crate::report::{Fault, Kind};

impl Launch<'_> {
    pub fn atomic(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        mask: u32,
        op: &Op,
    ) -> Result<(), Box<Fault>> {
        let &Op::Atomic { space, op, kind, d, ref address, b, c, ordered } = op else {
            return Ok(());
        };
        let mut at = addresses(warp, address);
        let bytes = u64::from(kind.bytes());
        let wide = bytes == 8;
        aligned(&at, mask, bytes, "updates")?;
        for (space, mask) in by_space(space, &mut at, mask) {
            if mask == 0 {
                continue;
            }
            if space == Space::Shared {
                self.count_shared(&at, mask, bytes as u32);
            } else {
                self.counts.global_requests += 1;
                self.counts.global_sectors += sectors(&at, mask, bytes as u32);
            }
            for lane in lanes(mask) {
                let old = match space {
                    Space::Shared => {
                        self.read_shared(block, warp, lane, at[lane], bytes, true)?;
                        read(&block.shared, at[lane] as usize, bytes)
                    }
                    Space::Global => {
                        self.acquire(block, at[lane]);
                        self.release(block, at[lane], ordered);
                        self.read_global(block, warp, lane, at[lane], bytes)?
                    }
                    _ => {
                        let what = "updates local memory or parameters atomically".to_string();
                        return Err(Fault::new(Kind::OutOfBounds, lane as u32, what));
                    }
                };
                let operand = warp.rows.lane(b, wide, lane);
                let second = if c == NOWHERE { 0 } else { warp.rows.lane(c, wide, lane) };
                let new = combine(op, kind, old, operand, second).to_le_bytes();
                let new = &new[..bytes as usize];
                if space == Space::Shared {
                    self.write_shared(block, warp, lane, at[lane], new, true)?;
                } else {
                    self.write_global(block, warp, lane, at[lane], new, true)?;
                }
                if d != NOWHERE {
                    warp.rows.set_lane(d, wide, lane, old);
                }
            }
        }
        Ok(())
    }

    fn read_global(
        &mut self,
        block: &Block,
        warp: &Warp,
        lane: usize,
        at: u64,
        bytes: u64,
    ) -> Result<u64, Box<Fault>> {
        let found = self.memory.find(at, bytes);
        let (allocation, offset) = found.map_err(|why| missing(why, "updates", bytes, at, lane))?;
        if !allocation.shadow.is_written(offset, bytes as usize) {
            let what = format!(
                "updates byte {offset} of an allocation of {} bytes, which nothing wrote",
                allocation.bytes
            );
            return Err(Fault::new(Kind::Unwritten, lane as u32, what));
        }
        let who = super::loads::who!(self, block, warp, lane, true);
        if let Some(other) = allocation.shadow.read(offset, bytes as usize, self.id, &who) {
            let what = format!(
                "updates byte {offset} of an allocation of {} bytes, {other} with nothing that orders the two",
                allocation.bytes
            );
            return Err(Fault::new(Kind::GlobalRace, lane as u32, what));
        }
        Ok(read(allocation.data(), offset, bytes))
    }
}

use super::shadow::Who;

fn read(bytes: &[u8], at: usize, size: u64) -> u64 {
    let mut raw = [0; 8];
    raw[..size as usize].copy_from_slice(&bytes[at..at + size as usize]);
    u64::from_le_bytes(raw)
}

/// The new value of a read-modify-write.
pub fn combine(op: AtomicOp, kind: Type, old: u64, b: u64, c: u64) -> u64 {
    let signed =
        |value: u64| if kind == Type::S32 { i64::from(value as i32) } else { value as i64 };
    match op {
        AtomicOp::Add if kind == Type::F32 => {
            u64::from((f32::from_bits(old as u32) + f32::from_bits(b as u32)).to_bits())
        }
        AtomicOp::Add if kind == Type::F64 => (f64::from_bits(old) + f64::from_bits(b)).to_bits(),
        AtomicOp::Add => old.wrapping_add(b),
        AtomicOp::Min if kind.signed() => signed(old).min(signed(b)) as u64,
        AtomicOp::Max if kind.signed() => signed(old).max(signed(b)) as u64,
        AtomicOp::Min => old.min(b),
        AtomicOp::Max => old.max(b),
        AtomicOp::And => old & b,
        AtomicOp::Or => old | b,
        AtomicOp::Xor => old ^ b,
        AtomicOp::Exchange => b,
        AtomicOp::CompareSwap => {
            if old == b {
                c
            } else {
                old
            }
        }
        AtomicOp::Inc => {
            if old >= b {
                0
            } else {
                old + 1
            }
        }
        AtomicOp::Dec => {
            if old == 0 || old > b {
                b
            } else {
                old - 1
            }
        }
    }
}
