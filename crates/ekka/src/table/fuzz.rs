//! What comes from outside to tables, as functions of bytes: none may panic.
//!
//! For one peer: messages of the lane of tables and frames of full copies. For discs: records, heads, pieces, the index.
//! For a group: commands, and the pieces of a snapshot.

use std::ops::Bound;

use ekka_core::id::Incarnation;
use ekka_core::schema::Schema;
use ekka_core::table::quorum::{Command, QuorumTables, Reader};
use ekka_core::table::{Body, Envelope, OwnedTable, PageLimits, Table, part_of};
use ekka_core::time::Now;

use super::copies;
pub use super::disc::{disc_forms, fuzz_disc};
use crate::codec::json::{text, value_of};

/// Decodes `data` as a message of the lane of tables; what decodes must encode to something that decodes to the same.
#[must_use]
pub fn fuzz_envelope(data: &[u8]) -> Option<Envelope> {
    let envelope = postcard::from_bytes::<Envelope>(data).ok()?;
    let bytes = postcard::to_allocvec(&envelope).expect("what was decoded can be encoded");
    assert_eq!(postcard::from_bytes::<Envelope>(&bytes).as_ref(), Ok(&envelope));
    Some(envelope)
}

/// Decodes `data` as a frame of a full copy.
#[must_use]
pub fn fuzz_copy_frame(data: &[u8]) -> Option<Envelope> {
    copies::decode(data).ok()
}

/// The frame of a full copy of a message.
#[must_use]
pub fn copy_frame(envelope: &Envelope) -> Vec<u8> {
    copies::encode(envelope)
}

/// Gives `data` as what a connected peer sends to an `available` or an `owned` table, and asserts every invariant.
/// Whether the connection would go on.
pub fn fuzz_peer(available: &mut Table, owned: &mut OwnedTable, peer: Incarnation, data: &[u8], now: Now) -> bool {
    let Some(envelope) = fuzz_envelope(data) else { return false };
    let taken = match envelope.body {
        Body::Available(message) => available.receive(peer, message, now),
        Body::Owned(message) => owned.receive(peer, message),
        Body::Opened | Body::Loaded | Body::Alive | Body::Amount { .. } | Body::Room { .. } => Ok(()),
    };
    available.tick(now);
    while available.is_merging() {
        available.merge_some(usize::MAX, now);
    }
    available.check();
    owned.check();
    taken.is_ok()
}

/// Applies `data` as a command of the log of a group, on tables that are there, and reads them.
pub fn fuzz_command(tables: &mut QuorumTables, data: &[u8]) {
    let before = tables.view().revision();
    let known = Command::decode(data).is_some();
    drop(tables.apply_bytes(data));
    assert!(known || tables.view().revision() == before, "what is no command changes nothing");
    let view = tables.view().clone();
    for table in view.tables() {
        let all = ekka_core::table::KeyRange::new(Bound::Unbounded, Bound::Unbounded);
        let page = view.page(table, &all, None, PageLimits { rows: usize::MAX, bytes: usize::MAX });
        assert!(page.is_ok_and(|page| page.rows.len() as u64 <= view.figures(table).map_or(0, |it| it.rows)));
    }
}

/// Takes `data` as the pieces of a snapshot, cut at some places.
pub fn fuzz_snapshot(data: &[u8], size: usize) {
    let mut reader = Reader::default();
    if data.chunks(size.max(1)).try_for_each(|piece| reader.take(piece)).is_ok()
        && let Ok(view) = reader.finish()
    {
        let mut tables = QuorumTables::default();
        tables.adopt(view);
        drop(tables.apply_bytes(&Command::Create { table: 1 }.encode()));
    }
}

/// Says `data`, as the key and as the value of a row, in JSON, whatever the codec of the table.
pub fn fuzz_value(data: &[u8]) {
    for codec in ["messagepack", "json", "postcard", "raw"] {
        drop(value_of(codec, data));
    }
    drop((text(data), part_of(data)));
}

/// Decodes `data` as a schema; one that is sound must encode to the same.
pub fn fuzz_schema(data: &[u8]) {
    let Ok(schema) = postcard::from_bytes::<Schema>(data) else { return };
    if schema.check().is_ok() {
        let bytes = postcard::to_allocvec(&schema).expect("what was decoded can be encoded");
        assert_eq!(postcard::from_bytes::<Schema>(&bytes).as_ref(), Ok(&schema));
    }
    drop(schema.to_string());
}
