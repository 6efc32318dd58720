//! Arithmetic, logic, comparisons, conversions and moves.

use super::DecodeError;
use super::inst::{Binary, Comparison, FALSE, Logic, NOWHERE, Op, Rounding, TRUE, Ternary, Unary};
use super::translate::Translator;
use crate::ptx::ast::{Operand, Type};

/// What the words after the opcode say.
#[derive(Default)]
struct Words {
    /// The types named, in order.
    kinds: Vec<Type>,
    ftz: bool,
    saturate: bool,
    approximate: bool,
    rounding: Option<Rounding>,
    /// Rounding to an integral value (`rni` and its like).
    integral: bool,
    carry: bool,
    nan: bool,
    /// All other words.
    rest: Vec<String>,
}

fn read_words(words: &[&str]) -> Words {
    let mut found = Words::default();
    for word in words {
        match *word {
            "ftz" => found.ftz = true,
            "sat" => found.saturate = true,
            "approx" | "full" => found.approximate = true,
            "cc" => found.carry = true,
            "NaN" => found.nan = true,
            "rn" => found.rounding = Some(Rounding::Nearest),
            "rz" => found.rounding = Some(Rounding::Zero),
            "rm" => found.rounding = Some(Rounding::Down),
            "rp" => found.rounding = Some(Rounding::Up),
            // The only rounding that a conversion to TF32 has.
            "rna" => {}
            "rni" | "rzi" | "rmi" | "rpi" => {
                found.integral = true;
                found.rounding = Some(match *word {
                    "rni" => Rounding::Nearest,
                    "rzi" => Rounding::Zero,
                    "rmi" => Rounding::Down,
                    _ => Rounding::Up,
                });
            }
            word => match Type::from_word(word) {
                Some(kind)
                    if !word.starts_with("bf") && !word.ends_with("x2") && word != "tf32" =>
                {
                    found.kinds.push(kind);
                }
                _ => found.rest.push(word.to_string()),
            },
        }
    }
    found
}

