//! The mark: what is known to be synced, beside the store, so that a store that lost its end is found out.
//!
//! Two files are overwritten in turn, in place, so that the write of one can tear without harm to the other. Each
//! writing has a number and a sum; the valid one with the highest number counts. A mark is written after the sync that
//! it speaks of: it may lag, it never promises what is not on disc.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::hash::sum;
use super::layout::{decode, encode};
use crate::storage::{LogName, Seq};

/// The two files.
pub(super) const NAMES: [&str; 2] = ["store.mark-a", "store.mark-b"];

const MAGIC: &[u8; 8] = b"ekkamrk1";
/// Magic, length, sum.
const PREFIX: usize = 8 + 4 + 8;

/// Where the store is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Phase {
    /// It is being made: that it is absent is no damage.
    Creating,
    /// It was there.
    InUse,
}

/// What is known to be synced.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) store_id: u128,
    pub(super) phase: Phase,
    /// The batch that was synced last.
    pub(super) ordinal: u64,
    /// The number that the next record of each log had then.
    pub(super) next: BTreeMap<String, Seq>,
    /// What was found damaged before this store was made, until its first batch: a crash in between does not hide it.
    pub(super) damage: Vec<String>,
}

/// What the mark files say.
pub(super) enum Found {
    /// Neither exists.
    Nothing,
    /// Neither is whole.
    Unreadable,
    /// The last one written.
    Mark(Mark),
}

/// The open files.
pub(super) struct MarkFiles {
    files: [File; 2],
    /// Of the next writing.
    number: u64,
}

/// Reads both files.
///
/// # Errors
/// The system refuses to.
pub(super) fn read(dir: &Path) -> io::Result<Found> {
    Ok(match newest(dir)? {
        (_, Some((_, mark))) => Found::Mark(mark),
        (true, None) => Found::Unreadable,
        (false, None) => Found::Nothing,
    })
}

/// Whether there is a file, and the last whole writing.
fn newest(dir: &Path) -> io::Result<(bool, Option<(u64, Mark)>)> {
    let mut any = false;
    let mut newest: Option<(u64, Mark)> = None;
    for name in NAMES {
        match fs::read(dir.join(name)) {
            Ok(bytes) => {
                any = true;
                let read = parse(&bytes);
                if read.as_ref().map(|(number, _)| *number) > newest.as_ref().map(|(number, _)| *number) {
                    newest = read;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok((any, newest))
}

fn parse(bytes: &[u8]) -> Option<(u64, Mark)> {
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (own, rest) = rest.split_first_chunk::<8>()?;
    // In place of a longer writing, its end is still behind this one.
    let body = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    if magic != MAGIC || u64::from_be_bytes(*own) != sum(&[body]) {
        return None;
    }
    decode(body)
}

fn write(file: &File, number: u64, mark: &Mark) -> io::Result<()> {
    let body = encode(&(number, mark));
    let mut bytes = Vec::with_capacity(PREFIX + body.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(&sum(&[&body]).to_be_bytes());
    bytes.extend_from_slice(&body);
    file.write_all_at(&bytes, 0)?;
    file.sync_data()
}

impl MarkFiles {
    /// Opens both files, made where they are absent.
    ///
    /// # Errors
    /// The system refuses to.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let number = newest(dir)?.1.map_or(1, |(number, _)| number + 1);
        let open = |name: &str| {
            let path: PathBuf = dir.join(name);
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
        };
        let files = [open(NAMES[0])?, open(NAMES[1])?];
        File::open(dir)?.sync_all()?;
        Ok(Self { files, number })
    }

    /// Writes one of them.
    ///
    /// # Errors
    /// The mark may be torn; the one before it still counts.
    pub(super) fn write(&mut self, mark: &Mark) -> io::Result<()> {
        let file = &self.files[usize::from(self.number.is_multiple_of(2))];
        write(file, self.number, mark)?;
        self.number += 1;
        Ok(())
    }

    /// Writes both, one after the other: nothing older is left.
    ///
    /// # Errors
    /// As [`MarkFiles::write`].
    pub(super) fn write_both(&mut self, mark: &Mark) -> io::Result<()> {
        self.write(mark)?;
        self.write(mark)
    }
}

impl Mark {
    /// What is missing in a store that has only these.
    pub(super) fn missing(&self, ordinal: u64, next: impl Fn(&str) -> Seq) -> Vec<String> {
        if ordinal >= self.ordinal {
            return Vec::new();
        }
        let mut words =
            vec![format!("store: it ends at change {ordinal}, and {} were synced, says the mark", self.ordinal)];
        words.extend(self.next.iter().filter(|(log, should)| next(log) < **should).map(|(log, should)| {
            format!("log {log}: it ends before record {}, and should before {should}, says the mark", next(log))
        }));
        words
    }

    /// Takes over where logs end now.
    pub(super) fn note(&mut self, ordinal: u64, changed: impl IntoIterator<Item = (LogName, Seq)>) {
        self.ordinal = ordinal;
        for (log, next) in changed {
            match self.next.get_mut(&*log) {
                Some(known) => *known = next,
                None => {
                    self.next.insert(log.to_string(), next);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(ordinal: u64) -> Mark {
        let next = BTreeMap::from([("durable".to_owned(), ordinal + 1)]);
        Mark { store_id: 7, phase: Phase::InUse, ordinal, next, damage: Vec::new() }
    }

    fn ordinal(dir: &Path) -> Option<u64> {
        match read(dir).unwrap() {
            Found::Mark(mark) => Some(mark.ordinal),
            Found::Nothing | Found::Unreadable => None,
        }
    }

    #[test]
    fn the_last_writing_counts_and_a_torn_one_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(read(dir.path()).unwrap(), Found::Nothing));
        let mut files = MarkFiles::open(dir.path()).unwrap();
        for n in 1..=5 {
            files.write(&mark(n)).unwrap();
            assert_eq!(ordinal(dir.path()), Some(n));
        }
        let last = NAMES
            .map(|name| dir.path().join(name))
            .into_iter()
            .max_by_key(|path| parse(&fs::read(path).unwrap()).map(|(number, _)| number));
        let whole = fs::read(last.as_ref().unwrap()).unwrap();
        for at in 0..whole.len() {
            let mut torn = whole.clone();
            torn[at] ^= 0x40;
            fs::write(last.as_ref().unwrap(), torn).unwrap();
            assert_eq!(ordinal(dir.path()), Some(4), "byte {at}");
            fs::write(last.as_ref().unwrap(), &whole[..at]).unwrap();
            assert_eq!(ordinal(dir.path()), Some(4), "cut at {at}");
        }
        for name in NAMES {
            fs::write(dir.path().join(name), b"x").unwrap();
        }
        assert!(matches!(read(dir.path()).unwrap(), Found::Unreadable));
    }

    #[test]
    fn a_shorter_writing_over_a_longer_one_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = MarkFiles::open(dir.path()).unwrap();
        let mut long = mark(1);
        long.damage = vec!["x".repeat(300)];
        files.write_both(&long).unwrap();
        files.write_both(&mark(2)).unwrap();
        assert_eq!(ordinal(dir.path()), Some(2));
        let mut again = MarkFiles::open(dir.path()).unwrap();
        again.write(&mark(3)).unwrap();
        assert_eq!(ordinal(dir.path()), Some(3), "the numbers go on");
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(mark(9).missing(9, |_| 10).is_empty());
        assert!(mark(9).missing(12, |_| 1).is_empty(), "truncated since");
        let words = mark(9).missing(8, |_| 9).join("\n");
        assert!(words.contains("change 8") && words.contains("log durable: it ends before record 9"), "{words}");
    }
}
