//! The leader's part: looks at all views until they have settled, plans, and finds a coordinator for it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::mem;

use super::room::Healing;
use super::{Gathered, HealId, Message, Output, Plan, Sight, Told, decide};
use crate::id::{Guid, Incarnation, NodeId};
use crate::limits::{HEAL_LEADING_PATIENCE, HEAL_LOOK_AGAIN, HEAL_LOOK_PATIENCE, HEAL_RETRY, HEAL_SETTLE};
use crate::time::{Instant, Now};

/// What this node does as leader.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Leading {
    phase: Phase,
    pub(super) looks: u64,
    /// The largest number that anybody has named.
    pub(super) highest: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
enum Phase {
    #[default]
    Idle,
    Looking(Looking),
    /// The plan waits for its number to be on disc.
    Saving(Plan),
    /// The coordinator was asked.
    Leading {
        plan: Plan,
        again: Instant,
        began: Instant,
    },
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Looking {
    number: u64,
    sights: BTreeMap<NodeId, Sight>,
    asked: BTreeSet<NodeId>,
    began: Instant,
    changed: Instant,
    again: Instant,
    /// When those who have not answered are asked again, and whether there are any.
    retry: Instant,
    missing: bool,
}

/// What a node that is pending says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) stuck: Option<HealId>,
    pub(super) asked: bool,
    pub(super) who: Incarnation,
    pub(super) upto: u64,
}

impl Leading {
    /// Whether the heal that is being prepared or carried out has that node in it.
    pub(super) fn concerns(&self, node_id: NodeId) -> bool {
        match &self.phase {
            Phase::Idle => false,
            Phase::Looking(looking) => looking.sights.contains_key(&node_id) || looking.asked.contains(&node_id),
            Phase::Saving(plan) | Phase::Leading { plan, .. } => {
                plan.nodes.iter().any(|side| side.id.node_id == node_id)
            }
        }
    }

    /// Who can be met is otherwise: the views have not settled.
    pub(super) fn contacts_changed(&mut self, now: Now) {
        if let Phase::Looking(looking) = &mut self.phase {
            looking.changed = now.mono;
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Idle | Phase::Saving(_) => None,
            Phase::Looking(looking) if looking.missing => Some(looking.again.min(looking.retry)),
            Phase::Looking(looking) => Some(looking.again),
            Phase::Leading { again, .. } => Some(*again),
        }
    }
}

impl Healing {
    /// Somebody wants a heal of the leader. Who takes another one for it passes that on; it is older, so this ends.
    pub(super) fn pending_said(&mut self, from: Incarnation, pending: Pending, now: Now, out: &mut Vec<Output>) {
        let Pending { stuck, asked, who, upto } = pending;
        let leader = self.leader();
        if leader != self.id.node_id {
            if from.node_id != leader {
                out.push(Output::Send { to: leader, message: Message::Pending { stuck, asked, who, upto } });
            }
            return;
        }
        if !self.active || self.autoheal.is_none() && !asked && stuck.is_none() {
            return;
        }
        let begin = match &self.leading.phase {
            Phase::Idle => true,
            Phase::Looking(_) | Phase::Saving(_) => false,
            Phase::Leading { plan, began, .. } => {
                // A heal may last long, of one node whose tables differ. Others that part meanwhile do not wait for it.
                let unplanned = plan.side(who).is_none_or(|side| side.upto < upto);
                let late = now.mono.since(*began) >= HEAL_LEADING_PATIENCE;
                stuck.is_some_and(|stuck| stuck >= plan.id) || late && (unplanned || asked)
            }
        };
        if begin {
            self.look(now);
        }
    }

    /// Begins to look.
    fn look(&mut self, now: Now) {
        self.leading.looks += 1;
        self.leading.phase = Phase::Looking(Looking {
            number: self.leading.looks,
            sights: BTreeMap::new(),
            asked: BTreeSet::new(),
            began: now.mono,
            changed: now.mono,
            again: now.mono,
            retry: now.mono,
            missing: true,
        });
    }

    pub(super) fn sight_came(&mut self, number: u64, sight: Sight, now: Now) {
        self.peeked_at(number, &sight);
        let stale = self.options.stale_view;
        let runs = self.runs(sight.id);
        let Phase::Looking(looking) = &mut self.leading.phase else { return };
        let node_id = sight.id.node_id;
        if looking.number != number || !runs || stale && looking.sights.contains_key(&node_id) {
            return;
        }
        if looking.sights.get(&node_id) != Some(&sight) {
            looking.changed = now.mono;
            looking.sights.insert(node_id, sight);
        }
    }

