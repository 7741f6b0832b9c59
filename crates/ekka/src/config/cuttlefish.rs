//! The `.conf` style: one `key = value` a line.

use std::path::Path;

use super::error::{ConfigError, Place};
use super::raw::Entry;
use super::value::{Value, clip};

/// Reads a file; errors go to `errors`, and reading goes on with the next line.
pub(crate) fn parse(path: &Path, text: &str, errors: &mut Vec<ConfigError>) -> Vec<Entry> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut entries = Vec::new();
    for (line_no, line) in (1u32..).zip(text.split('\n')) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = Place::File { path: path.to_owned(), line: Some(line_no) };
        match parse_line(line) {
            Ok((key, value)) => entries.push(Entry { key, value, place }),
            Err((key, text)) => errors.push(ConfigError { place, key, text }),
        }
    }
    entries
}

/// Reads `key = value`, as it stands in a line or after `--set`.
pub(crate) fn assignment(text: &str) -> Result<(String, &str), (Option<String>, String)> {
    let Some((key, value)) = text.split_once('=') else {
        return Err((None, format!("`{}` has no `=`; write key = value", clip(text))));
    };
    let key = key.trim();
    let word_ok =
        |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if !key.split('.').all(word_ok) {
        let text = format!("`{}` is no key; write words of letters, digits, `_` and `-` joined by dots", clip(key));
        return Err((Some(clip(key)), text));
    }
    Ok((key.to_owned(), value.trim()))
}

fn parse_line(line: &str) -> Result<(String, Value), (Option<String>, String)> {
    let (key, value) = assignment(line)?;
    if has_comment(value) {
        let text = format!("{key}: comments stand on their own line; quote the value if the # belongs to it");
        return Err((Some(key), text));
    }
    Ok((key, Value::Written(value.to_owned())))
}

/// Whether a `#` outside quotes stands at the beginning or after white space.
fn has_comment(value: &str) -> bool {
    let (mut quoted, mut escaped, mut after_blank) = (false, false, true);
    for c in value.chars() {
        match c {
            '#' if after_blank && !quoted => return true,
            '\\' if quoted && !escaped => {
                escaped = true;
                continue;
            }
            // A quote opens only where an item begins; elsewhere it is a letter like any other.
            '"' if !quoted && after_blank => quoted = true,
            '"' if quoted && !escaped => quoted = false,
            _ => {}
        }
        escaped = false;
        after_blank = c.is_whitespace() || (c == ',' && !quoted);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<(String, Value)> {
        let mut errors = Vec::new();
        let entries = parse(Path::new("a.conf"), text, &mut errors);
        assert_eq!(errors, []);
        entries.into_iter().map(|entry| (entry.key, entry.value)).collect()
    }

    #[test]
    fn lines_are_comments_blanks_or_assignments() {
        let text = "\u{feff}# one\r\n## two\r\n\r\n  a.b = c d \r\nx-1.y_2=#not\n".replace("#not", "n#t");
        let written = |s: &str| Value::Written(s.to_owned());
        assert_eq!(entries(&text), [("a.b".to_owned(), written("c d")), ("x-1.y_2".to_owned(), written("n#t"))]);
    }

    #[test]
    fn a_comment_behind_a_value_is_refused_and_a_quoted_hash_is_not() {
        for line in ["a = b # c", "a = b\t#c", "a = # c", "a = \"x\" # c", "a = \"x\\\"\" # c"] {
            assert!(parse_line(line).is_err(), "{line}");
        }
        for line in ["a = b#c", "a = \"b # c\"", "a = \"x\",\" # \"", "a = \"\\\" # \""] {
            assert!(parse_line(line).is_ok(), "{line}");
        }
    }
}
