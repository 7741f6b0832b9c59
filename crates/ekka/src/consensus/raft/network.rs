//! The engine's network: its calls as requests to other voters.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ekka_core::consensus::VoterId;
use openraft::error::{Fatal, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::{AnyError, EmptyNode, OptionalSend, Snapshot};
use tokio::time::Instant;

use super::message::{Reply, Request};
use super::owed::{self, Heard};
use super::router::NoReply;
use super::shared::Shared;
use super::transfer;
use super::types::{Types, Vote};

/// The first wait after a voter was found out of reach; it doubles up to [`BACKOFF_MAX`].
const BACKOFF: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_millis(500);

type RpcError = RPCError<VoterId, EmptyNode, RaftError<VoterId>>;

/// Makes the clients of one replica.
pub(super) struct Clients {
    pub(super) shared: Arc<Shared>,
}

/// The way to one voter.
pub(super) struct Client {
    shared: Arc<Shared>,
    to: VoterId,
    heard: Heard,
}

fn unreachable(why: impl std::fmt::Display) -> Unreachable {
    Unreachable::new(&AnyError::error(why))
}

impl RaftNetworkFactory<Types> for Clients {
    type Network = Client;

    async fn new_client(&mut self, target: VoterId, _node: &EmptyNode) -> Client {
        Client { shared: self.shared.clone(), to: target, heard: Heard::default() }
    }
}

impl Client {
    async fn ask(&self, request: Request, option: &RPCOption) -> Result<Reply, RpcError> {
        let shared = &self.shared;
        let way = (shared.group, shared.me, self.to);
        match shared.router.ask(way, request, option.hard_ttl()).await {
            Ok(Reply::Failed(why)) => Err(unreachable(why).into()),
            Ok(reply) => Ok(reply),
            Err(NoReply::NotSent) => Err(unreachable("there is no link").into()),
            Err(NoReply::Silent) => Err(NetworkError::new(&AnyError::error("no answer in time")).into()),
        }
    }
}

impl RaftNetwork<Types> for Client {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<VoterId>, RpcError> {
        if self.shared.is_yielding() {
            // The other voters vote only once this leader has been silent for a while.
            return Err(unreachable("leadership is being handed over").into());
        }
        if owed::put_off(&self.shared, self.to, &self.heard, &rpc) {
            return Ok(AppendEntriesResponse::Success);
        }
        let (asked, has_majority) = (Instant::now(), self.shared.has_majority());
        let says = self.heard.sends(&rpc, asked);
        match self.ask(Request::Append { rpc, has_majority }, &option).await? {
            Reply::Append(response) => {
                if !matches!(response, AppendEntriesResponse::HigherVote(_)) {
                    self.shared.note_answer(self.to, asked);
                }
                if matches!(response, AppendEntriesResponse::Success) {
                    self.heard.took(says);
                }
                Ok(response)
            }
            _ => Err(unreachable("a reply to something else").into()),
        }
    }

    async fn vote(&mut self, rpc: VoteRequest<VoterId>, option: RPCOption) -> Result<VoteResponse<VoterId>, RpcError> {
        match self.ask(Request::Vote(rpc), &option).await? {
            Reply::Vote(response) => Ok(response),
            _ => Err(unreachable("a reply to something else").into()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<Types>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<VoterId>, StreamingError<Types, Fatal<VoterId>>> {
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            sent = transfer::send(&self.shared, self.to, vote, snapshot) => match sent {
                Ok(vote) => Ok(SnapshotResponse::new(vote)),
                Err(why) => Err(StreamingError::Unreachable(unreachable(why))),
            },
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::successors(Some(BACKOFF), |wait| Some((*wait * 2).min(BACKOFF_MAX))))
    }
}
