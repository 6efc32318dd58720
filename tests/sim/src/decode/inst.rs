//! The form in which kernels are run: instructions for a whole warp, operands resolved to rows.
//!
//! A row holds one 32-bit value for each of the 32 lanes; a 64-bit value takes two rows that
//! follow each other. Constants and special registers are rows too, filled when a warp starts, so
//! that no instruction has to ask what kind its operand is. Predicates are 32-bit masks.

use std::sync::Arc;

use super::uses::Registers;
use crate::ptx::ast::{Space, Type};

/// Index of a row of the register file.
pub type Row = u32;
/// Index of a predicate.
pub type Pred = u16;

/// The predicate that never holds.
pub const FALSE: Pred = 0;
/// The predicate that always holds.
pub const TRUE: Pred = 1;
/// "Nowhere", for branches whose paths meet only at the end of the kernel.
pub const NOWHERE: u32 = u32::MAX;

/// One instruction of a warp.
#[derive(Debug, Clone)]
pub struct Inst {
    /// Lanes that take part: where this predicate holds...
    pub guard: Pred,
    /// ... or where it does not.
    pub negated: bool,
    /// Whether it counts as an instruction: some PTX instructions take several of ours.
    pub counted: bool,
    pub op: Op,
}

/// `d = f(a)`; 16-bit values lie zero-extended in their rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[rustfmt::skip]
pub enum Unary {
    Not16, Not32, Not64, Neg16, Neg32, Neg64, Abs16, Abs32, Abs64,
    NegF32, NegF64, AbsF32, AbsF64, FlushF32, SaturateF32, SaturateF64,
    Popc32, Popc64, Clz32, Clz64, Brev32, Brev64,
    BfindU32, BfindS32, BfindU64, BfindS64, BfindShiftU32,
    SqrtF32, SqrtF64, RcpF32, RcpF64, RsqrtF32, RsqrtF64, Ex2F32, Lg2F32, SinF32, CosF32, TanhF32,
    RoundTf32,
}

/// `d = f(a, b)`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[rustfmt::skip]
pub enum Binary {
    Add16, Add32, Add64, Sub16, Sub32, Sub64, Mul16, Mul32, Mul64,
    MulHiU16, MulHiS16, MulHiU32, MulHiS32, MulHiU64, MulHiS64,
    MulWideU16, MulWideS16, MulWideU32, MulWideS32,
    DivU16, DivS16, DivU32, DivS32, DivU64, DivS64, RemU16, RemS16, RemU32, RemS32, RemU64, RemS64,
    MinU16, MinS16, MinU32, MinS32, MinU64, MinS64, MaxU16, MaxS16, MaxU32, MaxS32, MaxU64, MaxS64,
    And32, And64, Or32, Or64, Xor32, Xor64,
    Shl16, Shl32, Shl64, ShrU16, ShrS16, ShrU32, ShrS32, ShrU64, ShrS64,
    AddF32, SubF32, MulF32, DivF32, MinF32, MaxF32, MinNanF32, MaxNanF32, CopysignF32,
    AddF64, SubF64, MulF64, DivF64, MinF64, MaxF64, CopysignF64,
    AddDownF32, AddUpF32, AddZeroF32, MulDownF32, MulUpF32, MulZeroF32,
}

/// `d = f(a, b, c)`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[rustfmt::skip]
pub enum Ternary {
    FmaF32, FmaF64, FmaDownF32, FmaUpF32, FmaZeroF32,
    Mad16, Mad32, Mad64, MadHiU32, MadHiS32, MadHiU64, MadHiS64,
    MadWideU16, MadWideS16, MadWideU32, MadWideS32,
    SadU32, SadS32, BfeU32, BfeS32, BfeU64, BfeS64,
    ShfLeftWrap, ShfLeftClamp, ShfRightWrap, ShfRightClamp,
    Prmt, Lop3(u8), SlctS32B32, SlctF32B32,
    Dp4aUU, Dp4aUS, Dp4aSU, Dp4aSS, Dp2a { high: bool, signed_a: bool, signed_b: bool },
}

/// How two values are compared. The `U` forms of float comparisons hold for NaN too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[rustfmt::skip]
pub enum Comparison { Eq, Ne, Lt, Le, Gt, Ge, EqU, NeU, LtU, LeU, GtU, GeU, Num, Nan }

