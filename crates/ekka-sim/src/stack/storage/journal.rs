//! Changes as bytes, each in a frame that tells whether it is whole.

use ekka::storage::{LogName, Seq, Truncate};

/// One change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// The end of a snapshot: which store it is, and how many changes made it.
    Store {
        id: u128,
        ordinal: u64,
    },
    Append {
        log: LogName,
        first: Seq,
        records: Vec<Vec<u8>>,
    },
    Truncate {
        log: LogName,
        which: Truncate,
    },
    Checkpoint {
        name: String,
        bytes: Option<Vec<u8>>,
    },
}

/// Length and sum.
const FRAME: usize = 4 + 8;

/// FNV-1a over words of eight bytes: enough to see a torn frame.
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let rest = rest.iter().fold(rest.len() as u64, |word, byte| word << 8 | u64::from(*byte));
    let words = words.iter().map(|word| u64::from_be_bytes(*word)).chain([rest]);
    words.fold(0xcbf2_9ce4_8422_2325, |sum, word| (sum ^ word).wrapping_mul(0x0100_0000_01b3))
}

/// Adds a change to a journal.
pub(super) fn push(journal: &mut Vec<u8>, change: &Change) {
    let mut body = Vec::new();
    match change {
        Change::Store { id, ordinal } => {
            body.push(0);
            body.extend(id.to_be_bytes());
            body.extend(ordinal.to_be_bytes());
        }
        Change::Append { log, first, records } => {
            body.push(1);
            put(&mut body, log.as_bytes());
            body.extend(first.to_be_bytes());
            for record in records {
                put(&mut body, record);
            }
        }
        Change::Truncate { log, which } => {
            let (tag, seq) = match which {
                Truncate::Before(seq) => (2, seq),
                Truncate::From(seq) => (3, seq),
            };
            body.push(tag);
            put(&mut body, log.as_bytes());
            body.extend(seq.to_be_bytes());
        }
        Change::Checkpoint { name, bytes } => {
            body.push(if bytes.is_some() { 4 } else { 5 });
            put(&mut body, name.as_bytes());
            body.extend_from_slice(bytes.as_deref().unwrap_or_default());
        }
    }
    journal.extend(length(&body).to_be_bytes());
    journal.extend(sum(&body).to_be_bytes());
    journal.extend_from_slice(&body);
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("changes are below 4 GiB")
}

fn put(body: &mut Vec<u8>, bytes: &[u8]) {
    body.extend(length(bytes).to_be_bytes());
    body.extend_from_slice(bytes);
}

/// The changes of a journal, up to the first that is not whole.
pub(super) fn changes(mut journal: &[u8]) -> impl Iterator<Item = Change> + '_ {
    std::iter::from_fn(move || {
        let (head, rest) = journal.split_at_checked(FRAME)?;
        let (length, own) = head.split_first_chunk::<4>()?;
        let (body, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        if sum(body).to_be_bytes() != own {
            return None;
        }
        journal = rest;
        parse(body)
    })
}

fn parse(body: &[u8]) -> Option<Change> {
    let (tag, mut rest) = body.split_first()?;
    Some(match tag {
        0 => {
            let (id, rest) = rest.split_first_chunk::<16>()?;
            Change::Store { id: u128::from_be_bytes(*id), ordinal: u64::from_be_bytes(rest.try_into().ok()?) }
        }
        1 => {
            let log = take_name(&mut rest)?.into();
            let (first, mut rest) = rest.split_first_chunk::<8>()?;
            let mut records = Vec::new();
            while !rest.is_empty() {
                records.push(take(&mut rest)?.to_vec());
            }
            Change::Append { log, first: u64::from_be_bytes(*first), records }
        }
        2 | 3 => {
            let log = take_name(&mut rest)?.into();
            let seq = u64::from_be_bytes(rest.try_into().ok()?);
            Change::Truncate { log, which: if *tag == 2 { Truncate::Before(seq) } else { Truncate::From(seq) } }
        }
        4 | 5 => {
            let name = take_name(&mut rest)?.to_owned();
            Change::Checkpoint { name, bytes: (*tag == 4).then(|| rest.to_vec()) }
        }
        _ => return None,
    })
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (bytes, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *rest = after;
    Some(bytes)
}

fn take_name<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(take(rest)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_cut_anywhere_gives_the_changes_before_the_cut() {
        let all = [
            Change::Store { id: 7, ordinal: 9 },
            Change::Append { log: "a".into(), first: 1, records: vec![b"x".to_vec(), Vec::new()] },
            Change::Truncate { log: "a".into(), which: Truncate::From(2) },
            Change::Truncate { log: "a".into(), which: Truncate::Before(2) },
            Change::Checkpoint { name: "c".into(), bytes: Some(Vec::new()) },
            Change::Checkpoint { name: "c".into(), bytes: None },
        ];
        let mut journal = Vec::new();
        let mut ends = Vec::new();
        for change in &all {
            push(&mut journal, change);
            ends.push(journal.len());
        }
        for cut in 0..=journal.len() {
            let whole = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(changes(&journal[..cut]).collect::<Vec<_>>(), all[..whole], "cut at {cut}");
        }
    }
}
