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

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
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
        let batches = Batches::of_file(&path)?;
        torn = batches.torn;
        if batches.end < fs::metadata(&path)?.len() {
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
    let Some(at) = Batches::of_file(&path)?.last else { return Ok(false) };
    cut(&path, at)?;
    Ok(true)
}

fn cut(path: &Path, at: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(at)?;
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
    last: Option<u64>,
    /// Where it ends.
    end: u64,
    /// Whether another has begun behind it.
    torn: bool,
}

impl Batches {
    fn of_file(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Self::of(BufReader::new(file), length)
    }

    /// Reads the framing only, and that only as far as it goes: most of a young journal is reserved and empty.
    fn of(mut journal: impl Read + Seek, length: u64) -> io::Result<Self> {
        let mut batches = Self::default();
        let mut at = 0;
        let mut begun = None;
        while let Some((tag, took)) = entry(&mut journal, length - at)? {
            match tag {
                START if begun.is_none() => begun = Some(at),
                END if begun.is_some() => {
                    batches.last = begun.take();
                    batches.end = at + took;
                }
                ITEM | CLEAR if begun.is_some() => {}
                _ => break,
            }
            at += took;
        }
        journal.seek(SeekFrom::Start(batches.end))?;
        let mut next = Vec::new();
        journal.take(1).read_to_end(&mut next)?;
        batches.torn = next == [START];
        Ok(batches)
    }
}

/// Passes over the next entry, and gives its tag and length, where it is whole in the bytes that are left.
fn entry(journal: &mut (impl Read + Seek), left: u64) -> io::Result<Option<(u8, u64)>> {
    let mut header = [0; ITEM_LEN];
    if left == 0 {
        return Ok(None);
    }
    journal.read_exact(&mut header[..1])?;
    let tag = header[0];
    let fixed = match tag {
        START => START_LEN,
        END => END_LEN,
        CLEAR => CLEAR_LEN,
        ITEM => ITEM_LEN,
        _ => return Ok(None),
    };
    if left < fixed as u64 {
        return Ok(None);
    }
    journal.read_exact(&mut header[1..fixed])?;
    let mut follows = 0;
    if tag == ITEM {
        // Nothing is compressed, so both lengths of the value are one.
        let [.., k0, k1, v0, v1, v2, v3, s0, s1, s2, s3] = header;
        if [v0, v1, v2, v3] != [s0, s1, s2, s3] {
            return Ok(None);
        }
        follows = u64::from(u16::from_le_bytes([k0, k1])) + u64::from(u32::from_le_bytes([v0, v1, v2, v3]));
    }
    let length = fixed as u64 + follows;
    if left < length {
        return Ok(None);
    }
    journal.seek_relative(i64::try_from(follows).expect("two lengths of 32 bits at most"))?;
    Ok(Some((tag, length)))
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

    fn batches(journal: &[u8]) -> Batches {
        Batches::of(io::Cursor::new(journal), journal.len() as u64).unwrap()
    }

    #[test]
    fn batches_are_found_whatever_follows() {
        let one = batch(&[(b"k", b"v")]);
        let two = batch(&[(b"key", b"value"), (b"", b"")]);
        let begin = one.len() as u64;
        let mut journal = [one.clone(), two.clone()].concat();
        let both = Batches { last: Some(begin), end: journal.len() as u64, torn: false };
        assert_eq!(batches(&journal), both);
        journal.extend_from_slice(&[0; 64]);
        assert_eq!(batches(&journal), both, "the rest of the file is reserved and empty");
        for cut in 0..two.len() {
            let first = Batches { last: Some(0), end: begin, torn: cut > 0 };
            assert_eq!(batches(&journal[..one.len() + cut]), first, "the second has no end");
        }
        assert_eq!(batches(&[]), Batches::default());
        assert_eq!(batches(&one[..3]), Batches { torn: true, ..Batches::default() });
        let mut longer = one.clone();
        longer[START_LEN + 13] ^= 1;
        assert_eq!(batches(&longer), Batches { torn: true, ..Batches::default() }, "the lengths differ");
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
