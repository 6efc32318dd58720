//! Arithmetic on 32 lanes at once.
//!
//! Every lane is computed and the active ones are kept: nothing here can fail, and loops without
//! branches become vector instructions.

use super::lanes::{Rows, Value};
use crate::decode::inst::{Binary, Comparison, Row, Ternary, Unary};
use crate::ptx::ast::Type;

/// A value for each lane. A plain loop: `array::from_fn` would be a function of its own, without the
/// vector instructions of its caller.
#[inline(always)]
fn each_lane<R: Value>(f: impl Fn(usize) -> R) -> [R; 32] {
    let mut values = [R::default(); 32];
    for (lane, value) in values.iter_mut().enumerate() {
        *value = f(lane);
    }
    values
}

#[inline(always)]
fn map1<A: Value, R: Value>(rows: &mut Rows, d: Row, a: Row, mask: u32, f: impl Fn(A) -> R) {
    let a = A::read(rows, a);
    R::write(rows, d, each_lane(|lane| f(a[lane])), mask);
}

#[inline(always)]
fn map2<A: Value, B: Value, R: Value>(
    rows: &mut Rows,
    [d, a, b]: [Row; 3],
    mask: u32,
    f: impl Fn(A, B) -> R,
) {
    let (a, b) = (A::read(rows, a), B::read(rows, b));
    R::write(rows, d, each_lane(|lane| f(a[lane], b[lane])), mask);
}

#[inline(always)]
fn map3<A: Value, B: Value, C: Value, R: Value>(
    rows: &mut Rows,
    [d, a, b, c]: [Row; 4],
    mask: u32,
    f: impl Fn(A, B, C) -> R,
) {
    let (a, b, c) = (A::read(rows, a), B::read(rows, b), C::read(rows, c));
    R::write(rows, d, each_lane(|lane| f(a[lane], b[lane], c[lane])), mask);
}

/// Subnormal numbers to zero, keeping the sign.
#[inline(always)]
fn flush(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { f32::from_bits(x.to_bits() & 0x8000_0000) } else { x }
}

