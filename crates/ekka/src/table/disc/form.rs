//! How records, checkpoints and the index look on disc. Each begins with the number of its form; one of a form that
//! this version does not know is not read, and not thrown away either.

use std::collections::BTreeMap;

use ekka_core::id::{ClusterId, Incarnation};
use ekka_core::schema::Schema;
use ekka_core::table::{Batch, Message};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::names::Key;

/// Of records: a batch of operations.
const RECORD: u16 = 1;
/// Of heads, and of the pieces that they name: messages of a full copy, one after the other.
const HEAD: u16 = 1;
/// Of the index; those of the first one know nothing of estates.
const INDEX: u16 = 2;
const INDEX_BEFORE: u16 = 1;

/// What names the pieces of a checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Head {
    /// Which of the two sets of names its pieces have.
    pub(super) set: u8,
    pub(super) pieces: u32,
    /// Bytes of all of them.
    pub(super) length: u64,
}

/// A table in the index.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Listed {
    /// How often it began anew, as it could not be read, or its node was taken out of the cluster: what it was before has
    /// the names of the turns before.
    pub(super) turn: u32,
    /// It is dropped, or its cluster was left: it is being deleted.
    pub(super) gone: bool,
    /// The place of the entry that made this node a member of the cluster that it is of; 0 where that is not known.
    pub(super) since: u64,
    /// What it is.
    pub(super) schema: Option<Schema>,
    /// Turns with what is still to be given to somebody.
    pub(super) estates: Vec<Buried>,
    /// This node is in another cluster: there are estates only.
    pub(super) over: bool,
}

/// A turn that is an estate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Buried {
    pub(super) turn: u32,
    /// The start under which the table went on, and the place at which that was admitted.
    pub(super) start: Incarnation,
    pub(super) since: u64,
}

/// A table in an index of the first form.
#[derive(Deserialize)]
struct ListedBefore {
    turn: u32,
    gone: bool,
}

/// Which tables are kept.
pub(super) type Index = BTreeMap<Key, Listed>;

fn read<T: DeserializeOwned>(form: u16, bytes: &[u8]) -> Result<T, String> {
    let (found, rest): (u16, &[u8]) = postcard::take_from_bytes(bytes).map_err(|error| error.to_string())?;
    if found != form {
        return Err(format!("it has form {found}, and this version reads form {form}"));
    }
    postcard::from_bytes(rest).map_err(|error| error.to_string())
}

fn write<T: Serialize>(form: u16, value: &T) -> Vec<u8> {
    postcard::to_allocvec(&(form, value)).expect("it consists of what postcard can hold")
}

pub(super) fn write_record(batch: &Batch) -> Vec<u8> {
    write(RECORD, batch)
}

pub(super) fn read_record(bytes: &[u8]) -> Result<Batch, String> {
    read(RECORD, bytes)
}

pub(super) fn write_head(head: Head) -> Vec<u8> {
    write(HEAD, &head)
}

pub(super) fn read_head(bytes: &[u8]) -> Result<Head, String> {
    read(HEAD, bytes)
}

/// Adds a message to a piece.
pub(super) fn push_message(piece: &mut Vec<u8>, message: &Message) {
    let bytes = postcard::to_allocvec(message).expect("a message consists of what postcard can hold");
    piece.extend_from_slice(&bytes);
}

/// The messages of a piece.
pub(super) fn read_messages(mut piece: &[u8]) -> Result<Vec<Message>, String> {
    let mut messages = Vec::new();
    while !piece.is_empty() {
        let (message, rest) = postcard::take_from_bytes(piece).map_err(|error| error.to_string())?;
        messages.push(message);
        piece = rest;
    }
    Ok(messages)
}

pub(super) fn write_index(index: &Index) -> Vec<u8> {
    let listed = |(key, listed): (&Key, &Listed)| (key.cluster.as_u128(), key.table, listed.clone());
    write(INDEX, &index.iter().map(listed).collect::<Vec<_>>())
}

pub(super) fn read_index(bytes: &[u8]) -> Result<Index, String> {
    let key = |cluster, table| Key { cluster: ClusterId::from_u128(cluster), table };
    if let Ok(before) = read::<Vec<(u128, u64, ListedBefore)>>(INDEX_BEFORE, bytes) {
        let listed = |ListedBefore { turn, gone }| Listed { turn, gone, ..Listed::default() };
        return Ok(before.into_iter().map(|(cluster, table, of)| (key(cluster, table), listed(of))).collect());
    }
    let listed: Vec<(u128, u64, Listed)> = read(INDEX, bytes)?;
    Ok(listed.into_iter().map(|(cluster, table, listed)| (key(cluster, table), listed)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_another_form_is_not_read_and_says_which() {
        let index: Index =
            [(Key { cluster: ClusterId::from_u128(7), table: 9 }, Listed { turn: 1, gone: true, ..Listed::default() })]
                .into();
        let mut bytes = write_index(&index);
        assert_eq!(read_index(&write(INDEX_BEFORE, &vec![(7u128, 9u64, (1u32, true))])), Ok(index.clone()));
        assert_eq!(read_index(&bytes), Ok(index));
        bytes[0] += 1;
        let error = read_index(&bytes).unwrap_err();
        assert!(error.contains("form 3") && error.contains("reads form 2"), "{error}");
        assert!(read_head(&[]).is_err() && read_record(&[1]).is_err() && read_messages(&[255]).is_err());
    }
}
