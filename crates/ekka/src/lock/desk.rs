//! The task that keeps the sessions of this process, and asks the group for their locks.
//!
//! All that is asked of it, and all that others say, comes to it in one order. What takes time (a commit, a call to another
//! node) runs beside it, and its end comes in like everything else. Commands may be made twice where an answer was lost: the
//! state machine knows them by session and number.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use ekka_core::id::Incarnation;
use ekka_core::limits::LOCK_TOKENS_LOW;
use ekka_core::lock::{Command, Holder, HolderFaults, HolderInput, SessionId};
use ekka_core::machine::Machine;
use ekka_core::schema::Storage;
use ekka_core::time::{Instant, Now};
use ekka_core::view::View;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tokio_util::task::TaskTracker;

use super::LockError;
use super::asking::commit;
use super::ledger::News;
use super::sessions::{Done, Request, Session, Sessions, Stage, Wanted};
use super::voting::Voting;
use super::way::{Ask, Locks, Take, WaitsFor};
use super::wire::Told;
use crate::env::Clock;
use crate::rpc::Hub;
use crate::table::Here;

/// After so long it is said again that this start has begun.
const START_AGAIN: Duration = Duration::from_secs(1);

/// What a desk is made with.
pub(crate) struct Setup {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) views: watch::Receiver<Arc<View>>,
    /// The group, by a replica of this node or another's.
    pub(crate) here: Arc<Here>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) take: Take,
    pub(crate) max_ttl: Duration,
}

/// See the head.
pub(crate) struct Desk {
    pub(super) locks: Weak<Locks>,
    pub(super) asks: mpsc::UnboundedReceiver<Ask>,
    pub(super) setup: Setup,
    pub(super) me: Incarnation,
    pub(super) view: Arc<View>,
    pub(super) holder: Holder,
    pub(super) sessions: Sessions,
    pub(super) voting: Option<Voting>,
    /// When it is said that this start of the node has begun: what the one before held itself is free then.
    pub(super) start_at: Option<Instant>,
    pub(super) tasks: TaskTracker,
}

impl Desk {
    /// One that is not yet run, and the way to it.
    pub(crate) fn new(setup: Setup) -> (Arc<Locks>, Self) {
        let (to, asks) = mpsc::unbounded_channel();
        let locks = Locks {
            to,
            clock: setup.clock.clone(),
            last: Mutex::new(0),
            max_ttl: setup.max_ttl,
            hub: setup.hub.clone(),
            here: setup.here.clone(),
            views: setup.views.clone(),
            book: Mutex::new(None),
        };
        let (locks, view) = (Arc::new(locks), setup.views.borrow().clone());
        let desk = Self {
            locks: Arc::downgrade(&locks),
            asks,
            me: view.me,
            view,
            setup,
            holder: Holder::new(HolderFaults::default()),
            sessions: Sessions::default(),
            voting: None,
            start_at: Some(Instant::ZERO),
            tasks: TaskTracker::new(),
        };
        (locks, desk)
    }

    /// Until nobody can ask it any more.
    pub(crate) async fn run(mut self) {
        let mut views = self.setup.views.clone();
        views.mark_changed();
        let mut viewed = true;
        loop {
            let now = self.now();
            let pause = self.deadline().map_or(Duration::from_secs(60), |at| at.since(now.mono));
            tokio::select! {
                biased;
                ask = self.asks.recv() => match ask {
                    Some(ask) => {
                        self.take(ask);
                        // What is there already comes in one go.
                        while let Ok(ask) = self.asks.try_recv() {
                            self.take(ask);
                        }
                    }
                    None => return,
                },
                changed = views.changed(), if viewed => match changed {
                    Ok(()) => {
                        let view = views.borrow_and_update().clone();
                        self.viewed(view);
                    }
                    Err(_) => viewed = false,
                },
                () = sleep(pause) => {}
            }
            self.tick();
        }
    }

    pub(super) fn now(&self) -> Now {
        self.setup.clock.now()
    }

    fn deadline(&self) -> Option<Instant> {
        let opens = self.sessions.open.values().filter(|session| !session.is_open && !session.opening);
        let asks = opens.map(|session| session.open_at).chain(self.sessions.due.first().map(|(at, _)| *at));
        let voting = self.voting.as_ref().and_then(|voting| voting.deadline(LOCK_TOKENS_LOW));
        let voting = voting.into_iter().chain(self.start_at);
        asks.chain(self.holder.deadline()).chain(voting).min()
    }

