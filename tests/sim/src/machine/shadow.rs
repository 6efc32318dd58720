//! What is remembered of memory: which bytes were written, and who touched each word last.
//!
//! A word's last write and last read are packed into 64 bits each: when (the launch's clock, which
//! every barrier and fence moves on), which block and thread, whether the access was strong, and
//! which of the four bytes. After "HiRACE", of many readers only their common warp or block is kept;
//! of readers in several blocks, which blocks those are, in a table of the few pages that have any.

use crate::counts::lanes;

/// Who makes an access, and what is ordered before it.
pub struct Who<'a> {
    pub clock: u64,
    pub block: u32,
    pub thread: u32,
    /// Accesses of the same block before this time are ordered before: the last barrier.
    pub barrier: u64,
    /// The same for accesses of the same warp.
    pub synced: u64,
    /// Accesses of other blocks before these times are ordered before.
    pub acquired: &'a std::collections::HashMap<u32, u64>,
    pub strong: bool,
}

/// Words a page: a page is cleared when a new launch first touches it.
const PAGE: usize = 1024;
const BLOCK_BITS: u64 = (1 << 21) - 1;
const MANY_IN_WARP: u64 = 1024;
const MANY_IN_BLOCK: u64 = 1056;

/// The blocks that read a word with nothing that orders them.
#[derive(Clone, Copy, Default)]
struct Readers {
    /// Bit `b % 64` for block `b`.
    blocks: u64,
    /// The earliest of their reads, and the bytes that all of them read: what is not certain to be a
    /// race is not one.
    since: u64,
    mask: u64,
}

pub struct Shadow {
    written: Vec<u64>,
    /// Whether all was written at once, so that no bit need be looked at.
    all_written: bool,
    /// Last write and last read of each word.
    words: Vec<[u64; 2]>,
    /// The launch that each page of `words` is about.
    launches: Vec<u64>,
    /// Of pages with a word that several blocks read.
    readers: Vec<Option<Box<[Readers; PAGE]>>>,
}

impl Shadow {
    pub fn new(bytes: usize, written: bool) -> Shadow {
        Shadow {
            written: vec![0; bytes.div_ceil(64)],
            all_written: written,
            words: vec![[0; 2]; bytes.div_ceil(4)],
            launches: vec![0; bytes.div_ceil(4 * PAGE)],
            readers: vec![None; bytes.div_ceil(4 * PAGE)],
        }
    }

    /// Whether all of `bytes` (at most 16) from `at` were written.
    #[inline(always)]
    pub fn is_written(&self, at: usize, bytes: usize) -> bool {
        if self.all_written {
            return true;
        }
        // Aligned accesses lie within one word of bits.
        if at % 64 + bytes <= 64 && bytes < 64 {
            let mask = ((1u64 << bytes) - 1) << (at % 64);
            return self.written[at / 64] & mask == mask;
        }
        self.is_written_across(at, bytes)
    }

    fn is_written_across(&self, at: usize, bytes: usize) -> bool {
        let mask = ((1u128 << bytes) - 1) << (at % 64);
        let low = self.written[at / 64] & mask as u64 == mask as u64;
        let rest = (mask >> 64) as u64;
        low && (rest == 0 || self.written.get(at / 64 + 1).is_some_and(|bits| bits & rest == rest))
    }

    #[inline(always)]
    pub fn mark(&mut self, at: usize, bytes: usize, written: bool) {
        if self.all_written {
            if written {
                return;
            }
            self.written.fill(u64::MAX);
            self.all_written = false;
        }
        if bytes <= 64 - at % 64 && bytes < 64 {
            let mask = ((1u64 << bytes) - 1) << (at % 64);
            let bits = &mut self.written[at / 64];
            *bits = if written { *bits | mask } else { *bits & !mask };
            return;
        }
        let mut at = at;
        let end = at + bytes;
        while at < end {
            let step = (64 - at % 64).min(end - at);
            let mask = if step == 64 { u64::MAX } else { ((1 << step) - 1) << (at % 64) };
            let bits = &mut self.written[at / 64];
            *bits = if written { *bits | mask } else { *bits & !mask };
            at += step;
        }
    }

