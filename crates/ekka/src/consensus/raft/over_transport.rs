//! The lanes of groups over the transport of the node.

use std::sync::Arc;

use ekka_core::id::{Endpoint, NodeId};

use super::router::{BulkLane, Lanes};
use crate::env::BoxFuture;
use crate::transport::{BulkConnection, Transport};

/// Where a node listens, as far as is known now.
pub type Endpoints = Arc<dyn Fn(NodeId) -> Option<Endpoint> + Send + Sync>;

/// The lanes. Frames that come in are given to the router by whoever holds the ends of [`Options`].
///
/// [`Options`]: crate::transport::Options
pub struct TransportLanes {
    transport: Transport,
    endpoints: Endpoints,
}

impl TransportLanes {
    /// Over this transport.
    #[must_use]
    pub fn new(transport: Transport, endpoints: Endpoints) -> Self {
        Self { transport, endpoints }
    }
}

impl Lanes for TransportLanes {
    fn send(&self, to: NodeId, frame: &[u8]) -> bool {
        self.transport.send_group(to, frame)
    }

    fn open_bulk(&self, to: NodeId) -> BoxFuture<'_, Result<Box<dyn BulkLane>, String>> {
        Box::pin(async move {
            let endpoint = (self.endpoints)(to).ok_or_else(|| format!("no address of {to} is known"))?;
            let connection = self.transport.open_bulk(&endpoint).await.map_err(|error| error.to_string())?;
            // Another node may have taken the address meanwhile.
            if connection.peer().node_id != to {
                return Err(format!("{} answers at {endpoint}", connection.peer().name));
            }
            Ok(Box::new(connection) as Box<dyn BulkLane>)
        })
    }
}

impl BulkLane for BulkConnection {
    fn send<'a>(&'a self, frame: &'a [u8]) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move { self.send(frame).await.map_err(|error| error.to_string()) })
    }
}
