//! The room itself: what this process serves and has sealed, and the way to the next generation.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::account::{Blocked, account, has_ended};
use super::sessions::Sessions;
use super::{Facts, Held, Input, LogKey, Message, Order, Output, Report, Settings, Standing, Start, Version};
use crate::id::{Guid, Incarnation, NodeId};
use crate::limits::{BARRED_MAX, GENERATION_RETRY, UNLED_MAX};
use crate::machine::Machine;
use crate::time::{Instant, Now};

/// What this process does for a generation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Serving {
    Nothing,
    /// It is to begin once the state is here.
    Fetching(u64),
    Runs(u64),
    /// It was told to stop, and its log is not known yet.
    Stopping(u64),
}

/// See the module's head. One for each incarnation, begun with the process.
#[derive(Clone, Debug)]
pub struct Generations {
    pub(super) me: Incarnation,
    pub(super) settings: Settings,
    pub(super) facts: Facts,
    /// Whom this node hears; `None` where nobody says.
    pub(super) up: Option<BTreeSet<Incarnation>>,
    /// Who of those leaves for good.
    pub(super) leaving: BTreeSet<Incarnation>,
    /// The latest start of each node that was a voter of the present generation and is none any more: it has stopped.
    pub(super) past: BTreeMap<NodeId, Guid>,
    pub(super) standing: Standing,
    pub(super) serving: Serving,
    /// Through which generation this process serves nothing any more.
    pub(super) sealed: u64,
    /// Through which generation what it had is gone from this process.
    pub(super) dropped: u64,
    over: bool,
    /// The log that was kept when a replica stopped.
    pub(super) log: Option<LogKey>,
    /// Who waits for the log.
    pub(super) askers: BTreeSet<NodeId>,
    /// What was handed in here, all of the present generation.
    handed_in: BTreeMap<Incarnation, Held>,
    /// Since when no leader of the present generation is known here.
    pub(super) unled_since: Instant,
    /// Whom the next generation waited for at the last look, and whom people were told of.
    blocked: (Version, BTreeSet<Incarnation>),
    told_waiting: (Version, BTreeSet<Incarnation>),
    /// Since when this process is to vote in the present generation and has sealed it, or leads it and can change no voters.
    barred_since: Option<Instant>,
    pub(super) sessions: Sessions,
    pub(super) retry_at: Instant,
}

impl Generations {
    /// The room of a process that begins.
    #[must_use]
    pub fn new(me: Incarnation, settings: Settings, now: Instant) -> Self {
        Self {
            me,
            settings,
            facts: Facts::default(),
            up: None,
            leaving: BTreeSet::new(),
            past: BTreeMap::new(),
            standing: Standing::default(),
            serving: Serving::Nothing,
            sealed: 0,
            dropped: 0,
            over: false,
            log: None,
            askers: BTreeSet::new(),
            handed_in: BTreeMap::new(),
            unled_since: now,
            blocked: <(Version, BTreeSet<Incarnation>)>::default(),
            told_waiting: <(Version, BTreeSet<Incarnation>)>::default(),
            barred_since: None,
            sessions: Sessions::new(settings, now),
            retry_at: now,
        }
    }

    /// The same, where this process has been a voter of the group before: through that generation it serves nothing any
    /// more, or it would have forgotten its vote; and what it held is not here any more.
    #[must_use]
    pub fn sealed_through(self, sealed: u64) -> Self {
        Self { sealed, dropped: sealed, ..self }
    }

    /// The latest generation that this process served, or has sealed.
    #[must_use]
    pub fn served_through(&self) -> u64 {
        match self.serving {
            Serving::Runs(number) | Serving::Stopping(number) => self.sealed.max(number),
            Serving::Nothing | Serving::Fetching(_) => self.sealed,
        }
    }

    /// The generation that this process serves.
    #[must_use]
    pub fn serves(&self) -> Option<u64> {
        match self.serving {
            Serving::Runs(number) => Some(number),
            Serving::Nothing | Serving::Fetching(_) | Serving::Stopping(_) => None,
        }
    }

    /// From when on this process, should it lead, may grant locks of the generation that it serves; `None` where it
    /// serves none.
    #[must_use]
    pub fn may_grant_from(&self) -> Option<Instant> {
        self.serves().map(|_| self.sessions.may_grant_from())
    }

    /// Members whose sessions are waited for before that.
    #[must_use]
    pub fn waits_for(&self) -> BTreeSet<NodeId> {
        self.sessions.missing()
    }

    pub(super) fn number(&self) -> u64 {
        self.facts.generation.number()
    }

