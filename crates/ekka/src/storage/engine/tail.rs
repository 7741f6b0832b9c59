//! The end of the engine's journals, looked at before the engine does.
//!
//! A journal is cut where its framing ends. The engine would do the same, but only after it believed lengths that may
//! be nonsense: it asks for memory by them, and asserts about them.
//!
//! The last batch may be framed and still be torn: pages of a batch that was being written when the power went reach
//! the disc in any order, so its end may be there and its middle not. The engine then refuses to open, though the store
//! is healthy: such a batch was never synced, and only the last can be one, since the committer syncs each before it
//! writes the next. It is cut off, and whether anything is missing then is for the mark to tell.
//!
//! Format of the journals of fjall 3: `src/journal/entry.rs` of its source. All numbers are little-endian.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
/// Tag, number of items, number of the batch.
const START_LEN: usize = 1 + 4 + 8;
/// Tag, kind of value, compression, keyspace, length of key, of value, and of value as stored.
const ITEM_LEN: usize = 1 + 1 + 1 + 8 + 2 + 4 + 4;
/// Tag, sum, four bytes of magic.
const END_LEN: usize = 1 + 8 + 4;
/// Tag, keyspace.
const CLEAR_LEN: usize = 1 + 8;

/// Cuts all journals of the engine's folder where their framing ends. Tells whether the newest one ended in a batch
/// without an end: then the batches before it are known to have been synced.
///
/// # Errors
/// The system refuses to.
pub(super) fn trim(engine: &Path) -> io::Result<bool> {
    let mut torn = false;
    for path in journals(engine)? {
        let journal = fs::read(&path)?;
        let batches = Batches::of(&journal);
        torn = batches.torn;
        if batches.end < journal.len() {
            cut(&path, batches.end)?;
        }
    }
    Ok(torn)
}

/// Cuts the last batch off the newest journal. `false` where there is none.
///
/// # Errors
/// The system refuses to.
pub(super) fn cut_last_batch(engine: &Path) -> io::Result<bool> {
    let Some(path) = journals(engine)?.pop() else { return Ok(false) };
    let Some(at) = Batches::of(&fs::read(&path)?).last else { return Ok(false) };
    cut(&path, at)?;
    Ok(true)
}

fn cut(path: &Path, at: usize) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(at as u64)?;
    file.sync_all()
}

/// The oldest first.
fn journals(engine: &Path) -> io::Result<Vec<PathBuf>> {
    let mut journals = Vec::new();
    for entry in fs::read_dir(engine)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse().ok());
        journals.extend(number.map(|number: u64| (number, path)));
    }
    journals.sort_unstable();
    Ok(journals.into_iter().map(|(_, path)| path).collect())
}

/// Where the batches of a journal lie.
#[derive(PartialEq, Eq, Debug, Default)]
struct Batches {
    /// Where the last one begins that has an end.
    last: Option<usize>,
    /// Where it ends.
    end: usize,
    /// Whether another has begun behind it.
    torn: bool,
}

impl Batches {
    fn of(journal: &[u8]) -> Self {
        let mut batches = Self::default();
        let mut at = 0;
        let mut begun = None;
        while let Some((tag, length)) = journal.get(at..).and_then(entry) {
            match tag {
                START if begun.is_none() => begun = Some(at),
                END if begun.is_some() => {
                    batches.last = begun.take();
                    batches.end = at + length;
                }
                ITEM | CLEAR if begun.is_some() => {}
                _ => break,
            }
            at += length;
        }
        batches.torn = journal.get(batches.end) == Some(&START);
        batches
    }
}

/// Tag and length of the entry at the beginning, where it is whole.
fn entry(bytes: &[u8]) -> Option<(u8, usize)> {
    let tag = *bytes.first()?;
    let length = match tag {
        START => START_LEN,
        END => END_LEN,
        CLEAR => CLEAR_LEN,
        ITEM => {
            let header = bytes.get(..ITEM_LEN)?;
            let key = u16::from_le_bytes(header[11..13].try_into().ok()?);
            // Nothing is compressed, so both lengths are one.
            let value = u32::from_le_bytes(header[17..21].try_into().ok()?);
            if header[13..17] != header[17..21] {
                return None;
            }
            ITEM_LEN + usize::from(key) + usize::try_from(value).ok()?
        }
        _ => return None,
    };
    bytes.get(..length).map(|_| (tag, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(items: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut bytes = vec![START];
        bytes.extend_from_slice(&[0; START_LEN - 1]);
        for (key, value) in items {
            bytes.extend_from_slice(&[ITEM, 0, 0]);
            bytes.extend_from_slice(&1u64.to_le_bytes());
            bytes.extend_from_slice(&u16::try_from(key.len()).unwrap().to_le_bytes());
            bytes.extend_from_slice(&u32::try_from(value.len()).unwrap().to_le_bytes());
            bytes.extend_from_slice(&u32::try_from(value.len()).unwrap().to_le_bytes());
            bytes.extend_from_slice(key);
            bytes.extend_from_slice(value);
        }
        bytes.push(END);
        bytes.extend_from_slice(&[9; END_LEN - 1]);
        bytes
    }

    #[test]
    fn batches_are_found_whatever_follows() {
        let one = batch(&[(b"k", b"v")]);
        let two = batch(&[(b"key", b"value"), (b"", b"")]);
        let mut journal = [one.clone(), two.clone()].concat();
        let both = Batches { last: Some(one.len()), end: journal.len(), torn: false };
        assert_eq!(Batches::of(&journal), both);
        journal.extend_from_slice(&[0; 64]);
        assert_eq!(Batches::of(&journal), both, "the rest of the file is reserved and empty");
        for cut in 0..two.len() {
            let first = Batches { last: Some(0), end: one.len(), torn: cut > 0 };
            assert_eq!(Batches::of(&journal[..one.len() + cut]), first, "the second has no end");
        }
        assert_eq!(Batches::of(&[]), Batches::default());
        assert_eq!(Batches::of(&one[..3]), Batches { torn: true, ..Batches::default() });
    }

    #[test]
    fn all_journals_are_trimmed_and_the_newest_loses_its_last_batch() {
        let dir = tempfile::tempdir().unwrap();
        let one = batch(&[(b"k", b"v")]);
        fs::write(dir.path().join("9.jnl"), [&one[..], &[0; 9]].concat()).unwrap();
        fs::write(dir.path().join("10.jnl"), [&one[..], &one[..], &one[..5]].concat()).unwrap();
        fs::write(dir.path().join("lock"), b"").unwrap();
        assert!(trim(dir.path()).unwrap());
        let lengths = || ["9.jnl", "10.jnl"].map(|name| fs::metadata(dir.path().join(name)).unwrap().len());
        let one = one.len() as u64;
        assert_eq!(lengths(), [one, 2 * one]);
        assert!(!trim(dir.path()).unwrap() && cut_last_batch(dir.path()).unwrap());
        assert_eq!(lengths(), [one, one]);
    }
}
