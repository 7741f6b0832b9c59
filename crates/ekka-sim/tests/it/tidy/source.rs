//! The files of the project, and Rust text without comments, strings and tests.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

/// All text files, by their path from the root of the project.
#[derive(Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    /// Reads the project that this test is compiled from.
    pub(crate) fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut tree = Self::default();
        tree.collect(&root, "");
        tree
    }

    /// A small tree for proving a rule.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        Self { files: files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect() }
    }

    fn collect(&mut self, directory: &Path, prefix: &str) {
        let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        for entry in entries {
            let entry = entry.expect("an entry of a folder that could be opened");
            let name = entry.file_name().into_string().expect("names of files are UTF-8");
            let path = format!("{prefix}{name}");
            if [".git", "target", "data"].contains(&path.as_str()) {
                continue;
            }
            // Symbolic links would lead out of the project.
            let kind = entry.file_type().expect("the kind of an entry is known");
            if kind.is_dir() {
                self.collect(&entry.path(), &format!("{path}/"));
            } else if kind.is_file()
                && let Ok(text) = fs::read_to_string(entry.path())
            {
                self.files.insert(path, text);
            }
        }
    }

    /// Path and text of all files.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Path and text of all Rust files.
    pub(crate) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.all().filter(|(path, _)| Path::new(path).extension().is_some_and(|end| end == "rs"))
    }

    /// One file.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }
}

/// Whether a whole file is test code, by its place.
pub(crate) fn is_test_file(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.ends_with("_test.rs") || path.ends_with("_tests.rs")
}

/// The text with comments, strings and characters blanked, line for line.
pub(crate) fn code(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        match literal_end(bytes, at) {
            Some(end) => {
                for byte in &mut out[at..end] {
                    if *byte != b'\n' {
                        *byte = b' ';
                    }
                }
                at = end;
            }
            None => at += 1,
        }
    }
    String::from_utf8(out).expect("only whole literals are blanked, so what is left is UTF-8")
}

/// Where the comment, string or character that begins at `at` ends, if one does.
fn literal_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let before = if at == 0 { b' ' } else { bytes[at - 1] };
    if rest.starts_with(b"//") {
        return Some(at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()));
    }
    if rest.starts_with(b"/*") {
        return Some(block_comment_end(bytes, at));
    }
    if rest[0] == b'"' {
        return Some(quoted_end(bytes, at, b'"'));
    }
    if rest[0] == b'r' && (before == b'b' || !is_word(before)) {
        let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
        if rest.get(1 + hashes) == Some(&b'"') {
            let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
            let body = at + hashes + 2;
            let found = bytes[body..].windows(close.len()).position(|window| window == close);
            return Some(found.map_or(bytes.len(), |found| body + found + close.len()));
        }
    }
    // A quote that closes after one character (or an escape) is a character; else it begins a lifetime.
    if rest[0] == b'\'' {
        let escaped = rest.get(1) == Some(&b'\\');
        // UTF-8 tells by its first byte how long a character is.
        let character = match rest.get(1) {
            Some(0xC0..=0xDF) => 2,
            Some(0xE0..=0xEF) => 3,
            Some(0xF0..) => 4,
            _ => 1,
        };
        if escaped || rest.get(1 + character) == Some(&b'\'') {
            return Some(quoted_end(bytes, at, b'\''));
        }
    }
    None
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0usize;
    let mut at = start;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn quoted_end(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Whether a byte can be part of a name.
pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Where a word stands in a text, as a whole word.
pub(crate) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = text.as_bytes();
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let end = at + word.len();
        let free = |neighbour: Option<&u8>, edge: Option<&u8>| {
            !neighbour.is_some_and(|byte| is_word(*byte)) || !edge.is_some_and(|byte| is_word(*byte))
        };
        free(at.checked_sub(1).and_then(|before| bytes.get(before)), word.as_bytes().first())
            && free(bytes.get(end), word.as_bytes().last())
    })
}

/// The line, from 1, on which a byte of a text stands.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// The end of the block that opens at `open` (a `{`), just behind its closing brace.
pub(crate) fn block_end(code: &str, open: usize) -> usize {
    let mut depth = 0usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

/// Which parts of a file (given as code) exist in tests only.
pub(crate) fn test_regions(code: &str) -> Vec<Range<usize>> {
    let mut regions: Vec<Range<usize>> = Vec::new();
    for (at, marker) in code.match_indices("#[cfg(test)]") {
        if regions.last().is_some_and(|last| last.contains(&at)) {
            continue;
        }
        let rest = &code[at + marker.len()..];
        let end = match rest.find(['{', ';']) {
            Some(found) if rest.as_bytes()[found] == b'{' => block_end(code, at + marker.len() + found),
            Some(found) => at + marker.len() + found + 1,
            None => code.len(),
        };
        regions.push(at..end);
    }
    regions
}

/// Code without its test regions, line for line.
pub(crate) fn code_outside_tests(path: &str, text: &str) -> String {
    if is_test_file(path) {
        return "\n".repeat(text.lines().count());
    }
    blank(code(text), false)
}

/// Only the test code of a file, line for line.
pub(crate) fn code_of_tests(path: &str, text: &str) -> String {
    let code = code(text);
    if is_test_file(path) { code } else { blank(code, true) }
}

fn blank(code: String, keep_tests: bool) -> String {
    let regions = test_regions(&code);
    let mut bytes = code.into_bytes();
    for (at, byte) in bytes.iter_mut().enumerate() {
        let inside = regions.iter().any(|region| region.contains(&at));
        if inside != keep_tests && *byte != b'\n' {
            *byte = b' ';
        }
    }
    String::from_utf8(bytes).expect("whole items are blanked, which begin and end with ASCII")
}

#[test]
fn comments_strings_and_characters_are_no_code() {
    let text = "let a = \"fn {\"; // }\nlet b = '{'; let c = b'\\''; /* { /* */ { */ fn x<'a>(y: &'a str) {}\nlet d = r#\"}\"\"#; let é = '€';";
    let code = code(text);
    assert_eq!(code.lines().count(), 3);
    assert_eq!(code.matches('{').count(), 1, "{code}");
    assert_eq!(code.matches('}').count(), 1, "{code}");
    assert!(code.contains("fn x<'a>(y: &'a str) {}"), "{code}");
    assert!(code.contains("let é ="), "{code}");
}

#[test]
fn test_modules_are_told_from_code() {
    let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\nfn c() {}\n#[cfg(test)]\nmod more;\n";
    assert!(!code_outside_tests("x.rs", text).contains("fn b"));
    assert!(code_outside_tests("x.rs", text).contains("fn c"));
    assert!(code_of_tests("x.rs", text).contains("fn b"));
    assert!(!code_of_tests("x.rs", text).contains("fn c"));
    assert!(code_of_tests("crates/a/tests/x.rs", text).contains("fn c"));
}

#[test]
fn words_are_whole_words() {
    assert_eq!(words("HashMap MyHashMap HashMapped", "HashMap").collect::<Vec<_>>(), [0]);
    assert_eq!(words("a::std::b std:: mystd::", "std::").count(), 2);
}
