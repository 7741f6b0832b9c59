//! Tables that this node has to fetch before it is up: until then it is `syncing`.
//!
//! The shell says how far its tables are, and by which state of the record it goes. Only while this start has not been up
//! in its cluster yet does that count: a table that is made later is loaded while the node is up.

use alloc::format;
use alloc::string::{String, ToString};

use super::Control;
use crate::id::ClusterId;
use crate::schema::Kind;
use crate::view::{Role, Status, Sync};

/// How far the tables of a node are. The default says that nothing is known of them yet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Loading {
    /// Whose tables they are.
    pub cluster: Option<ClusterId>,
    /// The place of the last entry of the record that they go by.
    pub followed: u64,
    /// What is there, and what is not.
    pub sync: Sync,
    /// What those wait for that have not all rows, in words.
    pub waits: String,
}

impl Control {
    pub(super) fn tables_said(&mut self, loading: Loading) {
        if self.standing.status == Status::Syncing && self.standing.tables.as_ref() != Some(&loading) {
            self.dirty = true;
        }
        self.standing.tables = Some(loading);
    }

    /// Whether this start has to fetch rows of tables before it is up.
    pub(super) fn lacks_rows(&self) -> bool {
        let Some(loading) = &self.standing.tables else { return false };
        if self.standing.synced || self.membership.own().role == Role::Witness {
            return false;
        }
        let record = self.group.durable.record();
        // A quorum table has no rows beside those of its group. The number of a table is the place where it was made.
        let fetched = record.tables().values().filter(|entry| entry.schema.kind != Kind::Quorum);
        let Some(last) = fetched.map(|entry| entry.id).max() else { return false };
        let Sync { tables, of, .. } = loading.sync;
        loading.cluster != record.cluster() || loading.followed < last || tables < of
    }

    /// What it fetches, while it is `syncing`.
    pub(super) fn sync(&self) -> Option<Sync> {
        let loading = self.standing.tables.as_ref()?;
        (self.standing.status == Status::Syncing).then_some(loading.sync)
    }

    /// Why it is not up yet, in words.
    pub(super) fn syncing_words(&self) -> String {
        match &self.standing.tables {
            Some(Loading { sync: Sync { tables, of, .. }, waits, .. }) if tables < of => {
                let lacking = of - tables;
                let have = if lacking == 1 { "has" } else { "have" };
                format!("{lacking} of {of} tables {have} not got all rows yet: {waits}")
            }
            _ => "its tables are being opened".to_string(),
        }
    }
}
