//! Erlang terms with their lines, as `file:consult` reads them.

use super::lex::{Fault, Lexer, Token};

/// Deepest nesting.
const DEPTH_MAX: u32 = 64;

/// A term and the line in which it begins.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Node {
    pub(super) line: u32,
    pub(super) term: Term,
}

/// A term. Maps are read, since other applications' sections have them, but hold nothing that is of use here.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Term {
    Atom(String),
    Str(String),
    Int(i64),
    Float(f64),
    Tuple(Vec<Node>),
    List(Vec<Node>),
    Map,
}

/// The terms of a file: separated by commas or dots, the last one optional.
pub(super) fn terms(text: &str) -> Result<Vec<Node>, Fault> {
    let mut parser = Parser { lexer: Lexer::new(text), ahead: None };
    let mut nodes = Vec::new();
    loop {
        if parser.peek()?.is_none() {
            return Ok(nodes);
        }
        nodes.push(parser.term(0)?);
        match parser.take()? {
            (_, None) => return Ok(nodes),
            (_, Some(Token::Mark("," | "."))) => {}
            (line, Some(token)) => {
                let text = format!("{} where a comma or the final dot is expected", token.words());
                return Err(Fault { line, text });
            }
        }
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    ahead: Option<(u32, Option<Token>)>,
}

impl Parser<'_> {
    fn fill(&mut self) -> Result<(), Fault> {
        if self.ahead.is_none() {
            let token = self.lexer.next()?;
            self.ahead = Some((self.lexer.from, token));
        }
        Ok(())
    }

    fn peek(&mut self) -> Result<Option<&Token>, Fault> {
        self.fill()?;
        Ok(self.ahead.as_ref().and_then(|(_, token)| token.as_ref()))
    }

    fn take(&mut self) -> Result<(u32, Option<Token>), Fault> {
        self.fill()?;
        Ok(self.ahead.take().unwrap_or((self.lexer.from, None)))
    }

    fn next_is(&mut self, mark: &str) -> Result<bool, Fault> {
        Ok(matches!(self.peek()?, Some(Token::Mark(next)) if *next == mark))
    }

    fn term(&mut self, depth: u32) -> Result<Node, Fault> {
        let (line, token) = self.take()?;
        let fault = |text: String| Err(Fault { line, text });
        if depth > DEPTH_MAX {
            return fault(format!("terms are nested more than {DEPTH_MAX} deep"));
        }
        let term = match token {
            Some(Token::Atom(text)) => Term::Atom(text),
            Some(Token::Int(n)) => Term::Int(n),
            Some(Token::Float(n)) => Term::Float(n),
            Some(Token::Str(mut text)) => {
                // Strings side by side are one.
                while let Some(Token::Str(more)) = self.peek()? {
                    text.push_str(more);
                    self.ahead = None;
                }
                Term::Str(text)
            }
            Some(Token::Mark("-")) => match self.take()?.1 {
                Some(Token::Int(n)) => Term::Int(-n),
                Some(Token::Float(n)) => Term::Float(-n),
                _ => return fault("a number must follow `-`".to_owned()),
            },
            Some(Token::Mark("{")) => Term::Tuple(self.items(line, "}", depth)?),
            Some(Token::Mark("[")) => Term::List(self.items(line, "]", depth)?),
            Some(Token::Mark("<<")) => self.binary(line, depth)?,
            Some(Token::Mark("#{")) => self.map(line, depth)?,
            Some(token) => return fault(format!("{} where a term is expected", token.words())),
            None => return fault("the file ends where a term is expected".to_owned()),
        };
        Ok(Node { line, term })
    }

    /// Terms with commas between, up to the closing mark. The original's own examples end lists without a comma; one
    /// too many is no harm either.
    fn items(&mut self, from: u32, close: &'static str, depth: u32) -> Result<Vec<Node>, Fault> {
        let mut items = Vec::new();
        loop {
            if self.next_is(close)? {
                self.ahead = None;
                return Ok(items);
            }
            if self.peek()?.is_none() {
                return Err(unclosed(from, close));
            }
            items.push(self.term(depth + 1)?);
            if !self.separator(from, close)? {
                return Ok(items);
            }
        }
    }

    /// A comma, or the closing mark (`false`).
    fn separator(&mut self, from: u32, close: &'static str) -> Result<bool, Fault> {
        match self.take()? {
            (_, Some(Token::Mark(","))) => Ok(true),
            (_, Some(Token::Mark(mark))) if mark == close => Ok(false),
            (_, None) => Err(unclosed(from, close)),
            (line, Some(token)) => {
                let text = format!("{} where `,` or `{close}` is expected (opened in line {from})", token.words());
                Err(Fault { line, text })
            }
        }
    }

    /// `<<"text">>`, `<<"text"/utf8>>`, `<<1,2,3>>`: read as text.
    fn binary(&mut self, from: u32, depth: u32) -> Result<Term, Fault> {
        let mut text = String::new();
        loop {
            if self.next_is(">>")? {
                self.ahead = None;
                return Ok(Term::Str(text));
            }
            let node = self.term(depth + 1)?;
            let byte = |n: i64| u8::try_from(n).ok().map(char::from);
            match node.term {
                Term::Str(part) => text.push_str(&part),
                Term::Int(n) if byte(n).is_some() => text.extend(byte(n)),
                _ => return Err(Fault { line: node.line, text: "a binary holds text or bytes".to_owned() }),
            }
            if self.next_is("/")? {
                self.ahead = None;
                self.term(depth + 1)?;
            }
            if !self.separator(from, ">>")? {
                return Ok(Term::Str(text));
            }
        }
    }

    fn map(&mut self, from: u32, depth: u32) -> Result<Term, Fault> {
        loop {
            if self.next_is("}")? {
                self.ahead = None;
                return Ok(Term::Map);
            }
            self.term(depth + 1)?;
            match self.take()? {
                (_, Some(Token::Mark("=>"))) => {}
                (line, _) => return Err(Fault { line, text: "`=>` is expected between key and value".to_owned() }),
            }
            self.term(depth + 1)?;
            if !self.separator(from, "}")? {
                return Ok(Term::Map);
            }
        }
    }
}

