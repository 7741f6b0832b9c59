//! What becomes of the sessions of this process, and of what they hold.

use std::time::Duration;

use ekka_core::id::NodeId;
use ekka_core::lock::{Cause, HolderInput, HolderOutput, Message, SessionId};
use ekka_core::machine::Machine;
use ekka_core::time::{Instant, Now};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::LockError;
use super::desk::Desk;
use super::sessions::{Request, Stage};
use super::way::Ask;
use super::wire::{ASK, Ask as Question, Happened, Told};
use crate::rpc::Call;

/// How long another node may take to answer a renewal.
const RENEWAL: Duration = Duration::from_secs(5);

impl Desk {
    pub(super) fn held(&mut self, input: HolderInput, now: Now) {
        let mut out = Vec::new();
        self.holder.handle(input, now, &mut out);
        self.holder_gave(out, now);
    }

    pub(super) fn holder_gave(&mut self, out: Vec<HolderOutput>, now: Now) {
        for output in out {
            match output {
                HolderOutput::Send { to, message } if to == self.me.node_id => self.ask_here(message, now),
                HolderOutput::Send { to, message } => self.ask_there(to, message),
                HolderOutput::Valid { session, until } => {
                    if let Some(session) = self.sessions.open.get(&session) {
                        session.until.send_replace(Some(until));
                    }
                }
                HolderOutput::Lost { session, .. } => self.lost(session, now.mono),
            }
        }
    }

    /// This node votes itself.
    fn ask_here(&mut self, message: Message, now: Now) {
        let Some(generation) = self.voting.as_ref().map(|voting| voting.generation) else { return };
        let (reply, answer) = oneshot::channel();
        let (from, locks) = (self.me.node_id, self.locks.clone());
        self.tasks.spawn(async move {
            if let (Ok(Ok(Told::Answer(message))), Some(locks)) = (timeout(RENEWAL, answer).await, locks.upgrade()) {
                let _ = locks.tell(Ask::Answered(message));
            }
        });
        self.voted(generation, |voting, out| voting.asked(from, message, reply, now, out));
    }

    fn ask_there(&self, to: NodeId, message: Message) {
        let (hub, locks) = (self.setup.hub.clone(), self.locks.clone());
        self.tasks.spawn(async move {
            let told = Call::new(hub, to, &ASK, &Question::Renew(message)).deadline(RENEWAL).await;
            if let (Ok(Told::Answer(message)), Some(locks)) = (told, locks.upgrade()) {
                let _ = locks.tell(Ask::Answered(message));
            }
        });
    }

    /// A session has ended: what it held is lost, and what waited begins again in another one.
    pub(super) fn lost(&mut self, id: SessionId, now: Instant) {
        let Some(session) = self.sessions.open.remove(&id) else { return };
        self.held(HolderInput::Closed(id), self.now());
        session.until.send_replace(None);
        for (number, request) in session.requests {
            self.sessions.of.remove(&number);
            match request.stage {
                Stage::Wants(reply) if !reply.is_closed() => {
                    let terms = (request.owner, request.waits);
                    let again = Request::new(request.wants, terms, Stage::Wants(reply));
                    self.put(number, session.ttl, again, now);
                }
                Stage::Wants(_) | Stage::Holds | Stage::Ends(None) => {}
                Stage::Ends(Some(done)) => drop(done.send(Err(None))),
            }
        }
    }

    /// What a command of somebody else did to a request of this process.
    pub(super) fn happened(&mut self, what: Happened, now: Now) {
        match what {
            Happened::Granted { session, request, held } => {
                let Some((at, kept)) = self.sessions.request(request) else { return };
                if at == session && !kept.granted(request, held, now.mono) {
                    self.sessions.ask_at(request, now.mono);
                }
            }
            Happened::Ended { session, request, cause } => {
                if self.sessions.of.get(&request) == Some(&session)
                    && let Some(ended) = self.sessions.forget(request)
                {
                    ended.lost.cancel();
                    told_of_end(ended, cause);
                }
            }
            Happened::Over { session, .. } => self.held(HolderInput::Ended(session), now),
        }
    }
}

fn told_of_end(ended: Request, cause: Cause) {
    match ended.stage {
        Stage::Wants(reply) => {
            let text = if cause == Cause::Forced { "an operator took the lock from all" } else { "it has ended" };
            let _ = reply.send(Err(LockError::Refused(text.into())));
        }
        Stage::Ends(Some(done)) => drop(done.send(Err(None))),
        Stage::Holds | Stage::Ends(None) => {}
    }
}
