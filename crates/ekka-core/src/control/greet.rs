//! What is done with a Hello: judged, held back, let in, or refused; and what this node does when it is refused.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::{CloseCause, ConnId, Control, Message, Output, StopReason, Work, emit};
use crate::autocluster;
use crate::event::EventKind;
use crate::id::{Endpoint, Incarnation};
use crate::identity::{self, Facts, Judgement, Known};
use crate::limits::DETECTION_TIME;
use crate::machine::Machine;
use crate::membership::{self, Lost, Record};
use crate::time::{Instant, Now};
use crate::view::Status;
use crate::wire::{Hello, Lane, Purpose, Refusal, RefusalReason};

/// A newer start that is held back until the older one has answered, ended, or been silent long enough.
#[derive(Clone, Debug)]
pub(super) struct Held {
    hello: Hello,
    addr: String,
    dialed: Option<Endpoint>,
    older: Known,
    nonce: u64,
    pub(super) until: Instant,
}

impl Control {
    fn facts(&self, hello: &Hello, now: Now) -> Facts {
        let known = |record: &Record| Known {
            id: record.id,
            name: record.name.clone(),
            addr: self.conns.addr(record.id.node_id).map_or_else(|| record.endpoint.to_string(), ToString::to_string),
        };
        let live_twin = self
            .conns
            .linked(hello.node_id)
            .filter(|id| id.guid != hello.guid)
            .filter(|id| self.membership.is_heard(id.node_id, DETECTION_TIME, now))
            .map(|id| {
                let addr = self.conns.addr(id.node_id).unwrap_or_default().to_string();
                let name = self.membership.record(id.node_id).map_or_else(|| hello.name.clone(), |r| r.name.clone());
                Known { id, name, addr }
            });
        let name_holder = self
            .membership
            .roster()
            .records
            .values()
            .filter(|r| r.name == hello.name && r.id.node_id != hello.node_id && r.id.node_id != self.me().node_id)
            .find(|r| self.membership.is_running(r.id.node_id))
            .map(known);
        let me = Known { id: self.me(), name: self.setup.name.clone(), addr: self.setup.endpoint.to_string() };
        Facts {
            me,
            live_twin,
            counter: self.counters.get(&hello.node_id).copied(),
            name_holder,
            stale_wins: self.setup.faults.stale_wins,
        }
    }

