//! `cp.async`: the data arrives in shared memory when it is waited for, not before.

use super::launch::{Block, Launch};
use super::loads::{addresses, aligned, missing, who};
use super::shadow::Who;
use super::warp::Warp;
use crate::counts::{lanes, sectors};
use crate::decode::inst::{Address, Row};
use crate::report::{Fault, Kind};

/// A copy of one lane that is on its way.
#[derive(Debug, Clone)]
pub struct Copy {
    lane: usize,
    /// The lane's group that it belongs to.
    group: u32,
    at: u64,
    data: [u8; 16],
    bytes: usize,
}

impl Launch<'_> {
    #[allow(clippy::too_many_arguments)]
    pub fn copy_async(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        mask: u32,
        shared: &Address,
        global: &Address,
        size: u8,
        filled: Option<Row>,
    ) -> Result<(), Box<Fault>> {
        let (to, from) = (addresses(warp, shared), addresses(warp, global));
        let bytes = usize::from(size);
        aligned(&to, mask, u64::from(size), "copies to")?;
        let reads = lanes(mask).fold(0, |reads, lane| {
            let any = filled.is_none_or(|row| warp.rows.get(row)[lane] != 0);
            reads | u32::from(any) << lane
        });
        aligned(&from, reads, u64::from(size), "copies from")?;
        self.counts.global_requests += 1;
        self.counts.global_sectors +=
            if reads == 0 { 0 } else { sectors(&from, reads, u32::from(size)) };
        self.count_shared(&to, mask, u32::from(size));
        for lane in lanes(mask) {
            let wanted = filled.map_or(bytes, |row| bytes.min(warp.rows.get(row)[lane] as usize));
            let mut data = [0; 16];
            if wanted > 0 {
                let source = self.copy_source(block, warp, lane, from[lane], wanted)?;
                data[..wanted].copy_from_slice(&source[..wanted]);
            }
            // The old bytes may still be read by others: this is the write they race with.
            self.write_shared(block, warp, lane, to[lane], &data[..bytes], false)?;
            block.shadow.mark(to[lane] as usize, bytes, false);
            block.pending.push((to[lane] as usize, bytes));
            let group = warp.committed[lane];
            warp.copies.push_back(Copy { lane, group, at: to[lane], data, bytes });
        }
        Ok(())
    }

    fn copy_source(
        &mut self,
        block: &Block,
        warp: &Warp,
        lane: usize,
        at: u64,
        bytes: usize,
    ) -> Result<[u8; 16], Box<Fault>> {
        let found = self.memory.find(at, bytes as u64);
        let (allocation, offset) =
            found.map_err(|why| missing(why, "copies", bytes as u64, at, lane))?;
        if !allocation.shadow.is_written(offset, bytes) {
            let what = format!(
                "copies {bytes} bytes at byte {offset} of an allocation of {} bytes, which nothing wrote",
                allocation.bytes
            );
            return Err(Fault::new(Kind::Unwritten, lane as u32, what));
        }
        let who = who!(self, block, warp, lane, false);
        if let Some(other) = allocation.shadow.read(offset, bytes, self.id, &who) {
            let what = format!(
                "copies byte {offset} of an allocation, {other} with nothing that orders the two"
            );
            return Err(Fault::new(Kind::GlobalRace, lane as u32, what));
        }
        let mut data = [0; 16];
        data[..bytes].copy_from_slice(&allocation.data()[offset..offset + bytes]);
        Ok(data)
    }

    /// Lets copies arrive: those of all but the last `pending` committed groups, or (`None`) all.
    pub fn copy_wait(
        &mut self,
        block: &mut Block,
        warp: &mut Warp,
        mask: u32,
        pending: Option<u32>,
    ) -> Result<(), Box<Fault>> {
        let copies = std::mem::take(&mut warp.copies);
        let (arrived, rest): (Vec<Copy>, Vec<Copy>) = copies.into_iter().partition(|copy| {
            mask >> copy.lane & 1 != 0
                && pending.is_none_or(|pending| copy.group + pending < warp.committed[copy.lane])
        });
        warp.copies = rest.into();
        for copy in arrived {
            let place = (copy.at as usize, copy.bytes);
            if let Some(index) = block.pending.iter().position(|&other| other == place) {
                block.pending.swap_remove(index);
            }
            self.write_shared(block, warp, copy.lane, copy.at, &copy.data[..copy.bytes], false)?;
        }
        Ok(())
    }
}
