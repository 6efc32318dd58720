//! Tokens to the syntax tree.

use super::SyntaxError;
use super::ast::{Function, Instruction, Module, Operand, Space, Statement, Type, Variable};
use super::lexer::{Kind, Token, tokens};

/// Parses a PTX text.
///
/// # Errors
///
/// The first place that is not PTX as NVRTC writes it.
pub fn parse(text: &str) -> Result<Module, SyntaxError> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0 };
    let mut module = Module::default();
    while parser.at < parser.tokens.len() {
        parser.top_level(&mut module)?;
    }
    Ok(module)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

/// Linkage words before a variable or function: they change nothing for one module.
fn is_linkage(word: &str) -> bool {
    matches!(word, ".visible" | ".extern" | ".weak" | ".common")
}

fn space(word: &str) -> Option<Space> {
    Some(match word {
        ".global" => Space::Global,
        ".const" => Space::Const,
        ".shared" => Space::Shared,
        ".local" => Space::Local,
        ".param" => Space::Param,
        _ => return None,
    })
}

impl Parser {
    fn top_level(&mut self, module: &mut Module) -> Result<(), SyntaxError> {
        let word = self.word()?;
        match word.as_str() {
            linkage if is_linkage(linkage) => {}
            ".version" => {
                // Reads as 9.0, or as 9 . 0 in old texts.
                self.at += 1;
            }
            ".address_size" => {
                self.integer()?;
            }
            ".target" => {
                module.target = self.target()?;
            }
            ".file" => {
                let number = self.integer()? as u32;
                let name = match self.next()? {
                    Kind::Text(name) => name,
                    other => return Err(self.unexpected(&other, "a file name")),
                };
                // Time stamp and size may follow.
                while self.eat(',') {
                    self.integer()?;
                }
                module.files.insert(number, name);
            }
            ".section" => self.skip_braces()?,
            ".pragma" => self.skip_past(';')?,
            ".alias" => self.skip_past(';')?,
            ".entry" | ".func" => {
                let function = self.function(word == ".entry")?;
                module.functions.extend(function);
            }
            _ => match space(&word) {
                Some(space) => {
                    let variables = self.variables(space)?;
                    module.variables.extend(variables);
                }
                None => return Err(self.error(format!("`{word}` at the top level is unknown"))),
            },
        }
        Ok(())
    }

    fn target(&mut self) -> Result<u32, SyntaxError> {
        let word = self.word()?;
        let digits: String = word
            .chars()
            .skip_while(|c| !c.is_ascii_digit())
            .take_while(char::is_ascii_digit)
            .collect();
        let number = digits.parse().map_err(|_| self.error(format!("`{word}` is no target")))?;
        while self.eat(',') {
            self.word()?;
        }
        Ok(number)
    }

    /// A function with a body, or nothing for a declaration.
    fn function(&mut self, entry: bool) -> Result<Option<Function>, SyntaxError> {
        let returns = if self.peek_is('(') { self.parameters()? } else { Vec::new() };
        let name = self.word()?;
        let params = if self.peek_is('(') { self.parameters()? } else { Vec::new() };
        let mut max_threads = None;
        let mut required_threads = None;
        while let Some(Kind::Word(word)) = self.peek() {
            let word = word.clone();
            self.at += 1;
            let mut numbers = Vec::new();
            while let Some(Kind::Integer(number)) = self.peek() {
                numbers.push(*number as u32);
                self.at += 1;
                self.eat(',');
            }
            match word.as_str() {
                ".maxntid" => max_threads = Some(numbers.iter().product()),
                ".reqntid" => {
                    let dim = |i: usize| numbers.get(i).copied().unwrap_or(1);
                    required_threads = Some([dim(0), dim(1), dim(2)]);
                }
                ".minnctapersm" | ".maxnreg" | ".maxnctapersm" | ".noreturn" | ".language" => {}
                ".pragma" | ".attribute" => self.skip_past(';')?,
                _ => return Err(self.error(format!("`{word}` before a body is unknown"))),
            }
        }
        if self.eat(';') {
            return Ok(None);
        }
        let body = self.body()?;
        Ok(Some(Function { name, entry, returns, params, max_threads, required_threads, body }))
    }

