//! `cluster.*`, without the options of the strategies.

use std::time::Duration;

use ekka_core::autocluster::Merge;

use super::{Reader, strategies};
use crate::config::formation;
use crate::config::keys::CLUSTER_ENABLE;
use crate::config::model::{Cluster, Node, Strategy, TlsMode};
use crate::config::value;

/// Time for the view to settle where `cluster.autoheal = on`.
const AUTOHEAL_SETTLE: Duration = Duration::from_secs(3);
/// Keys of the operator's PKI.
const TLS_FILES: [&str; 3] = ["cluster.tls.certfile", "cluster.tls.keyfile", "cluster.tls.cacertfile"];

/// What `cluster.tls` and `cluster.proto_dist` say together.
pub(super) struct Security {
    tls: TlsMode,
    pub(super) ipv6: bool,
}

pub(super) fn security(reader: &mut Reader<'_>) -> Security {
    let proto = reader.text("cluster.proto_dist").unwrap_or_else(|| "inet_tcp".to_owned());
    let asks_files = proto.ends_with("_tls");
    let written = reader.text("cluster.tls");
    if let Some(tls) = written.as_deref().filter(|tls| asks_files && *tls != "files") {
        let text = format!(
            "cluster.tls = {tls}, but cluster.proto_dist = {proto} ({}) is cluster.tls = files; write one of the two",
            reader.place("cluster.proto_dist")
        );
        reader.error(reader.place("cluster.tls"), "cluster.tls", text);
    }
    if proto == "inet6_tls" {
        let text = "`inet6_tls` is read as cluster.proto_dist = inet6_tcp with cluster.tls = files";
        reader.notice(reader.place("cluster.proto_dist"), text);
    }
    let tls = match written.as_deref() {
        _ if asks_files => files(reader, "cluster.proto_dist", &proto),
        Some("files") => files(reader, "cluster.tls", "files"),
        other => {
            for key in TLS_FILES {
                if reader.is_set(key) {
                    reader.notice(reader.place(key), format!("{key} has no effect unless cluster.tls = files"));
                }
            }
            if other == Some("off") {
                let text = "cluster.tls = off: peers are authenticated by the cookie, but all data goes in the clear";
                reader.notice(reader.place("cluster.tls"), text);
                TlsMode::Off
            } else {
                TlsMode::Cookie
            }
        }
    };
    Security { tls, ipv6: proto.starts_with("inet6") }
}

fn files(reader: &mut Reader<'_>, key: &str, written: &str) -> TlsMode {
    let missing: Vec<&str> = TLS_FILES.into_iter().filter(|key| !reader.is_set(key)).collect();
    if !missing.is_empty() {
        let text = format!("{key} = {written} needs {}; write the paths of PEM files", missing.join(", "));
        reader.error(reader.place(key), key, text);
    }
    let [certfile, keyfile, cacertfile] = TLS_FILES.map(|key| reader.path(key).unwrap_or_default());
    TlsMode::Files { certfile, keyfile, cacertfile }
}

pub(super) fn cluster(reader: &mut Reader<'_>, node: &Node, security: Security) -> Cluster {
    let discovery = discovery(reader, node);
    let expect = reader.get("cluster.expect", |text| value::int(text, 1, 4096));
    check_expect(reader, node, &discovery, expect);
    Cluster {
        name: reader.text("cluster.name").unwrap_or_else(|| "ekka".to_owned()),
        discovery,
        expect,
        merge: match reader.text("cluster.merge").as_deref() {
            Some("never") => Merge::Never,
            _ => Merge::Empty,
        },
        autoheal: switch(reader, "cluster.autoheal", AUTOHEAL_SETTLE),
        gone_after: reader.duration("cluster.gone_after", Duration::from_secs(15)),
        autoclean: switch(reader, "cluster.autoclean", Duration::from_secs(24 * 3600)),
        tls: security.tls,
        ipv6: security.ipv6,
    }
}

/// off, on (the default), or a duration.
fn switch(reader: &Reader<'_>, key: &str, default: Duration) -> Option<Duration> {
    match reader.text(key).as_deref() {
        Some("off" | "false") => None,
        Some(text) => Some(value::duration(text).unwrap_or(default)),
        None => Some(default),
    }
}

fn discovery(reader: &mut Reader<'_>, node: &Node) -> Vec<Strategy> {
    let by_core_nodes = super::seeds_key(reader) == crate::config::keys::CORE_NODES;
    let default = if by_core_nodes { "static" } else { "manual" };
    let words = reader.items("cluster.discovery").unwrap_or_else(|| vec![default.to_owned()]);
    if words.len() > 1 && words.iter().any(|word| word == "manual") {
        let text = "cluster.discovery: `manual` stands alone; leave it out of the list, or write nothing else";
        reader.error(reader.place("cluster.discovery"), "cluster.discovery", text);
    }
    let strategies: Vec<Strategy> = words.iter().map(|word| strategies::strategy(reader, word, node)).collect();
    strategies::core_nodes_notice(reader);
    if reader.get(CLUSTER_ENABLE, value::flag) == Some(false) {
        let text = format!(
            "`cluster.enable = off` is read as cluster.discovery = manual ({} is kept, unused)",
            words.join(",")
        );
        reader.notice(reader.place(CLUSTER_ENABLE), text);
        return vec![Strategy::Manual];
    }
    strategies
}

fn check_expect(reader: &mut Reader<'_>, node: &Node, discovery: &[Strategy], expect: Option<u32>) {
    let (Some(expect), Some(list)) = (expect, formation::electorate(node, discovery)) else { return };
    let place = reader.place("cluster.expect");
    let (voters, majority) = (list.len(), list.len() / 2 + 1);
    let wanted = usize::try_from(expect).unwrap_or(usize::MAX);
    if wanted > voters {
        let text = format!(
            "cluster.expect = {expect}: the seeds and this node are {voters}, so no cluster could ever form; \
             write {majority} to {voters}"
        );
        reader.error(place, "cluster.expect", text);
    } else if wanted < majority {
        let text = format!(
            "cluster.expect = {expect} is less than a majority of the {voters} seeds: \
             two groups that do not see each other could each form a cluster; {majority} is safe"
        );
        reader.notice(place, text);
    }
}
