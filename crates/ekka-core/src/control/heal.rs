//! Healing, joined to the rest: whom the room can meet, how its messages travel, what people are told, `ekka heal`.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::commands::{Answer, plan};
use super::{CommandError, Control, Message, Output, RequestId, Setup, Work, emit};
use crate::autoheal::{self, Carried, Contact, Gathered, Healing, Input, Plan, Stand, Told, Voters, decide};
use crate::decision::DecisionId;
use crate::event::EventKind;
use crate::id::{Guid, Incarnation, NodeId, NodeName};
use crate::machine::Machine;
use crate::membership::Record;
use crate::time::{Instant, Now};
use crate::view::{Role, Status};

/// `ekka heal` waits so long for the end.
const HEAL_TIMEOUT: Duration = Duration::from_secs(120);
/// How often it looks whether it has come.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// So many views the record of a decision keeps for `ekka why`; those of a larger cluster would fill the memory.
const VIEWS_KEPT: usize = 64;

/// So many names stand in one line of evidence.
const NAMES_SHOWN: usize = 16;

/// Healing, and what of it is under way between this node's parts.
pub(super) struct Heal {
    pub(super) room: Healing,
    /// The number that is to be on disc, and by which write.
    number: u64,
    writing: Option<(u64, u64)>,
    /// Who waits for an answer to `ekka heal`.
    asked: Vec<Asked>,
    /// The record behind each heal that this node has decided or been through.
    decisions: BTreeMap<autoheal::HealId, DecisionId>,
}

struct Asked {
    id: RequestId,
    only_plan: bool,
    /// The first look has been; what was to be done then.
    decision: Option<DecisionId>,
    look_at: Option<Instant>,
    until: Instant,
}

impl Heal {
    pub(super) fn new(setup: &mut Setup, id: Incarnation, now: Now) -> Self {
        let start = autoheal::Start {
            id,
            process: id.guid,
            seen: setup.saved.heal_number,
            autoheal: setup.autoheal,
            carried: setup.carried.take(),
            options: setup.faults.autoheal,
        };
        Self {
            room: Healing::new(start, now),
            number: setup.saved.heal_number,
            writing: None,
            asked: Vec::new(),
            decisions: BTreeMap::new(),
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let asked = self.asked.iter().map(|asked| asked.look_at.unwrap_or(asked.until));
        self.room.deadline().into_iter().chain(asked).min()
    }
}

impl Control {
    /// What the next start in this process is given, so that it owes what this one owed.
    #[must_use]
    pub fn carry(&self) -> Carried {
        self.heal.room.carry()
    }

    /// How healing stands.
    pub(super) fn healing(&self) -> Stand {
        self.heal.room.stand()
    }

    /// What the heal that is under way here, or to come, waits for; `None` where there is none. One is to come as soon as a
    /// member is up again from which this node has parted, and not only once that has said anew which cluster it is in.
    #[must_use]
    pub fn heal_waits(&self) -> Option<String> {
        let stand = self.healing();
        if stand.pending {
            return Some(stand.waits);
        }
        let silent = |(node_id, process): &(NodeId, Guid)| {
            let same = |record: &Record| record.process() == *process && self.is_heard_as(record);
            self.membership.is_running(*node_id)
                && self.membership.record(*node_id).is_some_and(same)
                && self.autocluster.has_yet_to_say(*node_id)
        };
        let (node_id, _) = self.heal.room.parted().find(silent)?;
        Some(format!("until {} has said which cluster it is in", self.name_of(node_id)))
    }

    /// Whether a record is of the start that is heard: else it is not known yet which process that start is of.
    fn is_heard_as(&self, record: &Record) -> bool {
        self.membership.heard_as(record.id.node_id).is_none_or(|heard| heard == record.id)
    }

    pub(super) fn heal(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        let mut given = Vec::new();
        self.heal.room.handle(input, now, &mut given);
        self.heal_gave(given, now, out);
    }

    pub(super) fn tick_heal(&mut self, now: Now, out: &mut Vec<Output>) {
        let mut given = Vec::new();
        self.heal.room.tick(now, &mut given);
        self.heal_gave(given, now, out);
        let (due, waiting): (Vec<_>, Vec<_>) =
            core::mem::take(&mut self.heal.asked).into_iter().partition(|asked| asked.until <= now.mono);
        self.heal.asked = waiting;
        for asked in due {
            let waits = self.healing().waits;
            let text = format!("the sides did not come together in {} s: {waits}", HEAL_TIMEOUT.as_secs());
            out.push(Output::Reply { id: asked.id, result: Err(CommandError::Failed(text)) });
        }
        let look = |asked: &mut Asked| asked.look_at.take_if(|at| *at <= now.mono).is_some();
        if self.heal.asked.iter_mut().map(look).fold(false, |any, due| any | due) {
            self.heal(Input::Peek, now, out);
        }
    }

