//! PTX text to a syntax tree: as much of the language as NVRTC writes and as inline PTX may hold.
//!
//! [`lexer`] cuts the text into tokens, [`parser`] builds the tree of [`ast`]. Opcodes are not
//! understood here: an instruction is its words and its operands, and the decoder names what it
//! does not know.

pub mod ast;
pub mod lexer;
pub mod parser;

/// What is wrong with a PTX text. Line numbers count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "PTX line {line}: {what}; compile the kernel again, or teach the simulated device this PTX"
)]
pub struct SyntaxError {
    /// Line of the PTX text.
    pub line: u32,
    /// What was found and what was expected.
    pub what: String,
}
