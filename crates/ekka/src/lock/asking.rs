//! What the desk asks of the group: sessions to be opened, locks to be taken and released.

use std::sync::Arc;
use std::time::Duration;

use ekka_core::lock::{Answer, Command, HolderInput, Refusal, SessionId};
use ekka_core::schema::Storage;
use ekka_core::time::{Instant, Now};
use ekka_core::view::View;
use ekka_core::volatile::state;

use super::LockError;
use super::desk::Desk;
use super::sessions::{Request, Session, Stage};
use super::way::Ask;
use crate::consensus::{Group, GroupError};

/// After so long what could not be proposed is proposed again.
const AGAIN: Duration = Duration::from_millis(250);
/// Tokens come within a moment: who does not wait is let try so often, so long apart.
const TRIES: u32 = 40;
const SOON: Duration = Duration::from_millis(50);
const NOT_READY: &str = "locks are not granted yet: sessions of before may be valid, for `lock.max_ttl` at most";
/// Who waits asks again after so long, should word of its grant have been lost.
const WAITING: Duration = Duration::from_secs(2);

impl Desk {
    pub(super) fn ask_what_is_due(&mut self, now: Instant) {
        let mut commands = Vec::new();
        for (id, session) in &mut self.sessions.open {
            if !session.is_open && !session.opening && session.open_at <= now {
                session.opening = true;
                session.asked.get_or_insert(now);
                commands.push((*id, None, open(*id, session, &self.view)));
            }
        }
        while let Some((_, number)) = self.sessions.due.first().copied().filter(|(at, _)| *at <= now) {
            self.sessions.due.pop_first();
            let Some((id, session)) = self.sessions.request(number).filter(|(_, session)| session.is_open) else {
                continue;
            };
            let floor = session.floor();
            if let Some(request) = session.requests.get_mut(&number)
                && let Some(command) = request.command(id, number, floor)
            {
                request.under_way = true;
                commands.push((id, Some(number), command));
            }
        }
        for (session, number, command) in commands {
            self.propose(session, number, command, now);
        }
    }

    /// Has a command committed, beside this task.
    fn propose(&self, session: SessionId, number: Option<u64>, command: Command, asked: Instant) {
        let (group, locks) = (self.setup.here.group(Storage::Ram), self.locks.clone());
        let releases = matches!(command, Command::Release { .. });
        self.tasks.spawn(async move {
            let result = commit(group, command).await;
            let ask = match number {
                None => Ask::Opened { session, result, asked },
                Some(number) if releases => Ask::Released { number, result },
                Some(number) => Ask::Acquired { session, number, result },
            };
            if let Some(locks) = locks.upgrade() {
                let _ = locks.tell(ask);
            }
        });
    }

    pub(super) fn opened(&mut self, id: SessionId, result: Result<Answer, GroupError>, asked: Instant, now: Now) {
        let Some(session) = self.sessions.open.get_mut(&id) else { return };
        session.opening = false;
        match result {
            Ok(Answer::Done) => {
                session.is_open = true;
                let asked = session.asked.unwrap_or(asked);
                let (ttl, waiting) = (session.ttl, session.requests.keys().copied().collect::<Vec<_>>());
                for number in waiting {
                    self.sessions.ask_at(number, now.mono);
                }
                self.held(HolderInput::Opened { session: id, ttl, asked }, now);
            }
            Ok(Answer::Refused(Refusal::NotReady)) => {
                // Nothing was done.
                (session.open_at, session.asked) = (now.mono + SOON, None);
                let tried = |request: &mut Request| {
                    request.tries += 1;
                    request.tries > TRIES
                };
                let waiting =
                    session.requests.iter_mut().filter_map(|(number, request)| tried(request).then_some(*number));
                let waiting: Vec<u64> = waiting.collect();
                for number in waiting {
                    self.not_asked(number, LockError::NoQuorum(NOT_READY.into()));
                }
            }
            // A later session of this start was committed before, or an earlier answer was lost and it ended since.
            Ok(_) => self.lost(id, now.mono),
            Err(error) => {
                session.open_at = now.mono + AGAIN;
                let error = no_quorum(error);
                let failed: Vec<u64> = session.requests.keys().copied().collect();
                for number in failed {
                    self.not_asked(number, error.clone());
                }
            }
        }
    }

