//! The room itself: who is met, what goes on the wire, timers.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::coordinator::Coordinating;
use super::leader::{Leading, Pending};
use super::member::{Step, Under};
use super::partings::Partings;
use super::peek::Peeking;
use super::report::Watch;
use super::{Contact, HealId, HealNews, HealRequest, Input, Message, Output, Plan, Sight, Voters};
use crate::id::{Guid, Incarnation, NodeId};
use crate::machine::Machine;
use crate::time::{Instant, Now};

/// Planted faults. All off in production.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// The number alone is the id of a heal.
    pub guid_unseen: bool,
    /// Any order is obeyed, not only the one with the largest id.
    pub id_ignored: bool,
    /// A heal one of whose nodes is down since is not begun again.
    pub death_unseen: bool,
    /// Only who declared another one down itself has parted: one that was frozen has not.
    pub one_sided_unseen: bool,
    /// The plan is made from the first view of each node, not from the settled ones.
    pub stale_view: bool,
    /// A node counts as healed before its tables are verified.
    pub unverified: bool,
}

/// How a room begins.
#[derive(Clone, Debug)]
pub struct Start {
    /// This start of this node.
    pub id: Incarnation,
    /// The first start of this process, where nothing is carried over.
    pub process: Guid,
    /// The largest number of a heal on disc.
    pub seen: u64,
    /// Time for the views to settle; `None`: off.
    pub autoheal: Option<Duration>,
    /// What the start before this one in the same process left.
    pub carried: Option<Carried>,
    /// Planted faults.
    pub options: Options,
}

/// What goes from one start to the next one in the same process: it has what the one before had, and owes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Carried {
    pub(super) process: Guid,
    pub(super) partings: Partings,
    pub(super) seen: HealId,
    pub(super) healed: HealId,
    pub(super) finished: Option<Plan>,
    pub(super) history: VecDeque<Instant>,
    /// The heal for which `prepare` was called, where `reboot` was not.
    pub(super) prepared: Option<HealId>,
    pub(super) since: Option<Instant>,
}

/// What the rest of the node shows of healing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stand {
    /// It has parted from a node that runs, or is on its way back.
    pub pending: bool,
    /// Its status is `healing`.
    pub healing: bool,
    /// The heal under which it is on its way.
    pub under: Option<HealId>,
    /// What is waited for, in words.
    pub waits: String,
}

/// See the module's head.
pub struct Healing {
    pub(super) id: Incarnation,
    pub(super) process: Guid,
    pub(super) options: Options,
    pub(super) autoheal: Option<Duration>,
    pub(super) contacts: BTreeMap<NodeId, Contact>,
    pub(super) seniority: u64,
    core: bool,
    voters: Voters,
    pub(super) active: bool,
    /// The oldest node that runs, by what was told last: a thousand members are not gone through with each message.
    oldest: NodeId,
    /// How often it was told.
    pub(super) told: u64,
    pub(super) partings: Partings,
    /// The largest heal id seen.
    pub(super) seen: HealId,
    /// The latest heal in which this node did its part.
    pub(super) healed: HealId,
    /// And its plan.
    pub(super) finished: Option<Plan>,
    pub(super) under: Option<Under>,
    pub(super) leading: Leading,
    pub(super) peeking: Option<Peeking>,
    pub(super) coordinating: Option<Coordinating>,
    /// The latest look of each leader at this node, until when its changes are wanted.
    pub(super) watched: BTreeMap<NodeId, Watch>,
    /// When this node came back, lately.
    pub(super) history: VecDeque<Instant>,
    /// Since when it is pending.
    pub(super) since: Option<Instant>,
    pub(super) report_at: Option<Instant>,
    /// On disc, and asked for.
    pub(super) persisted: u64,
    stand: Stand,
}

impl Carried {
    /// The first start of the process.
    #[must_use]
    pub fn process(&self) -> Guid {
        self.process
    }
}

