//! A warp: its registers, where its lanes stand, and the step that runs one instruction.

use std::collections::VecDeque;

use super::arithmetic;
use super::copies::Copy;
use super::group_mma::Products;
use super::lanes::{Rows, Value};
use super::launch::{Block, Launch};
use crate::counts::lanes;
use crate::decode::inst::{Logic, NOWHERE, Op, Pred, Rounding, TRUE, Ternary};
use crate::ptx::ast::{Space, Type};
use crate::report::{Fault, Kind};

/// Lanes that wait to run from `pc` on, up to `meet`.
#[derive(Debug, Clone, Copy)]
struct Path {
    pc: u32,
    lanes: u32,
    meet: u32,
}

/// Why a warp stopped running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// It had its share.
    Share,
    /// It sleeps, most likely to wait for another.
    Sleep,
    Barrier,
    Finished,
}

#[derive(Default)]
pub struct Warp {
    pub index: u32,
    pub rows: Rows,
    pub preds: Vec<u32>,
    /// Lanes of each register and predicate that were written, by their slots.
    set: Vec<u32>,
    pub pc: u32,
    pub active: u32,
    /// Lanes that have not left the kernel.
    pub live: u32,
    /// Lanes that the warp had when it started.
    pub born: u32,
    meet: u32,
    waiting: Vec<Path>,
    carry: u32,
    /// Local memory, a thread after the other, and a bit a byte for what was written.
    pub local: Vec<u8>,
    pub local_written: Vec<u64>,
    pub copies: VecDeque<Copy>,
    /// Groups of copies that each lane committed.
    pub committed: [u32; 32],
    /// Products that go on by themselves.
    pub products: Products,
    pub barrier_clock: u64,
    pub synced_clock: u64,
    pub at_barrier: bool,
}

impl Warp {
    pub fn new(index: u32, rows: u32, preds: u32, local_bytes: u32) -> Warp {
        let local = local_bytes as usize * 32;
        Warp {
            index,
            rows: Rows::new(rows),
            preds: vec![0; preds as usize],
            local: vec![0; local],
            local_written: vec![0; local.div_ceil(64)],
            ..Warp::default()
        }
    }

    /// Sets the warp of a block of `threads` threads to the beginning of a kernel that finds these
    /// lanes of its registers set. The others keep what they hold, and a read of them is reported.
    pub fn restart(&mut self, threads: u32, initial: &[u32]) {
        let lanes = (threads - self.index * 32).min(32);
        let lanes = u32::MAX >> (32 - lanes);
        let mut preds = std::mem::take(&mut self.preds);
        preds.fill(0);
        preds[usize::from(TRUE)] = u32::MAX;
        let mut local_written = std::mem::take(&mut self.local_written);
        local_written.fill(0);
        let mut set = std::mem::take(&mut self.set);
        set.clear();
        set.extend_from_slice(initial);
        *self = Warp {
            index: self.index,
            rows: std::mem::take(&mut self.rows),
            preds,
            set,
            active: lanes,
            live: lanes,
            born: lanes,
            meet: NOWHERE,
            local: std::mem::take(&mut self.local),
            local_written,
            ..Warp::default()
        };
    }

    #[inline(always)]
    pub fn set_pred(&mut self, p: Pred, value: u32, mask: u32) {
        let old = &mut self.preds[p as usize];
        *old = (*old & !mask) | (value & mask);
    }

    /// Goes on with the lanes that wait, where those that ran have come to the meeting point or
    /// left. False once no lane is left.
    fn next_path(&mut self) -> bool {
        loop {
            let Some(path) = self.waiting.pop() else { return false };
            let lanes = path.lanes & self.live;
            if lanes != 0 {
                self.active = lanes;
                self.pc = path.pc;
                self.meet = path.meet;
                if self.pc != self.meet || self.meet == NOWHERE {
                    return true;
                }
            }
        }
    }

