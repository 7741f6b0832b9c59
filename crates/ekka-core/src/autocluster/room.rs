//! The room itself: what is known of peers and candidates, and the order in which things are looked at.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::candidates::Candidates;
use super::decided::Decided;
use super::join::{Joining, OperatorJoin};
use super::meet::Met;
use super::proposer::Proposer;
use super::{Answer, Input, Merge, Message, NackReason, Output, Peer, Registration, Saved, Settings, SourceList};
use crate::id::{ClusterId, Incarnation, NodeId, NodeName};
use crate::limits::{REDISCOVER_INTERVAL, REDISCOVER_SLOW_INTERVAL};
use crate::machine::Machine;
use crate::membership::Record;
use crate::rng::Rng;
use crate::time::{Instant, Now};
use crate::view::Status;

/// How often this room looks while something is under way.
const STEP_BUSY: Duration = Duration::from_millis(100);
/// How often it looks once the node is in a cluster and nothing is under way.
const STEP_CALM: Duration = Duration::from_secs(1);

/// How often this node says where it stands although nothing changed.
const STATE_REPEAT: Duration = Duration::from_secs(2);

/// What a peer said of itself with `State`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Said {
    pub(super) cluster_id: Option<ClusterId>,
    pub(super) status: Status,
    pub(super) quorum: bool,
    pub(super) electorate: Option<Vec<NodeName>>,
    pub(super) decider: Option<String>,
    pub(super) idle: bool,
    pub(super) merge: Merge,
    pub(super) quorum_rows: bool,
    pub(super) generation: u64,
}

/// A connected peer.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) peer: Peer,
    pub(super) said: Option<Said>,
}

/// What is done once the write that it depends on is on disc.
#[derive(Clone, Debug)]
pub(super) enum Then {
    Send { to: NodeId, message: Message },
    Prepare { ballot: super::Ballot },
    SelfAccepted { ballot: super::Ballot },
    Entered { how: &'static str, lines: Vec<String>, roster: crate::membership::Roster, asked: bool },
}

/// See the module's head.
pub struct Autocluster {
    pub(super) own: Record,
    pub(super) settings: Settings,
    pub(super) saved: Saved,
    pub(super) rng: Rng,
    pub(super) peers: BTreeMap<NodeId, Known>,
    pub(super) candidates: Candidates,
    pub(super) proposer: Proposer,
    /// Who did not let this node in last, and why.
    pub(super) denied: Option<(NodeName, String)>,
    /// Nothing is in the log of this node's cluster yet but its first voters.
    pub(super) unfounded: bool,
    pub(super) joining: Option<Joining>,
    pub(super) operator: Option<OperatorJoin>,
    pub(super) met: BTreeMap<ClusterId, Met>,
    pub(super) quorum: bool,
    pub(super) status: Status,
    pub(super) clock_refused: bool,
    pub(super) alone: bool,
    pub(super) quorum_rows: bool,
    pub(super) entering: bool,
    pub(super) started: Option<Instant>,
    pub(super) decided: Decided,
    /// First voters that were seen in this node's cluster.
    pub(super) entered: BTreeSet<NodeId>,
    pub(super) registered: Option<Registration>,
    /// The strategies in use.
    list: SourceList,
    /// Those that fail, each with why.
    pub(super) failing: BTreeMap<String, String>,
    last_token: u64,
    after: Vec<(u64, Then)>,
    told: Option<Message>,
    tell_at: Instant,
    waits: String,
    discover_at: Instant,
    step_at: Instant,
}

impl Autocluster {
    /// The room at the start of a node.
    #[must_use]
    pub fn new(own: Record, settings: Settings, mut saved: Saved, rng: Rng) -> Self {
        // A record only ever goes from a younger cluster to an older one; anything else on disc is damage.
        saved.merged.drop_unsound();
        Self {
            candidates: Candidates::new(&own),
            own,
            settings,
            saved,
            rng,
            peers: BTreeMap::new(),
            proposer: Proposer::default(),
            denied: None,
            unfounded: false,
            joining: None,
            operator: None,
            met: BTreeMap::new(),
            quorum: false,
            status: Status::Joining,
            clock_refused: false,
            alone: true,
            quorum_rows: false,
            entering: false,
            started: None,
            decided: Decided::default(),
            entered: BTreeSet::new(),
            registered: None,
            list: SourceList::default(),
            failing: BTreeMap::new(),
            last_token: 0,
            after: Vec::new(),
            told: None,
            tell_at: Instant::ZERO,
            waits: String::new(),
            discover_at: Instant::ZERO,
            step_at: Instant::ZERO,
        }
    }

