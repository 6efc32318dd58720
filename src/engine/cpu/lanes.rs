//! Sixteen `f32` lanes, whatever the machine has: the only file of the CPU engine with `unsafe`.
//!
//! A kernel is written once against [`Lanes`] and compiled for each instruction set. Sixteen lanes
//! are one register of AVX-512, two of AVX2, four of NEON; the order of every addition is fixed by
//! the sixteen lanes and never by the register, so all of them give the same bits. Three rules keep
//! that true: products are summed by fused multiply-add everywhere ([`f32::mul_add`] where there is
//! no intrinsic), a vector is summed by [`fold`]'s tree, and nothing else crosses lanes.

#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use super::elementwise::flush;

/// Sixteen floats, aligned so that a vector load never splits a cache line.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Block(pub [f32; LANES]);

/// Floats in a block.
pub const LANES: usize = 16;

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
    /// Rows and blocks of the tile that an outer product holds in registers; the rows divide 16.
    const OUTER: (usize, usize);
    /// Samples and outputs of the tile of a dot product; the outputs divide 16.
    const DOT: (usize, usize);

    fn splat(self, value: f32) -> Self::F;
    fn load(self, from: &Block) -> Self::F;
    fn store(self, value: Self::F, to: &mut Block);
    /// Sixteen bytes as floats 0 to 255.
    fn load_u8(self, from: &[u8; LANES]) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// [`flush`] of every lane.
    fn flush(self, value: Self::F) -> Self::F;

    /// Runs a kernel as a function of its own, compiled for this instruction set: a hot loop that
    /// is inlined into many others gets its addresses computed anew in each round.
    fn call<K: Kernel>(self, kernel: K) -> K::Output;

    /// The sums of four vectors, each added up as [`fold`] does.
    #[inline(always)]
    fn sum4(self, vectors: [Self::F; 4]) -> [f32; 4] {
        let mut sums = [0.0; 4];
        for i in 0..4 {
            let mut block = Block::ZERO;
            self.store(vectors[i], &mut block);
            sums[i] = fold(block.0);
        }
        sums
    }

    /// The sums of sixteen vectors, each added up as [`fold`] does.
    #[inline(always)]
    fn sum16(self, vectors: [Self::F; 16]) -> Block {
        let mut sums = [0.0; 16];
        for i in 0..4 {
            let four = [vectors[4 * i], vectors[4 * i + 1], vectors[4 * i + 2], vectors[4 * i + 3]];
            sums[4 * i..][..4].copy_from_slice(&self.sum4(four));
        }
        Block(sums)
    }

    /// The sums of sixteen vectors in memory, each added up as [`fold`] does.
    #[inline(always)]
    fn sum_rows(self, rows: &[Block; LANES]) -> Block {
        let mut vectors = [self.splat(0.0); LANES];
        for i in 0..LANES {
            vectors[i] = self.load(&rows[i]);
        }
        self.sum16(vectors)
    }

    /// Makes rows of columns.
    #[inline(always)]
    fn transpose(self, rows: &mut [Block; LANES]) {
        for i in 0..LANES {
            for j in 0..i {
                (rows[i].0[j], rows[j].0[i]) = (rows[j].0[i], rows[i].0[j]);
            }
        }
    }
}

/// The sum of sixteen lanes: lane `i` takes lane `i + 8`, then `i + 4`, `i + 2`, `i + 1`.
#[inline(always)]
pub fn fold(mut v: [f32; LANES]) -> f32 {
    for half in [8, 4, 2, 1] {
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
            let fma = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
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

/// Runs of `N` items in a slice, `stride` items from the start of one to the start of the next.
///
/// The bounds are checked once, when the walk is made: in a tile's loop the comparisons would take
/// the ports of a fifth of its multiply-adds.
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
    pub fn new(items: &'a [T], stride: usize, count: usize) -> Self {
        let last = count.saturating_sub(1).checked_mul(stride);
        let end = last.and_then(|last| last.checked_add(N));
        assert!(count == 0 || end.is_some_and(|end| end <= items.len()), "a walk leaves its slice");
        Walk { next: items.as_ptr(), stride, left: count, items: PhantomData }
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

/// Rows of sixteen bytes a block, each anywhere in memory, of at least `width` blocks.
#[derive(Clone, Copy)]
pub struct ByteRows<'a> {
    rows: &'a [&'a [[u8; LANES]]],
    width: usize,
}

impl<'a> ByteRows<'a> {
    pub fn new(rows: &'a [&'a [[u8; LANES]]]) -> Self {
        let width = rows.iter().map(|row| row.len()).min().unwrap_or(0);
        ByteRows { rows, width }
    }

    /// One row.
    #[inline(always)]
    pub fn row(self, row: usize) -> &'a [[u8; LANES]] {
        self.rows[row]
    }

    /// Blocks `column .. column + N` of some rows.
    ///
    /// # Panics
    /// If a row is shorter. Checked once, as for [`Walk`].
    #[inline(always)]
    pub fn columns<const N: usize>(
        self,
        column: usize,
        rows: Range<usize>,
    ) -> impl Iterator<Item = &'a [[u8; LANES]; N]> {
        // Checked, for a sum that wraps around would let a column far outside through.
        let end = column.checked_add(N);
        assert!(
            end.is_some_and(|end| end <= self.width),
            "a row of pixels ends before its columns"
        );
        self.rows[rows].iter().map(move |row| {
            // SAFETY: `new` took the width of the shortest row, and the columns lie within it.
            unsafe { &*row.as_ptr().add(column).cast() }
        })
    }
}