impl Translator<'_> {
    /// Decodes an instruction if it is one of arithmetic.
    pub(super) fn arithmetic(
        &mut self,
        words: &[&str],
        operands: &[Operand],
    ) -> Result<bool, DecodeError> {
        let name = words[0];
        let found = read_words(&words[1..]);
        match (name, operands) {
            ("mov", [d, a]) => return self.mov(&found, d, a),
            ("cvt", operands) => return self.convert(&found, operands),
            ("setp", _) => return self.set_predicate(&found, operands),
            ("selp", [d, a, b, p]) => return self.select(&found, d, a, b, p),
            ("and" | "or" | "xor" | "not", _) if found.kinds == [Type::Pred] => {
                return self.logic(name, operands);
            }
            ("bfi", [d, a, b, at, len]) => {
                let Some(&kind) = found.kinds.first() else { return Ok(false) };
                let d = self.destination_of(d, kind)?;
                let (a, b) = (self.value(a, kind)?, self.value(b, kind)?);
                let (at, len) = (self.value(at, Type::U32)?, self.value(len, Type::U32)?);
                self.emit(Op::Bfi { wide: kind.bytes() == 8, d, a, b, at, len });
                return Ok(true);
            }
            ("addc" | "subc" | "madc", _) => return self.carry(name, &found, operands),
            ("add" | "sub" | "mad", _) if found.carry => {
                return self.carry(name, &found, operands);
            }
            _ => {}
        }
        if !found.rest.iter().all(|word| {
            matches!(
                word.as_str(),
                "lo" | "hi" | "wide" | "wrap" | "clamp" | "l" | "r" | "shiftamt" | "b4e"
            )
        }) {
            return Ok(false);
        }
        match operands {
            [d, a] => self.unary(name, &found, d, a),
            [d, a, b] => self.binary(name, &found, d, a, b),
            [d, a, b, c] => self.ternary(name, &found, d, a, b, c),
            [d, a, b, c, Operand::Integer(table)] if name == "lop3" => {
                let f = Ternary::Lop3(*table as u8);
                self.emit_ternary(f, Type::B32, [Type::B32; 3], &found, d, [a, b, c])
            }
            _ => Ok(false),
        }
    }

    fn mov(&mut self, found: &Words, d: &Operand, a: &Operand) -> Result<bool, DecodeError> {
        let [kind] = found.kinds[..] else { return Ok(false) };
        match (kind, d, a) {
            (Type::Pred, Operand::Name(name), a) => {
                let p = self.predicate_named(name)?;
                let (a, negated) = self.predicate(a)?;
                let f = if negated { Logic::XorNot } else { Logic::Or };
                self.emit(Op::Logic { f, p, a, b: FALSE });
            }
            (kind, Operand::Vector(parts), a) => {
                let (bits, count) = parts_of(kind, parts.len());
                let a = self.value(a, kind)?;
                let mut to = [NOWHERE; 4];
                for (row, part) in to.iter_mut().zip(parts) {
                    let sink = matches!(part, Operand::Name(name) if name == "_");
                    *row = if sink { NOWHERE } else { self.destination(part)?.1 };
                }
                self.emit(Op::Unpack { bits, count, to, a });
            }
            (kind, d, Operand::Vector(parts)) => {
                let (bits, count) = parts_of(kind, parts.len());
                let element = if bits == 16 { Type::B16 } else { Type::B32 };
                let mut from = [NOWHERE; 4];
                for (row, part) in from.iter_mut().zip(parts) {
                    *row = self.value(part, element)?;
                }
                let d = self.destination_of(d, kind)?;
                self.emit(Op::Pack { bits, count, d, from });
            }
            (kind, d, Operand::Name(name))
                if matches!(
                    name.as_str(),
                    "%clock" | "%clock64" | "%globaltimer" | "%clock_hi" | "%globaltimer_lo"
                ) =>
            {
                let wide = kind.bytes() == 8;
                let d = self.destination_of(d, kind)?;
                self.emit(Op::Clock { d, wide });
            }
            (kind, d, a) => {
                let d = self.destination_of(d, kind)?;
                let a = self.value(a, kind)?;
                self.emit(if kind.bytes() == 8 { Op::Mov64 { d, a } } else { Op::Mov32 { d, a } });
            }
        }
        Ok(true)
    }

    fn logic(&mut self, name: &str, operands: &[Operand]) -> Result<bool, DecodeError> {
        let (Some(Operand::Name(d)), rest) = (operands.first(), &operands[1..]) else {
            return Ok(false);
        };
        let p = self.predicate_named(d)?;
        let (f, a, b) = match (name, rest) {
            ("not", [a]) => (Logic::XorNot, self.plain_predicate(a)?, FALSE),
            ("and", [a, b]) => (Logic::And, self.plain_predicate(a)?, self.plain_predicate(b)?),
            ("or", [a, b]) => (Logic::Or, self.plain_predicate(a)?, self.plain_predicate(b)?),
            ("xor", [a, b]) => (Logic::Xor, self.plain_predicate(a)?, self.plain_predicate(b)?),
            _ => return Ok(false),
        };
        self.emit(Op::Logic { f, p, a, b });
        Ok(true)
    }

    /// `setp.lt.and.f32 p|q, a, b, !c`
    fn set_predicate(&mut self, found: &Words, operands: &[Operand]) -> Result<bool, DecodeError> {
        let ([kind], [comparison, rest @ ..]) = (&found.kinds[..], &found.rest[..]) else {
            return Ok(false);
        };
        let Some(f) = comparison_named(comparison) else { return Ok(false) };
        let [d, a, b, with @ ..] = operands else { return Ok(false) };
        let mut a = self.value(a, *kind)?;
        let mut b = self.value(b, *kind)?;
        if found.ftz {
            (a, b) = (self.flushed(a), self.flushed(b));
        }
        let (p, q) = match d {
            Operand::Name(p) => (self.predicate_named(p)?, None),
            Operand::Pair(p, q) => (self.predicate_named(p)?, Some(self.predicate_named(q)?)),
            _ => return Ok(false),
        };
        let (logic, c) = match (rest, with) {
            ([], []) => (Logic::And, TRUE),
            ([op], [c]) => {
                let logic = match op.as_str() {
                    "and" => Logic::And,
                    "or" => Logic::Or,
                    "xor" => Logic::Xor,
                    _ => return Ok(false),
                };
                (logic, self.plain_predicate(c)?)
            }
            _ => return Ok(false),
        };
        if (logic, c, q) == (Logic::And, TRUE, None) {
            self.emit(Op::Compare { f, kind: *kind, p, a, b });
            return Ok(true);
        }
        // Apart, since `c` may be the register that is written.
        let (compared, result) = (self.new_pred(), self.new_pred());
        self.emit(Op::Compare { f, kind: *kind, p: compared, a, b });
        self.emit(Op::Logic { f: logic, p: result, a: c, b: compared });
        if let Some(q) = q {
            let negated = match logic {
                Logic::And => Logic::AndNot,
                Logic::Or => Logic::OrNot,
                _ => Logic::XorNot,
            };
            self.emit(Op::Logic { f: negated, p: q, a: c, b: compared });
        }
        self.emit(Op::Logic { f: Logic::Or, p, a: result, b: FALSE });
        Ok(true)
    }

    fn select(
        &mut self,
        found: &Words,
        d: &Operand,
        a: &Operand,
        b: &Operand,
        p: &Operand,
    ) -> Result<bool, DecodeError> {
        let [kind] = found.kinds[..] else { return Ok(false) };
        let d = self.destination_of(d, kind)?;
        let (mut a, mut b) = (self.value(a, kind)?, self.value(b, kind)?);
        let (p, negated) = self.predicate(p)?;
        if negated {
            (a, b) = (b, a);
        }
        let wide = kind.bytes() == 8;
        self.emit(if wide { Op::Select64 { d, a, b, p } } else { Op::Select32 { d, a, b, p } });
        Ok(true)
    }

    fn convert(&mut self, found: &Words, operands: &[Operand]) -> Result<bool, DecodeError> {
        let rounding = found.rounding.unwrap_or(Rounding::Nearest);
        match (&found.kinds[..], &found.rest[..], operands) {
            (&[to, from], [], [d, a]) => {
                let mut a = match (a, from.bytes()) {
                    // A register wider than the source type gives its low bits.
                    (Operand::Name(_), 1..=4) => match self.destination(a) {
                        Ok((kind, row)) if kind.bytes() < 8 => row,
                        _ => self.value(a, from)?,
                    },
                    _ => self.value(a, from)?,
                };
                let (kind, d) = self.destination(d)?;
                if found.ftz && from == Type::F32 {
                    a = self.flushed(a);
                }
                // A destination wider than the type is extended by the type's sign.
                let (integral, saturate) = (found.integral, found.saturate);
                let to = match (to, kind.bytes()) {
                    (Type::U8 | Type::U16 | Type::U32, 8) if !from.float() && to == from => to,
                    (_, 8) if to.bytes() < 8 => return Ok(false),
                    _ => to,
                };
                self.emit(Op::Convert { from, to, rounding, integral, saturate, d, a });
                if found.ftz && to == Type::F32 {
                    let flushed = self.flushed(d);
                    self.emit(Op::Mov32 { d, a: flushed });
                }
                Ok(true)
            }
            (&[from], [away, to], [d, a]) if away == "rna" && to == "tf32" && from == Type::F32 => {
                let (d, a) = (self.destination_of(d, Type::B32)?, self.value(a, Type::F32)?);
                self.emit(Op::Unary { f: Unary::RoundTf32, d, a });
                Ok(true)
            }
            (&[Type::F32], [to], [d, high, low]) if to == "bf16x2" || to == "f16x2" => {
                let d = self.destination_of(d, Type::B32)?;
                let (high, low) = (self.value(high, Type::F32)?, self.value(low, Type::F32)?);
                self.emit(Op::ConvertPair { bf16: to == "bf16x2", d, high, low });
                Ok(true)
            }
            (&[Type::F32], [word], [d, a]) if word == "bf16" => {
                let d = self.destination_of(d, Type::B32)?;
                let a = self.value(a, Type::F32)?;
                // `cvt.f32.bf16` names its source last, `cvt.rn.bf16.f32` its result first.
                if found.rounding.is_none() {
                    let shift = self.constant(false, 16);
                    self.emit(Op::Binary { f: Binary::Shl32, d, a, b: shift });
                } else {
                    let zero = self.constant(false, 0);
                    self.emit(Op::ConvertPair { bf16: true, d, high: zero, low: a });
                }
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// `add.cc`, `addc`, `mad.lo.cc`, `madc.hi` and their like.
    fn carry(
        &mut self,
        name: &str,
        found: &Words,
        operands: &[Operand],
    ) -> Result<bool, DecodeError> {
        let [kind] = found.kinds[..] else { return Ok(false) };
        let wide = kind.bytes() == 8;
        let read = name.ends_with('c');
        let subtract = name.starts_with("sub");
        let write = found.carry;
        let (d, a, b) = match (name, operands) {
            ("mad" | "madc", [d, a, b, c]) => {
                let f = match (found.rest.first().map(String::as_str), kind) {
                    (Some("lo"), _) if wide => Binary::Mul64,
                    (Some("lo"), _) => Binary::Mul32,
                    (Some("hi"), Type::U32) => Binary::MulHiU32,
                    (Some("hi"), Type::S32) => Binary::MulHiS32,
                    (Some("hi"), Type::U64) => Binary::MulHiU64,
                    (Some("hi"), Type::S64) => Binary::MulHiS64,
                    _ => return Ok(false),
                };
                let (a, b) = (self.value(a, kind)?, self.value(b, kind)?);
                let product = self.new_row(wide);
                self.emit(Op::Binary { f, d: product, a, b });
                (d, product, self.value(c, kind)?)
            }
            (_, [d, a, b]) => (d, self.value(a, kind)?, self.value(b, kind)?),
            _ => return Ok(false),
        };
        let d = self.destination_of(d, kind)?;
        self.emit(Op::Carry { subtract, wide, read, write, d, a, b });
        Ok(true)
    }

    fn unary(
        &mut self,
        name: &str,
        found: &Words,
        d: &Operand,
        a: &Operand,
    ) -> Result<bool, DecodeError> {
        let [kind] = found.kinds[..] else { return Ok(false) };
        let Some((f, to)) = unary_named(name, kind, found) else { return Ok(false) };
        let d = self.destination_of(d, to)?;
        let mut a = self.value(a, kind)?;
        if found.ftz {
            a = self.flushed(a);
        }
        self.emit(Op::Unary { f, d, a });
        if found.ftz {
            self.emit(Op::Unary { f: Unary::FlushF32, d, a: d });
        }
        Ok(true)
    }

    fn binary(
        &mut self,
        name: &str,
        found: &Words,
        d: &Operand,
        a: &Operand,
        b: &Operand,
    ) -> Result<bool, DecodeError> {
        let [kind] = found.kinds[..] else { return Ok(false) };
        let part = found.rest.first().map_or("", String::as_str);
        let Some(f) = binary_named(name, part, kind, found) else { return Ok(false) };
        let to = if part == "wide" { widened(kind) } else { kind };
        let second = if matches!(name, "shl" | "shr") { Type::U32 } else { kind };
        let d = self.destination_of(d, to)?;
        let (mut a, mut b) = (self.value(a, kind)?, self.value(b, second)?);
        if found.ftz {
            (a, b) = (self.flushed(a), self.flushed(b));
        }
        self.emit(Op::Binary { f, d, a, b });
        self.finish_float(found, kind, d);
        Ok(true)
    }

    fn ternary(
        &mut self,
        name: &str,
        found: &Words,
        d: &Operand,
        a: &Operand,
        b: &Operand,
        c: &Operand,
    ) -> Result<bool, DecodeError> {
        let Some(&kind) = found.kinds.first() else { return Ok(false) };
        let part = found.rest.first().map_or("", String::as_str);
        let Some(f) = ternary_named(name, part, &found.kinds, found) else { return Ok(false) };
        let (to, from) = match name {
            "mad" if part == "wide" => (widened(kind), [kind, kind, widened(kind)]),
            "bfe" => (kind, [kind, Type::U32, Type::U32]),
            "slct" => (kind, [kind, kind, Type::B32]),
            "dp2a" | "dp4a" => (Type::B32, [Type::B32; 3]),
            _ => (kind, [kind; 3]),
        };
        self.emit_ternary(f, to, from, found, d, [a, b, c])
    }

    fn emit_ternary(
        &mut self,
        f: Ternary,
        to: Type,
        from: [Type; 3],
        found: &Words,
        d: &Operand,
        [a, b, c]: [&Operand; 3],
    ) -> Result<bool, DecodeError> {
        let d = self.destination_of(d, to)?;
        let mut rows = [self.value(a, from[0])?, self.value(b, from[1])?, self.value(c, from[2])?];
        if found.ftz {
            rows = rows.map(|row| self.flushed(row));
        }
        let [a, b, c] = rows;
        self.emit(Op::Ternary { f, d, a, b, c });
        self.finish_float(found, to, d);
        Ok(true)
    }

    fn finish_float(&mut self, found: &Words, kind: Type, d: u32) {
        if found.saturate && kind.float() {
            let f = if kind == Type::F64 { Unary::SaturateF64 } else { Unary::SaturateF32 };
            self.emit(Op::Unary { f, d, a: d });
        }
        if found.ftz {
            self.emit(Op::Unary { f: Unary::FlushF32, d, a: d });
        }
    }
}

fn parts_of(kind: Type, count: usize) -> (u8, u8) {
    ((8 * kind.bytes() as usize / count.max(1)) as u8, count as u8)
}

fn widened(kind: Type) -> Type {
    match kind {
        Type::U16 => Type::U32,
        Type::S16 => Type::S32,
        Type::U32 => Type::U64,
        _ => Type::S64,
    }
}

fn comparison_named(word: &str) -> Option<Comparison> {
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
fn unary_named(name: &str, kind: Type, found: &Words) -> Option<(Unary, Type)> {
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

fn binary_named(name: &str, part: &str, kind: Type, found: &Words) -> Option<Binary> {
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

fn ternary_named(name: &str, part: &str, kinds: &[Type], found: &Words) -> Option<Ternary> {
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
