//! Joining a cluster that exists, by itself or by an operator's word; and answering those who join.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::room::{Autocluster, Known, Said, Then};
use super::{Denial, Message, Output};
use crate::durable::{Founder, MergeRecord};
use crate::id::{ClusterId, Endpoint, Incarnation, NodeId, NodeName};
use crate::membership::{Record, Roster};
use crate::time::{Instant, Now};
use crate::view::Status;

/// How long one member may take to answer.
const JOIN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a node that was not let in waits before it asks again.
const JOIN_AGAIN: Duration = Duration::from_millis(300);
/// How long an operator's `join` looks for the node.
const OPERATOR_TIMEOUT: Duration = Duration::from_secs(30);
/// How often the operator's node is dialled.
const OPERATOR_DIAL: Duration = Duration::from_secs(1);

/// A join under way.
#[derive(Clone, Debug)]
pub(super) struct Joining {
    pub(super) cluster_id: ClusterId,
    to: Option<NodeId>,
    pub(super) until: Instant,
}

/// An operator's `join`.
#[derive(Clone, Debug)]
pub(super) struct OperatorJoin {
    name: NodeName,
    endpoint: Endpoint,
    until: Instant,
    next_dial: Instant,
    refused: Option<String>,
    /// This node's whole cluster goes there.
    absorb: bool,
}

impl OperatorJoin {
    pub(super) fn new(name: NodeName, endpoint: Endpoint, absorb: bool, now: Instant) -> Self {
        Self { name, endpoint, until: now + OPERATOR_TIMEOUT, next_dial: now, refused: None, absorb }
    }

    fn is(&self, known: &Known) -> bool {
        known.peer.name == self.name || known.peer.endpoint == self.endpoint
    }
}

impl Autocluster {
    /// Rule 3: the cluster with the smallest id that can commit.
    pub(super) fn look_for_cluster(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.operator.is_some() {
            return;
        }
        if self.joining.as_ref().is_some_and(|joining| joining.until > now.mono) {
            return;
        }
        self.joining = None;
        // What this node holds is of that cluster: it goes into no other by itself.
        let outranked = self.saved.outranked.as_ref().map(|outranked| outranked.cluster_id);
        let wanted = |id: ClusterId| outranked.is_none_or(|from| id == from || id == self.end_of_chain(from));
        let best = |able: fn(Status) -> bool| {
            let said = self.peers.values().filter_map(|known| known.said.as_ref());
            let in_one = said.filter(|said| said.quorum && able(said.status)).filter_map(|said| said.cluster_id);
            in_one.filter(|id| wanted(*id)).min()
        };
        // One whose members all wait themselves, for a right clock perhaps, lets nobody in for now.
        if let Some(cluster_id) = best(Status::takes_part).or_else(|| best(|_| true)) {
            self.ask_to_join(cluster_id, None, now, out);
        }
    }

    /// Asks one member of that cluster, chosen by chance so that a stuck one blocks nobody.
    pub(super) fn ask_to_join(
        &mut self,
        cluster_id: ClusterId,
        from: Option<ClusterId>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let members = |able: fn(Status) -> bool| -> Vec<NodeId> {
            let is_in = |said: &Said| said.cluster_id == Some(cluster_id) && said.quorum && able(said.status);
            let members = self.peers.values().filter(|known| known.said.as_ref().is_some_and(is_in));
            members.map(|known| known.peer.id.node_id).collect()
        };
        let up = members(Status::takes_part);
        // A cluster that has just been chosen may wait for this very node: it is one of those who vote in it first, and
        // has not heard how the vote ended.
        let members = if up.is_empty() { members(|status| status == Status::Joining) } else { up };
        let Some(pick) = members.get(self.rng.index(members.len())) else {
            return;
        };
        self.send_join(*pick, cluster_id, from, now, out);
    }