    fn parameters(&mut self) -> Result<Vec<Variable>, SyntaxError> {
        self.expect('(')?;
        let mut parameters = Vec::new();
        while !self.eat(')') {
            let word = self.word()?;
            if word == ".reg" {
                return Err(self.error("parameters in registers are not supported".to_string()));
            }
            parameters.push(self.variable(Space::Param)?);
            self.eat(',');
        }
        Ok(parameters)
    }

    /// The rest of a declaration after its space: `.align 4 .b8 name[12] = {1, 2}, other;`
    fn variables(&mut self, space: Space) -> Result<Vec<Variable>, SyntaxError> {
        let mut variables = vec![self.variable(space)?];
        while self.eat(',') {
            let first = &variables[0];
            let (align, bytes) = (first.align, first.bytes);
            let name = self.word()?;
            variables.push(Variable { name, space, align, bytes, ..variables[0].clone() });
        }
        self.expect(';')?;
        Ok(variables)
    }

    fn variable(&mut self, space: Space) -> Result<Variable, SyntaxError> {
        let mut align = None;
        let mut lanes = 1;
        let mut kind = None;
        let name = loop {
            let word = self.word()?;
            match word.as_str() {
                ".align" => align = Some(self.integer()? as u32),
                ".v2" => lanes = 2,
                ".v4" => lanes = 4,
                // A pointer parameter's hints: `.ptr .global .align 4`.
                ".ptr" => {
                    while let Some(Kind::Word(hint)) = self.peek() {
                        match hint.as_str() {
                            ".align" => self.at += 2,
                            hint if hint.starts_with('.') => self.at += 1,
                            _ => break,
                        }
                    }
                }
                ".attribute" => self.parentheses()?,
                word if word.starts_with('.') => {
                    kind = Some(
                        Type::from_word(&word[1..])
                            .ok_or_else(|| self.error(format!("`{word}` is no type")))?,
                    );
                }
                _ => break word,
            }
        };
        let kind = kind.ok_or_else(|| self.error(format!("`{name}` has no type")))?;
        let element = kind.bytes() * lanes;
        let mut bytes = element;
        while self.eat('[') {
            let count = if self.peek_is(']') { 0 } else { self.integer()? as u32 };
            self.expect(']')?;
            bytes *= count;
        }
        let (initial, addresses) =
            if self.eat('=') { self.initial_value(kind)? } else { Default::default() };
        Ok(Variable { name, space, align: align.unwrap_or(element), bytes, initial, addresses })
    }

    /// A number, a name, or a list of them in braces, as bytes of elements of type `kind`.
    #[allow(clippy::type_complexity)]
    fn initial_value(&mut self, kind: Type) -> Result<(Vec<u8>, Vec<(u32, String)>), SyntaxError> {
        let mut bytes = Vec::new();
        let mut addresses = Vec::new();
        let mut depth = 0;
        loop {
            if self.eat('{') {
                depth += 1;
                continue;
            }
            let negative = self.eat('-');
            let value = match self.next()? {
                Kind::Integer(value) if negative => value.wrapping_neg(),
                Kind::Integer(value) | Kind::Double(value) => value,
                Kind::Single(bits) => u64::from(bits),
                Kind::Word(mut name) => {
                    if name == "generic" {
                        self.expect('(')?;
                        name = self.word()?;
                        self.expect(')')?;
                    }
                    addresses.push((bytes.len() as u32, name));
                    0
                }
                other => return Err(self.unexpected(&other, "an initial value")),
            };
            bytes.extend_from_slice(&value.to_le_bytes()[..kind.bytes() as usize]);
            while depth > 0 && self.eat('}') {
                depth -= 1;
            }
            if !(depth > 0 && self.eat(',')) {
                return Ok((bytes, addresses));
            }
        }
    }

