//! The room: what comes in, and what follows from what is committed.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::command::{Command, Entry, Founder, Recovery, Why};
use super::outcome::{Change, Outcome};
use super::pursue::Pending;
use super::schemas::TableEntry;
use super::state::Record;
use super::{Ask, Fact, Faults, Input, Output, recover};
use crate::consensus::{LogPlace, Standing, StateMachine, VoterId};
use crate::event::EventKind;
use crate::id::{ClusterId, Incarnation, NodeId};
use crate::lease::{Agreed, Terms};
use crate::limits::WISHES_MAX;
use crate::machine::Machine;
use crate::time::{Instant, Now};

/// How long after a failure the next try waits.
pub(super) const AGAIN: Duration = Duration::from_millis(300);

/// How long after leadership was to be handed over that is tried again. While it is tried nothing is committed, so one
/// that comes to nothing must leave time for the rest.
const HAND_OVER_AGAIN: Duration = Duration::from_secs(8);

/// What a token stands for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Asked {
    Wish(u64),
    /// The leader's own: the first entry, or what a member's facts say.
    Own(Option<NodeId>),
}

/// The room of the durable group.
#[derive(Debug)]
pub struct Durable {
    pub(super) me: Incarnation,
    pub(super) faults: Faults,
    pub(super) record: Record,
    pub(super) standing: Standing,
    pub(super) facts: BTreeMap<NodeId, Fact>,
    pub(super) founding: Option<(ClusterId, Vec<Founder>)>,
    /// With what a new log begins that goes on with an older one.
    pub(super) recovering: Option<Recovery>,
    pub(super) wishes: BTreeMap<u64, Pending>,
    pub(super) asked: BTreeMap<u64, Asked>,
    pub(super) last_token: u64,
    /// A change of voters or learners under way.
    pub(super) change: Option<u64>,
    /// Before the record holds the configuration at this place it is behind the last change.
    pub(super) due: LogPlace,
    /// When the leader's own work is tried again after a failure.
    pub(super) again_at: Option<Instant>,
    /// Before that leadership is not handed over again.
    pub(super) hand_over_at: Option<Instant>,
    pub(super) waits: String,
    /// How long leases are to last where this node leads; `None` where nobody keeps leases.
    pub(super) leases: Option<Terms>,
    /// Since when this node leads with what is agreed on leases.
    pub(super) agreed_since: Option<(Option<Agreed>, Instant)>,
    pub(super) agree_at: Option<Instant>,
}

impl Durable {
    /// A room before its first entry.
    #[must_use]
    pub fn new(me: Incarnation, faults: Faults) -> Self {
        Self {
            me,
            faults,
            record: Record::with_faults(faults),
            standing: Standing::default(),
            facts: BTreeMap::new(),
            founding: None,
            recovering: None,
            wishes: BTreeMap::new(),
            asked: BTreeMap::new(),
            last_token: 0,
            change: None,
            due: LogPlace::default(),
            again_at: None,
            hand_over_at: None,
            waits: String::new(),
            leases: None,
            agreed_since: None,
            agree_at: None,
        }
    }

    /// The same, in a cluster that keeps leases: where this node leads it has the length of its own committed.
    #[must_use]
    pub fn with_leases(self, own: Terms) -> Self {
        Self { leases: Some(own), ..self }
    }

    /// What is committed, as far as this node has applied it.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// What membership said last.
    #[must_use]
    pub fn facts(&self) -> &BTreeMap<NodeId, Fact> {
        &self.facts
    }

