//! How long files and functions get. Both lists of exceptions may only shrink.

use crate::tidy::source::{Tree, block_end, code, code_outside_tests, is_test_file, is_word, line_of, test_regions};

/// Above this no file passes, tests included.
const FILE_MAX: usize = 800;
/// Above this a file needs a reason in the list; tests are not counted.
const FILE_NEEDS_REASON: usize = 500;
/// Above this a function must stand in the list, with the length that it may not exceed.
const FUNCTION_MAX: usize = 70;

const FILES: &str = "crates/ekka-sim/tests/it/tidy/long_files.txt";
const FUNCTIONS: &str = "crates/ekka-sim/tests/it/tidy/long_functions.txt";

/// Complaints about files.
pub(crate) fn files(tree: &Tree) -> Vec<String> {
    let listed = entries(tree, FILES);
    let mut complaints = Vec::new();
    let mut used = Vec::new();
    for (path, text) in tree.rust() {
        let all = text.lines().count();
        if all > FILE_MAX {
            complaints.push(format!("{path}: {all} lines; {FILE_MAX} is the bound, split it"));
            continue;
        }
        let without_tests = if is_test_file(path) { 0 } else { all - test_lines(text) };
        if without_tests > FILE_NEEDS_REASON {
            used.push(path);
            if !listed.iter().any(|(key, reason)| *key == path && !reason.is_empty()) {
                complaints.push(format!(
                    "{path}: {without_tests} lines without tests; above {FILE_NEEDS_REASON} it needs a line `{path} REASON` in {FILES}"
                ));
            }
        }
    }
    complaints.extend(stale(&listed, &used, FILES));
    complaints
}

/// Complaints about functions outside tests.
pub(crate) fn functions(tree: &Tree) -> Vec<String> {
    let listed = entries(tree, FUNCTIONS);
    let mut complaints = Vec::new();
    let mut used = Vec::new();
    for (path, text) in tree.rust() {
        for (name, line, length) in long_functions(&code_outside_tests(path, text)) {
            let key = format!("{path}::{name}");
            let allowed =
                listed.iter().find(|(listed, _)| *listed == key).and_then(|(_, value)| value.parse::<usize>().ok());
            match allowed {
                Some(allowed) if length == allowed => {}
                Some(allowed) if length < allowed => {
                    complaints.push(format!("{key} has only {length} lines now: write {length} in {FUNCTIONS}"));
                }
                _ => complaints.push(format!(
                    "{path}:{line}: `{name}` has {length} lines; {FUNCTION_MAX} is the bound, or what {FUNCTIONS} says"
                )),
            }
            used.push(key);
        }
    }
    let used: Vec<&str> = used.iter().map(String::as_str).collect();
    complaints.extend(stale(&listed, &used, FUNCTIONS));
    complaints
}

/// `key rest` of each line that is not empty and no comment.
fn entries<'a>(tree: &'a Tree, list: &str) -> Vec<(&'a str, &'a str)> {
    let lines = tree.text(list).unwrap_or_default().lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(' ').map_or((line, ""), |(key, rest)| (key, rest.trim())))
        .collect()
}

fn stale(listed: &[(&str, &str)], used: &[&str], list: &str) -> Vec<String> {
    let gone = listed.iter().filter(|(key, _)| !used.contains(key));
    gone.map(|(key, _)| format!("{key} is within the bound now: take it out of {list}")).collect()
}

fn test_lines(text: &str) -> usize {
    let code = code(text);
    test_regions(&code).into_iter().map(|region| code[region].lines().count()).sum()
}

/// Name, first line and length of the functions above the bound.
fn long_functions(code: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        if at > 0 && is_word(code.as_bytes()[at - 1]) {
            continue;
        }
        let name: String = code[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let Some(open) = body(code, at).filter(|_| !name.is_empty()) else { continue };
        let length = line_of(code, block_end(code, open) - 1) - line_of(code, at) + 1;
        if length > FUNCTION_MAX {
            found.push((name, line_of(code, at), length));
        }
    }
    found
}

/// Where the body opens; declarations without one end in a semicolon first. Arrays in the signature have one too.
fn body(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (offset, byte) in code[at..].bytes().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b';' if depth == 0 => return None,
            b'{' if depth == 0 => return Some(at + offset),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
fn function(lines: usize) -> String {
    format!("fn long(a: [u8; 2]) {{\n{}}}\n", "    f(\"}\");\n".repeat(lines - 2))
}

#[test]
fn long_functions_are_seen_and_the_list_only_shrinks() {
    let count = |list: &str, lines: usize| {
        functions(&Tree::of(&[(FUNCTIONS, list), ("crates/a/src/x.rs", &function(lines))])).len()
    };
    assert_eq!(count("", 70), 0);
    assert_eq!(count("", 71), 1);
    assert_eq!(count("# why\ncrates/a/src/x.rs::long 90", 90), 0);
    assert_eq!(count("crates/a/src/x.rs::long 90", 91), 1, "grown");
    assert_eq!(count("crates/a/src/x.rs::long 90", 89), 1, "shrunk: the list follows");
    assert_eq!(count("crates/a/src/x.rs::long 90", 40), 1, "stale");
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function(100));
    assert_eq!(functions(&Tree::of(&[("crates/a/src/x.rs", &tests)])).len(), 0, "tests are not counted");
}

#[test]
fn long_files_are_seen() {
    let path = "crates/a/src/x.rs";
    let count = |list: &str, text: &str| files(&Tree::of(&[(FILES, list), (path, text)])).len();
    assert_eq!(count("", &"\n".repeat(500)), 0);
    assert_eq!(count("", &"\n".repeat(501)), 1);
    assert_eq!(count(path, &"\n".repeat(501)), 1, "no reason given");
    assert_eq!(count(&format!("{path} one table"), &"\n".repeat(501)), 0);
    assert_eq!(count(&format!("{path} one table"), &"\n".repeat(801)), 2, "bound, and an entry that does not help");
    let tested = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(400), "\n".repeat(300));
    assert_eq!(count("", &tested), 0, "tests are not counted");
}
