//! What a cluster that goes on without the majority of its voters takes along beside its record: the rows of the quorum
//! tables of this node's log.
//!
//! They are kept in the store under the name of the voter that is to go on, before `Control` is told what the log adds
//! up to. The new log then begins as one that was cut behind the first configuration, with them in its snapshot:
//! whoever learns later gets them before the entry that brings the record.

use std::sync::Arc;
use std::time::Duration;

use ekka_core::consensus::{StateMachine, VoterId};
use ekka_core::durable::Record;
use ekka_core::id::ClusterId;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::consensus::{GroupError, raft};
use crate::storage::{LogName, Storage};
use crate::table::{Beside, join, split};

/// How long it may take until the rows are on disc.
const KEEP: Duration = Duration::from_secs(40);

/// A name for each voter of each cluster: a directory that was restored as another node must not take the votes of the
/// old one for its own.
pub(super) fn log_of(kind: &str, cluster_id: ClusterId, me: VoterId) -> LogName {
    let (cluster, node) = (cluster_id.as_u128(), me.node_id.as_u128());
    format!("{kind}/{cluster:032x}/{node:032x}/{:032x}", me.start).into()
}

fn name(cluster_id: ClusterId, next: VoterId) -> LogName {
    log_of("recovered", cluster_id, next)
}

/// Reads a whole log: gives the record, and keeps the rows for who goes on with it.
pub(super) async fn read(
    storage: &Arc<dyn Storage>,
    log: LogName,
    (cluster_id, next): (ClusterId, VoterId),
) -> Result<Vec<u8>, String> {
    let machine = Box::new(Beside::new(Record::default(), Arc::default()));
    let state = raft::whole(storage.clone(), log, machine).await.map_err(|error| error.to_string())?.state;
    let (record, rows) = split(&state)?;
    if let Some(rows) = rows {
        let name = name(cluster_id, next);
        let kept = timeout(KEEP, raft::keep(storage, &name, rows)).await;
        let kept = kept.map_err(|_| "the rows of quorum tables are not on disc in time".to_owned())?;
        kept.map_err(|error| error.to_string())?;
    }
    Ok(record.to_vec())
}

/// Begins the log of a voter with the rows that were kept for it, where it goes on and has not begun; drops them where
/// they are not needed any more.
///
/// # Errors
/// The store cannot be read, or does not take them. Nothing may be voted for on that log until this succeeds.
pub(super) async fn begin(
    storage: &Arc<dyn Storage>,
    (cluster_id, me, goes_on): (ClusterId, VoterId, bool),
    log: &LogName,
) -> Result<(), GroupError> {
    let failed = |error: crate::storage::StorageError| GroupError::Ended(error.to_string());
    let name = name(cluster_id, me);
    if !goes_on {
        // They only take room: that they are still there is no reason to open nothing.
        if let Ok(Some(_)) = raft::kept(storage, &name).await
            && let Err(err) = raft::forget(storage, &name)
        {
            debug!(%err, %name, "rows that were kept for a recovery are not deleted yet");
        }
        return Ok(());
    }
    if raft::has_begun(storage, log).map_err(failed)? {
        return Ok(());
    }
    let Some(rows) = raft::kept(storage, &name).await? else { return Ok(()) };
    let bytes = rows.len();
    warn!(%log, bytes, "the log of the recovered cluster begins with the rows of this node's quorum tables");
    let state = join(&Record::default().snapshot(), &rows);
    raft::seed(storage, log, [me].into(), &state).await
}

#[cfg(test)]
mod tests {
    use ekka_core::id::NodeId;
    use ekka_core::table::quorum::{Command, Transaction};
    use ekka_core::time::Wall;

    use super::*;
    use crate::storage::MemoryStorage;
    use crate::table::{Rows, logged};

    fn voter(start: u128) -> VoterId {
        VoterId { node_id: NodeId::from_u128(1), start }
    }

    /// The state of a log, and where it ends.
    async fn state_of(storage: &Arc<dyn Storage>, log: &LogName) -> (Arc<Rows>, u64) {
        let rows = Arc::<Rows>::default();
        let machine = Box::new(Beside::new(Record::default(), rows.clone()));
        let whole = raft::whole(storage.clone(), log.clone(), machine).await.unwrap();
        (rows, whole.last.index)
    }

    fn value(rows: &Rows) -> Option<Vec<u8>> {
        let view = rows.view();
        view.get(7, b"k").ok().flatten().map(|row| row.value().to_vec())
    }

    /// A log that was cut behind a snapshot with one row.
    async fn with_row(value: &[u8]) -> (Arc<dyn Storage>, LogName) {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new(5));
        let mut old = Beside::new(Record::default(), Arc::default());
        let at = ekka_core::consensus::LogPlace { term: 1, index: 1 };
        old.apply(at, &logged(&Command::Create { table: 7 }));
        let put = Transaction::put(7, b"k", value, None, Wall::from_millis(1)).unwrap();
        old.apply(at, &logged(&put.into()));
        let log = log_of("durable", ClusterId::MIN, voter(1));
        raft::seed(&storage, &log, [voter(1)].into(), &old.snapshot()).await.unwrap();
        (storage, log)
    }

    #[tokio::test]
    async fn rows_go_into_the_log_of_who_goes_on_once_and_nowhere_else() {
        let (storage, log) = with_row(b"kept").await;
        let cluster_id = ClusterId::MIN;
        let record = read(&storage, log, (cluster_id, voter(2))).await.unwrap();
        assert_eq!(Record::from_snapshot(&record).map(|record| record.cluster()), Ok(None));
        // Another voter, and the same one where it does not go on, begin empty.
        let other = log_of("durable", cluster_id, voter(3));
        begin(&storage, (cluster_id, voter(3), true), &other).await.unwrap();
        assert!(!raft::has_begun(&storage, &other).unwrap());
        let next = log_of("durable", cluster_id, voter(2));
        for _ in 0..2 {
            begin(&storage, (cluster_id, voter(2), true), &next).await.unwrap();
            let (rows, last) = state_of(&storage, &next).await;
            assert_eq!((value(&rows), last), (Some(b"kept".to_vec()), 1));
        }
        let name = name(cluster_id, voter(2));
        assert!(raft::kept(&storage, &name).await.unwrap().is_some());
        begin(&storage, (cluster_id, voter(2), false), &next).await.unwrap();
        assert_eq!(raft::kept(&storage, &name).await.unwrap(), None);
    }
}
