//! Loads and stores of every space, with their checks.

use super::lanes::Value;
use super::launch::{Block, Launch};
use super::memory::Missing;
use super::shadow::{Who, misaligned};
use super::warp::{Warp, resolve};
use crate::counts::{bank_passes, lanes, sectors};
use crate::decode::inst::{Address, Strength, Values};
use crate::ptx::ast::Space;
use crate::report::{Fault, Kind};

type Checked = Result<(), Box<Fault>>;

/// An element of a load: `bytes[at..]`, extended to 64 bits.
#[inline(always)]
pub fn element(bytes: &[u8], at: usize, values: &Values) -> u64 {
    let size = usize::from(values.bytes);
    let mut raw = [0; 8];
    raw[..size].copy_from_slice(&bytes[at..at + size]);
    let value = u64::from_le_bytes(raw);
    if values.signed {
        let unused = 64 - 8 * size;
        ((value << unused) as i64 >> unused) as u64
    } else {
        value
    }
}

/// The address of every lane.
#[inline(always)]
pub fn addresses(warp: &Warp, address: &Address) -> [u64; 32] {
    let mut addresses = [0; 32];
    if address.wide {
        let bases = u64::read(&warp.rows, address.row);
        for (at, base) in addresses.iter_mut().zip(bases) {
            *at = base.wrapping_add_signed(address.offset);
        }
    } else {
        for (at, &base) in addresses.iter_mut().zip(warp.rows.get(address.row)) {
            *at = u64::from(base).wrapping_add_signed(address.offset) & 0xffff_ffff;
        }
    }
    addresses
}

/// The identity of a lane for the race checks.
macro_rules! who {
    ($launch:expr, $block:expr, $warp:expr, $lane:expr, $strong:expr) => {
        Who {
            clock: $launch.clock,
            block: $block.linear,
            thread: $warp.index * 32 + $lane as u32,
            barrier: $warp.barrier_clock,
            synced: $warp.synced_clock,
            acquired: &$block.acquired,
            strong: $strong,
        }
    };
}
pub(super) use who;

/// Parts of an access that lie in one space: (space, lanes).
pub fn by_space(space: Space, addresses: &mut [u64; 32], mask: u32) -> [(Space, u32); 4] {
    let mut parts = [(Space::Global, 0), (Space::Shared, 0), (Space::Local, 0), (Space::Param, 0)];
    match space {
        Space::Generic => {
            for lane in lanes(mask) {
                let (space, at) = resolve(addresses[lane]);
                addresses[lane] = at;
                parts
                    .iter_mut()
                    .filter(|part| part.0 == space)
                    .for_each(|part| part.1 |= 1 << lane);
            }
        }
        space => parts[0] = (space, mask),
    }
    parts
}

/// A fault of an access to global memory.
pub fn missing(missing: Missing, did: &str, bytes: u64, address: u64, lane: usize) -> Box<Fault> {
    let (kind, why) = match missing {
        Missing::Never => (Kind::OutOfBounds, "is no device memory".to_string()),
        Missing::Freed => (Kind::UseAfterFree, "was freed".to_string()),
        Missing::PastEnd { base, bytes } => {
            let past = address - base;
            (Kind::OutOfBounds, format!("is byte {past} of an allocation of {bytes} bytes"))
        }
    };
    let what = format!("{did} {bytes} bytes at {address:#x}, which {why}");
    Fault::new(kind, lane as u32, what)
}