impl Healing {
    /// A node's room as it starts.
    #[must_use]
    pub fn new(start: Start, now: Now) -> Self {
        let carried = start.carried.unwrap_or_else(|| Carried {
            process: start.process,
            partings: Partings::default(),
            seen: HealId { number: start.seen, guid: Guid::MIN },
            healed: HealId::NONE,
            finished: None,
            history: VecDeque::new(),
            prepared: None,
            since: None,
        });
        let under = carried.prepared.map(|id| Under::adrift(id, start.id, now.mono));
        Self {
            id: start.id,
            process: carried.process,
            options: start.options,
            autoheal: start.autoheal,
            contacts: BTreeMap::new(),
            seniority: u64::MAX,
            core: false,
            voters: Voters::default(),
            active: false,
            oldest: start.id.node_id,
            told: 0,
            partings: carried.partings,
            seen: carried.seen,
            healed: carried.healed,
            finished: carried.finished,
            under,
            leading: Leading::default(),
            peeking: None,
            coordinating: None,
            watched: BTreeMap::new(),
            history: carried.history,
            since: carried.since,
            report_at: None,
            persisted: start.seen,
            stand: Stand::default(),
        }
    }

    /// What the next start in the same process is given.
    #[must_use]
    pub fn carry(&self) -> Carried {
        let mut carried = Carried {
            process: self.process,
            partings: self.partings.clone(),
            seen: self.seen,
            healed: self.healed,
            finished: self.finished.clone(),
            history: self.history.clone(),
            prepared: self.under.as_ref().filter(|under| under.was_prepared()).map(|under| under.plan.id),
            since: self.since,
        };
        self.carry_back(&mut carried);
        carried
    }

    /// What the rest of the node shows of it.
    #[must_use]
    pub fn stand(&self) -> Stand {
        self.stand.clone()
    }

