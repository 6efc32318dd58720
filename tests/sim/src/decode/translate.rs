//! The walk over a kernel's statements: scopes, registers, constants, labels, calls in line.

mod operands;

use std::collections::HashMap;
use std::sync::Arc;

use super::inst::{Inst, Kernel, Line, NOWHERE, Op, Pred, Row, Special, TRUE, Unary};
use super::meet::find_meeting_points;
use super::uses::Registers;
use super::{DYNAMIC_SHARED, DecodeError, Symbols};
use crate::ptx::ast::{Function, Instruction, Module, Operand, Space, Statement, Type, Variable};

/// Calls within calls: deeper means recursion, which is not written out.
const MOST_CALLS: usize = 24;

/// Decodes one kernel.
///
/// # Errors
///
/// An instruction that is unknown or has operands it cannot have.
pub fn decode(
    module: &Module,
    function: &Function,
    symbols: &Symbols,
) -> Result<Kernel, DecodeError> {
    let mut translator = Translator::new(module, function, symbols);
    translator.body(&function.body)?;
    translator.emit(Op::Exit);
    translator.resolve_labels()?;
    let own = u64::from(translator.kernel.shared_bytes.next_multiple_of(16));
    for (row, wide, at) in std::mem::take(&mut translator.dynamic) {
        translator.kernel.constants.push((row, wide, own + at - DYNAMIC_SHARED));
    }
    find_meeting_points(&mut translator.kernel.code);
    Registers::fill(&mut translator.kernel);
    Ok(translator.kernel)
}

/// What a name means.
#[derive(Debug, Clone, Copy)]
enum Symbol {
    Register(Type, Row),
    Predicate(Pred),
    /// A variable's address within its space.
    Variable(Space, u64),
    /// A parameter of the kernel: offset in its buffer.
    Parameter(u32),
    /// A parameter of a call, by number.
    Argument(u32),
    Label(u32),
}

/// Writes a kernel's code.
pub(super) struct Translator<'a> {
    module: &'a Module,
    symbols: &'a Symbols,
    kernel: Kernel,
    /// Innermost last. `scopes[base]` is the outermost that the current function sees.
    scopes: Vec<HashMap<String, Symbol>>,
    base: usize,
    /// Where each label stands, once it is known. Branches hold label numbers until the end.
    labels: Vec<u32>,
    targets: HashMap<String, Vec<String>>,
    arguments: u32,
    /// The row of each part of a call's parameters: (parameter, byte offset).
    argument_rows: HashMap<(u32, u32), (Row, u32)>,
    constants: HashMap<(bool, u64), Row>,
    /// Rows that hold addresses of dynamic shared memory: (row, whether 64-bit, address).
    dynamic: Vec<(Row, bool, u64)>,
    specials: HashMap<Special, Row>,
    /// Where `ret` goes within a call written out in line.
    returns: Vec<u32>,
    line: Line,
    files: HashMap<u32, u32>,
    guard: (Pred, bool),
    /// The instruction in hand, for messages and for what counts.
    opcode: String,
    ptx_line: u32,
    uncounted: bool,
}