    /// What is to be on disc.
    #[must_use]
    pub fn saved(&self) -> &Saved {
        &self.saved
    }

    /// The cluster that this node is in.
    #[must_use]
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.saved.cluster_id
    }

    /// The same once it is on disc: what others may be told.
    #[must_use]
    pub fn cluster_on_disc(&self) -> Option<ClusterId> {
        self.saved.cluster_id.filter(|_| !self.entering)
    }

    /// Whether a peer counts for this node's cluster, by its own last word: it is in it, or it is a founder that was
    /// not told yet. One that left or is in another cluster does not; one that is not connected is not doubted.
    #[must_use]
    pub fn is_with_us(&self, node_id: NodeId) -> bool {
        let Some(known) = self.peers.get(&node_id) else { return true };
        known.said.as_ref().is_none_or(|said| match said.cluster_id {
            Some(id) => Some(id) == self.saved.cluster_id,
            None => !said.idle,
        })
    }

    /// Whether a peer has said that it is in this node's cluster. Of one that is not connected here others know.
    #[must_use]
    pub fn says_it_is_in(&self, node_id: NodeId) -> bool {
        let Some(known) = self.peers.get(&node_id) else { return true };
        known.said.as_ref().is_some_and(|said| said.cluster_id.is_some() && said.cluster_id == self.saved.cluster_id)
    }

    /// Whether a peer is connected, and has not said yet which cluster it is in.
    #[must_use]
    pub fn has_yet_to_say(&self, node_id: NodeId) -> bool {
        self.peers.get(&node_id).is_some_and(|known| known.said.is_none())
    }

    /// Whether a peer says of itself that it is up, in this node's cluster where it has one.
    #[must_use]
    pub fn is_up(&self, node_id: NodeId) -> bool {
        let said = self.peers.get(&node_id).and_then(|known| known.said.as_ref());
        let ours = |id: Option<ClusterId>| self.saved.cluster_id.is_none() || id == self.saved.cluster_id;
        said.is_some_and(|said| said.status.takes_part() && ours(said.cluster_id))
    }

    /// The roster of the cluster that this node is entering, to be on disc together with its id; and whether that is by
    /// an operator's word.
    #[must_use]
    pub fn entering(&self) -> Option<(&crate::membership::Roster, bool)> {
        self.after.iter().rev().find_map(|(_, then)| match then {
            Then::Entered { roster, asked, .. } => Some((roster, *asked)),
            _ => None,
        })
    }

    pub(super) fn me(&self) -> Incarnation {
        self.own.id
    }

    /// Takes no part in votes: it left, or its role has no vote.
    pub(super) fn is_idle(&self) -> bool {
        self.saved.left || self.saved.outranked.is_some() || !self.settings.may_vote
    }

    /// Keeps what changed on disc, and does `then` once it is there.
    pub(super) fn persist_then(&mut self, then: Vec<Then>, out: &mut Vec<Output>) {
        self.last_token += 1;
        let token = self.last_token;
        self.after.extend(then.into_iter().map(|then| (token, then)));
        out.push(Output::Persist { token });
    }

    fn persisted(&mut self, token: u64, now: Now, out: &mut Vec<Output>) {
        let (done, later): (Vec<_>, Vec<_>) =
            core::mem::take(&mut self.after).into_iter().partition(|(t, _)| *t <= token);
        self.after = later;
        for (_, then) in done {
            match then {
                Then::Send { to, message } => out.push(Output::Send { to, message }),
                Then::Prepare { ballot } => self.prepare(ballot, now, out),
                Then::SelfAccepted { ballot } => self.self_accepted(ballot, now, out),
                Then::Entered { how, lines, roster, asked } => {
                    self.entering = false;
                    // An operator's word may have moved this node on before the write was done.
                    if let Some(cluster_id) = self.saved.cluster_id.filter(|id| roster.cluster_id == Some(*id)) {
                        out.push(Output::Entered { cluster_id, roster, how, lines, asked });
                        if asked {
                            out.push(Output::JoinDone(Ok(cluster_id)));
                        }
                    }
                }
            }
        }
    }

    /// What this node says of itself.
    fn state(&self) -> Message {
        Message::State {
            cluster_id: self.cluster_on_disc(),
            status: self.status,
            quorum: self.quorum,
            electorate: self.settings.electorate.clone(),
            decider: self.settings.decider.clone(),
            merged: self.saved.merged.iter().copied().collect(),
            idle: self.is_idle(),
            merge: self.settings.merge,
            store: self.own.store,
            generation: self.saved.generation,
            quorum_rows: self.quorum_rows,
        }
    }

