//! Sixteen lanes on x86-64: one register of AVX-512, two of AVX2.

use super::{Block, Kernel, LANES, Lanes, PAIRS};
use crate::engine::cpu::elementwise::TINY;
use std::arch::x86_64::*;

/// Compiles a kernel with AVX-512. The machine must have these features.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1")]
#[inline(never)]
pub(super) fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512(()))
}

/// Compiles a kernel with AVX2 and FMA. The machine must have these features.
#[target_feature(enable = "avx2,fma,bmi1")]
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
    type Part = __m512;
    const PARTS: usize = 1;
    const OUTER: (usize, usize) = (8, 3);
    const DOT: (usize, usize) = (2, 8);
    const ROWS: (usize, usize) = (13, 2);
    const TURNED: usize = 20;
    const SPARSE: usize = 5;

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
    fn not_zero(self, value: __m512) -> u16 {
        unsafe { _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(value, _mm512_setzero_ps()) }
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
    fn zero_part(self) -> __m512 {
        self.splat(0.0)
    }
    #[inline(always)]
    fn load_part(self, from: &Block, _part: usize) -> __m512 {
        self.load(from)
    }
    #[inline(always)]
    fn load_u8_part(self, from: &[u8; LANES], _part: usize) -> __m512 {
        self.load_u8(from)
    }
    #[inline(always)]
    fn fma_part(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        self.fma(a, b, c)
    }
    #[inline(always)]
    fn put_part(self, value: __m512, _part: usize, to: &mut __m512) {
        *to = value;
    }

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        unsafe { run_avx512(kernel) }
    }

    #[inline(always)]
    fn halve(self, a: __m512, b: __m512, to: &mut Block) {
        unsafe { self.store(fold8(a, b), to) }
    }

    #[inline(always)]
    fn sum_halves(self, pairs: &[Block; PAIRS]) -> Block {
        unsafe {
            let halves = std::array::from_fn(|i| [self.load(&pairs[i]), self.load(&pairs[4 + i])]);
            // `fold16` takes its vectors in fours that lie four apart; these are neighbours.
            let order = _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
            let mut out = Block::ZERO;
            self.store(_mm512_permutexvar_ps(order, fold16(halves)), &mut out);
            out
        }
    }

    /// Rows are put together in fours as they are loaded, which takes no shuffle; eight of those are left, none of which
    /// crosses a 128-bit part.
    #[inline(always)]
    fn four_columns(self, rows: &[Block; LANES], four: usize) -> [__m512; 4] {
        unsafe {
            let part = |row: usize| _mm_loadu_ps(rows[row].0.as_chunks::<4>().0[four].as_ptr());
            let gathered = |i: usize| {
                let a = _mm512_castps128_ps512(part(i));
                let a = _mm512_insertf32x4::<1>(a, part(4 + i));
                let a = _mm512_insertf32x4::<2>(a, part(8 + i));
                _mm512_insertf32x4::<3>(a, part(12 + i))
            };
            let [a, b, c, d] = [gathered(0), gathered(1), gathered(2), gathered(3)];
            let (p, q) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            let (r, s) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            [
                _mm512_shuffle_ps::<0b01_00_01_00>(p, r),
                _mm512_shuffle_ps::<0b11_10_11_10>(p, r),
                _mm512_shuffle_ps::<0b01_00_01_00>(q, s),
                _mm512_shuffle_ps::<0b11_10_11_10>(q, s),
            ]
        }
    }
}