impl<'a> Translator<'a> {
    fn new(module: &'a Module, function: &Function, symbols: &'a Symbols) -> Translator<'a> {
        let mut scope = HashMap::new();
        let mut params = Vec::new();
        let mut offset = 0u32;
        for param in &function.params {
            offset = offset.next_multiple_of(param.align.max(1));
            scope.insert(param.name.clone(), Symbol::Parameter(offset));
            params.push((offset, param.bytes));
            offset += param.bytes;
        }
        let kernel = Kernel {
            name: function.name.clone(),
            code: Vec::new(),
            lines: Vec::new(),
            files: vec![String::new()],
            rows: 0,
            preds: 2,
            constants: Vec::new(),
            specials: Vec::new(),
            params,
            param_bytes: offset,
            shared_bytes: 0,
            local_bytes: 0,
            registers: Registers::default(),
            max_threads: function.max_threads,
            required_threads: function.required_threads,
        };
        let mut translator = Translator {
            module,
            symbols,
            kernel,
            scopes: vec![scope],
            base: 0,
            labels: Vec::new(),
            targets: HashMap::new(),
            arguments: 0,
            argument_rows: HashMap::new(),
            constants: HashMap::new(),
            dynamic: Vec::new(),
            specials: HashMap::new(),
            returns: Vec::new(),
            line: Line::default(),
            files: HashMap::new(),
            guard: (TRUE, false),
            opcode: String::new(),
            ptx_line: 0,
            uncounted: false,
        };
        // Shared variables of the module lie in the block's shared memory of every kernel.
        for variable in &module.variables {
            if variable.space == Space::Shared && variable.bytes > 0 {
                translator.declare(variable);
            }
        }
        translator
    }

    fn body(&mut self, statements: &[Statement]) -> Result<(), DecodeError> {
        self.find_labels(statements);
        let mut at = 0;
        while let Some(statement) = statements.get(at) {
            match statement {
                Statement::Open => {
                    let inside = &statements[at + 1..];
                    let length = matching_close(inside);
                    self.scopes.push(HashMap::new());
                    self.body(&inside[..length])?;
                    self.scopes.pop();
                    at += length + 1;
                }
                Statement::Close | Statement::Label(_) => {
                    if let Statement::Label(name) = statement
                        && let Some(Symbol::Label(label)) = self.lookup(name)
                    {
                        self.labels[label as usize] = self.kernel.code.len() as u32;
                    }
                }
                Statement::Registers(kind, names) => {
                    for name in names {
                        let symbol = match kind {
                            Type::Pred => Symbol::Predicate(self.new_pred()),
                            kind => Symbol::Register(*kind, self.new_row(kind.bytes() == 8)),
                        };
                        let known = &mut self.kernel.registers;
                        match symbol {
                            Symbol::Predicate(pred) => known.preds.push((pred, name.clone())),
                            Symbol::Register(_, row) => known.rows.push((row, name.clone())),
                            _ => {}
                        }
                        self.bind(name, symbol);
                    }
                }
                Statement::Variable(variable) => self.declare(variable),
                Statement::Targets(..) => {}
                Statement::Location { file, line } => self.locate(*file, *line),
                Statement::Instruction(instruction) => self.instruction(instruction)?,
            }
            at += 1;
        }
        Ok(())
    }

    /// Labels may be used before they stand: all of a scope are bound when it opens.
    fn find_labels(&mut self, statements: &[Statement]) {
        let mut depth = 0;
        for statement in statements {
            match statement {
                Statement::Open => depth += 1,
                Statement::Close => depth -= 1,
                Statement::Label(name) if depth == 0 => {
                    let label = self.new_label();
                    self.bind(name, Symbol::Label(label));
                }
                Statement::Targets(name, targets) => {
                    self.targets.insert(name.clone(), targets.clone());
                }
                _ => {}
            }
        }
    }

    fn locate(&mut self, file: u32, line: u32) {
        let names = &self.module.files;
        let files = &mut self.kernel.files;
        let file = *self.files.entry(file).or_insert_with(|| {
            files.push(names.get(&file).cloned().unwrap_or_default());
            files.len() as u32 - 1
        });
        self.line = Line { file, line };
    }

    fn declare(&mut self, variable: &Variable) {
        let place = |used: &mut u32| {
            *used = used.next_multiple_of(variable.align.max(1));
            let address = *used;
            *used += variable.bytes;
            u64::from(address)
        };
        let symbol = match variable.space {
            Space::Local => Symbol::Variable(Space::Local, place(&mut self.kernel.local_bytes)),
            Space::Shared => Symbol::Variable(Space::Shared, place(&mut self.kernel.shared_bytes)),
            _ => {
                self.arguments += 1;
                Symbol::Argument(self.arguments)
            }
        };
        self.bind(&variable.name, symbol);
    }

    fn instruction(&mut self, instruction: &Instruction) -> Result<(), DecodeError> {
        self.opcode = instruction.opcode.join(".");
        self.ptx_line = instruction.line;
        self.uncounted = false;
        self.guard = match &instruction.guard {
            Some((name, negated)) => (self.predicate_named(name)?, *negated),
            None => (TRUE, false),
        };
        let words: Vec<&str> = instruction.opcode.iter().map(String::as_str).collect();
        let operands = &instruction.operands;
        let known = match words[0] {
            "call" => {
                self.call(operands)?;
                true
            }
            _ => {
                self.control(&words, operands)?
                    || self.memory(&words, operands)?
                    || self.arithmetic(&words, operands)?
            }
        };
        self.guard = (TRUE, false);
        if known { Ok(()) } else { Err(self.unknown()) }
    }

    /// Writes the called function out in line: its parameters become names for the arguments.
    fn call(&mut self, operands: &[Operand]) -> Result<(), DecodeError> {
        let mut results: &[Operand] = &[];
        let mut arguments: &[Operand] = &[];
        let mut callee = None;
        for operand in operands {
            match (operand, &callee) {
                (Operand::Name(name), None) => callee = Some(name.clone()),
                (Operand::List(list), None) => results = list,
                (Operand::List(list), Some(_)) => arguments = list,
                _ => return Err(self.operand("calls through a pointer are not supported")),
            }
        }
        let name = callee.unwrap_or_default();
        if name == "__assertfail" {
            self.emit(Op::Trap { what: "an assertion failed".into() });
            return Ok(());
        }
        let module = self.module;
        let Some(function) = module.functions.iter().find(|function| function.name == name) else {
            return Err(self.unsupported(&format!("it calls `{name}`, which has no body")));
        };
        if self.returns.len() >= MOST_CALLS {
            return Err(self.unsupported(&format!("`{name}` is called too deep, or recursively")));
        }
        let mut scope = HashMap::new();
        let formal = function.returns.iter().chain(&function.params);
        for (variable, operand) in formal.zip(results.iter().chain(arguments)) {
            let Operand::Name(actual) = operand else {
                return Err(self.operand("an argument of a call is no name"));
            };
            let Some(symbol) = self.lookup(actual) else {
                return Err(self.operand("an argument of a call is unknown"));
            };
            scope.insert(variable.name.clone(), symbol);
        }
        let after = self.new_label();
        let (pred, negated) = std::mem::replace(&mut self.guard, (TRUE, false));
        if pred != TRUE {
            self.guard = (pred, !negated);
            self.emit(Op::Branch { target: after, meet: NOWHERE });
            self.guard = (TRUE, false);
        }
        let outer = std::mem::replace(&mut self.base, self.scopes.len());
        let line = self.line;
        self.scopes.push(scope);
        self.returns.push(after);
        self.body(&function.body)?;
        self.returns.pop();
        self.scopes.pop();
        self.base = outer;
        self.line = line;
        self.labels[after as usize] = self.kernel.code.len() as u32;
        Ok(())
    }

    fn resolve_labels(&mut self) -> Result<(), DecodeError> {
        let labels = std::mem::take(&mut self.labels);
        for inst in &mut self.kernel.code {
            match &mut inst.op {
                Op::Branch { target, .. } => *target = labels[*target as usize],
                Op::BranchIndex { targets, .. } => {
                    *targets = Arc::new(targets.iter().map(|&at| labels[at as usize]).collect());
                }
                _ => {}
            }
        }
        if labels.contains(&NOWHERE) {
            return Err(self.unsupported("it has a label that stands nowhere"));
        }
        Ok(())
    }

    // What the opcode families use.

    pub(super) fn emit(&mut self, op: Op) {
        let counted = !std::mem::replace(&mut self.uncounted, true);
        let (guard, negated) = self.guard;
        self.kernel.code.push(Inst { guard, negated, counted, op });
        self.kernel.lines.push(self.line);
    }

    pub(super) fn new_row(&mut self, wide: bool) -> Row {
        let row = self.kernel.rows;
        self.kernel.rows += if wide { 2 } else { 1 };
        row
    }

    pub(super) fn new_pred(&mut self) -> Pred {
        let pred = self.kernel.preds as Pred;
        self.kernel.preds += 1;
        pred
    }

    fn new_label(&mut self) -> u32 {
        self.labels.push(NOWHERE);
        self.labels.len() as u32 - 1
    }

    fn bind(&mut self, name: &str, symbol: Symbol) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.to_string(), symbol);
        }
    }

    fn lookup(&self, name: &str) -> Option<Symbol> {
        let seen = self.scopes[self.base..].iter().rev();
        let local = seen.chain(self.scopes.first()).find_map(|scope| scope.get(name));
        local
            .copied()
            .or_else(|| self.symbols.get(name).map(|&(space, at)| Symbol::Variable(space, at)))
    }

    /// Sends a flush of subnormal values to zero before or after an `.ftz` instruction.
    pub(super) fn flushed(&mut self, a: Row) -> Row {
        let d = self.new_row(false);
        let was_uncounted = std::mem::replace(&mut self.uncounted, true);
        self.emit(Op::Unary { f: Unary::FlushF32, d, a });
        self.uncounted = was_uncounted;
        d
    }

    pub(super) fn unknown(&self) -> DecodeError {
        let (kernel, opcode) = (self.kernel.name.clone(), self.opcode.clone());
        DecodeError::UnknownOpcode { kernel, opcode, line: self.ptx_line }
    }

    pub(super) fn operand(&self, what: &str) -> DecodeError {
        let (kernel, opcode) = (self.kernel.name.clone(), self.opcode.clone());
        DecodeError::Operand { kernel, opcode, line: self.ptx_line, what: what.to_string() }
    }

    fn unsupported(&self, what: &str) -> DecodeError {
        DecodeError::Unsupported { kernel: self.kernel.name.clone(), what: what.to_string() }
    }
}

/// Index of the `Close` that ends the statements of an open scope.
fn matching_close(statements: &[Statement]) -> usize {
    let mut depth = 0;
    for (at, statement) in statements.iter().enumerate() {
        match statement {
            Statement::Open => depth += 1,
            Statement::Close if depth == 0 => return at,
            Statement::Close => depth -= 1,
            _ => {}
        }
    }
    statements.len()
}
