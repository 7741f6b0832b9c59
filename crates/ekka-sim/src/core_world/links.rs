//! Connections of the world: dials, verdicts, what is carried and what hangs, cuts, ends.

use std::time::Duration;

use ekka_core::control::{CloseCause, ConnId, DialError};
use ekka_core::id::Endpoint;
use ekka_core::limits::{DIAL_TIMEOUT, VERDICT_TIMEOUT};
use ekka_core::wire::{Hello, Lane, Purpose, Refusal};

use super::happening::Happening;
use super::net::{Connection, Delivery, End};
use super::world::{World, end_of};

impl World {
    pub(super) fn end_connections(&mut self, machine: usize) {
        let life = self.machines[machine].life;
        let mine: Vec<usize> = self
            .net
            .connections
            .iter()
            .filter(|(_, c)| c.ends.iter().any(|end| end.machine == machine && end.life == life))
            .map(|(id, _)| *id)
            .collect();
        for conn in mine {
            for side in 0..2 {
                let end = self.net.connections.get(&conn).map(|c| &c.ends[side]);
                if end.is_some_and(|end| end.machine == machine && end.life == life) {
                    self.close_end(conn, side, CloseCause::Reset);
                }
            }
        }
        self.dialing.retain(|(dialer, _), _| *dialer != machine);
    }

    /// Cuts one direction.
    pub fn cut(&mut self, from: usize, to: usize) {
        if self.net.cut.insert((from, to)) {
            self.note(&format!("cut {from}->{to}"));
        }
    }

    /// Repairs one direction; what hung arrives now.
    pub fn mend(&mut self, from: usize, to: usize) {
        if !self.net.cut.remove(&(from, to)) {
            return;
        }
        self.note(&format!("mend {from}->{to}"));
        let ids: Vec<usize> = self.net.connections.keys().copied().collect();
        for conn in ids {
            for side in 0..2 {
                let Some(connection) = self.net.connections.get(&conn) else { continue };
                if connection.ends[side].machine == to && connection.ends[1 - side].machine == from {
                    let hanging = std::mem::take(
                        &mut self.net.connections.get_mut(&conn).expect("it was listed").ends[side].hanging,
                    );
                    // TCP tries again after a while that grew with the length of the cut.
                    let wait = self.rng.up_to(Duration::from_secs(1));
                    for delivery in hanging {
                        self.carry(conn, side, delivery, wait);
                    }
                }
            }
        }
    }

    /// Repairs everything.
    pub fn mend_all(&mut self) {
        for (from, to) in self.net.cut.clone() {
            self.mend(from, to);
        }
    }

    /// A frame for a process that is over: its host answers with a reset.
    pub(super) fn reset_sender(&mut self, machine: usize, conn: usize) {
        if let Some(connection) = self.net.connections.get(&conn) {
            let side = usize::from(connection.ends[1].machine == machine);
            self.close_end(conn, side, CloseCause::Reset);
        }
    }

    pub(super) fn dial_deadline(&mut self, conn: usize) {
        let Some(connection) = self.net.connections.get(&conn) else { return };
        if connection.ends[0].local.is_some() || connection.closed[0] {
            return;
        }
        if connection.ends[1].local.is_some() && !connection.read {
            self.net.connections.entry(conn).and_modify(|connection| connection.read = true);
            return self.at(self.now + VERDICT_TIMEOUT, Happening::DialDeadline { conn });
        }
        let (dialer, life, endpoint) =
            (connection.ends[0].machine, connection.ends[0].life, connection.endpoint.clone());
        if self.machines[dialer].life == life && self.dialing.remove(&(dialer, endpoint.clone())).is_some() {
            self.close_end(conn, 0, CloseCause::Reset);
            self.deliver(dialer, Delivery::DialFailed { endpoint, error: DialError::TimedOut });
        }
    }

    pub(super) fn local(&self, conn: usize, machine: usize) -> Option<ConnId> {
        let connection = self.net.connections.get(&conn)?;
        let life = self.machines[machine].life;
        (0..2)
            .filter(|side| !connection.closed[*side])
            .map(|side| &connection.ends[side])
            .find(|end| end.machine == machine && end.life == life)?
            .local
    }

