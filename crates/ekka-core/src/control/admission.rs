//! Admissions of newcomers: what is to be committed, and the answer once this node has applied it.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::group::Waiting;
use super::{Control, Output, Work};
use crate::autocluster;
use crate::decision::DecisionId;
use crate::durable::{Admission, MergeRecord, Wish};
use crate::id::StoreId;
use crate::machine::Machine;
use crate::membership::{self, Record};
use crate::time::Now;

impl Control {
    /// Has the admission of a newcomer committed.
    pub(super) fn wish_admission(
        &mut self,
        record: Record,
        (asked, chain): (bool, Vec<MergeRecord>),
        decision: DecisionId,
        evidence: Vec<String>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        if self.group.admits(record.id) {
            return;
        }
        let store = (record.store != StoreId::MIN).then(|| record.store.as_u128());
        let (id, name, role) = (record.id, record.name.clone(), record.role);
        let admission = Admission { id, name, role, store, asked, basis: 0, chain };
        let waiting = Waiting::Admission(Box::new(record));
        self.wish((Wish::Admit(admission), waiting), decision, evidence, now, out);
    }

    /// Whether a node that asks to be admitted votes in this cluster already: it was there when the vote was taken, and
    /// has not heard how it ended. Without it there may be no majority to admit anybody.
    pub(super) fn is_founder(&self, asking: &Record) -> bool {
        let node_id = asking.id.node_id;
        let first = &self.autocluster.saved().first_voters;
        if self.membership.roster().seats.get(&node_id).is_some_and(|seat| seat.removed.is_some()) {
            return false; // the log of this node may be behind: others have told it that this one was taken out
        }
        let named =
            first.iter().any(|founder| founder.id.node_id == node_id && founder.store == asking.store.as_u128());
        let record = self.group.durable.record();
        named && (record.cluster().is_none() || record.member(node_id).is_some())
    }

    /// Tells it, as whoever took the vote would have.
    pub(super) fn let_founder_in(&mut self, record: Record, now: Now, out: &mut Vec<Output>) {
        let id = record.id;
        let mut given = Vec::new();
        self.membership.handle(membership::Input::Record(record), now, &mut given);
        self.membership_gave(given, now, out);
        let result = Ok(self.membership.roster().clone());
        self.work.push_back(Work::Autocluster(autocluster::Input::Admitted { id, result }));
    }

    /// Lets in whose admission this node has applied: the answer carries the roster with the newcomer.
    pub(super) fn answer_admitted(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.group.admitted.is_empty() {
            return;
        }
        let number = self.group.durable.record().number();
        let (done, later) = core::mem::take(&mut self.group.admitted).into_iter().partition(|(at, _)| *at <= number);
        self.group.admitted = later;
        let done: Vec<(u64, Box<Record>)> = done;
        if done.is_empty() {
            return;
        }
        // Its seat first: it waits among the work.
        self.work_off(now, out);
        for (_, record) in done {
            let id = record.id;
            let mut given = Vec::new();
            self.membership.handle(membership::Input::Record(*record), now, &mut given);
            self.membership_gave(given, now, out);
            let result = Ok(self.membership.roster().clone());
            self.work.push_back(Work::Autocluster(autocluster::Input::Admitted { id, result }));
        }
    }
}
