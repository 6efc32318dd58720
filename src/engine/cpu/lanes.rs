//! Sixteen `f32` lanes, whatever the machine has: the only room of the CPU engine with `unsafe`.
//!
//! A kernel is written once against [`Lanes`] and compiled for each instruction set. Sixteen lanes
//! are one register of AVX-512, two of AVX2, four of NEON; the order of every addition is fixed by
//! the sixteen lanes and never by the register, so all of them give the same bits. Three rules keep
//! that true: products are summed by fused multiply-add everywhere ([`f32::mul_add`] where there is
//! no intrinsic), a vector is summed by [`fold`]'s tree, and nothing else crosses lanes.

#![allow(unsafe_code)]

use bytemuck::{Pod, Zeroable};

use super::elementwise::flush;

/// Sixteen floats, aligned so that a vector load never splits a cache line.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Block(pub [f32; LANES]);

/// Floats in a block.
pub const LANES: usize = 16;

/// Blocks that hold sixteen vectors after [`Lanes::halve`].
pub const PAIRS: usize = LANES / 2;

impl Block {
    pub const ZERO: Block = Block([0.0; LANES]);
}

/// `len` floats need so many blocks.
pub const fn blocks(len: usize) -> usize {
    len.div_ceil(LANES)
}

/// A buffer of blocks as the floats that it holds.
#[inline(always)]
pub fn floats(blocks: &[Block]) -> &[f32] {
    bytemuck::cast_slice(blocks)
}

/// A buffer of blocks as the floats that it holds, to write.
#[inline(always)]
pub fn floats_mut(blocks: &mut [Block]) -> &mut [f32] {
    bytemuck::cast_slice_mut(blocks)
}

/// Operations on sixteen lanes of one instruction set.
pub trait Lanes: Copy {
    /// Sixteen floats in registers.
    type F: Copy;
    /// One of the registers that sixteen floats take.
    type Part: Copy;
    /// Registers that sixteen floats take. A tile of dot products is computed part by part: each lane is a
    /// chain of its own, so that a tile may be as many times larger, and reads so much less.
    const PARTS: usize;
    /// Rows and blocks of the tile that an outer product holds in registers.
    const OUTER: (usize, usize);
    /// Samples and outputs of the tile of a dot product; of each sum one part is in registers.
    const DOT: (usize, usize);
    /// Samples and blocks of columns of the tile of a product of rows; of fewer samples there are more columns.
    const ROWS: (usize, usize);
    /// Samples of the tile of a product that turns its right operand over, which leave room for four columns of it.
    const TURNED: usize;
    /// Columns of the tile of two rows that a sparse product holds in registers.
    const SPARSE: usize;
    /// Whether a dot product passes over what is dark. Where sums are in parts, each
    /// looks for the next round by itself: with AVX2 a layer of 512 units took 40 samples a fifth longer so.
    const DOT_PASSES_OVER: bool = Self::PARTS == 1;

    fn splat(self, value: f32) -> Self::F;
    fn load(self, from: &Block) -> Self::F;
    fn store(self, value: Self::F, to: &mut Block);
    /// Sixteen bytes as floats 0 to 255.
    fn load_u8(self, from: &[u8; LANES]) -> Self::F;
    /// Which lanes are not zero, the first in the lowest bit; what is no number is not.
    fn not_zero(self, value: Self::F) -> u16;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// [`flush`] of every lane.
    fn flush(self, value: Self::F) -> Self::F;

    fn zero_part(self) -> Self::Part;
    /// Part `part` of a block.
    fn load_part(self, from: &Block, part: usize) -> Self::Part;
    /// Part `part` of sixteen bytes, as floats 0 to 255.
    fn load_u8_part(self, from: &[u8; LANES], part: usize) -> Self::Part;
    /// `a * b + c`, rounded once.
    fn fma_part(self, a: Self::Part, b: Self::Part, c: Self::Part) -> Self::Part;
    /// Replaces a part of sixteen lanes.
    fn put_part(self, value: Self::Part, part: usize, to: &mut Self::F);

    /// Runs a kernel as a function of its own, compiled for this instruction set: a hot loop that
    /// is inlined into many others gets its addresses computed anew in each round.
    fn call<K: Kernel>(self, kernel: K) -> K::Output;

    /// The first step of [`fold`] on two vectors whose sums will be wanted: what is left of `a` in the low half
    /// of a block, of `b` in the high half.
    fn halve(self, a: Self::F, b: Self::F, to: &mut Block);

    /// The sums of sixteen vectors that were halved, pair after pair.
    fn sum_halves(self, pairs: &[Block; PAIRS]) -> Block;

    /// Columns `4 four ..` of sixteen rows, each a vector.
    #[inline(always)]
    fn four_columns(self, rows: &[Block; LANES], four: usize) -> [Self::F; 4] {
        std::array::from_fn(|j| {
            let column = Block(std::array::from_fn(|i| rows[i].0[4 * four + j]));
            self.load(&column)
        })
    }

    /// Makes rows of columns.
    #[inline(always)]
    fn transpose(self, from: &[Block; LANES], to: &mut [Block; LANES]) {
        for (four, to) in to.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            for (column, to) in self.four_columns(from, four).into_iter().zip(to) {
                self.store(column, to);
            }
        }
    }
}

