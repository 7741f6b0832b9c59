//! What must hold, by what the world knows and not by what rooms say: one plan for each heal id, the side of the voters
//! stays, callbacks alternate, nobody is healed before it holds what the others held, and every parting is answered.

use std::collections::{BTreeMap, BTreeSet};

use ekka_core::autoheal::{Gathered, HealId, HealRequest, Message, Plan as Heal, Side, Sight, Told, Voters};
use ekka_core::id::{Guid, NodeId};

use crate::heal_world::node::{Node, merge};
use crate::heal_world::plan::{Plan, Us};

/// Two processes of which one had declared the other down, and that met again.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "shown with a violation")]
struct Parting {
    nodes: (usize, usize),
    processes: (Guid, Guid),
    fell: Us,
    met: Us,
}

/// What was called in one process.
#[derive(Clone, Copy, Debug, Default)]
struct Calls {
    prepared: u64,
    rebooted: u64,
    /// Its callbacks of the last reboot have not ended.
    reboots: bool,
    /// The largest heal in which something was asked of it.
    largest: Option<HealId>,
    /// When it last came back.
    healed: Option<Us>,
}

/// A heal, and what those that it names held when it was decided.
pub(crate) struct Planned {
    pub(crate) heal: Heal,
    held: Vec<u64>,
}

pub(crate) struct Judge {
    pub(crate) plans: BTreeMap<HealId, Planned>,
    pub(crate) prepared: u64,
    /// An operator has said so, or nobody has to.
    pub(crate) ordered: bool,
    /// Who came back, in which heal.
    pub(crate) healed: BTreeSet<(HealId, usize)>,
    partings: Vec<Parting>,
    /// The latest look of each start of a node, and the latest view of each other one that came to it.
    looks: BTreeMap<Guid, (u64, BTreeMap<NodeId, Sight>)>,
    calls: BTreeMap<Guid, Calls>,
    voters: Voters,
    seniority: BTreeMap<NodeId, u64>,
    cores: BTreeSet<NodeId>,
}

impl Judge {
    pub(crate) fn new(plan: &Plan, voters: &Voters, nodes: &[Node]) -> Self {
        let all = || nodes.iter().map(|node| node.id.node_id);
        Self {
            plans: BTreeMap::new(),
            prepared: 0,
            ordered: plan.autoheal.is_some(),
            healed: BTreeSet::new(),
            partings: Vec::new(),
            looks: BTreeMap::new(),
            calls: BTreeMap::new(),
            voters: voters.clone(),
            seniority: all().zip(plan.seniority.iter().copied()).collect(),
            cores: all().zip(&plan.cores).filter(|(_, core)| **core).map(|(id, _)| id).collect(),
        }
    }

    pub(crate) fn started(&mut self, process: Guid) {
        self.calls.entry(process).or_default();
    }

    pub(crate) fn parted(&mut self, nodes: (usize, usize), processes: (Guid, Guid), fell: Us, met: Us) {
        self.partings.push(Parting { nodes, processes, fell, met });
    }

    /// A message came to this start of a node.
    pub(crate) fn came(&mut self, start: Guid, message: &Message) {
        if let Message::Sight { number, sight } = message
            && let Some((looked, sights)) = self.looks.get_mut(&start)
            && looked == number
        {
            sights.insert(sight.id.node_id, (**sight).clone());
        }
    }

    /// A heal is planned from the latest view of each node that came.
    fn of_the_latest_views(&self, gathered: &Gathered) -> Result<(), String> {
        let Some((_, sights)) = self.looks.get(&gathered.leader.guid) else { return Ok(()) };
        for sight in &gathered.sights {
            let latest = sights.get(&sight.id.node_id).filter(|latest| latest.id == sight.id && *latest != sight);
            if let Some(latest) = latest {
                return Err(format!("{} is planned from {sight:?}, and {latest:?} was shown since", gathered.id));
            }
        }
        Ok(())
    }

    /// This start of a node sends a message.
    pub(crate) fn sent(&mut self, start: Guid, message: &Message, nodes: &[Node]) -> Result<(), String> {
        match message {
            Message::Look { number, once: false } => {
                let (looked, sights) = self.looks.entry(start).or_default();
                if looked != number {
                    (*looked, *sights) = (*number, BTreeMap::new());
                }
                Ok(())
            }
            Message::Lead(plan) | Message::Order(plan) => self.planned(plan, nodes),
            _ => Ok(()),
        }
    }

    fn planned(&mut self, heal: &Heal, nodes: &[Node]) -> Result<(), String> {
        if let Some(known) = self.plans.get(&heal.id) {
            let same = known.heal == *heal;
            return if same { Ok(()) } else { Err(format!("two plans of {}: {:?} and {heal:?}", heal.id, known.heal)) };
        }
        let mut held = Vec::new();
        for node in nodes.iter().filter(|node| node.runs() && heal.nodes.iter().any(|side| side.id == node.id)) {
            merge(&mut held, &node.have);
        }
        self.right_side(heal)?;
        self.plans.insert(heal.id, Planned { heal: heal.clone(), held });
        Ok(())
    }

