//! Gathers the figures of shell and transport into one snapshot.

use ekka_core::time::Instant;

use super::Counters;
use super::shared::{GroupKind, Shared};
use crate::rpc::Hub;
use crate::transport::Transport;

/// One snapshot of everything that is counted outside the view.
pub(super) fn gather(shared: &Shared, transport: Option<&Transport>, calls: &Hub, now: Instant) -> Counters {
    let figures = shared.figures();
    let (heals, heal_times) = shared.heals().counts();
    let mut counters = Counters {
        heals,
        heal_times,
        discovery_rounds: figures.rounds,
        discovery_ignored: figures.ignored,
        discovery_last_success_s: figures
            .last_success
            .into_iter()
            .map(|(strategy, at)| (strategy, now.since(at).as_secs_f64()))
            .collect(),
        removed: figures.removed,
        leader_changes: figures.leader_changes,
        incarnations_gone: figures.incarnations_gone,
        lease_left_s: shared.lease().borrow().map_or(0.0, |until| until.since(now).as_secs_f64()),
        durable: shared.groups(GroupKind::Durable).counts(),
        volatile: shared.groups(GroupKind::Volatile).counts(),
        disc: shared.disc(),
        disc_full: shared.room().borrow().full,
        rpc: calls.counts(),
        ..Counters::default()
    };
    let view = shared.view();
    for (strategy, candidates) in figures.candidates {
        for candidate in candidates {
            let word = if candidate.endpoint.port == 0 || candidate.name == view.name {
                "self"
            } else if view.members.iter().any(|m| m.endpoint == candidate.endpoint && m.status.is_running()) {
                "usable"
            } else {
                "unreachable"
            };
            *counters.discovery_candidates.entry((strategy.clone(), word)).or_default() += 1;
        }
    }
    if let Some(transport) = transport {
        let stats = transport.stats();
        counters.handshake_refused = stats.refused;
        counters.certificate_expiry_s = transport.certificate_expiry();
        counters.link_reconnects = stats.link_reconnects;
        counters.net_bytes = stats.net_bytes;
        counters.lane_queue_bytes = stats.lane_queue_bytes;
        counters.lane_dropped = stats.lane_dropped;
    }
    counters
}
