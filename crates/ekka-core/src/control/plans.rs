//! `--plan`, and `force-leave` with what it must know first: the policy of the voters itself says what would be done.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::commands::{Answer, plan};
use super::leave::Forced;
use super::{CommandError, Control, Message, Output, Reply, RequestId};
use crate::durable::plan::{self as durable_plan, Plan};
use crate::durable::voters::Look;
use crate::durable::{Admission, InReach, Record};
use crate::id::{Endpoint, NodeId, NodeName, StoreId};
use crate::membership;
use crate::time::{Instant, Now};

/// How long a member of the other cluster may take to say what would come of a `join`.
const PLAN_TIMEOUT: Duration = Duration::from_secs(2);

/// A plan of `join` that waits for the other side.
#[derive(Debug)]
pub(super) struct PlannedJoin {
    id: RequestId,
    lines: Vec<String>,
    with: String,
    pub(super) until: Instant,
}

impl Control {
    /// Whom this node hears in its cluster.
    pub(super) fn in_reach(&self) -> InReach {
        let me = self.me().node_id;
        let members = self.membership.roster().by_seniority().into_iter();
        let here = |id: &NodeId| *id == me || self.membership.is_running(*id) && self.autocluster.is_with_us(*id);
        self.with_stores(members.filter(here))
    }

    /// These nodes, with the stores that they said last.
    pub(super) fn with_stores(&self, nodes: impl Iterator<Item = NodeId>) -> InReach {
        let me = self.me().node_id;
        let said = |id: NodeId| self.membership.record(id).map(|record| record.store);
        let store = |id: NodeId| if id == me { Some(self.store()) } else { said(id) };
        let known = |id: NodeId| store(id).filter(|store| *store != StoreId::MIN).map(StoreId::as_u128);
        InReach::new(nodes.map(|id| (id, known(id))))
    }

    /// What is committed here, and what the policy looks at.
    fn look(&mut self, now: Now, out: &mut Vec<Output>) -> (Record, Look) {
        self.tell_facts_now(now, out);
        (self.group.durable.record().clone(), self.group.durable.look())
    }

    /// `leave --plan`.
    pub(super) fn plan_leave(&mut self, refused: Option<String>, now: Now, out: &mut Vec<Output>) -> Answer {
        if self.autocluster.cluster_id().is_none() {
            return plan(Vec::new(), refused);
        }
        let me = self.me().node_id;
        let (record, look) = self.look(now, out);
        let found = durable_plan::leave(&record, look, me);
        plan(found.lines, refused.or(found.refused))
    }

    /// `force-leave`, and its plan.
    pub(super) fn force_leave(
        &mut self,
        id: RequestId,
        (node, replace_with): (&str, Option<&str>),
        (alive, only_plan): (bool, bool),
        now: Now,
        out: &mut Vec<Output>,
    ) -> Option<Answer> {
        let found =
            self.resolve(node).and_then(|old| Ok((old, replace_with.map(|new| self.resolve(new)).transpose()?)));
        let (node_id, successor) = match found {
            Ok(found) => found,
            Err(error) => return Some(Err(error)),
        };
        let name = self.name_of(node_id);
        let refused = if node_id == self.me().node_id {
            Some(format!("{name} is this node: use `ekka leave`"))
        } else if self.membership.is_running(node_id) && !alive {
            Some(format!("{name} is up: use `ekka leave` there; --alive to do it all the same"))
        } else if !self.standing.quorum.holds() {
            Some(self.no_majority("remove a member"))
        } else {
            None
        };
        let in_reach = self.in_reach();
        let (record, look) = self.look(now, out);
        let Plan { lines, refused: by_votes } = durable_plan::force_leave(&record, look, node_id, successor, &in_reach);
        let refused = refused.or(by_votes);
        if only_plan {
            return Some(plan(lines, refused));
        }
        if let Some(why) = refused {
            return Some(Err(CommandError::Refused(why)));
        }
        let decision = match successor {
            Some(new) => self.record_command(now, &format!("force-leave {name}, replaced with {}", self.name_of(new))),
            None => self.record_command(now, &format!("force-leave {name}")),
        };
        let forced = Forced { id, node_id, replace_with: successor, decision };
        self.pending.forcing.insert(id, now.mono + forced.timeout());
        self.wish_force(forced, now, out);
        None
    }