    fn body(&mut self) -> Result<Vec<Statement>, SyntaxError> {
        self.expect('{')?;
        let mut statements = Vec::new();
        let mut depth = 0;
        loop {
            if self.eat('{') {
                depth += 1;
                statements.push(Statement::Open);
            } else if self.eat('}') {
                if depth == 0 {
                    return Ok(statements);
                }
                depth -= 1;
                statements.push(Statement::Close);
            } else if !self.eat(';') {
                self.statement(&mut statements)?;
            }
        }
    }

    fn statement(&mut self, statements: &mut Vec<Statement>) -> Result<(), SyntaxError> {
        let line = self.line();
        if self.eat('@') {
            let negated = self.eat('!');
            let guard = self.word()?;
            let opcode = self.word()?;
            let instruction = self.instruction(Some((guard, negated)), &opcode, line)?;
            statements.push(Statement::Instruction(instruction));
            return Ok(());
        }
        let word = self.word()?;
        match word.as_str() {
            ".reg" => statements.push(self.registers()?),
            ".loc" => statements.push(self.location()?),
            ".pragma" => self.skip_past(';')?,
            word if space(word).is_some() => {
                let space = space(word).unwrap_or(Space::Generic);
                statements.extend(self.variables(space)?.into_iter().map(Statement::Variable));
            }
            _ if self.eat(':') => {
                if self.peek() == Some(&Kind::Word(".branchtargets".to_string())) {
                    self.at += 1;
                    statements.push(Statement::Targets(word, self.names()?));
                } else {
                    statements.push(Statement::Label(word));
                }
            }
            _ if word.starts_with('.') => {
                return Err(self.error(format!("`{word}` in a body is unknown")));
            }
            _ => {
                let instruction = self.instruction(None, &word, line)?;
                statements.push(Statement::Instruction(instruction));
            }
        }
        Ok(())
    }

    fn names(&mut self) -> Result<Vec<String>, SyntaxError> {
        let mut names = vec![self.word()?];
        while self.eat(',') {
            names.push(self.word()?);
        }
        self.expect(';')?;
        Ok(names)
    }

    /// `.reg .b32 %r<5>, name;`
    fn registers(&mut self) -> Result<Statement, SyntaxError> {
        let word = self.word()?;
        let kind = Type::from_word(word.trim_start_matches('.'))
            .ok_or_else(|| self.error(format!("`{word}` is no type of registers")))?;
        let mut names = Vec::new();
        loop {
            let name = self.word()?;
            if self.eat('<') {
                let count = self.integer()?;
                self.expect('>')?;
                names.extend((0..count).map(|number| format!("{name}{number}")));
            } else {
                names.push(name);
            }
            if !self.eat(',') {
                break;
            }
        }
        self.expect(';')?;
        Ok(Statement::Registers(kind, names))
    }

    /// `.loc 1 25 3` and perhaps `, function_name label+0, inlined_at 1 30 5`: the innermost line.
    fn location(&mut self) -> Result<Statement, SyntaxError> {
        let file = self.integer()? as u32;
        let line = self.integer()? as u32;
        self.integer()?;
        while self.eat(',') {
            let word = self.word()?;
            if word == "function_name" {
                self.word()?;
                if self.eat('+') {
                    self.integer()?;
                }
            } else {
                for _ in 0..3 {
                    self.integer()?;
                }
            }
        }
        Ok(Statement::Location { file, line })
    }

    fn instruction(
        &mut self,
        guard: Option<(String, bool)>,
        opcode: &str,
        line: u32,
    ) -> Result<Instruction, SyntaxError> {
        let opcode = opcode.split('.').map(str::to_string).collect();
        let mut operands = Vec::new();
        while !self.eat(';') {
            operands.push(self.operand()?);
            if !self.eat(',') {
                self.expect(';')?;
                break;
            }
        }
        Ok(Instruction { guard, opcode, operands, line })
    }