/// The sum of sixteen lanes: lane `i` takes lane `i + 8`, then `i + 4`, `i + 2`, `i + 1`.
#[inline(always)]
pub fn fold(v: [f32; LANES]) -> f32 {
    fold_half(std::array::from_fn(|i| v[i] + v[i + 8]))
}

/// The sum of eight lanes: what is left of sixteen after [`fold`]'s first step.
#[inline(always)]
fn fold_half(mut v: [f32; LANES / 2]) -> f32 {
    for half in [4, 2, 1] {
        for i in 0..half {
            v[i] += v[i + half];
        }
    }
    v[0]
}

/// Work that is compiled once for each instruction set.
///
/// `run` and all that it calls must be `#[inline(always)]`: what is not inlined is compiled without
/// the instruction set, which is as right and many times slower.
pub trait Kernel {
    type Output;
    fn run<L: Lanes>(self, lanes: L) -> Self::Output;
}

/// An instruction set that this machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Isa {
    /// The instruction sets of this machine, the fastest first. The last is plain Rust.
    pub fn available() -> Vec<Isa> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let fma = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("bmi1");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            if fma && avx512 {
                found.push(Isa(Kind::Avx512));
            }
            if fma {
                found.push(Isa(Kind::Avx2));
            }
        }
        found.push(Isa(Kind::Portable));
        found
    }

    /// The name that people know it by.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "AVX2",
            Kind::Portable if cfg!(target_arch = "aarch64") => "NEON",
            Kind::Portable => "portable",
        }
    }

    /// Runs a kernel as compiled for this instruction set.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            // SAFETY: an `Isa` is made by `available` alone, which saw that the machine has the
            // features that these functions enable.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => unsafe { x86::run_avx512(kernel) },
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { x86::run_avx2(kernel) },
            Kind::Portable => kernel.run(Portable),
        }
    }
}

/// Asks for the cache line of an item of a slice that is read soon, into the second-level cache, where it drives nothing
/// out of the first. The slice need not have the item.
#[inline(always)]
pub fn prefetch<T>(items: &[T], item: usize) {
    let place = items.as_ptr().wrapping_add(item);
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no effect that a program can observe, wherever it points, and SSE is part of x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// Plain Rust: NEON where the compiler targets it; correct and slow where there is no FMA.
#[derive(Clone, Copy)]
struct Portable;

impl Lanes for Portable {
    type F = [f32; LANES];
    type Part = [f32; 4];
    const PARTS: usize = 4;
    // Where there are 32 registers; elsewhere this is the last resort, and is compiled faster.
    const OUTER: (usize, usize) = if cfg!(target_arch = "aarch64") { (6, 1) } else { (2, 1) };
    const ROWS: (usize, usize) = Self::OUTER;
    const TURNED: usize = Self::OUTER.0;
    const SPARSE: usize = if cfg!(target_arch = "aarch64") { 3 } else { 1 };
    const DOT: (usize, usize) = if cfg!(target_arch = "aarch64") { (2, 8) } else { (2, 1) };

    #[inline(always)]
    fn splat(self, value: f32) -> Self::F {
        [value; LANES]
    }
    #[inline(always)]
    fn load(self, from: &Block) -> Self::F {
        from.0
    }
    #[inline(always)]
    fn store(self, value: Self::F, to: &mut Block) {
        to.0 = value;
    }
    #[inline(always)]
    fn load_u8(self, from: &[u8; LANES]) -> Self::F {
        from.map(f32::from)
    }
    #[inline(always)]
    fn not_zero(self, value: Self::F) -> u16 {
        (0..LANES).fold(0, |found, lane| found | u16::from(value[lane] != 0.0) << lane)
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        std::array::from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    fn flush(self, value: Self::F) -> Self::F {
        value.map(flush)
    }
    #[inline(always)]
    fn halve(self, a: Self::F, b: Self::F, to: &mut Block) {
        to.0 = std::array::from_fn(|i| if i < 8 { a[i] + a[i + 8] } else { b[i - 8] + b[i] });
    }
    #[inline(always)]
    fn sum_halves(self, pairs: &[Block; PAIRS]) -> Block {
        let mut sums = Block::ZERO;
        for (sums, pair) in sums.0.as_chunks_mut::<2>().0.iter_mut().zip(pairs) {
            let [a, b] = bytemuck::cast::<_, [[f32; 8]; 2]>(pair.0);
            *sums = [fold_half(a), fold_half(b)];
        }
        sums
    }
    #[inline(always)]
    fn zero_part(self) -> Self::Part {
        [0.0; 4]
    }
    #[inline(always)]
    fn load_part(self, from: &Block, part: usize) -> Self::Part {
        from.0.as_chunks::<4>().0[part]
    }
    #[inline(always)]
    fn load_u8_part(self, from: &[u8; LANES], part: usize) -> Self::Part {
        from.as_chunks::<4>().0[part].map(f32::from)
    }
    #[inline(always)]
    fn fma_part(self, a: Self::Part, b: Self::Part, c: Self::Part) -> Self::Part {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    fn put_part(self, value: Self::Part, part: usize, to: &mut Self::F) {
        to.as_chunks_mut::<4>().0[part] = value;
    }
    #[inline(never)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
}

mod walks;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use walks::{ByteRows, Picks, Runs, Walk};

#[cfg(test)]
mod tests;