    /// Tells every peer where this node stands, when that changed.
    fn tell(&mut self, now: Instant, out: &mut Vec<Output>) {
        let state = self.state();
        // Said again now and then: a link that only the other side saw break gives no reason to say it anew.
        if self.told.as_ref() != Some(&state) || now >= self.tell_at {
            self.tell_at = now + STATE_REPEAT;
            for to in self.peers.keys() {
                out.push(Output::Send { to: *to, message: state.clone() });
            }
            self.told = Some(state);
        }
    }

    fn connected(&mut self, peer: Peer, out: &mut Vec<Output>) {
        let to = peer.id.node_id;
        self.candidates.answered(&peer.endpoint, to);
        self.peers.insert(to, Known { peer, said: None });
        let message = self.state();
        out.push(Output::Send { to, message });
    }

    fn disconnected(&mut self, id: Incarnation) {
        if self.peers.get(&id.node_id).is_some_and(|known| known.peer.id == id) {
            self.peers.remove(&id.node_id);
            self.join_lost(id.node_id);
        }
    }

    fn discovered(&mut self, strategy: String, result: Result<Answer, String>, now: Now, out: &mut Vec<Output>) {
        match result {
            Ok(found) => {
                if self.failing.remove(&strategy).is_some() {
                    out.push(Output::DiscoveryState { strategy: strategy.clone(), error: None });
                }
                self.candidates.answered_by(&strategy, &found, now.mono);
            }
            Err(error) => {
                self.candidates.failed_by(&strategy, now.mono);
                if self.failing.insert(strategy.clone(), error.clone()).as_ref() != Some(&error) {
                    out.push(Output::DiscoveryState { strategy, error: Some(error) });
                }
            }
        }
    }

    fn reconfigure(&mut self, list: SourceList, settings: Settings, now: Now, out: &mut Vec<Output>) {
        if list != self.list {
            self.list = list;
            self.candidates.exchanged(&settings.strategies, now.mono);
            // Who is asked no more never works again.
            let gone = self.failing.extract_if(.., |strategy, _| !settings.strategies.contains(strategy));
            out.extend(gone.map(|(strategy, _)| Output::DiscoveryState { strategy, error: None }));
        }
        self.decided = Decided::default();
        self.settings = Settings { faults: self.settings.faults, ..settings };
        self.discover_at = now.mono;
        // Whoever was asked was asked with the old settings.
        self.proposer.abandon();
    }

    fn received(&mut self, from: Incarnation, message: Message, now: Now, out: &mut Vec<Output>) {
        let Some(known) = self.peers.get_mut(&from.node_id) else { return };
        if known.peer.id != from {
            return;
        }
        match message {
            Message::State {
                cluster_id,
                status,
                quorum,
                electorate,
                decider,
                merged,
                idle,
                merge,
                store,
                generation,
                quorum_rows,
            } => {
                known.peer.store = store;
                let by = known.peer.name.clone();
                let said =
                    Said { cluster_id, status, quorum, electorate, decider, idle, merge, quorum_rows, generation };
                known.said = Some(said);
                self.learn_merged(merged, out);
                self.forget_merged(cluster_id, generation, out);
                if cluster_id.is_some() && cluster_id == self.cluster_on_disc() && generation > self.saved.generation {
                    out.push(Output::Heard { by, generation });
                }
            }
            Message::Prepare { ballot, electorate } => self.on_prepare(from.node_id, ballot, electorate.as_ref(), out),
            Message::Accept { ballot, proposal, electorate } => {
                self.on_accept(from.node_id, ballot, proposal, electorate.as_ref(), out);
            }
            Message::Promise { ballot, accepted } => self.on_promise(from.node_id, ballot, accepted, now, out),
            Message::Accepted { ballot } => self.on_accepted(from.node_id, ballot, now, out),
            Message::Nack { ballot, why } => self.on_nack(from.node_id, ballot, &why, now),
            Message::Chosen { proposal, roster } => self.on_chosen(from.node_id, &proposal, roster, out),
            Message::Join { record, cluster_id, from, chain, asked } => {
                self.on_join(record, cluster_id, (from, chain), asked, out);
            }
            Message::Joined { roster, first_voters, generation } => {
                self.on_joined(from.node_id, roster, (first_voters, generation), out);
            }
            Message::NotJoined { why, denial } => self.on_not_joined(from.node_id, why, denial, now, out),
        }
    }

    fn on_nack(&mut self, from: NodeId, ballot: super::Ballot, why: &NackReason, now: Now) {
        if let (NackReason::InCluster(id), Some(known)) = (why, self.peers.get_mut(&from))
            && let Some(said) = &mut known.said
        {
            said.cluster_id = Some(*id);
        }
        self.proposer_refused(ballot, why, now);
    }

