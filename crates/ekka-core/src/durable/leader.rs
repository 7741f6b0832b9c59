//! The room: wishes on their way into the log, and the leader's own work.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::command::{Command, Entry, Founder, Why};
use super::outcome::{Change, Outcome};
use super::state::Record;
use super::voters::{self, Candidate, Look, Step};
use super::wish::{Next, Verdict, Wish, judge};
use super::{Fact, Failure, Faults, Input, Output, Reply, recover};
use crate::consensus::{LogPlace, Standing, StateMachine, VoterId};
use crate::event::EventKind;
use crate::id::{ClusterId, Incarnation, NodeId};
use crate::limits::WISHES_MAX;
use crate::machine::Machine;
use crate::membership::RemovalCause;
use crate::time::{Instant, Now};

/// How long a wish is tried before whoever has it is told to try again.
const WISH_TIMEOUT: Duration = Duration::from_secs(10);
/// How long after a failure the next try waits.
const AGAIN: Duration = Duration::from_millis(300);

/// A wish under way.
#[derive(Clone, Debug)]
struct Pending {
    wish: Wish,
    why: Why,
    /// Fixed at the first try, so that every later one means the same.
    command: Option<Command>,
    asked: Option<u64>,
    again_at: Instant,
    until: Option<Instant>,
    /// An answer to this command was lost.
    unknown: bool,
    /// It waits for something that an input brings.
    waits: bool,
    words: String,
}

/// What a token stands for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Asked {
    Wish(u64),
    /// The leader's own: the first entry, or what a member's facts say.
    Own(Option<NodeId>),
}

