//! The table of keys, their aliases, and the nearest known key to one that is not known.

use std::time::Duration;

use super::kind::Kind;

/// A key.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Key {
    /// As `docs/configuration.md` calls it.
    pub(crate) name: &'static str,
    /// What it takes.
    pub(crate) kind: Kind,
}

const fn key(name: &'static str, kind: Kind) -> Key {
    Key { name, kind }
}

const NO_MIN: Duration = Duration::ZERO;

/// Every key, in the order in which `ekka check` shows them.
pub(crate) const KEYS: &[Key] = &[
    key("node.name", Kind::Name),
    key("node.cookie", Kind::Secret),
    key("node.cookie_file", Kind::Path),
    key("node.cookie_weak", Kind::OneOf(&["allow", "refuse"])),
    key("node.data_dir", Kind::Path),
    key("node.listen", Kind::Listen),
    key("node.base_port", Kind::Int(1, 65535)),
    key("node.role", Kind::OneOf(&["core", "replicant", "witness"])),
    key("node.stop_timeout", Kind::Duration(NO_MIN)),
    key("node.on_sigterm", Kind::OneOf(&["stop", "leave-and-forget"])),
    key("node.tags", Kind::Tags),
    key("cluster.name", Kind::Word),
    key("cluster.discovery", Kind::SomeOf(&["manual", "static", "mcast", "dns", "etcd", "k8s"])),
    key("cluster.expect", Kind::Int(1, 4096)),
    key("cluster.merge", Kind::OneOf(&["empty", "never"])),
    key(
        "cluster.autoheal",
        Kind::Switch {
            on: true,
            min: Duration::from_millis(100),
            zero: "0 would heal before the view has settled; write off, or a duration such as 3s",
        },
    ),
    key("cluster.gone_after", Kind::Duration(Duration::from_secs(10))),
    key(
        "cluster.autoclean",
        Kind::Switch { on: false, min: NO_MIN, zero: "0 would remove any down node at once; write off" },
    ),
    key("cluster.tls", Kind::OneOf(&["cookie", "files", "off"])),
    key("cluster.tls.certfile", Kind::Path),
    key("cluster.tls.keyfile", Kind::Path),
    key("cluster.tls.cacertfile", Kind::Path),
    key("cluster.proto_dist", Kind::OneOf(&["inet_tcp", "inet6_tcp", "inet_tls", "inet6_tls"])),
    key("cluster.static.seeds", Kind::Names),
    key("cluster.mcast.addr", Kind::Multicast),
    key("cluster.mcast.ports", Kind::Ports),
    key("cluster.mcast.iface", Kind::Ip),
    key("cluster.mcast.ttl", Kind::Int(0, 255)),
    key("cluster.mcast.loop", Kind::Flag),
    key("cluster.mcast.sndbuf", Kind::Size),
    key("cluster.mcast.recbuf", Kind::Size),
    key("cluster.mcast.buffer", Kind::Size),
    key("cluster.dns.name", Kind::DomainName),
    key("cluster.dns.app", Kind::Word),
    key("cluster.dns.type", Kind::OneOf(&["a", "aaaa", "srv"])),
    key("cluster.dns.server", Kind::DnsServer),
    key("cluster.etcd.server", Kind::Urls),
    key("cluster.etcd.prefix", Kind::Text),
    key("cluster.etcd.node_ttl", Kind::Duration(Duration::from_secs(1))),
    key("cluster.etcd.version", Kind::OneOf(&["v2", "v3", "auto"])),
    key("cluster.etcd.username", Kind::Text),
    key("cluster.etcd.password_file", Kind::Path),
    key("cluster.etcd.ssl.keyfile", Kind::Path),
    key("cluster.etcd.ssl.certfile", Kind::Path),
    key("cluster.etcd.ssl.cacertfile", Kind::Path),
    key("cluster.k8s.apiserver", Kind::Urls),
    key("cluster.k8s.service_name", Kind::Word),
    key("cluster.k8s.address_type", Kind::OneOf(&["ip", "dns", "hostname"])),
    key("cluster.k8s.app_name", Kind::Word),
    key("cluster.k8s.namespace", Kind::Word),
    key("cluster.k8s.suffix", Kind::TextOrNone),
    key("cluster.k8s.token_file", Kind::Path),
    key("cluster.k8s.cacertfile", Kind::Path),
    key("cluster.k8s.insecure_token", Kind::Flag),
    key("api.socket", Kind::Path),
    key("api.socket_group", Kind::Word),
    key("api.listen", Kind::Socket),
    key("api.token_file", Kind::Path),
    key("api.tls.certfile", Kind::Path),
    key("api.tls.keyfile", Kind::Path),
    key("health.listen", Kind::Socket),
    key("lock.max_ttl", Kind::Duration(Duration::from_secs(1))),
    key("storage.reserve", Kind::Size),
    key("storage.cache", Kind::SizeOrAuto),
    key("storage.keep", Kind::Size),
    key("log.level", Kind::OneOf(&["error", "warn", "info", "debug", "trace", "off"])),
    key("log.format", Kind::OneOf(&["text", "json"])),
    // Keys of the original that live on under a meaning of their own; `ekka check` shows what they turn into.
    key(CLUSTER_ENABLE, Kind::Flag),
    key(CORE_NODES, Kind::Names),
];

