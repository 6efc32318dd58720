//! Which registers and predicates an instruction reads and writes, so that a read of one that nothing
//! wrote is found.
//!
//! A *slot* is a register's first row, or, behind all rows, a predicate. A copy is no use of a value:
//! compilers copy registers that hold nothing on paths where nobody looks at them.

use super::inst::{FALSE, Inst, Kernel, NOWHERE, Op, Pred, Row, TRUE, Values};

/// What an instruction reads and writes: slots of [`Registers::slots`], the reads first.
#[derive(Debug, Clone, Copy)]
pub struct Uses {
    first: u32,
    reads: u8,
    writes: u8,
    /// Whether what was read is only copied.
    copies: bool,
}

/// All that is known of a kernel's registers.
#[derive(Debug, Default)]
pub struct Registers {
    uses: Vec<Uses>,
    slots: Vec<u32>,
    /// Lanes of each slot that hold a value when a warp starts.
    pub initial: Vec<u32>,
    /// Names of rows and predicates as the PTX has them.
    pub rows: Vec<(Row, String)>,
    pub preds: Vec<(Pred, String)>,
    predicates_from: u32,
    /// Whether the kernel has matrix instructions that go on by themselves.
    pub asynchronous: bool,
}

impl Registers {
    /// Looks through a kernel's code, once it is whole.
    pub fn fill(kernel: &mut Kernel) {
        let from = kernel.rows;
        let mut initial = vec![0; (from + kernel.preds) as usize];
        let known = kernel.constants.iter().map(|constant| constant.0);
        for row in known.chain(kernel.specials.iter().map(|special| special.0)) {
            initial[row as usize] = u32::MAX;
        }
        for pred in [FALSE, TRUE] {
            initial[(from + u32::from(pred)) as usize] = u32::MAX;
        }
        let (mut uses, mut slots) = (Vec::new(), Vec::new());
        for inst in &kernel.code {
            let (reads, writes) = reads_and_writes(&inst.op, from);
            let kept = |list: &[u32]| -> Vec<u32> {
                list.iter().copied().filter(|&slot| slot != NOWHERE).collect()
            };
            let (reads, writes) = (kept(&reads), kept(&writes));
            uses.push(Uses {
                first: slots.len() as u32,
                reads: reads.len() as u8,
                writes: writes.len() as u8,
                copies: matches!(
                    inst.op,
                    Op::Mov32 { .. } | Op::Mov64 { .. } | Op::Select32 { .. } | Op::Select64 { .. }
                ),
            });
            slots.extend(reads.into_iter().chain(writes));
        }
        let group_mma = |inst: &Inst| matches!(inst.op, Op::GroupMma { .. });
        let registers = &mut kernel.registers;
        registers.asynchronous = kernel.code.iter().any(group_mma);
        (registers.uses, registers.slots, registers.initial) = (uses, slots, initial);
        registers.predicates_from = from;
    }

    /// The slots that the instruction at `pc` reads and writes, and whether it only copies.
    #[inline(always)]
    pub fn of(&self, pc: usize) -> (&[u32], &[u32], bool) {
        let Uses { first, reads, writes, copies } = self.uses[pc];
        let slots = &self.slots[first as usize..][..usize::from(reads) + usize::from(writes)];
        let (reads, writes) = slots.split_at(usize::from(reads));
        (reads, writes, copies)
    }

    /// Notes what the lanes of `mask` read and write at `pc`; a slot that a lane reads and that holds
    /// nothing there, and the lane.
    #[inline(always)]
    pub fn step(
        &self,
        pc: usize,
        inst: &Inst,
        (active, mask): (u32, u32),
        set: &mut [u32],
    ) -> Option<(u32, u32)> {
        let guard = self.predicates_from + u32::from(inst.guard);
        let absent = active & !set[guard as usize];
        if absent != 0 {
            return Some((guard, absent.trailing_zeros()));
        }
        let (reads, writes, copies) = self.of(pc);
        let mut holds = mask;
        for &slot in reads {
            holds &= set[slot as usize];
            if holds != mask && !copies {
                return Some((slot, (mask & !holds).trailing_zeros()));
            }
        }
        for &slot in writes {
            let set = &mut set[slot as usize];
            *set = *set & !mask | holds;
        }
        None
    }

