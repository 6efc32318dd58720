//! Loads, stores, atomics, asynchronous copies and matrix instructions.

use std::sync::Arc;

use super::DecodeError;
use super::inst::{AtomicOp, MmaShape, NOWHERE, Op, Row, Strength, Values};
use super::translate::Translator;
use crate::ptx::ast::{Operand, Space, Type};

fn space(word: &str) -> Option<Space> {
    Some(match word {
        "global" => Space::Global,
        "const" => Space::Const,
        "shared" | "shared::cta" => Space::Shared,
        "local" => Space::Local,
        "param" => Space::Param,
        _ => return None,
    })
}

/// What the words of a memory instruction say.
struct Words {
    space: Space,
    strength: Strength,
    count: u8,
    kind: Type,
}

/// Reads `volatile.global.v4.f32` and the like; hints of caches and scopes change nothing here.
fn memory_words(words: &[&str]) -> Option<Words> {
    let (last, words) = words.split_last()?;
    let kind = Type::from_word(last)?;
    let mut found = Words { space: Space::Generic, strength: Strength::Weak, count: 1, kind };
    for word in words {
        match *word {
            "volatile" | "relaxed" | "mmio" => found.strength = Strength::Relaxed,
            "acquire" | "release" => found.strength = Strength::Ordered,
            "v2" => found.count = 2,
            "v4" => found.count = 4,
            "weak" | "nc" | "cta" | "gpu" | "sys" | "cluster" | "ca" | "cg" | "cs" | "lu"
            | "cv" | "wb" | "wt" => {}
            hint if hint.starts_with("L1::") || hint.starts_with("L2::") => {}
            word => found.space = space(word)?,
        }
    }
    Some(found)
}

fn elements(operand: &Operand) -> Vec<Operand> {
    match operand {
        Operand::Vector(elements) => elements.clone(),
        one => vec![one.clone()],
    }
}