impl Launch<'_> {
    #[allow(clippy::too_many_arguments)]
    #[inline(always)]
    pub fn load(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        mask: u32,
        space: Space,
        values: &Values,
        address: &Address,
        strength: Strength,
    ) -> Checked {
        let mut at = addresses(warp, address);
        let bytes = u64::from(values.bytes) * u64::from(values.count);
        aligned(&at, mask, bytes, "reads")?;
        for (space, mask) in by_space(space, &mut at, mask) {
            match space {
                _ if mask == 0 => {}
                Space::Shared => self.load_shared(block, warp, mask, values, &at, strength)?,
                Space::Local => self.load_local(warp, mask, values, &at)?,
                Space::Param => {
                    for lane in lanes(mask) {
                        let end = at[lane].saturating_add(bytes);
                        if end > self.params.len() as u64 {
                            let what = format!("reads parameters up to byte {end}");
                            return Err(Fault::new(Kind::OutOfBounds, lane as u32, what));
                        }
                        put(warp, lane, values, self.params, at[lane] as usize);
                    }
                }
                _ => self.load_global(block, warp, mask, values, &at, strength)?,
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn load_global(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        mask: u32,
        values: &Values,
        at: &[u64; 32],
        strength: Strength,
    ) -> Checked {
        let bytes = u64::from(values.bytes) * u64::from(values.count);
        self.counts.global_requests += 1;
        self.counts.global_sectors += sectors(at, mask, bytes as u32);
        let strong = strength != Strength::Weak;
        for lane in lanes(mask) {
            if strong {
                self.acquire(block, at[lane]);
            }
            let found = self.memory.find(at[lane], bytes);
            let (allocation, offset) =
                found.map_err(|why| missing(why, "reads", bytes, at[lane], lane))?;
            let size = bytes as usize;
            if !allocation.shadow.is_written(offset, size) {
                let what = format!(
                    "reads {size} bytes at byte {offset} of an allocation of {} bytes, which nothing wrote",
                    allocation.bytes
                );
                return Err(Fault::new(Kind::Unwritten, lane as u32, what));
            }
            if !allocation.constant {
                let who = who!(self, block, warp, lane, strong);
                if let Some(other) = allocation.shadow.read(offset, size, self.id, &who) {
                    let what = format!(
                        "reads byte {offset} of an allocation of {} bytes, {other} with nothing that orders the two",
                        allocation.bytes
                    );
                    return Err(Fault::new(Kind::GlobalRace, lane as u32, what));
                }
            }
            put(warp, lane, values, allocation.data(), offset);
        }
        Ok(())
    }

    #[inline(always)]
    fn load_shared(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        mask: u32,
        values: &Values,
        at: &[u64; 32],
        strength: Strength,
    ) -> Checked {
        let bytes = u64::from(values.bytes) * u64::from(values.count);
        self.count_shared(at, mask, bytes as u32);
        let strong = strength != Strength::Weak;
        for lane in lanes(mask) {
            self.read_shared(block, warp, lane, at[lane], bytes, strong)?;
            put(warp, lane, values, &block.shared, at[lane] as usize);
        }
        Ok(())
    }

    pub fn count_shared(&mut self, at: &[u64; 32], mask: u32, bytes: u32) {
        let (passes, least) = bank_passes(at, mask, bytes);
        self.counts.shared_requests += 1;
        self.counts.shared_transactions += passes;
        self.counts.bank_conflicts += passes - least;
    }

    /// The checks of a read of shared memory.
    #[inline(always)]
    pub fn read_shared(
        &mut self,
        block: &mut Block,
        warp: &Warp,
        lane: usize,
        at: u64,
        bytes: u64,
        strong: bool,
    ) -> Checked {
        inside_shared(block, at, bytes, "reads", lane)?;
        let (start, size) = (at as usize, bytes as usize);
        if !block.shadow.is_written(start, size) {
            let pending = block.is_pending(start, size);
            let (kind, why) = if pending {
                (Kind::UnfinishedCopy, "which a cp.async writes that nobody waited for")
            } else {
                (Kind::Unwritten, "which nothing wrote")
            };
            let what = format!("reads {bytes} bytes at {at:#x} of shared memory, {why}");
            return Err(Fault::new(kind, lane as u32, what));
        }
        let who = who!(self, block, warp, lane, strong);
        match block.shadow.read(start, size, block.run, &who) {
            None => Ok(()),
            Some(other) => {
                let what =
                    format!("reads {at:#x} of shared memory, {other} with no barrier between");
                Err(Fault::new(Kind::SharedRace, lane as u32, what))
            }
        }
    }

    /// The checks of a write to shared memory, and the write.
    #[inline(always)]
    pub fn write_shared(
        &mut self,
        block: &mut Block,
        warp: &Warp,
        lane: usize,
        at: u64,
        data: &[u8],
        strong: bool,
    ) -> Checked {
        inside_shared(block, at, data.len() as u64, "writes", lane)?;
        let start = at as usize;
        let same = block.shared[start..start + data.len()] == *data
            && block.shadow.is_written(start, data.len());
        let who = who!(self, block, warp, lane, strong);
        if let Some(other) = block.shadow.write(start, data.len(), block.run, &who, same) {
            let what = format!("writes {at:#x} of shared memory, {other} with no barrier between");
            return Err(Fault::new(Kind::SharedRace, lane as u32, what));
        }
        block.shadow.mark(start, data.len(), true);
        block.shared[start..start + data.len()].copy_from_slice(data);
        if self.kernel.registers.asynchronous {
            block.proxy.wrote(start, data.len(), warp.index * 32 + lane as u32);
        }
        Ok(())
    }

    fn load_local(
        &mut self,
        warp: &mut Warp,
        mask: u32,
        values: &Values,
        at: &[u64; 32],
    ) -> Checked {
        let bytes = usize::from(values.bytes) * usize::from(values.count);
        let size = warp.local.len() / 32;
        self.counts.local_requests += 1;
        for lane in lanes(mask) {
            let offset = local_offset(size, at[lane], bytes, lane, "reads")?;
            let all = (offset..offset + bytes)
                .all(|byte| warp.local_written[byte / 64] >> (byte % 64) & 1 != 0);
            if !all {
                let what = format!(
                    "reads {bytes} bytes at {} of local memory, which nothing wrote",
                    at[lane]
                );
                return Err(Fault::new(Kind::Unwritten, lane as u32, what));
            }
            let mut copy = [0; 32];
            copy[..bytes].copy_from_slice(&warp.local[offset..offset + bytes]);
            put(warp, lane, values, &copy, 0);
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    #[inline(always)]
    pub fn store(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        mask: u32,
        space: Space,
        values: &Values,
        address: &Address,
        strength: Strength,
    ) -> Checked {
        let mut at = addresses(warp, address);
        let bytes = usize::from(values.bytes) * usize::from(values.count);
        aligned(&at, mask, bytes as u64, "writes")?;
        let strong = strength != Strength::Weak;
        for (space, mask) in by_space(space, &mut at, mask) {
            if mask == 0 {
                continue;
            }
            match space {
                Space::Shared => self.count_shared(&at, mask, bytes as u32),
                Space::Local => self.counts.local_requests += 1,
                Space::Param => {
                    let what = "writes to a kernel's parameters".to_string();
                    return Err(Fault::new(Kind::ReadOnlyWritten, mask.trailing_zeros(), what));
                }
                _ => {
                    self.counts.global_requests += 1;
                    self.counts.global_sectors += sectors(&at, mask, bytes as u32);
                }
            }
            for lane in lanes(mask) {
                let mut data = [0u8; 32];
                for element in 0..usize::from(values.count) {
                    let value = warp.rows.lane(values.rows[element], values.wide, lane);
                    let start = element * usize::from(values.bytes);
                    data[start..start + 8].copy_from_slice(&value.to_le_bytes());
                }
                let data = &data[..bytes];
                match space {
                    Space::Shared => {
                        self.write_shared(block, warp, lane, at[lane], data, strong)?
                    }
                    Space::Local => store_local(warp, lane, at[lane], data)?,
                    _ => {
                        if strong {
                            self.release(block, at[lane], strength == Strength::Ordered);
                        }
                        self.write_global(block, warp, lane, at[lane], data, strong)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The checks of a write to global memory, and the write.
    #[inline(always)]
    pub fn write_global(
        &mut self,
        block: &Block,
        warp: &Warp,
        lane: usize,
        at: u64,
        data: &[u8],
        strong: bool,
    ) -> Checked {
        let found = self.memory.find(at, data.len() as u64);
        let (allocation, offset) =
            found.map_err(|why| missing(why, "writes", data.len() as u64, at, lane))?;
        if allocation.constant {
            let what = format!("writes byte {offset} of a constant variable");
            return Err(Fault::new(Kind::ReadOnlyWritten, lane as u32, what));
        }
        let same = allocation.data()[offset..offset + data.len()] == *data
            && allocation.shadow.is_written(offset, data.len());
        let who = who!(self, block, warp, lane, strong);
        if let Some(other) = allocation.shadow.write(offset, data.len(), self.id, &who, same) {
            let what = format!(
                "writes byte {offset} of an allocation of {} bytes, {other} with nothing that orders the two",
                allocation.bytes
            );
            return Err(Fault::new(Kind::GlobalRace, lane as u32, what));
        }
        allocation.shadow.mark(offset, data.len(), true);
        allocation.data_mut()[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }
}

pub fn aligned(at: &[u64; 32], mask: u32, bytes: u64, did: &str) -> Checked {
    match misaligned(at, mask, bytes) {
        None => Ok(()),
        Some(lane) => {
            let what = format!(
                "{did} {bytes} bytes at {:#x}, which is no multiple of {bytes}",
                at[lane as usize]
            );
            Err(Fault::new(Kind::Misaligned, lane, what))
        }
    }
}

fn inside_shared(block: &Block, at: u64, bytes: u64, did: &str, lane: usize) -> Checked {
    if at.saturating_add(bytes) <= block.shared.len() as u64 {
        return Ok(());
    }
    let what = format!(
        "{did} {bytes} bytes at {at:#x} of shared memory, of which there are {:#x}",
        block.shared.len()
    );
    Err(Fault::new(Kind::OutOfBounds, lane as u32, what))
}

fn local_offset(
    size: usize,
    at: u64,
    bytes: usize,
    lane: usize,
    did: &str,
) -> Result<usize, Box<Fault>> {
    if at.saturating_add(bytes as u64) <= size as u64 {
        return Ok(lane * size + at as usize);
    }
    let what =
        format!("{did} {bytes} bytes at {at:#x} of local memory, of which there are {size:#x}");
    Err(Fault::new(Kind::OutOfBounds, lane as u32, what))
}

fn store_local(warp: &mut Warp, lane: usize, at: u64, data: &[u8]) -> Checked {
    let size = warp.local.len() / 32;
    let offset = local_offset(size, at, data.len(), lane, "writes")?;
    warp.local[offset..offset + data.len()].copy_from_slice(data);
    for byte in offset..offset + data.len() {
        warp.local_written[byte / 64] |= 1 << (byte % 64);
    }
    Ok(())
}

/// Writes the elements of a load into the registers of a lane.
#[inline(always)]
fn put(warp: &mut Warp, lane: usize, values: &Values, bytes: &[u8], at: usize) {
    for index in 0..usize::from(values.count) {
        let value = element(bytes, at + index * usize::from(values.bytes), values);
        warp.rows.set_lane(values.rows[index], values.wide, lane, value);
    }
}