/// `off` means `cluster.discovery = manual`, keeping the rest.
pub(crate) const CLUSTER_ENABLE: &str = "cluster.enable";
/// Means `cluster.static.seeds` for a replicant.
pub(crate) const CORE_NODES: &str = "rlog.core_nodes";

/// Other names of keys, as they stand in files.
const ALIASES: &[(&str, &str)] = &[
    ("cluster.k8s.app", "cluster.k8s.app_name"),
    ("cluster.etcd.keyfile", "cluster.etcd.ssl.keyfile"),
    ("cluster.etcd.certfile", "cluster.etcd.ssl.certfile"),
    ("cluster.etcd.cacertfile", "cluster.etcd.ssl.cacertfile"),
    ("cluster.dns.record_type", "cluster.dns.type"),
    ("cluster.discovery_strategy", "cluster.discovery"),
    ("cluster.clean_down", "cluster.autoclean"),
    ("rlog.role", "node.role"),
    // The shapes of the Erlang style, flattened.
    ("proto_dist", "cluster.proto_dist"),
    ("core_nodes", CORE_NODES),
];

/// Keys that had a meaning once, and why they need none now.
const NO_EFFECT: &[(&str, &str)] = &[
    ("cluster.etcd.transport", "the original never read it either; http or https stands in cluster.etcd.server"),
    (
        "cluster.mcast.heartbeat",
        "silence is noticed on the connections themselves, by one set of times for all strategies",
    ),
    ("cluster.skip_table_load_check", "a node that comes back takes what its peers have before it serves"),
    ("skip_table_load_check", "a node that comes back takes what its peers have before it serves"),
];

/// What a key that someone wrote means.
pub(crate) enum Meaning {
    /// This key, by its own name.
    Own(&'static Key),
    /// This key, by another name.
    Alias(&'static Key),
    /// Nothing any more, and why.
    NoEffect(&'static str),
    /// Not known; the nearest known one, where one is near.
    Unknown(Option<&'static str>),
}

/// Looks a dotted key up.
pub(crate) fn meaning(written: &str) -> Meaning {
    if let Some(key) = by_name(written) {
        return Meaning::Own(key);
    }
    if let Some(key) = ALIASES.iter().find(|(alias, _)| *alias == written).and_then(|(_, name)| by_name(name)) {
        return Meaning::Alias(key);
    }
    match NO_EFFECT.iter().find(|(name, _)| *name == written) {
        Some((_, why)) => Meaning::NoEffect(why),
        None => Meaning::Unknown(nearest(written)),
    }
}

/// The key of this name.
pub(crate) fn by_name(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The dotted key for the name of an application variable of Erlang (`cluster_static_seeds`), known or not.
pub(crate) fn dotted(flat: &str) -> String {
    let names = KEYS.iter().map(|key| key.name);
    let others = ALIASES.iter().map(|(alias, _)| *alias).chain(NO_EFFECT.iter().map(|(name, _)| *name));
    let known = names.chain(others).find(|name| name.replace('.', "_") == flat);
    known.map_or_else(|| flat.to_owned(), str::to_owned)
}

/// The nearest known key.
pub(crate) fn nearest(written: &str) -> Option<&'static str> {
    // Near enough to be meant: Jaro-Winkler puts typing errors and swapped words of these keys above 0.8.
    const NEAR: f64 = 0.8;
    let as_flat = written.replace('_', ".");
    KEYS.iter()
        .map(|key| key.name)
        .map(|name| {
            let plain = strsim::jaro_winkler(name, &written.to_ascii_lowercase());
            let flat = strsim::jaro_winkler(&name.replace('_', "."), &as_flat.to_ascii_lowercase());
            let edits = strsim::damerau_levenshtein(name, written);
            (plain.max(flat), std::cmp::Reverse(edits), name)
        })
        .filter(|(score, ..)| *score >= NEAR)
        .max_by(|a, b| (a.1, a.0).partial_cmp(&(b.1, b.0)).unwrap_or(std::cmp::Ordering::Equal))
        .map(|(_, _, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_names_of_the_erlang_style_are_unique() {
        let mut flat: Vec<String> = KEYS.iter().map(|key| key.name.replace('.', "_")).collect();
        flat.sort();
        let before = flat.len();
        flat.dedup();
        assert_eq!(flat.len(), before);
    }

    #[test]
    fn every_alias_leads_to_a_key() {
        for (alias, name) in ALIASES {
            assert!(by_name(name).is_some(), "{alias} -> {name}");
            assert!(by_name(alias).is_none(), "{alias} is a key itself");
        }
    }

    #[test]
    fn typing_errors_find_the_key_that_was_meant() {
        for (written, meant) in [
            ("cluster.nmae", "cluster.name"),
            ("cluster.static.seed", "cluster.static.seeds"),
            ("Cluster.Name", "cluster.name"),
            ("cluster.discvery", "cluster.discovery"),
            ("node.datadir", "node.data_dir"),
            ("cluster.auto_heal", "cluster.autoheal"),
            ("cluster.mcast.port", "cluster.mcast.ports"),
            ("cluster_autohael", "cluster.autoheal"),
            ("cluster.k8s.adress_type", "cluster.k8s.address_type"),
        ] {
            assert_eq!(nearest(written), Some(meant), "{written}");
        }
        assert_eq!(nearest("zzz"), None);
    }
}
