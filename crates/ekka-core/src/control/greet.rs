//! What is done with a Hello: judged, let in, or refused; and what this node does when it is refused.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::conns::Link;
use super::twins::Arrival;
use super::{CloseCause, ConnId, Control, Message, Output, Setup, StopReason, Work, emit};
use crate::autocluster::{self, Denial};
use crate::durable::absorb::MergeRecord;
use crate::event::EventKind;
use crate::id::{Endpoint, Incarnation, NodeId, StoreId};
use crate::identity::{self, Asked, Claim, Facts, Judgement, Known};
use crate::limits::MEMBERS_MAX;
use crate::membership::{self, Record, RemovalCause};
use crate::time::Now;
use crate::wire::{Hello, HelloTemplate, Lane, Purpose, Refusal, RefusalReason};

impl Control {
    fn facts(&self, hello: &Hello, asked: Option<Asked>) -> Facts {
        let me = Known { id: self.me(), name: self.setup.name.clone(), addr: self.setup.endpoint.to_string() };
        let peer = hello.incarnation();
        let copy = self.membership.roster().is_disproved(peer);
        let original = || {
            let guid = self.membership.record(peer.node_id).map_or(peer.guid, |record| record.id.guid);
            self.known_start(Incarnation { guid, ..peer }, hello.name.clone())
        };
        Facts {
            me,
            mine: self.claim(),
            latest: self.latest_start(hello.node_id),
            linked: self.conns.linked(hello.node_id).filter(|linked| *linked != peer).map(|linked| linked.guid),
            copy_of: copy.then(original),
            asked,
            seated: self.membership.roster().is_member(hello.node_id),
            name_holder: self.name_holder(hello),
            stale_wins: self.setup.faults.stale_wins,
        }
    }

    /// Whether a peer is a member here, or up anywhere.
    fn is_in(&self, node_id: NodeId) -> bool {
        self.membership.roster().is_member(node_id) || self.autocluster.is_up(node_id)
    }

    /// A member that runs, or a peer that is linked, with the claimed name and another node id.
    fn name_holder(&self, hello: &Hello) -> Option<(Known, Claim)> {
        let other = |id: NodeId| id != hello.node_id && id != self.me().node_id;
        let peer = self.conns.named(&hello.name).find(|(id, _)| other(id.node_id)).map(|(id, addr)| {
            let known = Known { id, name: hello.name.clone(), addr: addr.into() };
            (known, Claim { guid: id.guid, is_in: self.is_in(id.node_id), holds: false })
        });
        let member = || {
            let roster = self.membership.roster();
            let runs = |id: NodeId| roster.is_member(id) && self.membership.is_running(id) && !self.conns.is_linked(id);
            let named = roster.records.values().filter(|record| record.name == hello.name && other(record.id.node_id));
            let record = named.into_iter().find(|record| runs(record.id.node_id))?;
            let known = Known { id: record.id, name: record.name.clone(), addr: record.endpoint.to_string() };
            Some((known, Claim { guid: record.id.guid, is_in: true, holds: false }))
        };
        peer.or_else(member)
    }

    /// Answers a Hello, at once or after others were asked.
    pub(super) fn greet(&mut self, arrival: Arrival, asked: Option<Asked>, now: Now, out: &mut Vec<Output>) {
        let facts = self.facts(&arrival.hello, asked);
        let Arrival { conn, hello, addr, .. } = &arrival;
        match identity::judge(hello, addr, &facts) {
            Judgement::Accept => {
                let contested = facts.name_holder.is_some() || facts.asked.as_ref().is_some_and(|a| a.rival.is_some());
                self.welcome(arrival, facts.asked, contested, now, out);
            }
            Judgement::Refuse(refusal) => self.turn_away(*conn, hello, refusal, now, out),
            Judgement::Ask => self.hold(arrival, now, out),
            Judgement::StopSelf(_) => self.welcome(arrival, facts.asked, true, now, out),
        }
    }

    fn turn_away(&mut self, conn: ConnId, hello: &Hello, refusal: Refusal, now: Now, out: &mut Vec<Output>) {
        if matches!(refusal.reason, RefusalReason::DuplicateIdentity | RefusalReason::NameConflict) {
            let lines = vec![format!("hello of {} (guid {}, start {})", hello.name, hello.guid, hello.start_counter)];
            let id = self.decisions.record(
                now.wall,
                "refuse",
                refusal.text.clone(),
                "section 4: certain is only the same disc; a name supersedes nothing",
                lines,
            );
            let holder = match refusal.reason {
                RefusalReason::NameConflict if hello.name == self.setup.name => Some(self.me().node_id),
                RefusalReason::NameConflict => self.name_holder(hello).map(|(holder, _)| holder.id.node_id),
                _ => Some(hello.node_id),
            };
            let a = holder.map_or_else(String::new, |id| id.to_string());
            let conflict = EventKind::MemberConflict { name: hello.name.clone(), a, b: hello.node_id.to_string() };
            emit(Some(id), conflict, out);
        }
        out.push(Output::Verdict { conn, verdict: Err(refusal) });
    }