/// The next number after `near` in the wanted direction, if the exact result lies there.
/// `error` has the sign of exact result less `near`.
fn directed(near: f32, error: f64, f: Direction) -> f32 {
    if !near.is_finite() || error == 0.0 {
        return near;
    }
    match f {
        Direction::Down if error < 0.0 => near.next_down(),
        Direction::Up if error > 0.0 => near.next_up(),
        Direction::Zero if near > 0.0 && error < 0.0 => near.next_down(),
        Direction::Zero if near < 0.0 && error > 0.0 => near.next_up(),
        _ => near,
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Down,
    Up,
    Zero,
}

/// `a * b + c` rounded in a direction: the product is exact in double precision, and two-sum gives
/// what the sum loses.
fn fma_directed(a: f32, b: f32, c: f32, f: Direction) -> f32 {
    let near = a.mul_add(b, c);
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + c;
    let part = sum - product;
    let lost = (product - (sum - part)) + (c - part);
    directed(near, (sum - f64::from(near)) + lost, f)
}

pub fn unary(rows: &mut Rows, f: Unary, d: Row, a: Row, mask: u32) {
    macro_rules! map {
        ($f:expr) => {
            map1(rows, d, a, mask, $f)
        };
    }
    match f {
        Unary::Not16 => map!(|a: u16| !a),
        Unary::Not32 => map!(|a: u32| !a),
        Unary::Not64 => map!(|a: u64| !a),
        Unary::Neg16 => map!(|a: i16| a.wrapping_neg()),
        Unary::Neg32 => map!(|a: i32| a.wrapping_neg()),
        Unary::Neg64 => map!(|a: i64| a.wrapping_neg()),
        Unary::Abs16 => map!(|a: i16| a.wrapping_abs()),
        Unary::Abs32 => map!(|a: i32| a.wrapping_abs()),
        Unary::Abs64 => map!(|a: i64| a.wrapping_abs()),
        Unary::NegF32 => map!(|a: f32| -a),
        Unary::NegF64 => map!(|a: f64| -a),
        Unary::AbsF32 => map!(|a: f32| a.abs()),
        Unary::AbsF64 => map!(|a: f64| a.abs()),
        Unary::FlushF32 => map!(flush),
        // NaN saturates to 0.
        Unary::SaturateF32 => map!(|a: f32| if a > 0.0 { a.min(1.0) } else { 0.0 }),
        Unary::SaturateF64 => map!(|a: f64| if a > 0.0 { a.min(1.0) } else { 0.0 }),
        Unary::Popc32 => map!(|a: u32| a.count_ones()),
        Unary::Popc64 => map!(|a: u64| a.count_ones()),
        Unary::Clz32 => map!(|a: u32| a.leading_zeros()),
        Unary::Clz64 => map!(|a: u64| a.leading_zeros()),
        Unary::Brev32 => map!(|a: u32| a.reverse_bits()),
        Unary::Brev64 => map!(|a: u64| a.reverse_bits()),
        // No bit found is all ones.
        Unary::BfindU32 => map!(|a: u32| 31u32.wrapping_sub(a.leading_zeros())),
        Unary::BfindShiftU32 => map!(|a: u32| if a == 0 { u32::MAX } else { a.leading_zeros() }),
        Unary::BfindS32 => map!(|a: i32| 31u32.wrapping_sub((a ^ (a >> 31)).leading_zeros())),
        Unary::BfindU64 => map!(|a: u64| 63u32.wrapping_sub(a.leading_zeros())),
        Unary::BfindS64 => map!(|a: i64| 63u32.wrapping_sub((a ^ (a >> 63)).leading_zeros())),
        Unary::SqrtF32 => map!(|a: f32| a.sqrt()),
        Unary::SqrtF64 => map!(|a: f64| a.sqrt()),
        Unary::RcpF32 => map!(|a: f32| 1.0 / a),
        Unary::RcpF64 => map!(|a: f64| 1.0 / a),
        Unary::RsqrtF32 => map!(|a: f32| (1.0 / f64::from(a).sqrt()) as f32),
        Unary::RsqrtF64 => map!(|a: f64| 1.0 / a.sqrt()),
        Unary::Ex2F32 => map!(|a: f32| libm::exp2f(a)),
        Unary::Lg2F32 => map!(|a: f32| libm::log2f(a)),
        Unary::SinF32 => map!(|a: f32| libm::sinf(a)),
        Unary::CosF32 => map!(|a: f32| libm::cosf(a)),
        Unary::TanhF32 => map!(|a: f32| libm::tanhf(a)),
        // To nearest, ties away from zero; `cvt.rna.tf32.f32`.
        Unary::RoundTf32 => map!(|a: f32| {
            let bits = a.to_bits();
            if a.is_finite() { (bits.wrapping_add(0x1000)) & !0x1fff } else { bits }
        }),
    }
}

pub fn binary(rows: &mut Rows, f: Binary, at: [Row; 3], mask: u32) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has the instructions.
        return unsafe { binary_avx2(rows, f, at, mask) };
    }
    binary_any(rows, f, at, mask);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn binary_avx2(rows: &mut Rows, f: Binary, at: [Row; 3], mask: u32) {
    binary_any(rows, f, at, mask);
}