    /// Splits the active lanes over several ways that meet again at `meet`.
    fn split(&mut self, ways: &[(u32, u32)], meet: u32) {
        if meet != self.meet && meet != NOWHERE {
            self.waiting.push(Path { pc: meet, lanes: self.active, meet: self.meet });
        }
        for &(pc, lanes) in ways.iter().rev() {
            if lanes != 0 && pc != meet {
                self.waiting.push(Path { pc, lanes, meet });
            }
        }
        // Where all go straight to the meeting point they were pushed as the path that waits there.
        self.next_path();
    }
}

/// Runs up to `share` instructions of a warp.
///
/// # Errors
///
/// What the kernel did wrong.
pub fn run(
    launch: &mut Launch,
    block: &mut Block,
    warp: &mut Warp,
    share: u32,
) -> Result<Pause, Box<Fault>> {
    let kernel = launch.kernel.clone();
    for _ in 0..share {
        if warp.pc == warp.meet && !warp.next_path() {
            return Ok(Pause::Finished);
        }
        let inst = &kernel.code[warp.pc as usize];
        let guard = warp.preds[inst.guard as usize];
        let mask = warp.active & if inst.negated { !guard } else { guard };
        let (pc, lanes_of) = (warp.pc as usize, (warp.active, mask));
        if let Some((slot, lane)) = kernel.registers.step(pc, inst, lanes_of, &mut warp.set) {
            warp.pc += 1;
            let what =
                format!("reads register {}, which nothing wrote", kernel.registers.name(slot));
            return Err(Fault::new(Kind::UnwrittenRegister, lane, what));
        }
        if kernel.registers.asynchronous {
            warp.products.check(&kernel.registers, pc, &inst.op, mask)?;
        }
        if inst.counted {
            launch.counts.warp_instructions += 1;
            launch.counts.thread_instructions += u64::from(mask.count_ones());
        }
        match &inst.op {
            Op::Branch { target, meet } => {
                if mask == warp.active {
                    warp.pc = *target;
                } else if mask == 0 {
                    warp.pc += 1;
                } else {
                    let other = warp.active & !mask;
                    warp.split(&[(*target, mask), (warp.pc + 1, other)], *meet);
                }
                continue;
            }
            Op::BranchIndex { index, targets, meet } => {
                let rows = warp.rows.get(*index);
                let mut ways: Vec<(u32, u32)> = targets.iter().map(|&target| (target, 0)).collect();
                for lane in lanes(mask) {
                    let Some(way) = ways.get_mut(rows[lane] as usize) else {
                        let what = format!("brx.idx takes way {} of {}", rows[lane], targets.len());
                        return Err(Fault::new(Kind::OutOfBounds, lane as u32, what));
                    };
                    way.1 |= 1 << lane;
                }
                ways.push((warp.pc + 1, warp.active & !mask));
                warp.split(&ways, *meet);
                continue;
            }
            Op::Exit => {
                warp.live &= !mask;
                warp.active &= !mask;
                warp.pc += 1;
                if warp.active == 0 && !warp.next_path() {
                    return Ok(Pause::Finished);
                }
                continue;
            }
            _ => {}
        }
        warp.pc += 1;
        if mask == 0 {
            continue;
        }
        match &inst.op {
            Op::Nanosleep => return Ok(Pause::Sleep),
            Op::Barrier { id, threads, wait, reduce } => {
                launch.barrier(block, warp, mask, (*id, *threads, *wait, *reduce))?;
                if *wait {
                    return Ok(Pause::Barrier);
                }
            }
            op => execute(launch, block, warp, mask, op)?,
        }
    }
    Ok(Pause::Share)
}