    /// Lets a peer in. Whoever was dialled had the first word: a connection that this node accepted is a link only with
    /// the first frame on it, since the dialling side may still refuse what it found. So is one whose peer has a better
    /// claim than somebody who is there: its Hello may have been under way for as long as a cut lasted, and its process
    /// be over since. Such a peer is asked on that very connection.
    fn welcome(&mut self, arrival: Arrival, asked: Option<Asked>, contested: bool, now: Now, out: &mut Vec<Output>) {
        let (conn, peer) = (arrival.conn, arrival.hello.incarnation());
        let mine = self.hello(Purpose::Peer(Lane::Control), now.wall);
        out.push(Output::Verdict { conn, verdict: Ok(Box::new(mine)) });
        let Some(endpoint) = &arrival.dialed else {
            return self.twins.welcome(arrival, asked, now.mono);
        };
        let answered = autocluster::Input::Answered { endpoint: endpoint.clone(), node_id: peer.node_id };
        self.work.push_back(Work::Autocluster(answered));
        if self.conns.carries(peer, now.mono) {
            // Another name or address of somebody who is linked. The accepting side has no link on it yet.
            self.conns.note_answer(endpoint, peer.node_id, now.mono);
            out.push(Output::Close { conn, cause: CloseCause::Redundant });
        } else if contested {
            let nonce = self.rng.next_u64();
            Self::send_on(conn, &Message::AreYouThere { nonce }, out);
            self.twins.welcome(arrival, asked, now.mono);
        } else {
            self.link(arrival, now, out);
        }
    }

    /// The first frame on a connection that waited for it: it is a link, if all is as it was at the Hello.
    pub(super) fn confirm(&mut self, conn: ConnId, now: Now, out: &mut Vec<Output>) {
        let Some((arrival, asked)) = self.twins.confirm(conn) else { return };
        let mut facts = self.facts(&arrival.hello, asked);
        // A start that was linked in between was not among those who answered.
        let answered = facts.asked.as_ref().and_then(|asked| asked.rival.as_ref()).map(|(_, claim)| claim.guid);
        if facts.linked.is_some() && facts.linked != answered {
            facts.asked = None;
        }
        match identity::judge(&arrival.hello, &arrival.addr, &facts) {
            Judgement::Accept => self.link(arrival, now, out),
            Judgement::Refuse(refusal) => out.push(Output::Close { conn, cause: CloseCause::Refused(refusal) }),
            // Its next Hello is judged with what is known then.
            Judgement::Ask => out.push(Output::Close { conn, cause: CloseCause::Reset }),
            Judgement::StopSelf(refusal) => self.end(StopReason::Refused(refusal), now, out),
        }
    }

    fn link(&mut self, arrival: Arrival, now: Now, out: &mut Vec<Output>) {
        let Arrival { conn, hello, addr, dialed, at } = arrival;
        let hello = &hello;
        let peer = hello.incarnation();
        self.displace(hello, &addr, out);
        self.displace_name(hello, &addr, out);
        let endpoint = Endpoint { host: hello.name.host().clone(), port: hello.listen_port };
        self.compare_clock(peer.node_id, hello.wall, 0, at, out);
        self.standing.refusal = None;
        let link = Link { peer, name: hello.name.clone(), dialed, addr };
        if self.conns.insert(conn, link, now.mono) {
            self.work.push_back(Work::Membership(membership::Input::Connected {
                id: peer,
                name: hello.name.clone(),
                endpoint: endpoint.clone(),
                start_counter: hello.start_counter,
                heard: at.mono,
            }));
            self.work.push_back(Work::Autocluster(autocluster::Input::Connected(autocluster::Peer {
                id: peer,
                name: hello.name.clone(),
                endpoint,
                role: hello.role,
                software: hello.software.clone(),
                store: StoreId::MIN,
            })));
        } else {
            // A second connection beside a silent one: its Hello is a sign of life, and from here on it carries.
            self.work.push_back(Work::Membership(membership::Input::HeardFrom { id: peer, at: at.mono }));
        }
        self.dirty = true;
        self.release_others(peer);
    }