#[inline(always)]
fn binary_any(rows: &mut Rows, f: Binary, at: [Row; 3], mask: u32) {
    macro_rules! map {
        ($f:expr) => {
            map2(rows, at, mask, $f)
        };
    }
    // Division by zero gives all ones, its remainder the dividend, as on the device.
    macro_rules! div {
        ($t:ty) => {
            map!(|a: $t, b: $t| if b == 0 { !0 } else { a.wrapping_div(b) })
        };
    }
    macro_rules! rem {
        ($t:ty) => {
            map!(|a: $t, b: $t| if b == 0 { a } else { a.wrapping_rem(b) })
        };
    }
    match f {
        Binary::Add16 => map!(|a: u16, b: u16| a.wrapping_add(b)),
        Binary::Add32 => map!(|a: u32, b: u32| a.wrapping_add(b)),
        Binary::Add64 => map!(|a: u64, b: u64| a.wrapping_add(b)),
        Binary::Sub16 => map!(|a: u16, b: u16| a.wrapping_sub(b)),
        Binary::Sub32 => map!(|a: u32, b: u32| a.wrapping_sub(b)),
        Binary::Sub64 => map!(|a: u64, b: u64| a.wrapping_sub(b)),
        Binary::Mul16 => map!(|a: u16, b: u16| a.wrapping_mul(b)),
        Binary::Mul32 => map!(|a: u32, b: u32| a.wrapping_mul(b)),
        Binary::Mul64 => map!(|a: u64, b: u64| a.wrapping_mul(b)),
        Binary::MulHiU16 => map!(|a: u16, b: u16| ((u32::from(a) * u32::from(b)) >> 16) as u16),
        Binary::MulHiS16 => map!(|a: i16, b: i16| ((i32::from(a) * i32::from(b)) >> 16) as i16),
        Binary::MulHiU32 => map!(|a: u32, b: u32| ((u64::from(a) * u64::from(b)) >> 32) as u32),
        Binary::MulHiS32 => map!(|a: i32, b: i32| ((i64::from(a) * i64::from(b)) >> 32) as i32),
        Binary::MulHiU64 => map!(|a: u64, b: u64| ((u128::from(a) * u128::from(b)) >> 64) as u64),
        Binary::MulHiS64 => map!(|a: i64, b: i64| ((i128::from(a) * i128::from(b)) >> 64) as i64),
        Binary::MulWideU16 => map!(|a: u16, b: u16| u32::from(a) * u32::from(b)),
        Binary::MulWideS16 => map!(|a: i16, b: i16| i32::from(a) * i32::from(b)),
        Binary::MulWideU32 => map!(|a: u32, b: u32| u64::from(a) * u64::from(b)),
        Binary::MulWideS32 => map!(|a: i32, b: i32| i64::from(a) * i64::from(b)),
        Binary::DivU16 => div!(u16),
        Binary::DivS16 => div!(i16),
        Binary::DivU32 => div!(u32),
        Binary::DivS32 => div!(i32),
        Binary::DivU64 => div!(u64),
        Binary::DivS64 => div!(i64),
        Binary::RemU16 => rem!(u16),
        Binary::RemS16 => rem!(i16),
        Binary::RemU32 => rem!(u32),
        Binary::RemS32 => rem!(i32),
        Binary::RemU64 => rem!(u64),
        Binary::RemS64 => rem!(i64),
        Binary::MinU16 => map!(|a: u16, b: u16| a.min(b)),
        Binary::MinS16 => map!(|a: i16, b: i16| a.min(b)),
        Binary::MinU32 => map!(|a: u32, b: u32| a.min(b)),
        Binary::MinS32 => map!(|a: i32, b: i32| a.min(b)),
        Binary::MinU64 => map!(|a: u64, b: u64| a.min(b)),
        Binary::MinS64 => map!(|a: i64, b: i64| a.min(b)),
        Binary::MaxU16 => map!(|a: u16, b: u16| a.max(b)),
        Binary::MaxS16 => map!(|a: i16, b: i16| a.max(b)),
        Binary::MaxU32 => map!(|a: u32, b: u32| a.max(b)),
        Binary::MaxS32 => map!(|a: i32, b: i32| a.max(b)),
        Binary::MaxU64 => map!(|a: u64, b: u64| a.max(b)),
        Binary::MaxS64 => map!(|a: i64, b: i64| a.max(b)),
        Binary::And32 => map!(|a: u32, b: u32| a & b),
        Binary::And64 => map!(|a: u64, b: u64| a & b),
        Binary::Or32 => map!(|a: u32, b: u32| a | b),
        Binary::Or64 => map!(|a: u64, b: u64| a | b),
        Binary::Xor32 => map!(|a: u32, b: u32| a ^ b),
        Binary::Xor64 => map!(|a: u64, b: u64| a ^ b),
        // Shifts by more than there are bits give zero, or the sign.
        Binary::Shl16 => map!(|a: u16, b: u32| a.checked_shl(b).unwrap_or(0)),
        Binary::Shl32 => map!(|a: u32, b: u32| a.checked_shl(b).unwrap_or(0)),
        Binary::Shl64 => map!(|a: u64, b: u32| a.checked_shl(b).unwrap_or(0)),
        Binary::ShrU16 => map!(|a: u16, b: u32| a.checked_shr(b).unwrap_or(0)),
        Binary::ShrS16 => map!(|a: i16, b: u32| a >> b.min(15)),
        Binary::ShrU32 => map!(|a: u32, b: u32| a.checked_shr(b).unwrap_or(0)),
        Binary::ShrS32 => map!(|a: i32, b: u32| a >> b.min(31)),
        Binary::ShrU64 => map!(|a: u64, b: u32| a.checked_shr(b).unwrap_or(0)),
        Binary::ShrS64 => map!(|a: i64, b: u32| a >> b.min(63)),
        Binary::AddF32 => map!(|a: f32, b: f32| a + b),
        Binary::SubF32 => map!(|a: f32, b: f32| a - b),
        Binary::MulF32 => map!(|a: f32, b: f32| a * b),
        Binary::DivF32 => map!(|a: f32, b: f32| a / b),
        Binary::MinF32 => map!(|a: f32, b: f32| a.min(b)),
        Binary::MaxF32 => map!(|a: f32, b: f32| a.max(b)),
        Binary::MinNanF32 => {
            map!(|a: f32, b: f32| if a.is_nan() || b.is_nan() { f32::NAN } else { a.min(b) });
        }
        Binary::MaxNanF32 => {
            map!(|a: f32, b: f32| if a.is_nan() || b.is_nan() { f32::NAN } else { a.max(b) });
        }
        // The sign is that of the first operand.
        Binary::CopysignF32 => map!(|a: f32, b: f32| b.copysign(a)),
        Binary::AddF64 => map!(|a: f64, b: f64| a + b),
        Binary::SubF64 => map!(|a: f64, b: f64| a - b),
        Binary::MulF64 => map!(|a: f64, b: f64| a * b),
        Binary::DivF64 => map!(|a: f64, b: f64| a / b),
        Binary::MinF64 => map!(|a: f64, b: f64| a.min(b)),
        Binary::MaxF64 => map!(|a: f64, b: f64| a.max(b)),
        Binary::CopysignF64 => map!(|a: f64, b: f64| b.copysign(a)),
        Binary::AddDownF32 => map!(|a, b| fma_directed(a, 1.0, b, Direction::Down)),
        Binary::AddUpF32 => map!(|a, b| fma_directed(a, 1.0, b, Direction::Up)),
        Binary::AddZeroF32 => map!(|a, b| fma_directed(a, 1.0, b, Direction::Zero)),
        Binary::MulDownF32 => map!(|a, b| fma_directed(a, b, 0.0, Direction::Down)),
        Binary::MulUpF32 => map!(|a, b| fma_directed(a, b, 0.0, Direction::Up)),
        Binary::MulZeroF32 => map!(|a, b| fma_directed(a, b, 0.0, Direction::Zero)),
    }
}

