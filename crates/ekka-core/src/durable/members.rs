//! Entries about members: who comes in, starts again, is over, is taken out.
//!
//! Each is checked before it changes anything, and a refused one changes nothing.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::command::{Admission, Proof, Removal, Why};
use super::outcome::{Change, Outcome, Refusal};
use super::state::{Forgotten, Member, Record};
use crate::id::{Guid, Incarnation, NodeId, NodeName};
use crate::lease::GoneEntry;
use crate::limits::MEMBERS_MAX;
use crate::membership::RemovalCause;
use crate::view::Role;

type Refused = (Refusal, String);

impl Record {
    pub(super) fn admit(&mut self, why: &Why, who: &Admission, changes: &mut Vec<Change>) -> Outcome {
        if let Err((code, words)) = self.may_admit(who).and_then(|()| self.may_follow(&who.chain)) {
            return Outcome::refused(code, words);
        }
        // Also where it is a member already: an admission that was repeated may come with records that are news.
        self.follow(&who.chain, changes);
        if let Some(member) = self.members.get(&who.id.node_id) {
            if member.guid == who.id.guid {
                return Outcome::already(member.seniority);
            }
            let outcome = self.start_again(why, who.id, &who.name, who.role, changes);
            if let Some(member) = self.members.get_mut(&who.id.node_id)
                && member.store != who.store
                && who.store.is_some()
            {
                member.store = who.store;
                changes.push(Change::StoreChanged { node_id: who.id.node_id });
            }
            return outcome;
        }
        if let Some(before) = self.forgotten.remove(&who.id.node_id)
            && before.guid < who.id.guid
        {
            self.end(Incarnation { node_id: who.id.node_id, guid: before.guid }, Proof::NewerStart, changes);
        }
        let number = self.number();
        let member = Member {
            guid: who.id.guid,
            name: who.name.clone(),
            role: who.role,
            store: who.store,
            since: number,
            seniority: number,
            by: why.by(),
        };
        self.members.insert(who.id.node_id, member);
        changes.push(Change::Admitted { id: who.id, number });
        Outcome::done(number)
    }

    /// What an admission would come to.
    pub(super) fn try_admit(&mut self, who: &Admission) -> Outcome {
        self.admit(&Why::new(who.id.node_id, 0, Vec::new()), who, &mut Vec::new())
    }

    fn may_admit(&self, who: &Admission) -> Result<(), Refused> {
        if let Some(merging) = self.merging {
            return Err((
                Refusal::Merging,
                format!("this cluster goes into {}, which admits in its place", merging.into),
            ));
        }
        let Incarnation { node_id, guid } = who.id;
        if self.is_over(who.id) {
            let words = format!("guid {guid} of {} is over: it comes back under a new one", who.name);
            return Err((Refusal::Over, words));
        }
        if let Some(member) = self.members.get(&node_id) {
            return if guid < member.guid { Err(superseded(&who.name, guid, member.guid)) } else { Ok(()) };
        }
        match self.forgotten.get(&node_id) {
            Some(out) if guid < out.guid => return Err(superseded(&who.name, guid, out.guid)),
            Some(out) if who.basis < out.number => {
                let words = format!("{} was taken out ({}) after it was to be admitted", who.name, out.cause.as_str());
                return Err((Refusal::Outdated, words));
            }
            Some(out) if out.cause != RemovalCause::Autoclean && !who.asked && who.chain.is_empty() => {
                let cause = out.cause.as_str();
                let words = format!("{} was taken out of this cluster ({cause}): `ekka join` brings it back", who.name);
                return Err((Refusal::TakenOut, words));
            }
            None if who.basis < self.forgotten_up_to => {
                let words = String::from("it was to be admitted before removals that are not remembered any more");
                return Err((Refusal::Outdated, words));
            }
            _ => {}
        }
        if self.members.len() >= MEMBERS_MAX {
            return Err((Refusal::Full, format!("this cluster is full: it has {MEMBERS_MAX} members")));
        }
        Ok(())
    }

    pub(super) fn returned(
        &mut self,
        why: &Why,
        id: Incarnation,
        (name, role): (&NodeName, Role),
        changes: &mut Vec<Change>,
    ) -> Outcome {
        let Some(member) = self.members.get(&id.node_id) else {
            return Outcome::refused(Refusal::NotMember, format!("{name} is no member: it asks to be admitted"));
        };
        if self.is_over(id) {
            let words = format!("guid {} of {name} is over: it comes back under a new one", id.guid);
            return Outcome::refused(Refusal::Over, words);
        }
        if id.guid < member.guid {
            let (code, words) = superseded(name, id.guid, member.guid);
            return Outcome::refused(code, words);
        }
        if id.guid == member.guid {
            return Outcome::already(member.seniority);
        }
        self.start_again(why, id, name, role, changes)
    }

