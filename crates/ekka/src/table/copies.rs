//! Full copies for one peer, over the bulk lane: behind nothing of what is written meanwhile, and nothing behind them.

use std::sync::Arc;

use ekka_core::id::NodeId;
use ekka_core::table::Envelope;
use tracing::debug;

use super::hub::Tables;
use super::link::Link;
use crate::consensus::raft::BulkUse;
use crate::transport::BulkConnection;

/// A frame of the bulk lane.
pub(super) fn encode(envelope: &Envelope) -> Vec<u8> {
    postcard::to_allocvec(&(BulkUse::TableCopy, envelope)).expect("a message consists of what postcard can hold")
}

/// Reads one.
pub(super) fn decode(frame: &[u8]) -> Result<Envelope, String> {
    let read = postcard::from_bytes::<(BulkUse, Envelope)>(frame);
    read.map(|(_, envelope)| envelope).map_err(|error| error.to_string())
}

/// Sends what peers ask for, for as long as the link is there. Where the way over the bulk lane ends in the middle the link
/// ends too: the peer asks for the rest on the next one.
pub(super) async fn give(tables: Arc<Tables>, link: Arc<Link>) {
    loop {
        tokio::select! {
            biased;
            () = link.end.cancelled() => return,
            () = link.copies.notified() => {}
        }
        // Each question is answered over a connection of its own: who asks again may have waited for one that is dead.
        if let Err(why) = give_all(&tables, &link).await {
            debug!(peer = %link.name, why, "a full copy did not get over");
            link.end.cancel();
            return;
        }
    }
}

async fn give_all(tables: &Tables, link: &Link) -> Result<(), String> {
    let mut lane: Option<BulkConnection> = None;
    for slot in &*tables.slots() {
        while let Some(body) = slot.poll_copy(link.peer, tables.now()) {
            let frame = encode(&Envelope { table: slot.id(), shard: 0, body });
            let open = match &mut lane {
                Some(open) => open,
                None => lane.insert(tables.open_bulk(link.peer.node_id).await?),
            };
            open.send(&frame).await.map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

/// A frame that came over the bulk lane, with who sent it.
pub(super) type Copied = (NodeId, Vec<u8>);