    /// `join --plan`: asks the node where it is linked, and dials nobody, since a link alone can change something where
    /// two clusters meet.
    pub(super) fn plan_join(
        &mut self,
        id: RequestId,
        (name, endpoint): (&NodeName, &Endpoint),
        absorb: bool,
        now: Now,
        out: &mut Vec<Output>,
    ) -> Option<Answer> {
        let mut lines = vec![format!("{} goes into the cluster of {name} ({endpoint})", self.setup.name)];
        if let Some(cluster) = self.autocluster.cluster_id().filter(|_| absorb) {
            let members = self.membership.size();
            lines = vec![
                format!("this whole cluster {cluster}, {members} members, goes into that of {name} ({endpoint})"),
                format!("its quorum tables {}", held(self.group.durable.record().quorum_rows())),
                String::from(
                    "from then on it grants no lock and takes no quorum write, and its members follow one by one",
                ),
            ];
        } else if let Some(cluster) = self.autocluster.cluster_id() {
            let me = self.me().node_id;
            let (record, look) = self.look(now, out);
            let members = self.membership.size().saturating_sub(1);
            lines.push(format!("it gives up its present cluster {cluster}, which keeps {members} other members"));
            if members > 0 {
                lines.extend(durable_plan::leave(&record, look, me).lines.into_iter().skip(2));
            }
        }
        let Some(to) = self.conns.named(name).next().map(|(peer, _)| peer.node_id) else {
            lines.push(format!("{name} is not linked here, so what it would say to that is not known"));
            return Some(plan(lines, None));
        };
        let own = self.membership.record(self.me().node_id).cloned();
        let Some(record) = own else {
            return Some(plan(lines, None));
        };
        self.pending.last_nonce += 1;
        let nonce = self.pending.last_nonce;
        let planned = PlannedJoin { id, lines, with: name.to_string(), until: now.mono + PLAN_TIMEOUT };
        self.pending.planned.insert(nonce, planned);
        self.send(to, &Message::MayJoin { nonce, record }, out);
        None
    }

    /// Another node asks what would come of its admission here.
    pub(super) fn may_join(
        &mut self,
        from: NodeId,
        nonce: u64,
        record: membership::Record,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let Plan { mut lines, refused } = match self.autocluster.cluster_id() {
            None => {
                let refused = Some(format!("{} is in no cluster itself", self.setup.name));
                Plan { lines: Vec::new(), refused }
            }
            Some(_) if !self.standing.quorum.holds() => {
                Plan { lines: Vec::new(), refused: Some(self.no_majority("admit a member")) }
            }
            Some(_) => {
                let (own, look) = self.look(now, out);
                let store = (record.store != StoreId::MIN).then(|| record.store.as_u128());
                let (id, name, role) = (record.id, record.name, record.role);
                let who = Admission { id, name, role, store, asked: true, basis: own.number(), chain: Vec::new() };
                durable_plan::admit_and_vote(&own, look, &who)
            }
        };
        if let Some(cluster) = self.autocluster.cluster_id() {
            lines.push(format!("quorum tables of {cluster} {}", held(self.group.durable.record().quorum_rows())));
        }
        self.send(from, &Message::Joinable { nonce, lines, refused }, out);
    }

    /// It has said so.
    pub(super) fn joinable(&mut self, nonce: u64, lines: Vec<String>, refused: Option<String>, out: &mut Vec<Output>) {
        if let Some(mut planned) = self.pending.planned.remove(&nonce) {
            planned.lines.extend(lines);
            out.push(Output::Reply { id: planned.id, result: Ok(Reply::Plan { plan: planned.lines, refused }) });
        }
    }

    /// Ends plans that the other side did not answer.
    pub(super) fn expire_plans(&mut self, now: Now, out: &mut Vec<Output>) {
        let due = self.pending.planned.iter().filter(|(_, planned)| planned.until <= now.mono).map(|(nonce, _)| *nonce);
        for nonce in due.collect::<Vec<_>>() {
            let with = self.pending.planned.get(&nonce).map(|planned| planned.with.clone()).unwrap_or_default();
            let refused = Some(format!("{with} did not answer within {} s", PLAN_TIMEOUT.as_secs()));
            self.joinable(nonce, Vec::new(), refused, out);
        }
    }
}

/// What is known of the rows of a cluster's quorum tables.
fn held(rows: bool) -> &'static str {
    if rows { "hold, or have held, rows" } else { "have never held a row" }
}