    fn send_join(
        &mut self,
        to: NodeId,
        cluster_id: ClusterId,
        from: Option<ClusterId>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        self.joining = Some(Joining { cluster_id, to: Some(to), until: now.mono + JOIN_TIMEOUT });
        let (record, asked) = (self.own.clone(), self.operator.is_some());
        let chain = from.map(|from| self.chain(from, cluster_id)).unwrap_or_default();
        out.push(Output::Send { to, message: Message::Join { record, cluster_id, from, chain, asked } });
    }

    /// Whether a join is under way or wanted.
    #[must_use]
    pub fn is_joining(&self) -> bool {
        self.joining.is_some() || self.operator.is_some()
    }

    /// The member that was asked is not connected any more.
    pub(super) fn join_lost(&mut self, node_id: NodeId) {
        if self.joining.as_ref().is_some_and(|joining| joining.to == Some(node_id)) {
            self.joining = None;
        }
    }

    /// Somebody wants in.
    pub(super) fn on_join(
        &mut self,
        record: Record,
        cluster_id: ClusterId,
        (from, chain): (Option<ClusterId>, Vec<MergeRecord>),
        asked: bool,
        out: &mut Vec<Output>,
    ) {
        let to = record.id.node_id;
        if self.saved.cluster_id != Some(cluster_id) || self.entering {
            let why = format!("{} is not in cluster {cluster_id}", self.own.name);
            out.push(Output::Send { to, message: Message::NotJoined { why, denial: Denial::Later } });
            return;
        }
        // Late comers of the absorbed cluster are told by every member that knows.
        self.learn_merged(chain.clone(), out);
        // A cluster that goes into this one brings all of its members, whatever they were here before.
        out.push(Output::Admit { record, asked: asked || from.is_some(), chain });
    }

    /// The newcomer was admitted, or not.
    pub(super) fn on_admitted(
        &mut self,
        id: Incarnation,
        result: Result<Roster, (String, Denial)>,
        out: &mut Vec<Output>,
    ) {
        let message = match result {
            Ok(roster) => Message::Joined {
                roster,
                first_voters: self.saved.first_voters.clone(),
                generation: self.saved.generation,
            },
            Err((why, denial)) => Message::NotJoined { why, denial },
        };
        out.push(Output::Send { to: id.node_id, message });
    }

    /// This node is in.
    pub(super) fn on_joined(
        &mut self,
        from: NodeId,
        roster: Roster,
        (first_voters, generation): (Vec<Founder>, u64),
        out: &mut Vec<Output>,
    ) {
        let Some(joining) = self.joining.take_if(|joining| joining.to == Some(from)) else { return };
        // A member that is behind may let in, as one of those who voted first, whom its own roster has as taken out. Who went
        // in with such a roster would hear of no admission, and of no removal either: it has that seat already.
        if roster.cluster_id != Some(joining.cluster_id) || !roster.is_member(self.own.id.node_id) {
            return;
        }
        let before = self.saved.cluster_id;
        self.denied = None;
        self.remember_cluster();
        // An operator's word may go against a record that this node wrote of its own cluster; it must not lead back.
        self.saved.merged.forget(joining.cluster_id);
        self.saved.cluster_id = Some(joining.cluster_id);
        self.saved.first_voters = first_voters;
        self.saved.generation = generation;
        self.saved.outranked = None;
        self.saved.left = false;
        self.met.clear();
        self.entering = true;
        let how = if before.is_some() { "merged" } else { "joined" };
        let name = self.peers.get(&from).map(|known| known.peer.name.to_string()).unwrap_or_default();
        let mut lines = vec![format!("admitted by {name}")];
        lines.extend(before.map(|before| format!("was in cluster {before}")));
        let asked = self.operator.take().is_some();
        self.persist_then(vec![Then::Entered { how, lines, roster, asked }], out);
    }