    fn take(&mut self, ask: Ask) {
        let now = self.now();
        match ask {
            Ask::Acquire(wanted) => self.acquire(wanted, now.mono),
            Ask::GiveUp(number) => self.release(number, None),
            Ask::Release(number, done) => self.release(number, done),
            Ask::What(number, reply) => drop(reply.send(self.what_of(number))),
            Ask::Opened { session, result, asked } => self.opened(session, result, asked, now),
            Ask::Acquired { session, number, result } => self.acquired(session, number, result, now.mono),
            Ask::Released { number, result } => self.released(number, result, now.mono),
            Ask::Ledger(news) => self.ledger(news, now),
            Ask::Serves(None) => self.voting = None,
            Ask::Serves(Some((generation, group, book))) => {
                self.voting = Some(Voting::new(self.me.node_id, generation, group, now.mono));
                // What it began with, and what it applied before this was taken in.
                let news = News::of(generation, &book);
                self.voted(generation, |voting, out| voting.happened(&news, now, out));
            }
            Ask::Stands(generation, standing) => {
                self.voted(generation, |voting, out| voting.stands(standing, now, out));
            }
            Ask::Confirmed { generation, round, ok } => {
                self.voted(generation, |voting, out| voting.confirmed(round, ok, now, out));
            }
            Ask::Asked { from, message, reply } => match self.voting.as_ref().map(|voting| voting.generation) {
                Some(generation) => {
                    self.voted(generation, |voting, out| voting.asked(from, message, reply, now, out));
                }
                None => drop(reply.send(Told::Not)),
            },
            Ask::Happened(happened) => happened.into_iter().for_each(|what| self.happened(what, now)),
            Ask::Answered(message) => self.held(HolderInput::Message(message), now),
            Ask::Started(me, done) if me == self.me => {
                self.start_at = (!done).then_some(now.mono + START_AGAIN);
            }
            Ask::Started(..) => {}
            Ask::TokensEnded(generation) => {
                if let Some(voting) = self.voting.as_mut().filter(|voting| voting.generation == generation) {
                    voting.tokens_ended(now.mono);
                }
            }
        }
    }

    fn viewed(&mut self, view: Arc<View>) {
        let now = self.now();
        if view.me != self.me {
            // What was held under the earlier guid is over.
            (self.me, self.start_at) = (view.me, Some(now.mono));
            let sessions: Vec<SessionId> = self.sessions.open.keys().copied().collect();
            for session in sessions {
                self.held(HolderInput::Closed(session), now);
                self.lost(session, now.mono);
            }
        }
        let (leader, voters) = (view.volatile.leader, view.volatile.voters.iter().copied().collect());
        self.view = view;
        self.held(HolderInput::Group { leader, voters }, now);
    }

    fn tick(&mut self) {
        let now = self.now();
        let mut out = Vec::new();
        self.holder.tick(now, &mut out);
        self.holder_gave(out, now);
        if let Some(generation) = self.voting.as_ref().map(|voting| voting.generation) {
            self.voted(generation, |voting, out| voting.tick(now, out));
            self.take_tokens(now.mono);
        }
        self.say_started(now.mono);
        self.ask_what_is_due(now.mono);
    }

    fn say_started(&mut self, now: Instant) {
        if self.start_at.is_none_or(|at| at > now) {
            return;
        }
        self.start_at = Some(now + START_AGAIN);
        // Before it is in a cluster there is nobody to say it to, and it may be in none for long.
        let Some(group) = self.setup.here.group(Storage::Ram).filter(|_| self.view.status.takes_part()) else { return };
        let (me, locks) = (self.me, self.locks.clone());
        self.tasks.spawn(async move {
            let done = commit(Some(group), Command::Started { id: me }).await.is_ok();
            if let Some(locks) = locks.upgrade() {
                let _ = locks.tell(Ask::Started(me, done));
            }
        });
    }

    // ---- what programs want

    fn acquire(&mut self, wanted: Wanted, now: Instant) {
        self.setup.here.wants_locks();
        let Wanted { number, wants, ttl, owner, waits, reply } = wanted;
        if reply.is_closed() {
            return;
        }
        let request = Request::new(wants, (owner, waits), Stage::Wants(reply));
        self.put(number, ttl, request, now);
    }

    /// Puts a request into the session of its time-to-live, which is opened where there is none.
    pub(super) fn put(&mut self, number: u64, ttl: Duration, request: Request, now: Instant) {
        let id = self.sessions.open.iter().find(|(_, session)| session.ttl == ttl).map(|(id, _)| *id);
        let id = id.unwrap_or_else(|| {
            self.sessions.last += 1;
            let id = SessionId { node_id: self.me.node_id, guid: self.me.guid, number: self.sessions.last };
            self.sessions.open.insert(id, Session::new(ttl, now));
            id
        });
        self.sessions.of.insert(number, id);
        if let Some(session) = self.sessions.open.get_mut(&id) {
            session.requests.insert(number, request);
            if session.is_open {
                self.sessions.ask_at(number, now);
            }
        }
    }

    fn release(&mut self, number: u64, done: Option<Done>) {
        let now = self.now().mono;
        let Some((_, session)) = self.sessions.request(number) else {
            if let Some(done) = done {
                let _ = done.send(Err(None));
            }
            return;
        };
        let is_open = session.is_open;
        let Some(request) = session.requests.get_mut(&number) else { return };
        let never_asked = !is_open && matches!(request.stage, Stage::Wants(_));
        request.lost.cancel();
        request.stage = Stage::Ends(done);
        if never_asked {
            self.sessions.forget(number);
        } else {
            self.sessions.ask_at(number, now);
        }
    }

    fn what_of(&mut self, number: u64) -> WaitsFor {
        let Some((_, session)) = self.sessions.request(number) else { return ((None, None), None) };
        let opening = !session.is_open;
        let Some(request) = session.requests.get(&number) else { return ((None, None), None) };
        match &request.waits_for {
            Some((name, holder)) => ((Some(name.clone()), holder.clone()), None),
            None if opening || request.why_not.is_some() => {
                let unasked = || LockError::NoQuorum("the group has not answered".into());
                ((None, None), Some(request.why_not.clone().unwrap_or_else(unasked)))
            }
            None => ((None, None), None),
        }
    }
}