/// The room of the durable group.
#[derive(Debug)]
pub struct Durable {
    me: Incarnation,
    faults: Faults,
    record: Record,
    standing: Standing,
    facts: BTreeMap<NodeId, Fact>,
    founding: Option<(ClusterId, Vec<Founder>)>,
    wishes: BTreeMap<u64, Pending>,
    asked: BTreeMap<u64, Asked>,
    last_token: u64,
    /// A change of voters or learners under way.
    change: Option<u64>,
    /// Before the record holds the configuration at this place it is behind the last change.
    due: LogPlace,
    /// When the leader's own work is tried again after a failure.
    again_at: Option<Instant>,
    waits: String,
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
            wishes: BTreeMap::new(),
            asked: BTreeMap::new(),
            last_token: 0,
            change: None,
            due: LogPlace::default(),
            again_at: None,
            waits: String::new(),
        }
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

    fn token(&mut self, asked: Asked) -> u64 {
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
        if let Some(Entry { why, command }) = entry.filter(|_| !replay && matches!(outcome, Outcome::Done { .. })) {
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
                _ => {}
            }
        }
        if changes.iter().any(moves_seats) {
            out.push(Output::Seats(self.record.seats()));
        }
        out.push(Output::Changed(changes));
    }

    fn wish(&mut self, id: u64, wish: Wish, why: Why, now: Now, out: &mut Vec<Output>) {
        if self.wishes.len() >= WISHES_MAX {
            let words = format!("{WISHES_MAX} wishes are under way on this node");
            out.push(Output::Reply { id, reply: Reply::TryAgain { unknown: false, words } });
            return;
        }
        let until = (!wish.is_patient()).then(|| now.mono + WISH_TIMEOUT);
        let pending = Pending {
            wish,
            why,
            command: None,
            asked: None,
            again_at: now.mono,
            until,
            unknown: false,
            waits: false,
            words: String::new(),
        };
        self.wishes.insert(id, pending);
    }

    /// Tries every wish whose time has come.
    fn pursue(&mut self, now: Now, out: &mut Vec<Output>) {
        let ids: Vec<u64> = self.wishes.keys().copied().collect();
        for id in ids {
            let Some(mut pending) = self.wishes.remove(&id) else { continue };
            let reply = self.try_wish(id, &mut pending, now, out);
            match reply {
                Some(reply) => out.push(Output::Reply { id, reply }),
                None => {
                    self.wishes.insert(id, pending);
                }
            }
        }
    }

    fn try_wish(&mut self, id: u64, pending: &mut Pending, now: Now, out: &mut Vec<Output>) -> Option<Reply> {
        if pending.until.is_some_and(|until| until <= now.mono) {
            let unknown = pending.unknown || pending.asked.is_some();
            let words = if pending.words.is_empty() {
                format!("the group did not answer within {} s", WISH_TIMEOUT.as_secs())
            } else {
                pending.words.clone()
            };
            return Some(Reply::TryAgain { unknown, words });
        }
        if pending.asked.is_some() || now.mono < pending.again_at {
            return None;
        }
        if pending.command.is_none() {
            let facts = &self.facts;
            match pending.wish.next(&self.record, |node_id| facts.get(&node_id).cloned(), self.leads()) {
                Next::Propose(command) => pending.command = Some(command),
                Next::Wait(words) => {
                    (pending.waits, pending.words) = (true, words);
                    return None;
                }
                Next::End(Reply::AskLeader { .. }) => return Some(Reply::AskLeader { leader: self.standing.leader }),
                Next::End(reply) => return Some(reply),
            }
        }
        pending.waits = false;
        let command = pending.command.clone()?;
        let token = self.token(Asked::Wish(id));
        pending.asked = Some(token);
        let entry = Entry { why: pending.why.clone(), command };
        out.push(Output::Propose { token, command: entry.encode() });
        None
    }

    fn answered(&mut self, token: u64, result: Result<Vec<u8>, Failure>, now: Now, out: &mut Vec<Output>) {
        let Some(asked) = self.asked.remove(&token) else { return };
        let Asked::Wish(id) = asked else {
            if !matches!(result.as_deref().map(Outcome::decode), Ok(Ok(outcome)) if outcome.holds()) {
                self.again_at = Some(now.mono + AGAIN);
            }
            return;
        };
        let Some(pending) = self.wishes.get_mut(&id).filter(|pending| pending.asked == Some(token)) else { return };
        pending.asked = None;
        let end = match result {
            Ok(bytes) => match (Outcome::decode(&bytes), pending.command.take()) {
                (Ok(outcome), Some(command)) => match judge(&command, outcome, &self.record) {
                    Verdict::End(reply) => Some(reply),
                    Verdict::Propose(next) => {
                        (pending.unknown, pending.command) = (false, Some(*next));
                        None
                    }
                    Verdict::LookAgain => {
                        (pending.unknown, pending.again_at) = (false, now.mono + AGAIN);
                        None
                    }
                },
                (Err(error), _) => {
                    let words = format!("an answer that this version does not know ({error})");
                    Some(Reply::TryAgain { unknown: true, words })
                }
                (_, None) => None,
            },
            Err(Failure::NoQuorum(words)) => {
                (pending.again_at, pending.words) = (now.mono + AGAIN, words);
                None
            }
            Err(Failure::Unknown(words)) => {
                pending.unknown = true;
                (pending.again_at, pending.words) = (now.mono + AGAIN, words);
                None
            }
            Err(Failure::Refused(words)) if pending.unknown => Some(Reply::TryAgain { unknown: true, words }),
            Err(Failure::Refused(words)) => Some(Reply::Refused { code: None, words }),
            Err(Failure::Ended(words)) => Some(Reply::TryAgain { unknown: pending.unknown, words }),
        };
        if let Some(reply) = end {
            self.wishes.remove(&id);
            out.push(Output::Reply { id, reply });
        }
    }

    /// What only the leader does: the first entry, new starts and stores of members, the next step towards the voters.
    fn lead(&mut self, now: Now, out: &mut Vec<Output>) {
        self.again_at = self.again_at.filter(|at| now.mono < *at);
        if !self.leads() || self.again_at.is_some() {
            return;
        }
        if self.record.cluster().is_none() {
            if let Some((cluster_id, founders)) = self.founding.clone() {
                self.propose_own(None, Command::Found { cluster_id, founders }, "the vote has chosen it", out);
            }
            return;
        }
        let news: Vec<(NodeId, Command)> = self.facts.iter().filter_map(|(id, fact)| self.news(*id, fact)).collect();
        for (node_id, command) in news {
            self.propose_own(Some(node_id), command, "its own record says so", out);
        }
        if self.record.merging().is_none() && self.change.is_none() {
            self.step_voters(out);
        }
    }

    /// What a member says of itself and the record does not hold yet.
    fn news(&self, node_id: NodeId, fact: &Fact) -> Option<(NodeId, Command)> {
        let member = self.record.member(node_id).filter(|_| fact.up)?;
        if fact.id.guid > member.guid && !self.record.is_over(fact.id) {
            let (id, name, role) = (fact.id, fact.name.clone(), fact.role);
            return Some((node_id, Command::Returned { id, name, role }));
        }
        let to = fact.store.filter(|store| fact.id.guid == member.guid && member.store != Some(*store))?;
        Some((node_id, Command::StoreChanged { node_id, from: member.store, to }))
    }

    fn propose_own(&mut self, about: Option<NodeId>, command: Command, evidence: &str, out: &mut Vec<Output>) {
        let asked = Asked::Own(about);
        if self.asked.values().any(|under_way| *under_way == asked) {
            return;
        }
        let token = self.token(asked);
        let why = Why::new(self.me.node_id, 0, vec![evidence.to_string()]);
        out.push(Output::Propose { token, command: Entry { why, command }.encode() });
    }

    /// What the policy of the voters looks at.
    #[must_use]
    pub fn look(&self) -> Look {
        let removals: Vec<_> = self.wishes.values().filter_map(|pending| pending.wish.removes()).collect();
        let removed = |id: NodeId, cause: RemovalCause| {
            removals.iter().any(|(node_id, why, to)| *node_id == id && *why == cause && to.is_none())
        };
        let members = self.record.members().iter().map(|(node_id, member)| {
            let fact = self.facts.get(node_id).filter(|fact| fact.id.guid == member.guid);
            let candidate = Candidate {
                name: member.name.clone(),
                role: member.role,
                store: member.store,
                since: member.since,
                zone: fact.map(|fact| fact.zone.clone()).unwrap_or_default(),
                up: fact.is_some_and(|fact| fact.up),
                caught_up: fact.is_some_and(|fact| fact.caught_up),
                leaving: fact.is_some_and(|fact| fact.leaving)
                    || removed(*node_id, RemovalCause::Leave)
                    || removed(*node_id, RemovalCause::Force),
                lost: removed(*node_id, RemovalCause::Autoclean),
            };
            (*node_id, candidate)
        });
        Look {
            members: members.collect(),
            configuration: self.record.configuration().clone(),
            replace: removals.iter().find_map(|(old, _, new)| new.map(|new| (*old, new))),
        }
    }

    fn step_voters(&mut self, out: &mut Vec<Output>) {
        let latest = &self.standing.configuration;
        let held = self.record.configuration().at;
        if !latest.committed || latest.at != held || held < self.due {
            // The record is behind the log: a change may be under way.
            return;
        }
        let waits = match voters::next_step(&self.look()) {
            Step::Learn { learners, why } => {
                let token = self.begin_change();
                out.push(Output::SetLearners { token, learners });
                why
            }
            Step::Change { voters, why } => {
                let token = self.begin_change();
                out.push(Output::ChangeVoters { token, voters });
                why
            }
            Step::Nothing { why } => why,
        };
        self.say(waits, out);
    }

    fn begin_change(&mut self) -> u64 {
        self.last_token += 1;
        self.change = Some(self.last_token);
        self.last_token
    }

    fn reconfigured(&mut self, token: u64, failed: bool, latest: LogPlace, now: Now) {
        if self.change != Some(token) {
            return;
        }
        (self.change, self.due) = (None, latest);
        // Whatever came of it, the next step is chosen by the configuration that is committed then.
        if failed {
            self.again_at = Some(now.mono + AGAIN);
        }
    }

    fn say(&mut self, waits: String, out: &mut Vec<Output>) {
        if self.waits != waits {
            self.waits.clone_from(&waits);
            out.push(Output::Waits(waits));
        }
    }

    fn stand(&mut self, standing: Standing, out: &mut Vec<Output>) {
        let led = self.leads();
        self.standing = standing;
        if led && !self.leads() {
            // A change that this node began is the next leader's now, or nobody's, and may be cut off its log.
            (self.change, self.due) = (None, LogPlace::default());
            self.asked.retain(|_, asked| matches!(asked, Asked::Wish(_)));
            self.say(String::new(), out);
        }
    }

    fn found(&mut self, cluster_id: ClusterId, founders: Vec<Founder>, out: &mut Vec<Output>) {
        let voter = |founder: &Founder| VoterId { node_id: founder.id.node_id, start: founder.store };
        out.push(Output::Found { voters: founders.iter().map(voter).collect() });
        self.founding = Some((cluster_id, founders));
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
        Command::Gone { .. } => ("down", "section 9: gone is one committed entry, and for ever"),
        Command::Remove(_) => ("remove", "section 9: a member is forgotten by one committed entry"),
        Command::Merging { .. } | Command::Merged { .. } => {
            ("merge", "section 8, rule 6: the younger goes into the older")
        }
        Command::Recover(_) => ("command", "section 10: recover, by an operator's word"),
        Command::Generation(_) => ("command", "section 12: one volatile group, by compare-and-set"),
        Command::RaiseCeiling { .. } | Command::QuorumRows | Command::Schema(_) | Command::DutyDone { .. } => {
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
        }
        self.work(now, out);
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        self.work(now, out);
    }

    fn deadline(&self) -> Option<Instant> {
        let tries = self.wishes.values().filter(|p| p.asked.is_none() && !p.waits).map(|p| p.again_at);
        let ends = self.wishes.values().filter_map(|pending| pending.until);
        tries.chain(ends).chain(self.again_at).min()
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
