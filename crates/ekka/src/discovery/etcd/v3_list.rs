//! The list of API v3: first all keys without their values, then the values of those that can be a node's, or the id.
//! Whatever else somebody keeps below the base, and however long it is, costs a name each.

use ekka_core::id::NodeName;
use serde_json::Value;

use super::api::{Entry, KEYS_MAX, Listing, VALUE_MAX};
use super::entry::cut;
use super::layout::ID;
use super::v3::V3;
use super::v3_form::{number, rows};
use super::words::{Failure, Kind};

/// Keys that are asked for at once; fewer where an answer is too long.
const PAGE: usize = 256;
/// Values that are asked for at first: they may be long.
const FIRST: usize = 32;
/// Bytes of values that are taken for one list: many times what the entries of all nodes have.
const VALUES_MAX: usize = 4 * 1024 * 1024;
/// Questions for values: nodes stand side by side, save for foreign keys between them.
const QUESTIONS_MAX: usize = 256;
/// A longer name is no node's.
const NAME_MAX: usize = 512;

const TOO_LONG: &str = "its value is too long";
const NOT_READ: &str = "its value was not read: others of this prefix are too long, or too many";

/// A key, and its entry once it is known.
struct Row {
    key: Vec<u8>,
    entry: Entry,
}

impl Row {
    fn is_wanted(&self) -> bool {
        self.entry.name == ID || self.entry.name.parse::<NodeName>().is_ok()
    }
}

impl V3<'_> {
    pub(super) async fn list(&self) -> Result<Listing, Failure> {
        let (mut rows, of) = self.keys().await?;
        self.values(&mut rows).await?;
        Ok(Listing { entries: rows.into_iter().map(|row| row.entry).collect(), of })
    }

    /// The keys, and how many there are where those are not all.
    async fn keys(&self) -> Result<(Vec<Row>, Option<u64>), Failure> {
        let (mut from, mut page, mut found) = (self.layout.base().as_bytes().to_vec(), PAGE, Vec::new());
        loop {
            let answer = match self.range(&from, self.layout.end().as_bytes(), page, true).await {
                Err(failure) if failure.kind == Kind::TooLarge && page > 1 => {
                    page /= 4;
                    continue;
                }
                answer => answer?,
            };
            let rows = rows(&answer)?;
            let Some((last, _)) = rows.last() else { return Ok((found, None)) };
            from = [last.as_slice(), &[0]].concat();
            let count = rows.len();
            found.extend(rows.into_iter().filter_map(|(key, _)| self.row(key)));
            if answer.get("more").and_then(Value::as_bool) != Some(true) {
                return Ok((found, None));
            }
            if found.len() >= KEYS_MAX {
                // It counts from where this page begins.
                let rest = answer.get("count").and_then(number).unwrap_or_default().max(0).unsigned_abs();
                let all = found.len() as u64 + rest.saturating_sub(count as u64);
                return Ok((found, Some(all)));
            }
        }
    }

    fn row(&self, mut key: Vec<u8>) -> Option<Row> {
        let name = self.layout.below(&String::from_utf8_lossy(&key)).map(str::to_owned)?;
        let name = if name.len() > NAME_MAX {
            key = Vec::new();
            cut(name.as_bytes())
        } else {
            name
        };
        // What is no node's is left out by its name, whatever its value.
        Some(Row { key, entry: Entry { name, value: Ok(Vec::new()) } })
    }

    /// Reads the values of those that count, in runs of neighbours.
    async fn values(&self, rows: &mut [Row]) -> Result<(), Failure> {
        let (mut at, mut page, mut taken, mut questions) = (0, FIRST, 0, 0);
        while at < rows.len() {
            let run = rows[at..].iter().take(page).take_while(|row| row.is_wanted()).count();
            if run == 0 {
                at += 1;
                continue;
            }
            if taken > VALUES_MAX || questions == QUESTIONS_MAX {
                rows[at].entry.value = Err(NOT_READ);
                at += 1;
                continue;
            }
            questions += 1;
            let run = &mut rows[at..at + run];
            match self.run(run).await {
                Ok(bytes) => {
                    (taken, at, page) = (taken + bytes, at + run.len(), (page * 4).min(PAGE));
                }
                Err(failure) if failure.kind == Kind::TooLarge => {
                    if let [row] = run {
                        row.entry.value = Err(TOO_LONG);
                        at += 1;
                    }
                    page = (page / 4).max(1);
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Reads the values of neighbours; how many bytes that were.
    async fn run(&self, run: &mut [Row]) -> Result<usize, Failure> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(0) };
        let end = [last.key.as_slice(), &[0]].concat();
        let found = rows(&self.range(&first.key, &end, run.len(), false).await?)?;
        let mut bytes = 0;
        let mut found = found.into_iter().inspect(|(_, value)| bytes += value.len()).peekable();
        for row in run {
            // Both are sorted; keys may have come and gone since.
            while found.next_if(|(key, _)| *key < row.key).is_some() {}
            row.entry.value = match found.next_if(|(key, _)| *key == row.key) {
                Some((_, value)) if value.len() > VALUE_MAX => Err(TOO_LONG),
                Some((_, value)) => Ok(value),
                None => Err("it went while the list was read"),
            };
        }
        Ok(bytes)
    }
}