    fn facts(&mut self, facts: Facts, now: Instant, out: &mut Vec<Output>) {
        let before = self.facts.generation.version;
        let first_wanted = self.facts.wanted.is_empty() && !facts.wanted.is_empty();
        let old = core::mem::replace(&mut self.facts, facts);
        let after = self.facts.generation.version;
        if before.number != after.number {
            self.past.clear();
            self.handed_in.clear();
            self.askers.clear();
            self.unled_since = now;
            self.retry_at = now;
            self.sessions.begin(after.number, &self.facts.members, now);
            if after.number > 1 {
                out.push(Output::AskSessions { generation: after.number });
            }
        } else if before != after {
            let voters = self.facts.generation.voters();
            self.handed_in.retain(|id, _| voters.contains(id));
            for out in old.generation.voters().difference(&voters) {
                let latest = self.past.entry(out.node_id).or_insert(out.guid);
                *latest = out.guid.max(*latest);
            }
        } else if after.number == 0 && first_wanted {
            self.unled_since = now;
        }
        if !self.led() || self.has_ended() {
            // What was missing may be there now.
            self.retry_at = now;
        }
        self.follow(now, out);
        self.lead(out);
    }

    /// Nobody can serve the present generation any more, whatever its leader believes of itself.
    pub(super) fn has_ended(&self) -> bool {
        has_ended(&self.facts, &self.handed_in)
    }

    /// Serves what the record says, and nothing else.
    fn follow(&mut self, now: Instant, out: &mut Vec<Output>) {
        let number = self.number();
        match self.serving {
            // Past; or the record names this process no more, which it does only when the group counts without it.
            Serving::Runs(old) if old < number || !self.votes() => {
                self.stop(old, out);
            }
            Serving::Fetching(old) if old < number => self.serving = Serving::Nothing,
            Serving::Nothing | Serving::Fetching(_) | Serving::Runs(_) | Serving::Stopping(_) => {}
        }
        if self.serving == Serving::Nothing && !self.over && self.sealed < number {
            self.begin(now, out);
        }
    }

    /// Whom this node hears. A voter that is back may be what the group waited for: it is given time to find a leader.
    fn hears_again(&mut self, up: BTreeSet<Incarnation>, now: Instant) {
        let before = self.up.replace(up).unwrap_or_default();
        let back = |voter: &Incarnation| {
            let may_serve = !self.facts.is_over(*voter) && !self.handed_in.contains_key(voter);
            may_serve && self.up.as_ref().is_some_and(|up| up.contains(voter)) && !before.contains(voter)
        };
        if self.facts.generation.voters().iter().any(back) {
            self.unled_since = now;
        }
    }

    /// Whether a start was a voter of the present generation and is none any more, as far as this process has seen.
    pub(super) fn is_past(&self, id: Incarnation) -> bool {
        self.past.get(&id.node_id).is_some_and(|guid| *guid >= id.guid) && !self.facts.generation.voters().contains(&id)
    }

    /// The record names this process.
    fn votes(&self) -> bool {
        let unrecorded = self.settings.faults.unrecorded && self.facts.wanted.contains(&self.me.node_id);
        unrecorded || self.facts.generation.voters().contains(&self.me)
    }

    /// What is stopped is never served again: a voter that began once more would have forgotten its vote.
    pub(super) fn stop(&mut self, generation: u64, out: &mut Vec<Output>) {
        self.sealed = self.sealed.max(generation);
        self.serving = Serving::Stopping(generation);
        out.push(Output::Order(Order::Stop { generation }));
    }

    fn begin(&mut self, now: Instant, out: &mut Vec<Output>) {
        let generation = &self.facts.generation;
        let number = generation.number();
        if generation.founders.contains(&self.me) {
            if let Some(from) = generation.from {
                self.serving = Serving::Fetching(number);
                self.retry_at = now + GENERATION_RETRY;
                let founders = generation.founders.clone();
                out.push(Output::Order(Order::Fetch { generation: number, from, founders }));
            } else {
                self.start(Start::Found { from: None, founders: generation.founders.clone() }, now, out);
            }
        } else if number > 0 && self.votes() {
            self.start(Start::Learn, now, out);
        }
    }

    fn start(&mut self, start: Start, now: Instant, out: &mut Vec<Output>) {
        let generation = self.number();
        self.unled_since = now;
        self.serving = Serving::Runs(generation);
        self.standing = Standing { generation, ..Standing::default() };
        out.push(Output::Order(Order::Start { generation, start }));
    }

