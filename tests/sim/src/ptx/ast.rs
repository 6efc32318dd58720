//! The syntax tree of a PTX module.

use std::collections::HashMap;

/// State spaces of variables and of memory instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Space {
    Register,
    Global,
    Const,
    Shared,
    Local,
    Param,
    /// Addresses that may lie in any space.
    Generic,
}

/// What a scalar is: its bits and how they are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    Pred,
    B8,
    B16,
    B32,
    B64,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F16,
    F32,
    F64,
}

impl Type {
    /// The type that a dotted word of PTX names (`"u32"`), if it names one.
    pub fn from_word(word: &str) -> Option<Type> {
        Some(match word {
            "pred" => Type::Pred,
            "b8" => Type::B8,
            "b16" | "bf16" => Type::B16,
            "b32" | "tf32" | "f16x2" | "bf16x2" => Type::B32,
            "b64" => Type::B64,
            "u8" => Type::U8,
            "u16" => Type::U16,
            "u32" => Type::U32,
            "u64" => Type::U64,
            "s8" => Type::S8,
            "s16" => Type::S16,
            "s32" => Type::S32,
            "s64" => Type::S64,
            "f16" => Type::F16,
            "f32" => Type::F32,
            "f64" => Type::F64,
            _ => return None,
        })
    }

    /// Size in bytes; a predicate has none.
    pub fn bytes(self) -> u32 {
        match self {
            Type::Pred => 0,
            Type::B8 | Type::U8 | Type::S8 => 1,
            Type::B16 | Type::U16 | Type::S16 | Type::F16 => 2,
            Type::B32 | Type::U32 | Type::S32 | Type::F32 => 4,
            Type::B64 | Type::U64 | Type::S64 | Type::F64 => 8,
        }
    }

    /// Whether it is a signed integer.
    pub fn signed(self) -> bool {
        matches!(self, Type::S8 | Type::S16 | Type::S32 | Type::S64)
    }

    /// Whether it is a floating-point number.
    pub fn float(self) -> bool {
        matches!(self, Type::F16 | Type::F32 | Type::F64)
    }
}

/// A variable outside the registers: global, const, shared, local, or a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    pub space: Space,
    /// Alignment in bytes, a power of two.
    pub align: u32,
    /// Size in bytes; 0 for `extern .shared x[]`, whose size the launch gives.
    pub bytes: u32,
    /// Initial bytes; shorter than `bytes` where the rest is zero, empty where none are given.
    pub initial: Vec<u8>,
    /// Addresses of other variables in the initial value: (byte offset, name).
    pub addresses: Vec<(u32, String)>,
}

/// An operand of an instruction.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A register, a variable, a label, a function or a special register.
    Name(String),
    Integer(u64),
    Single(u32),
    Double(u64),
    /// `{a, b}`
    Vector(Vec<Operand>),
    /// `[base+offset]`; without a base the offset is the address.
    Address {
        base: Option<String>,
        offset: i64,
    },
    /// `d|p`: a destination and a predicate.
    Pair(String, String),
    /// `!p`
    Not(String),
    /// `(a, b)`: arguments or results of a call.
    List(Vec<Operand>),
}

/// One instruction: `@guard opcode operands;`
#[derive(Debug, Clone, PartialEq)]
pub struct Instruction {
    /// The predicate that must hold, and whether it is negated.
    pub guard: Option<(String, bool)>,
    /// The opcode's dotted words: `["ld", "global", "f32"]`.
    pub opcode: Vec<String>,
    pub operands: Vec<Operand>,
    /// Line of the PTX text.
    pub line: u32,
}

/// What stands in the body of a function, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    /// `{`: names declared from here are forgotten at the matching `Close`.
    Open,
    Close,
    /// Registers of one type.
    Registers(Type, Vec<String>),
    Variable(Variable),
    Label(String),
    /// A label's list of labels, for `brx.idx`.
    Targets(String, Vec<String>),
    /// From here on, code of this line of this file (by number).
    Location {
        file: u32,
        line: u32,
    },
    Instruction(Instruction),
}

/// A kernel (`.entry`) or a device function (`.func`) with a body.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    pub name: String,
    pub entry: bool,
    pub returns: Vec<Variable>,
    pub params: Vec<Variable>,
    /// `.maxntid`: the most threads of a block, as their product.
    pub max_threads: Option<u32>,
    /// `.reqntid`: the block's very shape.
    pub required_threads: Option<[u32; 3]>,
    pub body: Vec<Statement>,
}

/// A PTX text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Module {
    /// The number in `.target sm_NN`.
    pub target: u32,
    pub variables: Vec<Variable>,
    pub functions: Vec<Function>,
    /// Source files by number.
    pub files: HashMap<u32, String>,
}
