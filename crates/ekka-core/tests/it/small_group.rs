//! Replicated logs in small: terms, votes with the up-to-date check, commit by an entry of the own term on a majority.
//! Steps are atomic and complete; which are taken, and when, is the world's choice.

use std::fmt::Debug;

/// One voter. An entry without contents is what a leader begins its term with.
#[derive(Clone, Debug)]
pub(crate) struct Replica<E> {
    pub(crate) term: u64,
    pub(crate) leads: bool,
    pub(crate) leader: Option<usize>,
    pub(crate) log: Vec<(u64, Option<E>)>,
    pub(crate) committed: usize,
    pub(crate) applied: usize,
}

impl<E> Default for Replica<E> {
    fn default() -> Self {
        Self { term: 0, leads: false, leader: None, log: Vec::new(), committed: 0, applied: 0 }
    }
}

impl<E: Clone> Replica<E> {
    /// What it knows to be committed and has not applied, with the terms.
    pub(crate) fn take_fresh(&mut self) -> Vec<(u64, Option<E>)> {
        let (from, to) = (self.applied, self.committed.min(self.log.len()));
        self.applied = from.max(to);
        self.log[from.min(to)..to].to_vec()
    }

    fn last(&self) -> (u64, usize) {
        (self.log.last().map_or(0, |entry| entry.0), self.log.len())
    }

    /// Learns of a higher term.
    fn follow(&mut self, term: u64, leader: Option<usize>) {
        if term > self.term {
            (self.term, self.leads, self.leader) = (term, false, leader);
        } else if leader.is_some() {
            self.leader = leader;
        }
    }

    /// Leads, and has applied an entry of its term.
    pub(crate) fn ready(&self) -> bool {
        self.leads && self.log[..self.applied].last().is_some_and(|(term, _)| *term == self.term)
    }
}

pub(crate) struct Group<E> {
    pub(crate) replicas: Vec<Replica<E>>,
    /// Everything that was ever committed, in order.
    pub(crate) committed: Vec<(u64, Option<E>)>,
}

impl<E: Clone + PartialEq + Debug> Group<E> {
    pub(crate) fn new(voters: usize) -> Self {
        Self { replicas: vec![Replica::default(); voters], committed: Vec::new() }
    }

    fn is_majority(&self, count: usize) -> bool {
        count * 2 > self.replicas.len()
    }

    /// `l` stands for election before those; whether it was elected.
    pub(crate) fn elect(&mut self, l: usize, voters: &[usize]) -> bool {
        let term = 1 + voters.iter().chain([&l]).map(|v| self.replicas[*v].term).max().unwrap_or_default();
        let last = self.replicas[l].last();
        let yes: Vec<usize> = voters.iter().copied().filter(|v| *v != l && self.replicas[*v].last() <= last).collect();
        for v in voters.iter().copied().chain([l]) {
            self.replicas[v].follow(term, None);
        }
        if !self.is_majority(yes.len() + 1) {
            return false;
        }
        let replica = &mut self.replicas[l];
        (replica.leads, replica.leader) = (true, Some(l));
        replica.log.push((term, None));
        true
    }

    pub(crate) fn append(&mut self, l: usize, entry: E) {
        let replica = &mut self.replicas[l];
        assert!(replica.leads, "only a leader appends");
        replica.log.push((replica.term, Some(entry)));
    }

    /// Brings the log of `v` to that of `l`, unless `v` knows a higher term, which `l` then hears of.
    pub(crate) fn replicate(&mut self, l: usize, v: usize) {
        let (term, committed) = (self.replicas[l].term, self.replicas[l].committed);
        // Logs that agree on an entry agree on all before it (log matching).
        let (ahead, behind) = (&self.replicas[l].log, &self.replicas[v].log);
        let both = ahead.len().min(behind.len());
        let agreed = (0..both).rev().find(|n| ahead[*n].0 == behind[*n].0).map_or(0, |n| n + 1);
        let rest = ahead[agreed..].to_vec();
        let follower = &mut self.replicas[v];
        if follower.term > term {
            let term = follower.term;
            self.replicas[l].follow(term, None);
            return;
        }
        follower.follow(term, Some(l));
        follower.log.truncate(agreed);
        follower.log.extend(rest);
        follower.committed = follower.committed.max(committed);
    }

    /// Whether `v` knows no higher term than that of `l`.
    pub(crate) fn probe(&mut self, l: usize, term: u64, v: usize) -> Result<(), u64> {
        let follower = &mut self.replicas[v];
        if follower.term > term {
            return Err(follower.term);
        }
        follower.follow(term, Some(l));
        Ok(())
    }

    pub(crate) fn hear(&mut self, l: usize, term: u64) {
        self.replicas[l].follow(term, None);
    }

    /// Commits what a majority holds; the entries that are new to the whole world.
    pub(crate) fn advance(&mut self, l: usize) -> Vec<(u64, Option<E>)> {
        let leader = &self.replicas[l];
        let term_at = |replica: &Replica<E>, n: usize| replica.log.get(n - 1).map(|entry| entry.0);
        let held = |n: usize| self.replicas.iter().filter(|other| term_at(other, n) == term_at(leader, n)).count();
        let own = (leader.committed + 1..=leader.log.len()).rev();
        let Some(n) = own.filter(|n| leader.log[n - 1].0 == leader.term).find(|n| self.is_majority(held(*n))) else {
            return Vec::new();
        };
        let log = &leader.log;
        let known = self.committed.len().min(n);
        // What this leader knew to be committed was compared when it was.
        let from = leader.committed.min(known);
        assert_eq!(self.committed[from..known], log[from..known], "the group of this world is broken");
        let fresh = log[known..n].to_vec();
        self.replicas[l].committed = n;
        self.committed.extend(fresh.clone());
        fresh
    }
}