    pub(super) fn verdict(&mut self, conn: ConnId, verdict: Result<Box<Hello>, Refusal>) {
        let (id, side) = end_of(conn);
        if side == 1 {
            let refused = verdict.is_err();
            self.carry(id, 0, Delivery::Answered { conn: id, answer: verdict }, Duration::ZERO);
            if refused && let Some(connection) = self.net.connections.get_mut(&id) {
                connection.closed[1] = true;
            }
        } else if let Err(refusal) = verdict {
            self.close_end(id, 0, CloseCause::Refused(refusal));
        }
    }

    pub(super) fn dial(&mut self, machine: usize, endpoint: Endpoint) {
        let key = (machine, endpoint.clone());
        if self.dialing.contains_key(&key) {
            return;
        }
        let life = self.machines[machine].life;
        let latency = self.net.latency(&mut self.rng) * 2;
        // Two machines at one address: whoever runs answers.
        let alias = self.net.aliases.get(&endpoint).copied();
        let at = |m: &&usize| self.machines[**m].endpoint == endpoint || alias == Some(**m);
        let all: Vec<usize> = (0..self.machines.len()).collect();
        let target =
            all.iter().filter(at).find(|m| self.machines[**m].process.is_some()).or_else(|| all.iter().find(at));
        let fail = |error| Delivery::DialFailed { endpoint: endpoint.clone(), error };
        let conn = self.net.next;
        self.net.next += 1;
        self.dialing.insert(key, conn);
        if let Some(error) = self.net.strangers.get(&endpoint).map(|stranger| stranger.error()) {
            let wait = if error == DialError::TimedOut { DIAL_TIMEOUT } else { latency };
            self.at(self.now + wait, Happening::Deliver { machine, life, delivery: fail(error) });
            return;
        }
        let Some(&target) = target.filter(|target| self.net.connects(machine, **target)) else {
            let delivery = fail(DialError::TimedOut);
            self.at(self.now + DIAL_TIMEOUT, Happening::Deliver { machine, life, delivery });
            return;
        };
        let Some(process) = &self.machines[machine].process else { return };
        if self.machines[target].process.is_none() {
            let delivery = fail(DialError::Refused);
            self.at(self.now + latency, Happening::Deliver { machine, life, delivery });
            return;
        }
        let hello = process.control.hello(Purpose::Peer(Lane::Control), self.machines[machine].now(self.now).wall);
        let end =
            |machine: usize, life: u64| End { machine, life, local: None, not_before: self.now, hanging: Vec::new() };
        let ends = [end(machine, life), end(target, self.machines[target].life)];
        self.net.connect(conn, Connection { ends, endpoint, closed: [false, false], read: false });
        self.carry(conn, 1, Delivery::Greeting { conn, hello: Box::new(hello) }, latency);
        self.at(self.now + DIAL_TIMEOUT, Happening::DialDeadline { conn });
    }

    /// Brings something to one end of a connection, in order, or lets it hang on a cut.
    pub(super) fn carry(&mut self, conn: usize, side: usize, delivery: Delivery, extra: Duration) {
        let latency = self.net.latency(&mut self.rng) + extra;
        let Some(connection) = self.net.connections.get_mut(&conn) else { return };
        let from = connection.ends[1 - side].machine;
        let end = &mut connection.ends[side];
        if connection.closed[side] {
            return;
        }
        if !end.hanging.is_empty() || self.net.cut.contains(&(from, end.machine)) {
            end.hanging.push(delivery);
            return;
        }
        let when = (self.now + latency).max(end.not_before + Duration::from_nanos(1));
        end.not_before = when;
        let (machine, life) = (end.machine, end.life);
        self.at(when, Happening::Deliver { machine, life, delivery });
    }

    /// One end goes; the other learns it when the network lets it.
    pub(super) fn close_end(&mut self, conn: usize, side: usize, cause: CloseCause) {
        let Some(connection) = self.net.connections.get_mut(&conn) else { return };
        if connection.closed[side] {
            return;
        }
        connection.closed[side] = true;
        if connection.closed == [true, true] {
            self.net.forget(conn);
            return;
        }
        self.carry(conn, 1 - side, Delivery::Closed { conn, cause }, Duration::ZERO);
    }
}