#[inline(always)]
fn execute(
    launch: &mut Launch,
    block: &mut Block,
    warp: &mut Warp,
    mask: u32,
    op: &Op,
) -> Result<(), Box<Fault>> {
    let rows = &mut warp.rows;
    match *op {
        Op::Mov32 { d, a } => u32::write(rows, d, *rows.get(a), mask),
        Op::Mov64 { d, a } => u64::write(rows, d, u64::read(rows, a), mask),
        Op::Unary { f, d, a } => arithmetic::unary(rows, f, d, a, mask),
        Op::Binary { f, d, a, b } => arithmetic::binary(rows, f, [d, a, b], mask),
        Op::Ternary { f, d, a, b, c } => {
            if matches!(f, Ternary::FmaF32 | Ternary::FmaF64) {
                launch.counts.fmas += u64::from(mask.count_ones());
            }
            arithmetic::ternary(rows, f, [d, a, b, c], mask);
        }
        Op::Bfi { wide, d, a, b, at, len } => {
            for lane in lanes(mask) {
                let (at, len) = (rows.get(at)[lane] & 255, rows.get(len)[lane] & 255);
                let field = if len >= 64 { u64::MAX } else { (1 << len) - 1 };
                let field = field.checked_shl(at).unwrap_or(0);
                let inserted = rows.lane(a, wide, lane).checked_shl(at).unwrap_or(0);
                let value = (inserted & field) | (rows.lane(b, wide, lane) & !field);
                rows.set_lane(d, wide, lane, value);
            }
        }
        Op::Carry { subtract, wide, read, write, d, a, b } => {
            let mut carries = 0;
            for lane in lanes(mask) {
                let carry = u128::from(read && warp.carry >> lane & 1 != 0);
                let (a, b) = (rows.lane(a, wide, lane), rows.lane(b, wide, lane));
                let (a, b) = (u128::from(a), u128::from(b));
                let bits = if wide { 64 } else { 32 };
                let sum = if subtract { a.wrapping_sub(b + carry) } else { a + b + carry };
                carries |= u32::from(sum >> bits & 1 != 0) << lane;
                rows.set_lane(d, wide, lane, sum as u64);
            }
            if write {
                warp.carry = (warp.carry & !mask) | carries;
            }
        }
        Op::Compare { f, kind, p, a, b } => {
            let holds = arithmetic::compare(rows, f, kind, a, b);
            warp.set_pred(p, holds, mask);
        }
        Op::Logic { f, p, a, b } => {
            let (a, b) = (warp.preds[a as usize], warp.preds[b as usize]);
            let value = match f {
                Logic::And => a & b,
                Logic::Or => a | b,
                Logic::Xor => a ^ b,
                Logic::AndNot => a & !b,
                Logic::OrNot => a | !b,
                Logic::XorNot => a ^ !b,
            };
            warp.set_pred(p, value, mask);
        }
        Op::Select32 { d, a, b, p } => {
            let holds = warp.preds[p as usize];
            u32::write(rows, d, *rows.get(b), mask & !holds);
            // `d` may be `a`, but then it keeps its lanes.
            u32::write(rows, d, *rows.get(a), mask & holds);
        }
        Op::Select64 { d, a, b, p } => {
            let holds = warp.preds[p as usize];
            let (a, b) = (u64::read(rows, a), u64::read(rows, b));
            u64::write(rows, d, a, mask & holds);
            u64::write(rows, d, b, mask & !holds);
        }
        Op::Convert { from, to, rounding, integral, saturate, d, a } => {
            for lane in lanes(mask) {
                let bits = rows.lane(a, from.bytes() == 8, lane);
                let value = convert(bits, from, to, rounding, integral, saturate);
                rows.set_lane(d, to.bytes() == 8, lane, value);
            }
        }
        Op::ConvertPair { bf16, d, high, low } => {
            for lane in lanes(mask) {
                let (high, low) = (rows.get(high)[lane], rows.get(low)[lane]);
                let narrow = |bits: u32| {
                    let value = f32::from_bits(bits);
                    u32::from(if bf16 { to_bf16(value) } else { to_f16(f64::from(value)) })
                };
                rows.get_mut(d)[lane] = narrow(high) << 16 | narrow(low);
            }
        }
        Op::Pack { bits, count, d, from } => {
            let wide = u32::from(bits) * u32::from(count) == 64;
            for lane in lanes(mask) {
                let value = from[..count as usize].iter().rev().fold(0u64, |value, &row| {
                    value << bits | u64::from(rows.get(row)[lane]) & ((1 << bits) - 1)
                });
                rows.set_lane(d, wide, lane, value);
            }
        }
        Op::Unpack { bits, count, to, a } => {
            let wide = u32::from(bits) * u32::from(count) == 64;
            for lane in lanes(mask) {
                let value = rows.lane(a, wide, lane);
                for (i, &row) in to[..count as usize].iter().enumerate() {
                    if row != NOWHERE {
                        let part = value >> (usize::from(bits) * i) & ((1 << bits) - 1);
                        rows.get_mut(row)[lane] = part as u32;
                    }
                }
            }
        }
        Op::LoadParam { ref values, offset } => {
            for element in 0..usize::from(values.count) {
                let at = offset as usize + element * usize::from(values.bytes);
                let value = super::loads::element(launch.params, at, values);
                for lane in lanes(mask) {
                    rows.set_lane(values.rows[element], values.wide, lane, value);
                }
            }
        }
        Op::Load { space, ref values, ref address, strength } => {
            launch.load(block, warp, mask, space, values, address, strength)?;
        }
        Op::Store { space, ref values, ref address, strength } => {
            launch.store(block, warp, mask, space, values, address, strength)?;
        }
        Op::Atomic { .. } => launch.atomic(block, warp, mask, op)?,
        Op::CopyAsync { ref shared, ref global, size, filled } => {
            launch.copy_async(block, warp, mask, shared, global, size, filled)?;
        }
        Op::CopyCommit => lanes(mask).for_each(|lane| warp.committed[lane] += 1),
        Op::CopyWait { pending } => launch.copy_wait(block, warp, mask, Some(pending))?,
        Op::CopyWaitAll => launch.copy_wait(block, warp, mask, None)?,
        Op::LoadMatrix { d, count, transpose, ref address } => {
            launch.load_matrix(block, warp, mask, d, count, transpose, address)?;
        }
        Op::Mma { shape, d, a, b, c } => {
            super::matrix::mma(warp, mask, shape, (d, a, b, c))?;
            launch.counts.matrix_fmas += 16 * 8 * shape.k() as u64;
        }
        Op::GroupMma { columns, ref d, a, lines, accumulate } => {
            launch.group_mma(block, warp, mask, (columns, accumulate), (d, a, lines))?;
        }
        Op::GroupFence => warp.products.fence(),
        Op::GroupCommit => warp.products.commit(),
        Op::GroupWait { pending } => launch.group_wait(block, warp, pending)?,
        Op::ProxyFence => block.proxy.fence(warp.index, mask),
        Op::Trap { ref what } => {
            let lane = mask.trailing_zeros();
            return Err(Fault::new(Kind::Trap, lane, what.to_string()));
        }
        Op::Fence { .. } => launch.fence(block),
        Op::WarpSync { .. }
        | Op::Shuffle { .. }
        | Op::Vote { .. }
        | Op::Match { .. }
        | Op::Redux { .. }
        | Op::ActiveMask { .. } => super::sync::exchange(launch, warp, mask, op)?,
        Op::Clock { d, wide } => {
            let now = launch.counts.warp_instructions;
            lanes(mask).for_each(|lane| rows.set_lane(d, wide, lane, now));
        }
        Op::Branch { .. }
        | Op::BranchIndex { .. }
        | Op::Exit
        | Op::Nanosleep
        | Op::Barrier { .. } => {}
    }
    Ok(())
}