    /// A member has a later start. It keeps its place as a member and loses its seniority.
    pub(super) fn start_again(
        &mut self,
        why: &Why,
        id: Incarnation,
        name: &NodeName,
        role: Role,
        changes: &mut Vec<Change>,
    ) -> Outcome {
        let number = self.number();
        let Some(member) = self.members.get_mut(&id.node_id) else { return Outcome::done(number) };
        let before = Incarnation { node_id: id.node_id, guid: member.guid };
        member.guid = id.guid;
        member.name = name.clone();
        member.role = role;
        member.seniority = number;
        member.by = why.by();
        self.end(before, Proof::NewerStart, changes);
        changes.push(Change::Returned { id, number });
        Outcome::done(number)
    }

    /// A start is over, said once.
    fn end(&mut self, id: Incarnation, proof: Proof, changes: &mut Vec<Change>) {
        if self.is_over(id) {
            return;
        }
        self.over.insert(id.node_id, id.guid);
        changes.push(Change::Ended { id, proof });
    }

    pub(super) fn gone(&mut self, entry: &GoneEntry, changes: &mut Vec<Change>) -> Outcome {
        let (id, proof) = (entry.id, Proof::from(&entry.cause));
        if let Some(void) = self.of_other_term(entry.term) {
            return void;
        }
        if self.is_over(id) {
            return Outcome::already(0);
        }
        let member = self.members.get(&id.node_id).map(|member| member.guid);
        let last = member.or_else(|| self.forgotten.get(&id.node_id).map(|out| out.guid));
        match last {
            None => {
                Outcome::refused(Refusal::NotMember, format!("node_id {} is not, and was not, a member", id.node_id))
            }
            Some(last) if last < id.guid => {
                let words = format!("no start {} of node_id {} was ever admitted", id.guid, id.node_id);
                Outcome::refused(Refusal::Outdated, words)
            }
            Some(_) => {
                self.end(id, proof, changes);
                Outcome::done(self.number())
            }
        }
    }

    pub(super) fn remove(&mut self, out: &Removal, changes: &mut Vec<Change>) -> Outcome {
        let Some(member) = self.members.get(&out.node_id) else {
            return match self.forgotten.get(&out.node_id) {
                Some(before) if before.seniority == out.seniority => Outcome::already(before.number),
                _ => Outcome::refused(Refusal::NotMember, format!("node_id {} is no member", out.node_id)),
            };
        };
        let refuse = |code, words: &str| Outcome::refused(code, format!("{} {words}", member.name));
        if member.seniority != out.seniority {
            return refuse(Refusal::Outdated, "has started again since it was to be taken out");
        }
        if self.members.len() == 1 {
            return refuse(Refusal::Last, "is the only member: there is nobody to leave");
        }
        if self.follows(out.node_id) {
            return refuse(Refusal::Votes, "votes, or learns to: its place in the group goes first");
        }
        let id = Incarnation { node_id: out.node_id, guid: member.guid };
        if out.cause == RemovalCause::Autoclean && !self.is_over(id) {
            return refuse(Refusal::NotOver, "is not gone: only who is gone is cleaned");
        }
        self.forget(out.node_id, out.cause, out.by, changes);
        Outcome::done(self.number())
    }

    /// A member becomes one that was.
    pub(super) fn forget(&mut self, node_id: NodeId, cause: RemovalCause, by: NodeId, changes: &mut Vec<Change>) {
        let number = self.number();
        let Some(member) = self.members.remove(&node_id) else { return };
        let Member { guid, name, seniority, .. } = member;
        self.remember(node_id, Forgotten { guid, name, seniority, number, cause, by });
        changes.push(Change::Removed { node_id, cause, by, number });
    }

    pub(super) fn store_changed(
        &mut self,
        node_id: NodeId,
        (from, to): (Option<u128>, u128),
        changes: &mut Vec<Change>,
    ) -> Outcome {
        let number = self.number();
        let Some(member) = self.members.get_mut(&node_id) else {
            return Outcome::refused(Refusal::NotMember, format!("node_id {node_id} is no member"));
        };
        if member.store == Some(to) {
            return Outcome::already(0);
        }
        if member.store != from {
            let words = format!("{} has another store than the one that was to be replaced", member.name);
            return Outcome::refused(Refusal::Outdated, words);
        }
        member.store = Some(to);
        changes.push(Change::StoreChanged { node_id });
        Outcome::done(number)
    }

    /// A member that is given up by `recover`: its start is over as well, whatever it does behind the cut.
    pub(super) fn give_up(&mut self, node_id: NodeId, by: NodeId, changes: &mut Vec<Change>) {
        if let Some(member) = self.members.get(&node_id) {
            self.end(Incarnation { node_id, guid: member.guid }, Proof::GivenUp, changes);
            self.forget(node_id, RemovalCause::Force, by, changes);
        }
    }
}

fn superseded(name: &NodeName, guid: Guid, by: Guid) -> Refused {
    (Refusal::Superseded, format!("guid {guid} of {name} is older than its start {by}, which is a member"))
}