    /// The same, in a large cluster as seldom as its view is made anew.
    pub(super) fn tell_contacts_in_time(&mut self, now: Now, out: &mut Vec<Output>) {
        if !self.membership.is_large() || now.mono >= self.settled_at {
            self.tell_contacts(now, out);
        }
    }

    /// Tells the room how the members are seen, where that changed.
    pub(super) fn tell_contacts(&mut self, now: Now, out: &mut Vec<Output>) {
        let me = self.me().node_id;
        let roster = self.membership.roster();
        let members = roster.records.values().filter(|record| record.id.node_id != me);
        let contacts: Vec<Contact> =
            members.filter(|record| roster.is_member(record.id.node_id)).map(|record| self.contact(record)).collect();
        let seniority = roster.seats.get(&me).map_or(u64::MAX, |seat| seat.number);
        let core = self.membership.own().role == Role::Core;
        let active = self.standing.status.takes_part();
        let configuration = self.group.durable.record().configuration();
        let sets = configuration.voters.iter().map(|set| set.iter().map(|voter| voter.node_id).collect());
        let voters = Voters { place: (self.generation(), configuration.at.index), sets: sets.collect() };
        if self.heal.room.is_told(&contacts, (seniority, core, active), &voters) {
            return;
        }
        self.heal(Input::Contacts { contacts, seniority, core, voters, active }, now, out);
    }

    fn contact(&self, record: &Record) -> Contact {
        let node_id = record.id.node_id;
        let status = self.membership.status(node_id);
        let known = self.is_heard_as(record);
        // A connection that is made anew, while a third node heard both ends, parts nobody.
        let anew = self.autocluster.has_yet_to_say(node_id) && self.heal.room.runs(record.id);
        let hears = self.hears(node_id) || anew && self.membership.is_running(node_id);
        Contact {
            id: record.id,
            process: record.process(),
            core: record.role == Role::Core,
            running: known && status.takes_part() && hears,
            goodbye: matches!(status, Status::Stopped | Status::Leaving),
            lost: self.membership.is_declared_down(node_id),
            seniority: self.membership.roster().seats.get(&node_id).map_or(u64::MAX, |seat| seat.number),
        }
    }

    fn heal_gave(&mut self, given: Vec<autoheal::Output>, now: Now, out: &mut Vec<Output>) {
        for output in given {
            match output {
                autoheal::Output::Send { to, message } => self.send_heal((self.me(), to), message, out),
                autoheal::Output::Persist(number) => {
                    self.heal.number = self.heal.number.max(number);
                    self.heal.writing = Some((self.persist.next(), self.heal.number));
                }
                autoheal::Output::Request(request) => out.push(Output::Heal(request)),
                autoheal::Output::Changed => {
                    self.dirty = true;
                    self.stand();
                }
                autoheal::Output::Told(told) => self.heal_told(told, now, out),
                autoheal::Output::Peeked { gathered, missing } => self.peeked(&gathered, &missing, now, out),
            }
        }
    }

    /// On the direct link, or through a third member that hears both.
    fn send_heal(&mut self, (from, to): (Incarnation, NodeId), message: autoheal::Message, out: &mut Vec<Output>) {
        let Some(cluster_id) = self.autocluster.cluster_id() else { return };
        let next = if self.conns.is_linked(to) {
            Some(to)
        } else if self.membership.is_large() && matches!(message, autoheal::Message::Parted { .. }) {
            // The views of a large cluster say it to the leader; passed on, half a million of them would stop one voter.
            None
        } else {
            // Not all by way of the same one.
            let thirds: Vec<NodeId> =
                self.membership.hearers(to).filter(|third| self.conns.is_linked(*third)).collect();
            let at = usize::try_from(to.as_u128() % thirds.len().max(1) as u128).unwrap_or(0);
            thirds.get(at).copied()
        };
        if let Some(next) = next {
            self.send(next, &Message::Heal { cluster_id, generation: self.generation(), from, to, message }, out);
        }
    }

