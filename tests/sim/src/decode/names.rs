//! The operations that opcodes of arithmetic name.

use super::arithmetic::Words;
use super::inst::{Binary, Comparison, Rounding, Ternary, Unary};
use crate::ptx::ast::Type;

pub(super) fn comparison_named(word: &str) -> Option<Comparison> {
    Some(match word {
        "eq" => Comparison::Eq,
        "ne" => Comparison::Ne,
        "lt" | "lo" => Comparison::Lt,
        "le" | "ls" => Comparison::Le,
        "gt" | "hi" => Comparison::Gt,
        "ge" | "hs" => Comparison::Ge,
        "equ" => Comparison::EqU,
        "neu" => Comparison::NeU,
        "ltu" => Comparison::LtU,
        "leu" => Comparison::LeU,
        "gtu" => Comparison::GtU,
        "geu" => Comparison::GeU,
        "num" => Comparison::Num,
        "nan" => Comparison::Nan,
        _ => return None,
    })
}

/// The operation and the type of its result.
pub(super) fn unary_named(name: &str, kind: Type, found: &Words) -> Option<(Unary, Type)> {
    use Type::{B16, B32, B64, F32, F64, S16, S32, S64, U32, U64};
    let f = match (name, kind) {
        ("not", B16) => Unary::Not16,
        ("not", B32) => Unary::Not32,
        ("not", B64) => Unary::Not64,
        ("neg", S16) => Unary::Neg16,
        ("neg", S32) => Unary::Neg32,
        ("neg", S64) => Unary::Neg64,
        ("abs", S16) => Unary::Abs16,
        ("abs", S32) => Unary::Abs32,
        ("abs", S64) => Unary::Abs64,
        ("neg", F32) => Unary::NegF32,
        ("neg", F64) => Unary::NegF64,
        ("abs", F32) => Unary::AbsF32,
        ("abs", F64) => Unary::AbsF64,
        ("popc", B32) => Unary::Popc32,
        ("popc", B64) => return Some((Unary::Popc64, B32)),
        ("clz", B32) => Unary::Clz32,
        ("clz", B64) => return Some((Unary::Clz64, B32)),
        ("brev", B32) => Unary::Brev32,
        ("brev", B64) => Unary::Brev64,
        ("bfind", U32) if found.rest == ["shiftamt"] => Unary::BfindShiftU32,
        ("bfind", U32) => Unary::BfindU32,
        ("bfind", S32) if found.rest.is_empty() => Unary::BfindS32,
        ("bfind", U64) if found.rest.is_empty() => return Some((Unary::BfindU64, B32)),
        ("bfind", S64) if found.rest.is_empty() => return Some((Unary::BfindS64, B32)),
        ("sqrt", F32) => Unary::SqrtF32,
        ("sqrt", F64) => Unary::SqrtF64,
        ("rcp", F32) => Unary::RcpF32,
        ("rcp", F64) => Unary::RcpF64,
        ("rsqrt", F32) => Unary::RsqrtF32,
        ("rsqrt", F64) => Unary::RsqrtF64,
        ("ex2", F32) => Unary::Ex2F32,
        ("lg2", F32) => Unary::Lg2F32,
        ("sin", F32) => Unary::SinF32,
        ("cos", F32) => Unary::CosF32,
        ("tanh", F32) => Unary::TanhF32,
        _ => return None,
    };
    Some((f, kind))
}

