//! Arithmetic, logic, comparisons, conversions and moves.

use super::DecodeError;
use super::inst::{Binary, FALSE, Logic, NOWHERE, Op, Rounding, TRUE, Ternary, Unary};
use super::names::{binary_named, comparison_named, ternary_named, unary_named};
use super::translate::Translator;
use crate::ptx::ast::{Operand, Type};

/// What the words after the opcode say.
#[derive(Default)]
pub(super) struct Words {
    /// The types named, in order.
    pub kinds: Vec<Type>,
    pub ftz: bool,
    pub saturate: bool,
    pub rounding: Option<Rounding>,
    /// Rounding to an integral value (`rni` and its like).
    pub integral: bool,
    pub carry: bool,
    pub nan: bool,
    /// All other words.
    pub rest: Vec<String>,
}

fn read_words(words: &[&str]) -> Words {
    let mut found = Words::default();
    for word in words {
        match *word {
            "ftz" => found.ftz = true,
            "sat" => found.saturate = true,
            // The approximate forms are computed exactly, or as near as single precision gives.
            "approx" | "full" => {}
            "cc" => found.carry = true,
            "NaN" => found.nan = true,
            "rn" => found.rounding = Some(Rounding::Nearest),
            "rz" => found.rounding = Some(Rounding::Zero),
            "rm" => found.rounding = Some(Rounding::Down),
            "rp" => found.rounding = Some(Rounding::Up),
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
