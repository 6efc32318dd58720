//! A kernel's syntax tree to instructions for a whole warp.
//!
//! [`translate`] walks the statements, resolves names and writes calls out in line;
//! [`arithmetic`] (with [`names`]), [`memory`] and [`control`] know the opcodes; [`meet`] finds where divided
//! warps meet again, [`uses`] what each instruction reads and writes.

mod arithmetic;
mod control;
pub mod inst;
mod meet;
mod memory;
mod names;
mod translate;
pub mod uses;

use std::collections::HashMap;

use crate::ptx::ast::{Module, Space};

pub use translate::decode;

/// Addresses of a module's variables: where each lies.
pub type Symbols = HashMap<String, (Space, u64)>;

/// The address of shared memory whose size the launch gives, until the kernel's own is known.
pub const DYNAMIC_SHARED: u64 = 1 << 40;

/// Why a kernel cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error(
        "{kernel}: PTX line {line}: opcode `{opcode}` is unknown to the simulated device; teach it in tests/sim/src/decode"
    )]
    UnknownOpcode { kernel: String, opcode: String, line: u32 },
    #[error("{kernel}: PTX line {line}: `{opcode}`: {what}; look at that line of the PTX")]
    Operand { kernel: String, opcode: String, line: u32, what: String },
    #[error("{kernel}: {what}; write the kernel without it")]
    Unsupported { kernel: String, what: String },
}

/// Decodes every kernel of `module`.
///
/// # Errors
///
/// The first instruction that is unknown or has operands it cannot have.
pub fn decode_all(module: &Module, symbols: &Symbols) -> Result<Vec<inst::Kernel>, DecodeError> {
    let kernels = module.functions.iter().filter(|function| function.entry);
    kernels.map(|function| decode(module, function, symbols)).collect()
}
