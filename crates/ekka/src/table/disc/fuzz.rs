//! What is read from the store, as functions of bytes: none may panic.

use ekka_core::table::Table;
use ekka_core::time::Now;

use super::form;

/// Decodes `data` as each thing that the store keeps of a table, and gives what decodes to an empty one.
pub fn fuzz_disc(empty: &Table, data: &[u8], now: Now) {
    if let Ok(batch) = form::read_record(data) {
        let mut table = empty.clone();
        // Where it says that it does not follow, what came before it is in.
        table.recover(&batch, now).unwrap_or_default();
        table.check();
    }
    if let Ok(messages) = form::read_messages(data) {
        let mut table = empty.clone();
        if table.restore(messages, now).is_ok() {
            table.check();
        }
    }
    drop((form::read_head(data), form::read_index(data)));
}

/// The forms of a table on disc: its log as a record, and a checkpoint as a piece.
#[must_use]
pub fn disc_forms(table: &mut Table, now: Now) -> Vec<Vec<u8>> {
    let record = form::write_record(&table.records(0, usize::MAX).0);
    let (mut giving, mut piece) = (table.clone_to_give(now), Vec::new());
    while let Some(message) = giving.next_message() {
        form::push_message(&mut piece, &message);
    }
    let head = form::write_head(form::Head { set: 1, pieces: 2, length: 3 });
    let index = form::write_index(&form::Index::new());
    vec![record, piece, head, index]
}
