//! The batch at the end of the engine's journal that a power loss may have torn.
//!
//! The engine cuts a journal where its framing ends, and refuses to open where a batch is framed but its sum is wrong.
//! The second happens to a healthy store: pages of a batch that was being written when the power went reach the disc in
//! any order, so its end may be there and its middle not. Such a batch was never synced, and only the last can be one,
//! since the committer syncs each before it writes the next. It is cut off here, and what then is missing is for the
//! mark to tell.
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

/// Cuts the last batch, whole or only begun, off the newest journal of the engine's folder. `false` where there is none.
///
/// # Errors
/// The system refuses to.
pub(super) fn cut_last_batch(engine: &Path) -> io::Result<bool> {
    let Some(path) = newest_journal(engine)? else { return Ok(false) };
    let Some(at) = last_batch(&fs::read(&path)?) else { return Ok(false) };
    let file = OpenOptions::new().write(true).open(&path)?;
    file.set_len(at as u64)?;
    file.sync_all()?;
    Ok(true)
}

fn newest_journal(engine: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest: Option<(u64, PathBuf)> = None;
    for entry in fs::read_dir(engine)? {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse().ok());
        if let Some(number) = number
            && newest.as_ref().is_none_or(|(known, _)| number > *known)
        {
            newest = Some((number, path));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

/// Where the last batch begins, be it one without an end.
fn last_batch(journal: &[u8]) -> Option<usize> {
    let mut at = 0;
    let mut begun = None;
    let mut last = None;
    while let Some((tag, length)) = journal.get(at..).and_then(entry) {
        match tag {
            START if begun.is_none() => begun = Some(at),
            END if begun.is_some() => last = begun.take(),
            ITEM | CLEAR if begun.is_some() => {}
            _ => break,
        }
        at += length;
    }
    begun.or(last)
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
            let value = u32::from_le_bytes(header[17..21].try_into().ok()?);
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
    fn the_last_whole_batch_is_found_whatever_follows() {
        let one = batch(&[(b"k", b"v")]);
        let two = batch(&[(b"key", b"value"), (b"", b"")]);
        let mut journal = [one.clone(), two.clone()].concat();
        assert_eq!(last_batch(&journal), Some(one.len()));
        journal.extend_from_slice(&[0; 64]);
        assert_eq!(last_batch(&journal), Some(one.len()), "the rest of the file is reserved and empty");
        for cut in one.len() + START_LEN..one.len() + two.len() {
            assert_eq!(last_batch(&journal[..cut]), Some(one.len()), "the second has no end");
        }
        assert_eq!(last_batch(&one), Some(0));
        assert_eq!(last_batch(&[]), None);
        assert_eq!(last_batch(&one[..3]), None);
    }
}
