//! Entries about the cluster as a whole: its beginning, its tokens, its merging, its volatile groups, its recovery.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::absorb::{MergeRecord, leads_into};
use super::command::{Command, Founder, Recovery, Why};
use super::outcome::{Change, Gave, Outcome, Refusal};
use super::state::{Member, Record};
use super::{generation, recover};
use crate::id::{ClusterId, Incarnation, NodeId};
use crate::lease::Agreed;
use crate::limits::{MEMBERS_MAX, MERGED_MAX, RECOVER_PLACES, TOKEN_MAX};
use crate::volatile::{Generation, Proposal, Version};

impl Record {
    /// Carries out one command.
    pub(super) fn carry_out(&mut self, why: &Why, command: &Command, changes: &mut Vec<Change>) -> Outcome {
        match command {
            Command::Found { cluster_id, founders } => return self.found(why, *cluster_id, founders, changes),
            Command::Recover(recovery) => return self.recover(why, recovery, changes),
            Command::DutyDone { .. } => {
                return Outcome::Unknown { words: format!("this version does not know: {}", command.words()) };
            }
            _ if self.cluster.is_none() => {
                return Outcome::refused(Refusal::NotFounded, "this log has no first entry of a cluster yet");
            }
            _ => {}
        }
        match command {
            Command::Admit(who) => self.admit(why, who, changes),
            Command::Returned { id, name, role } => self.returned(why, *id, (name, *role), changes),
            Command::StoreChanged { node_id, from, to } => self.store_changed(*node_id, (*from, *to), changes),
            Command::Gone(entry) => self.gone(entry, changes),
            Command::Remove(out) => self.remove(out, changes),
            Command::RaiseCeiling { by } => self.raise_ceiling(*by, changes),
            Command::TokensFrom { floor } => self.tokens_from(*floor, changes),
            Command::Merging { into, by_word } => self.begin_merging(*into, *by_word, changes),
            Command::Merged { chain } => self.take_in(chain, changes),
            Command::Generation(proposal) => self.next_generation(proposal, changes),
            Command::QuorumRows => self.begin_quorum_rows(),
            Command::Leases { term, agreed } => self.agree(*term, *agreed, changes),
            Command::Schema(bytes) => self.change_schema(bytes, changes),
            Command::Found { .. } | Command::Recover(_) | Command::DutyDone { .. } => unreachable!("answered above"),
        }
    }

    fn found(&mut self, why: &Why, cluster: ClusterId, founders: &[Founder], changes: &mut Vec<Change>) -> Outcome {
        match self.cluster {
            Some(mine) if mine == cluster => return Outcome::already(0),
            Some(mine) => {
                let words = format!("this log is that of cluster {mine}, not of {cluster}");
                return Outcome::refused(Refusal::OtherCluster, words);
            }
            None => {}
        }
        let distinct: BTreeSet<NodeId> = founders.iter().map(|founder| founder.id.node_id).collect();
        if founders.is_empty() || founders.len() > MEMBERS_MAX || distinct.len() < founders.len() {
            let (nodes, entries) = (distinct.len(), founders.len());
            let words = format!("{nodes} nodes in {entries} founders: 1 to {MEMBERS_MAX} are taken, each once");
            return Outcome::refused(Refusal::Senseless, words);
        }
        self.cluster = Some(cluster);
        changes.push(Change::Founded { cluster_id: cluster });
        // One entry, and a place for each of them, in the order in which they are named: the oldest first.
        for (place, founder) in (self.number()..).zip(founders) {
            self.members.insert(founder.id.node_id, seat(founder, place, why));
            changes.push(Change::Admitted { id: founder.id, number: place });
        }
        self.base += founders.len() as u64 - 1;
        Outcome::done(self.number())
    }

    fn raise_ceiling(&mut self, by: u64, changes: &mut Vec<Change>) -> Outcome {
        if let Some(refused) = self.over_by_merging("issues no token") {
            return refused;
        }
        if by == 0 {
            return Outcome::refused(Refusal::Senseless, "no token was asked for");
        }
        let from = self.ceiling;
        let to = from.saturating_add(by);
        if to > TOKEN_MAX {
            let words = format!("tokens stay below {TOKEN_MAX}, {by} more than {from} were asked for");
            return Outcome::refused(Refusal::Full, words);
        }
        self.ceiling = to;
        changes.push(Change::Tokens { floor: self.floor, ceiling: to });
        Outcome::Done { number: self.number(), gave: Gave::Tokens { from, to } }
    }

    fn tokens_from(&mut self, floor: u64, changes: &mut Vec<Change>) -> Outcome {
        if let Some(refused) = self.over_by_merging("issues no token") {
            return refused;
        }
        if floor > TOKEN_MAX {
            return Outcome::refused(
                Refusal::Full,
                format!("tokens stay below {TOKEN_MAX}, and {floor} was to be the first"),
            );
        }
        let lifted = self.lift_floor(floor, changes);
        let (number, gave) = (self.number(), Gave::Tokens { from: self.ceiling, to: self.ceiling });
        if lifted { Outcome::Done { number, gave } } else { Outcome::Already { number: 0, gave } }
    }

