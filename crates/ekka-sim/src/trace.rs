//! What happened in a run: a hash over everything, and the last lines for people.

use std::collections::VecDeque;
use std::time::Duration;

/// Lines that a failure shows, where `EKKA_TRACE` does not want another number.
const KEPT: usize = 120;

/// The trace of one run. Equal runs have equal hashes.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: u64,
    kept: usize,
    lines: VecDeque<String>,
}

impl Trace {
    /// An empty trace.
    #[must_use]
    pub fn new() -> Self {
        let kept = std::env::var("EKKA_TRACE").ok().and_then(|text| text.parse().ok()).unwrap_or(KEPT);
        Self { hash: 0xcbf2_9ce4_8422_2325, kept, lines: VecDeque::new() }
    }

    /// Adds a line.
    pub fn note(&mut self, at: Duration, text: &str) {
        self.mix(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX));
        // FNV-1a, 64 bits.
        for byte in text.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.lines.len() >= self.kept {
            self.lines.pop_front();
        }
        self.lines.push_back(format!("{:>9.3} {text}", at.as_secs_f64()));
    }

    /// Adds a number to the hash alone.
    pub fn mix(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    }

    /// The hash so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The last lines, oldest first.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_sees_text_order_and_time() {
        let run = |lines: &[(u64, &str)]| {
            let mut trace = Trace::new();
            for (at, text) in lines {
                trace.note(Duration::from_millis(*at), text);
            }
            trace.hash()
        };
        assert_eq!(run(&[(1, "a"), (2, "b")]), run(&[(1, "a"), (2, "b")]));
        for other in [&[(1, "b"), (2, "a")], &[(1, "a"), (3, "b")], &[(1, "a"), (2, "c")]] {
            assert_ne!(run(&[(1, "a"), (2, "b")]), run(other));
        }
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut trace = Trace::new();
        (0..KEPT + 5).for_each(|i| trace.note(Duration::ZERO, &i.to_string()));
        assert_eq!(trace.lines().len(), KEPT);
        assert!(trace.lines()[0].ends_with(" 5"));
    }
}
