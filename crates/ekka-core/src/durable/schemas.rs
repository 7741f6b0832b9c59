//! The tables of the cluster: their schemas are entries of the durable group, so they are the same on all nodes.
//!
//! A table has the number of the entry that made it. One that is dropped and made again is another table: what still
//! comes for the first has its number, and never gets into the second.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::outcome::{Change, Outcome, Refusal};
use super::state::Record;
use crate::limits::TABLES_MAX;
use crate::schema::Schema;

/// The form of schema changes that this code writes.
const FORM: u16 = 1;

/// A table, as committed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TableEntry {
    /// The number of the entry that made it.
    pub id: u64,
    /// What it is.
    pub schema: Schema,
}

/// What is to be done to the schemas.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SchemaChange {
    /// A table is made; nothing where there is one with the same schema.
    Create(Schema),
    /// A table is dropped, where it is the one that was looked at.
    Drop {
        /// Its name.
        name: String,
        /// Its number.
        id: u64,
    },
}

impl SchemaChange {
    /// The bytes that go into an entry.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(&(FORM, self)).expect("a schema consists of what postcard can hold")
    }

    /// Reads one.
    ///
    /// # Errors
    /// A newer version wrote it, in words. Nothing may follow from it.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let (form, rest): (u16, &[u8]) = postcard::take_from_bytes(bytes).map_err(|error| format!("{error}"))?;
        if form != FORM {
            return Err(format!("form {form} of a schema, this version reads form {FORM}"));
        }
        postcard::from_bytes(rest).map_err(|error| format!("no schema that this version knows: {error}"))
    }

    /// The same in words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Create(schema) => format!("create the table {schema}"),
            Self::Drop { name, id } => format!("drop the table {name:?} (number {id})"),
        }
    }
}

impl Record {
    /// All tables, by name.
    #[must_use]
    pub fn tables(&self) -> &BTreeMap<String, TableEntry> {
        &self.tables
    }

    pub(super) fn change_schema(&mut self, bytes: &[u8], changes: &mut Vec<Change>) -> Outcome {
        match SchemaChange::decode(bytes) {
            Ok(SchemaChange::Create(schema)) => self.create_table(schema, changes),
            Ok(SchemaChange::Drop { name, id }) => self.drop_table(&name, id, changes),
            Err(words) => Outcome::Unknown { words },
        }
    }

    fn create_table(&mut self, schema: Schema, changes: &mut Vec<Change>) -> Outcome {
        if let Err(error) = schema.check() {
            return Outcome::refused(Refusal::Senseless, format!("{error}"));
        }
        if let Some(held) = self.tables.get(&schema.name) {
            if held.schema == schema {
                return Outcome::already(held.id);
            }
            let words = format!("there is a table {} already, and {schema} was asked for", held.schema);
            return Outcome::refused(Refusal::Mismatch, words);
        }
        if let Some(refused) = self.over_by_merging("makes no table") {
            return refused;
        }
        if self.tables.len() >= TABLES_MAX {
            return Outcome::refused(Refusal::Full, format!("there are {TABLES_MAX} tables: no more are made"));
        }
        let entry = TableEntry { id: self.number(), schema };
        changes.push(Change::TableCreated(entry.clone()));
        self.tables.insert(entry.schema.name.clone(), entry);
        Outcome::done(self.number())
    }

    fn drop_table(&mut self, name: &str, id: u64, changes: &mut Vec<Change>) -> Outcome {
        // A repeat, or somebody was faster; what has the name now is another table.
        if self.tables.get(name).is_none_or(|held| held.id != id) {
            return Outcome::already(0);
        }
        if let Some(dropped) = self.tables.remove(name) {
            changes.push(Change::TableDropped(dropped));
        }
        Outcome::done(self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::{LogPlace, StateMachine};
    use crate::durable::command::{Command, Entry, Why};
    use crate::id::{ClusterId, NodeId};
    use crate::schema::{Kind, Storage};

    struct Log(Record, u64);

    impl Log {
        fn new() -> Self {
            let mut log = Self(Record::default(), 0);
            log.0.cluster = Some(ClusterId::MIN);
            log
        }

        fn commit(&mut self, change: &SchemaChange) -> (Outcome, Vec<Change>) {
            self.1 += 1;
            let why = Why::new(NodeId::from_u128(1), 0, Vec::new());
            let entry = Entry { why, command: Command::Schema(change.encode()) };
            self.0.commit(LogPlace { term: 1, index: self.1 }, &entry)
        }
    }

    #[test]
    fn a_table_is_made_once_and_one_with_other_options_is_refused() {
        let mut log = Log::new();
        let schema = Schema::new("users", Kind::Available);
        let (made, changes) = log.commit(&SchemaChange::Create(schema.clone()));
        assert_eq!((made, changes.len()), (Outcome::done(1), 1));
        assert_eq!(log.commit(&SchemaChange::Create(schema.clone())), (Outcome::already(1), Vec::new()));
        let other = Schema { storage: Storage::Disc, ..schema };
        let (outcome, changes) = log.commit(&SchemaChange::Create(other));
        let Outcome::Refused { code: Refusal::Mismatch, words } = outcome else { panic!("{outcome:?}") };
        assert!(words.contains("available, ram") && words.contains("available, disc"), "{words}");
        assert!(changes.is_empty() && log.0.tables().len() == 1);
    }

    #[test]
    fn who_drops_a_table_that_was_made_anew_drops_nothing() {
        let mut log = Log::new();
        let create = SchemaChange::Create(Schema::new("users", Kind::Quorum));
        let drop = SchemaChange::Drop { name: "users".into(), id: 1 };
        log.commit(&create);
        assert_eq!(log.commit(&drop).0, Outcome::done(2));
        assert_eq!(log.commit(&drop).0, Outcome::already(0));
        assert_eq!(log.commit(&create).0, Outcome::done(4));
        assert_eq!(log.commit(&drop), (Outcome::already(0), Vec::new()));
        assert_eq!(log.0.tables().get("users").map(|table| table.id), Some(4));
    }

    #[test]
    fn snapshots_have_the_tables_and_those_from_before_there_were_any_are_read() {
        let mut log = Log::new();
        let before = log.0.clone();
        log.commit(&SchemaChange::Create(Schema::new("users", Kind::Owned)));
        let mut read = Record::default();
        read.restore(&log.0.snapshot()).unwrap();
        assert_eq!(read, log.0);
        read.restore(&postcard::to_allocvec(&(2u16, &before)).unwrap()).unwrap();
        assert_eq!(read, before);
    }

    #[test]
    fn a_change_of_a_newer_version_changes_nothing() {
        let bytes = postcard::to_allocvec(&(2u16, 0u8)).unwrap();
        assert!(SchemaChange::decode(&bytes).is_err() && SchemaChange::decode(&[]).is_err());
    }
}
