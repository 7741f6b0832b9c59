//! What the transport counts, for the metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ekka_core::control::CloseCause;
use ekka_core::id::NodeName;
use ekka_core::limits::MEMBERS_MAX;
use ekka_core::wire::Lane;

/// A snapshot of the counters; labels as in the metrics of the same names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TransportStats {
    /// `ekka_handshake_refused_total` by reason; every reason is there.
    pub refused: BTreeMap<&'static str, u64>,
    /// `ekka_link_reconnects_total` by peer and why the connection before ended.
    pub link_reconnects: BTreeMap<(String, &'static str), u64>,
    /// `ekka_net_bytes_total` by peer and direction (`in`, `out`).
    pub net_bytes: BTreeMap<(String, &'static str), u64>,
    /// `ekka_lane_queue_bytes` by peer and lane.
    pub lane_queue_bytes: BTreeMap<(String, &'static str), u64>,
    /// `ekka_lane_dropped_total` by peer, lane and reason.
    pub lane_dropped: BTreeMap<(String, &'static str, &'static str), u64>,
    /// Connections that are not yet verified.
    pub half_open: usize,
    /// Connections whose Hello was read, of both lanes.
    pub connections: usize,
}

/// The word for a lane in labels.
pub(super) fn lane_name(lane: Lane) -> &'static str {
    match lane {
        Lane::Control => "control",
        Lane::Bulk => "bulk",
        Lane::Calls => "calls",
        Lane::Tables => "tables",
    }
}

/// The word for a cause in labels.
pub(super) fn cause_name(cause: &CloseCause) -> &'static str {
    match cause {
        CloseCause::Reset => "reset",
        CloseCause::Silent => "silent",
        CloseCause::Redundant => "redundant",
        CloseCause::Garbage(_) => "garbage",
        CloseCause::Stuck => "stuck",
        CloseCause::Refused(refusal) => refusal.reason.as_str(),
        CloseCause::Superseded => "superseded",
        CloseCause::Stopping => "stopping",
        CloseCause::Credentials => "credentials",
    }
}

/// The counters of one peer.
#[derive(Default)]
pub(super) struct PeerCounters {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    rest: Mutex<PeerRest>,
}

#[derive(Default)]
struct PeerRest {
    dropped: BTreeMap<(&'static str, &'static str), u64>,
    reconnects: BTreeMap<&'static str, u64>,
    /// Why the last control connection ended, until there is another.
    ended: Option<&'static str>,
}

impl PeerCounters {
    pub(super) fn read(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn wrote(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self, lane: Lane, reason: &'static str, frames: usize) {
        *self.locked().dropped.entry((lane_name(lane), reason)).or_insert(0) += frames as u64;
    }

    /// A control connection begins to carry frames.
    pub(super) fn opened(&self) {
        let mut rest = self.locked();
        if let Some(reason) = rest.ended.take() {
            *rest.reconnects.entry(reason).or_insert(0) += 1;
        }
    }

    /// The last control connection to the peer ended.
    pub(super) fn ended(&self, cause: &CloseCause) {
        self.locked().ended = Some(cause_name(cause));
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, PeerRest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The counters of all peers that were let in; of as many as a cluster may have members. A name is a claim: whoever
/// holds the cookie could make a row of the metrics for each one that it thinks of.
#[derive(Default)]
pub(super) struct Counters {
    peers: Mutex<BTreeMap<NodeName, Arc<PeerCounters>>>,
}

impl Counters {
    /// The counters of a peer whose connection opens. Where all rows are taken by peers that are connected, they
    /// count and nobody sees them.
    pub(super) fn of(&self, peer: &NodeName) -> Arc<PeerCounters> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= MEMBERS_MAX && !peers.contains_key(peer) {
            // Peers without a connection: nobody else holds their counters.
            peers.retain(|_, counters| Arc::strong_count(counters) > 1);
            if peers.len() >= MEMBERS_MAX {
                return Arc::default();
            }
        }
        peers.entry(peer.clone()).or_default().clone()
    }

    pub(super) fn snapshot(&self, stats: &mut TransportStats) {
        for (peer, counters) in self.peers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let peer = peer.to_string();
            stats.net_bytes.insert((peer.clone(), "in"), counters.bytes_in.load(Ordering::Relaxed));
            stats.net_bytes.insert((peer.clone(), "out"), counters.bytes_out.load(Ordering::Relaxed));
            let rest = counters.locked();
            for ((lane, reason), count) in &rest.dropped {
                stats.lane_dropped.insert((peer.clone(), lane, reason), *count);
            }
            for (reason, count) in &rest.reconnects {
                stats.link_reconnects.insert((peer.clone(), reason), *count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reconnect_counts_under_the_end_of_the_connection_before() {
        let counters = Counters::default();
        let peer = counters.of(&"ekka@10.0.0.2".parse().unwrap());
        peer.opened();
        peer.ended(&CloseCause::Silent);
        peer.opened();
        peer.opened();
        peer.read(3);
        let mut stats = TransportStats::default();
        counters.snapshot(&mut stats);
        let name = "ekka@10.0.0.2".to_owned();
        assert_eq!(stats.link_reconnects, BTreeMap::from([((name.clone(), "silent"), 1)]));
        assert_eq!(stats.net_bytes[&(name, "in")], 3);
    }

    #[test]
    fn ever_new_names_take_no_more_rows_than_a_cluster_has_members() {
        let counters = Counters::default();
        let name = |n: usize| format!("ekka{n}@10.0.0.2").parse().unwrap();
        let rows = |counters: &Counters| {
            let mut stats = TransportStats::default();
            counters.snapshot(&mut stats);
            stats.net_bytes.len() / 2
        };
        let connected: Vec<_> = (0..MEMBERS_MAX + 10).map(|n| counters.of(&name(n))).collect();
        assert_eq!(rows(&counters), MEMBERS_MAX);
        assert!(Arc::ptr_eq(&connected[3], &counters.of(&name(3))), "a row that is there stays");
        drop(connected);
        counters.of(&name(MEMBERS_MAX + 11));
        assert_eq!(rows(&counters), 1, "rows of those who went are given to those who come");
    }
}