pub fn ternary(rows: &mut Rows, f: Ternary, at: [Row; 4], mask: u32) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("fma") && std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has the instructions.
        return unsafe { ternary_fma(rows, f, at, mask) };
    }
    ternary_any(rows, f, at, mask);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn ternary_fma(rows: &mut Rows, f: Ternary, at: [Row; 4], mask: u32) {
    ternary_any(rows, f, at, mask);
}

#[inline(always)]
fn ternary_any(rows: &mut Rows, f: Ternary, at: [Row; 4], mask: u32) {
    macro_rules! map {
        ($f:expr) => {
            map3(rows, at, mask, $f)
        };
    }
    match f {
        Ternary::FmaF32 => map!(|a: f32, b: f32, c: f32| a.mul_add(b, c)),
        Ternary::FmaF64 => map!(|a: f64, b: f64, c: f64| a.mul_add(b, c)),
        Ternary::FmaDownF32 => map!(|a, b, c| fma_directed(a, b, c, Direction::Down)),
        Ternary::FmaUpF32 => map!(|a, b, c| fma_directed(a, b, c, Direction::Up)),
        Ternary::FmaZeroF32 => map!(|a, b, c| fma_directed(a, b, c, Direction::Zero)),
        Ternary::Mad16 => map!(|a: u16, b: u16, c: u16| a.wrapping_mul(b).wrapping_add(c)),
        Ternary::Mad32 => map!(|a: u32, b: u32, c: u32| a.wrapping_mul(b).wrapping_add(c)),
        Ternary::Mad64 => map!(|a: u64, b: u64, c: u64| a.wrapping_mul(b).wrapping_add(c)),
        Ternary::MadHiU32 => map!(|a: u32, b: u32, c: u32| {
            (((u64::from(a) * u64::from(b)) >> 32) as u32).wrapping_add(c)
        }),
        Ternary::MadHiS32 => map!(|a: i32, b: i32, c: i32| {
            (((i64::from(a) * i64::from(b)) >> 32) as i32).wrapping_add(c)
        }),
        Ternary::MadHiU64 => map!(|a: u64, b: u64, c: u64| {
            (((u128::from(a) * u128::from(b)) >> 64) as u64).wrapping_add(c)
        }),
        Ternary::MadHiS64 => map!(|a: i64, b: i64, c: i64| {
            (((i128::from(a) * i128::from(b)) >> 64) as i64).wrapping_add(c)
        }),
        Ternary::MadWideU16 => {
            map!(|a: u16, b: u16, c: u32| (u32::from(a) * u32::from(b)).wrapping_add(c));
        }
        Ternary::MadWideS16 => {
            map!(|a: i16, b: i16, c: i32| (i32::from(a) * i32::from(b)).wrapping_add(c));
        }
        Ternary::MadWideU32 => {
            map!(|a: u32, b: u32, c: u64| (u64::from(a) * u64::from(b)).wrapping_add(c));
        }
        Ternary::MadWideS32 => {
            map!(|a: i32, b: i32, c: i64| (i64::from(a) * i64::from(b)).wrapping_add(c));
        }
        Ternary::SadU32 => map!(|a: u32, b: u32, c: u32| a.abs_diff(b).wrapping_add(c)),
        Ternary::SadS32 => map!(|a: i32, b: i32, c: u32| a.abs_diff(b).wrapping_add(c)),
        Ternary::BfeU32 => map!(|a: u32, b: u32, c: u32| {
            bit_field(u64::from(a), b & 255, c & 255, 32, false) as u32
        }),
        Ternary::BfeS32 => map!(|a: i32, b: u32, c: u32| {
            bit_field(a as i64 as u64, b & 255, c & 255, 32, true) as u32
        }),
        Ternary::BfeU64 => {
            map!(|a: u64, b: u32, c: u32| bit_field(a, b & 255, c & 255, 64, false));
        }
        Ternary::BfeS64 => {
            map!(|a: u64, b: u32, c: u32| bit_field(a, b & 255, c & 255, 64, true));
        }
        Ternary::ShfLeftWrap => map!(|a: u32, b: u32, c: u32| funnel_left(a, b, c & 31)),
        Ternary::ShfLeftClamp => map!(|a: u32, b: u32, c: u32| funnel_left(a, b, c.min(32))),
        Ternary::ShfRightWrap => map!(|a: u32, b: u32, c: u32| funnel_right(a, b, c & 31)),
        Ternary::ShfRightClamp => map!(|a: u32, b: u32, c: u32| funnel_right(a, b, c.min(32))),
        Ternary::Prmt => map!(permute),
        Ternary::Lop3(table) => map!(|a: u32, b: u32, c: u32| lop3(table, a, b, c)),
        Ternary::SlctS32B32 => map!(|a: u32, b: u32, c: i32| if c >= 0 { a } else { b }),
        Ternary::SlctF32B32 => map!(|a: u32, b: u32, c: f32| if c >= 0.0 { a } else { b }),
        Ternary::Dp2a { high, signed_a, signed_b } => map!(|a: u32, b: u32, c: u32| {
            dp2a(a, if high { b >> 16 } else { b }, c, signed_a, signed_b)
        }),
        Ternary::Dp4aUU => map!(|a, b, c| dp4a(a, b, c, i32::from, i32::from)),
        Ternary::Dp4aUS => map!(|a, b, c| dp4a(a, b, c, i32::from, i32_of_s8)),
        Ternary::Dp4aSU => map!(|a, b, c| dp4a(a, b, c, i32_of_s8, i32::from)),
        Ternary::Dp4aSS => {
            map!(|a, b, c| dp4a(a, b, c, i32_of_s8, i32_of_s8));
        }
    }
}

