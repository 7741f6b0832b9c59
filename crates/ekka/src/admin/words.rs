//! Every event in words.

use std::fmt::Display;

use ekka_core::durable::generation;
use ekka_core::event::EventKind;

/// What happened, in one sentence for people.
#[must_use]
pub fn text_of(kind: &EventKind) -> String {
    member_text(kind)
        .or_else(|| cluster_text(kind))
        .or_else(|| table_text(kind))
        .or_else(|| heal_text(kind))
        .or_else(|| node_text(kind))
        .unwrap_or_else(|| kind.type_name().replace(['.', '_'], " "))
}

fn heal_text(kind: &EventKind) -> Option<String> {
    Some(match kind {
        EventKind::HealStarted { heal, stays, returns } if returns.is_empty() => {
            format!("heal {heal}: {} are one side, and nobody has to come back", list(stays))
        }
        EventKind::HealStarted { heal, stays, returns } => {
            format!("heal {heal}: {} come back to {}", list(returns), list(stays))
        }
        EventKind::HealStep { heal, step } => format!("heal {heal}: {step}"),
        EventKind::HealFinished { heal, ms, rows, overridden } => format!(
            "heal {heal}: this node is back after {}; {rows} writes came, {overridden} versions lost to concurrent ones",
            seconds(*ms)
        ),
        EventKind::HealEnded { heal, ms, nodes, away: 0 } => {
            format!("heal {heal} has ended after {}: {nodes} nodes came back", seconds(*ms))
        }
        EventKind::HealEnded { heal, ms, nodes, away } => format!(
            "heal {heal} has ended after {}: {nodes} nodes came back, {away} are not there any more and heal anew",
            seconds(*ms)
        ),
        EventKind::HealFailed { heal, why } => format!("heal {heal} goes on, but: {why}"),
        _ => return None,
    })
}

fn node_text(kind: &EventKind) -> Option<String> {
    Some(match kind {
        EventKind::NodeStarting { version } => format!("starting, version {version}"),
        EventKind::NodeReady { for_ } => format!("ready for {for_} work"),
        EventKind::NodeNotReady { for_, reasons } => format!("not ready for {for_} work: {}", reasons.join("; ")),
        EventKind::NodeStopping { by } => format!("stopping, asked by {by}"),
        EventKind::NodeStopped {} => "stopped".into(),
        EventKind::NodePaused { for_ms } => format!("this process did not run for {}", seconds(*for_ms)),
        EventKind::NodeFenced { lease_age_ms } => {
            format!("fenced: no majority has renewed its lease for {}", seconds(*lease_age_ms))
        }
        EventKind::NodeOver { incarnation } => {
            format!("this start (guid {incarnation}) was declared gone: the node comes back under a new guid")
        }
        EventKind::NodeRenamed { from, to } => format!("this node was {from} and is {to} now"),
        EventKind::NodeRefused { reason, by } => format!("this node must not go on, says {by}: {reason}"),
        EventKind::StorageDamaged { what } => {
            format!("{what}: this node votes as a new voter and is filled from its peers")
        }
        EventKind::ClockOffset { peer, ms } => clock(&peer.to_string(), *ms),
        EventKind::CredentialsRotated { step } => format!("credentials rotated: {step}"),
        EventKind::CredentialsFailing { error } => {
            format!("changed certificates are not taken, those before go on serving: {error}")
        }
        EventKind::HandshakeRefused { addr, reason, count: 1 } => format!("refused {addr}: {reason}"),
        EventKind::HandshakeRefused { addr, reason, count } => format!("refused {addr} {count} times: {reason}"),
        EventKind::DiscoveryFailing { strategy, error } => format!("discovery by {strategy} fails: {error}"),
        EventKind::DiscoveryOk { strategy } => format!("discovery by {strategy} works"),
        EventKind::VolatileBegan { generation, voters, lost } => {
            let voters = voters.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let lost = if *lost {
                "; writes to ram quorum tables that were acknowledged before may be missing"
            } else {
                "; nothing that was acknowledged is missing"
            };
            format!("the volatile group begins generation {generation} with {voters}{lost}")
        }
        EventKind::DiscFull { why } => format!("the disc is nearly full: {why}"),
        EventKind::DiscOk {} => "there is room on the disc again".into(),
        EventKind::BackupDone { tables, rows, bytes } => {
            format!("a backup of {tables} tables was given: {rows} rows, {bytes} bytes")
        }
        EventKind::BackupFailed { error } => format!("a backup failed: {error}"),
        EventKind::ConfigReloaded { changed, needs_restart } => {
            let mut text = match changed.as_slice() {
                [] => "configuration read again, nothing changed".to_owned(),
                keys => format!("configuration read again, in effect: {}", keys.join(", ")),
            };
            if !needs_restart.is_empty() {
                text += &format!("; after a restart: {}", needs_restart.join(", "));
            }
            text
        }
        _ => return None,
    })
}