    pub(super) fn acquired(&mut self, id: SessionId, number: u64, result: Result<Answer, GroupError>, now: Instant) {
        let Some((at, session)) = self.sessions.request(number) else { return };
        if at != id {
            return;
        }
        let Some(request) = session.requests.get_mut(&number) else { return };
        request.under_way = false;
        match result {
            Ok(Answer::Granted(held)) => {
                if !session.granted(number, held, now) {
                    self.sessions.ask_at(number, now);
                }
            }
            Ok(Answer::Waits { name, .. }) => {
                let ends = matches!(request.stage, Stage::Ends(_));
                let holder = request.waits_for.take().and_then(|(_, holder)| holder);
                request.waits_for = Some((name, holder));
                self.sessions.ask_at(number, if ends { now } else { now + WAITING });
            }
            Ok(Answer::Busy { name, holder }) => self.fail(number, LockError::Held { name, holder }),
            Ok(Answer::Refused(Refusal::NoSession)) => self.lost(id, now),
            Ok(Answer::Refused(Refusal::NotReady)) if request.tries < TRIES => {
                request.tries += 1;
                self.sessions.ask_at(number, now + SOON);
            }
            Ok(Answer::Refused(Refusal::NotReady)) => {
                self.sessions.ask_at(number, now + AGAIN);
                self.not_asked(number, LockError::NoQuorum(NOT_READY.into()));
            }
            Ok(Answer::Refused(refusal)) => self.fail(number, refused(refusal)),
            Ok(other) => self.fail(number, LockError::Refused(format!("{other:?}"))),
            Err(error) => {
                self.sessions.ask_at(number, now + AGAIN);
                self.not_asked(number, no_quorum(error));
            }
        }
    }

    /// The group could not be asked: who waits goes on, who does not is told.
    fn not_asked(&mut self, number: u64, error: LockError) {
        let Some((_, session)) = self.sessions.request(number) else { return };
        let is_open = session.is_open;
        let Some(request) = session.requests.get_mut(&number) else { return };
        request.why_not = Some(error.clone());
        if !is_open && (matches!(request.stage, Stage::Ends(_)) || !request.waits) {
            // Nothing was asked for it.
            self.fail(number, error);
            return;
        }
        if !request.waits && matches!(request.stage, Stage::Wants(_)) {
            if let Stage::Wants(reply) = std::mem::replace(&mut request.stage, Stage::Ends(None)) {
                let _ = reply.send(Err(error));
            }
        } else if let Stage::Ends(done) = &mut request.stage
            && let Some(done) = done.take()
        {
            let _ = done.send(Err(Some(error)));
        }
    }

    /// A request has ended without a grant.
    fn fail(&mut self, number: u64, error: LockError) {
        match self.sessions.forget(number).map(|request| request.stage) {
            Some(Stage::Wants(reply)) => drop(reply.send(Err(error))),
            Some(Stage::Ends(Some(done))) => drop(done.send(Err(None))),
            Some(Stage::Holds | Stage::Ends(None)) | None => {}
        }
    }

    pub(super) fn released(&mut self, number: u64, result: Result<Answer, GroupError>, now: Instant) {
        let Some((_, session)) = self.sessions.request(number) else { return };
        let Some(request) = session.requests.get_mut(&number) else { return };
        request.under_way = false;
        match result {
            Ok(Answer::Done) => {
                if let Some(Stage::Ends(Some(done))) = self.sessions.forget(number).map(|request| request.stage) {
                    let _ = done.send(Ok(()));
                }
            }
            // It had ended before, by this command or by somebody else's.
            Ok(_) => self.fail(number, LockError::Stopping),
            Err(error) => {
                self.sessions.ask_at(number, now + AGAIN);
                self.not_asked(number, no_quorum(error));
            }
        }
    }
}

fn open(session: SessionId, kept: &Session, view: &View) -> Command {
    let ttl_ms = u64::try_from(kept.ttl.as_millis()).unwrap_or(u64::MAX);
    Command::Open { session, ttl_ms, own: true, label: view.name.to_string() }
}

/// Has a command about locks committed by the volatile group.
pub(super) async fn commit(group: Option<Arc<dyn Group>>, command: Command) -> Result<Answer, GroupError> {
    let none = || GroupError::NoQuorum("the group that keeps locks has not begun here, and none is in reach".into());
    let applied = group.ok_or_else(none)?.propose(state::Command::Lock(command).encode()).await?;
    match state::Answer::decode(&applied.answer) {
        Ok(state::Answer::Lock(answer)) => Ok(answer),
        Ok(other) => Err(GroupError::Unknown(format!("{other:?}"))),
        Err(error) => Err(GroupError::Unknown(error.to_string())),
    }
}

fn no_quorum(error: GroupError) -> LockError {
    match error {
        GroupError::NoQuorum(words) | GroupError::Unknown(words) | GroupError::Ended(words) => {
            LockError::NoQuorum(words)
        }
        other => LockError::NoQuorum(other.to_string()),
    }
}

fn refused(refusal: Refusal) -> LockError {
    LockError::Refused(match refusal {
        Refusal::BadWants => "no lock is wanted, too many at once, or one of them twice".into(),
        Refusal::HeldByOwner(name) => format!("lock {name} is held by the same owner, in another mode"),
        Refusal::OtherPermits { name, of } => {
            format!("semaphore {name} has {of} permits, and another number was named")
        }
        Refusal::Full => "there is no room for another session, request or lock".into(),
        other => format!("{other:?}"),
    })
}
