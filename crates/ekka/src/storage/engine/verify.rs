//! Reads a whole store at its opening: is it one state that was once committed, and which.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use super::database::{Database, EngineError};
use super::layout::{
    CHECKPOINT, CHECKPOINT_PART, CheckpointHeader, HEAD, Head, LOG, LogHeader, RECORD, Record, decode, named, part_key,
    share, split_key,
};
use crate::storage::{LogName, Seq};

/// What lies on disc.
pub(super) struct OnDisc {
    pub(super) head: Head,
    pub(super) logs: BTreeMap<LogName, LogHeader>,
    pub(super) checkpoints: BTreeMap<String, CheckpointHeader>,
    /// Records that were dropped and whose keys are still there.
    pub(super) garbage: Garbage,
}

/// Stretches of dropped records.
pub(super) type Garbage = VecDeque<(LogName, Range<Seq>)>;

/// Reads it all.
///
/// # Errors
/// `Damaged` names the first log or checkpoint that does not vouch for itself.
pub(super) fn read_all(database: &Database) -> Result<OnDisc, EngineError> {
    let head = database.get(HEAD)?.ok_or_else(|| damaged("store", "its head is gone"))?;
    let head: Head = decode(&head).ok_or_else(|| damaged("store", "its head cannot be read"))?;
    let mut sums = 0u64;
    let mut on_disc = OnDisc { head, logs: BTreeMap::new(), checkpoints: BTreeMap::new(), garbage: VecDeque::new() };
    database.visit(&[LOG], &[LOG + 1], |key, value| {
        let (name, header) = header::<LogHeader>(key, value)?;
        sums = sums.wrapping_add(share(key, value));
        on_disc.logs.insert(name.into(), header);
        Ok(true)
    })?;
    database.visit(&[CHECKPOINT], &[CHECKPOINT + 1], |key, value| {
        let (name, header) = header::<CheckpointHeader>(key, value)?;
        sums = sums.wrapping_add(share(key, value));
        on_disc.checkpoints.insert(name, header);
        Ok(true)
    })?;
    if sums != head.headers {
        let text = format!("its parts are not of one time: some are older or newer than change {}", head.ordinal);
        return Err(damaged("store", &text));
    }
    records(database, &mut on_disc)?;
    for (name, header) in &on_disc.checkpoints {
        checkpoint(database, name, *header)?;
    }
    parts_without_header(database, &mut on_disc)?;
    Ok(on_disc)
}

fn header<T: for<'a> serde::Deserialize<'a>>(key: &[u8], value: &[u8]) -> Result<(String, T), EngineError> {
    let (name, _) = split_key(key).ok_or_else(|| damaged("store", "a key cannot be read"))?;
    let header = decode(value).ok_or_else(|| damaged(name, "its header cannot be read"))?;
    Ok((name.to_owned(), header))
}

/// Follows the chain of every log in one pass.
fn records(database: &Database, on_disc: &mut OnDisc) -> Result<(), EngineError> {
    // Where each chain has got to: the number that must come next, and the sum before it.
    let mut ends: BTreeMap<LogName, (u64, u64)> =
        on_disc.logs.iter().map(|(log, header)| (log.clone(), (header.first, header.base))).collect();
    let OnDisc { logs, garbage, .. } = on_disc;
    database.visit(&[RECORD], &[RECORD + 1], |key, value| {
        let (log, rest) = split_key(key).ok_or_else(|| damaged("store", "a key cannot be read"))?;
        let seq = u64::from_be_bytes(rest.try_into().map_err(|_| damaged(log, "the key of a record is cut short"))?);
        let header = logs.get(log).ok_or_else(|| damaged(log, "it has records and no header"))?;
        if !(header.first..header.next).contains(&seq) {
            add_garbage(garbage, log, seq);
            return Ok(true);
        }
        let end = ends.get_mut(log).expect("every log has an end");
        let record = Record::parse(seq, value).filter(|record| (seq, record.previous) == *end);
        let record = record.ok_or_else(|| damaged(log, &format!("record {} is missing or damaged", end.0)))?;
        *end = (seq + 1, record.sum);
        Ok(true)
    })?;
    for (log, header) in &*logs {
        if ends[log] != (header.next, header.tip) {
            return Err(damaged(log, &format!("record {} is missing or damaged, of {}", ends[log].0, header.next - 1)));
        }
    }
    Ok(())
}

fn add_garbage(garbage: &mut Garbage, log: &str, seq: Seq) {
    match garbage.back_mut() {
        Some((known, range)) if **known == *log && range.end == seq => range.end = seq + 1,
        _ => garbage.push_back((log.into(), seq..seq.saturating_add(1))),
    }
}

/// Reads a checkpoint.
///
/// # Errors
/// `Damaged`: it is not what its header says.
pub(super) fn checkpoint(database: &Database, name: &str, header: CheckpointHeader) -> Result<Vec<u8>, EngineError> {
    let mut bytes = Vec::new();
    let end = part_key(name, u32::MAX);
    let mut parts = 0u32;
    database.visit(&named(CHECKPOINT_PART, name), &end, |key, value| {
        if key != part_key(name, parts) || parts == header.parts() {
            return Ok(false);
        }
        bytes.extend_from_slice(value);
        parts += 1;
        Ok(true)
    })?;
    if CheckpointHeader::of(&bytes) != header {
        let text = format!("{} of its {} bytes are there, or other ones", bytes.len(), header.bytes);
        return Err(damaged(name, &text));
    }
    Ok(bytes)
}

/// Parts go in the batch that replaces them; one without a header, or beyond its end, is a change that was lost.
fn parts_without_header(database: &Database, on_disc: &mut OnDisc) -> Result<(), EngineError> {
    database.visit(&[CHECKPOINT_PART], &[CHECKPOINT_PART + 1], |key, _| {
        let (name, rest) = split_key(key).ok_or_else(|| damaged("store", "a key cannot be read"))?;
        let part = rest.try_into().map_or(u32::MAX, u32::from_be_bytes);
        match on_disc.checkpoints.get(name) {
            Some(header) if part < header.parts() => Ok(true),
            _ => Err(damaged(name, "a part of an older checkpoint is back")),
        }
    })
}

fn damaged(what: &str, why: &str) -> EngineError {
    EngineError::Damaged(format!("{what}: {why}"))
}