    /// From whom this node has parted, and which process of each, whether it runs again or not.
    pub fn parted(&self) -> impl Iterator<Item = (NodeId, Guid)> + '_ {
        self.partings.all()
    }

    /// The first start of this process.
    #[must_use]
    pub fn process(&self) -> Guid {
        self.process
    }

    /// Whether these contacts are known here already.
    #[must_use]
    pub fn is_told(&self, contacts: &[Contact], own: (u64, bool, bool), voters: &Voters) -> bool {
        let same = (self.seniority, self.core, self.active) == own && self.voters == *voters;
        same && self.contacts.len() == contacts.len()
            && contacts.iter().all(|contact| self.contacts.get(&contact.id.node_id) == Some(contact))
    }

    /// Whether a heal that this node knows of, or that is to come, has that member in it.
    #[must_use]
    pub fn concerns(&self, node_id: NodeId) -> bool {
        let names = |plan: &Plan| plan.nodes.iter().any(|side| side.id.node_id == node_id);
        self.partings.names(node_id) && self.contacts.get(&node_id).is_some_and(|contact| contact.running)
            || self.leading.concerns(node_id)
            || self.coordinating.as_ref().is_some_and(|c| !c.is_over() && names(&c.plan))
            || self.under.as_ref().is_some_and(|under| names(&under.plan))
    }

    /// Whom this node takes for the leader: the oldest one that runs.
    pub(super) fn leader(&self) -> NodeId {
        self.oldest
    }

    fn find_oldest(&mut self) {
        let running = self.contacts.values().filter(|contact| contact.running);
        let others = running.map(|contact| (contact.seniority, contact.id.node_id));
        let own = self.active.then_some((self.seniority, self.id.node_id));
        self.oldest = others.chain(own).min().map_or(self.id.node_id, |(_, node_id)| node_id);
    }

    /// Whether that very start runs, as far as this node sees.
    #[must_use]
    pub fn runs(&self, id: Incarnation) -> bool {
        id == self.id || self.contacts.get(&id.node_id).is_some_and(|contact| contact.running && contact.id == id)
    }

    pub(super) fn sight(&self) -> Sight {
        let missing = self.contacts.values().filter(|contact| !contact.running);
        Sight {
            id: self.id,
            process: self.process,
            seen: self.seen,
            healed: self.healed,
            under: self.under.as_ref().map(|under| under.plan.id),
            partings: self.partings.list(),
            upto: self.partings.upto(),
            missing: missing.map(|contact| contact.id.node_id).collect(),
            voters: self.voters.clone(),
            seniority: self.seniority,
            core: self.core,
        }
    }

    /// Sends, or takes at once what is for this node itself.
    pub(super) fn send(&mut self, to: Incarnation, message: Message, now: Now, out: &mut Vec<Output>) {
        if to.node_id == self.id.node_id {
            self.received(self.id, message, now, out);
        } else {
            out.push(Output::Send { to: to.node_id, message });
        }
    }

    /// As [`Self::send`], by node id.
    pub(super) fn send_to(&mut self, to: NodeId, message: Message, now: Now, out: &mut Vec<Output>) {
        let guid = if to == self.id.node_id { self.id.guid } else { Guid::MIN };
        self.send(Incarnation { node_id: to, guid }, message, now, out);
    }

    fn contacts_changed(&mut self, contacts: Vec<Contact>, now: Now) {
        let contacts: BTreeMap<NodeId, Contact> = contacts.into_iter().map(|c| (c.id.node_id, c)).collect();
        let running = |contacts: &BTreeMap<NodeId, Contact>| -> BTreeSet<Incarnation> {
            contacts.values().filter(|contact| contact.running).map(|contact| contact.id).collect()
        };
        // One that comes and goes without ever being met keeps no views from settling.
        let others = running(&contacts) != running(&self.contacts);
        for (node_id, contact) in &contacts {
            self.partings.seen(self.contacts.get(node_id), contact);
        }
        for node_id in self.contacts.keys().filter(|node_id| !contacts.contains_key(node_id)) {
            self.partings.forget(*node_id);
        }
        self.contacts = contacts;
        self.told += 1;
        self.find_oldest();
        if others {
            self.leading.contacts_changed(now);
        }
    }

    pub(super) fn received(&mut self, from: Incarnation, message: Message, now: Now, out: &mut Vec<Output>) {
        match message {
            Message::Parted { process, own, number } => {
                if process != self.process || self.options.one_sided_unseen {
                    return;
                }
                let covers = |plan: &&Plan| plan.side(self.id).is_some() && plan.upto(from.node_id, own) >= number;
                // It was said in the view from which the heal was planned that this node is through with.
                let Some(plan) = self.finished.as_ref().filter(covers) else {
                    let back = self.runs(from);
                    self.partings.said(from.node_id, own, number, back);
                    return;
                };
                // Where this one came back, nothing is left of it. Where it stayed, the other one has to come back, and
                // goes on to say so until it has: its order may have been lost with its coordinator.
                if plan.side(self.id).is_some_and(|side| !side.stays()) {
                    let over = Message::Over { id: self.healed, upto: number };
                    self.send(from, over, now, out);
                }
            }
            Message::Pending { stuck, asked, who, upto } => {
                self.pending_said(from, Pending { stuck, asked, who, upto }, now, out);
            }
            Message::Look { number, once } => self.looked_at(from, (number, once), now, out),
            Message::Sight { number, sight } => self.sight_came(number, *sight, now),
            Message::Lead(plan) => self.lead(from, plan, now, out),
            Message::Led { id, done } => self.led(id, done),
            Message::Order(plan) => self.ordered(from, plan, now, out),
            Message::Obeyed { id, done } => self.obeyed(from, id, done, now, out),
            Message::Over { id, upto } => {
                if self.coordinator_of(id) == Some(from.node_id) {
                    self.partings.ended(id);
                } else {
                    self.partings.answered_by(from.node_id, upto);
                }
            }
            Message::Outdated { id, seen } => self.outdated(id, seen, now, out),
        }
    }

    fn coordinator_of(&self, id: HealId) -> Option<NodeId> {
        self.finished.as_ref().filter(|plan| plan.id == id).map(|plan| plan.coordinator.node_id)
    }

    fn reset(&mut self, out: &mut Vec<Output>) {
        if let Some(under) = self.under.take() {
            out.push(Output::Request(HealRequest::Drop));
            if under.was_prepared() && under.step != Step::Rebooting {
                out.push(Output::Request(HealRequest::Reboot { id: under.plan.id }));
            }
        }
        self.partings = self.partings.anew();
        self.finished = None;
        self.contacts.clear();
        self.told += 1;
        self.find_oldest();
        self.leading = Leading::default();
        (self.coordinating, self.since, self.report_at) = (None, None, None);
        self.watched.clear();
    }

    /// What follows from what was taken in.
    fn settle(&mut self, now: Now, out: &mut Vec<Output>) {
        let pending = self.partings.pending() || self.under.is_some();
        self.since = if pending { self.since.or(Some(now.mono)) } else { None };
        self.report(now, out);
        self.show_changes(now, out);
        self.peek_on(now, out);
        self.lead_on(now, out);
        self.coordinate_on(now, out);
        self.go_on(now, out);
        let stand = Stand {
            pending: self.partings.pending() || self.under.is_some(),
            healing: self.under.as_ref().is_some_and(Under::was_prepared),
            under: self.under.as_ref().map(|under| under.plan.id),
            waits: self.waits(),
        };
        if stand != self.stand {
            self.stand = stand;
            out.push(Output::Changed);
        }
    }

    fn waits(&self) -> String {
        match &self.under {
            Some(under) => under.waits(),
            None if !self.partings.pending() => String::new(),
            None if self.autoheal.is_none() => {
                String::from("cluster.autoheal is off: `ekka heal` brings the sides together")
            }
            None => String::from("until the views of all nodes have settled"),
        }
    }
}