    fn begin_merging(&mut self, into: ClusterId, by_word: bool, changes: &mut Vec<Change>) -> Outcome {
        let Some(from) = self.cluster else { return Outcome::refused(Refusal::NotFounded, "no cluster yet") };
        if let Some(record) = self.merging {
            if record.into == into {
                return Outcome::Already { number: 0, gave: Gave::Merge(record) };
            }
            return Outcome::refused(Refusal::Merging, format!("this cluster goes into {} already", record.into));
        }
        if into >= from {
            let words = format!("{into} is not older than {from}: only the younger cluster goes into the older one");
            return Outcome::refused(Refusal::Senseless, words);
        }
        if self.quorum_rows && !by_word {
            let words = "quorum tables have held rows, which are not merged by themselves: `ekka join NODE --absorb`";
            return Outcome::refused(Refusal::HasRows, words);
        }
        let record = MergeRecord { from, into, ceiling: self.ceiling, generation: self.generation };
        self.merging = Some(record);
        changes.push(Change::Merging(record));
        Outcome::Done { number: self.number(), gave: Gave::Merge(record) }
    }

    /// What a cluster that goes into another one does not do any more.
    pub(super) fn over_by_merging(&self, what: &str) -> Option<Outcome> {
        let record = self.merging?;
        Some(Outcome::refused(Refusal::Merging, format!("this cluster goes into {} and {what} any more", record.into)))
    }

    /// Whether these records lead into this cluster and find room.
    pub(super) fn may_follow(&self, chain: &[MergeRecord]) -> Result<(), (Refusal, String)> {
        let Some(mine) = self.cluster else { return Err((Refusal::NotFounded, String::from("no cluster yet"))) };
        leads_into(chain, mine).map_err(|words| (Refusal::BadChain, words))?;
        if let Some(record) = chain.iter().find(|record| record.ceiling > TOKEN_MAX) {
            return Err((
                Refusal::BadChain,
                format!("a ceiling of {} tokens in cluster {}", record.ceiling, record.from),
            ));
        }
        let news = chain.iter().filter(|record| self.merged.get(record.from).is_none()).count();
        if self.merged.len() + news > MERGED_MAX {
            return Err((
                Refusal::Full,
                format!("{MERGED_MAX} clusters have gone into this one: no more are taken in"),
            ));
        }
        Ok(())
    }

    /// Takes records that lead here: tokens begin above what any cluster on the chain may have issued.
    pub(super) fn follow(&mut self, chain: &[MergeRecord], changes: &mut Vec<Change>) {
        let news: Vec<MergeRecord> = chain.iter().copied().filter(|record| self.merged.learn(*record)).collect();
        changes.extend(news.into_iter().map(Change::Merged));
        let highest = chain.iter().map(|record| record.ceiling).max().unwrap_or(0);
        if !self.faults.chain_ceilings_ignored {
            self.lift_floor(highest, changes);
        }
    }

    /// No token below this is issued any more; the floor never falls. Whether it was lower.
    fn lift_floor(&mut self, floor: u64, changes: &mut Vec<Change>) -> bool {
        let lifts = floor > self.floor;
        if lifts {
            self.floor = floor;
            self.ceiling = self.ceiling.max(floor);
            changes.push(Change::Tokens { floor, ceiling: self.ceiling });
        }
        lifts
    }

    fn take_in(&mut self, chain: &[MergeRecord], changes: &mut Vec<Change>) -> Outcome {
        if let Some(refused) = self.over_by_merging("takes in nobody") {
            return refused;
        }
        if chain.is_empty() {
            return Outcome::refused(Refusal::BadChain, "no record to take");
        }
        if let Err((code, words)) = self.may_follow(chain) {
            return Outcome::refused(code, words);
        }
        let before = changes.len();
        self.follow(chain, changes);
        if changes.len() == before { Outcome::already(0) } else { Outcome::done(self.number()) }
    }

    fn next_generation(&mut self, proposal: &Proposal, changes: &mut Vec<Change>) -> Outcome {
        if let Some(refused) = self.over_by_merging("begins no volatile group") {
            return refused;
        }
        let (present, next) = (self.volatile.generation(), &proposal.next);
        if next.number() == 0 || next.sets.is_empty() || next.sets.iter().any(BTreeSet::is_empty) {
            return Outcome::refused(
                Refusal::Senseless,
                "a volatile group has a number above 0 and a voter in each of its sets",
            );
        }
        if present == next {
            return Outcome::already(0);
        }
        let before = present.version;
        if !self.volatile.apply(proposal) {
            if !self.faults.generations_unchecked {
                let (was, wanted) = (proposal.expected, next.version);
                let words = format!(
                    "generation {}.{} is the present one: {}.{} was to follow {}.{}",
                    before.number, before.revision, wanted.number, wanted.revision, was.number, was.revision
                );
                return Outcome::refused(Refusal::Outdated, words);
            }
            self.volatile.replace(next.clone());
        }
        changes.push(if before.number == next.number() {
            Change::VolatileVoters(next.version)
        } else {
            Change::Generation(next.number())
        });
        Outcome::done(self.number())
    }

