//! Snapshots from one replica to another: in pieces over the bulk lane, so many ahead as the receiver has taken; then
//! the request to install what was sent. Signs of life go on beside it on the control lane.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ekka_core::consensus::{GroupId, Restored, Restorer, Restoring, VoterId};
use ekka_core::limits::{GROUP_CHUNK_BYTES, GROUP_CHUNKS_AHEAD, GROUP_HEARTBEAT, GROUP_SNAPSHOT_MAX};
use openraft::Snapshot;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

use super::image::{Cut, Image};
use super::message::{Body, BulkUse, Notice, Piece, Reply, Request};
use super::router::{BulkLane, Router};
use super::shared::{Shared, lock};
use super::types::{Blob, Meta, Types, Vote};

/// Without a sign that pieces are taken a transfer ends after this.
const STALLED: Duration = Duration::from_secs(10);
/// Time to put a small state in place and on disc; larger ones get a second for each [`INSTALL_RATE`] more. An answer
/// that was lost must not be waited for much longer: the snapshot is then offered again.
const INSTALL: Duration = Duration::from_secs(3);
const INSTALL_RATE: u64 = 8 * 1024 * 1024;
/// Transfers that come in at once.
const INCOMING_MAX: usize = 2;

/// What is coming in.
struct Incoming {
    from: VoterId,
    next: u32,
    length: u64,
    /// What has come, put together as it comes.
    state: Box<dyn Restoring>,
}

/// Both ends of the transfers of one replica.
pub(super) struct Transfers {
    router: Router,
    restorer: Restorer,
    group: GroupId,
    me: VoterId,
    incoming: Mutex<BTreeMap<u64, Incoming>>,
    /// A piece has come.
    pieces: Notify,
    outgoing: Mutex<BTreeMap<u64, watch::Sender<u32>>>,
}

/// A transfer that goes out; forgotten when it has ended, however it did.
pub(super) struct Outgoing<'a> {
    transfers: &'a Transfers,
    number: u64,
    to: VoterId,
    credit: watch::Receiver<u32>,
}

impl Drop for Outgoing<'_> {
    fn drop(&mut self) {
        lock(&self.transfers.outgoing).remove(&self.number);
    }
}

impl Outgoing<'_> {
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Sends all of it; how many bytes that were, and the lane, which is to stay open until the receiver has taken them.
    pub(super) async fn push(
        &mut self,
        pieces: impl Iterator<Item = Vec<u8>>,
    ) -> Result<(u64, Box<dyn BulkLane>), String> {
        let mut length = 0;
        let Transfers { router, group, me, .. } = self.transfers;
        let lane = router.lanes().open_bulk(self.to.node_id).await?;
        for (number, bytes) in (0u32..).zip(Cut::new(pieces, GROUP_CHUNK_BYTES)) {
            length += bytes.len() as u64;
            let ahead = u32::try_from(GROUP_CHUNKS_AHEAD).unwrap_or(u32::MAX);
            self.taken(number.saturating_sub(ahead - 1)).await?;
            let (what, bytes) = (BulkUse::GroupSnapshot, Blob(bytes.into()));
            let piece = Piece { what, group: *group, from: *me, to: self.to, transfer: self.number, number, bytes };
            lane.send(&postcard::to_allocvec(&piece).expect("a piece has nothing that cannot be written")).await?;
        }
        Ok((length, lane))
    }

    /// Waits until the receiver has taken so many pieces in all.
    pub(super) async fn taken(&mut self, pieces: u32) -> Result<(), String> {
        match timeout(STALLED, self.credit.wait_for(|taken| *taken >= pieces)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err("the receiver takes no more pieces".into()),
        }
    }
}

impl Transfers {
    pub(super) fn new((router, restorer): (Router, Restorer), group: GroupId, me: VoterId) -> Self {
        let (incoming, outgoing) = (Mutex::default(), Mutex::default());
        Self { router, restorer, group, me, incoming, pieces: Notify::new(), outgoing }
    }

