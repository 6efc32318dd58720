//! Operands to rows, predicates and addresses.

use super::super::inst::{Address, FALSE, Logic, Op, Pred, Row, Special, TRUE, Values};
use super::super::{DYNAMIC_SHARED, DecodeError};
use super::{Symbol, Translator};
use crate::ptx::ast::{Operand, Space, Type};

impl Translator<'_> {
    pub(in crate::decode) fn constant(&mut self, wide: bool, value: u64) -> Row {
        let value = if wide { value } else { value & 0xffff_ffff };
        if let Some(&row) = self.constants.get(&(wide, value)) {
            return row;
        }
        let row = self.new_row(wide);
        self.constants.insert((wide, value), row);
        self.kernel.constants.push((row, wide, value));
        row
    }

    /// A row that holds a variable's address.
    fn place(&mut self, space: Space, at: u64, wide: bool) -> Row {
        if space != Space::Shared || at < DYNAMIC_SHARED {
            return self.constant(wide, at);
        }
        let row = self.new_row(wide);
        self.dynamic.push((row, wide, at));
        row
    }

    pub(in crate::decode) fn special(&mut self, special: Special) -> Row {
        if let Some(&row) = self.specials.get(&special) {
            return row;
        }
        let row = self.new_row(false);
        self.specials.insert(special, row);
        self.kernel.specials.push((row, special));
        row
    }

    /// The row of a value that is read as `kind`.
    pub(in crate::decode) fn value(
        &mut self,
        operand: &Operand,
        kind: Type,
    ) -> Result<Row, DecodeError> {
        let wide = kind.bytes() == 8;
        match operand {
            Operand::Integer(value) if kind.bytes() < 4 => {
                Ok(self.constant(false, value & ((1 << (8 * kind.bytes())) - 1)))
            }
            Operand::Integer(value) => Ok(self.constant(wide, *value)),
            Operand::Single(bits) => Ok(self.constant(wide, u64::from(*bits))),
            Operand::Double(bits) if kind == Type::F32 => {
                Ok(self.constant(false, u64::from((f64::from_bits(*bits) as f32).to_bits())))
            }
            Operand::Double(bits) => Ok(self.constant(wide, *bits)),
            Operand::Address { base: Some(name), offset } => {
                let (space, at) = self.variable_named(name)?;
                Ok(self.place(space, at.wrapping_add_signed(*offset), wide))
            }
            Operand::Name(name) => self.named(name, wide),
            _ => Err(self.operand("an operand is not a value")),
        }
    }

    fn named(&mut self, name: &str, wide: bool) -> Result<Row, DecodeError> {
        match self.lookup(name) {
            Some(Symbol::Register(kind, row)) if (kind.bytes() == 8) == wide => Ok(row),
            Some(Symbol::Register(kind, _)) => {
                Err(self.operand(&format!("`{name}` is a register of {} bytes", kind.bytes())))
            }
            Some(Symbol::Variable(space, at)) => Ok(self.place(space, at, wide)),
            Some(Symbol::Parameter(offset)) => Ok(self.constant(wide, u64::from(offset))),
            Some(_) => Err(self.operand(&format!("`{name}` is no value"))),
            None => self.special_named(name, wide),
        }
    }

    fn special_named(&mut self, name: &str, wide: bool) -> Result<Row, DecodeError> {
        if matches!(name, "WARP_SZ") {
            return Ok(self.constant(wide, 32));
        }
        let axis = |name: &str| match name.as_bytes().last() {
            Some(b'x') => 0,
            Some(b'y') => 1,
            _ => 2,
        };
        let special = match name {
            "%tid.x" | "%tid.y" | "%tid.z" => Special::Tid(axis(name)),
            "%ntid.x" | "%ntid.y" | "%ntid.z" => Special::Ntid(axis(name)),
            "%ctaid.x" | "%ctaid.y" | "%ctaid.z" => Special::Ctaid(axis(name)),
            "%nctaid.x" | "%nctaid.y" | "%nctaid.z" => Special::Nctaid(axis(name)),
            "%laneid" => Special::LaneId,
            "%warpid" => Special::WarpId,
            "%nwarpid" => Special::NWarpId,
            "%lanemask_eq" => Special::MaskEq,
            "%lanemask_lt" => Special::MaskLt,
            "%lanemask_le" => Special::MaskLe,
            "%lanemask_gt" => Special::MaskGt,
            "%lanemask_ge" => Special::MaskGe,
            "%smid" => Special::SmId,
            "%nsmid" => Special::NSmId,
            "%gridid" => Special::GridId,
            "%dynamic_smem_size" => Special::DynamicShared,
            "%total_smem_size" => Special::TotalShared,
            _ => return Err(self.operand(&format!("`{name}` is unknown"))),
        };
        Ok(self.special(special))
    }

    /// A register that is written: `NOWHERE` for `_`.
    pub(in crate::decode) fn destination(
        &mut self,
        operand: &Operand,
    ) -> Result<(Type, Row), DecodeError> {
        match operand {
            Operand::Name(name) if name == "_" => Ok((Type::B32, self.new_row(true))),
            Operand::Name(name) => match self.lookup(name) {
                Some(Symbol::Register(kind, row)) => Ok((kind, row)),
                _ => Err(self.operand(&format!("`{name}` is no register"))),
            },
            _ => Err(self.operand("a destination is no register")),
        }
    }

    /// A register of `bytes` bytes (up to 4 count as 4) that is written.
    pub(in crate::decode) fn destination_of(
        &mut self,
        operand: &Operand,
        kind: Type,
    ) -> Result<Row, DecodeError> {
        let sink = matches!(operand, Operand::Name(name) if name == "_");
        let (found, row) = self.destination(operand)?;
        if !sink && (found.bytes() == 8) != (kind.bytes() == 8) {
            return Err(self.operand(&format!("a register of {} bytes is written", found.bytes())));
        }
        Ok(row)
    }

    pub(in crate::decode) fn predicate_named(&mut self, name: &str) -> Result<Pred, DecodeError> {
        match self.lookup(name) {
            Some(Symbol::Predicate(pred)) => Ok(pred),
            _ if name == "_" => Ok(self.new_pred()),
            _ => Err(self.operand(&format!("`{name}` is no predicate"))),
        }
    }

    /// A predicate that is read, and whether it is negated.
    pub(in crate::decode) fn predicate(
        &mut self,
        operand: &Operand,
    ) -> Result<(Pred, bool), DecodeError> {
        match operand {
            Operand::Name(name) => Ok((self.predicate_named(name)?, false)),
            Operand::Not(name) => Ok((self.predicate_named(name)?, true)),
            Operand::Integer(value) => Ok((TRUE, *value == 0)),
            _ => Err(self.operand("an operand is no predicate")),
        }
    }

    /// A predicate that is read, written out where it is negated.
    pub(in crate::decode) fn plain_predicate(
        &mut self,
        operand: &Operand,
    ) -> Result<Pred, DecodeError> {
        let (pred, negated) = self.predicate(operand)?;
        if !negated {
            return Ok(pred);
        }
        let not = self.new_pred();
        let was_uncounted = std::mem::replace(&mut self.uncounted, true);
        self.emit(Op::Logic { f: Logic::XorNot, p: not, a: pred, b: FALSE });
        self.uncounted = was_uncounted;
        Ok(not)
    }

    pub(in crate::decode) fn label(&mut self, operand: &Operand) -> Result<u32, DecodeError> {
        match operand {
            Operand::Name(name) => match self.lookup(name) {
                Some(Symbol::Label(label)) => Ok(label),
                _ => Err(self.operand(&format!("`{name}` is no label"))),
            },
            _ => Err(self.operand("a label was expected")),
        }
    }

    pub(in crate::decode) fn label_list(
        &mut self,
        operand: &Operand,
    ) -> Result<Vec<u32>, DecodeError> {
        let Operand::Name(name) = operand else {
            return Err(self.operand("a list of labels was expected"));
        };
        let names = self.targets.get(name).cloned().unwrap_or_default();
        names.into_iter().map(|name| self.label(&Operand::Name(name))).collect()
    }

    /// Where `ret` goes, within a call.
    pub(in crate::decode) fn return_label(&self) -> Option<u32> {
        self.returns.last().copied()
    }

    fn variable_named(&mut self, name: &str) -> Result<(Space, u64), DecodeError> {
        match self.lookup(name) {
            Some(Symbol::Variable(space, at)) => Ok((space, at)),
            Some(Symbol::Parameter(offset)) => Ok((Space::Param, u64::from(offset))),
            _ => Err(self.operand(&format!("`{name}` is no variable"))),
        }
    }

    pub(in crate::decode) fn address(&mut self, operand: &Operand) -> Result<Address, DecodeError> {
        let Operand::Address { base, offset } = operand else {
            return Err(self.operand("an address was expected"));
        };
        let Some(name) = base else {
            let row = self.constant(true, *offset as u64);
            return Ok(Address { row, wide: true, offset: 0 });
        };
        if let Some(Symbol::Register(kind, row)) = self.lookup(name) {
            return Ok(Address { row, wide: kind.bytes() == 8, offset: *offset });
        }
        let (space, at) = self.variable_named(name)?;
        Ok(Address { row: self.place(space, at, true), wide: true, offset: *offset })
    }

    /// The parameter of the kernel that `operand` points into: its offset.
    pub(in crate::decode) fn parameter(&self, operand: &Operand) -> Option<u32> {
        let Operand::Address { base: Some(name), offset } = operand else { return None };
        match self.lookup(name) {
            Some(Symbol::Parameter(at)) => Some(at.wrapping_add(*offset as u32)),
            _ => None,
        }
    }

    /// The rows that stand for a part of a call's parameter, element by element; none if the
    /// operand is no such parameter.
    pub(in crate::decode) fn argument(
        &mut self,
        operand: &Operand,
        values: &Values,
    ) -> Result<Option<Vec<Row>>, DecodeError> {
        let Operand::Address { base: Some(name), offset } = operand else { return Ok(None) };
        let Some(Symbol::Argument(argument)) = self.lookup(name) else { return Ok(None) };
        let mut rows = Vec::new();
        for element in 0..u32::from(values.count) {
            let bytes = u32::from(values.bytes);
            let at = (argument, *offset as u32 + element * bytes);
            let (row, size) = match self.argument_rows.get(&at) {
                Some(&known) => known,
                None => {
                    let row = self.new_row(bytes == 8);
                    self.argument_rows.insert(at, (row, bytes));
                    (row, bytes)
                }
            };
            if size != bytes {
                return Err(self.operand("a call's argument is read in another size than written"));
            }
            rows.push(row);
        }
        Ok(Some(rows))
    }
}
