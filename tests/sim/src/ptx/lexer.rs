//! PTX text to tokens.

use super::SyntaxError;

/// The smallest parts of a PTX text.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A name, an opcode with its dotted words, a directive or a register: `ld.global.f32`, `%r1`.
    Word(String),
    /// A string between double quotes, without them.
    Text(String),
    /// An integer; negative ones are two's complement.
    Integer(u64),
    /// A single-precision literal (`0f3F800000`), as its bits.
    Single(u32),
    /// A double-precision literal (`0d...`, or with a decimal point), as its bits.
    Double(u64),
    /// Any other single character.
    Mark(char),
}

/// A token and the line it stands on.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    pub kind: Kind,
    pub line: u32,
}

/// Cuts `text` into tokens, leaving out comments and white space.
///
/// # Errors
///
/// A number, a string or a comment that does not end or cannot be read.
pub fn tokens(text: &str) -> Result<Vec<Token>, SyntaxError> {
    let mut lexer = Lexer { rest: text, line: 1 };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next()? {
        tokens.push(token);
    }
    Ok(tokens)
}

struct Lexer<'a> {
    rest: &'a str,
    line: u32,
}

fn starts_word(c: char) -> bool {
    c.is_ascii_alphabetic() || matches!(c, '_' | '$' | '%' | '.')
}

fn in_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '%' | '.')
}

impl<'a> Lexer<'a> {
    fn next(&mut self) -> Result<Option<Token>, SyntaxError> {
        self.skip_blank()?;
        let line = self.line;
        let Some(first) = self.rest.chars().next() else { return Ok(None) };
        let kind = if starts_word(first) {
            self.word()
        } else if first.is_ascii_digit() {
            self.number()?
        } else if first == '"' {
            let end = self.rest[1..].find('"').ok_or_else(|| self.error("a string has no end"))?;
            Kind::Text(self.take(end + 2)[1..=end].to_string())
        } else {
            self.take(first.len_utf8());
            Kind::Mark(first)
        };
        Ok(Some(Token { kind, line }))
    }

    /// Cuts `length` bytes off, counting the lines in them.
    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.line += taken.matches('\n').count() as u32;
        self.rest = rest;
        taken
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let length = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        self.take(length)
    }

    fn skip_blank(&mut self) -> Result<(), SyntaxError> {
        loop {
            // NVRTC's text ends in a NUL byte.
            self.take_while(|c| c.is_ascii_whitespace() || c == '\0');
            if self.rest.starts_with("//") {
                self.take_while(|c| c != '\n');
            } else if self.rest.starts_with("/*") {
                let end = self.rest.find("*/").ok_or_else(|| self.error("a comment has no end"))?;
                self.take(end + 2);
            } else {
                return Ok(());
            }
        }
    }

    fn word(&mut self) -> Kind {
        let mut word = self.take_while(in_word).to_string();
        // A cache hint, as in `ld.global.L1::no_allocate`.
        while self.rest.starts_with("::") {
            word += self.take(2);
            word += self.take_while(in_word);
        }
        Kind::Word(word)
    }

    fn number(&mut self) -> Result<Kind, SyntaxError> {
        let text = self.take_while(|c| c.is_ascii_alphanumeric() || c == '.');
        let bad = || self.error(&format!("`{text}` is not a number"));
        let hex = |digits: &str| u64::from_str_radix(digits, 16).map_err(|_| bad());
        let lower = text.to_ascii_lowercase();
        if let Some(digits) = lower.strip_prefix("0f").filter(|digits| digits.len() == 8) {
            return Ok(Kind::Single(hex(digits)? as u32));
        }
        if let Some(digits) = lower.strip_prefix("0d").filter(|digits| digits.len() == 16) {
            return Ok(Kind::Double(hex(digits)?));
        }
        if lower.contains('.') {
            return Ok(Kind::Double(lower.parse::<f64>().map_err(|_| bad())?.to_bits()));
        }
        let digits = lower.trim_end_matches('u');
        let value = if let Some(digits) = digits.strip_prefix("0x") {
            hex(digits)?
        } else if let Some(digits) = digits.strip_prefix("0b") {
            u64::from_str_radix(digits, 2).map_err(|_| bad())?
        } else if digits.len() > 1 && digits.starts_with('0') {
            u64::from_str_radix(digits, 8).map_err(|_| bad())?
        } else {
            digits.parse().map_err(|_| bad())?
        };
        Ok(Kind::Integer(value))
    }

    fn error(&self, what: &str) -> SyntaxError {
        SyntaxError { line: self.line, what: what.to_string() }
    }
}