    /// The side that stays is the one that can commit; if none can, the one with most cores. Its oldest core coordinates.
    fn right_side(&self, heal: &Heal) -> Result<(), String> {
        let mut parts: BTreeMap<u32, BTreeSet<NodeId>> = BTreeMap::new();
        for side in &heal.nodes {
            parts.entry(side.part).or_default().insert(side.id.node_id);
        }
        let empty = BTreeSet::new();
        let stays = parts.get(&0).unwrap_or(&empty);
        let commits = |part: &BTreeSet<NodeId>| {
            let majority = |set: &Vec<NodeId>| set.iter().filter(|id| part.contains(*id)).count() > set.len() / 2;
            self.voters.sets.iter().all(majority)
        };
        let cores = |part: &BTreeSet<NodeId>| part.intersection(&self.cores).count();
        let most = parts.values().map(cores).max().unwrap_or_default();
        let right = if parts.values().any(commits) { commits(stays) } else { cores(stays) == most };
        if !right {
            return Err(format!("the wrong side stays: {heal:?}"));
        }
        let oldest = stays.intersection(&self.cores).min_by_key(|id| self.seniority[*id]);
        if oldest.is_some_and(|id| *id != heal.coordinator.node_id) {
            return Err(format!("the coordinator is not the oldest core of its side: {heal:?}"));
        }
        Ok(())
    }

    fn side(&self, id: HealId, node: &Node) -> Result<Side, String> {
        let heal = &self.plans.get(&id).ok_or_else(|| format!("nobody has planned {id}"))?.heal;
        let side = heal.nodes.iter().find(|side| side.id == node.id);
        side.copied().ok_or_else(|| format!("{id} does not name {:?}", node.id))
    }

    pub(crate) fn asked(&mut self, n: usize, what: &HealRequest, now: Us, nodes: &[Node]) -> Result<(), String> {
        let node = &nodes[n];
        let (HealRequest::Prepare { id } | HealRequest::Exchange { id, .. } | HealRequest::Reboot { id }) = what else {
            return Ok(());
        };
        let side = self.side(*id, node)?;
        let calls = self.calls.entry(node.process).or_default();
        if calls.largest.is_some_and(|largest| largest > *id) {
            return Err(format!("{n} obeys {id} after {:?}", calls.largest));
        }
        calls.largest = Some(*id);
        match what {
            HealRequest::Prepare { .. } => {
                if side.stays() {
                    return Err(format!("{n} prepares although it stays in {id}"));
                }
                if calls.prepared != calls.rebooted {
                    return Err(format!("{n} prepares twice: {calls:?}"));
                }
                calls.prepared += 1;
                self.prepared += 1;
                if !self.ordered {
                    return Err(format!("{n} is healed and nobody said so"));
                }
                if !self.partings.iter().any(|parting| parting.met <= now) {
                    return Err(format!("{n} is healed and nobody has parted"));
                }
            }
            HealRequest::Reboot { .. } => {
                calls.rebooted += 1;
                calls.reboots = true;
                calls.healed = Some(now);
                if calls.prepared != calls.rebooted {
                    return Err(format!("{n} reboots unprepared: {calls:?}"));
                }
            }
            HealRequest::Exchange { .. } | HealRequest::Drop => {}
        }
        Ok(())
    }

    /// The callbacks of a reboot have ended.
    pub(crate) fn reboot_ended(&mut self, process: Guid) {
        self.calls.entry(process).or_default().reboots = false;
    }

    pub(crate) fn told(&mut self, n: usize, told: &Told, nodes: &[Node]) -> Result<(), String> {
        match told {
            Told::Planned { plan, gathered } => {
                self.of_the_latest_views(gathered)?;
                self.planned(plan, nodes)
            }
            Told::Started { plan } => self.planned(plan, nodes),
            Told::Healed { id, .. } => {
                let node = &nodes[n];
                self.side(*id, node)?;
                let planned = &self.plans[id];
                if !node.holds(&planned.held) {
                    return Err(format!("{n} is healed in {id} with {:?} of {:?}", node.have, planned.held));
                }
                self.healed.insert((*id, n));
                let calls = self.calls.entry(node.process).or_default();
                if calls.prepared != calls.rebooted || calls.reboots {
                    return Err(format!("{n} is healed in {id} before its reboot has ended"));
                }
                Ok(())
            }
            Told::Finished { id, healed, .. } => {
                let came = self.healed.iter().filter(|(heal, _)| heal == id).count();
                if came < *healed as usize {
                    return Err(format!("{n} says that {healed} came back in {id}, and {came} did"));
                }
                Ok(())
            }
            Told::Step { .. } | Told::Failed { .. } => Ok(()),
        }
    }

    /// All that holds in the end, when everything is at rest.
    pub(crate) fn end(&self, nodes: &[Node]) -> Result<(), String> {
        for (n, node) in nodes.iter().enumerate().filter(|(_, node)| node.runs()) {
            let calls = self.calls[&node.process];
            if calls.prepared != calls.rebooted {
                return Err(format!("{n} has prepared and not rebooted: {calls:?}"));
            }
        }
        match self.partings.iter().find(|parting| !self.is_answered(parting, nodes)) {
            Some(parting) => Err(format!("nobody is healed of {parting:?}")),
            None => Ok(()),
        }
    }

    /// Whether one of the two came back since they met again, or is not there any more.
    fn is_answered(&self, parting: &Parting, nodes: &[Node]) -> bool {
        let (a, b) = parting.nodes;
        let there = |n: usize, process: Guid| nodes[n].runs() && nodes[n].process == process;
        if !there(a, parting.processes.0) || !there(b, parting.processes.1) {
            return true;
        }
        [a, b].iter().any(|n| self.calls[&nodes[*n].process].healed.is_some_and(|at| at >= parting.met))
    }

    /// How often the process of a node was prepared.
    pub(crate) fn prepared_by(&self, node: &Node) -> u64 {
        self.calls.get(&node.process).map_or(0, |calls| calls.prepared)
    }

    /// How often two met again of which one had declared the other down.
    pub(crate) fn partings(&self) -> usize {
        self.partings.len()
    }

    /// The heal with the largest id.
    pub(crate) fn last(&self) -> Option<&Planned> {
        self.plans.values().next_back()
    }
}
