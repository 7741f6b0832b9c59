//! Snapshots from one replica to another: in pieces over the bulk lane, so many ahead as the receiver has taken; then
//! the request to install what was sent. Signs of life go on beside it on the control lane.

use std::sync::Arc;
use std::time::Duration;

use ekka_core::consensus::VoterId;
use ekka_core::limits::{GROUP_CHUNK_BYTES, GROUP_CHUNKS_AHEAD, GROUP_SNAPSHOT_MAX};
use openraft::Snapshot;
use tokio::sync::watch;
use tokio::time::timeout;

use super::message::{Body, BulkUse, Notice, Piece, Reply, Request};
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

/// A snapshot that is coming in.
pub(super) struct Incoming {
    from: VoterId,
    next: u32,
    bytes: Vec<u8>,
}

/// Forgets a transfer that has ended, however it did.
struct Outgoing<'a> {
    shared: &'a Shared,
    transfer: u64,
}

impl Drop for Outgoing<'_> {
    fn drop(&mut self) {
        lock(&self.shared.outgoing).remove(&self.transfer);
    }
}

/// Sends a snapshot and has it installed; the receiver's vote.
pub(super) async fn send(
    shared: &Arc<Shared>,
    to: VoterId,
    vote: Vote,
    snapshot: Snapshot<Types>,
) -> Result<Vote, String> {
    let transfer = shared.router.next_number();
    let (taken, mut credit) = watch::channel(0);
    lock(&shared.outgoing).insert(transfer, taken);
    let _forget = Outgoing { shared, transfer };
    let lane = shared.router.lanes().open_bulk(to.node_id).await?;
    for (number, bytes) in (0u32..).zip(snapshot.snapshot.chunks(GROUP_CHUNK_BYTES)) {
        let ahead = u32::try_from(GROUP_CHUNKS_AHEAD).unwrap_or(u32::MAX);
        wait_for(&mut credit, number.saturating_sub(ahead - 1)).await?;
        let bytes = Blob(bytes.into());
        let what = BulkUse::GroupSnapshot;
        let piece = Piece { what, group: shared.group, from: shared.me, to, transfer, number, bytes };
        lane.send(&postcard::to_allocvec(&piece).expect("a piece has nothing that cannot be written")).await?;
    }
    // The last pieces may still be under way: the receiver waits for them.
    let length = snapshot.snapshot.len() as u64;
    let request = Request::Install { vote, meta: snapshot.meta, transfer, length };
    let limit = INSTALL + Duration::from_secs(length / INSTALL_RATE);
    match shared.router.ask((shared.group, shared.me, to), request, limit).await {
        Ok(Reply::Installed(vote)) => Ok(vote),
        Ok(Reply::Failed(why)) => Err(why),
        Ok(_) => Err(format!("{to} gave a reply to something else")),
        Err(_) => Err(format!("no answer from {to}")),
    }
}

async fn wait_for(credit: &mut watch::Receiver<u32>, pieces: u32) -> Result<(), String> {
    match timeout(STALLED, credit.wait_for(|taken| *taken >= pieces)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err("the receiver takes no more pieces".into()),
    }
}

/// Notes how much the receiver has taken.
pub(super) fn credit(shared: &Shared, transfer: u64, taken: u32) {
    if let Some(credit) = lock(&shared.outgoing).get(&transfer) {
        credit.send_if_modified(|now| std::mem::replace(now, taken.max(*now)) < taken);
    }
}

/// Takes a piece that has come, and says so. One out of order ends the transfer.
pub(super) fn take(shared: &Shared, piece: &Piece) {
    let taken = {
        let mut incoming = lock(&shared.incoming);
        if piece.number == 0 {
            // A sender has one transfer at a time; the oldest of too many is given up.
            incoming.retain(|_, known| known.from != piece.from);
            while incoming.len() >= INCOMING_MAX {
                incoming.pop_first();
            }
            incoming.insert(piece.transfer, Incoming { from: piece.from, next: 0, bytes: Vec::new() });
        }
        let Some(known) = incoming.get_mut(&piece.transfer).filter(|known| known.from == piece.from) else { return };
        if piece.number != known.next || known.bytes.len() + piece.bytes.0.len() > GROUP_SNAPSHOT_MAX {
            incoming.remove(&piece.transfer);
            return;
        }
        known.bytes.extend_from_slice(&piece.bytes.0);
        known.next += 1;
        known.next
    };
    shared.pieces.notify_waiters();
    let notice = Notice::Credit { transfer: piece.transfer, taken };
    // Lost, it is made good by the next.
    let _ = shared.router.send(shared.group, shared.me, piece.from, Body::Notice(notice));
}

/// Waits until all pieces have come, and takes them.
async fn complete(shared: &Shared, from: VoterId, transfer: u64, length: u64) -> Vec<u8> {
    loop {
        let news = shared.pieces.notified();
        {
            let mut incoming = lock(&shared.incoming);
            let here = incoming.get(&transfer).filter(|known| known.from == from).map_or(0, |known| known.bytes.len());
            if here as u64 == length {
                return incoming.remove(&transfer).map_or_else(Vec::new, |known| known.bytes);
            }
        }
        news.await;
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
    let all = complete(shared, from, transfer, length);
    let Ok(bytes) = timeout(INSTALL, all).await else {
        lock(&shared.incoming).remove(&transfer);
        return Err(format!("not all of the {length} bytes of the snapshot have come"));
    };
    let Some(raft) = shared.raft() else { return Err("the replica is starting".into()) };
    let snapshot = Snapshot { meta, snapshot: Box::new(bytes) };
    let installed = raft.install_full_snapshot(vote, snapshot).await;
    installed.map(|response| response.vote).map_err(|error| error.to_string())
}
