//! Walks through what a tile multiplies, with their bounds checked once.
//!
//! In a tile's loop the comparisons would take the ports of a fifth of its multiply-adds.

#[cfg(target_arch = "x86_64")]
use std::arch::asm;
use std::array;
use std::marker::PhantomData;
use std::ops::Range;

use super::LANES;

/// Where the runs of a walk lie: `stride` items from the start of one to the start of the next.
#[derive(Clone, Copy)]
pub struct Runs<'a, T> {
    pub items: &'a [T],
    pub stride: usize,
}

impl<'a, T> Runs<'a, T> {
    /// The first item, if `count` runs of `N` items lie in the slice.
    ///
    /// # Panics
    /// If the slice ends before the last run does.
    #[inline(always)]
    fn first<const N: usize>(&self, count: usize) -> *const T {
        let last = count.saturating_sub(1).checked_mul(self.stride);
        let end = last.and_then(|last| last.checked_add(N));
        let fit = count == 0 || end.is_some_and(|end| end <= self.items.len());
        assert!(fit, "a walk leaves its slice");
        self.items.as_ptr()
    }

    /// Those of the first `picks.count` runs of `M` items that are picked, with their numbers.
    ///
    /// # Panics
    /// If the slice ends before the last run does.
    #[inline(always)]
    pub fn picked<const M: usize, const R: usize>(
        self,
        picks: Picks<'_, R>,
    ) -> impl Iterator<Item = (usize, &'a [T; M])> {
        let (first, stride) = (self.first::<M>(picks.count), self.stride);
        // SAFETY: so many runs lie in the slice, and what is picked is one of them.
        picks.map(move |at| (at, in_register(unsafe { &*first.add(at * stride).cast() })))
    }
}

/// The same place, whose address the compiler keeps in a register of its own.
///
/// Else it would have each instruction that reads from there add it up anew, of base and index. Intel's processors take
/// such a multiply-add for two instructions: a patch and its ten count as 31, of 36 at most that are taken in while they are
/// computed. Softmax regression's weights took a quarter longer at batch 16 (2.75 us and 2.2, Emerald Rapids).
#[inline(always)]
#[cfg_attr(
    target_arch = "x86_64",
    expect(clippy::pointers_in_nomem_asm_block, reason = "nothing reads through it there")
)]
fn in_register<T>(place: &T) -> &T {
    #[cfg(target_arch = "x86_64")]
    {
        let mut address: *const T = place;
        // SAFETY: no instruction, so that the address stays that of the place, which the compiler no longer sees.
        unsafe {
            asm!("/* {0} */", inout(reg) address, options(pure, nomem, nostack, preserves_flags));
            std::hint::assert_unchecked(!address.is_null());
            &*address
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    place
}

/// All runs of `N` items, one after the other.
#[derive(Clone)]
pub struct Walk<'a, T, const N: usize> {
    next: *const T,
    stride: usize,
    left: usize,
    items: PhantomData<&'a [T]>,
}

impl<'a, T, const N: usize> Walk<'a, T, N> {
    /// A walk of `count` runs from the first item on.
    ///
    /// # Panics
    /// If the slice ends before the last run does.
    #[inline(always)]
    pub fn new(runs: Runs<'a, T>, count: usize) -> Self {
        Walk { next: runs.first::<N>(count), stride: runs.stride, left: count, items: PhantomData }
    }
}

impl<'a, T, const N: usize> Iterator for Walk<'a, T, N> {
    type Item = &'a [T; N];

    #[inline(always)]
    fn next(&mut self) -> Option<&'a [T; N]> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        // SAFETY: `new` checked that all runs lie in the slice, and `left` that this is one of them.
        let run = unsafe { &*self.next.cast::<[T; N]>() };
        self.next = self.next.wrapping_add(self.stride);
        Some(run)
    }
}

/// The numbers below `count` that are in any of `R` sets, in ascending order.
#[derive(Clone)]
pub struct Picks<'a, const R: usize> {
    sets: [&'a [u64]; R],
    count: usize,
    /// What is left of a word.
    word: u64,
    /// The number of its lowest bit.
    base: usize,
}

