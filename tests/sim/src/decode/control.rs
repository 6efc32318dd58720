//! Branches, barriers, votes, shuffles: what steers warps or joins their lanes.

use std::sync::Arc;

use super::DecodeError;
use super::inst::{AtomicOp, NOWHERE, Op, Pred, Reduce, ReduceOp, ShuffleMode, VoteMode};
use super::translate::Translator;
use crate::ptx::ast::{Operand, Type};

impl Translator<'_> {
    /// Decodes an instruction if it is one of control.
    pub(super) fn control(
        &mut self,
        words: &[&str],
        operands: &[Operand],
    ) -> Result<bool, DecodeError> {
        match (words, operands) {
            (["bra", ..], [label]) => {
                let target = self.label(label)?;
                self.emit(Op::Branch { target, meet: NOWHERE });
            }
            (["brx", "idx", ..], [index, list]) => {
                let index = self.value(index, Type::U32)?;
                let targets = Arc::new(self.label_list(list)?);
                self.emit(Op::BranchIndex { index, targets, meet: NOWHERE });
            }
            (["ret", ..], []) => match self.return_label() {
                Some(target) => self.emit(Op::Branch { target, meet: NOWHERE }),
                None => self.emit(Op::Exit),
            },
            (["exit"], []) => self.emit(Op::Exit),
            (["trap"], []) => self.emit(Op::Trap { what: "it executes `trap`".into() }),
            (["bar" | "barrier", rest @ ..], operands) => return self.barrier(rest, operands),
            (["membar", level], []) => self.emit(Op::Fence { device: *level != "cta" }),
            (["fence", "proxy", "async", "shared::cta"], []) => self.emit(Op::ProxyFence),
            (["fence", rest @ ..], []) if rest.first() != Some(&"proxy") => {
                self.emit(Op::Fence { device: rest.last() != Some(&"cta") });
            }
            (["activemask", "b32"], [d]) => {
                let d = self.destination_of(d, Type::B32)?;
                self.emit(Op::ActiveMask { d });
            }
            (["nanosleep", "u32"], [_]) => self.emit(Op::Nanosleep),
            (["vote", "sync", mode, _], [d, a, mask]) => return self.vote(mode, d, a, mask),
            (["shfl", "sync", mode, "b32"], [d, a, b, c, mask]) => {
                return self.shuffle(mode, d, [a, b, c, mask]);
            }
            (["match", mode @ ("any" | "all"), "sync", kind], [d, a, mask]) => {
                let wide = *kind == "b64";
                let (d, p) = self.with_predicate(d)?;
                let a = self.value(a, if wide { Type::B64 } else { Type::B32 })?;
                let mask = self.value(mask, Type::B32)?;
                self.emit(Op::Match { all: *mode == "all", wide, d, p, a, mask });
            }
            (["redux", "sync", op, kind], [d, a, mask]) => {
                let op = match *op {
                    "add" => AtomicOp::Add,
                    "min" => AtomicOp::Min,
                    "max" => AtomicOp::Max,
                    "and" => AtomicOp::And,
                    "or" => AtomicOp::Or,
                    "xor" => AtomicOp::Xor,
                    _ => return Ok(false),
                };
                let Some(kind) = Type::from_word(kind).filter(|kind| !kind.float()) else {
                    return Ok(false);
                };
                let d = self.destination_of(d, Type::B32)?;
                let (a, mask) = (self.value(a, Type::B32)?, self.value(mask, Type::B32)?);
                self.emit(Op::Redux { op, kind, d, a, mask });
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn barrier(&mut self, words: &[&str], operands: &[Operand]) -> Result<bool, DecodeError> {
        let words: Vec<&str> =
            words.iter().copied().filter(|word| !matches!(*word, "cta" | "aligned")).collect();
        let zero = self.constant(false, 0);
        match (words.as_slice(), operands) {
            (["warp", "sync"], [mask]) => {
                let mask = self.value(mask, Type::B32)?;
                self.emit(Op::WarpSync { mask });
            }
            ([action @ ("sync" | "arrive")], [id, threads @ ..]) => {
                let id = self.value(id, Type::U32)?;
                let threads = match threads {
                    [threads] => Some(self.value(threads, Type::U32)?),
                    _ => None,
                };
                self.emit(Op::Barrier { id, threads, wait: *action == "sync", reduce: None });
            }
            (["red", "popc", "u32"], [d, _, a]) => {
                let d = self.destination_of(d, Type::U32)?;
                let (a, negated) = self.predicate(a)?;
                let reduce = Reduce { op: ReduceOp::Count, d, p: 0, a, negated };
                self.emit(Op::Barrier {
                    id: zero,
                    threads: None,
                    wait: true,
                    reduce: Some(reduce),
                });
            }
            (["red", op @ ("and" | "or"), "pred"], [Operand::Name(p), _, a]) => {
                let op = if *op == "and" { ReduceOp::And } else { ReduceOp::Or };
                let p = self.predicate_named(p)?;
                let (a, negated) = self.predicate(a)?;
                let reduce = Reduce { op, d: NOWHERE, p, a, negated };
                self.emit(Op::Barrier {
                    id: zero,
                    threads: None,
                    wait: true,
                    reduce: Some(reduce),
                });
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn vote(
        &mut self,
        mode: &str,
        d: &Operand,
        a: &Operand,
        mask: &Operand,
    ) -> Result<bool, DecodeError> {
        let mode = match mode {
            "all" => VoteMode::All,
            "any" => VoteMode::Any,
            "uni" => VoteMode::Uniform,
            "ballot" => VoteMode::Ballot,
            _ => return Ok(false),
        };
        let (row, p) = match (mode, d) {
            (VoteMode::Ballot, d) => (self.destination_of(d, Type::B32)?, 0),
            (_, Operand::Name(name)) => (NOWHERE, self.predicate_named(name)?),
            _ => return Ok(false),
        };
        let (a, negated) = self.predicate(a)?;
        let mask = self.value(mask, Type::B32)?;
        self.emit(Op::Vote { mode, d: row, p, a, negated, mask });
        Ok(true)
    }

    fn shuffle(
        &mut self,
        mode: &str,
        d: &Operand,
        [a, b, c, mask]: [&Operand; 4],
    ) -> Result<bool, DecodeError> {
        let mode = match mode {
            "up" => ShuffleMode::Up,
            "down" => ShuffleMode::Down,
            "bfly" => ShuffleMode::Butterfly,
            "idx" => ShuffleMode::Index,
            _ => return Ok(false),
        };
        let (d, p) = self.with_predicate(d)?;
        let a = self.value(a, Type::B32)?;
        let b = self.value(b, Type::B32)?;
        let c = self.value(c, Type::B32)?;
        let mask = self.value(mask, Type::B32)?;
        self.emit(Op::Shuffle { mode, d, p, a, b, c, mask });
        Ok(true)
    }

    /// `d` or `d|p`; where there is no predicate, one that nobody reads.
    fn with_predicate(&mut self, operand: &Operand) -> Result<(u32, Pred), DecodeError> {
        match operand {
            Operand::Pair(d, p) => {
                let d = self.destination_of(&Operand::Name(d.clone()), Type::B32)?;
                Ok((d, self.predicate_named(p)?))
            }
            d => Ok((self.destination_of(d, Type::B32)?, self.new_pred())),
        }
    }
}