    /// A message of the room came, or one that is to be passed on.
    pub(super) fn heal_came(
        &mut self,
        peer: Incarnation,
        (from, to): (Incarnation, NodeId),
        message: autoheal::Message,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let roster = self.membership.roster();
        if !roster.is_member(peer.node_id) || !roster.is_member(from.node_id) {
            return;
        }
        if to == self.me().node_id {
            // Who the message is judged by must be known as its sender knows itself.
            if self.dirty {
                self.tell_contacts_in_time(now, out);
            }
            self.heal(Input::Received { from, message }, now, out);
        } else if from == peer && self.conns.is_linked(to) {
            let Some(cluster_id) = self.autocluster.cluster_id() else { return };
            self.send(to, &Message::Heal { cluster_id, generation: self.generation(), from, to, message }, out);
        }
    }

    /// What is on disc now.
    pub(super) fn heal_persisted(&mut self, token: u64, now: Now, out: &mut Vec<Output>) {
        if let Some((_, number)) = self.heal.writing.take_if(|(at, _)| *at <= token) {
            self.heal(Input::Persisted(number), now, out);
        }
    }

    fn names(&self, nodes: impl Iterator<Item = Incarnation>) -> Vec<NodeName> {
        nodes.filter_map(|id| self.membership.record(id.node_id).map(|record| record.name.clone())).collect()
    }

    fn heal_told(&mut self, told: Told, now: Now, out: &mut Vec<Output>) {
        let millis = |after: Duration| u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        match told {
            Told::Planned { plan, gathered } => {
                let id = self.record_heal(&plan, gathered, now);
                self.heal.decisions.insert(plan.id, id);
            }
            Told::Started { plan } => {
                let (stays, returns) = (self.names(plan.inside()), self.names(plan.outside()));
                let what = format!("{} carries out heal {}: {}", self.setup.name, plan.id, self.plan_words(&plan));
                let decision = self.heal_decision(plan.id, what, now);
                let heal = plan.id.to_string();
                emit(Some(decision), EventKind::HealStarted { heal, stays, returns }, out);
            }
            Told::Step { id, step } => {
                let what = format!("{} comes back in heal {id}", self.setup.name);
                let decision = self.heal_decision(id, what, now);
                emit(Some(decision), EventKind::HealStep { heal: id.to_string(), step: step.into() }, out);
            }
            Told::Healed { id, after, rows, overridden } => {
                let decision = self.heal.decisions.get(&id).copied();
                let (heal, ms) = (id.to_string(), millis(after));
                emit(decision, EventKind::HealFinished { heal, ms, rows, overridden }, out);
            }
            Told::Finished { id, after, healed, away } => {
                let decision = self.heal.decisions.get(&id).copied();
                let (heal, ms) = (id.to_string(), millis(after));
                emit(decision, EventKind::HealEnded { heal, ms, nodes: healed, away }, out);
            }
            Told::Failed { id, why } => {
                let decision = self.heal.decisions.get(&id).copied();
                emit(decision, EventKind::HealFailed { heal: id.to_string(), why }, out);
            }
        }
        // Of heals long past nobody asks by their ids.
        while self.heal.decisions.len() > VIEWS_KEPT {
            self.heal.decisions.pop_first();
        }
    }

    fn heal_decision(&mut self, id: autoheal::HealId, what: String, now: Now) -> DecisionId {
        if let Some(known) = self.heal.decisions.get(&id) {
            return *known;
        }
        let rule = "section 10: the coordinator asks every node outside its component to come back";
        let decision = self.decisions.record(now.wall, "heal", what, rule, Vec::new());
        self.heal.decisions.insert(id, decision);
        decision
    }

    fn plan_words(&self, plan: &Plan) -> String {
        let name = |id: Incarnation| self.name_of(id.node_id);
        let list = |nodes: Vec<Incarnation>| nodes.into_iter().map(name).collect::<Vec<_>>().join(", ");
        let (stays, returns) = (plan.inside().collect::<Vec<_>>(), plan.outside().collect::<Vec<_>>());
        if returns.is_empty() {
            return format!("no node has to come back: {} are one side", list(stays));
        }
        format!("{} come back to {}", list(returns), list(stays))
    }