    /// What the replica said last.
    #[must_use]
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Whether this node leads the group.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.standing.leads && self.standing.failed.is_none()
    }

    pub(super) fn token(&mut self, asked: Asked) -> u64 {
        self.last_token += 1;
        self.asked.insert(self.last_token, asked);
        self.last_token
    }

    fn applied(&mut self, at: LogPlace, bytes: &[u8], replay: bool, out: &mut Vec<Output>) {
        let names: BTreeMap<NodeId, _> = self.record.members().iter().map(|(id, m)| (*id, m.name.clone())).collect();
        let (outcome, changes, entry) = self.record.commit_bytes(at, bytes);
        if changes.is_empty() {
            return;
        }
        let explained = |entry: &Entry| !matches!(entry.command, Command::RaiseCeiling { .. });
        let done = !replay && matches!(outcome, Outcome::Done { .. });
        // Ranges of tokens are taken all the time: their records would push out those that people look for.
        if let Some(Entry { why, command }) = entry.filter(|entry| done && explained(entry)) {
            let mut evidence = vec![format!("proposed by node_id {} (its d-{:06x})", why.by(), why.decision())];
            evidence.extend_from_slice(why.evidence());
            let (kind, rule) = rule(&command);
            out.push(Output::Decision { kind, what: command.words(), rule, evidence });
        }
        for change in changes.iter().filter(|_| !replay) {
            match change {
                Change::Ended { id, proof } => {
                    if let Some(name) = names.get(&id.node_id).cloned() {
                        let (node_id, evidence) = (id.node_id, String::from(proof.as_str()));
                        let gone = EventKind::MemberGone { name, node_id, incarnation: id.guid, evidence };
                        out.push(Output::Event(gone));
                    }
                }
                Change::Recovered { generation, given_up } => {
                    let lost = given_up.iter().filter_map(|id| self.record.forgotten().get(id));
                    let lost = lost.map(|out| out.name.clone()).collect();
                    out.push(Output::Event(EventKind::ClusterRecovered { generation: *generation, lost }));
                }
                Change::Generation(_) => out.push(Output::Event(self.generation_began())),
                Change::TableCreated(TableEntry { schema, .. }) => {
                    let (table, what) = (schema.name.clone(), schema.options());
                    out.push(Output::Event(EventKind::TableCreated { table, what }));
                }
                Change::TableDropped(TableEntry { schema, .. }) => {
                    out.push(Output::Event(EventKind::TableDropped { table: schema.name.clone() }));
                }
                _ => {}
            }
        }
        if changes.iter().any(moves_seats) {
            out.push(Output::Seats(self.record.seats()));
        }
        out.push(Output::Changed(changes));
    }

    /// The present volatile group, for people.
    fn generation_began(&self) -> EventKind {
        let generation = self.record.volatile();
        let name = |id: Incarnation| self.record.member(id.node_id).map(|member| member.name.clone());
        let voters = generation.voters().into_iter().filter_map(name).collect();
        EventKind::VolatileBegan { generation: generation.number(), voters, lost: generation.lost }
    }

    fn stand(&mut self, standing: Standing, out: &mut Vec<Output>) {
        let led = self.leads();
        if standing.term != self.standing.term {
            (self.agreed_since, self.agree_at) = (None, None);
        }
        self.standing = standing;
        if led && !self.leads() {
            // A change that this node began is the next leader's now, or nobody's, and may be cut off its log.
            (self.change, self.due) = (None, LogPlace::default());
            self.agree_at = None;
            self.asked.retain(|_, asked| matches!(asked, Asked::Wish(_)));
            self.say(String::new(), out);
        }
    }

    /// Lets one of these lead, where they vote already.
    pub(super) fn hand_over(&mut self, to: &BTreeSet<VoterId>, now: Now, out: &mut Vec<Output>) {
        let mut among = self.record.voters();
        among.retain(|voter| voter.node_id != self.me.node_id && to.contains(voter));
        // One of both at a time: who changes voters does not hand over.
        if self.leads()
            && self.change.is_none()
            && !among.is_empty()
            && self.hand_over_at.is_none_or(|at| at <= now.mono)
        {
            self.hand_over_at = Some(now.mono + HAND_OVER_AGAIN);
            out.push(Output::HandOver { among });
        }
    }

    /// Lets one lead that does not go itself.
    fn hand_over_to_any(&mut self, now: Now, out: &mut Vec<Output>) {
        let look = self.look();
        let stays =
            |voter: &VoterId| look.members.get(&voter.node_id).is_some_and(|member| member.up && !member.leaving);
        let to = self.record.voters().into_iter().filter(stays).collect();
        self.hand_over(&to, now, out);
    }

    fn found(&mut self, cluster_id: ClusterId, founders: Vec<Founder>, out: &mut Vec<Output>) {
        let voter = |founder: &Founder| VoterId { node_id: founder.id.node_id, start: founder.store };
        out.push(Output::Ask(Ask::Found { voters: founders.iter().map(voter).collect() }));
        self.founding = Some((cluster_id, founders));
    }

    fn begin_again(&mut self, recovery: Recovery, out: &mut Vec<Output>) {
        let Founder { id, store, .. } = &recovery.survivor;
        let voter = VoterId { node_id: id.node_id, start: *store };
        out.push(Output::Ask(Ask::Found { voters: BTreeSet::from([voter]) }));
        self.recovering = Some(recovery);
    }

    fn restored(&mut self, snapshot: &[u8], out: &mut Vec<Output>) {
        // The engine took the very same bytes, so they can be read; were they not, the record stays as it was.
        if self.record.restore(snapshot).is_ok() {
            out.push(Output::Seats(self.record.seats()));
        }
    }

    fn work(&mut self, now: Now, out: &mut Vec<Output>) {
        self.pursue(now, out);
        self.lead(now, out);
    }
}