impl Translator<'_> {
    /// Decodes an instruction if it is one of memory.
    pub(super) fn memory(
        &mut self,
        words: &[&str],
        operands: &[Operand],
    ) -> Result<bool, DecodeError> {
        match (words[0], &words[1..], operands) {
            ("ld" | "ldu", rest, [d, address]) => self.load(rest, d, address),
            ("st", rest, [address, value]) => self.store(rest, address, value),
            ("atom", rest, [d, address, values @ ..]) => {
                let (_, row) = self.destination(d)?;
                self.atomic(rest, row, address, values)
            }
            ("red", rest, [address, values @ ..]) if rest.first() != Some(&"async") => {
                self.atomic(rest, NOWHERE, address, values)
            }
            ("cp", ["async", rest @ ..], operands) => self.copy_async(rest, operands),
            ("prefetch" | "prefetchu" | "discard" | "applypriority", _, _) => Ok(true),
            ("ldmatrix", rest, [d, address]) => self.load_matrix(rest, d, address),
            ("mma", ["sync", "aligned", rest @ ..], [d, a, b, c]) => self.mma(rest, [d, a, b, c]),
            ("wgmma", ["mma_async", "sync", "aligned", shape, "f32", "tf32", "tf32"], operands) => {
                self.group_mma(shape, operands)
            }
            ("wgmma", ["fence", "sync", "aligned"], []) => self.emitted(Op::GroupFence),
            ("wgmma", ["commit_group", "sync", "aligned"], []) => self.emitted(Op::GroupCommit),
            ("wgmma", ["wait_group", "sync", "aligned"], [Operand::Integer(pending)]) => {
                self.emitted(Op::GroupWait { pending: *pending as u32 })
            }
            ("cvta", ["to", space, ..], [d, a]) => self.address_space(space, d, a, false),
            ("cvta", [space, ..], [d, a]) => self.address_space(space, d, a, true),
            _ => Ok(false),
        }
    }

    fn load(
        &mut self,
        words: &[&str],
        d: &Operand,
        address: &Operand,
    ) -> Result<bool, DecodeError> {
        let Some(found) = memory_words(words) else { return Ok(false) };
        let mut values = self.values(&found);
        for (row, element) in values.rows.iter_mut().zip(elements(d)) {
            let (kind, register) = self.destination(&element)?;
            values.wide = kind.bytes() == 8 || found.kind.bytes() == 8;
            *row = register;
        }
        if found.space != Space::Param {
            let address = self.address(address)?;
            let strength = found.strength;
            self.emit(Op::Load { space: found.space, values, address, strength });
        } else if let Some(rows) = self.argument(address, &values)? {
            for (&d, a) in values.rows.iter().zip(rows) {
                self.emit(if values.bytes == 8 { Op::Mov64 { d, a } } else { Op::Mov32 { d, a } });
            }
        } else if let Some(offset) = self.parameter(address) {
            self.emit(Op::LoadParam { values, offset });
        } else {
            let address = self.address(address)?;
            let strength = Strength::Weak;
            self.emit(Op::Load { space: Space::Param, values, address, strength });
        }
        Ok(true)
    }

    fn store(
        &mut self,
        words: &[&str],
        address: &Operand,
        value: &Operand,
    ) -> Result<bool, DecodeError> {
        let Some(found) = memory_words(words) else { return Ok(false) };
        let mut values = self.values(&found);
        for (row, element) in values.rows.iter_mut().zip(elements(value)) {
            // A register wider than what is stored gives its low bytes.
            *row = match &element {
                Operand::Name(_) if found.kind.bytes() < 8 => {
                    let (kind, row) = match self.destination(&element) {
                        Ok(register) => register,
                        Err(_) => (Type::B32, self.value(&element, Type::B32)?),
                    };
                    values.wide = kind.bytes() == 8;
                    row
                }
                element => self.value(element, found.kind)?,
            };
        }
        if found.space == Space::Param {
            let Some(rows) = self.argument(address, &values)? else { return Ok(false) };
            for (&a, d) in values.rows.iter().zip(rows) {
                self.emit(if values.bytes == 8 { Op::Mov64 { d, a } } else { Op::Mov32 { d, a } });
            }
            return Ok(true);
        }
        let address = self.address(address)?;
        let strength = found.strength;
        self.emit(Op::Store { space: found.space, values, address, strength });
        Ok(true)
    }

    fn values(&mut self, found: &Words) -> Values {
        let bytes = found.kind.bytes() as u8;
        let signed = found.kind.signed();
        Values { rows: [NOWHERE; 4], count: found.count, bytes, signed, wide: bytes == 8 }
    }

    fn atomic(
        &mut self,
        words: &[&str],
        d: Row,
        address: &Operand,
        values: &[Operand],
    ) -> Result<bool, DecodeError> {
        let mut state = Space::Generic;
        let mut ordered = false;
        let mut op = None;
        let mut kind = None;
        for word in words {
            match *word {
                "add" => op = Some(AtomicOp::Add),
                "min" => op = Some(AtomicOp::Min),
                "max" => op = Some(AtomicOp::Max),
                "and" => op = Some(AtomicOp::And),
                "or" => op = Some(AtomicOp::Or),
                "xor" => op = Some(AtomicOp::Xor),
                "exch" => op = Some(AtomicOp::Exchange),
                "cas" => op = Some(AtomicOp::CompareSwap),
                "inc" => op = Some(AtomicOp::Inc),
                "dec" => op = Some(AtomicOp::Dec),
                "acquire" | "release" | "acq_rel" => ordered = true,
                "relaxed" | "gpu" | "cta" | "sys" => {}
                word => match (space(word), Type::from_word(word)) {
                    (Some(found), _) => state = found,
                    (None, Some(found)) => kind = Some(found),
                    (None, None) => return Ok(false),
                },
            }
        }
        let (Some(op), Some(kind)) = (op, kind) else { return Ok(false) };
        if kind.bytes() < 4 {
            return Ok(false);
        }
        let address = self.address(address)?;
        let (b, c) = match values {
            [b] => (self.value(b, kind)?, NOWHERE),
            [b, c] => (self.value(b, kind)?, self.value(c, kind)?),
            _ => return Ok(false),
        };
        self.emit(Op::Atomic { space: state, op, kind, d, address, b, c, ordered });
        Ok(true)
    }

    fn copy_async(&mut self, words: &[&str], operands: &[Operand]) -> Result<bool, DecodeError> {
        match (words, operands) {
            (["commit_group"], []) => self.emit(Op::CopyCommit),
            (["wait_all"], []) => self.emit(Op::CopyWaitAll),
            (["wait_group"], [Operand::Integer(pending)]) => {
                self.emit(Op::CopyWait { pending: *pending as u32 });
            }
            (
                ["ca" | "cg", "shared" | "shared::cta", "global", hints @ ..],
                [shared, global, size, filled @ ..],
            ) if hints.iter().all(|hint| hint.starts_with("L2::")) => {
                let shared = self.address(shared)?;
                let global = self.address(global)?;
                let Operand::Integer(size @ (4 | 8 | 16)) = size else { return Ok(false) };
                let filled = match filled {
                    [] => None,
                    [filled] => Some(self.value(filled, Type::U32)?),
                    _ => return Ok(false),
                };
                self.emit(Op::CopyAsync { shared, global, size: *size as u8, filled });
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn load_matrix(
        &mut self,
        words: &[&str],
        d: &Operand,
        address: &Operand,
    ) -> Result<bool, DecodeError> {
        let mut transpose = false;
        let mut count = 0;
        for word in words {
            match *word {
                "sync" | "aligned" | "m8n8" | "shared" | "shared::cta" | "b16" => {}
                "trans" => transpose = true,
                "x1" => count = 1,
                "x2" => count = 2,
                "x4" => count = 4,
                _ => return Ok(false),
            }
        }
        let d = self.fragment(d, count, true)?;
        let address = self.address(address)?;
        self.emit(Op::LoadMatrix { d, count: count as u8, transpose, address });
        Ok(true)
    }

    fn mma(&mut self, words: &[&str], [d, a, b, c]: [&Operand; 4]) -> Result<bool, DecodeError> {
        let shape = match words {
            ["m16n8k4", "row", "col", "f32", "tf32", "tf32", "f32"] => MmaShape::M16N8K4Tf32,
            ["m16n8k8", "row", "col", "f32", "tf32", "tf32", "f32"] => MmaShape::M16N8K8Tf32,
            ["m16n8k8", "row", "col", "f32", "bf16", "bf16", "f32"] => MmaShape::M16N8K8Bf16,
            ["m16n8k16", "row", "col", "f32", "bf16", "bf16", "f32"] => MmaShape::M16N8K16Bf16,
            ["m16n8k8", "row", "col", "f32", "f16", "f16", "f32"] => MmaShape::M16N8K8F16,
            ["m16n8k16", "row", "col", "f32", "f16", "f16", "f32"] => MmaShape::M16N8K16F16,
            _ => return Ok(false),
        };
        let (a_rows, b_rows) = shape.operands();
        let a = self.fragment(a, a_rows, false)?;
        let [b0, b1, ..] = self.fragment(b, b_rows, false)?;
        let c = self.fragment(c, 4, false)?;
        let d = self.fragment(d, 4, true)?;
        self.emit(Op::Mma { shape, d, a, b: [b0, b1], c });
        Ok(true)
    }

    fn emitted(&mut self, op: Op) -> Result<bool, DecodeError> {
        self.emit(op);
        Ok(true)
    }

    /// `wgmma` with A in registers.
    fn group_mma(&mut self, shape: &str, operands: &[Operand]) -> Result<bool, DecodeError> {
        let columns = shape.strip_prefix("m64n").and_then(|rest| rest.strip_suffix("k8"));
        let columns = columns.and_then(|columns| columns.parse::<u16>().ok());
        let known = columns.filter(|n| n.is_multiple_of(8) && (8..=256).contains(n));
        let (Some(columns), [d, a @ Operand::Vector(_), lines, scale, one, other]) =
            (known, operands)
        else {
            return Ok(false);
        };
        let (Operand::Integer(scale @ 0..=1), Operand::Integer(1), Operand::Integer(1)) =
            (scale, one, other)
        else {
            return Ok(false);
        };
        let sums = elements(d);
        if sums.len() != usize::from(columns) / 2 {
            return Err(self.operand(&format!("{} sums were expected", columns / 2)));
        }
        let d = sums.iter().map(|sum| self.destination_of(sum, Type::B32));
        let d = d.collect::<Result<Arc<[Row]>, _>>()?;
        let a = self.fragment(a, 4, false)?;
        let lines = self.value(lines, Type::B64)?;
        self.emitted(Op::GroupMma { columns, d, a, lines, accumulate: *scale == 1 })
    }

    /// The rows of a matrix fragment of `count` 32-bit registers.
    fn fragment(
        &mut self,
        operand: &Operand,
        count: usize,
        written: bool,
    ) -> Result<[Row; 4], DecodeError> {
        let elements = elements(operand);
        if elements.len() != count {
            return Err(self.operand(&format!("a fragment of {count} registers was expected")));
        }
        let mut rows = [NOWHERE; 4];
        for (row, element) in rows.iter_mut().zip(&elements) {
            *row = if written {
                self.destination_of(element, Type::B32)?
            } else {
                self.value(element, Type::B32)?
            };
        }
        Ok(rows)
    }

    /// `cvta`: between an address within a space and a generic one.
    fn address_space(
        &mut self,
        word: &str,
        d: &Operand,
        a: &Operand,
        forward: bool,
    ) -> Result<bool, DecodeError> {
        let Some(space) = space(word) else { return Ok(false) };
        let d = self.destination_of(d, Type::B64)?;
        let a = self.value(a, Type::B64)?;
        let window = crate::machine::window(space);
        if window == 0 {
            self.emit(Op::Mov64 { d, a });
            return Ok(true);
        }
        let b = self.constant(true, if forward { window } else { window.wrapping_neg() });
        self.emit(Op::Binary { f: super::inst::Binary::Add64, d, a, b });
        Ok(true)
    }
}

impl MmaShape {
    /// 32-bit registers of the fragments A and B.
    pub fn operands(self) -> (usize, usize) {
        match self {
            MmaShape::M16N8K4Tf32 | MmaShape::M16N8K8Bf16 | MmaShape::M16N8K8F16 => (2, 1),
            MmaShape::M16N8K8Tf32 | MmaShape::M16N8K16Bf16 | MmaShape::M16N8K16F16 => (4, 2),
        }
    }

    /// Products summed for each element of the result.
    pub fn k(self) -> usize {
        match self {
            MmaShape::M16N8K4Tf32 => 4,
            MmaShape::M16N8K8Tf32 | MmaShape::M16N8K8Bf16 | MmaShape::M16N8K8F16 => 8,
            MmaShape::M16N8K16Bf16 | MmaShape::M16N8K16F16 => 16,
        }
    }
}
