//! Wishes on their way into the log: proposed, proposed again, answered.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::command::{Command, Entry, Why};
use super::outcome::{Gave, Outcome, Refusal};
use super::room::{AGAIN, Asked, Durable};
use super::wish::{Next, Verdict, Wish, judge, successor_lost};
use super::{Ask, Failure, Output, Reply};
use crate::id::NodeId;
use crate::limits::WISHES_MAX;
use crate::membership::RemovalCause;
use crate::time::{Instant, Now};

/// How long a wish is tried before whoever has it is told to try again.
pub(super) const WISH_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a successor may take to catch up with whom it is to replace. Until then no other vote moves.
pub const REPLACE_WITHIN: Duration = Duration::from_secs(300);

/// A wish under way.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) wish: Wish,
    pub(super) why: Why,
    /// Of a removal: the place that made the node a member when it was wished. Who has been taken out since, and admitted
    /// anew, is not taken out for it again.
    pub(super) of: Option<u64>,
    /// Fixed at the first try, so that every later one means the same.
    pub(super) command: Option<Command>,
    pub(super) asked: Option<u64>,
    pub(super) again_at: Instant,
    pub(super) until: Option<Instant>,
    /// An answer to this command was lost.
    pub(super) unknown: bool,
    /// It waits for something that an input brings.
    pub(super) waits: bool,
    pub(super) words: String,
}

impl Durable {
    pub(super) fn wish(&mut self, id: u64, wish: Wish, why: Why, now: Now, out: &mut Vec<Output>) {
        if self.wishes.len() >= WISHES_MAX {
            let words = format!("{WISHES_MAX} wishes are under way on this node");
            out.push(Output::Reply { id, reply: Reply::TryAgain { unknown: false, words } });
            return;
        }
        self.supersede(&wish, out);
        let until = wish.timeout().map(|timeout| now.mono + timeout);
        let of = wish.removes().and_then(|(node_id, ..)| self.record.member(node_id)).map(|member| member.since);
        let pending = Pending {
            wish,
            why,
            of,
            command: None,
            asked: None,
            again_at: now.mono,
            until,
            unknown: false,
            waits: false,
            words: String::new(),
        };
        self.wishes.insert(id, pending);
    }

