//! Leaving for good: a member of the old cluster must hold the removal on its disc before it counts as said.
//!
//! Whoever leaves keeps the removal of its own seat on disc and says it to everybody of the old cluster whom it meets,
//! until one of them has confirmed that it is on disc there; gossip carries it on. So a cable that is pulled at the wrong
//! moment delays a `leave`, and does not make a member that nobody can forget. The number of the removal is kept after
//! that: should the node join that cluster again, its new seat gets a larger one, whoever admits it.

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
/// Clusters that this node left and remembers; of more the oldest are forgotten.
const PARTINGS_MAX: usize = 8;

/// A removal of this node's own seat in a cluster that it left.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Farewell {
    /// The cluster that this node left.
    pub cluster_id: ClusterId,
    /// Its seat there, removed.
    pub seat: Seat,
    /// Members of that cluster, and where they are dialled. Empty once one of them has confirmed.
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

impl Farewell {
    /// What a node of that cluster says when it leaves; `None` where it leaves nobody behind.
    #[must_use]
    pub fn of(roster: &Roster, me: NodeId) -> Option<Self> {
        let cluster_id = roster.cluster_id?;
        let members = roster.by_seniority().into_iter().filter(|id| *id != me);
        let to: BTreeMap<NodeId, Endpoint> = members
            .filter_map(|id| Some((id, roster.records.get(&id)?.endpoint.clone())))
            .take(FULL_MESH_MAX)
            .collect();
        let seat = Seat { number: roster.next_number(), by: me, removed: Some(RemovalCause::Leave) };
        (!to.is_empty()).then_some(Self { cluster_id, seat, to })
    }

    /// Whether a member has confirmed it.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.to.is_empty()
    }
}

impl Membership {
    /// The farewells of this node, to be kept on disc.
    pub fn farewells(&self) -> impl Iterator<Item = &Farewell> {
        self.partings.values().map(|parting| &parting.farewell)
    }

    /// Whether a cluster that this node left has not confirmed it yet.
    #[must_use]
    pub fn is_parting(&self) -> bool {
        self.farewells().any(|farewell| !farewell.is_heard())
    }

    /// The number of this node's removal in a cluster that it left; 0 where it did not.
    #[must_use]
    pub fn left_with(&self, cluster_id: ClusterId) -> u64 {
        self.partings.get(&cluster_id).map_or(0, |parting| parting.farewell.seat.number)
    }

    /// Leaves the cluster of that roster: takes this node's own seat in it away, and begins to say so.
    pub(super) fn part_from(&mut self, roster: &Roster, now: Now, out: &mut Vec<Output>) {
        let Some(farewell) = Farewell::of(roster, self.me()) else { return };
        if self.partings.len() >= PARTINGS_MAX {
            self.partings.pop_first();
        }
        self.partings.insert(farewell.cluster_id, farewell.into());
        out.push(Output::Persist);
        self.say_farewells(now, out);
    }

    /// Says them again where it is due, and dials whom they may be said to.
    pub(super) fn say_farewells(&mut self, now: Now, out: &mut Vec<Output>) {
        let contacts = &self.contacts;
        let linked = |id: &NodeId| contacts.get(id).is_some_and(|contact| contact.connected);
        for parting in self.partings.values_mut().filter(|parting| !parting.farewell.is_heard()) {
            let since = *parting.since.get_or_insert(now.mono);
            let Farewell { cluster_id, seat, to } = &parting.farewell;
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
        // A seat that was given anew since then is not below this farewell: it is confirmed, and changes nothing.
        let given = self.roster.seats.get(&from.node_id);
        let member = given.is_some_and(|given| given.removed.is_none() && given.number < seat.number);
        out.push(Output::FarewellCame { from: from.node_id, cluster_id, member });
    }

    /// A member of the old cluster holds the removal on its disc.
    pub(super) fn farewell_heard(&mut self, by: NodeId, cluster_id: ClusterId, out: &mut Vec<Output>) {
        let Some(parting) = self.partings.get_mut(&cluster_id).filter(|p| !p.farewell.is_heard()) else { return };
        parting.farewell.to.clear();
        out.push(Output::Persist);
        out.push(Output::FarewellHeard { by });
        out.push(Output::Changed);
    }

    /// Somebody counts this node as a member of a cluster that it is not in: by a request which it made before it ended,
    /// or by a vote that it promised to before an operator's word. It may have to say farewell.
    pub(super) fn look_for_own_seat(&self, theirs: &Roster, out: &mut Vec<Output>) {
        let (Some(cluster_id), Some(seat)) = (theirs.cluster_id, theirs.seats.get(&self.me())) else { return };
        let elsewhere = self.roster.cluster_id != Some(cluster_id);
        if elsewhere && seat.removed.is_none() && seat.number > self.left_with(cluster_id) {
            out.push(Output::CountedIn(theirs.clone()));
        }
    }
}