    fn operand(&mut self) -> Result<Operand, SyntaxError> {
        let negative = self.eat('-');
        Ok(match self.next()? {
            Kind::Integer(value) if negative => Operand::Integer(value.wrapping_neg()),
            Kind::Double(bits) if negative => Operand::Double(bits ^ (1 << 63)),
            Kind::Integer(value) => Operand::Integer(value),
            Kind::Single(bits) => Operand::Single(bits),
            Kind::Double(bits) => Operand::Double(bits),
            Kind::Mark('{') => Operand::Vector(self.operands_until('}')?),
            Kind::Mark('(') => Operand::List(self.operands_until(')')?),
            Kind::Mark('!') => Operand::Not(self.word()?),
            Kind::Mark('[') => {
                let address = self.address()?;
                self.expect(']')?;
                address
            }
            Kind::Word(name) if self.eat('|') => Operand::Pair(name, self.word()?),
            // `name+4` as a value: the address of a part of a variable.
            Kind::Word(name) if self.peek_is('+') => {
                self.eat('+');
                Operand::Address { base: Some(name), offset: self.integer()? as i64 }
            }
            Kind::Word(name) => Operand::Name(name),
            other => return Err(self.unexpected(&other, "an operand")),
        })
    }

    fn operands_until(&mut self, end: char) -> Result<Vec<Operand>, SyntaxError> {
        let mut operands = Vec::new();
        while !self.eat(end) {
            operands.push(self.operand()?);
            self.eat(',');
        }
        Ok(operands)
    }

    fn address(&mut self) -> Result<Operand, SyntaxError> {
        let base = match self.peek() {
            Some(Kind::Word(_)) => Some(self.word()?),
            _ => None,
        };
        let mut offset = 0i64;
        if base.is_none() || self.eat('+') {
            let negative = self.eat('-');
            offset = self.integer()? as i64;
            offset = if negative { -offset } else { offset };
        } else if self.eat('-') {
            offset = -(self.integer()? as i64);
        }
        Ok(Operand::Address { base, offset })
    }

    fn parentheses(&mut self) -> Result<(), SyntaxError> {
        self.expect('(')?;
        self.skip_past(')')
    }

    fn skip_past(&mut self, end: char) -> Result<(), SyntaxError> {
        while self.next()? != Kind::Mark(end) {}
        Ok(())
    }

    fn skip_braces(&mut self) -> Result<(), SyntaxError> {
        while !self.eat('{') {
            self.next()?;
        }
        self.skip_past('}')
    }

    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    fn peek_is(&self, mark: char) -> bool {
        self.peek() == Some(&Kind::Mark(mark))
    }

    fn eat(&mut self, mark: char) -> bool {
        let found = self.peek_is(mark);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, mark: char) -> Result<(), SyntaxError> {
        match self.next()? {
            Kind::Mark(found) if found == mark => Ok(()),
            other => Err(self.unexpected(&other, &format!("`{mark}`"))),
        }
    }

    fn next(&mut self) -> Result<Kind, SyntaxError> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
            .map(|token| token.kind)
            .ok_or_else(|| self.error("the text ends too early".to_string()))
    }

    fn word(&mut self) -> Result<String, SyntaxError> {
        match self.next()? {
            Kind::Word(word) => Ok(word),
            other => Err(self.unexpected(&other, "a word")),
        }
    }

    fn integer(&mut self) -> Result<u64, SyntaxError> {
        match self.next()? {
            Kind::Integer(value) => Ok(value),
            other => Err(self.unexpected(&other, "an integer")),
        }
    }

    fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |token| token.line)
    }

    fn unexpected(&self, found: &Kind, expected: &str) -> SyntaxError {
        let line = self.tokens.get(self.at.saturating_sub(1)).map_or(1, |token| token.line);
        SyntaxError { line, what: format!("found {found:?} where {expected} was expected") }
    }

    fn error(&self, what: String) -> SyntaxError {
        SyntaxError { line: self.line(), what }
    }
}
