//! What the commands add up to.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::queue::{Hold, Queue};
use super::session::{Request, Session};
use super::tokens::Tokens;
use super::{Answer, Cause, Command, Event, Held, LockName, Mode, Refusal, SessionId, Want};
use crate::id::{Guid, Incarnation, NodeId};
use crate::limits::{LOCK_REQUESTS_MAX, LOCK_SESSIONS_MAX, LOCK_WANTS_MAX};

/// See the module's head.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct State {
    sessions: BTreeMap<SessionId, Session>,
    locks: BTreeMap<LockName, Queue>,
    /// The latest start of each node, and the largest number of a session that it opened.
    opened: BTreeMap<NodeId, (Guid, u64)>,
    tokens: Tokens,
}

/// One lock, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row<'a> {
    /// Which.
    pub name: &'a LockName,
    /// Who holds it: the session, its label, how, and the token.
    pub holders: Vec<(SessionId, &'a str, Mode, u64)>,
    /// How many wait for it.
    pub waiters: usize,
}

impl State {
    /// Carries out a command that stands in the log under that term.
    pub fn apply(&mut self, term: u64, command: Command, events: &mut Vec<Event>) -> Answer {
        match command {
            Command::Open { session, ttl_ms, own, label } => {
                self.open(session, Session::new(ttl_ms, own, label), events)
            }
            Command::Close { session } => self.close(session, Cause::Closed, events),
            Command::Expire { term: proposed, .. } if proposed != term => Answer::Refused(Refusal::OtherTerm),
            Command::Expire { session, .. } => self.close(session, Cause::Expired, events),
            Command::Started { id } => self.started(id, events),
            Command::Acquire { session, request, wants, owner, again, wait, floor } => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.raise_floor(floor);
                }
                let wanted = Request { wants, owner, again, has: 0 };
                let answer = self.acquire(session, request, wanted, wait, events).unwrap_or_else(Answer::Refused);
                self.remember_refused(session, request, &answer);
                answer
            }
            Command::Release { session, request } => self.release(session, request, events),
            Command::Force { name, .. } => self.force(&name, events),
            Command::Tokens { from, to } => self.take_tokens(from, to, events),
        }
    }

    /// The session's time-to-live in milliseconds, while it is open.
    #[must_use]
    pub fn ttl_ms(&self, session: SessionId) -> Option<u64> {
        self.sessions.get(&session).map(|session| session.ttl_ms)
    }

    /// All that are open.
    pub fn sessions(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.sessions.keys().copied()
    }

    /// What the requests of a session hold that are granted, for an answer to whoever missed the event.
    #[must_use]
    pub fn granted(&self, session: SessionId) -> BTreeMap<u64, Vec<Held>> {
        let requests = self.sessions.get(&session).map(|open| &open.requests);
        let granted = requests.into_iter().flatten().filter(|(_, request)| request.is_granted());
        granted.map(|(number, request)| (*number, self.held(session, *number, request))).collect()
    }

    /// The locks that somebody holds or waits for, in the order of their names.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.locks.iter().map(|(name, queue)| {
            let label = |session| self.sessions.get(&session).map_or("", |open| open.label.as_str());
            let holders = queue.holds.iter().map(|h| (h.session, label(h.session), h.mode, h.token)).collect();
            Row { name, holders, waiters: queue.waiters.len() }
        })
    }

    /// How many numbers may be issued still.
    #[must_use]
    pub fn tokens_left(&self) -> u64 {
        self.tokens.left()
    }

    /// Begins without anybody: what is here was of another authority, whose sessions are over by now. What was opened and
    /// issued stays known.
    pub fn begin_anew(&mut self, events: &mut Vec<Event>) {
        let over = core::mem::take(&mut self.sessions).into_keys();
        events.extend(over.map(|session| Event::Over { session, cause: Cause::Expired }));
        self.locks.clear();
        self.tokens.drop_rest();
    }

    /// The sessions that are open, with their time-to-live in milliseconds.
    pub fn lifetimes(&self) -> impl Iterator<Item = (SessionId, u64)> {
        self.sessions.iter().map(|(id, session)| (*id, session.ttl_ms))
    }

    fn request(&self, id: SessionId, number: u64) -> Option<&Request> {
        self.sessions.get(&id)?.requests.get(&number)
    }

    fn open(&mut self, id: SessionId, session: Session, events: &mut Vec<Event>) -> Answer {
        if self.sessions.contains_key(&id) {
            return Answer::Done;
        }
        let before = self.opened.get(&id.node_id).copied();
        if before.is_some_and(|before| (id.guid, id.number) <= before) {
            return Answer::Refused(Refusal::Over);
        }
        if self.sessions.len() >= LOCK_SESSIONS_MAX {
            return Answer::Refused(Refusal::Full);
        }
        self.opened.insert(id.node_id, (id.guid, id.number));
        events.push(Event::Opened { session: id, ttl_ms: session.ttl_ms });
        self.sessions.insert(id, session);
        Answer::Done
    }

    fn close(&mut self, id: SessionId, cause: Cause, events: &mut Vec<Event>) -> Answer {
        let Some(session) = self.sessions.remove(&id) else { return Answer::Done };
        let mut touched = BTreeSet::new();
        for (number, request) in &session.requests {
            self.take_off(id, *number, request, Some(cause), &mut touched, events);
        }
        events.push(Event::Over { session: id, cause });
        self.pump_all(&touched, events);
        Answer::Done
    }

    fn started(&mut self, id: Incarnation, events: &mut Vec<Event>) -> Answer {
        let before = self.opened.entry(id.node_id).or_insert((id.guid, 0));
        *before = (*before).max((id.guid, 0));
        let over = |(session, open): &(&SessionId, &Session)| {
            open.own && session.node_id == id.node_id && session.guid < id.guid
        };
        let over: Vec<SessionId> = self.sessions.iter().filter(over).map(|(session, _)| *session).collect();
        for session in over {
            self.close(session, Cause::NodeGone, events);
        }
        Answer::Done
    }

    fn acquire(
        &mut self,
        id: SessionId,
        number: u64,
        mut wanted: Request,
        wait: bool,
        events: &mut Vec<Event>,
    ) -> Result<Answer, Refusal> {
        wanted.wants.sort_by(|a, b| a.name.cmp(&b.name));
        let session = self.sessions.get(&id).ok_or(Refusal::NoSession)?;
        if let Some(request) = session.requests.get(&number) {
            let same = (&request.wants, request.owner) == (&wanted.wants, wanted.owner);
            return if same { Ok(self.state_of(id, number)) } else { Err(Refusal::Differs) };
        }
        if session.has_ended(number) {
            return Err(Refusal::Ended);
        }
        if session.requests.len() + session.ended_kept() >= LOCK_REQUESTS_MAX {
            return Err(Refusal::Full);
        }
        self.allowed(id, &wanted)?;
        if let Some(name) = wanted.wants.iter().find(|want| !self.is_free(id, &wanted, want)).map(|want| &want.name)
            && !wait
        {
            return Ok(self.busy(name));
        }
        // Where the tokens do not reach nobody is let in: somebody is to wait for them rather than to hold a part.
        if !wait && self.tokens_left() < wanted.wants.len() as u64 {
            events.push(Event::TokensWanted { left: self.tokens_left() });
            return Err(Refusal::NotReady);
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.requests.insert(number, wanted);
        }
        self.advance(id, number, events);
        Ok(self.state_of(id, number))
    }

    /// A request that was answered in the negative has ended: a copy of it that stands later in the log holds nothing.
    fn remember_refused(&mut self, id: SessionId, number: u64, answer: &Answer) {
        use Refusal::{BadWants, HeldByOwner, OtherPermits};
        let ends =
            matches!(answer, Answer::Busy { .. } | Answer::Refused(BadWants | HeldByOwner(_) | OtherPermits { .. }));
        if let Some(session) = self.sessions.get_mut(&id).filter(|_| ends) {
            session.end(number);
        }
    }

    /// Whether these can be wanted at all, by whomever and when.
    fn allowed(&self, id: SessionId, wanted: &Request) -> Result<(), Refusal> {
        let twice = wanted.wants.windows(2).any(|two| two[0].name == two[1].name);
        let none = wanted.wants.iter().any(|want| want.mode == Mode::Permit { of: 0 });
        if wanted.wants.is_empty() || wanted.wants.len() > LOCK_WANTS_MAX || twice || none {
            return Err(Refusal::BadWants);
        }
        for Want { name, mode } in &wanted.wants {
            let Some(queue) = self.locks.get(name) else { continue };
            let own = queue.of_owner(id, wanted.owner);
            if own.is_some_and(|hold| !wanted.again || hold.mode != *mode) {
                return Err(Refusal::HeldByOwner(name.clone()));
            }
            let of = |hold: &Hold| match (hold.mode, *mode) {
                (Mode::Permit { of }, Mode::Permit { of: other }) if of != other => Some(of),
                _ => None,
            };
            if let Some(of) = queue.holds.iter().find_map(of) {
                return Err(Refusal::OtherPermits { name: name.clone(), of });
            }
        }
        Ok(())
    }

    fn is_free(&self, id: SessionId, wanted: &Request, want: &Want) -> bool {
        self.locks.get(&want.name).is_none_or(|queue| {
            queue.of_owner(id, wanted.owner).is_some() || queue.waiters.is_empty() && queue.admits(want.mode)
        })
    }

    fn busy(&self, name: &LockName) -> Answer {
        let hold = self.locks.get(name).and_then(|queue| queue.holds.first());
        let holder = hold.and_then(|hold| self.sessions.get(&hold.session)).map(|session| session.label.clone());
        Answer::Busy { name: name.clone(), holder }
    }

    fn held(&self, id: SessionId, number: u64, request: &Request) -> Vec<Held> {
        let token = |name: &LockName| {
            let holds = self.locks.get(name).map(|queue| &queue.holds).into_iter().flatten();
            holds.filter(|hold| hold.session == id && hold.requests.contains(&number)).map(|hold| hold.token).next()
        };
        let names = request.wants.iter().take(request.has).map(|want| &want.name);
        names.filter_map(|name| Some(Held { name: name.clone(), token: token(name)? })).collect()
    }

    /// Where a request that has not ended is.
    fn state_of(&self, id: SessionId, number: u64) -> Answer {
        let Some(request) = self.request(id, number) else {
            return Answer::Refused(Refusal::NoRequest);
        };
        match request.wants.get(request.has) {
            None => Answer::Granted(self.held(id, number, request)),
            Some(want) => {
                let queue = self.locks.get(&want.name);
                let before = queue.and_then(|queue| queue.waiters.iter().position(|waiter| *waiter == (id, number)));
                Answer::Waits { name: want.name.clone(), before: before.unwrap_or(0) as u64 }
            }
        }
    }

    /// Takes one lock after the other, until the request waits or holds them all.
    fn advance(&mut self, id: SessionId, number: u64, events: &mut Vec<Event>) {
        while let Some(request) = request_of(&mut self.sessions, id, number) {
            let Some(want) = request.wants.get(request.has) else { return };
            let queue = self.locks.entry(want.name.clone()).or_default();
            let first = queue.waiters.is_empty();
            if !queue.let_in((id, number), request, first, || self.tokens.issue(events)) {
                queue.waiters.push_back((id, number));
                return;
            }
            request.has += 1;
        }
    }

    /// Lets in who waits for this lock, as far as it goes.
    fn pump(&mut self, name: &LockName, events: &mut Vec<Event>) {
        while let Some(queue) = self.locks.get_mut(name) {
            let Some((id, number)) = queue.waiters.front().copied() else {
                if queue.is_unused() {
                    self.locks.remove(name);
                }
                return;
            };
            let Some(request) = request_of(&mut self.sessions, id, number) else { return };
            if !queue.let_in((id, number), request, true, || self.tokens.issue(events)) {
                return;
            }
            queue.waiters.pop_front();
            request.has += 1;
            self.advance(id, number, events);
            if let Answer::Granted(held) = self.state_of(id, number) {
                events.push(Event::Granted { session: id, request: number, held });
            }
        }
    }

    fn pump_all(&mut self, names: &BTreeSet<LockName>, events: &mut Vec<Event>) {
        for name in names {
            self.pump(name, events);
        }
    }

    /// Takes a request off every lock; with a cause it loses what it holds.
    fn take_off(
        &mut self,
        id: SessionId,
        number: u64,
        request: &Request,
        cause: Option<Cause>,
        touched: &mut BTreeSet<LockName>,
        events: &mut Vec<Event>,
    ) {
        for Want { name, .. } in request.wants.iter().take(request.has + 1) {
            let Some(queue) = self.locks.get_mut(name) else { continue };
            let token = queue.take_off(id, number);
            touched.insert(name.clone());
            if let (Some(token), Some(cause)) = (token, cause) {
                events.push(Event::Lost { session: id, held: Held { name: name.clone(), token }, cause });
            }
        }
    }

    fn release(&mut self, id: SessionId, number: u64, events: &mut Vec<Event>) -> Answer {
        let Some(session) = self.sessions.get_mut(&id) else { return Answer::Refused(Refusal::NoSession) };
        let before = session.has_ended(number);
        if !before && session.ended_kept() >= LOCK_REQUESTS_MAX {
            return Answer::Refused(Refusal::Full);
        }
        let Some(request) = session.end(number) else {
            // It is remembered that it ended, so that a request which comes after its own end does not begin.
            return Answer::Refused(if before { Refusal::Ended } else { Refusal::NoRequest });
        };
        let mut touched = BTreeSet::new();
        self.take_off(id, number, &request, None, &mut touched, events);
        self.pump_all(&touched, events);
        Answer::Done
    }

    fn force(&mut self, name: &LockName, events: &mut Vec<Event>) -> Answer {
        let holds = self.locks.get(name).map(|queue| queue.holds.clone()).unwrap_or_default();
        if holds.is_empty() {
            return Answer::Refused(Refusal::NotHeld);
        }
        let mut touched = BTreeSet::new();
        for (session, number) in
            holds.iter().flat_map(|hold| hold.requests.iter().map(|number| (hold.session, *number)))
        {
            let ended = self.sessions.get_mut(&session).and_then(|open| open.end(number));
            if let Some(request) = ended {
                events.push(Event::Ended { session, request: number, cause: Cause::Forced });
                self.take_off(session, number, &request, Some(Cause::Forced), &mut touched, events);
            }
        }
        self.pump_all(&touched, events);
        Answer::Forced { holders: holds.len() as u64 }
    }

    fn take_tokens(&mut self, from: u64, to: u64, events: &mut Vec<Event>) -> Answer {
        if self.tokens.add(from, to) {
            let waiting: BTreeSet<LockName> = self
                .locks
                .iter()
                .filter(|(_, queue)| !queue.waiters.is_empty())
                .map(|(name, _)| name.clone())
                .collect();
            self.pump_all(&waiting, events);
        }
        Answer::Done
    }

    /// Asserts what the module's head names.
    pub fn check(&self) {
        for (name, queue) in &self.locks {
            assert!(!queue.is_unused(), "{name}: nobody holds it or waits for it");
            let exclusive = queue.holds.iter().filter(|hold| hold.mode == Mode::Exclusive).count();
            assert!(exclusive == 0 || queue.holds.len() == 1, "{name}: an exclusive holder is alone");
            for hold in &queue.holds {
                assert!(self.tokens.is_issued(hold.token), "{name}: a token that was not issued");
                assert!(hold.mode == queue.holds[0].mode, "{name}: all hold it in one mode");
                if let Mode::Permit { of } = hold.mode {
                    assert!(queue.holds.len() as u64 <= u64::from(of), "{name}: more permits than there are");
                }
                for number in &hold.requests {
                    let request = self.request(hold.session, *number);
                    assert!(request.is_some(), "{name}: held by a request that has ended");
                    let wanted = request.and_then(|request| request.wants.iter().find(|want| want.name == *name));
                    assert!(
                        wanted.is_some_and(|want| want.mode == hold.mode),
                        "{name}: held in another mode than wanted"
                    );
                }
            }
            if let Some((session, number)) = queue.waiters.front()
                && let Some(request) = self.request(*session, *number)
            {
                let admitted = queue.admits(request.wants[request.has].mode);
                assert!(!admitted || self.tokens_left() == 0, "{name}: who waits first could be let in");
            }
            for (session, number) in &queue.waiters {
                let request = self.request(*session, *number);
                assert!(
                    request.is_some_and(|request| request.wants[request.has].name == *name),
                    "{name}: waits elsewhere"
                );
            }
        }
        self.tokens.check();
    }
}

fn request_of(sessions: &mut BTreeMap<SessionId, Session>, id: SessionId, number: u64) -> Option<&mut Request> {
    sessions.get_mut(&id)?.requests.get_mut(&number)
}

#[cfg(test)]
mod tests;