fn sign_extended(bits: u64, kind: Type) -> i64 {
    let unused = 64 - 8 * kind.bytes();
    if kind.signed() {
        (bits << unused) as i64 >> unused
    } else {
        (bits << unused >> unused) as i64
    }
}

/// `cvt`: the value's bits as `from` to its bits as `to`.
fn convert(
    bits: u64,
    from: Type,
    to: Type,
    rounding: Rounding,
    integral: bool,
    saturate: bool,
) -> u64 {
    if from.float() {
        let value = match from {
            Type::F64 => f64::from_bits(bits),
            Type::F32 => f64::from(f32::from_bits(bits as u32)),
            _ => from_f16(bits as u16),
        };
        return from_float(value, from, to, rounding, integral, saturate);
    }
    let value = sign_extended(bits, from);
    let unsigned = !from.signed();
    match to {
        Type::F64 if unsigned => (value as u64 as f64).to_bits(),
        Type::F64 => (value as f64).to_bits(),
        Type::F32 => {
            let near = if unsigned { value as u64 as f32 } else { value as f32 };
            let wide = if unsigned { i128::from(value as u64) } else { i128::from(value) };
            u64::from(toward(near, wide - near as i128, rounding).to_bits())
        }
        Type::F16 => u64::from(to_f16(value as f64)),
        to => {
            let value = if unsigned { i128::from(value as u64) } else { i128::from(value) };
            let value = if saturate { clamp(value, to) } else { value };
            sign_extended(value as u64, to) as u64
        }
    }
}

