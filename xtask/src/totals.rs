//! Adding up the summaries of nextest and of cargo's own test runner.

use std::fmt;

/// How many tests ended how.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

/// Whether a line of output is a summary that [`Totals::add`] understands.
pub(crate) fn is_summary(line: &str) -> bool {
    // Indented, `test result:` is what nextest repeats of a single test, which its own summary counts.
    line.starts_with("test result:") || (line.trim_start().starts_with("Summary [") && line.contains(" run: "))
}

impl Totals {
    /// Adds what all of these summary lines say.
    pub(crate) fn add_all(&mut self, lines: &[String]) {
        for line in lines {
            self.add(line);
        }
    }

    /// Adds what one summary line says.
    fn add(&mut self, line: &str) {
        // Both runners write `N word`, separated by commas, semicolons or brackets; "N tests run:" is no outcome.
        let counts = line.rsplit_once("run: ").map_or(line, |(_, counts)| counts);
        let words: Vec<&str> =
            counts.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            let Ok(count) = pair[0].parse::<u64>() else { continue };
            match pair[1] {
                "passed" => self.passed += count,
                "failed" | "timed" => self.failed += count,
                "skipped" | "ignored" => self.skipped += count,
                _ => {}
            }
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Totals { passed, failed, skipped } = self;
        write!(f, "{} tests run: {passed} passed, {failed} failed, {skipped} skipped", passed + failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Totals {
        let mut totals = Totals::default();
        for line in lines {
            assert!(is_summary(line), "{line}");
            totals.add(line);
        }
        totals
    }

    #[test]
    fn summaries_of_both_runners_add_up() {
        let totals = read(&[
            "     Summary [   3.412s] 121 tests run: 118 passed (2 slow), 2 failed, 1 timed out, 4 skipped",
            "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.12s",
        ]);
        assert_eq!(totals, Totals { passed: 130, failed: 3, skipped: 7 });
        assert_eq!(totals.to_string(), "133 tests run: 130 passed, 3 failed, 7 skipped");
    }

    #[test]
    fn one_test_alone_is_counted() {
        assert_eq!(read(&["Summary [ 0.1s] 1 test run: 1 passed, 0 skipped"]).passed, 1);
    }

    #[test]
    fn other_lines_are_no_summaries() {
        assert!(!is_summary("test foo ... ok"));
        assert!(!is_summary("    test result: ok. 1 passed; 0 failed"));
        assert!(!is_summary("Summary of the day"));
    }
}
