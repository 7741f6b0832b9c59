//! Answers the requests of other voters.

use std::sync::Arc;

use ekka_core::consensus::VoterId;
use ekka_core::consensus::campaign::Sign;
use tokio::sync::Semaphore;

use super::campaign::Event;
use super::message::{Body, Notice, Piece, Proposed, Reply, Request};
use super::owed;
use super::proposer::{self, Proposals};
use super::reads::{self, Readers};
use super::router::Replica;
use super::shared::{Shared, lock};
use super::transfer;
use super::types::Vote;

/// The serving side of one replica.
pub(super) struct Server {
    pub(super) shared: Arc<Shared>,
    pub(super) proposals: Proposals,
    pub(super) readers: Readers,
    /// Requests that are worked on at once.
    pub(super) room: Arc<Semaphore>,
    /// Of these, from leaders: one that sends again what is still written must not fill the engine's queue.
    pub(super) appends: Arc<Semaphore>,
}

impl Replica for Server {
    fn request(&self, from: VoterId, number: u64, request: Request) {
        if self.shared.stop.is_cancelled() {
            return;
        }
        let room = match request {
            Request::Append { .. } | Request::Vote(_) | Request::Install { .. } => &self.appends,
            Request::Propose { .. } | Request::ReadIndex { .. } | Request::HandOut(_) => &self.room,
        };
        // A request that finds no room is lost; its sender asks again.
        let Ok(permit) = room.clone().try_acquire_owned() else { return };
        if let Request::Append { rpc, has_majority } = &request
            && !self.listen(&rpc.vote, *has_majority)
        {
            return;
        }
        let (shared, proposals, readers) = (self.shared.clone(), self.proposals.clone(), self.readers.clone());
        self.shared.tasks.spawn(async move {
            let _permit = permit;
            let reply = tokio::select! {
                biased;
                () = shared.stop.cancelled() => return,
                reply = answer(&shared, &proposals, &readers, from, request) => reply,
            };
            if matches!(reply, Reply::Proposed(_) | Reply::ReadIndex(_)) {
                // Whoever gets this may wait for its own replica to be as far. Rounds of readers go to voters only.
                owed::now(&shared, from);
            }
            // Lost where the link has ended meanwhile.
            let _ = shared.router.send(shared.group, shared.me, from, Body::Reply(number, reply));
        });
    }

    fn notice(&self, from: VoterId, notice: Notice) {
        if self.shared.stop.is_cancelled() {
            return;
        }
        if let Notice::Credit { transfer, taken } = notice {
            self.shared.transfers.credit(transfer, taken);
        } else {
            let _ = self.shared.events.try_send(Event::Notice(from, notice));
        }
    }

    fn piece(&self, piece: Piece) {
        self.shared.transfers.take(&piece);
    }
}

impl Server {
    /// Notes a sign of life; whether the engine is to get what came with it.
    fn listen(&self, vote: &Vote, has_majority: bool) -> bool {
        let Some(leader) = vote.leader_id.voted_for() else { return false };
        let sign = Sign { leader, term: vote.leader_id.term, has_majority };
        let listens = lock(&self.shared.campaign).listens_to(&sign, self.shared.clock.now().mono);
        if listens {
            let _ = self.shared.events.try_send(Event::Heard(sign));
        }
        listens
    }
}

async fn answer(
    shared: &Arc<Shared>,
    proposals: &Proposals,
    readers: &Readers,
    from: VoterId,
    request: Request,
) -> Reply {
    let Some(raft) = shared.raft() else { return Reply::Failed("the replica is starting".into()) };
    match request {
        Request::Append { rpc, .. } => match raft.append_entries(rpc).await {
            Ok(response) => Reply::Append(response),
            Err(error) => Reply::Failed(error.to_string()),
        },
        Request::Vote(rpc) => match raft.vote(rpc).await {
            Ok(response) => Reply::Vote(response),
            Err(error) => Reply::Failed(error.to_string()),
        },
        Request::Propose { commands, .. } if commands.is_empty() => {
            Reply::Proposed(Proposed::NotHanded("nothing was proposed".into()))
        }
        Request::Propose { commands, hops } => Reply::Proposed(proposer::propose(proposals, commands, hops).await),
        Request::ReadIndex { hops } => match reads::index(readers, hops).await {
            Ok(at) => Reply::ReadIndex(Some(at)),
            Err(why) => Reply::Failed(why),
        },
        Request::Install { vote, meta, transfer, length } => {
            match transfer::install(shared, from, vote, meta, (transfer, length)).await {
                Ok(vote) => Reply::Installed(vote),
                Err(why) => Reply::Failed(why),
            }
        }
        Request::HandOut(_) => Reply::Failed("a replica that serves hands nothing out".into()),
    }
}