    /// What a leader does next.
    pub(super) fn lead_on(&mut self, now: Now, out: &mut Vec<Output>) {
        if !self.active || self.leader() != self.id.node_id {
            // An older one is there: whoever is pending tells it so.
            self.leading.phase = Phase::Idle;
            return;
        }
        match mem::take(&mut self.leading.phase) {
            Phase::Idle => {}
            Phase::Looking(looking) => self.look_on(looking, now, out),
            Phase::Saving(plan) => {
                if self.persisted >= plan.id.number {
                    self.leading.phase = Phase::Leading { plan, again: now.mono, began: now.mono };
                    self.lead_on(now, out);
                } else {
                    self.leading.phase = Phase::Saving(plan);
                }
            }
            Phase::Leading { plan, again, began } => {
                let lost = plan.nodes.iter().any(|side| !self.runs(side.id)) && !self.options.death_unseen;
                if lost || !self.runs(plan.coordinator) {
                    self.look(now);
                    self.lead_on(now, out);
                    return;
                }
                let due = again <= now.mono;
                let again = if due { now.mono + HEAL_RETRY } else { again };
                self.leading.phase = Phase::Leading { plan: plan.clone(), again, began };
                if due {
                    self.send(plan.coordinator, Message::Lead(plan), now, out);
                }
            }
        }
    }

    fn look_on(&mut self, mut looking: Looking, now: Now, out: &mut Vec<Output>) {
        // This process was stopped: what it was shown before is old, and what came meanwhile may have been dropped.
        if now.mono >= looking.again + HEAL_RETRY {
            self.look(now);
            self.lead_on(now, out);
            return;
        }
        let running: BTreeSet<NodeId> =
            self.contacts.values().filter(|contact| contact.running).map(|contact| contact.id.node_id).collect();
        let before = looking.sights.len();
        let me = self.id.node_id;
        looking.sights.retain(|_, sight| {
            sight.id.node_id == me
                || self.contacts.get(&sight.id.node_id).is_some_and(|c| c.running && c.id == sight.id)
        });
        looking.asked.retain(|node_id| running.contains(node_id));
        if looking.sights.len() != before {
            looking.changed = now.mono;
        }
        let own = self.sight();
        if looking.sights.get(&me) != Some(&own) && !(self.options.stale_view && looking.sights.contains_key(&me)) {
            looking.changed = now.mono;
            looking.sights.insert(me, own);
        }
        // All are asked again now and then, so that they go on telling what changes; sooner those who have not answered: one
        // that others hear may not have been linked when it was asked.
        let due = now.mono >= looking.began + HEAL_LOOK_AGAIN && looking.again <= now.mono;
        let retry = looking.retry <= now.mono;
        if retry {
            looking.retry = now.mono + self.look_retry();
        }
        for node_id in &running {
            let new = looking.asked.insert(*node_id);
            if new || due || retry && !looking.sights.contains_key(node_id) {
                out.push(Output::Send { to: *node_id, message: Message::Look { number: looking.number, once: false } });
            }
        }
        let settle = self.autoheal.unwrap_or(HEAL_SETTLE);
        let missing = running.iter().any(|node_id| !looking.sights.contains_key(node_id));
        let patient = looking.began + settle + HEAL_LOOK_PATIENCE;
        // A member that comes and goes all the time must not keep all others from being healed.
        let settled = (looking.changed + settle).min(looking.began + settle * 5);
        let ready = if missing { settled.max(patient) } else { settled };
        if now.mono >= ready {
            self.plan(looking, now, out);
            return;
        }
        let again = (now.mono + HEAL_LOOK_AGAIN).min(ready);
        looking.again = if due || looking.again <= now.mono { again } else { looking.again.min(ready) };
        looking.missing = missing;
        self.leading.phase = Phase::Looking(looking);
    }

    fn plan(&mut self, looking: Looking, now: Now, out: &mut Vec<Output>) {
        let sights: Vec<Sight> = looking.sights.into_values().collect();
        let seen = sights
            .iter()
            .map(|sight| sight.seen.number)
            .chain([self.seen.number, self.persisted, self.leading.highest])
            .max();
        let guid = if self.options.guid_unseen { Guid::MIN } else { self.id.guid };
        let id = HealId { number: seen.unwrap_or(0).saturating_add(1), guid };
        let gathered = Gathered { id, leader: self.id, sights };
        if !gathered.wants_heal() {
            return;
        }
        let Some(plan) = decide(&gathered) else { return };
        out.push(Output::Told(Told::Planned { plan: plan.clone(), gathered }));
        out.push(Output::Persist(id.number));
        self.leading.phase = Phase::Saving(plan);
        self.lead_on(now, out);
    }

    /// The coordinator has the plan, or is through with it.
    pub(super) fn led(&mut self, id: HealId, done: bool) {
        if done && self.leads(id) {
            self.leading.phase = Phase::Idle;
        }
    }

    /// Somebody has seen a later heal than the one that this node leads: it is begun again above it.
    pub(super) fn overtaken(&mut self, id: HealId, seen: HealId, now: Now) {
        self.leading.highest = self.leading.highest.max(seen.number);
        if self.leads(id) {
            self.look(now);
        }
    }

    fn leads(&self, id: HealId) -> bool {
        matches!(&self.leading.phase, Phase::Leading { plan, .. } if plan.id == id)
    }
}