    fn fetched(&mut self, generation: u64, ok: bool, now: Instant, out: &mut Vec<Output>) {
        if self.serving != Serving::Fetching(generation) || generation != self.number() || self.sealed >= generation {
            return;
        }
        if ok {
            let record = &self.facts.generation;
            self.start(Start::Found { from: record.from, founders: record.founders.clone() }, now, out);
        } else {
            // Asked for again with the next retry.
            self.serving = Serving::Nothing;
        }
    }

    /// The group works, as far as this process can tell.
    pub(super) fn led(&self) -> bool {
        self.standing.led && self.serving == Serving::Runs(self.standing.generation)
    }

    /// While there is a leader nobody is waited for.
    fn note_leader(&mut self, now: Instant, out: &mut Vec<Output>) {
        if !self.led() {
            return;
        }
        self.unled_since = now;
        self.blocked = <(Version, BTreeSet<Incarnation>)>::default();
        if !core::mem::take(&mut self.told_waiting).1.is_empty() {
            out.push(Output::Waiting(Vec::new()));
        }
    }

    fn stopped(&mut self, generation: u64, log: Option<LogKey>, now: Instant, out: &mut Vec<Output>) {
        if self.serving != Serving::Stopping(generation) {
            return;
        }
        self.serving = Serving::Nothing;
        self.standing = Standing::default();
        self.log = log.or(self.log);
        if !self.askers.is_empty() {
            self.hand_in(out);
        }
        self.follow(now, out);
    }

    fn message(&mut self, from: NodeId, message: Message, now: Instant, out: &mut Vec<Output>) {
        match message {
            Message::Seal { generation, insists } => self.seal(from, generation, insists, now, out),
            Message::HandedIn { generation, voter, held } => {
                let is_voter = voter.node_id == from && self.facts.generation.voters().contains(&voter);
                if generation == self.number() && is_voter {
                    self.handed_in.insert(voter, held);
                    self.propose(out);
                }
            }
            // Somebody has a leader: this process is cut off from it, or its own facts are old.
            Message::Serving { generation } if generation >= self.number() => self.unled_since = now,
            Message::Serving { .. } => {}
            Message::TakenOut { generation } => {
                // Where it learned of its vote and of the end of that at once it has nothing to stop.
                if generation == self.number() && self.serving == Serving::Nothing && !self.votes() {
                    self.sealed = self.sealed.max(generation);
                }
            }
            Message::Sessions { generation, whole, sessions } => {
                if self.sessions.take(generation, from, whole, now) {
                    out.push(Output::Sessions { from, sessions });
                }
            }
        }
    }

    /// How long this node waits for a leader before it works on the next generation. One after the other, so that they
    /// rarely meet; that they may is settled by the durable group.
    fn patience(&self) -> core::time::Duration {
        let rank = self.facts.wanted.iter().position(|node_id| *node_id == self.me.node_id).unwrap_or_default();
        // At most as many as vote, so it fits. Before the first generation there is nobody to wait for.
        UNLED_MAX * (u32::from(self.number() > 0) + u32::try_from(rank).unwrap_or(u32::MAX / 4))
    }

    fn works_on_the_next(&self, now: Instant) -> bool {
        let may = !self.over && self.facts.wanted.contains(&self.me.node_id);
        // A heal, or an operator, that starts a majority again within a moment: nobody is waited for.
        may && (self.has_ended() || !self.led() && now.since(self.unled_since) >= self.patience())
    }

    /// A voter that sealed while the others went on can never serve this generation again, nor can one that was taken out
    /// and is wanted once more; and a leader whose record is full of sets that can never be in force brings in nobody any
    /// more. After a while it insists on the next generation: that costs the group a moment, and a voter less for good
    /// would cost it the next failure.
    fn insists(&mut self, now: Instant) -> bool {
        let generation = &self.facts.generation;
        let is_to_vote = generation.voters().contains(&self.me) || self.facts.wanted.contains(&self.me.node_id);
        let barred = !self.over && generation.number() > 0 && self.sealed >= generation.number() && is_to_vote;
        self.barred_since = if barred || self.is_stuck() { self.barred_since.or(Some(now)) } else { None };
        self.barred_since.is_some_and(|since| now.since(since) >= BARRED_MAX)
    }

