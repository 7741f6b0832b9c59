//! What happens: by chance, and at the end in peace.

use std::collections::BTreeSet;
use std::time::Duration;

use ekka_core::durable::{Input, Wish, voters};
use ekka_core::id::{Guid, Incarnation};
use ekka_core::lease::{Cause, GoneEntry};
use ekka_core::limits::TOKEN_STEP;
use ekka_core::membership::RemovalCause;
use ekka_core::view::Role;
use ekka_core::volatile::{Generation, Proposal, Version};

use super::World;

impl World {
    /// One thing happens.
    pub(crate) fn step(&mut self) {
        let n = self.rng.index(self.nodes.len());
        match self.rng.below(28) {
            0 => self.elect(),
            1 => self.stop(n, false),
            2 => self.start(n),
            3 => self.stop(n, true),
            4..=6 => self.want_in(n),
            7..=9 => self.remove(n),
            10..=11 => self.end(n),
            12 => self.want(n, Wish::Tokens(TOKEN_STEP)),
            13 => self.next_generation(n),
            14 => {
                let some = 1 + self.rng.index(4);
                self.apply(n, some, false);
            }
            15 if self.rng.below(4) == 0 => self.apply(n, 0, true),
            16..=19 => self.apply(n, usize::MAX, false),
            20..=21 if self.nodes[n].up => self.give(n, Input::Facts(self.facts())),
            22..=24 => {
                if let Some(leader) = self.leader {
                    self.give(leader, Input::Facts(self.facts()));
                }
            }
            25..=26 => self.tell_standing(),
            _ => {}
        }
        let millis = self.rng.below(400);
        self.pass(Duration::from_millis(millis));
        if self.leader.is_some_and(|leader| !self.nodes[leader].up) {
            self.elect();
        }
    }

    fn want(&mut self, n: usize, wish: Wish) {
        let member = self.nodes[n].room.record().member(self.nodes[n].id.node_id).is_some();
        if self.nodes[n].up && member {
            self.wish(n, wish);
        }
    }

    /// A process ends; whoever waits for its wishes waits no more.
    fn stop(&mut self, n: usize, goodbye: bool) {
        let id = self.nodes[n].id;
        if !self.nodes[n].up {
            return;
        }
        self.nodes[n].up = false;
        for wished in self.wishes.values_mut().filter(|wished| wished.by == (n, id.guid)) {
            wished.moot = true;
        }
        if goodbye {
            let other = self.rng.index(self.nodes.len());
            self.want(other, Wish::Gone(self.ended(id, Cause::Goodbye)));
        }
    }

    fn start(&mut self, n: usize) {
        if self.nodes[n].up {
            return;
        }
        let lost = (self.rng.below(4) == 0).then(|| self.rng.next_u128());
        // A majority that lost its stores has lost the cluster: that is another story (recover).
        let voters = self.truth.configuration().voters.concat();
        let kept = |voter: &&ekka_core::consensus::VoterId| {
            let at = self.index(voter.node_id);
            self.nodes[at].store == voter.start && at != n
        };
        let intact = voters.iter().filter(kept).count() * 2 > voters.len();
        self.restart(n, lost.filter(|_| intact));
    }

    fn want_in(&mut self, n: usize) {
        // Often one that was taken out, so that returns are not rare.
        let out: Vec<usize> = self.removed.keys().map(|id| self.index(*id)).collect();
        let n = if self.rng.below(2) == 0 && !out.is_empty() { out[self.rng.index(out.len())] } else { n };
        let door = self.rng.index(self.nodes.len());
        let asked = self.rng.below(2) == 0;
        if self.nodes[n].up {
            let who = self.admission(n, asked);
            self.want(door, Wish::Admit(who));
        }
    }