    /// The links of another start of this node end: it is over, or it is the copy, and is told so.
    fn displace(&mut self, hello: &Hello, addr: &str, out: &mut Vec<Output>) {
        let peer = hello.incarnation();
        let linked = self.conns.linked(peer.node_id).filter(|other| *other != peer);
        if let Some(other) = linked {
            let cause = if other.guid < peer.guid && !hello.holds {
                CloseCause::Superseded
            } else {
                let original = Known { id: peer, name: hello.name.clone(), addr: addr.into() };
                CloseCause::Refused(identity::duplicate(&original))
            };
            self.drop_links(peer.node_id, &cause, out);
        }
        if self.setup.faults.stale_wins {
            return;
        }
        let latest = self.latest_start(peer.node_id).map(|(_, guid)| guid);
        for copy in latest.into_iter().chain(linked.map(|other| other.guid)).filter(|guid| *guid > peer.guid) {
            self.work.push_back(Work::Membership(membership::Input::Disproved { original: peer, copy }));
        }
    }

    /// Whoever is linked under the name of one with the better claim to it is told so.
    fn displace_name(&mut self, hello: &Hello, addr: &str, out: &mut Vec<Output>) {
        let others: Vec<(Incarnation, String)> = self
            .conns
            .named(&hello.name)
            .filter(|(id, _)| id.node_id != hello.node_id)
            .map(|(id, addr)| (id, addr.to_string()))
            .collect();
        let holder = Known { id: hello.incarnation(), name: hello.name.clone(), addr: addr.into() };
        for (id, addr) in others {
            let claim = Hello { node_id: id.node_id, guid: id.guid, ..hello.clone() };
            let refusal = identity::name_conflict(&claim, &addr, &holder);
            self.drop_links(id.node_id, &CloseCause::Refused(refusal), out);
        }
    }

    /// A peer refused this node: it is shown, and ends this node where it must not go on; whether it did.
    pub(super) fn refused_by_peer(&mut self, refusal: &Refusal, now: Now, out: &mut Vec<Output>) -> bool {
        if refusal.reason != RefusalReason::OurSelf {
            self.standing.refusal = Some((refusal.clone(), now.mono));
            self.dirty = true;
        }
        let disputes = self.standing.holds();
        let reason = match refusal.reason {
            // Somebody who was cut off from the others may have taken a copy for this node. A majority hears this one, so
            // it goes on; who refuses it asks them at its next try. Were it the copy, they would leave it one by one.
            RefusalReason::DuplicateIdentity | RefusalReason::Superseded | RefusalReason::Restored if disputes => {
                return false;
            }
            RefusalReason::DuplicateIdentity | RefusalReason::Superseded => StopReason::Refused(refusal.clone()),
            RefusalReason::Restored => StopReason::Restored(refusal.text.clone()),
            _ => return false,
        };
        self.end(reason, now, out);
        true
    }

    /// Checks a newcomer that asks to be admitted, and admits it.
    pub(super) fn admit(
        &mut self,
        record: Record,
        (asked, chain): (bool, Vec<MergeRecord>),
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let id = record.id;
        let seat = self.membership.roster().seats.get(&id.node_id);
        let removed = seat.and_then(|seat| seat.removed).filter(|cause| *cause != RemovalCause::Autoclean);
        if self.is_founder(&record) {
            return self.let_founder_in(record, now, out);
        }
        let result = if !self.standing.status.takes_part() || !self.standing.quorum.holds() {
            Err((format!("{} has no majority in reach itself", self.setup.name), Denial::Later))
        } else if self.conns.linked(id.node_id) != Some(id) {
            Err((String::from("this incarnation is not linked here"), Denial::Later))
        } else if let Some(cause) = removed.filter(|_| !asked) {
            let why = format!(
                "{} was taken out of this cluster ({}): `ekka join {}` there brings it back",
                record.name,
                cause.as_str(),
                self.setup.name
            );
            Err((why, Denial::TakenOut))
        } else if seat.is_none() && self.membership.roster().seats.len() >= MEMBERS_MAX {
            let why = format!("this cluster is full: {MEMBERS_MAX} nodes are, or were, members of it");
            Err((why, Denial::Never))
        } else {
            let what = format!("admit {} (node_id {}, guid {})", record.name, id.node_id, id.guid);
            let lines = vec![
                format!("asked by {} start {}", record.name, record.start_counter),
                format!("{} of {} voters in reach", self.standing.quorum.in_reach, self.standing.quorum.voters),
            ];
            let rule = "section 8, rule 3: admission is a committed entry";
            let decision = self.decisions.record(now.wall, "admit", what, rule, lines.clone());
            return self.wish_admission(record, (asked, chain), decision, lines, now, out);
        };
        self.work.push_back(Work::Autocluster(autocluster::Input::Admitted { id, result }));
    }
}

/// What this node says of itself in every Hello of this start.
pub(super) fn template(setup: &Setup) -> HelloTemplate {
    HelloTemplate {
        software: setup.software.clone(),
        name: setup.name.clone(),
        node_id: setup.identity.node_id,
        guid: setup.identity.guid,
        previous_guid: setup.identity.previous_guid,
        start_counter: setup.identity.start_counter,
        cluster_name: setup.cluster_name.clone(),
        role: setup.role,
        listen_port: setup.endpoint.port,
    }
}
