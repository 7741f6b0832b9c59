//! What always holds of a record.

use alloc::collections::BTreeSet;

use super::absorb::MergeRecord;
use super::state::Record;
use crate::limits::{FORGOTTEN_MAX, MEMBERS_MAX, TOKEN_MAX};

impl Record {
    /// Asserts every invariant of the record.
    pub fn check(&self) {
        let mut places = BTreeSet::new();
        for (node_id, member) in &self.members {
            assert!(places.insert(member.seniority), "two members have the place {}", member.seniority);
            assert!(member.since <= member.seniority && member.seniority <= self.number(), "a place of the future");
            assert!(!self.forgotten.contains_key(node_id), "{} is a member and forgotten", member.name);
            let over = self.over(*node_id);
            assert!(over <= member.guid, "{}: a start after the present one is over", member.name);
        }
        for out in self.forgotten.values() {
            assert!(out.seniority <= out.number && out.number <= self.number(), "a removal of the future");
        }
        assert!(self.members.len() <= MEMBERS_MAX && self.forgotten.len() <= FORGOTTEN_MAX, "bounds of the roster");
        let known = |id| self.members.contains_key(id) || self.forgotten.contains_key(id);
        assert!(self.over.keys().all(known), "the end of a start of nobody is kept");
        assert!(self.floor <= self.ceiling && self.ceiling <= TOKEN_MAX, "tokens {} to {}", self.floor, self.ceiling);
        if let Some(record) = self.merging {
            assert!(Some(record.from) == self.cluster && record.is_sound(), "goes into a younger cluster");
            assert!(record.ceiling == self.ceiling, "tokens were issued after `merging`");
        }
        assert!(self.merged.iter().all(MergeRecord::is_sound), "a record that leads to a younger cluster");
        assert!(self.cluster.is_some() || self.members.is_empty(), "members of no cluster");
    }
}