    /// Forgets every write; of the accesses, a new number of the launch will do that.
    pub fn forget_writes(&mut self) {
        self.written.fill(0);
        self.all_written = false;
    }

    pub fn mark_all(&mut self) {
        self.all_written = true;
    }

    /// Notes a read; the thread that it races with, if any.
    #[inline(always)]
    pub fn read(&mut self, at: usize, bytes: usize, launch: u64, who: &Who) -> Option<String> {
        for (word, mask) in words(at, bytes) {
            self.page(word, launch);
            let [write, read] = &mut self.words[word];
            if !ordered(*write, mask, who) {
                return Some(describe(*write, "written"));
            }
            let mine = entry(who, u64::from(who.thread), mask);
            if *read == mine || already_read(*read, mine, who) {
                continue;
            }
            let earlier = *read;
            let beside = earlier != 0 && !happened_before(earlier, who);
            if beside && block_of(earlier) == block_of(mine) {
                *read = together(earlier, mine, who);
                continue;
            }
            *read = mine;
            if beside {
                self.note_readers(word, earlier, mine);
            }
        }
        None
    }

    /// Notes a write; the thread that it races with, if any. `same` says that the bytes written are
    /// those that stand there: such writes by two threads do no harm.
    #[inline(always)]
    pub fn write(
        &mut self,
        at: usize,
        bytes: usize,
        launch: u64,
        who: &Who,
        same: bool,
    ) -> Option<String> {
        for (word, mask) in words(at, bytes) {
            self.page(word, launch);
            let [write, read] = &mut self.words[word];
            if !same && !ordered(*write, mask, who) {
                return Some(describe(*write, "written"));
            }
            if !ordered(*read, mask, who) {
                return Some(describe(*read, "read"));
            }
            if let Some(readers) = &mut self.readers[word / PAGE] {
                let readers = &mut readers[word % PAGE];
                if let Some(block) = readers.unordered(mask, who) {
                    return Some(format!("read by several blocks, block {block} among them,"));
                }
                if readers.mask & !mask == 0 {
                    // Whoever is ordered behind this write is so behind the reads before it.
                    *readers = Readers::default();
                }
            }
            let mut mask = mask;
            if (*write >> 16) == (entry(who, 0, 0) >> 16)
                && thread_of(*write) == u64::from(who.thread)
            {
                mask |= *write & 15;
            }
            *write = entry(who, u64::from(who.thread), mask);
        }
        None
    }

    #[inline(always)]
    fn page(&mut self, word: usize, launch: u64) {
        let page = word / PAGE;
        if self.launches[page] != launch {
            self.launches[page] = launch;
            let end = (page * PAGE + PAGE).min(self.words.len());
            self.words[page * PAGE..end].fill([0; 2]);
            self.readers[page] = None;
        }
    }

    /// Notes that two blocks read a word side by side.
    #[cold]
    fn note_readers(&mut self, word: usize, earlier: u64, mine: u64) {
        // Strong reads are left out: a strong write may stand beside them.
        let weak = [earlier, mine].into_iter().filter(|entry| entry >> 4 & 1 == 0);
        let page =
            self.readers[word / PAGE].get_or_insert_with(|| Box::new([Readers::default(); PAGE]));
        let readers = &mut page[word % PAGE];
        for entry in weak {
            let first = readers.blocks == 0;
            readers.since = if first { entry >> 37 } else { readers.since.min(entry >> 37) };
            readers.mask = if first { entry & 15 } else { readers.mask & entry };
            readers.blocks |= 1 << (block_of(entry) % 64);
        }
    }
}

impl Readers {
    /// A block whose read is not ordered before what `who` does now. Of blocks that share a bit, none
    /// may be.
    fn unordered(&self, mask: u64, who: &Who) -> Option<u64> {
        if self.mask & mask == 0 {
            return None;
        }
        let mut ordered = 1u64 << (who.block % 64);
        for (&block, &until) in who.acquired {
            ordered |= u64::from(self.since < until) << (block % 64);
        }
        let left = self.blocks & !ordered;
        (left != 0).then(|| u64::from(left.trailing_zeros()))
    }
}

