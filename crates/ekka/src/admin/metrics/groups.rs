//! The groups that decide, and the disc that they write to.

use super::{Labels, Sheet, flag, number};
use crate::node::Counters;

pub(super) fn groups(sheet: &mut Sheet, counters: &Counters) {
    let groups = [("durable", counters.durable), ("volatile", counters.volatile)];
    let of = |group: &str| -> Labels { vec![("group", group.to_owned())] };
    let changes = groups.map(|(group, counts)| (of(group), counts.leader_changes));
    let membership = (of("membership"), counters.leader_changes);
    sheet.counter("ekka_leader_changes", "Changes of the leader", changes.into_iter().chain([membership]));
    let rows = groups.map(|(group, counts)| (of(group), flag(counts.has_leader)));
    sheet.gauge("ekka_raft_has_leader", "Whether a replica runs here and knows a leader", rows);
    let rows = groups.map(|(group, counts)| (of(group), flag(counts.leads)));
    sheet.gauge("ekka_raft_leads", "Whether this node leads", rows);
    let rows = groups.map(|(group, counts)| (of(group), number(counts.applied_lag)));
    sheet.gauge("ekka_raft_applied_lag", "Entries in the log of the replica here that it has not applied", rows);
    let rows = groups.map(|(group, counts)| (of(group), counts.commits)).to_vec();
    sheet.times("ekka_raft_commit_seconds", "From proposal to commit, of what was proposed on this node", rows);
}

pub(super) fn disc(sheet: &mut Sheet, counters: &Counters) {
    let free = counters.disc.free.map(|free| (vec![], number(free)));
    sheet.gauge("ekka_disk_free_bytes", "Free on the disc of the data directory", free);
    sheet.gauge("ekka_disk_alarm", "Whether it is nearly full", [(vec![], flag(counters.disc_full))]);
    sheet.times("ekka_fsync_seconds", "Time of writing and syncing one batch", vec![(vec![], counters.disc.syncs)]);
}
