//! What the shell counts.

use std::collections::BTreeMap;

use ekka_core::view::View;
use ekka_core::wire::RefusalReason;

use super::view::peers;
use super::{Labels, Sheet, number};
use crate::node::Counters;

const CAUSES: [&str; 3] = ["autoclean", "force", "leave"];
/// How heals end.
const HEALS: [&str; 3] = ["healed", "restarted", "failed"];
const LANES: [&str; 2] = ["control", "bulk"];
/// Why a connection ends, in the words of the transport that have a row before they happen.
const ENDS: [&str; 2] = ["reset", "silent"];
/// Why frames are dropped, likewise.
const DROPPED: &str = "stuck";
const DIRECTIONS: [&str; 2] = ["in", "out"];
const ROUND_RESULTS: [&str; 3] = ["ok", "empty", "error"];
const CANDIDATE_RESULTS: [&str; 5] = ["usable", "unreachable", "other_cluster", "credentials", "self"];

pub(super) fn membership(sheet: &mut Sheet, counters: &Counters) {
    let mut removed: BTreeMap<&str, u64> = CAUSES.into_iter().map(|cause| (cause, 0)).collect();
    removed.extend(&counters.removed);
    let rows = removed.into_iter().map(|(cause, n)| (vec![("cause", cause.to_owned())], n));
    sheet.counter("ekka_member_removed", "Members removed", rows);
    sheet.counter(
        "ekka_incarnation_gone",
        "Starts of nodes that were declared over",
        [(vec![], counters.incarnations_gone)],
    );
    let left = [(vec![], counters.lease_left_s)];
    sheet.gauge("ekka_lease_left_seconds", "What is left of this node's lease; 0 while it is fenced", left);
}

pub(super) fn heals(sheet: &mut Sheet, counters: &Counters) {
    let mut heals: BTreeMap<&str, u64> = HEALS.into_iter().map(|result| (result, 0)).collect();
    heals.extend(&counters.heals);
    let rows = heals.into_iter().map(|(result, n)| (vec![("result", result.to_owned())], n));
    sheet.counter("ekka_heals", "How often this node came back after a partition, and what did not work", rows);
    let rows = vec![(vec![], counters.heal_times)];
    sheet.long_times("ekka_heal_seconds", "From the repair as this node saw it until it came back", rows);
}

pub(super) fn transport(sheet: &mut Sheet, counters: &Counters, view: &View) {
    let mut refused: BTreeMap<&str, u64> = RefusalReason::ALL.into_iter().map(|reason| (reason.as_str(), 0)).collect();
    refused.extend(&counters.handshake_refused);
    let rows = refused.into_iter().map(|(reason, n)| (vec![("reason", reason.to_owned())], n));
    sheet.counter("ekka_handshake_refused", "Connections refused before they were verified, or by their Hello", rows);

    let rows = counters.certificate_expiry_s.iter().map(|(which, left)| (vec![("which", (*which).to_owned())], *left));
    sheet.gauge("ekka_tls_certificate_expiry_seconds", "Seconds until a certificate of the operator ends", rows);
    let rows = with_zeros(&counters.link_reconnects, view, ENDS);
    let rows = rows.into_iter().map(|((peer, reason), n)| (two(&peer, "reason", reason), n));
    sheet.counter("ekka_link_reconnects", "Connections to a peer that were made anew", rows);
    let rows = with_zeros(&counters.net_bytes, view, DIRECTIONS);
    let rows = rows.into_iter().map(|((peer, direction), n)| (two(&peer, "direction", direction), n));
    sheet.counter("ekka_net_bytes", "Bytes from and to a peer", rows);
    let rows = with_zeros(&counters.lane_queue_bytes, view, LANES);
    let rows = rows.into_iter().map(|((peer, lane), n)| (two(&peer, "lane", lane), number(n)));
    sheet.gauge("ekka_lane_queue_bytes", "Bytes that wait for a peer", rows);
    let mut dropped: BTreeMap<(String, &str, &str), u64> =
        names(view).flat_map(|peer| LANES.map(|lane| ((peer.clone(), lane, DROPPED), 0))).collect();
    dropped.extend(counters.lane_dropped.clone());
    let rows = dropped.into_iter().map(|((peer, lane, reason), n)| {
        let mut labels = two(&peer, "lane", lane);
        labels.push(("reason", reason.to_owned()));
        (labels, n)
    });
    sheet.counter("ekka_lane_dropped", "Frames dropped on the way to a peer", rows);
}

pub(super) fn discovery(sheet: &mut Sheet, counters: &Counters, strategies: &[String]) {
    let zeros = |results: &[&'static str]| -> BTreeMap<(String, &'static str), u64> {
        let pairs = strategies.iter().flat_map(|strategy| results.iter().map(|result| (strategy.clone(), *result)));
        pairs.map(|pair| (pair, 0)).collect()
    };
    let mut rounds = zeros(&ROUND_RESULTS);
    rounds.extend(counters.discovery_rounds.clone());
    let rows = rounds.into_iter().map(|((strategy, result), n)| (of_strategy(&strategy, result), n));
    sheet.counter("ekka_discovery_rounds", "Rounds of discovery", rows);
    let ignored = counters
        .discovery_ignored
        .iter()
        .map(|((strategy, reason), n)| (vec![("strategy", strategy.clone()), ("reason", (*reason).to_owned())], *n));
    sheet.counter("ekka_discovery_ignored", "What came to a strategy and was not believed", ignored);
    let mut candidates = zeros(&CANDIDATE_RESULTS);
    candidates.extend(counters.discovery_candidates.clone());
    let rows = candidates.into_iter().map(|((strategy, result), n)| (of_strategy(&strategy, result), number(n)));
    sheet.gauge("ekka_discovery_candidates", "What became of the nodes that the last round named", rows);
    let ages = counters.discovery_last_success_s.iter().map(|(s, age)| (vec![("strategy", s.clone())], *age));
    sheet.gauge("ekka_discovery_last_success_seconds", "Seconds since a strategy last answered", ages);
}

fn of_strategy(strategy: &str, result: &str) -> Labels {
    vec![("strategy", strategy.to_owned()), ("result", result.to_owned())]
}

fn two(peer: &str, name: &'static str, value: &str) -> Labels {
    vec![("peer", peer.to_owned()), (name, value.to_owned())]
}

/// The counted figures, and a zero for each known peer that has none yet.
fn with_zeros(
    counted: &BTreeMap<(String, &'static str), u64>,
    view: &View,
    words: [&'static str; 2],
) -> BTreeMap<(String, &'static str), u64> {
    let mut rows: BTreeMap<_, _> = names(view).flat_map(|name| words.map(|word| ((name.clone(), word), 0))).collect();
    rows.extend(counted.clone());
    rows
}

fn names(view: &View) -> impl Iterator<Item = String> {
    peers(view).map(|member| member.name.to_string())
}