/// Logic of predicates: `d = f(a, b)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[rustfmt::skip]
pub enum Logic { And, Or, Xor, AndNot, OrNot, XorNot }

/// Rounding of a conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[rustfmt::skip]
pub enum Rounding { Nearest, Zero, Down, Up }

/// Where a memory instruction points: `rows[row] + offset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    pub row: Row,
    /// Whether the row is a 64-bit one.
    pub wide: bool,
    pub offset: i64,
}

/// How an access takes part in the memory model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strength {
    Weak,
    /// Volatile and relaxed accesses, and atomics: they never race with each other.
    Relaxed,
    /// An access that also acquires or releases.
    Ordered,
}

/// The values of a load or store: `count` elements of `bytes` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Values {
    pub rows: [Row; 4],
    pub count: u8,
    /// 1, 2, 4 or 8.
    pub bytes: u8,
    /// Whether a loaded element is sign-extended.
    pub signed: bool,
    /// Whether the rows are 64-bit ones.
    pub wide: bool,
}

/// Read-modify-write operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[rustfmt::skip]
pub enum AtomicOp { Add, Min, Max, And, Or, Xor, Exchange, CompareSwap, Inc, Dec }

/// Where a shuffle takes its value from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[rustfmt::skip]
pub enum ShuffleMode { Up, Down, Butterfly, Index }

/// What a vote answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[rustfmt::skip]
pub enum VoteMode { All, Any, Uniform, Ballot }

/// Shapes of the matrix instruction that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[rustfmt::skip]
pub enum MmaShape { M16N8K4Tf32, M16N8K8Tf32, M16N8K8Bf16, M16N8K16Bf16, M16N8K8F16, M16N8K16F16 }

/// What a warp does in one step.
#[derive(Debug, Clone)]
pub enum Op {
    Mov32 {
        d: Row,
        a: Row,
    },
    Mov64 {
        d: Row,
        a: Row,
    },
    Unary {
        f: Unary,
        d: Row,
        a: Row,
    },
    Binary {
        f: Binary,
        d: Row,
        a: Row,
        b: Row,
    },
    Ternary {
        f: Ternary,
        d: Row,
        a: Row,
        b: Row,
        c: Row,
    },
    /// Inserts `len` bits of `a` into `b` at bit `at`.
    Bfi {
        wide: bool,
        d: Row,
        a: Row,
        b: Row,
        at: Row,
        len: Row,
    },
    /// Adds or subtracts with the carry of the instruction before (`read`), and keeps its own (`write`).
    Carry {
        subtract: bool,
        wide: bool,
        read: bool,
        write: bool,
        d: Row,
        a: Row,
        b: Row,
    },
    Compare {
        f: Comparison,
        kind: Type,
        p: Pred,
        a: Row,
        b: Row,
    },
    Logic {
        f: Logic,
        p: Pred,
        a: Pred,
        b: Pred,
    },
    Select32 {
        d: Row,
        a: Row,
        b: Row,
        p: Pred,
    },
    Select64 {
        d: Row,
        a: Row,
        b: Row,
        p: Pred,
    },
    Convert {
        from: Type,
        to: Type,
        rounding: Rounding,
        integral: bool,
        saturate: bool,
        d: Row,
        a: Row,
    },
    /// Two floats to a pair of 16-bit floats: `high` in the upper half.
    ConvertPair {
        bf16: bool,
        d: Row,
        high: Row,
        low: Row,
    },
    /// Elements of `bits` bits to one value of `count * bits` bits.
    Pack {
        bits: u8,
        count: u8,
        d: Row,
        from: [Row; 4],
    },
    /// The reverse; a row of `NOWHERE` is dropped.
    Unpack {
        bits: u8,
        count: u8,
        to: [Row; 4],
        a: Row,
    },
    LoadParam {
        values: Values,
        offset: u32,
    },
    Load {
        space: Space,
        values: Values,
        address: Address,
        strength: Strength,
    },
    Store {
        space: Space,
        values: Values,
        address: Address,
        strength: Strength,
    },
    /// `d` is `NOWHERE` for `red`.
    Atomic {
        space: Space,
        op: AtomicOp,
        kind: Type,
        d: Row,
        address: Address,
        b: Row,
        c: Row,
        ordered: bool,
    },
    /// `size` bytes from global to shared, of which `filled` (a row) come from memory, the rest is zero.
    CopyAsync {
        shared: Address,
        global: Address,
        size: u8,
        filled: Option<Row>,
    },
    CopyCommit,
    /// Waits until at most `pending` groups are on their way.
    CopyWait {
        pending: u32,
    },
    /// Waits for every copy, committed or not.
    CopyWaitAll,
    LoadMatrix {
        d: [Row; 4],
        count: u8,
        transpose: bool,
        address: Address,
    },
    Mma {
        shape: MmaShape,
        d: [Row; 4],
        a: [Row; 4],
        b: [Row; 2],
        c: [Row; 4],
    },
    /// A warp's 16 rows of `d += a * b`, 64 x `columns`, eight products an element, in TF32. `b` lies in shared memory,
    /// where the descriptor `lines` (64 bits) says.
    GroupMma {
        columns: u16,
        d: Arc<[Row]>,
        a: [Row; 4],
        lines: Row,
        accumulate: bool,
    },
    GroupFence,
    GroupCommit,
    /// Waits until at most `pending` groups of them are under way.
    GroupWait {
        pending: u32,
    },
    Branch {
        target: u32,
        meet: u32,
    },
    BranchIndex {
        index: Row,
        targets: Arc<Vec<u32>>,
        meet: u32,
    },
    Exit,
    Trap {
        what: Arc<str>,
    },
    Barrier {
        id: Row,
        threads: Option<Row>,
        wait: bool,
        reduce: Option<Reduce>,
    },
    WarpSync {
        mask: Row,
    },
    Fence {
        device: bool,
    },
    /// Between a thread's own accesses to shared memory and those of the asynchronous proxy.
    ProxyFence,
    Shuffle {
        mode: ShuffleMode,
        d: Row,
        p: Pred,
        a: Row,
        b: Row,
        c: Row,
        mask: Row,
    },
    Vote {
        mode: VoteMode,
        d: Row,
        p: Pred,
        a: Pred,
        negated: bool,
        mask: Row,
    },
    Match {
        all: bool,
        wide: bool,
        d: Row,
        p: Pred,
        a: Row,
        mask: Row,
    },
    Redux {
        op: AtomicOp,
        kind: Type,
        d: Row,
        a: Row,
        mask: Row,
    },
    ActiveMask {
        d: Row,
    },
    Clock {
        d: Row,
        wide: bool,
    },
    Nanosleep,
}