    fn remove(&mut self, n: usize) {
        let any = self.rng.index(self.nodes.len());
        // Only the leader can take out who votes or learns.
        let by = self.leader.filter(|_| self.rng.below(4) > 0).unwrap_or(any);
        let (node_id, asked_by) = (self.nodes[n].id.node_id, self.nodes[by].id.node_id);
        let (cause, replace_with) = match self.rng.below(4) {
            0 => (RemovalCause::Force, None),
            1 => (RemovalCause::Force, Some(self.nodes[self.rng.index(self.nodes.len())].id.node_id)),
            2 if !self.nodes[n].up => (RemovalCause::Autoclean, None),
            _ => {
                if self.nodes[n].up {
                    self.nodes[n].leaving = true;
                    self.want(
                        by,
                        Wish::Remove { node_id, cause: RemovalCause::Leave, by: node_id, replace_with: None },
                    );
                }
                return;
            }
        };
        let replace_with = replace_with.filter(|new| *new != node_id);
        self.want(by, Wish::Remove { node_id, cause, by: asked_by, replace_with });
    }

    fn ended(&self, id: Incarnation, cause: Cause) -> GoneEntry {
        GoneEntry { id, term: self.place().term, cause }
    }

    fn end(&mut self, n: usize) {
        if !self.nodes[n].up {
            let (by, id) = (self.rng.index(self.nodes.len()), self.nodes[n].id);
            self.want(by, Wish::Gone(self.ended(id, Cause::Silent { unheard_ms: 15_000, seen_down_by: Vec::new() })));
        }
    }

    fn next_generation(&mut self, n: usize) {
        let expected = self.nodes[n].room.record().volatile().version;
        let version = Version { number: expected.number + 1, revision: 0 };
        let voters = self.truth.voters().into_iter();
        let founders: BTreeSet<Incarnation> =
            voters.map(|voter| Incarnation { node_id: voter.node_id, guid: Guid::from_u128(voter.start) }).collect();
        let sets = vec![founders.clone()];
        let next = Generation { version, founders, sets, from: None, lost: false };
        self.want(n, Wish::Generation(Proposal { expected, next }));
    }

    /// Everything comes back and nothing goes wrong: all must come to rest as it should be.
    pub(crate) fn settle(&mut self) {
        self.calm = true;
        for n in 0..self.nodes.len() {
            self.nodes[n].leaving = false;
            if !self.nodes[n].up {
                self.restart(n, None);
            }
        }
        let patient: Vec<(u64, usize)> =
            self.wishes.iter().filter(|(_, w)| w.reply.is_none() && !w.moot).map(|(id, w)| (*id, w.by.0)).collect();
        for (id, n) in patient {
            // Nobody waits for what was to be taken out any more.
            self.give(n, Input::Withdraw { id });
            if let Some(wished) = self.wishes.get_mut(&id) {
                wished.moot = true;
            }
        }
        self.elect();
        for round in 0..120 {
            for n in 0..self.nodes.len() {
                self.apply(n, usize::MAX, false);
                self.give(n, Input::Facts(self.facts()));
            }
            self.tell_standing();
            self.pass(Duration::from_millis(400));
            if self.leader.is_none() {
                self.elect();
            }
            if round == 60 {
                let door = self.leader.expect("a majority is up");
                self.want(door, Wish::Tokens(TOKEN_STEP));
            }
        }
    }

    /// What must hold when all is quiet.
    pub(crate) fn assert_rest(&mut self, seed: u64) {
        let configuration = self.truth.configuration().clone();
        let members = self.members();
        let role = |n: &usize| self.truth.member(self.nodes[*n].id.node_id).map(|member| member.role);
        let cores = members.iter().filter(|n| role(n) == Some(Role::Core)).count();
        let witnesses = members.iter().filter(|n| role(n) == Some(Role::Witness)).count();
        let wanted = voters::wanted(cores + witnesses.min(cores));
        assert_eq!(configuration.voters.len(), 1, "seed {seed}");
        assert_eq!(configuration.voters[0].len(), wanted, "seed {seed}: {cores} cores, {witnesses} witnesses");
        for n in members {
            let node = &self.nodes[n];
            let member = self.truth.member(node.id.node_id).expect("a member");
            let said = self.truth.is_over(node.id);
            assert!(said || member.guid == node.id.guid, "seed {seed}: {} is back and it is committed", node.name);
            assert!(said || member.store == Some(node.store), "seed {seed}: the store of {}", node.name);
        }
        let open: Vec<_> = self.wishes.iter().filter(|(_, w)| w.reply.is_none() && !w.moot).collect();
        assert!(open.is_empty(), "seed {seed}: wishes without a reply: {open:?}");
    }
}