    /// A slot's name, as the PTX has it.
    pub fn name(&self, slot: u32) -> &str {
        let row = self.rows.iter().find(|named| named.0 == slot).map(|named| &*named.1);
        let pred = slot.checked_sub(self.predicates_from);
        let pred = self.preds.iter().find(|named| Some(u32::from(named.0)) == pred);
        row.or(pred.map(|named| &*named.1)).unwrap_or("of a call")
    }
}

/// Slots that an operation reads and writes, with `NOWHERE` among them where it has fewer.
fn reads_and_writes(op: &Op, predicates_from: u32) -> (Vec<u32>, Vec<u32>) {
    let pred = |pred: Pred| predicates_from + u32::from(pred);
    let elements = |values: &Values| values.rows[..usize::from(values.count)].to_vec();
    match *op {
        Op::Mov32 { d, a } | Op::Mov64 { d, a } => (vec![a], vec![d]),
        Op::Unary { d, a, .. } | Op::Convert { d, a, .. } => (vec![a], vec![d]),
        Op::Binary { d, a, b, .. } | Op::Carry { d, a, b, .. } => (vec![a, b], vec![d]),
        Op::Ternary { d, a, b, c, .. } => (vec![a, b, c], vec![d]),
        Op::Bfi { d, a, b, at, len, .. } => (vec![a, b, at, len], vec![d]),
        Op::Compare { p, a, b, .. } => (vec![a, b], vec![pred(p)]),
        Op::Logic { p, a, b, .. } => (vec![pred(a), pred(b)], vec![pred(p)]),
        Op::Select32 { d, a, b, p } | Op::Select64 { d, a, b, p } => (vec![a, b, pred(p)], vec![d]),
        Op::ConvertPair { d, high, low, .. } => (vec![high, low], vec![d]),
        Op::Pack { count, d, from, .. } => (from[..usize::from(count)].to_vec(), vec![d]),
        Op::Unpack { count, to, a, .. } => (vec![a], to[..usize::from(count)].to_vec()),
        Op::LoadParam { ref values, .. } => (vec![], elements(values)),
        Op::Load { ref values, ref address, .. } => (vec![address.row], elements(values)),
        Op::Store { ref values, ref address, .. } => {
            ([vec![address.row], elements(values)].concat(), vec![])
        }
        Op::Atomic { d, ref address, b, c, .. } => (vec![address.row, b, c], vec![d]),
        Op::CopyAsync { ref shared, ref global, filled, .. } => {
            (vec![shared.row, global.row, filled.unwrap_or(NOWHERE)], vec![])
        }
        Op::LoadMatrix { d, ref address, .. } => (vec![address.row], d.to_vec()),
        Op::Mma { d, a, b, c, .. } => ([&a[..], &b, &c].concat(), d.to_vec()),
        Op::GroupMma { ref d, a, lines, accumulate, .. } => {
            let sums = if accumulate { &d[..] } else { &[] };
            ([&a[..], &[lines], sums].concat(), d.to_vec())
        }
        Op::BranchIndex { index, .. } => (vec![index], vec![]),
        Op::Barrier { id, threads, ref reduce, .. } => {
            let mut uses = (vec![id, threads.unwrap_or(NOWHERE)], vec![]);
            if let Some(reduce) = reduce {
                uses.0.push(pred(reduce.a));
                uses.1.extend([reduce.d, pred(reduce.p)]);
            }
            uses
        }
        Op::WarpSync { mask } => (vec![mask], vec![]),
        Op::Shuffle { d, p, a, b, c, mask, .. } => (vec![a, b, c, mask], vec![d, pred(p)]),
        Op::Vote { d, p, a, mask, .. } => (vec![pred(a), mask], vec![d, pred(p)]),
        Op::Match { d, p, a, mask, .. } => (vec![a, mask], vec![d, pred(p)]),
        Op::Redux { d, a, mask, .. } => (vec![a, mask], vec![d]),
        Op::ActiveMask { d } | Op::Clock { d, .. } => (vec![], vec![d]),
        Op::CopyCommit
        | Op::CopyWait { .. }
        | Op::CopyWaitAll
        | Op::GroupFence
        | Op::GroupCommit
        | Op::GroupWait { .. }
        | Op::ProxyFence
        | Op::Branch { .. }
        | Op::Exit
        | Op::Trap { .. }
        | Op::Fence { .. }
        | Op::Nanosleep => (vec![], vec![]),
    }
}