fn table_text(kind: &EventKind) -> Option<String> {
    Some(match kind {
        EventKind::TableCreated { table, what } => format!("the table {table} is there ({what})"),
        EventKind::TableReady { table } => format!("the table {table} is ready on this node"),
        EventKind::TableOverride { table, count: 1 } => {
            format!("a row of the table {table} lost to a writer that had not seen it: ekka losses --table {table}")
        }
        EventKind::TableOverride { table, count } => {
            format!(
                "{count} rows of the table {table} lost to writers that had not seen them: ekka losses --table {table}"
            )
        }
        EventKind::TableSetAside { table, file, rows } => {
            format!("{rows} rows of the table {table} have no place in it any more: they are in {file}")
        }
        EventKind::TableDigestMismatch { table, peer, ranges } => {
            format!(
                "the table {table} differs from that of {peer} in {ranges} of 256 ranges: ekka table verify {table}"
            )
        }
        EventKind::TableReturned { table, node_id, taken, aside } => format!(
            "what node_id {node_id} held in the table {table} before it came in: {taken} versions are rows of this cluster, \
             {aside} are in the journal (`ekka losses`)"
        ),
        EventKind::TableDropped { table } => format!("the table {table} was dropped"),
        _ => return None,
    })
}

fn member_text(kind: &EventKind) -> Option<String> {
    Some(match kind {
        EventKind::MemberJoining { name, .. } => format!("{name} is joining"),
        EventKind::MemberUp { name, .. } => format!("{name} is up"),
        EventKind::MemberDown { name, evidence, .. } => format!("{name} is down: {evidence}"),
        EventKind::MemberStopped { name, .. } => format!("{name} has stopped and said goodbye"),
        EventKind::MemberLeaving { name, .. } => format!("{name} is leaving for good"),
        EventKind::MemberLeft { name, .. } => format!("{name} has left for good"),
        EventKind::MemberRemoved { name, cause, .. } => format!("{name} was removed: {cause}"),
        EventKind::MemberGone { name, incarnation, evidence, .. } => {
            format!("{name} (guid {incarnation}) is gone: {evidence}")
        }
        EventKind::MemberConflict { name, a, b } => format!("two nodes are named {name}: {a} and {b}"),
        _ => return None,
    })
}

fn cluster_text(kind: &EventKind) -> Option<String> {
    Some(match kind {
        EventKind::ClusterFormed { id, nodes, expect } => {
            format!("cluster {id} formed of {} (needed {expect})", list(nodes))
        }
        EventKind::ClusterWaiting { waits } => format!("waits: {}", waits.trim_start_matches("waits: ")),
        EventKind::ClusterConflict { other, met, why } => {
            format!("met {met} of another cluster of this name, {other}: {why}")
        }
        EventKind::ClusterMerged { from, into } => format!("cluster {from} went into {into}"),
        EventKind::ClusterRecovered { generation, lost } => {
            let lost = if lost.is_empty() { "nobody".to_owned() } else { list(lost) };
            format!("the cluster was recovered as its generation {}, given up: {lost}", generation::words(*generation))
        }
        EventKind::ClusterVersion { from, to } => format!("the cluster's version is {to} now, was {from}"),
        EventKind::LeaderChanged { from, to } => change("leader", from.as_ref(), to.as_ref()),
        EventKind::CoordinatorChanged { from, to } => change("coordinator", from.as_ref(), to.as_ref()),
        EventKind::PartitionSuspected { silent } => format!("{} silent: crash or cut", are(silent)),
        EventKind::PartitionOccurred { sides } => {
            let sides: Vec<String> = sides.iter().map(|side| list(side)).collect();
            format!("the cluster is cut: {}", sides.join(" | "))
        }
        EventKind::PartitionPartial { links } => {
            let links: Vec<String> = links.iter().map(|(from, to)| format!("{from} hears no {to}")).collect();
            format!("all run, but links are broken: {}", links.join(", "))
        }
        EventKind::PartitionEnded { for_ms } => format!("the split is over after {}", seconds(*for_ms)),
        _ => return None,
    })
}

fn change<T: Display>(what: &str, from: Option<&T>, to: Option<&T>) -> String {
    match (from, to) {
        (Some(from), Some(to)) => format!("{what} is {to} now, was {from}"),
        (None, Some(to)) => format!("{what} is {to}"),
        (Some(from), None) => format!("there is no {what} now, was {from}"),
        (None, None) => format!("there is no {what}"),
    }
}

fn clock(peer: &str, ms: i64) -> String {
    let by = seconds(ms.unsigned_abs());
    if ms < 0 {
        format!("the clock of {peer} is {by} behind ours")
    } else {
        format!("the clock of {peer} is {by} ahead of ours")
    }
}

fn list<T: Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn are<T: Display>(items: &[T]) -> String {
    format!("{} {}", list(items), if items.len() == 1 { "is" } else { "are" })
}

fn seconds(ms: u64) -> String {
    if ms < 1000 { format!("{ms} ms") } else { format!("{}.{} s", ms / 1000, ms % 1000 / 100) }
}