    fn agree(&mut self, term: u64, agreed: Agreed, changes: &mut Vec<Change>) -> Outcome {
        if let Some(void) = self.of_other_term(term) {
            return void;
        }
        if agreed.given_ms == 0 || agreed.waited_ms < agreed.given_ms {
            return Outcome::refused(Refusal::Senseless, "less is waited for than is given");
        }
        if self.leases.replace(agreed) == Some(agreed) {
            return Outcome::already(0);
        }
        changes.push(Change::Leases(agreed));
        Outcome::done(self.number())
    }

    /// What stands in another term than that in which it was proposed is void.
    pub(super) fn of_other_term(&self, term: u64) -> Option<Outcome> {
        let at = self.applied.term;
        let words = || format!("proposed in term {term}, and it stands in term {at}: it counts in none but its own");
        (term != at).then(|| Outcome::refused(Refusal::Outdated, words()))
    }

    /// The volatile group of a recovered cluster. Those of its voters that are given up were a majority, so nothing of it
    /// is known to be whole; and they may have begun further ones that this log does not hold, whose numbers must not be
    /// met again. Nor may those of another survivor.
    fn recover_volatile(&mut self, survivor: Incarnation, changes: &mut Vec<Change>) {
        let before = self.volatile().number();
        let number = before.saturating_add(recover::volatile_jump(self.generation));
        let version = Version { number, revision: 0 };
        let founders = BTreeSet::from([survivor]);
        let next =
            Generation { version, founders: founders.clone(), sets: vec![founders], from: None, lost: before > 0 };
        self.volatile.replace(next);
        changes.push(Change::Generation(version.number));
    }

    fn begin_quorum_rows(&mut self) -> Outcome {
        if let Some(refused) = self.over_by_merging("takes no write of a quorum table") {
            return refused;
        }
        if core::mem::replace(&mut self.quorum_rows, true) {
            return Outcome::already(0);
        }
        Outcome::done(self.number())
    }

    /// The first entry of a log that goes on with what another one held.
    fn recover(&mut self, why: &Why, recovery: &Recovery, changes: &mut Vec<Change>) -> Outcome {
        let refuse = |code, words: String| Outcome::refused(code, words);
        let before = match Self::from_snapshot(&recovery.snapshot) {
            Ok(before) => before,
            Err(words) => return refuse(Refusal::Senseless, words),
        };
        if let Some(mine) = self.cluster {
            if before.cluster == Some(mine) && self.generation == recovery.generation {
                return Outcome::already(0);
            }
            return refuse(Refusal::OtherCluster, format!("this log has begun already, as that of cluster {mine}"));
        }
        let Founder { id, name, role, store } = &recovery.survivor;
        if before.cluster.is_none() || recovery.generation != generation::next(before.generation, *store) {
            let (wanted, present) = (generation::words(recovery.generation), generation::words(before.generation));
            return refuse(Refusal::Outdated, format!("generation {wanted} does not follow {present}"));
        }
        let known = before.members.get(&id.node_id).is_some_and(|member| member.guid <= id.guid);
        if !known || before.is_over(*id) || recovery.given_up.contains(&id.node_id) {
            return refuse(Refusal::NotMember, format!("{name} is no member that can go on"));
        }
        let (applied, configuration, faults) = (self.applied, self.configuration.clone(), self.faults);
        let base = before.number().saturating_add(RECOVER_PLACES);
        *self = Self { applied, base, configuration, faults, generation: recovery.generation, ..before };
        // An absorption that was under way was one of the majority that is lost: this cluster serves again.
        self.merging = None;
        self.floor = recover::tokens_from(self.ceiling, self.generation);
        self.ceiling = self.floor;
        changes.push(Change::Recovered { generation: self.generation, given_up: recovery.given_up.clone() });
        for node_id in &recovery.given_up {
            self.give_up(*node_id, id.node_id, changes);
        }
        if !self.is_present(*id) {
            self.start_again(why, *id, name, *role, changes);
        }
        for (node_id, member) in &mut self.members {
            // Every other store holds the log that was given up: it counts again when its node has made a new one.
            member.store = (*node_id == id.node_id).then_some(*store);
        }
        self.recover_volatile(*id, changes);
        changes.push(Change::Tokens { floor: self.floor, ceiling: self.ceiling });
        Outcome::done(self.number())
    }
}

fn seat(founder: &Founder, number: u64, why: &Why) -> Member {
    let Founder { id: Incarnation { guid, .. }, name, role, store } = founder;
    Member {
        guid: *guid,
        name: name.clone(),
        role: *role,
        store: Some(*store),
        since: number,
        seniority: number,
        by: why.by(),
    }
}