    pub(super) fn begin(&self, to: VoterId) -> Outgoing<'_> {
        let number = self.router.next_number();
        let (taken, credit) = watch::channel(0);
        lock(&self.outgoing).insert(number, taken);
        Outgoing { transfers: self, number, to, credit }
    }

    /// Notes how much the receiver has taken.
    pub(super) fn credit(&self, transfer: u64, taken: u32) {
        if let Some(credit) = lock(&self.outgoing).get(&transfer) {
            credit.send_if_modified(|now| std::mem::replace(now, taken.max(*now)) < taken);
        }
    }

    /// Takes a piece that has come, and says so. One out of order ends the transfer.
    pub(super) fn take(&self, piece: &Piece) {
        let taken = {
            let mut incoming = lock(&self.incoming);
            if piece.number == 0 {
                // A sender has one transfer at a time; the oldest of too many is given up.
                incoming.retain(|_, known| known.from != piece.from);
                while incoming.len() >= INCOMING_MAX {
                    incoming.pop_first();
                }
                let state = (self.restorer)();
                incoming.insert(piece.transfer, Incoming { from: piece.from, next: 0, length: 0, state });
            }
            let Some(known) = incoming.get_mut(&piece.transfer).filter(|known| known.from == piece.from) else {
                return;
            };
            let length = known.length + piece.bytes.0.len() as u64;
            let fits = piece.number == known.next && length <= GROUP_SNAPSHOT_MAX as u64;
            if !fits || known.state.take(&piece.bytes.0).is_err() {
                incoming.remove(&piece.transfer);
                return;
            }
            known.length = length;
            known.next += 1;
            known.next
        };
        self.pieces.notify_waiters();
        let notice = Notice::Credit { transfer: piece.transfer, taken };
        // Lost, it is made good by the next.
        let _ = self.router.send(self.group, self.me, piece.from, Body::Notice(notice));
    }

    /// How much of a transfer is here.
    fn here(&self, from: VoterId, transfer: u64) -> u64 {
        let incoming = lock(&self.incoming);
        incoming.get(&transfer).filter(|known| known.from == from).map_or(0, |known| known.length)
    }

    /// Waits until all pieces have come, and takes the state; `None` where for so long none has come.
    pub(super) async fn complete(
        &self,
        from: VoterId,
        (transfer, length): (u64, u64),
        stalled: Duration,
    ) -> Option<Result<Restored, String>> {
        let mut before = 0;
        let mut until = Instant::now() + stalled;
        loop {
            let news = self.pieces.notified();
            let here = self.here(from, transfer);
            if here == length {
                let known = lock(&self.incoming).remove(&transfer).map(|known| known.state);
                return Some(known.unwrap_or_else(self.restorer).finish());
            }
            if here > before {
                before = here;
                until = Instant::now() + stalled;
            }
            if timeout_at(until, news).await.is_err() {
                lock(&self.incoming).remove(&transfer);
                return None;
            }
        }
    }
}

/// Sends a snapshot and has it installed; the receiver's vote. The engine gives no sign of life to whom it sends one.
pub(super) async fn send(
    shared: &Arc<Shared>,
    to: VoterId,
    vote: Vote,
    snapshot: Snapshot<Types>,
) -> Result<Vote, String> {
    tokio::select! {
        biased;
        sent = send_all(shared, to, vote, snapshot) => sent,
        () = signs_of_life(shared, to, vote) => Err("there is no end to them".into()),
    }
}

/// Empty appends, one after the other.
async fn signs_of_life(shared: &Arc<Shared>, to: VoterId, vote: Vote) {
    let mut beat = interval(GROUP_HEARTBEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        if shared.is_yielding() {
            continue;
        }
        let (asked, has_majority) = (Instant::now(), shared.has_majority());
        let rpc = AppendEntriesRequest { vote, prev_log_id: None, entries: Vec::new(), leader_commit: None };
        let request = Request::Append { rpc, has_majority };
        let answer = shared.router.ask((shared.group, shared.me, to), request, GROUP_HEARTBEAT).await;
        if let Ok(Reply::Append(AppendEntriesResponse::Success)) = answer {
            shared.note_answer(to, asked);
        }
    }
}

async fn send_all(shared: &Arc<Shared>, to: VoterId, vote: Vote, snapshot: Snapshot<Types>) -> Result<Vote, String> {
    let mut transfer = shared.transfers.begin(to);
    let Image::Frozen(state) = &*snapshot.snapshot else { return Err("there is no snapshot to send".into()) };
    // The last pieces may still be under way: the receiver waits for them.
    let (length, _lane) = transfer.push(state.pieces()).await?;
    let request = Request::Install { vote, meta: snapshot.meta, transfer: transfer.number(), length };
    let limit = INSTALL + Duration::from_secs(length / INSTALL_RATE);
    match shared.router.ask((shared.group, shared.me, to), request, limit).await {
        Ok(Reply::Installed(vote)) => Ok(vote),
        Ok(Reply::Failed(why)) => Err(why),
        Ok(_) => Err(format!("{to} gave a reply to something else")),
        Err(_) => Err(format!("no answer from {to}")),
    }
}

/// Gives the engine a snapshot, once all of its pieces have come.
pub(super) async fn install(
    shared: &Shared,
    from: VoterId,
    vote: Vote,
    meta: Meta,
    (transfer, length): (u64, u64),
) -> Result<Vote, String> {
    let Some(state) = shared.transfers.complete(from, (transfer, length), INSTALL).await else {
        return Err(format!("not all of the {length} bytes of the snapshot have come"));
    };
    let Some(raft) = shared.raft() else { return Err("the replica is starting".into()) };
    let snapshot = Snapshot { meta, snapshot: Box::new(Image::restored(state?)) };
    let installed = raft.install_full_snapshot(vote, snapshot).await;
    installed.map(|response| response.vote).map_err(|error| error.to_string())
}
