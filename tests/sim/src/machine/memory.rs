//! Device memory: allocations of the simulated GPUs, and host memory that they can reach.
#![allow(unsafe_code)] // pinned memory belongs to the host, which is told by address

use std::collections::BTreeMap;

use super::shadow::Shadow;

/// Addresses of device `n` begin here and a `1 << 40` further for each.
const FIRST: u64 = 0x1000_0000_0000;

/// Room between allocations, so that a small overrun hits nothing.
const GAP: u64 = 512;

/// A piece of memory that kernels may reach.
pub struct Allocation {
    pub base: u64,
    pub bytes: u64,
    pub device: usize,
    pub constant: bool,
    data: *mut u8,
    /// What `data` points into, unless it is the host's.
    _owned: Option<Vec<u8>>,
    pub shadow: Shadow,
}

// SAFETY: `data` points into `_owned`, or into memory that the host keeps until it frees it here.
unsafe impl Send for Allocation {}

impl Allocation {
    pub fn data(&self) -> &[u8] {
        // SAFETY: `data` is valid for `bytes` bytes as long as the allocation lives.
        unsafe { std::slice::from_raw_parts(self.data, self.bytes as usize) }
    }

    pub fn data_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.data, self.bytes as usize) }
    }
}

/// Whether an address is one that [`Memory::allocate`] gives; all others are the host's.
pub fn is_device(address: u64) -> bool {
    (FIRST..FIRST + (16 << 40)).contains(&address)
}

/// Why an address cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    Never,
    Freed,
    /// It lies in an allocation, but the access goes past the end.
    PastEnd {
        base: u64,
        bytes: u64,
    },
}

/// All memory of the process that kernels may reach.
#[derive(Default)]
pub struct Memory {
    allocations: Vec<Allocation>,
    by_base: BTreeMap<u64, usize>,
    freed: BTreeMap<u64, u64>,
    next: [u64; 16],
    used: [u64; 16],
    /// The allocation that was found last.
    last: usize,
}

impl Memory {
    /// Device memory; `None` where fewer than `bytes` of `limit` are free.
    pub fn allocate(&mut self, device: usize, bytes: u64, limit: u64) -> Option<u64> {
        if self.used[device] + bytes > limit {
            return None;
        }
        let base = FIRST + ((device as u64) << 40) + self.next[device];
        self.next[device] += bytes.next_multiple_of(GAP) + GAP;
        self.used[device] += bytes;
        let mut owned = vec![0; bytes as usize];
        let data = owned.as_mut_ptr();
        let shadow = Shadow::new(bytes as usize, false);
        self.insert(Allocation {
            base,
            bytes,
            device,
            constant: false,
            data,
            _owned: Some(owned),
            shadow,
        });
        Some(base)
    }

    /// Pinned host memory: its device address is its own, and the host may have written any of it.
    pub fn allocate_host(&mut self, bytes: u64) -> u64 {
        // 64-byte steps keep vector loads aligned.
        let mut owned = vec![0u8; bytes as usize + 64];
        let shift = owned.as_ptr().align_offset(64);
        let data = owned[shift..].as_mut_ptr();
        let base = data as u64;
        let shadow = Shadow::new(bytes as usize, true);
        self.insert(Allocation {
            base,
            bytes,
            device: 15,
            constant: false,
            data,
            _owned: Some(owned),
            shadow,
        });
        base
    }

    fn insert(&mut self, allocation: Allocation) {
        self.by_base.insert(allocation.base, self.allocations.len());
        self.allocations.push(allocation);
    }

    /// Frees what `allocate` or `allocate_host` gave; whether it did.
    pub fn free(&mut self, base: u64) -> bool {
        let Some(index) = self.by_base.remove(&base) else { return false };
        let gone = self.allocations.swap_remove(index);
        if let Some(moved) = self.allocations.get(index) {
            self.by_base.insert(moved.base, index);
        }
        // The host's allocator gives freed memory out again; device addresses are never reused.
        if is_device(base) {
            self.freed.insert(base, gone.bytes);
        }
        self.used[gone.device] = self.used[gone.device].saturating_sub(gone.bytes);
        self.last = 0;
        true
    }

    pub fn used(&self, device: usize) -> u64 {
        self.used[device]
    }

    /// The allocation that holds `bytes` bytes at `address`, and where in it.
    #[inline(always)]
    pub fn find(&mut self, address: u64, bytes: u64) -> Result<(&mut Allocation, usize), Missing> {
        let hit = self
            .allocations
            .get(self.last)
            .is_some_and(|last| address >= last.base && address - last.base + bytes <= last.bytes);
        if !hit {
            self.last = self.search(address, bytes)?;
        }
        let allocation = &mut self.allocations[self.last];
        let at = (address - allocation.base) as usize;
        Ok((allocation, at))
    }

    #[cold]
    fn search(&self, address: u64, bytes: u64) -> Result<usize, Missing> {
        if let Some((_, &index)) = self.by_base.range(..=address).next_back() {
            let found = &self.allocations[index];
            if address - found.base + bytes <= found.bytes {
                return Ok(index);
            }
            if is_device(found.base) && address - found.base < found.bytes + GAP {
                return Err(Missing::PastEnd { base: found.base, bytes: found.bytes });
            }
        }
        match self.freed.range(..=address).next_back() {
            Some((base, size)) if address - base < *size => Err(Missing::Freed),
            _ => Err(Missing::Never),
        }
    }
}