fn toward(near: f32, error: i128, rounding: Rounding) -> f32 {
    match rounding {
        Rounding::Down if error < 0 => near.next_down(),
        Rounding::Up if error > 0 => near.next_up(),
        Rounding::Zero if error < 0 && near > 0.0 => near.next_down(),
        Rounding::Zero if error > 0 && near < 0.0 => near.next_up(),
        _ => near,
    }
}

fn clamp(value: i128, to: Type) -> i128 {
    let bits = 8 * to.bytes();
    if to.signed() {
        value.clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    } else {
        value.clamp(0, (1 << bits) - 1)
    }
}

fn from_float(
    value: f64,
    from: Type,
    to: Type,
    rounding: Rounding,
    integral: bool,
    saturate: bool,
) -> u64 {
    let rounded = match rounding {
        Rounding::Nearest => value.round_ties_even(),
        Rounding::Zero => value.trunc(),
        Rounding::Down => value.floor(),
        Rounding::Up => value.ceil(),
    };
    if !to.float() {
        if value.is_nan() {
            return if to.bytes() == 8 { 1 << 63 } else { 0 };
        }
        return clamp(rounded as i128, to) as u64 & (u64::MAX >> (64 - 8 * to.bytes()));
    }
    let value = if integral { rounded } else { value };
    let value = if saturate { if value > 0.0 { value.min(1.0) } else { 0.0 } } else { value };
    match to {
        Type::F64 => value.to_bits(),
        Type::F32 => {
            let near = value as f32;
            let error =
                if from == Type::F64 && near.is_finite() { value - f64::from(near) } else { 0.0 };
            u64::from(
                toward(near, error.signum() as i128 * i128::from(error != 0.0), rounding).to_bits(),
            )
        }
        _ => u64::from(to_f16(value)),
    }
}

pub fn from_f16(bits: u16) -> f64 {
    let (sign, exponent, fraction) = (bits >> 15, bits >> 10 & 31, f64::from(bits & 1023));
    let value = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        exponent => (1.0 + fraction / 1024.0) * 2f64.powi(i32::from(exponent) - 15),
    };
    if sign != 0 { -value } else { value }
}

/// To nearest, ties to even.
fn to_f16(value: f64) -> u16 {
    let sign = if value.is_sign_negative() { 0x8000 } else { 0 };
    let size = value.abs();
    if size.is_nan() {
        return 0x7fff;
    }
    if size >= 65520.0 {
        return sign | 0x7c00;
    }
    let exponent = (size.log2().floor() as i32).max(-14);
    let unit = 2f64.powi(exponent - 10);
    let steps = (size / unit).round_ties_even() as u16;
    // A carry out of the fraction moves the exponent on by itself.
    let base = if exponent == -14 && steps < 1024 { 0 } else { (exponent + 14) as u16 * 1024 };
    sign | (base + steps)
}

/// To nearest, ties to even.
pub fn to_bf16(value: f32) -> u16 {
    if value.is_nan() {
        return 0x7fff;
    }
    let bits = value.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// The space that a lane's generic address lies in, and the address within it.
pub fn resolve(address: u64) -> (Space, u64) {
    for space in [Space::Shared, Space::Local, Space::Param] {
        let start = super::window(space);
        if address >= start && address - start < super::WINDOW {
            return (space, address - start);
        }
    }
    (Space::Global, address)
}