    /// Answers a Hello, at once or after the older one was asked.
    pub(super) fn greet(
        &mut self,
        conn: ConnId,
        hello: Hello,
        addr: String,
        dialed: Option<Endpoint>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let facts = self.facts(&hello, now);
        match identity::judge(&hello, &addr, &facts) {
            Judgement::Accept => self.let_in(conn, &hello, addr, dialed, now, out),
            Judgement::Refuse(refusal) => self.turn_away(conn, &hello, refusal, now, out),
            Judgement::Hold(older) => {
                let nonce = self.rng.next_u64();
                self.send(older.id.node_id, &Message::AreYouThere { nonce }, out);
                let until = now.mono + DETECTION_TIME;
                self.held.insert(conn, Held { hello, addr, dialed, older, nonce, until });
            }
            Judgement::StopSelf(refusal) => {
                out.push(Output::Verdict {
                    conn,
                    verdict: Err(Refusal::new(RefusalReason::OurSelf, "this newer copy of the directory stops")),
                });
                self.end(StopReason::Refused(refusal), now, out);
            }
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
                RefusalReason::NameConflict => self.membership.holder_of(&hello.name),
                _ => Some(hello.node_id),
            };
            let a = holder.map_or_else(String::new, |id| id.to_string());
            let conflict = EventKind::MemberConflict { name: hello.name.clone(), a, b: hello.node_id.to_string() };
            emit(Some(id), conflict, out);
        }
        out.push(Output::Verdict { conn, verdict: Err(refusal) });
    }

    fn let_in(
        &mut self,
        conn: ConnId,
        hello: &Hello,
        addr: String,
        dialed: Option<Endpoint>,
        now: Now,
        out: &mut Vec<Output>,
    ) {
        let peer = hello.incarnation();
        if let Some(old) = self.conns.linked(peer.node_id)
            && old != peer
        {
            for twin in self.conns.of(peer.node_id) {
                out.push(Output::Close { conn: twin, cause: CloseCause::Superseded });
                self.conns.remove(twin);
            }
            self.unlinked(old, Lost::Replaced);
        }
        let known = self.counters.get(&peer.node_id);
        if known.is_none_or(|(_, guid)| *guid < peer.guid) {
            self.counters.insert(peer.node_id, (hello.start_counter, peer.guid));
            self.persist.wanted = true;
        }
        let mine = self.hello(Purpose::Peer(Lane::Control), now.wall);
        out.push(Output::Verdict { conn, verdict: Ok(Box::new(mine)) });
        let endpoint = Endpoint { host: hello.name.host().clone(), port: hello.listen_port };
        self.clocks.observe(peer.node_id, hello.wall, now.wall, 0);
        self.standing.refusal = None;
        if self.conns.insert(conn, peer, dialed, addr, now.mono) {
            self.work.push_back(Work::Membership(membership::Input::Connected {
                id: peer,
                name: hello.name.clone(),
                endpoint: endpoint.clone(),
            }));
            self.work.push_back(Work::Autocluster(autocluster::Input::Connected(autocluster::Peer {
                id: peer,
                name: hello.name.clone(),
                endpoint,
                role: hello.role,
                software: hello.software.clone(),
            })));
        } else {
            // A second connection beside a silent one: its Hello is a sign of life, and from here on it carries.
            self.work.push_back(Work::Membership(membership::Input::HeardFrom { id: peer }));
        }
        self.dirty = true;
    }

    /// The older one answered: it lives, so every newer one that waits is a copy.
    pub(super) fn twin_answered(&mut self, peer: Incarnation, nonce: u64, now: Now, out: &mut Vec<Output>) {
        let answered: Vec<ConnId> = self
            .held
            .iter()
            .filter(|(_, held)| held.older.id == peer && held.nonce == nonce)
            .map(|(conn, _)| *conn)
            .collect();
        for conn in answered {
            if let Some(held) = self.held.remove(&conn) {
                let refusal = identity::duplicate(&held.older);
                self.turn_away(conn, &held.hello, refusal, now, out);
            }
        }
    }

    /// This process did not run for so long: the older ones had no chance to answer in that time.
    pub(super) fn held_longer(&mut self, by: core::time::Duration) {
        for held in self.held.values_mut() {
            held.until = held.until + by;
        }
    }

    /// The link to the older one ended: it is judged anew.
    pub(super) fn release_held_for(&mut self, older: Incarnation, now: Now, out: &mut Vec<Output>) {
        let free: Vec<ConnId> =
            self.held.iter().filter(|(_, held)| held.older.id == older).map(|(conn, _)| *conn).collect();
        self.judge_again(&free, now, out);
    }

    /// The older one was silent for the detection time: its links go, the newer one comes in.
    pub(super) fn release_held(&mut self, now: Now, out: &mut Vec<Output>) {
        let due: Vec<ConnId> =
            self.held.iter().filter(|(_, held)| held.until <= now.mono).map(|(conn, _)| *conn).collect();
        for conn in &due {
            if let Some(older) = self.held.get(conn).map(|held| held.older.id.node_id) {
                self.drop_links(older, &CloseCause::Silent, out);
            }
        }
        self.judge_again(&due, now, out);
    }

    fn judge_again(&mut self, conns: &[ConnId], now: Now, out: &mut Vec<Output>) {
        for conn in conns {
            if let Some(held) = self.held.remove(conn) {
                self.greet(*conn, held.hello, held.addr, held.dialed, now, out);
            }
        }
    }

    /// Ends this node where the refusal says that it must not go on; whether it did.
    pub(super) fn told_to_stop(&mut self, refusal: &Refusal, now: Now, out: &mut Vec<Output>) -> bool {
        match refusal.reason {
            RefusalReason::DuplicateIdentity | RefusalReason::Superseded => {
                self.end(StopReason::Refused(refusal.clone()), now, out);
                true
            }
            RefusalReason::Restored => {
                self.end(StopReason::Restored(refusal.text.clone()), now, out);
                true
            }
            _ => false,
        }
    }

    /// Checks a newcomer that asks to be admitted, and admits it.
    pub(super) fn admit(&mut self, record: Record, now: Now, out: &mut Vec<Output>) {
        let id = record.id;
        let result = if self.standing.status != Status::Up || !self.standing.quorum.holds() {
            Err((format!("{} has no majority in reach itself", self.setup.name), true))
        } else if self.conns.linked(id.node_id) != Some(id) {
            Err((String::from("this incarnation is not linked here"), true))
        } else {
            let what = format!("admit {} (node_id {}, guid {})", record.name, id.node_id, id.guid);
            let lines = vec![
                format!("asked by {} start {}", record.name, record.start_counter),
                format!("{} of {} voters in reach", self.standing.quorum.in_reach, self.standing.quorum.voters),
            ];
            let rule = "section 8, rule 3: admission (a record of the gossip until the durable group holds it)";
            self.decisions.record(now.wall, "admit", what, rule, lines);
            // The roster with the newcomer is needed in the answer, so this is worked off here and now.
            let mut given = Vec::new();
            self.membership.handle(membership::Input::Admit(record), now, &mut given);
            self.membership_gave(given, now, out);
            Ok(self.membership.roster().clone())
        };
        self.work.push_back(Work::Autocluster(autocluster::Input::Admitted { id, result }));
    }
}
