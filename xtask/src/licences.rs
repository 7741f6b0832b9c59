//! Under what terms and from where the dependencies come. `deny.toml` says the same for those who have that tool.

use anyhow::{Result, bail};
use serde_json::Value;

use crate::metadata::packages;

/// Licences that the project may ship with. MPL-2.0 covers single files (foca): linking is fine, changes to them are not
/// made here.
const ACCEPTED: [&str; 12] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MPL-2.0",
    "Unicode-3.0",
    "Zlib",
];

/// Fails with every package that has another licence, none, or comes from git.
pub(crate) fn check(metadata: &Value) -> Result<()> {
    let faults: Vec<String> = packages(metadata).iter().filter_map(fault).collect();
    if !faults.is_empty() {
        bail!("{} packages may not be used:\n  {}", faults.len(), faults.join("\n  "));
    }
    println!("{} packages: licences accepted, none from git", packages(metadata).len());
    Ok(())
}

fn fault(package: &Value) -> Option<String> {
    let name = format!(
        "{} {}",
        package["name"].as_str().unwrap_or("(no name)"),
        package["version"].as_str().unwrap_or("(no version)")
    );
    if let Some(source) = package["source"].as_str()
        && source.starts_with("git+")
    {
        return Some(format!("{name}: comes from {source}; only released versions are used"));
    }
    match package["license"].as_str() {
        None => Some(format!("{name}: names no licence")),
        Some(expression) if accepted(expression) => None,
        Some(expression) => Some(format!("{name}: licence `{expression}`; accepted are {}", ACCEPTED.join(", "))),
    }
}

/// Evaluates an SPDX expression: `OR` needs one side, `AND` both; `/` is an old way to write `OR`.
fn accepted(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { tokens: &tokens };
    parser.any() == Some(true) && parser.tokens.is_empty()
}

/// Each step gives `None` where the expression is malformed.
struct Parser<'a> {
    tokens: &'a [&'a str],
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.tokens.first() == Some(&word);
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }

    fn any(&mut self) -> Option<bool> {
        let mut value = self.all()?;
        while self.take("OR") {
            value |= self.all()?;
        }
        Some(value)
    }

    fn all(&mut self) -> Option<bool> {
        let mut value = self.one()?;
        while self.take("AND") {
            value &= self.one()?;
        }
        Some(value)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let value = self.any()?;
            return self.take(")").then_some(value);
        }
        let mut name = self.next()?.to_owned();
        if self.take("WITH") {
            name = format!("{name} WITH {}", self.next()?);
        }
        Some(ACCEPTED.contains(&name.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn expressions_are_evaluated_not_searched() {
        assert!(accepted("MIT"));
        assert!(accepted("MIT/Apache-2.0"));
        assert!(accepted("(MIT OR GPL-3.0) AND Unicode-3.0"));
        assert!(accepted("Apache-2.0 WITH LLVM-exception OR GPL-2.0"));
        assert!(!accepted("MIT AND GPL-3.0"));
        assert!(!accepted("GPL-3.0 WITH Classpath-exception-2.0"));
        assert!(!accepted("MIT OR"));
        assert!(!accepted("(MIT"));
        assert!(!accepted(""));
    }

    #[test]
    fn every_kind_of_fault_is_named() {
        let metadata = json!({"packages": [
            {"name": "good", "version": "1.0.0", "license": "MIT", "source": "registry+x"},
            {"name": "copyleft", "version": "1.0.0", "license": "AGPL-3.0", "source": "registry+x"},
            {"name": "silent", "version": "1.0.0", "license": null, "source": "registry+x"},
            {"name": "branch", "version": "1.0.0", "license": "MIT", "source": "git+https://example.org/x"},
        ]});
        let error = check(&metadata).unwrap_err().to_string();
        assert!(error.contains("3 packages"), "{error}");
        for name in ["copyleft 1.0.0: licence `AGPL-3.0`", "silent 1.0.0: names no", "branch 1.0.0: comes from git"] {
            assert!(error.contains(name), "{error}");
        }
    }
}
