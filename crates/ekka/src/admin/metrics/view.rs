//! What the view gives.

use std::collections::BTreeMap;

use ekka_core::time::Now;
use ekka_core::view::{LinkState, Member, SplitState, Status, View};

use super::{Sheet, flag, number};
use crate::admin::AdminState;
use crate::admin::dto::StatusAnswer;

/// Above so many members only the peers that are not fine get rows of their own.
const PEERS_MAX: usize = 200;

/// Codes that have a row while they hold not.
const CODES: [&str; 8] = ["joining", "syncing", "minority", "healing", "draining", "fenced", "disc_full", "clock"];

const STATUSES: [Status; 9] = [
    Status::Joining,
    Status::Syncing,
    Status::Up,
    Status::Draining,
    Status::Healing,
    Status::Leaving,
    Status::Stopped,
    Status::Down,
    Status::Gone,
];

pub(super) fn identity(sheet: &mut Sheet, view: &View) {
    let status = StatusAnswer::of(view, &[], &[]);
    let role = view.member(view.me.node_id).map_or("", |me| crate::admin::dto::role_word(me.role));
    let labels = vec![
        ("version", status.version),
        ("cluster_version", status.cluster_version),
        ("role", role.to_owned()),
        ("node_id", status.node_id),
        ("cluster_id", status.cluster_id.unwrap_or_default()),
    ];
    sheet.gauge("ekka_info", "Who this node is", [(labels, 1.0)]);
    let labels =
        vec![("leader", status.leader.unwrap_or_default()), ("coordinator", status.coordinator.unwrap_or_default())];
    sheet.gauge("ekka_leader_info", "Whom this node believes to be leader and coordinator", [(labels, 1.0)]);
}

pub(super) fn readiness(sheet: &mut Sheet, state: &AdminState, view: &View) {
    let extra = state.unfulfilled();
    let ready = [("quorum", view.ready_quorum), ("available", view.ready_available)];
    let rows = ready.map(|(for_, ready)| (vec![("for", for_.to_owned())], flag(ready && extra.is_empty())));
    sheet.gauge("ekka_ready", "What /readyz says", rows);
    let mut codes: BTreeMap<&str, bool> = CODES.into_iter().map(|code| (code, false)).collect();
    for reason in view.reasons.iter().chain(&extra) {
        codes.insert(&reason.code, true);
    }
    let rows = codes.into_iter().map(|(code, holds)| (vec![("code", code.to_owned())], flag(holds)));
    sheet.gauge("ekka_not_ready_reason", "Why the node is not ready", rows);
    let quorum = [
        ("ekka_quorum_voters", "Voters", view.quorum.voters),
        ("ekka_quorum_in_reach", "Voters in reach of this node", view.quorum.in_reach),
        ("ekka_quorum_can_lose", "Voters in reach that may fail before the majority is lost", view.quorum.can_lose),
    ];
    for (name, help, value) in quorum {
        sheet.gauge(name, help, [(vec![("group", "durable".to_owned())], f64::from(value))]);
    }
}

pub(super) fn split(sheet: &mut Sheet, view: &View, now: Now) {
    let rows =
        SplitState::ALL.map(|state| (vec![("state", state.as_str().to_owned())], flag(view.split.state == state)));
    sheet.gauge("ekka_split", "The kind of split that this node sees: exactly one is 1", rows);
    let ms = view.split.since.map_or(0, |since| now.wall.as_millis().saturating_sub(since.as_millis()));
    sheet.gauge("ekka_split_seconds", "How long the split lasts", [(vec![], number(ms) / 1000.0)]);
    let mut conflicts: Vec<_> =
        view.conflicts.iter().map(|conflict| (vec![("other_cluster_id", conflict.other.to_string())], 1.0)).collect();
    if conflicts.is_empty() {
        conflicts.push((vec![("other_cluster_id", String::new())], 0.0));
    }
    sheet.gauge("ekka_cluster_conflict", "Two formed clusters of one name have met", conflicts);
}

pub(super) fn members(sheet: &mut Sheet, view: &View) {
    let rows = STATUSES.map(|status| {
        let count = view.members.iter().filter(|member| member.status == status).count();
        (vec![("status", status.as_str().to_owned())], number(count as u64))
    });
    sheet.gauge("ekka_members", "Members by status, as this node sees them", rows);
    let rows = peers(view).map(|member| (peer(member), flag(is_up(member))));
    sheet.gauge("ekka_member_up", "Whether a member is up, as this node sees it", rows);
    let offset = |member: &Member| view.peer_clock_offset_ms.get(&member.id.node_id).copied();
    let rows = peers(view).filter_map(|member| Some((peer(member), seconds_of_ms(offset(member)?))));
    sheet.gauge("ekka_clock_offset_seconds", "How far the clock of a peer is ahead of ours", rows);
}

pub(super) fn links(sheet: &mut Sheet, view: &View) {
    let me = view.me.node_id;
    let mut up = Vec::new();
    let mut rtt = Vec::new();
    for member in peers(view) {
        let other = member.id.node_id;
        for (direction, from, to) in [("in", me, other), ("out", other, me)] {
            let Some(link) = view.links.iter().find(|link| link.from == from && link.to == to) else { continue };
            let mut labels = peer(member);
            labels.push(("direction", direction.to_owned()));
            up.push((labels, flag(matches!(link.state, LinkState::Up | LinkState::Relayed))));
            if let (Some(us), "in") = (link.rtt_us, direction) {
                rtt.push((peer(member), number(us) / 1e6));
            }
        }
    }
    sheet.gauge("ekka_link_up", "Whether this node hears a peer (in) and a peer hears it (out)", up);
    sheet.gauge("ekka_link_rtt_seconds", "Smoothed round-trip time to a peer", rtt);
}

/// The members that get rows of their own: all others, or only those that are not fine in a large cluster.
pub(super) fn peers(view: &View) -> impl Iterator<Item = &Member> {
    let only_ill = view.members.len() > PEERS_MAX;
    view.members.iter().filter(move |member| member.id != view.me && !(only_ill && member.status == Status::Up))
}

fn is_up(member: &Member) -> bool {
    member.status.takes_part()
}

fn peer(member: &Member) -> super::Labels {
    vec![("peer", member.name.to_string())]
}

#[expect(clippy::cast_precision_loss, reason = "an offset of a clock is far below 2^53 ms")]
fn seconds_of_ms(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