/// The sums of sixteen vectors, of which `halves[i][j]` holds `8 j + i` and `8 j + i + 4`, folded to
/// eight lanes each: the order that leaves the sums in theirs.
#[inline(always)]
unsafe fn fold16(halves: [[__m512; 2]; 4]) -> __m512 {
    unsafe {
        // Four vectors of four sums, each spread over the four lanes of a part.
        let [a, b, c, d] = [
            fold4(halves[0][0], halves[0][1]),
            fold4(halves[1][0], halves[1][1]),
            fold4(halves[2][0], halves[2][1]),
            fold4(halves[3][0], halves[3][1]),
        ];
        let (d, e) = (fold2(a, b), fold2(c, d));
        _mm512_add_ps(
            _mm512_shuffle_ps::<0b10_00_10_00>(d, e),
            _mm512_shuffle_ps::<0b11_01_11_01>(d, e),
        )
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
    type Part = __m256;
    const PARTS: usize = 2;
    const OUTER: (usize, usize) = (6, 1);
    const DOT: (usize, usize) = (2, 6);
    const ROWS: (usize, usize) = (6, 1);
    const TURNED: usize = 6;
    const SPARSE: usize = 3;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::F {
        unsafe { [_mm256_set1_ps(value); 2] }
    }
    #[inline(always)]
    fn load(self, from: &Block) -> Self::F {
        [self.load_part(from, 0), self.load_part(from, 1)]
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
        [self.load_u8_part(from, 0), self.load_u8_part(from, 1)]
    }
    #[inline(always)]
    fn not_zero(self, value: Self::F) -> u16 {
        let found = value.map(|part| unsafe {
            let found = _mm256_cmp_ps::<_CMP_NEQ_UQ>(part, _mm256_setzero_ps());
            _mm256_movemask_ps(found) as u16
        });
        found[0] | found[1] << 8
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        [self.fma_part(a[0], b[0], c[0]), self.fma_part(a[1], b[1], c[1])]
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
    fn zero_part(self) -> __m256 {
        unsafe { _mm256_setzero_ps() }
    }
    #[inline(always)]
    fn load_part(self, from: &Block, part: usize) -> __m256 {
        let eight = &from.0.as_chunks::<8>().0[part];
        unsafe { _mm256_loadu_ps(eight.as_ptr()) }
    }
    #[inline(always)]
    fn load_u8_part(self, from: &[u8; LANES], part: usize) -> __m256 {
        let eight = &from.as_chunks::<8>().0[part];
        unsafe {
            let bytes = _mm_loadl_epi64(eight.as_ptr().cast());
            _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes))
        }
    }
    #[inline(always)]
    fn fma_part(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn put_part(self, value: __m256, part: usize, to: &mut Self::F) {
        to[part] = value;
    }

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        unsafe { run_avx2(kernel) }
    }

    #[inline(always)]
    fn halve(self, a: Self::F, b: Self::F, to: &mut Block) {
        unsafe { self.store([_mm256_add_ps(a[0], a[1]), _mm256_add_ps(b[0], b[1])], to) }
    }

    #[inline(always)]
    fn sum_halves(self, pairs: &[Block; PAIRS]) -> Block {
        let mut out = Block::ZERO;
        for (sums, four) in out.0.as_chunks_mut::<8>().0.iter_mut().zip(pairs.as_chunks::<4>().0) {
            let halves = std::array::from_fn(|i| self.load_part(&four[i / 2], i % 2));
            unsafe { _mm256_storeu_ps(sums.as_mut_ptr(), fold_eight(halves)) }
        }
        out
    }

    /// As with AVX-512.
    #[inline(always)]
    fn four_columns(self, rows: &[Block; LANES], four: usize) -> [Self::F; 4] {
        unsafe {
            let part = |row: usize| _mm_loadu_ps(rows[row].0.as_chunks::<4>().0[four].as_ptr());
            let mut columns = [[_mm256_setzero_ps(); 2]; 4];
            for half in 0..2 {
                let gathered = |i: usize| {
                    let a = _mm256_castps128_ps256(part(8 * half + i));
                    _mm256_insertf128_ps::<1>(a, part(8 * half + 4 + i))
                };
                let [a, b, c, d] = [gathered(0), gathered(1), gathered(2), gathered(3)];
                let (p, q) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
                let (r, s) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
                columns[0][half] = _mm256_shuffle_ps::<0b01_00_01_00>(p, r);
                columns[1][half] = _mm256_shuffle_ps::<0b11_10_11_10>(p, r);
                columns[2][half] = _mm256_shuffle_ps::<0b01_00_01_00>(q, s);
                columns[3][half] = _mm256_shuffle_ps::<0b11_10_11_10>(q, s);
            }
            columns
        }
    }
}

/// The sums of eight vectors, in their order.
#[inline(always)]
unsafe fn fold_eight(v: [__m256; 8]) -> __m256 {
    unsafe {
        // The order that leaves the sums in theirs.
        let a = fold4_halves(fold8_halves(v[0], v[4]), fold8_halves(v[1], v[5]));
        let b = fold4_halves(fold8_halves(v[2], v[6]), fold8_halves(v[3], v[7]));
        _mm256_add_ps(
            _mm256_shuffle_ps::<0b10_00_10_00>(a, b),
            _mm256_shuffle_ps::<0b11_01_11_01>(a, b),
        )
    }
}

/// Lower half + upper half of two vectors: `a` in the low half, `b` in the high half.
#[inline(always)]
unsafe fn fold8_halves(a: __m256, b: __m256) -> __m256 {
    unsafe {
        _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b))
    }
}

/// Within each half: lanes 0, 1 take `a`'s two sums, lanes 2, 3 `b`'s.
#[inline(always)]
unsafe fn fold4_halves(a: __m256, b: __m256) -> __m256 {
    unsafe {
        _mm256_add_ps(
            _mm256_shuffle_ps::<0b01_00_01_00>(a, b),
            _mm256_shuffle_ps::<0b11_10_11_10>(a, b),
        )
    }
}
