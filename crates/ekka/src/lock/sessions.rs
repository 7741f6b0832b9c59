//! The sessions of this process, and what each of its requests waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ekka_core::lock::{Command, Held, LockName, SessionId, Want};
use ekka_core::time::Instant;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::LockError;
use super::guard::Got;

/// What a program asked for.
pub(super) struct Wanted {
    /// Of the request, in this process.
    pub(super) number: u64,
    pub(super) wants: Vec<Want>,
    pub(super) ttl: Duration,
    pub(super) owner: Option<u64>,
    pub(super) waits: bool,
    pub(super) reply: oneshot::Sender<Result<Got, LockError>>,
}

/// Whoever waits for the release; `Err(None)`: it was not held any more.
pub(super) type Done = oneshot::Sender<Result<(), Option<LockError>>>;

/// Where a request is.
pub(super) enum Stage {
    /// It is to be let in, and somebody waits for that.
    Wants(oneshot::Sender<Result<Got, LockError>>),
    /// It is held by a guard.
    Holds,
    /// Nobody wants it any more: it is released as soon as that can be committed.
    Ends(Option<Done>),
}

/// One request.
pub(super) struct Request {
    pub(super) wants: Vec<Want>,
    pub(super) owner: Option<u64>,
    pub(super) waits: bool,
    pub(super) stage: Stage,
    /// A command about it is on its way.
    pub(super) under_way: bool,
    /// For which lock it waits, and whose that is, where that is known.
    pub(super) waits_for: Option<(LockName, Option<String>)>,
    /// How often nobody was let in yet.
    pub(super) tries: u32,
    /// Why the group could not be asked.
    pub(super) why_not: Option<LockError>,
    /// It was lost alone, while its session goes on.
    pub(super) lost: CancellationToken,
}

impl Request {
    pub(super) fn new(wants: Vec<Want>, (owner, waits): (Option<u64>, bool), stage: Stage) -> Self {
        let lost = CancellationToken::new();
        Self { wants, owner, waits, stage, under_way: false, waits_for: None, tries: 0, why_not: None, lost }
    }

    /// What is to be asked of the group for it now.
    pub(super) fn command(&self, session: SessionId, request: u64, floor: u64) -> Option<Command> {
        if self.under_way {
            return None;
        }
        match self.stage {
            Stage::Holds => None,
            Stage::Ends(_) => Some(Command::Release { session, request }),
            Stage::Wants(_) => {
                // Who names no owner is one of its own.
                let owner = self.owner.map_or(request | 1 << 63, |owner| owner & !(1 << 63));
                let (wants, again, wait) = (self.wants.clone(), self.owner.is_some(), self.waits);
                Some(Command::Acquire { session, request, wants, owner, again, wait, floor })
            }
        }
    }
}

/// One session.
pub(super) struct Session {
    pub(super) ttl: Duration,
    /// Until when it is valid; `None` before it is open, and once it is lost.
    pub(super) until: watch::Sender<Option<Instant>>,
    /// It is open.
    pub(super) is_open: bool,
    /// Its opening is on its way.
    pub(super) opening: bool,
    pub(super) open_at: Instant,
    /// When its opening was proposed first: it may have been done then.
    pub(super) asked: Option<Instant>,
    pub(super) requests: BTreeMap<u64, Request>,
}

impl Session {
    pub(super) fn new(ttl: Duration, now: Instant) -> Self {
        let until = watch::Sender::new(None);
        Self { ttl, until, is_open: false, opening: false, open_at: now, asked: None, requests: BTreeMap::new() }
    }

    /// Requests with smaller numbers were answered, and are not made again.
    pub(super) fn floor(&self) -> u64 {
        self.requests.keys().next().copied().unwrap_or(0)
    }

    /// A request was let in. Whether somebody has it now; otherwise it is to be released.
    pub(super) fn granted(&mut self, number: u64, held: Vec<Held>, now: Instant) -> bool {
        let valid = self.until.borrow().is_some_and(|until| until > now);
        let until = self.until.subscribe();
        let Some(request) = self.requests.get_mut(&number) else { return false };
        match std::mem::replace(&mut request.stage, Stage::Ends(None)) {
            Stage::Wants(reply) if valid => {
                let got = Got { number, held, until, lost: request.lost.clone() };
                let taken = reply.send(Ok(got)).is_ok();
                if taken {
                    request.stage = Stage::Holds;
                }
                taken
            }
            Stage::Wants(reply) => {
                let _ = reply.send(Err(LockError::NoQuorum("its session ran out while it was granted".into())));
                false
            }
            Stage::Holds => {
                request.stage = Stage::Holds;
                true
            }
            ends @ Stage::Ends(_) => {
                request.stage = ends;
                false
            }
        }
    }
}

/// The sessions of one process.
#[derive(Default)]
pub(super) struct Sessions {
    pub(super) open: BTreeMap<SessionId, Session>,
    /// In which session each request is.
    pub(super) of: BTreeMap<u64, SessionId>,
    /// When something is asked for a request of a session that is open.
    pub(super) due: BTreeSet<(Instant, u64)>,
    /// The number of the latest session of this start.
    pub(super) last: u64,
}

impl Sessions {
    /// The session and the record of a request.
    pub(super) fn request(&mut self, number: u64) -> Option<(SessionId, &mut Session)> {
        let id = *self.of.get(&number)?;
        Some((id, self.open.get_mut(&id)?))
    }

    /// Something is to be asked for a request from then on; sooner than was said before also.
    pub(super) fn ask_at(&mut self, number: u64, at: Instant) {
        self.due.insert((at, number));
    }

    /// Forgets a request.
    pub(super) fn forget(&mut self, number: u64) -> Option<Request> {
        let id = self.of.remove(&number)?;
        self.open.get_mut(&id)?.requests.remove(&number)
    }
}
