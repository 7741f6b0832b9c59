//! What comparing and saving a quorum table needs of the replica that runs here.

use std::sync::Arc;

use ekka_core::schema::Storage;

use super::here::Replica;
use super::rows::Rows;
use super::slot::QuorumSlot;

impl QuorumSlot {
    /// The rows of the replica that runs here, and the history that their revisions belong to, the same on all nodes, in
    /// this generation of the cluster.
    pub(in crate::table) fn rows_here(&self, generation: u64) -> Option<(Arc<Rows>, String)> {
        let replica = self.replica().borrow().clone()?;
        let history = self.history_of(&replica, generation);
        Some((replica.rows, history))
    }

    /// The log of the durable group begins anew where the cluster is recovered only; the other group has a history for
    /// each of its own generations.
    fn history_of(&self, replica: &Replica, generation: u64) -> String {
        match self.schema.storage {
            Storage::Disc => format!("{}-{generation}", replica.cluster),
            Storage::Ram => replica.history.to_string(),
        }
    }
}