/// What `bar.red` combines over the block's predicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reduce {
    pub op: ReduceOp,
    pub d: Row,
    pub p: Pred,
    pub a: Pred,
    pub negated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[rustfmt::skip]
pub enum ReduceOp { Count, And, Or }

/// Registers whose value is known when the warp starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[rustfmt::skip]
pub enum Special {
    Tid(u8), Ntid(u8), Ctaid(u8), Nctaid(u8), LaneId, WarpId, NWarpId,
    MaskEq, MaskLt, MaskLe, MaskGt, MaskGe, SmId, NSmId, GridId, DynamicShared, TotalShared,
}

/// A source line: index into [`Kernel::files`] and a line, or 0 where it is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Line {
    pub file: u32,
    pub line: u32,
}

/// A kernel, ready to run.
#[derive(Debug)]
pub struct Kernel {
    pub name: String,
    pub code: Vec<Inst>,
    /// The source line of each instruction.
    pub lines: Vec<Line>,
    pub files: Vec<String>,
    /// Rows of the register file of a warp.
    pub rows: u32,
    /// Predicates of a warp.
    pub preds: u32,
    /// Rows of constants: (row, whether 64-bit, value).
    pub constants: Vec<(Row, bool, u64)>,
    pub specials: Vec<(Row, Special)>,
    /// (offset, size) of each parameter in the parameter buffer.
    pub params: Vec<(u32, u32)>,
    /// Size of the parameter buffer in bytes.
    pub param_bytes: u32,
    /// Shared memory declared by the kernel, in bytes.
    pub shared_bytes: u32,
    /// Local memory of a thread, in bytes.
    pub local_bytes: u32,
    /// What each instruction reads and writes.
    pub registers: Registers,
    pub max_threads: Option<u32>,
    pub required_threads: Option<[u32; 3]>,
}
