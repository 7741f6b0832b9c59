//! Clients of the lock and writers, outside the voters, each by way of a member.

use super::{Event, MS, Pending, SECOND, SESSION, TOKENS, World};
use crate::volatile_world::durable::Entry as Durable;
use crate::volatile_world::replica::Entry;

impl World {
    pub(super) fn client(&mut self, client: usize) {
        let procs: Vec<usize> = (0..self.procs.len()).filter(|p| self.procs[*p].alive).collect();
        if !procs.is_empty() {
            let via = procs[self.rng.index(procs.len())];
            let write = self.rng.below(3) == 0;
            let asked = self.clock(self.clients[client].fast);
            let holds = self.clients[client].until > asked;
            for to in procs {
                if self.reaches(via, to)
                    && self.replica(to).is_some_and(|replica| replica.leads)
                    && (write || !holds)
                    && let Some(delay) = self.delay()
                {
                    self.after(delay, Event::Ask { client, asked, via, to, write });
                }
            }
        }
        let next = SECOND / 2 + self.rng.below(SECOND);
        self.after(next, Event::Client(client));
    }

    pub(crate) fn ask(&mut self, client: usize, asked: u64, via: usize, to: usize, write: bool) {
        let now = self.of(to);
        let grants_from = self.procs[to].room.may_grant_from();
        let Some(replica) = self.replica(to).filter(|replica| replica.ready()) else { return };
        let (generation, term) = (replica.generation, replica.term);
        if write {
            self.written += 1;
            let number = self.written;
            self.procs[to].replica.as_mut().expect("it leads").log.push((term, Entry::Write(number)));
            return;
        }
        let (token, free) = replica.lock();
        let may = grants_from.is_some_and(|from| from.as_nanos() <= now) && self.procs[to].busy_until <= now;
        let proc = &mut self.procs[to];
        if proc.session.0 != token {
            proc.session = (token, now);
        }
        let replica = proc.replica.as_mut().expect("it leads");
        if !free {
            if now >= proc.session.1 + SESSION {
                replica.log.push((term, Entry::Free(token)));
            }
            return;
        }
        let next = proc.durable.floor.max(token + 1);
        let same = proc.durable.decided.generation().number() == generation;
        if !may || !same {
            return;
        }
        if next >= proc.durable.ceiling {
            let below = next + TOKENS;
            self.after(MS, Event::Append { by: to, entry: Durable::Ceiling { generation, below } });
            return;
        }
        replica.log.push((term, Entry::Grant { client, token: next }));
        let index = replica.log.len();
        proc.pending.push(Pending { index, term, client, asked, via });
    }

    pub(super) fn answer(&mut self, client: usize, asked: u64, via: usize, generation: u64) {
        let proc = &self.procs[via];
        if !proc.alive || proc.durable.decided.generation().number() > generation {
            return;
        }
        let kept = self.of(via) + SESSION;
        self.procs[via].sessions.insert(client, kept);
        // A tenth less, from before it asked.
        let until = asked + SESSION / 10 * 9;
        let clocks: Vec<u64> = self.clients.iter().map(|other| self.clock(other.fast)).collect();
        if until <= clocks[client] {
            return;
        }
        self.clients[client].until = self.clients[client].until.max(until);
        self.grants += 1;
        let holders: Vec<usize> =
            (0..clocks.len()).filter(|other| self.clients[*other].until > clocks[*other]).collect();
        if holders.len() > 1 {
            self.violation = Some(format!("clients {holders:?} hold the lock at once"));
        }
    }
}
