//! Leaving for good: a member of the old cluster must hear of it, and hold the removal, before it counts as said.
//!
//! Whoever leaves keeps the removal of its own seat on disc and says it to everybody of the old cluster whom it meets,
//! until one of them has confirmed that it holds it; gossip carries it on from there. So a cable that is pulled at the
//! wrong moment delays a `leave`, and does not make a member that nobody can forget.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::room::Membership;
use super::{Message, Output, RemovalCause, Roster, Seat};
use crate::id::{ClusterId, Endpoint, Incarnation, NodeId};
use crate::limits::{FULL_MESH_MAX, RECONTACT_INTERVAL, RECONTACT_SLOW_AFTER, RECONTACT_SLOW_INTERVAL};
use crate::time::{Instant, Now};

/// How often it is said again to whom is linked.
const REPEAT: Duration = Duration::from_millis(300);

/// A removal of this node's own seat that no member of that cluster has confirmed yet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Farewell {
    /// The cluster that this node left.
    pub cluster_id: ClusterId,
    /// Its seat there, removed.
    pub seat: Seat,
    /// Members of that cluster, and where they are dialled.
    pub to: BTreeMap<NodeId, Endpoint>,
}

/// A farewell with its timers.
#[derive(Clone, Debug)]
pub(super) struct Parting {
    farewell: Farewell,
    since: Option<Instant>,
    say_at: Instant,
    dial_at: Instant,
}

impl From<Farewell> for Parting {
    fn from(farewell: Farewell) -> Self {
        Self { farewell, since: None, say_at: Instant::ZERO, dial_at: Instant::ZERO }
    }
}

impl Parting {
    pub(super) fn cluster_id(&self) -> ClusterId {
        self.farewell.cluster_id
    }
}

impl Membership {
    /// What is to be said until a member of the old cluster has confirmed it.
    #[must_use]
    pub fn farewell(&self) -> Option<&Farewell> {
        self.parting.as_ref().map(|parting| &parting.farewell)
    }

    /// Leaves the cluster of that roster: takes this node's own seat in it away, and begins to say so.
    pub(super) fn part_from(&mut self, roster: &Roster, now: Now, out: &mut Vec<Output>) {
        let me = self.me();
        let Some(cluster_id) = roster.cluster_id else { return };
        let members = roster.by_seniority().into_iter().filter(|id| *id != me);
        let to: BTreeMap<NodeId, Endpoint> = members
            .filter_map(|id| Some((id, roster.records.get(&id)?.endpoint.clone())))
            .take(FULL_MESH_MAX)
            .collect();
        if to.is_empty() {
            return;
        }
        let seat = Seat { number: roster.next_number(), by: me, removed: Some(RemovalCause::Leave) };
        self.parting = Some(Farewell { cluster_id, seat, to }.into());
        out.push(Output::Persist);
        self.say_farewell(now, out);
    }

    /// Says it again where it is due, and dials whom it may be said to.
    pub(super) fn say_farewell(&mut self, now: Now, out: &mut Vec<Output>) {
        let Some(parting) = &mut self.parting else { return };
        let since = *parting.since.get_or_insert(now.mono);
        let Farewell { cluster_id, seat, to } = &parting.farewell;
        let linked = |id: &NodeId| self.contacts.get(id).is_some_and(|contact| contact.connected);
        if now.mono >= parting.say_at {
            parting.say_at = now.mono + REPEAT;
            for to in to.keys().filter(|id| linked(id)) {
                let message = Message::Farewell { cluster_id: *cluster_id, seat: *seat };
                out.push(Output::Send { to: *to, message });
            }
        }
        if now.mono >= parting.dial_at {
            let long = now.mono.since(since) > RECONTACT_SLOW_AFTER;
            parting.dial_at = now.mono + if long { RECONTACT_SLOW_INTERVAL } else { RECONTACT_INTERVAL };
            for (node_id, endpoint) in to.iter().filter(|(id, _)| !linked(id)) {
                out.push(Output::Dial { node_id: *node_id, endpoint: endpoint.clone() });
            }
        }
    }

    /// A member of this cluster leaves it.
    pub(super) fn farewell_came(
        &mut self,
        from: Incarnation,
        cluster_id: ClusterId,
        seat: Seat,
        out: &mut Vec<Output>,
    ) {
        let own_word = seat.by == from.node_id && seat.removed == Some(RemovalCause::Leave);
        if !own_word || self.roster.cluster_id != Some(cluster_id) {
            return;
        }
        // A seat that was given anew since then is newer than this farewell: it is confirmed, and changes nothing.
        self.take_seat(from.node_id, seat, out);
        out.push(Output::Send { to: from.node_id, message: Message::FarewellHeard { cluster_id } });
    }

    /// A member of the old cluster holds the removal.
    pub(super) fn farewell_heard(&mut self, by: NodeId, cluster_id: ClusterId, out: &mut Vec<Output>) {
        if self.parting.as_ref().is_some_and(|parting| parting.farewell.cluster_id == cluster_id) {
            self.parting = None;
            out.push(Output::Persist);
            out.push(Output::FarewellHeard { by });
            out.push(Output::Changed);
        }
    }

    /// Somebody counts this node as a member of a cluster that it is not in: by a request which it made before it ended,
    /// or by a vote that it promised to before an operator's word. It may have to say farewell.
    pub(super) fn look_for_own_seat(&self, theirs: &Roster, out: &mut Vec<Output>) {
        let another = self.roster.cluster_id != theirs.cluster_id;
        if another && self.parting.is_none() && theirs.is_member(self.me()) {
            out.push(Output::CountedIn(theirs.clone()));
        }
    }
}