    fn record_heal(&mut self, plan: &Plan, gathered: Gathered, now: Now) -> DecisionId {
        let rule = "section 10: components of nodes between which no parting stands; the others come back to the one that \
                    can commit, else to the one with the most cores, else to the one with the oldest node";
        let what = format!("heal {}: {}", plan.id, self.plan_words(plan));
        let mut lines = vec![format!("coordinator: {}", self.name_of(plan.coordinator.node_id))];
        lines.extend(gathered.sights.iter().map(|sight| {
            let from: Vec<String> = sight.partings.iter().map(|parting| self.name_of(parting.node_id)).collect();
            let missing: Vec<String> = sight.missing.iter().map(|node_id| self.name_of(*node_id)).collect();
            let part = plan.side(sight.id).map_or(0, |side| side.part);
            let or_none = |list: Vec<String>| match list.len() {
                0 => String::from("none"),
                count @ 1..=NAMES_SHOWN => list[..count].join(", "),
                count => format!("{} and {} more", list[..NAMES_SHOWN].join(", "), count - NAMES_SHOWN),
            };
            let name = self.name_of(sight.id.node_id);
            format!(
                "{name}: component {part}; had declared down and met again, or was told so by: {}; does not see: {}",
                or_none(from),
                or_none(missing)
            )
        }));
        let id = self.decisions.record(now.wall, "heal", what, rule, lines);
        if gathered.sights.len() <= VIEWS_KEPT
            && let Ok(bytes) = postcard::to_allocvec(&(gathered, plan))
        {
            self.decisions.keep_inputs(id, &bytes);
        }
        id
    }

    /// `ekka heal`, and its plan: all views are asked for first.
    pub(super) fn ask_heal(
        &mut self,
        id: RequestId,
        only_plan: bool,
        now: Now,
        out: &mut Vec<Output>,
    ) -> Option<Answer> {
        if !self.standing.status.takes_part() {
            let status = self.standing.status.as_str();
            let why = format!("this node is {status}: ask one that is up");
            return Some(if only_plan { plan(Vec::new(), Some(why)) } else { Err(CommandError::Refused(why)) });
        }
        let until = now.mono + HEAL_TIMEOUT;
        self.heal.asked.push(Asked { id, only_plan, decision: None, look_at: None, until });
        self.heal(Input::Peek, now, out);
        None
    }

    fn peeked(&mut self, gathered: &Gathered, missing: &[NodeId], now: Now, out: &mut Vec<Output>) {
        // What stands between two nodes is known where both have answered.
        let open = |sight: &autoheal::Sight| {
            sight.partings.iter().any(|parting| parting.since.is_none() && missing.contains(&parting.node_id))
        };
        let wanted = gathered.wants_heal() || gathered.sights.iter().any(open);
        let goes_on = gathered.sights.iter().any(|sight| sight.under.is_some());
        let silent: Vec<String> = missing.iter().map(|node_id| self.name_of(*node_id)).collect();
        let found = decide(gathered);
        let mut begin = false;
        let mut waiting = Vec::new();
        for mut asked in core::mem::take(&mut self.heal.asked) {
            let id = asked.id;
            if asked.only_plan {
                let mut lines = match &found {
                    _ if wanted && !gathered.wants_heal() => Vec::new(),
                    Some(found) if wanted => vec![
                        self.plan_words(found),
                        format!("{} would carry it out", self.name_of(found.coordinator.node_id)),
                        String::from(
                            "each that comes back calls `prepare`, exchanges its tables, calls `reboot`; nothing is lost",
                        ),
                    ],
                    _ => vec![String::from("nothing to do: no node has parted from another one that runs")],
                };
                if !silent.is_empty() {
                    lines.push(format!(
                        "did not answer in time, so what it would do with them is not known: {}",
                        silent.join(", ")
                    ));
                }
                out.push(Output::Reply { id, result: plan(lines, None) });
                continue;
            }
            match (asked.decision, wanted) {
                (None, false) => {
                    let decision = self.record_command(now, "heal");
                    let text = "nothing to heal: no node has parted from another one that runs";
                    out.push(Output::Reply { id, result: Ok(self.done(text, decision)) });
                    continue;
                }
                (Some(decision), false) => {
                    out.push(Output::Reply { id, result: Ok(self.done("the sides are together again", decision)) });
                    continue;
                }
                (None, true) => {
                    begin = true;
                    asked.decision = Some(self.record_command(now, "heal"));
                }
                // The word may have been lost, or the leader with it.
                (Some(_), true) => begin |= !goes_on,
            }
            asked.look_at = Some(now.mono + LOOK_AGAIN);
            waiting.push(asked);
        }
        self.heal.asked = waiting;
        if begin {
            self.heal(Input::Heal, now, out);
        }
    }

    /// This node stops: nobody is answered any more.
    pub(super) fn fail_heals(&mut self, out: &mut Vec<Output>) {
        for asked in core::mem::take(&mut self.heal.asked) {
            out.push(Output::Reply { id: asked.id, result: Err(CommandError::Stopping) });
        }
    }

    /// Of another cluster, or of none, nothing of before counts.
    pub(super) fn reset_heal(&mut self) {
        self.work.push_back(Work::Heal(Input::Reset));
    }
}