/// `length` bits of `a` from bit `from`; signed ones are extended by the highest of them (or, past
/// the end, by the sign of `a`).
fn bit_field(a: u64, from: u32, length: u32, bits: u32, signed: bool) -> u64 {
    if length == 0 {
        return 0;
    }
    let top = (from + length - 1).min(bits - 1);
    let sign = signed && a >> top & 1 != 0;
    let width = if from < bits { (bits - from).min(length) } else { 0 };
    let keep = if width == 64 { u64::MAX } else { (1 << width) - 1 };
    let field = a.checked_shr(from).unwrap_or(0) & keep;
    if sign { field | !keep } else { field }
}

/// The high word of `b:a` shifted left.
fn funnel_left(a: u32, b: u32, by: u32) -> u32 {
    (((u64::from(b) << 32 | u64::from(a)) << by) >> 32) as u32
}

/// The low word of `b:a` shifted right.
fn funnel_right(a: u32, b: u32, by: u32) -> u32 {
    ((u64::from(b) << 32 | u64::from(a)) >> by) as u32
}

/// `prmt.b32`: each nibble of `choice` picks a byte of `b:a`, or (bit 3) its sign over all bits.
fn permute(a: u32, b: u32, choice: u32) -> u32 {
    let bytes = (u64::from(b) << 32 | u64::from(a)).to_le_bytes();
    u32::from_le_bytes(std::array::from_fn(|i| {
        let nibble = choice >> (4 * i);
        let byte = bytes[nibble as usize & 7];
        if nibble & 8 != 0 { ((byte as i8) >> 7) as u8 } else { byte }
    }))
}

