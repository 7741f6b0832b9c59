//! The part of the desk of a voter, and of whoever leads.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ekka_core::id::NodeId;
use ekka_core::limits::{LOCK_TOKENS_LOW, TOKEN_STEP};
use ekka_core::lock::{Command, Event, KeeperOutput};
use ekka_core::time::{Instant, Now};

use tokio::time::sleep;

use super::asking::commit;
use super::desk::Desk;
use super::ledger::{News, What};
use super::voting::Voting;
use super::way::Ask;
use super::wire::{ASK, Ask as Question, Happened, Told};
use crate::consensus::Group;
use crate::consensus::raft::leads;
use crate::rpc::Call;

/// How long another node may take to take note of what happened.
const NOTE: Duration = Duration::from_secs(2);
/// How often it is told, where it does not.
const NOTES: u32 = 30;

impl Desk {
    /// Lets the part of a voter do something, and does what it wants.
    pub(super) fn voted(&mut self, generation: u64, run: impl FnOnce(&mut Voting, &mut Vec<KeeperOutput>)) {
        let Some(voting) = self.voting.as_mut().filter(|voting| voting.generation == generation) else { return };
        let mut out = Vec::new();
        run(voting, &mut out);
        for output in out {
            match output {
                KeeperOutput::Send { to, message } => voting.answer(to, message),
                KeeperOutput::Confirm { round, term } => {
                    let (group, locks) = (voting.group.clone(), self.locks.clone());
                    self.tasks.spawn(async move {
                        let ok = match group.upgrade() {
                            Some(group) => leads(&group, term).await,
                            None => false,
                        };
                        if let Some(locks) = locks.upgrade() {
                            let _ = locks.tell(Ask::Confirmed { generation, round, ok });
                        }
                    });
                }
                KeeperOutput::Expire { session, term } => {
                    let Some(group) = voting.group.upgrade() else { continue };
                    self.tasks.spawn(async move {
                        // Proposed again where no answer comes.
                        let _ = commit(Some(group), Command::Expire { session, term }).await;
                    });
                }
            }
        }
    }

    pub(super) fn ledger(&mut self, news: News, now: Now) {
        let generation = news.generation;
        self.voted(generation, |voting, out| voting.happened(&news, now, out));
        let What::Events(events) = news.what else { return };
        let mut elsewhere: BTreeMap<NodeId, Vec<Happened>> = BTreeMap::new();
        for what in events.into_iter().filter_map(of_somebody) {
            let node_id = what.session().node_id;
            if node_id == self.me.node_id {
                self.happened(what, now);
            } else if !self.view.volatile.voters.contains(&node_id) {
                elsewhere.entry(node_id).or_default().push(what);
            }
        }
        let leads = self.voting.as_ref().is_some_and(|voting| voting.generation == generation && voting.leads());
        for (node_id, happened) in elsewhere.into_iter().filter(|_| leads) {
            let hub = self.setup.hub.clone();
            self.tasks.spawn(async move {
                // Who waits asks again; who holds what has ended does not, and has to be told.
                for _ in 0..NOTES {
                    let told =
                        Call::new(hub.clone(), node_id, &ASK, &Question::Happened(happened.clone())).deadline(NOTE);
                    if matches!(told.await, Ok(Told::Noted)) {
                        return;
                    }
                    sleep(NOTE).await;
                }
            });
        }
    }

    /// Where this node leads, it has tokens at hand.
    pub(super) fn take_tokens(&mut self, now: Instant) {
        let Some(voting) = &mut self.voting else { return };
        if !voting.wants_tokens(LOCK_TOKENS_LOW, now) {
            return;
        }
        let (generation, group) = (voting.generation, voting.group.clone());
        let (take, locks) = (self.setup.take.clone(), self.locks.clone());
        self.tasks.spawn(async move {
            match take(TOKEN_STEP).await {
                Ok(Range { start: from, end: to }) => {
                    let group = group.upgrade().map(|group| group as Arc<dyn Group>);
                    let committed = commit(group, Command::Tokens { from, to }).await;
                    tracing::debug!(from, to, ?committed, "tokens for locks");
                }
                Err(error) => tracing::debug!(error, "no tokens for locks yet"),
            }
            if let Some(locks) = locks.upgrade() {
                let _ = locks.tell(Ask::TokensEnded(generation));
            }
        });
    }
}

fn of_somebody(event: Event) -> Option<Happened> {
    match event {
        Event::Granted { session, request, held } => Some(Happened::Granted { session, request, held }),
        Event::Ended { session, request, cause } => Some(Happened::Ended { session, request, cause }),
        Event::Over { session, cause } => Some(Happened::Over { session, cause }),
        Event::Opened { .. } | Event::Lost { .. } | Event::TokensWanted { .. } => None,
    }
}