pub(super) fn binary_named(name: &str, part: &str, kind: Type, found: &Words) -> Option<Binary> {
    use Binary as B;
    use Type::{B16, B32, B64, F32, F64, S16, S32, S64, U16, U32, U64};
    let rounding = found.rounding.unwrap_or(Rounding::Nearest);
    if found.saturate && !kind.float() {
        return None;
    }
    if kind == F32 && rounding != Rounding::Nearest {
        return match (name, rounding) {
            ("add", Rounding::Down) => Some(B::AddDownF32),
            ("add", Rounding::Up) => Some(B::AddUpF32),
            ("add", Rounding::Zero) => Some(B::AddZeroF32),
            ("mul", Rounding::Down) => Some(B::MulDownF32),
            ("mul", Rounding::Up) => Some(B::MulUpF32),
            ("mul", Rounding::Zero) => Some(B::MulZeroF32),
            _ => None,
        };
    }
    if kind == F64 && rounding != Rounding::Nearest {
        return None;
    }
    Some(match (name, part, kind) {
        ("add", "", U16 | S16) => B::Add16,
        ("add", "", U32 | S32) => B::Add32,
        ("add", "", U64 | S64) => B::Add64,
        ("sub", "", U16 | S16) => B::Sub16,
        ("sub", "", U32 | S32) => B::Sub32,
        ("sub", "", U64 | S64) => B::Sub64,
        ("mul", "lo", U16 | S16) => B::Mul16,
        ("mul", "lo", U32 | S32) => B::Mul32,
        ("mul", "lo", U64 | S64) => B::Mul64,
        ("mul", "hi", U16) => B::MulHiU16,
        ("mul", "hi", S16) => B::MulHiS16,
        ("mul", "hi", U32) => B::MulHiU32,
        ("mul", "hi", S32) => B::MulHiS32,
        ("mul", "hi", U64) => B::MulHiU64,
        ("mul", "hi", S64) => B::MulHiS64,
        ("mul", "wide", U16) => B::MulWideU16,
        ("mul", "wide", S16) => B::MulWideS16,
        ("mul", "wide", U32) => B::MulWideU32,
        ("mul", "wide", S32) => B::MulWideS32,
        ("div", "", U16) => B::DivU16,
        ("div", "", S16) => B::DivS16,
        ("div", "", U32) => B::DivU32,
        ("div", "", S32) => B::DivS32,
        ("div", "", U64) => B::DivU64,
        ("div", "", S64) => B::DivS64,
        ("rem", "", U16) => B::RemU16,
        ("rem", "", S16) => B::RemS16,
        ("rem", "", U32) => B::RemU32,
        ("rem", "", S32) => B::RemS32,
        ("rem", "", U64) => B::RemU64,
        ("rem", "", S64) => B::RemS64,
        ("min", "", U16) => B::MinU16,
        ("min", "", S16) => B::MinS16,
        ("min", "", U32) => B::MinU32,
        ("min", "", S32) => B::MinS32,
        ("min", "", U64) => B::MinU64,
        ("min", "", S64) => B::MinS64,
        ("max", "", U16) => B::MaxU16,
        ("max", "", S16) => B::MaxS16,
        ("max", "", U32) => B::MaxU32,
        ("max", "", S32) => B::MaxS32,
        ("max", "", U64) => B::MaxU64,
        ("max", "", S64) => B::MaxS64,
        ("and", "", B16 | B32) => B::And32,
        ("and", "", B64) => B::And64,
        ("or", "", B16 | B32) => B::Or32,
        ("or", "", B64) => B::Or64,
        ("xor", "", B16 | B32) => B::Xor32,
        ("xor", "", B64) => B::Xor64,
        ("shl", "", B16) => B::Shl16,
        ("shl", "", B32) => B::Shl32,
        ("shl", "", B64) => B::Shl64,
        ("shr", "", U16 | B16) => B::ShrU16,
        ("shr", "", S16) => B::ShrS16,
        ("shr", "", U32 | B32) => B::ShrU32,
        ("shr", "", S32) => B::ShrS32,
        ("shr", "", U64 | B64) => B::ShrU64,
        ("shr", "", S64) => B::ShrS64,
        ("add", "", F32) => B::AddF32,
        ("sub", "", F32) => B::SubF32,
        ("mul", "", F32) => B::MulF32,
        ("div", "", F32) => B::DivF32,
        ("min", "", F32) if found.nan => B::MinNanF32,
        ("max", "", F32) if found.nan => B::MaxNanF32,
        ("min", "", F32) => B::MinF32,
        ("max", "", F32) => B::MaxF32,
        ("copysign", "", F32) => B::CopysignF32,
        ("add", "", F64) => B::AddF64,
        ("sub", "", F64) => B::SubF64,
        ("mul", "", F64) => B::MulF64,
        ("div", "", F64) => B::DivF64,
        ("min", "", F64) => B::MinF64,
        ("max", "", F64) => B::MaxF64,
        ("copysign", "", F64) => B::CopysignF64,
        _ => return None,
    })
}

pub(super) fn ternary_named(
    name: &str,
    part: &str,
    kinds: &[Type],
    found: &Words,
) -> Option<Ternary> {
    use Ternary as T;
    use Type::{B32, F32, F64, S16, S32, S64, U16, U32, U64};
    let &kind = kinds.first()?;
    let direction = found.rest.get(1).map_or("", String::as_str);
    Some(match (name, part, kind) {
        ("fma" | "mad", "", F32) => match found.rounding.unwrap_or(Rounding::Nearest) {
            Rounding::Nearest => T::FmaF32,
            Rounding::Down => T::FmaDownF32,
            Rounding::Up => T::FmaUpF32,
            Rounding::Zero => T::FmaZeroF32,
        },
        ("fma" | "mad", "", F64) if found.rounding == Some(Rounding::Nearest) => T::FmaF64,
        ("mad", "lo", U16 | S16) => T::Mad16,
        ("mad", "lo", U32 | S32) => T::Mad32,
        ("mad", "lo", U64 | S64) => T::Mad64,
        ("mad", "hi", U32) => T::MadHiU32,
        ("mad", "hi", S32) => T::MadHiS32,
        ("mad", "hi", U64) => T::MadHiU64,
        ("mad", "hi", S64) => T::MadHiS64,
        ("mad", "wide", U16) => T::MadWideU16,
        ("mad", "wide", S16) => T::MadWideS16,
        ("mad", "wide", U32) => T::MadWideU32,
        ("mad", "wide", S32) => T::MadWideS32,
        ("sad", "", U32) => T::SadU32,
        ("sad", "", S32) => T::SadS32,
        ("bfe", "", U32) => T::BfeU32,
        ("bfe", "", S32) => T::BfeS32,
        ("bfe", "", U64) => T::BfeU64,
        ("bfe", "", S64) => T::BfeS64,
        ("shf", "l", B32) if direction == "wrap" => T::ShfLeftWrap,
        ("shf", "l", B32) if direction == "clamp" => T::ShfLeftClamp,
        ("shf", "r", B32) if direction == "wrap" => T::ShfRightWrap,
        ("shf", "r", B32) if direction == "clamp" => T::ShfRightClamp,
        ("prmt", "", B32) => T::Prmt,
        ("slct", "", B32 | U32 | S32 | F32) if kinds.get(1) == Some(&S32) => T::SlctS32B32,
        ("slct", "", B32 | U32 | S32 | F32) if kinds.get(1) == Some(&F32) => T::SlctF32B32,
        ("dp2a", "lo" | "hi", U32 | S32) => T::Dp2a {
            high: part == "hi",
            signed_a: kind == S32,
            signed_b: kinds.get(1) == Some(&S32),
        },
        ("dp4a", "", U32) if kinds.get(1) == Some(&U32) => T::Dp4aUU,
        ("dp4a", "", U32) => T::Dp4aUS,
        ("dp4a", "", S32) if kinds.get(1) == Some(&U32) => T::Dp4aSU,
        ("dp4a", "", S32) => T::Dp4aSS,
        _ => return None,
    })
}