#[inline(always)]
fn lop3(table: u8, a: u32, b: u32, c: u32) -> u32 {
    let mut result = 0;
    for row in 0..8 {
        if table >> row & 1 != 0 {
            let a = if row & 4 != 0 { a } else { !a };
            let b = if row & 2 != 0 { b } else { !b };
            let c = if row & 1 != 0 { c } else { !c };
            result |= a & b & c;
        }
    }
    result
}

/// `c` plus the two 16-bit halves of `a` times the two lower bytes of `b`.
fn dp2a(a: u32, b: u32, c: u32, signed_a: bool, signed_b: bool) -> u32 {
    (0..2).fold(c, |sum, i| {
        let (a, b) = ((a >> (16 * i)) as u16, (b >> (8 * i)) as u8);
        let a = if signed_a { i32::from(a as i16) } else { i32::from(a) };
        let b = if signed_b { i32::from(b as i8) } else { i32::from(b) };
        sum.wrapping_add((a * b) as u32)
    })
}

fn i32_of_s8(x: u8) -> i32 {
    i32::from(x as i8)
}

fn dp4a(a: u32, b: u32, c: u32, left: impl Fn(u8) -> i32, right: impl Fn(u8) -> i32) -> u32 {
    let products =
        a.to_le_bytes().into_iter().zip(b.to_le_bytes()).map(|(a, b)| left(a) * right(b));
    products.fold(c, |sum, product| sum.wrapping_add(product as u32))
}

/// The lanes for which `a f b` holds.
pub fn compare(rows: &Rows, f: Comparison, kind: Type, a: Row, b: Row) -> u32 {
    match kind {
        Type::B16 | Type::U16 | Type::U8 | Type::B8 => ordered::<u16>(rows, f, a, b),
        Type::S16 | Type::S8 => ordered::<i16>(rows, f, a, b),
        Type::B32 | Type::U32 | Type::Pred => ordered::<u32>(rows, f, a, b),
        Type::S32 => ordered::<i32>(rows, f, a, b),
        Type::B64 | Type::U64 => ordered::<u64>(rows, f, a, b),
        Type::S64 => ordered::<i64>(rows, f, a, b),
        Type::F32 | Type::F16 => ordered::<f32>(rows, f, a, b),
        Type::F64 => ordered::<f64>(rows, f, a, b),
    }
}

#[inline(always)]
fn ordered<T: Value + PartialOrd>(rows: &Rows, f: Comparison, a: Row, b: Row) -> u32 {
    let (a, b) = (T::read(rows, a), T::read(rows, b));
    let gather = |holds: fn(&T, &T) -> bool| {
        (0..32).fold(0, |mask, lane| mask | u32::from(holds(&a[lane], &b[lane])) << lane)
    };
    match f {
        Comparison::Eq => gather(|a, b| a == b),
        Comparison::Ne => gather(|a, b| (a < b) | (a > b)),
        Comparison::Lt => gather(|a, b| a < b),
        Comparison::Le => gather(|a, b| a <= b),
        Comparison::Gt => gather(|a, b| a > b),
        Comparison::Ge => gather(|a, b| a >= b),
        Comparison::EqU => !gather(|a, b| (a < b) | (a > b)),
        Comparison::NeU => !gather(|a, b| a == b),
        Comparison::LtU => !gather(|a, b| a >= b),
        Comparison::LeU => !gather(|a, b| a > b),
        Comparison::GtU => !gather(|a, b| a <= b),
        Comparison::GeU => !gather(|a, b| a < b),
        Comparison::Num => gather(|a, b| a.partial_cmp(b).is_some()),
        Comparison::Nan => gather(|a, b| a.partial_cmp(b).is_none()),
    }
}