    pub(super) fn on_not_joined(&mut self, from: NodeId, why: String, denial: Denial, now: Now, out: &mut Vec<Output>) {
        let Some(joining) = &mut self.joining else { return };
        if joining.to != Some(from) {
            return;
        }
        self.denied = self.peers.get(&from).map(|known| (known.peer.name.clone(), why.clone()));
        // Not at once: whoever refused needs time to change its mind.
        joining.to = None;
        joining.until = now.mono + JOIN_AGAIN;
        if denial == Denial::Over {
            if self.operator.take().is_some() {
                out.push(Output::JoinDone(Err(format!("{why}; it takes one now: ask again"))));
            }
            out.push(Output::Over);
        } else if let Some(operator) = &mut self.operator {
            if denial == Denial::Later {
                operator.refused = Some(why);
            } else {
                self.operator = None;
                self.joining = None;
                out.push(Output::JoinDone(Err(why)));
            }
        } else if denial == Denial::TakenOut && self.saved.cluster_id.is_none() {
            self.saved.left = true;
            self.joining = None;
            self.persist_then(Vec::new(), out);
            out.push(Output::TakenOut(why));
        }
    }

    /// Why this cluster cannot go into that of a peer as a whole, as far as the peer has said which that is.
    #[must_use]
    pub fn is_older(&self, node_id: NodeId, name: &NodeName) -> Option<String> {
        let cluster = self.peers.get(&node_id)?.said.as_ref()?.cluster_id?;
        let older = self.saved.cluster_id.is_some_and(|mine| mine < cluster);
        older.then(|| only_the_younger(cluster, name, &self.own.name))
    }

    /// Brings an operator's `join` on.
    pub(super) fn operator_step(&mut self, now: Now, out: &mut Vec<Output>) {
        let Some(operator) = &mut self.operator else { return };
        if self.joining.as_ref().is_some_and(|joining| joining.until > now.mono) {
            return;
        }
        let known = self.peers.values().find(|known| operator.is(known));
        let cluster = known.and_then(|k| k.said.as_ref()).and_then(|said| said.cluster_id);
        if now.mono >= operator.until {
            let name = &operator.name;
            let why = match (known.is_some(), cluster, &operator.refused) {
                (_, _, Some(refused)) => refused.clone(),
                (true, None, _) => format!("{name} is in no cluster itself"),
                (true, Some(_), _) => format!("{name} did not answer"),
                (false, ..) => {
                    let last = self.candidates.by_name(name).cloned().flatten();
                    format!(
                        "{name} was not reached within {} s{}",
                        OPERATOR_TIMEOUT.as_secs(),
                        last.map(|why| format!(": {why}")).unwrap_or_default()
                    )
                }
            };
            self.operator = None;
            out.push(Output::JoinDone(Err(why)));
            return;
        }
        match (known.map(|known| known.peer.id.node_id), cluster) {
            (Some(_), Some(cluster)) if Some(cluster) == self.saved.cluster_id => {
                self.operator = None;
                out.push(Output::JoinDone(Ok(cluster)));
            }
            (Some(_), Some(cluster)) if operator.absorb && self.saved.cluster_id.is_some_and(|mine| mine < cluster) => {
                let why = only_the_younger(cluster, &operator.name, &self.own.name);
                self.operator = None;
                out.push(Output::JoinDone(Err(why)));
            }
            (Some(to), Some(cluster)) => {
                let whole = self.alone || operator.absorb;
                let from = self.saved.cluster_id.filter(|_| whole);
                match from.filter(|from| cluster < *from && self.chain(*from, cluster).is_empty()) {
                    // Nobody else is in it, and it ends by a record of its own.
                    Some(_) => {
                        self.joining = None;
                        out.push(Output::Absorb { into: cluster, by_word: true });
                    }
                    None => self.send_join(to, cluster, from, now, out),
                }
            }
            (Some(_), None) => {}
            (None, _) => {
                if now.mono >= operator.next_dial {
                    operator.next_dial = now.mono + OPERATOR_DIAL;
                    out.push(Output::Dial { endpoint: operator.endpoint.clone(), anew: true });
                }
            }
        }
    }
}

fn only_the_younger(cluster: ClusterId, of: &NodeName, me: &NodeName) -> String {
    format!(
        "cluster {cluster} of {of} is the younger one, and only the younger goes into the older: \
         `ekka join {me} --absorb` there"
    )
}