    /// Of two words on who takes the vote of one member the later counts.
    fn supersede(&mut self, wish: &Wish, out: &mut Vec<Output>) {
        let Some((node_id, RemovalCause::Force, successor)) = wish.removes() else { return };
        let earlier = self.wishes.iter().filter(|(_, pending)| {
            let other = pending.wish.removes().filter(|_| pending.command.is_none());
            other.is_some_and(|(id, cause, to)| id == node_id && cause == RemovalCause::Force && to != successor)
        });
        for id in earlier.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.wishes.remove(&id);
            let words = String::from("a later word says who takes the vote");
            out.push(Output::Reply { id, reply: Reply::Refused { code: Some(Refusal::Outdated), words } });
        }
    }

    /// Tries every wish whose time has come.
    pub(super) fn pursue(&mut self, now: Now, out: &mut Vec<Output>) {
        let is_due = |p: &Pending| p.asked.is_none() || p.until.is_some_and(|until| until <= now.mono);
        let ids: Vec<u64> = self.wishes.iter().filter(|(_, pending)| is_due(pending)).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(mut pending) = self.wishes.remove(&id) else { continue };
            let reply = self.try_wish(id, &mut pending, now, out);
            match reply {
                Some(reply) => out.push(Output::Reply { id, reply }),
                None => {
                    self.wishes.insert(id, pending);
                }
            }
        }
    }

    fn try_wish(&mut self, id: u64, pending: &mut Pending, now: Now, out: &mut Vec<Output>) -> Option<Reply> {
        if pending.until.is_some_and(|until| until <= now.mono) {
            if let Some(reply) = self.not_caught_up(pending, out) {
                return Some(reply);
            }
            let unknown = pending.unknown || pending.asked.is_some();
            let words = if pending.words.is_empty() {
                format!(
                    "the group did not answer within {} s",
                    pending.wish.timeout().unwrap_or(WISH_TIMEOUT).as_secs()
                )
            } else {
                pending.words.clone()
            };
            return Some(Reply::TryAgain { unknown, words });
        }
        if pending.asked.is_some() || now.mono < pending.again_at {
            return None;
        }
        if let Some(reply) = self.has_been_taken_out(pending).or_else(|| self.is_given_up(pending, out)) {
            return Some(reply);
        }
        if pending.command.is_none() {
            let facts = &self.facts;
            match pending.wish.next(&self.record, |node_id| facts.get(&node_id).cloned(), self.leads()) {
                Next::Propose(command) => pending.command = Some(command),
                Next::Wait(words) => {
                    (pending.waits, pending.words) = (true, words);
                    return None;
                }
                Next::End(Reply::AskLeader { .. }) => return Some(Reply::AskLeader { leader: self.standing.leader }),
                Next::End(reply) => return Some(reply),
            }
        }
        pending.waits = false;
        let command = pending.command.clone()?;
        let token = self.token(Asked::Wish(id));
        pending.asked = Some(token);
        let entry = Entry { why: pending.why.clone(), command };
        out.push(Output::Ask(Ask::Propose { token, command: entry.encode() }));
        None
    }

    /// A removal is done where its node is a member by a later admission.
    fn has_been_taken_out(&self, pending: &Pending) -> Option<Reply> {
        let (node_id, ..) = pending.wish.removes().filter(|_| pending.command.is_none())?;
        let again = self.record.member(node_id).filter(|member| pending.of.is_some_and(|of| of != member.since))?;
        Some(Reply::Done { number: again.since, gave: Gave::Nothing })
    }

    /// A replacement ends where its successor will not come: whoever asked may not wait any more, so it is kept as a
    /// decision too.
    fn is_given_up(&self, pending: &Pending, out: &mut Vec<Output>) -> Option<Reply> {
        let (old, _, successor) = pending.wish.removes().filter(|_| pending.command.is_none())?;
        let new = successor?;
        let removed = |other: &Pending| other.wish.removes().is_some_and(|(node_id, ..)| node_id == new);
        let leaves = self.facts.get(&new).is_some_and(|fact| fact.leaving) || self.wishes.values().any(removed);
        let (code, words) = successor_lost(&self.record, (old, new), leaves)?;
        Some(Self::keeps_its_vote(old, (code, words), out))
    }

    /// The same where it is up, and too slow.
    fn not_caught_up(&self, pending: &Pending, out: &mut Vec<Output>) -> Option<Reply> {
        let (old, _, successor) = pending.wish.removes().filter(|_| pending.command.is_none())?;
        let new = successor.filter(|new| !self.record.votes(*new))?;
        let name = |id| self.record.name_of(id);
        let words = format!(
            "{} has not caught up within {} s: give another one to take the vote of {}, or none",
            name(new),
            REPLACE_WITHIN.as_secs(),
            name(old)
        );
        Some(Self::keeps_its_vote(old, (Refusal::Outdated, words), out))
    }

    fn keeps_its_vote(old: NodeId, (code, words): (Refusal, String), out: &mut Vec<Output>) -> Reply {
        let evidence = vec![words.clone()];
        let what = format!("node_id {old} keeps its vote");
        let rule = "section 12: nobody is taken out before its successor can vote";
        out.push(Output::Decision { kind: "command", what, rule, evidence });
        Reply::Refused { code: Some(code), words }
    }

    pub(super) fn answered(&mut self, token: u64, result: Result<Vec<u8>, Failure>, now: Now, out: &mut Vec<Output>) {
        let Some(asked) = self.asked.remove(&token) else { return };
        let Asked::Wish(id) = asked else {
            if !matches!(result.as_deref().map(Outcome::decode), Ok(Ok(outcome)) if outcome.holds()) {
                self.again_at = Some(now.mono + AGAIN);
            }
            return;
        };
        let Some(pending) = self.wishes.get_mut(&id).filter(|pending| pending.asked == Some(token)) else { return };
        pending.asked = None;
        let end = match result {
            Ok(bytes) => match (Outcome::decode(&bytes), pending.command.take()) {
                (Ok(outcome), Some(command)) => match judge(&command, outcome) {
                    Verdict::End(reply) => Some(reply),
                    Verdict::LookAgain => {
                        (pending.unknown, pending.again_at) = (false, now.mono + AGAIN);
                        None
                    }
                },
                (Err(error), _) => {
                    let words = format!("an answer that this version does not know ({error})");
                    Some(Reply::TryAgain { unknown: true, words })
                }
                (_, None) => None,
            },
            Err(Failure::NoQuorum(words)) => {
                (pending.again_at, pending.words) = (now.mono + AGAIN, words);
                None
            }
            Err(Failure::Unknown(words)) => {
                pending.unknown = true;
                (pending.again_at, pending.words) = (now.mono + AGAIN, words);
                None
            }
            Err(Failure::Refused(words)) if pending.unknown => Some(Reply::TryAgain { unknown: true, words }),
            Err(Failure::Refused(words)) => Some(Reply::Refused { code: None, words }),
            Err(Failure::Ended(words)) => Some(Reply::TryAgain { unknown: pending.unknown, words }),
        };
        if let Some(reply) = end {
            self.wishes.remove(&id);
            out.push(Output::Reply { id, reply });
        }
    }
}