/// The words of an access, each with the mask of its bytes.
#[inline(always)]
fn words(at: usize, bytes: usize) -> impl Iterator<Item = (usize, u64)> {
    let (first, last) = (at / 4, (at + bytes - 1) / 4);
    (first..=last).map(move |word| {
        let from = at.max(word * 4) - word * 4;
        let to = (at + bytes).min(word * 4 + 4) - word * 4;
        (word, (1 << to) - (1 << from))
    })
}

#[inline(always)]
fn entry(who: &Who, thread: u64, mask: u64) -> u64 {
    let block = u64::from(who.block) & BLOCK_BITS;
    who.clock << 37 | block << 16 | thread << 5 | u64::from(who.strong) << 4 | mask
}

#[inline(always)]
fn block_of(entry: u64) -> u64 {
    entry >> 16 & BLOCK_BITS
}

#[inline(always)]
fn thread_of(entry: u64) -> u64 {
    entry >> 5 & 2047
}

#[inline(always)]
fn ordered(entry: u64, mask: u64, who: &Who) -> bool {
    entry & mask == 0 || (who.strong && entry >> 4 & 1 != 0) || happened_before(entry, who)
}

/// Whether the access is ordered before what `who` does now.
#[inline(always)]
fn happened_before(entry: u64, who: &Who) -> bool {
    let (clock, block, thread) = (entry >> 37, entry >> 16 & BLOCK_BITS, thread_of(entry));
    if block != u64::from(who.block) & BLOCK_BITS {
        return who.acquired.get(&(block as u32)).is_some_and(|&until| clock < until);
    }
    if thread == u64::from(who.thread) || clock < who.barrier {
        return true;
    }
    let warp = if thread < MANY_IN_WARP { thread / 32 } else { thread - MANY_IN_WARP };
    warp == u64::from(who.thread / 32) && clock < who.synced
}

/// Whether many threads read the word at this time, and the reader's warp or block is what is noted.
#[inline(always)]
fn already_read(read: u64, mine: u64, who: &Who) -> bool {
    let thread = thread_of(read);
    (read ^ mine) >> 16 == 0
        && mine & 15 & !read == 0
        && (thread == MANY_IN_BLOCK || thread == MANY_IN_WARP + u64::from(who.thread / 32))
        && (who.strong || read & 16 == 0)
}

/// A read beside another of its block that is not ordered before it.
fn together(old: u64, mine: u64, who: &Who) -> u64 {
    let warp = u64::from(who.thread / 32);
    let old_thread = thread_of(old);
    let same_warp =
        old_thread == MANY_IN_WARP + warp || (old_thread < 1024 && old_thread / 32 == warp);
    let thread = if same_warp { MANY_IN_WARP + warp } else { MANY_IN_BLOCK };
    let clock = (old >> 37).max(mine >> 37);
    clock << 37
        | (mine & (BLOCK_BITS << 16))
        | thread << 5
        | (mine & old & 16)
        | ((mine | old) & 15)
}

fn describe(entry: u64, did: &str) -> String {
    let (block, thread) = (entry >> 16 & BLOCK_BITS, thread_of(entry));
    match thread {
        0..MANY_IN_WARP => format!("{did} by thread {thread} of block {block}"),
        MANY_IN_BLOCK => format!("{did} by several threads of block {block}"),
        many => format!("{did} by threads of warp {} of block {block}", many - MANY_IN_WARP),
    }
}

/// Lanes whose address is not a multiple of `bytes`.
pub fn misaligned(addresses: &[u64; 32], mask: u32, bytes: u64) -> Option<u32> {
    let bits = (0..32)
        .fold(0u32, |bits, lane| bits | u32::from(addresses[lane] & (bytes - 1) != 0) << lane);
    lanes(bits & mask).next().map(|lane| lane as u32)
}