/// Whether membership has to hear of it.
fn moves_seats(change: &Change) -> bool {
    matches!(
        change,
        Change::Founded { .. }
            | Change::Admitted { .. }
            | Change::Returned { .. }
            | Change::Removed { .. }
            | Change::Recovered { .. }
    )
}

/// Kind and rule of the decision that a command carries out.
fn rule(command: &Command) -> (&'static str, &'static str) {
    match command {
        Command::Found { .. } => ("form", "section 8, rule 4: the vote has chosen id and first voters"),
        Command::Admit(_) => ("admit", "section 8, rule 3: admission is a committed entry"),
        Command::Returned { .. } => ("up", "section 4: a newer start of a node_id supersedes the older one"),
        Command::StoreChanged { .. } => ("up", "section 12: a voter is named by the id of its store"),
        Command::Gone(_) => ("down", "section 9: gone is one committed entry, and for ever"),
        Command::Remove(_) => ("remove", "section 9: a member is forgotten by one committed entry"),
        Command::Merging { .. } | Command::Merged { .. } => {
            ("merge", "section 8, rule 6: the younger goes into the older")
        }
        Command::Recover(_) => ("command", "section 10: recover, by an operator's word"),
        Command::Leases { .. } => ("command", "section 9: how long leases last is one value of the cluster"),
        Command::Generation(_) => ("command", "section 12: one volatile group, by compare-and-set"),
        Command::Schema(_) => ("command", "section 12: schemas are entries of the durable group"),
        Command::RaiseCeiling { .. } | Command::TokensFrom { .. } | Command::QuorumRows | Command::DutyDone { .. } => {
            ("command", "section 13: tokens only grow")
        }
    }
}

impl Machine for Durable {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        match input {
            Input::Applied { at, command, replay } => self.applied(at, &command, replay, out),
            Input::Configured(configuration) => self.record.reconfigured(&configuration),
            Input::Restored(snapshot) => self.restored(&snapshot, out),
            Input::Standing(standing) => self.stand(standing, out),
            Input::Facts(facts) => self.facts = facts,
            Input::Found { cluster_id, founders } => self.found(cluster_id, founders, out),
            Input::Wish { id, wish, decision, evidence } => {
                self.wish(id, wish, Why::new(self.me.node_id, decision, evidence), now, out);
            }
            Input::Withdraw { id } => {
                self.wishes.remove(&id);
            }
            Input::Answered { token, result } => self.answered(token, result, now, out),
            Input::Reconfigured { token, result, latest } => self.reconfigured(token, result.is_err(), latest, now),
            Input::Heard { by, generation } => {
                if let Some(words) = recover::outranked(self.record.generation(), &by, generation) {
                    out.push(Output::Outranked { words });
                }
            }
            Input::Recover(recovery) => self.begin_again(recovery, out),
            Input::HandOver => self.hand_over_to_any(now, out),
        }
        self.work(now, out);
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        self.work(now, out);
    }

    fn deadline(&self) -> Option<Instant> {
        let tries = self.wishes.values().filter(|p| p.asked.is_none() && !p.waits).map(|p| p.again_at);
        let ends = self.wishes.values().filter_map(|pending| pending.until);
        tries.chain(ends).chain(self.again_at).chain(self.agree_at).chain(self.hand_over_at).min()
    }

    fn check(&self) {
        self.record.check();
        for (id, pending) in &self.wishes {
            let under_way = self.asked.values().filter(|asked| **asked == Asked::Wish(*id)).count();
            assert_eq!(under_way, usize::from(pending.asked.is_some()), "one proposal of a wish at a time");
        }
        assert!(self.wishes.len() <= WISHES_MAX, "bound of the wishes");
        assert!(self.faults == Faults::default() || self.record.faults == self.faults, "faults reach the record");
    }
}
