//! The list of API v3: first all keys without their values, then the values of those that can be a node's, or the id.
//! Whatever else somebody keeps below the base, and however long it is, costs a name each.

use serde_json::Value;

use super::api::VALUE_MAX;
use super::entry::cut;
use super::layout::is_ours;
use super::listing::{Entry, Listing, Room};
use super::v3::V3;
use super::v3_form::{number, rows};
use super::words::{Failure, Kind};

/// Keys that are asked for at first, and values that are asked for at once.
const PAGE: usize = 256;
/// Keys that are asked for at once, where none is too long for it.
const KEYS_PAGE: usize = 4096;
/// Questions for keys: a server that says for ever that there are more is not asked for ever.
const PAGES_MAX: usize = 64;
/// Rows beyond those that were asked for: so many keys may have come since.
const NEW_KEYS: usize = 32;
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
    /// Between the row before and this one are keys that are no rows.
    apart: bool,
}

impl Row {
    fn is_wanted(&self) -> bool {
        is_ours(&self.entry.name)
    }
}

/// The keys so far.
#[derive(Default)]
struct Keys {
    rows: Vec<Row>,
    seen: u64,
    /// The last ones found no room.
    apart: bool,
}

impl Keys {
    fn take(&mut self, of: &V3<'_>, page: Vec<(Vec<u8>, Vec<u8>)>, room: &mut Room) {
        self.seen += page.len() as u64;
        for (key, _) in page {
            match of.row(key).filter(|row| room.takes(&row.entry.name)) {
                Some(row) => self.rows.push(Row { apart: std::mem::take(&mut self.apart), ..row }),
                None => self.apart = true,
            }
        }
    }
}

impl V3<'_> {
    pub(super) async fn list(&self) -> Result<Listing, Failure> {
        let (mut rows, others, of) = self.keys().await?;
        self.values(&mut rows).await?;
        Ok(Listing { entries: rows.into_iter().map(|row| row.entry).collect(), others, of })
    }

    /// The keys, how many further ones are no node's, and how many there are where those are not all.
    async fn keys(&self) -> Result<(Vec<Row>, u64, Option<u64>), Failure> {
        let (mut from, mut page, mut page_max) = (self.layout.base().as_bytes().to_vec(), PAGE, KEYS_PAGE);
        let (mut found, mut room, mut rest) = (Keys::default(), Room::default(), 0);
        for _ in 0..PAGES_MAX {
            let answer = match self.range(&from, self.layout.end().as_bytes(), page, true).await {
                Err(failure) if failure.kind == Kind::TooLarge && page > 1 => {
                    page /= 4;
                    page_max = page;
                    continue;
                }
                answer => answer?,
            };
            let rows = rows(&answer)?;
            let more = answer.get("more").and_then(Value::as_bool) == Some(true);
            // It counts from where this page begins.
            let count = answer.get("count").and_then(number).unwrap_or_default().max(0).unsigned_abs();
            rest = count.saturating_sub(rows.len() as u64);
            let last = rows.last().filter(|_| more).map(|(last, _)| [last.as_slice(), &[0]].concat());
            found.take(self, rows, &mut room);
            match last {
                Some(next) if !room.is_over() => from = next,
                Some(_) => break,
                None => {
                    let of = room.is_over().then_some(found.seen);
                    return Ok((found.rows, room.more_others, of));
                }
            }
            page = (page * 4).min(page_max);
        }
        Ok((found.rows, room.more_others, Some(found.seen + rest)))
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
        Some(Row { key, entry: Entry { name, value: Ok(Vec::new()) }, apart: false })
    }

    /// Reads the values of those that count, in runs of neighbours.
    async fn values(&self, rows: &mut [Row]) -> Result<(), Failure> {
        let (mut at, mut page, mut taken, mut questions) = (0, FIRST, 0, 0);
        while at < rows.len() {
            let together = |(n, row): &(usize, &Row)| row.is_wanted() && (*n == 0 || !row.apart);
            let run = rows[at..].iter().take(page).enumerate().take_while(together).count();
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
        let answer = self.range(&first.key, &end, run.len() + NEW_KEYS, false).await?;
        let found = rows(&answer)?;
        // Where so many have come since that some did not fit, who is missing need not be gone.
        let cut_off = answer.get("more").and_then(Value::as_bool) == Some(true);
        let mut bytes = 0;
        let mut found = found.into_iter().inspect(|(_, value)| bytes += value.len()).peekable();
        for row in run {
            // Both are sorted; keys may have come and gone since.
            while found.next_if(|(key, _)| *key < row.key).is_some() {}
            row.entry.value = match found.next_if(|(key, _)| *key == row.key) {
                Some((_, value)) if value.len() > VALUE_MAX => Err(TOO_LONG),
                Some((_, value)) => Ok(value),
                None => Err(if cut_off { NOT_READ } else { "it went while the list was read" }),
            };
        }
        Ok(bytes)
    }
}
