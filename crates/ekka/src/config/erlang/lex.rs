//! Tokens of Erlang terms, each with its line.

/// A token.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Token {
    /// One of `{ } [ ] , . | / -`, `<<`, `>>`, `#{`, `=>`, `:=`.
    Mark(&'static str),
    Atom(String),
    Str(String),
    Int(i64),
    Float(f64),
}

/// What is wrong, and in which line.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Fault {
    pub(super) line: u32,
    pub(super) text: String,
}

/// Reads the next token; `None` at the end.
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: u32,
    /// The line in which the last token begins.
    pub(super) from: u32,
}

const MARKS: [&str; 14] = ["<<", ">>", "#{", "=>", ":=", "{", "}", "[", "]", ",", ".", "|", "/", "-"];

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text: text.strip_prefix('\u{feff}').unwrap_or(text), at: 0, line: 1, from: 1 }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        self.line = self.line.saturating_add(u32::from(c == '\n'));
        Some(c)
    }

    /// Goes on while the character is of a kind.
    fn take(&mut self, is: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        while self.peek().is_some_and(&is) {
            self.bump();
        }
        &rest[..rest.len() - self.rest().len()]
    }

    fn fault<T>(&self, text: impl Into<String>) -> Result<T, Fault> {
        Err(Fault { line: self.line, text: text.into() })
    }

    fn skip_blanks(&mut self) {
        loop {
            self.take(char::is_whitespace);
            if self.peek() != Some('%') {
                return;
            }
            self.take(|c| c != '\n');
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<Token>, Fault> {
        self.skip_blanks();
        self.from = self.line;
        let Some(c) = self.peek() else { return Ok(None) };
        let token = match c {
            '"' => Token::Str(self.quoted('"')?),
            '\'' => Token::Atom(self.quoted('\'')?),
            '$' => self.character()?,
            '0'..='9' => self.number()?,
            'a'..='z' => Token::Atom(self.take(|c| c.is_alphanumeric() || c == '_' || c == '@').to_owned()),
            'A'..='Z' | '_' => {
                return self.fault(format!("a variable begins with `{c}`; quote an atom, as in 'ekka@H'"));
            }
            _ => match MARKS.into_iter().find(|mark| self.rest().starts_with(mark)) {
                Some(mark) => {
                    self.at += mark.len();
                    Token::Mark(mark)
                }
                None => return self.fault(format!("unexpected `{}`", super::clip(&c.to_string()))),
            },
        };
        Ok(Some(token))
    }

    /// Text up to the closing quote, with the escapes of Erlang.
    fn quoted(&mut self, quote: char) -> Result<String, Fault> {
        let from = self.line;
        let missing = || Fault { line: from, text: format!("the closing `{quote}` is missing") };
        self.bump();
        let mut inner = String::new();
        loop {
            match self.bump().ok_or_else(missing)? {
                c if c == quote => return Ok(inner),
                '\\' => inner.extend(self.escape()?),
                c => inner.push(c),
            }
        }
    }

    /// What stands after a backslash; `None` for an escaped line end.
    fn escape(&mut self) -> Result<Option<char>, Fault> {
        let Some(c) = self.bump() else { return self.fault("the text ends in a backslash") };
        let code = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
        let c = match c {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            's' => ' ',
            'e' => '\u{1b}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'v' => '\u{b}',
            'd' => '\u{7f}',
            '\n' => return Ok(None),
            '^' => match self.bump().and_then(|c| char::from_u32(u32::from(c) & 31)) {
                Some(c) => c,
                None => return self.fault("`\\^` needs a letter after it"),
            },
            '0'..='7' => {
                let mut digits = c.to_string();
                while digits.len() < 3 && self.peek().is_some_and(|c| c.is_digit(8)) {
                    digits.extend(self.bump());
                }
                match code(&digits, 8) {
                    Some(c) => c,
                    None => return self.fault("an octal escape is no character"),
                }
            }
            'x' => return self.hex_escape().map(Some),
            c => c,
        };
        Ok(Some(c))
    }

    /// `\x41` or `\x{1F600}`.
    fn hex_escape(&mut self) -> Result<char, Fault> {
        let braces = self.peek() == Some('{');
        let digits = if braces {
            self.bump();
            let digits = self.take(|c| c.is_ascii_hexdigit());
            if self.bump() != Some('}') {
                return self.fault("`\\x{` needs hexadecimal digits and a `}`");
            }
            digits
        } else {
            let rest = self.rest();
            let digits = rest.bytes().take(2).take_while(u8::is_ascii_hexdigit).count();
            self.at += digits;
            &rest[..digits]
        };
        match u32::from_str_radix(digits, 16).ok().and_then(char::from_u32) {
            Some(c) => Ok(c),
            None => self.fault("`\\x` needs two hexadecimal digits, or `{…}` with a character's number"),
        }
    }

    /// `$a`: a character's number.
    fn character(&mut self) -> Result<Token, Fault> {
        self.bump();
        let c = match self.bump() {
            Some('\\') => self.escape()?,
            other => other,
        };
        match c {
            Some(c) => Ok(Token::Int(i64::from(u32::from(c)))),
            None => self.fault("`$` needs a character after it"),
        }
    }

    /// `12`, `1_000`, `16#FF`, `1.5e3`.
    fn number(&mut self) -> Result<Token, Fault> {
        let digits = |lexer: &mut Self| lexer.take(|c| c.is_ascii_alphanumeric() || c == '_').replace('_', "");
        let whole = digits(self);
        if self.peek() == Some('#') && !self.rest().starts_with("#{") {
            self.bump();
            let tail = digits(self);
            let base = whole.parse::<u32>().ok().filter(|base| (2..=36).contains(base));
            return match base.and_then(|base| i64::from_str_radix(&tail, base).ok()) {
                Some(n) => Ok(Token::Int(n)),
                None => self.fault(format!("`{}` is no integer", super::clip(&format!("{whole}#{tail}")))),
            };
        }
        let mut rest = self.rest().chars();
        if rest.next() == Some('.') && rest.next().is_some_and(|c| c.is_ascii_digit()) {
            self.bump();
            let mut text = format!("{whole}.{}", digits(self));
            if text.ends_with(['e', 'E']) && self.peek().is_some_and(|c| c == '-' || c == '+') {
                text.extend(self.bump());
                text.push_str(&digits(self));
            }
            return match text.parse::<f64>() {
                Ok(n) if n.is_finite() => Ok(Token::Float(n)),
                _ => self.fault(format!("`{}` is no number", super::clip(&text))),
            };
        }
        match whole.parse::<i64>() {
            Ok(n) => Ok(Token::Int(n)),
            Err(_) => self.fault(format!("`{}` is no integer", super::clip(&whole))),
        }
    }
}