impl<'a, const R: usize> Picks<'a, R> {
    /// Of each set, bit `i % 64` of word `i / 64` is number `i`. A word that is not there is empty.
    #[inline(always)]
    pub fn new(sets: [&'a [u64]; R], count: usize) -> Self {
        let mut picks = Picks { sets, count, word: 0, base: 0 };
        picks.word = picks.word_from(0);
        picks
    }

    /// The members from a number on that its word has.
    #[inline(always)]
    fn word_from(&self, base: usize) -> u64 {
        let word = |set: &&[u64]| set.get(base / 64).copied().unwrap_or_default();
        let word = self.sets.iter().fold(0, |all, set| all | word(set));
        // Those who walk by these numbers rely on it that all are below `count`.
        match self.count - base {
            left @ ..64 => word & ((1 << left) - 1),
            _ => word,
        }
    }
}

impl<const R: usize> Iterator for Picks<'_, R> {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        while self.word == 0 {
            if self.count - self.base <= 64 {
                return None;
            }
            self.base += 64;
            self.word = self.word_from(self.base);
        }
        let bit = self.word.trailing_zeros() as usize;
        self.word &= self.word - 1;
        Some(self.base + bit)
    }
}

/// Rows of `width` blocks of sixteen bytes, each anywhere among some bytes.
#[derive(Clone, Copy)]
pub struct ByteRows<'a> {
    bytes: &'a [u8],
    starts: &'a [usize],
    width: usize,
}

impl<'a> ByteRows<'a> {
    /// Rows that begin at these bytes.
    ///
    /// # Panics
    /// If the bytes end before a row does.
    pub fn new(bytes: &'a [u8], starts: &'a [usize], width: usize) -> Self {
        let last = width.checked_mul(LANES).and_then(|width| bytes.len().checked_sub(width));
        let within = starts.iter().all(|start| last.is_some_and(|last| *start <= last));
        assert!(within, "a row of pixels leaves the data set");
        ByteRows { bytes, starts, width }
    }

    /// The first block of a row.
    #[inline(always)]
    fn row(self, row: usize) -> *const [u8; LANES] {
        self.bytes[self.starts[row]..].as_ptr().cast()
    }

    /// The picked blocks of a row, each with the run of that number.
    ///
    /// # Panics
    /// If the row has fewer than `picks.count` blocks, or there are fewer runs.
    #[inline(always)]
    pub fn along<'b, T, const M: usize>(
        self,
        row: usize,
        picks: Picks<'a, 1>,
        with: Runs<'b, T>,
    ) -> impl Iterator<Item = (&'a [u8; LANES], &'b [T; M])> {
        assert!(picks.count <= self.width, "a row of pixels ends before its columns");
        let row = self.row(row);
        with.picked(picks).map(move |(at, run)| {
            // SAFETY: `new` checked that the row lies in the bytes, and what is picked is one of its width.
            (unsafe { &*row.add(at) }, run)
        })
    }

    /// The first `depth` blocks of rows `row .. row + N`, side by side; each time with the run of that number.
    ///
    /// # Panics
    /// If the rows have fewer blocks, or there are fewer runs.
    #[inline(always)]
    pub fn along_all<'b, T, const N: usize, const M: usize>(
        self,
        row: usize,
        depth: usize,
        with: Runs<'b, T>,
    ) -> impl Iterator<Item = ([&'a [u8; LANES]; N], &'b [T; M])> {
        assert!(depth <= self.width, "a row of pixels ends before its columns");
        let rows: [_; N] = array::from_fn(|n| self.row(row + n));
        Walk::new(with, depth).enumerate().map(move |(at, run)| {
            // SAFETY: `new` checked that the row lies in the bytes, and this is one of the first of its width.
            (rows.map(|row| unsafe { &*row.add(at) }), run)
        })
    }

    /// Strips of `N` columns, each with its sets: blocks of those of the first `depth` rows that are in any
    /// of them, each time with the run of that number.
    ///
    /// # Panics
    /// If there are fewer rows or runs, or the rows are shorter.
    #[inline(always)]
    pub fn down<'b, T, const N: usize, const M: usize, const R: usize>(
        self,
        columns: Range<usize>,
        depth: usize,
        sets: impl Iterator<Item = [&'a [u64]; R]>,
        with: Runs<'b, T>,
    ) -> impl Iterator<Item = impl Iterator<Item = ([&'a [u8; LANES]; N], &'b [T; M])>> {
        let within = columns.end <= self.width && depth <= self.starts.len();
        assert!(within, "a row of pixels ends before its columns");
        let (bytes, starts) = (self.bytes.as_ptr(), self.starts.as_ptr());
        let (first, stride) = (with.first::<M>(depth), with.stride);
        (0..columns.len() / N).zip(sets).map(move |(strip, sets)| {
            let column = (columns.start + strip * N) * LANES;
            Picks::new(sets, depth).map(move |at| {
                // SAFETY: what is picked is one of the rows, the columns are some of their width, and `new` checked that
                // the row lies in the bytes.
                let blocks: &[_; N] = unsafe { &*bytes.add(*starts.add(at) + column).cast() };
                // SAFETY: so many runs lie in their slice, and what is picked is one of them.
                (blocks.each_ref(), in_register(unsafe { &*first.add(at * stride).cast() }))
            })
        })
    }
}
