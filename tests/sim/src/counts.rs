//! What is counted of each kernel, added up over its launches.

use std::collections::BTreeMap;

use serde::Serialize;

/// Counts of one kernel. The same from run to run: there is one order in which warps run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub launches: u64,
    pub blocks: u64,
    /// Instructions by threads that took part (whose guard held).
    pub thread_instructions: u64,
    pub warp_instructions: u64,
    /// Fused multiply-adds on the ordinary cores, in FP32 and FP64, by threads.
    pub fmas: u64,
    /// Multiply-adds within `mma` instructions.
    pub matrix_fmas: u64,
    /// Warp instructions that touch global memory.
    pub global_requests: u64,
    /// 32-byte sectors that they touch.
    pub global_sectors: u64,
    pub shared_requests: u64,
    /// Passes over the 32 banks that they take.
    pub shared_transactions: u64,
    /// Passes beyond those that the size of the request needs.
    pub bank_conflicts: u64,
    pub local_requests: u64,
    /// Barriers, counted once a block.
    pub barriers: u64,
}

impl Counts {
    /// Adds the counts of a launch.
    pub fn add(&mut self, other: &Counts) {
        let pairs = [
            (&mut self.launches, other.launches),
            (&mut self.blocks, other.blocks),
            (&mut self.thread_instructions, other.thread_instructions),
            (&mut self.warp_instructions, other.warp_instructions),
            (&mut self.fmas, other.fmas),
            (&mut self.matrix_fmas, other.matrix_fmas),
            (&mut self.global_requests, other.global_requests),
            (&mut self.global_sectors, other.global_sectors),
            (&mut self.shared_requests, other.shared_requests),
            (&mut self.shared_transactions, other.shared_transactions),
            (&mut self.bank_conflicts, other.bank_conflicts),
            (&mut self.local_requests, other.local_requests),
            (&mut self.barriers, other.barriers),
        ];
        for (sum, more) in pairs {
            *sum += more;
        }
    }
}

/// Writes the counts of all kernels, by name, to the file that `CUDA_SIM_COUNTS` names.
pub fn write(counts: &BTreeMap<String, Counts>) {
    let Some(path) = std::env::var_os("CUDA_SIM_COUNTS") else { return };
    let text = match serde_json::to_string_pretty(counts) {
        Ok(text) => text + "\n",
        Err(error) => return eprintln!("simulated device: counts cannot be written: {error}"),
    };
    if let Err(error) = std::fs::write(&path, text) {
        eprintln!("simulated device: cannot write {}: {error}", path.display());
    }
}

/// Distinct 32-byte sectors that lanes of a warp touch with accesses of `bytes` bytes.
pub fn sectors(addresses: &[u64; 32], mask: u32, bytes: u32) -> u64 {
    let mut seen = [0u64; 64];
    let mut used = 0;
    let mut sorted = true;
    for lane in lanes(mask) {
        let first = addresses[lane] >> 5;
        let last = (addresses[lane] + u64::from(bytes) - 1) >> 5;
        for sector in first..=last.min(first + 1) {
            if used > 0 && seen[used - 1] >= sector {
                sorted &= seen[used - 1] == sector;
                if seen[used - 1] == sector {
                    continue;
                }
            }
            seen[used] = sector;
            used += 1;
        }
    }
    if sorted {
        return used as u64;
    }
    let seen = &mut seen[..used];
    seen.sort_unstable();
    1 + seen.windows(2).filter(|pair| pair[0] != pair[1]).count() as u64
}

/// Passes over the banks that a shared access takes, and the least it could take.
///
/// Accesses of 8 and 16 bytes are served by half and quarter warps.
pub fn bank_passes(addresses: &[u64; 32], mask: u32, bytes: u32) -> (u64, u64) {
    let lanes_a_pass = if bytes <= 4 { 32 } else { 128 / bytes };
    let (mut passes, mut least) = (0, 0);
    for first in (0..32).step_by(lanes_a_pass as usize) {
        let group = mask & ((u64::from(u32::MAX) >> (32 - lanes_a_pass)) as u32) << first;
        if group != 0 {
            passes += deepest_bank(addresses, group, bytes);
            least += 1;
        }
    }
    (passes, least)
}

/// The most distinct words that one bank has to give.
fn deepest_bank(addresses: &[u64; 32], mask: u32, bytes: u32) -> u64 {
    let mut first_word = [u64::MAX; 32];
    let mut extra: Vec<u64> = Vec::new();
    for lane in lanes(mask) {
        let (first, last) = (addresses[lane] / 4, (addresses[lane] + u64::from(bytes) - 1) / 4);
        for word in first..=last {
            let bank = &mut first_word[word as usize % 32];
            if *bank == u64::MAX {
                *bank = word;
            } else if *bank != word && !extra.contains(&word) {
                extra.push(word);
            }
        }
    }
    let mut depth = [1u64; 32];
    extra.iter().for_each(|word| depth[*word as usize % 32] += 1);
    depth.into_iter().max().unwrap_or(1)
}

/// The lanes of a mask, lowest first.
pub fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    let mut rest = mask;
    std::iter::from_fn(move || {
        (rest != 0).then(|| {
            let lane = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            lane
        })
    })
}