/// Asks for the cache line at a place of memory that is read soon: into the second-level cache,
/// where it drives nothing out of the first.
#[inline(always)]
pub fn prefetch_far<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no effect that a program can observe, and SSE is part of x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(std::ptr::from_ref(place).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// Plain Rust: NEON where the compiler targets it; correct and slow where there is no FMA.
#[derive(Clone, Copy)]
struct Portable;

impl Lanes for Portable {
    type F = [f32; LANES];
    const OUTER: (usize, usize) = (4, 1);
    const DOT: (usize, usize) = (2, 2);

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
    #[inline(never)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Block, Kernel, LANES, Lanes};
    use crate::engine::cpu::elementwise::TINY;
    use std::arch::x86_64::*;

    /// Compiles a kernel with AVX-512. The machine must have these features.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    #[inline(never)]
    pub(super) fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
        kernel.run(Avx512(()))
    }

    /// Compiles a kernel with AVX2 and FMA. The machine must have these features.
    #[target_feature(enable = "avx2,fma")]
    #[inline(never)]
    pub(super) fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
        kernel.run(Avx2(()))
    }

    /// Proof that the machine has AVX-512: made by `run_avx512` alone.
    #[derive(Clone, Copy)]
    struct Avx512(());

    // SAFETY, of every `unsafe` below: the value `Avx512` or `Avx2` exists only inside `run_avx512`
    // or `run_avx2`, so the instructions exist; loads and stores go through references to as many
    // bytes as they touch, and need no alignment.
    impl Lanes for Avx512 {
        type F = __m512;
        const OUTER: (usize, usize) = (8, 3);
        const DOT: (usize, usize) = (2, 8);

        #[inline(always)]
        fn splat(self, value: f32) -> __m512 {
            unsafe { _mm512_set1_ps(value) }
        }
        #[inline(always)]
        fn load(self, from: &Block) -> __m512 {
            unsafe { _mm512_loadu_ps(from.0.as_ptr()) }
        }
        #[inline(always)]
        fn store(self, value: __m512, to: &mut Block) {
            unsafe { _mm512_storeu_ps(to.0.as_mut_ptr(), value) }
        }
        #[inline(always)]
        fn load_u8(self, from: &[u8; LANES]) -> __m512 {
            unsafe {
                let bytes = _mm_loadu_si128(from.as_ptr().cast());
                _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))
            }
        }
        #[inline(always)]
        fn mul(self, a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_mul_ps(a, b) }
        }
        #[inline(always)]
        fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        fn flush(self, value: __m512) -> __m512 {
            unsafe {
                let (size, tiny) = (_mm512_abs_ps(value), _mm512_set1_ps(TINY));
                _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_NLT_UQ>(size, tiny), value)
            }
        }

        #[inline(always)]
        fn call<K: Kernel>(self, kernel: K) -> K::Output {
            unsafe { run_avx512(kernel) }
        }

        /// The tree of `fold`, on four vectors at a time: each step halves the lanes of a sum and
        /// packs two vectors into one.
        #[inline(always)]
        fn sum4(self, v: [__m512; 4]) -> [f32; 4] {
            unsafe {
                let (a, b) = (fold8(v[0], v[1]), fold8(v[2], v[3]));
                // Now 128-bit parts hold vector 0, 1, 2, 3; all four fold inside their part.
                let c = fold4(a, b);
                let c = _mm512_add_ps(c, _mm512_permute_ps::<0b01_00_11_10>(c));
                let c = _mm512_add_ps(c, _mm512_permute_ps::<0b10_11_00_01>(c));
                let mut out = Block::ZERO;
                _mm512_storeu_ps(out.0.as_mut_ptr(), c);
                [out.0[0], out.0[4], out.0[8], out.0[12]]
            }
        }

        #[inline(always)]
        fn sum16(self, v: [__m512; 16]) -> Block {
            unsafe {
                let halves = [
                    [fold8(v[0], v[4]), fold8(v[8], v[12])],
                    [fold8(v[1], v[5]), fold8(v[9], v[13])],
                    [fold8(v[2], v[6]), fold8(v[10], v[14])],
                    [fold8(v[3], v[7]), fold8(v[11], v[15])],
                ];
                fold16(halves)
            }
        }

        /// Halves are paired on their way from memory, which takes no shuffles.
        #[inline(always)]
        fn sum_rows(self, rows: &[Block; LANES]) -> Block {
            let half = |row: usize, half: usize| unsafe {
                _mm256_loadu_ps(rows[row].0.as_ptr().add(8 * half))
            };
            unsafe {
                let mut halves = [[_mm512_setzero_ps(); 2]; 4];
                for i in 0..4 {
                    for j in 0..2 {
                        let (a, b) = (8 * j + i, 8 * j + i + 4);
                        let low = _mm512_castps256_ps512(half(a, 0));
                        let high = _mm512_castps256_ps512(half(a, 1));
                        halves[i][j] = _mm512_add_ps(
                            _mm512_insertf32x8::<1>(low, half(b, 0)),
                            _mm512_insertf32x8::<1>(high, half(b, 1)),
                        );
                    }
                }
                fold16(halves)
            }
        }

        /// In four rounds of sixteen shuffles, each of which brings two rows together.
        #[inline(always)]
        fn transpose(self, rows: &mut [Block; LANES]) {
            unsafe {
                let zero = _mm512_setzero_ps();
                let (mut a, mut b) = ([zero; LANES], [zero; LANES]);
                for i in 0..LANES {
                    a[i] = _mm512_loadu_ps(rows[i].0.as_ptr());
                }
                for i in 0..8 {
                    b[2 * i] = _mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]);
                    b[2 * i + 1] = _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]);
                }
                for i in 0..4 {
                    let [p, q, r, s] = [b[4 * i], b[4 * i + 1], b[4 * i + 2], b[4 * i + 3]];
                    a[4 * i] = _mm512_shuffle_ps::<0b01_00_01_00>(p, r);
                    a[4 * i + 1] = _mm512_shuffle_ps::<0b11_10_11_10>(p, r);
                    a[4 * i + 2] = _mm512_shuffle_ps::<0b01_00_01_00>(q, s);
                    a[4 * i + 3] = _mm512_shuffle_ps::<0b11_10_11_10>(q, s);
                }
                // Part `p` of a[4 i + j] is now column `4 p + j` of rows 4 i .. 4 i + 4.
                for j in 0..4 {
                    b[j] = _mm512_shuffle_f32x4::<0b10_00_10_00>(a[j], a[4 + j]);
                    b[4 + j] = _mm512_shuffle_f32x4::<0b11_01_11_01>(a[j], a[4 + j]);
                    b[8 + j] = _mm512_shuffle_f32x4::<0b10_00_10_00>(a[8 + j], a[12 + j]);
                    b[12 + j] = _mm512_shuffle_f32x4::<0b11_01_11_01>(a[8 + j], a[12 + j]);
                }
                for j in 0..4 {
                    a[j] = _mm512_shuffle_f32x4::<0b10_00_10_00>(b[j], b[8 + j]);
                    a[8 + j] = _mm512_shuffle_f32x4::<0b11_01_11_01>(b[j], b[8 + j]);
                    a[4 + j] = _mm512_shuffle_f32x4::<0b10_00_10_00>(b[4 + j], b[12 + j]);
                    a[12 + j] = _mm512_shuffle_f32x4::<0b11_01_11_01>(b[4 + j], b[12 + j]);
                }
                for i in 0..LANES {
                    _mm512_storeu_ps(rows[i].0.as_mut_ptr(), a[i]);
                }
            }
        }
    }

    /// The sums of sixteen vectors, of which `halves[i][j]` holds `8 j + i` and `8 j + i + 4`, folded to
    /// eight lanes each: the order that leaves the sums in theirs.
    #[inline(always)]
    unsafe fn fold16(halves: [[__m512; 2]; 4]) -> Block {
        unsafe {
            // Four vectors of four sums, each spread over the four lanes of a part.
            let [a, b, c, d] = [
                fold4(halves[0][0], halves[0][1]),
                fold4(halves[1][0], halves[1][1]),
                fold4(halves[2][0], halves[2][1]),
                fold4(halves[3][0], halves[3][1]),
            ];
            let (d, e) = (fold2(a, b), fold2(c, d));
            let sums = _mm512_add_ps(
                _mm512_shuffle_ps::<0b10_00_10_00>(d, e),
                _mm512_shuffle_ps::<0b11_01_11_01>(d, e),
            );
            let mut out = Block::ZERO;
            _mm512_storeu_ps(out.0.as_mut_ptr(), sums);
            out
        }
    }

    /// Upper half + lower half of two vectors: `a` in the low half, `b` in the high half.
    #[inline(always)]
    unsafe fn fold8(a: __m512, b: __m512) -> __m512 {
        unsafe {
            let kept = _mm512_mask_blend_ps(0xFF00, a, b);
            let crossed = _mm512_shuffle_f32x4::<0b01_00_11_10>(a, b);
            _mm512_add_ps(kept, crossed)
        }
    }

    /// Neighbouring 128-bit parts added: two sums of `a`, then two of `b`, a part each.
    #[inline(always)]
    unsafe fn fold4(a: __m512, b: __m512) -> __m512 {
        unsafe {
            _mm512_add_ps(
                _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b),
                _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b),
            )
        }
    }

    /// Within each part: lanes 0, 1 take `a`'s two sums, lanes 2, 3 `b`'s.
    #[inline(always)]
    unsafe fn fold2(a: __m512, b: __m512) -> __m512 {
        unsafe {
            let kept = _mm512_mask_blend_ps(0xCCCC, a, b);
            let crossed = _mm512_shuffle_ps::<0b01_00_11_10>(a, b);
            _mm512_add_ps(kept, crossed)
        }
    }

    /// Proof that the machine has AVX2 and FMA: made by `run_avx2` alone.
    #[derive(Clone, Copy)]
    struct Avx2(());

    impl Lanes for Avx2 {
        type F = [__m256; 2];
        const OUTER: (usize, usize) = (4, 1);
        const DOT: (usize, usize) = (2, 2);

        #[inline(always)]
        fn splat(self, value: f32) -> Self::F {
            unsafe { [_mm256_set1_ps(value); 2] }
        }
        #[inline(always)]
        fn load(self, from: &Block) -> Self::F {
            let (low, high) = from.0.split_at(LANES / 2);
            unsafe { [_mm256_loadu_ps(low.as_ptr()), _mm256_loadu_ps(high.as_ptr())] }
        }
        #[inline(always)]
        fn store(self, value: Self::F, to: &mut Block) {
            let (low, high) = to.0.split_at_mut(LANES / 2);
            unsafe {
                _mm256_storeu_ps(low.as_mut_ptr(), value[0]);
                _mm256_storeu_ps(high.as_mut_ptr(), value[1]);
            }
        }
        #[inline(always)]
        fn load_u8(self, from: &[u8; LANES]) -> Self::F {
            unsafe {
                let low = _mm_loadu_si128(from.as_ptr().cast());
                let high = _mm_srli_si128::<8>(low);
                let (low, high) = (_mm256_cvtepu8_epi32(low), _mm256_cvtepu8_epi32(high));
                [_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high)]
            }
        }
        #[inline(always)]
        fn mul(self, a: Self::F, b: Self::F) -> Self::F {
            unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
        }
        #[inline(always)]
        fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
            unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
        }
        #[inline(always)]
        fn flush(self, value: Self::F) -> Self::F {
            unsafe {
                let (sign, tiny) = (_mm256_set1_ps(-0.0), _mm256_set1_ps(TINY));
                let [a, b] = value;
                let (size_a, size_b) = (_mm256_andnot_ps(sign, a), _mm256_andnot_ps(sign, b));
                let keep_a = _mm256_cmp_ps::<_CMP_NLT_UQ>(size_a, tiny);
                let keep_b = _mm256_cmp_ps::<_CMP_NLT_UQ>(size_b, tiny);
                [_mm256_and_ps(a, keep_a), _mm256_and_ps(b, keep_b)]
            }
        }
        #[inline(always)]
        fn call<K: Kernel>(self, kernel: K) -> K::Output {
            unsafe { run_avx2(kernel) }
        }
    }
}

#[cfg(test)]
mod tests;
