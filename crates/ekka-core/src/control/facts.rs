//! What membership knows, told to the room of the durable group.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Control, Output};
use crate::durable::{self, Fact};
use crate::id::{NodeId, StoreId};
use crate::time::Now;
use crate::view::Status;

impl Control {
    /// Tells the room what membership knows, where it looks at that: on the leader, and while something is wished.
    pub(super) fn tell_facts(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.group.open.is_some() && (self.group.durable.leads() || !self.group.waiting.is_empty()) {
            self.tell_facts_now(now, out);
        }
    }

    /// The same for a look at what would come of something.
    pub(super) fn tell_facts_now(&mut self, now: Now, out: &mut Vec<Output>) {
        let facts = self.member_facts();
        if facts != *self.group.durable.facts() {
            self.durable(durable::Input::Facts(facts), now, out);
        }
    }

    fn member_facts(&self) -> BTreeMap<NodeId, Fact> {
        let roster = self.membership.roster();
        let members = roster.records.values().filter(|record| roster.is_member(record.id.node_id));
        let fact = |record: &crate::membership::Record| {
            let node_id = record.id.node_id;
            let fact = Fact {
                id: record.id,
                name: record.name.clone(),
                role: record.role,
                store: (record.store != StoreId::MIN).then(|| record.store.as_u128()),
                zone: record.tags.get("zone").cloned().unwrap_or_default(),
                up: self.hears(node_id),
                leaving: record.status == Status::Leaving,
                caught_up: true,
            };
            (node_id, fact)
        };
        members.map(fact).collect()
    }

    /// Whether a member runs and is in this cluster, as far as this node hears. One that is met in another cluster, where an
    /// operator moved it, has not come back to this one.
    pub(super) fn hears(&self, node_id: NodeId) -> bool {
        node_id == self.me().node_id || self.membership.is_running(node_id) && self.autocluster.says_it_is_in(node_id)
    }

    /// The name of a node, for words.
    pub(super) fn name_of(&self, node_id: NodeId) -> String {
        let committed = || self.group.durable.record().member(node_id).map(|member| member.name.to_string());
        let heard = self.membership.record(node_id).map(|record| record.name.to_string());
        heard.or_else(committed).unwrap_or_else(|| alloc::format!("node_id {node_id}"))
    }
}