    /// Asks every voter that is not accounted for to seal, and proposes where nobody is missing. Nobody is asked while one
    /// of them is silent: nothing can come of it, and whoever sealed behind a cut would be barred when the others are back.
    /// This process seals last, once that is all that is missing.
    fn work(&mut self, insists: bool, out: &mut Vec<Output>) {
        let generation = self.number();
        let missing = |voter: &Incarnation| !self.facts.is_over(*voter) && !self.handed_in.contains_key(voter);
        let missing: Vec<Incarnation> = self.facts.generation.voters().into_iter().filter(missing).collect();
        let is_silent = |voter: &Incarnation| {
            let heard = self.up.as_ref().is_none_or(|up| up.contains(voter));
            *voter != self.me && !heard && !self.facts.is_gone(*voter)
        };
        if !missing.iter().any(is_silent) {
            for voter in missing.into_iter().filter(|voter| *voter != self.me || self.is_last_to_seal()) {
                out.push(Output::Send { to: voter.node_id, message: Message::Seal { generation, insists } });
            }
        }
        self.propose(out);
    }

    /// Whether the next generation could be proposed with this process's own log, or that is sealed already.
    fn is_last_to_seal(&self) -> bool {
        let mut handed_in = self.handed_in.clone();
        handed_in.insert(self.me, self.held());
        self.sealed >= self.number() || account(&self.facts, &handed_in, self.settings.faults.lowest_log).is_ok()
    }

    fn propose(&mut self, out: &mut Vec<Output>) {
        match account(&self.facts, &self.handed_in, self.settings.faults.lowest_log) {
            Ok((proposal, _)) => out.push(Output::Propose(proposal)),
            Err(Blocked::Missing(who) | Blocked::TooManyGone(who)) => {
                // Whoever was asked a moment ago may be about to answer.
                let now = (self.facts.generation.version, who);
                if self.blocked == now && self.told_waiting != now {
                    self.told_waiting.clone_from(&now);
                    out.push(Output::Waiting(now.1.iter().copied().collect()));
                }
                self.blocked = now;
            }
            Err(Blocked::Nobody) => {}
        }
    }

    fn end(&mut self, out: &mut Vec<Output>) {
        self.over = true;
        self.sealed = u64::MAX;
        match self.serving {
            Serving::Runs(number) => self.stop(number, out),
            Serving::Fetching(_) => self.serving = Serving::Nothing,
            Serving::Nothing | Serving::Stopping(_) => {}
        }
    }
}

impl Machine for Generations {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        let now = now.mono;
        match input {
            Input::Facts(facts) => self.facts(facts, now, out),
            Input::Up(up) => self.hears_again(up, now),
            Input::Leaving(leaving) => {
                self.leaving = leaving;
                self.lead(out);
            }
            Input::Standing(standing) => {
                if self.serving == Serving::Runs(standing.generation) {
                    // Of every entry that is committed there is news; most of it is none for this room.
                    let known = (self.standing.leads, &self.standing.voters) == (standing.leads, &standing.voters);
                    self.standing = standing;
                    if !known {
                        self.lead(out);
                    }
                }
            }
            Input::Message { from, message } => self.message(from, message, now, out),
            Input::Report(Report::Fetched { generation, ok }) => self.fetched(generation, ok, now, out),
            Input::Report(Report::Stopped { generation, log }) => self.stopped(generation, log, now, out),
            Input::Sessions { generation, sessions } => self.sessions.keep(generation, sessions),
            Input::Report(Report::Opened { generation }) => self.sessions.open(generation, now),
            Input::Over => self.end(out),
        }
        self.note_leader(now, out);
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        let now = now.mono;
        self.note_leader(now, out);
        if now < self.retry_at {
            return;
        }
        self.retry_at = now + GENERATION_RETRY;
        self.follow(now, out);
        if let Some(message) = self.sessions.message(now) {
            let to = self.facts.generation.voters();
            out.extend(to.into_iter().map(|voter| Output::Send { to: voter.node_id, message: message.clone() }));
        }
        if self.standing.leads && self.serves() == Some(self.number()) && self.sessions.wants_to_open(now) {
            out.push(Output::Order(Order::Open { generation: self.number() }));
        }
        let insists = self.insists(now);
        if insists || self.works_on_the_next(now) {
            self.work(insists, out);
        } else {
            self.lead(out);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        // Whoever does not vote has nothing to do but to say which sessions it keeps.
        let part = self.votes() || self.facts.wanted.contains(&self.me.node_id) || self.sessions.are_to_be_told();
        (!self.over && part).then_some(self.retry_at)
    }

    fn check(&self) {
        if let Serving::Runs(number) | Serving::Fetching(number) = self.serving {
            assert!(number > self.sealed, "what was sealed is never served again");
            assert!(number <= self.number(), "no generation is served that was not read from the durable group");
        }
        let voters = self.facts.generation.voters();
        assert!(self.handed_in.keys().all(|id| voters.contains(id)), "only voters of the present generation hand in");
    }
}
