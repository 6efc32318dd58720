//! What the device says about a kernel that does something wrong.

use std::fmt;
use std::io::Write as _;

/// The kinds of errors that are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    OutOfBounds,
    UseAfterFree,
    Unwritten,
    UnwrittenRegister,
    UnfinishedCopy,
    UnfinishedProduct,
    Unfenced,
    Misaligned,
    SharedRace,
    GlobalRace,
    ReadOnlyWritten,
    BarrierDivergence,
    AbsentLanes,
    Deadlock,
    Trap,
    Unsupported,
    LaunchShape,
    ArgumentList,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::OutOfBounds => "out of bounds",
            Kind::UseAfterFree => "use of freed memory",
            Kind::Unwritten => "read of memory never written",
            Kind::UnwrittenRegister => "read of a register never written",
            Kind::UnfinishedProduct => "wgmma operand or result used before its wait",
            Kind::Unfenced => "wgmma without a fence before it",
            Kind::UnfinishedCopy => "cp.async data used before its wait",
            Kind::Misaligned => "misaligned access",
            Kind::SharedRace => "race in shared memory",
            Kind::GlobalRace => "race in global memory",
            Kind::ReadOnlyWritten => "write to constant memory",
            Kind::BarrierDivergence => "barrier not reached by all threads",
            Kind::AbsentLanes => "absent lanes",
            Kind::Deadlock => "deadlock",
            Kind::Trap => "trap",
            Kind::Unsupported => "not supported",
            Kind::LaunchShape => "wrong launch shape",
            Kind::ArgumentList => "wrong argument list",
        })
    }
}

/// An error within a warp, before it is known where the warp stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub kind: Kind,
    /// The lane that did it.
    pub lane: u32,
    pub what: String,
}

impl Fault {
    pub fn new(kind: Kind, lane: u32, what: String) -> Box<Fault> {
        Box::new(Fault { kind, lane, what })
    }
}

/// An error of a kernel, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub kind: Kind,
    pub kernel: String,
    /// Source file and line, if the kernel was compiled with `-lineinfo`.
    pub source: Option<(String, u32)>,
    pub block: [u32; 3],
    pub thread: [u32; 3],
    pub what: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([bx, by, bz], [tx, ty, tz]) = (self.block, self.thread);
        write!(f, "simulated device: {}: kernel {}", self.kind, self.kernel)?;
        match &self.source {
            Some((file, line)) => write!(f, " at {file}:{line}")?,
            None => write!(f, " (compile with -lineinfo to see the line)")?,
        }
        write!(f, ", block ({bx},{by},{bz}), thread ({tx},{ty},{tz}): {}", self.what)
    }
}

impl Report {
    /// Prints the report and appends it to the file that `CUDA_SIM_REPORT` names.
    pub fn announce(&self) {
        announce(&self.to_string());
    }
}

/// Prints a line and appends it to the file that `CUDA_SIM_REPORT` names.
pub fn announce(line: &str) {
    eprintln!("{line}");
    let Some(path) = std::env::var_os("CUDA_SIM_REPORT") else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    if let Err(error) = file.and_then(|mut file| writeln!(file, "{line}")) {
        eprintln!("simulated device: cannot append to {}: {error}", path.display());
    }
}
