//! The acceptor of the vote: promises and acceptances are on disc before they are answered.

use alloc::vec;
use alloc::vec::Vec;

use super::room::{Autocluster, Then};
use super::{Ballot, Message, NackReason, Output, Proposal};
use crate::id::{NodeId, NodeName};
use crate::membership::Roster;

impl Autocluster {
    /// Why this node does not vote with that proposer; `None` where it does.
    fn refuses_vote(&self, electorate: Option<&Vec<NodeName>>) -> Option<NackReason> {
        if let Some(id) = self.saved.cluster_id {
            return Some(NackReason::InCluster(id));
        }
        if self.is_idle() {
            return Some(NackReason::Idle);
        }
        if let Some(decider) = &self.settings.decider {
            return Some(NackReason::DecidedBy(decider.clone()));
        }
        if electorate != self.settings.electorate.as_ref() {
            return Some(NackReason::ListDiffers(self.settings.electorate.clone()));
        }
        None
    }

    /// Sends an answer that depends on what was just changed: after it is on disc.
    fn answer_when_saved(&mut self, to: NodeId, message: Message, out: &mut Vec<Output>) {
        if self.settings.faults.promise_unsaved {
            out.push(Output::Send { to, message });
            return;
        }
        self.persist_then(vec![Then::Send { to, message }], out);
    }

    /// Answers a ballot that this acceptor takes no part in; whether it did.
    fn refused(&self, to: NodeId, ballot: Ballot, electorate: Option<&Vec<NodeName>>, out: &mut Vec<Output>) -> bool {
        let refusal = self.refuses_vote(electorate).or_else(|| {
            let promised = self.saved.promised.filter(|promised| *promised > ballot)?;
            Some(NackReason::Promised(promised))
        });
        let Some(why) = refusal else { return false };
        out.push(Output::Send { to, message: Message::Nack { ballot, why } });
        true
    }

    /// Paxos 1a.
    pub(super) fn on_prepare(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        electorate: Option<&Vec<NodeName>>,
        out: &mut Vec<Output>,
    ) {
        if self.refused(from, ballot, electorate, out) {
            return;
        }
        self.saved.promised = Some(ballot);
        self.proposer.outbid(ballot);
        let accepted = self.saved.accepted.clone();
        self.answer_when_saved(from, Message::Promise { ballot, accepted }, out);
    }

    /// Paxos 2a.
    pub(super) fn on_accept(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        proposal: Proposal,
        electorate: Option<&Vec<NodeName>>,
        out: &mut Vec<Output>,
    ) {
        if self.refused(from, ballot, electorate, out) {
            return;
        }
        self.saved.promised = Some(ballot);
        self.saved.accepted = Some((ballot, proposal));
        self.proposer.outbid(ballot);
        self.answer_when_saved(from, Message::Accepted { ballot }, out);
    }

    /// The value was chosen: this node is in the cluster where it is one of its first voters; otherwise it joins.
    pub(super) fn on_chosen(&mut self, from: NodeId, proposal: &Proposal, roster: Roster, out: &mut Vec<Output>) {
        if self.saved.cluster_id.is_some()
            || self.operator.is_some()
            || self.is_idle()
            || !proposal.names(self.me().node_id)
        {
            return;
        }
        let name = self.peers.get(&from).map(|known| known.peer.name.clone());
        let lines = name.map(|name| alloc::format!("told by {name}")).into_iter().collect();
        self.enter_chosen(proposal, roster, lines, out);
    }

    /// Takes the chosen cluster as this node's own, on disc first.
    pub(super) fn enter_chosen(
        &mut self,
        proposal: &Proposal,
        roster: Roster,
        lines: Vec<alloc::string::String>,
        out: &mut Vec<Output>,
    ) {
        self.saved.cluster_id = Some(proposal.cluster_id);
        self.saved.first_voters = proposal.voters();
        self.entering = true;
        self.joining = None;
        self.persist_then(vec![Then::Entered { how: "formed", lines, roster, asked: false }], out);
    }
}