fn unclosed(from: u32, close: &str) -> Fault {
    Fault { line: from, text: format!("what is opened here has no closing `{close}`") }
}

impl Token {
    fn words(&self) -> String {
        match self {
            Self::Mark(mark) => format!("`{mark}`"),
            Self::Atom(text) => format!("`{}`", super::clip(text)),
            Self::Str(text) => format!("\"{}\"", super::clip(text)),
            Self::Int(n) => format!("`{n}`"),
            Self::Float(n) => format!("`{n}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Term {
        terms(text).unwrap().remove(0).term
    }

    #[test]
    fn all_kinds_of_terms_are_read() {
        assert_eq!(one("16#FF."), Term::Int(255));
        assert_eq!(one("1_000"), Term::Int(1000));
        assert_eq!(one("-5"), Term::Int(-5));
        assert_eq!(one("1.5e-1."), Term::Float(0.15));
        assert_eq!(one("$a"), Term::Int(97));
        assert_eq!(one(r#""a\x41\x{e9}\101\s\"" "b""#), Term::Str("aAéA \"b".to_owned()));
        assert_eq!(one("'ekka@127.0.0.1'"), Term::Atom("ekka@127.0.0.1".to_owned()));
        assert_eq!(one(r#"<<"a"/utf8, 98>>"#), Term::Str("ab".to_owned()));
        assert_eq!(one("#{a => #{}, \"b\" => [1]}"), Term::Map);
        assert_eq!(terms("% only a comment\n"), Ok(vec![]));
        assert_eq!(terms("{a,1}. {b,[\n2,]}.").unwrap().len(), 2);
    }

    #[test]
    fn lines_are_those_where_terms_begin() {
        let nodes = terms("{a,\n {b,\n  c}},\n{d}").unwrap();
        assert_eq!(nodes[1].line, 4);
        let Term::Tuple(items) = &nodes[0].term else { panic!("a tuple") };
        assert_eq!(items[1].line, 2);
    }

    #[test]
    fn faults_name_their_line() {
        for (text, line, piece) in [
            ("{a,\n \"b", 2, "closing `\"`"),
            ("{a,\n [b}", 2, "`,` or `]`"),
            ("\n{a, b", 2, "no closing `}`"),
            ("{a, B}", 1, "variable"),
            ("a b", 1, "comma or the final dot"),
            ("99999999999999999999", 1, "no integer"),
            ("1#2", 1, "no integer"),
            ("[a|b]", 1, "`|`"),
            ("{a, ~}", 1, "unexpected"),
            ("<<a>>", 1, "text or bytes"),
            ("#{a, b}", 1, "=>"),
            ("'\\x{110000}'", 1, "\\x"),
        ] {
            let fault = terms(text).unwrap_err();
            assert_eq!(fault.line, line, "{text}: {}", fault.text);
            assert!(fault.text.contains(piece), "{text}: {}", fault.text);
        }
        assert!(terms(&"[".repeat(100_000)).unwrap_err().text.contains("64 deep"));
    }
}