impl Machine for Healing {
    type Input = Input;
    type Output = Output;

    fn handle(&mut self, input: Input, now: Now, out: &mut Vec<Output>) {
        match input {
            Input::Contacts { contacts, seniority, core, voters, active } => {
                (self.seniority, self.core, self.voters, self.active) = (seniority, core, voters, active);
                self.contacts_changed(contacts, now);
            }
            Input::Received { from, message } => self.received(from, message, now, out),
            Input::Persisted(number) => self.persisted = self.persisted.max(number),
            Input::News(news) => self.news(news, now, out),
            Input::Heal => self.say_pending(None, true, now, out),
            Input::Peek => self.peek(now, out),
            Input::Autoheal(settle) => self.autoheal = settle,
            Input::Reset => self.reset(out),
        }
        self.settle(now, out);
    }

    fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        self.settle(now, out);
    }

    fn deadline(&self) -> Option<Instant> {
        let mark = self.mark();
        let watched = self.watched.values().filter(|watch| watch.mark != mark);
        // Until something has changed nothing is to be shown; what changes it is an input, and only its pause is waited for.
        let shown = watched.map(|watch| watch.next.min(watch.until)).min();
        let told = if self.active { self.partings.deadline() } else { None };
        let peeked = self.peeking.as_ref().map(Peeking::deadline);
        let others = [shown, self.report_at, told, self.leading.deadline(), peeked];
        let coordinating = self.coordinating.as_ref().and_then(Coordinating::deadline);
        let under = self.under.as_ref().and_then(Under::deadline);
        others.into_iter().flatten().chain(coordinating).chain(under).min()
    }

    fn check(&self) {
        if let Some(under) = &self.under {
            assert!(self.options.id_ignored || under.plan.id <= self.seen, "a heal that is under way was seen");
        }
        assert!(self.options.id_ignored || self.healed <= self.seen, "a heal that is done was seen");
        assert!(!self.partings.names(self.id.node_id), "nobody parts from itself");
        assert_eq!(self.stand.healing, self.under.as_ref().is_some_and(Under::was_prepared), "what is shown is so");
    }
}

impl Healing {
    fn news(&mut self, news: HealNews, now: Now, out: &mut Vec<Output>) {
        match news {
            HealNews::Prepared { id, failed } => self.prepared(id, failed, out),
            HealNews::Exchanged { id, rows, overridden } => self.exchanged(id, (rows, overridden), out),
            HealNews::Waits { id, text } => {
                if let Some(under) = self.under.as_mut().filter(|under| under.asked == id) {
                    under.waits = text;
                }
            }
            HealNews::Rebooted { id, failed } => self.rebooted(id, failed, now, out),
        }
    }
}