    /// Looks at everything once more: after each input, and at least every [`STEP_BUSY`].
    fn step(&mut self, now: Now, out: &mut Vec<Output>) {
        let Some(started) = self.started else { return };
        if now.mono >= self.discover_at {
            let calm = self.saved.cluster_id.is_some() && self.quorum && self.status == Status::Up;
            let interval = if calm { REDISCOVER_SLOW_INTERVAL } else { REDISCOVER_INTERVAL };
            self.discover_at = now.mono + self.rng.jitter(interval);
            out.push(Output::Discover);
        }
        self.operator_step(now, out);
        if self.saved.cluster_id.is_some() {
            self.proposer.abandon();
            self.meet(now, out);
        } else if !self.saved.left {
            self.look_for_cluster(now, out);
            self.vote_step(started, now, out);
        }
        self.dial_candidates(now, out);
        self.tell(now.mono, out);
        self.register(out);
        let waits = self.words(started, now);
        if waits != self.waits {
            self.waits.clone_from(&waits);
            out.push(Output::Waits(waits));
        }
        let busy = self.saved.cluster_id.is_none()
            || self.joining.is_some()
            || self.operator.is_some()
            || !self.met.is_empty();
        self.step_at = now.mono + if busy { STEP_BUSY } else { STEP_CALM };
    }

    fn dial_candidates(&mut self, now: Now, out: &mut Vec<Output>) {
        let peers = &self.peers;
        let connected = |endpoint: &_| peers.values().any(|known| known.peer.endpoint == *endpoint);
        let searching = self.saved.cluster_id.is_none();
        for endpoint in self.candidates.due(connected, searching, now.mono) {
            out.push(Output::Dial { endpoint, anew: false });
        }
    }
}

impl Machine for Autocluster {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        match input {
            Input::Start => {
                self.started = Some(now.mono);
                self.discover_at = now.mono;
            }
            // What was asked of strategies that were exchanged meanwhile says nothing of those in use.
            Input::Discovered { list, .. } | Input::Claimed { list, .. } if list != self.list => {}
            Input::Discovered { strategy, result, .. } => self.discovered(strategy, result, now, out),
            Input::Claimed { result, .. } => self.claimed(result, now, out),
            Input::Answered { endpoint, node_id } => self.candidates.answered(&endpoint, node_id),
            Input::Connected(peer) => self.connected(peer, out),
            Input::Disconnected { id } => self.disconnected(id),
            Input::DialFailed { endpoint, why } => self.candidates.failed(&endpoint, why),
            Input::Received { from, message } => self.received(from, message, now, out),
            Input::Persisted { token } => self.persisted(token, now, out),
            Input::Standing { quorum, status, clock_refused, alone, unfounded } => {
                self.unfounded = unfounded;
                self.quorum = quorum;
                self.status = status;
                self.clock_refused = clock_refused;
                self.alone = alone;
            }
            Input::Admitted { id, result } => self.on_admitted(id, result, out),
            Input::Form => self.form(now, out),
            Input::Join { name, endpoint, absorb } => {
                self.operator = Some(OperatorJoin::new(name, endpoint, absorb, now.mono));
            }
            Input::Merging(record) => self.learn_merged(vec![record], out),
            Input::Store(store) => self.own.store = store,
            Input::Generation(generation) => self.raise_generation(generation, out),
            Input::QuorumRows(held) => self.quorum_rows = held,
            Input::Outranked { words } => self.outranked(words, out),
            Input::Left { stay_out } => {
                self.forget_cluster();
                // Who left is idle and takes no part in votes, so the old value cannot be chosen again through it.
                self.saved.left = stay_out;
                self.persist_then(Vec::new(), out);
            }
            Input::Reconfigure { list, settings } => self.reconfigure(list, settings, now, out),
        }
        self.step(now, out);
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        if now.mono >= self.step_at.min(self.discover_at) {
            self.step(now, out);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.started.map(|_| self.step_at.min(self.discover_at))
    }

    fn check(&self) {
        if let Some((accepted, _)) = &self.saved.accepted {
            assert!(self.saved.promised.is_some_and(|promised| promised >= *accepted), "a promise never falls");
        }
        self.proposer.check(&self.saved, self.me().node_id);
        if let (Some(joining), Some(mine)) = (&self.joining, self.saved.cluster_id) {
            assert_ne!(joining.cluster_id, mine, "a node never joins its own cluster");
        }
        for record in self.saved.merged.iter() {
            assert!(record.is_sound(), "a younger cluster is merged into an older one");
        }
    }
}
