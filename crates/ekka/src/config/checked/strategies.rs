//! The options of each discovery strategy.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use ekka_core::id::NodeName;

use super::node::over_the_top;
use super::{Reader, seeds_key};
use crate::config::error::Place;
use crate::config::keys::CORE_NODES;
use crate::config::model::{Dns, DnsRecord, Etcd, EtcdVersion, K8s, K8sAddress, Mcast, Node, Strategy};
use crate::config::value;

/// Where Kubernetes mounts what a pod needs for its API.
const MOUNTED: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The strategy of this word with its options; a missing one is an error.
pub(super) fn strategy(reader: &mut Reader<'_>, word: &str, node: &Node) -> Strategy {
    match word {
        "static" => Strategy::Static { seeds: seeds(reader, node) },
        "mcast" => Strategy::Mcast(mcast(reader)),
        "dns" => Strategy::Dns(dns(reader, node)),
        "etcd" => Strategy::Etcd(etcd(reader)),
        "k8s" => Strategy::K8s(k8s(reader, node)),
        _ => Strategy::Manual,
    }
}

/// Says what became of the original's `core_nodes`.
pub(super) fn core_nodes_notice(reader: &mut Reader<'_>) {
    if !reader.is_set(CORE_NODES) {
        return;
    }
    let place = reader.place(CORE_NODES);
    if seeds_key(reader) == CORE_NODES {
        reader.notice(place, "`core_nodes` is read as cluster.static.seeds");
    } else if reader.is_set("cluster.static.seeds") {
        reader.notice(place, "`core_nodes` has no effect: cluster.static.seeds is set");
    } else {
        reader.notice(place, "`core_nodes` has no effect: it is for node.role = replicant; write cluster.static.seeds");
    }
}

fn require(reader: &mut Reader<'_>, strategy: &str, key: &str, example: &str) {
    if !reader.is_set(key) {
        let text = format!("cluster.discovery = {strategy} needs {key}; write {key} = {example}");
        reader.error(reader.place("cluster.discovery"), key, text);
    }
}

fn seeds(reader: &mut Reader<'_>, node: &Node) -> Vec<NodeName> {
    let key = seeds_key(reader);
    let example = "ekka@10.0.0.1,ekka@10.0.0.2";
    require(reader, "static", key, example);
    let Some(seeds) = reader.list(key, value::node_name) else { return Vec::new() };
    let place = reader.place(key);
    if seeds.is_empty() {
        reader.error(
            place,
            key,
            format!("{key} is empty; cluster.discovery = static needs seeds: write {key} = {example}"),
        );
        return seeds;
    }
    for seed in &seeds {
        if seed.endpoint(node.base_port).is_none() {
            reader.error(place.clone(), key, format!("{key}: {}", over_the_top(seed, node.base_port)));
        }
    }
    let mine = node.name.host().is_loopback();
    if let Some(other) = seeds.iter().find(|seed| seed.host().is_loopback() != mine) {
        let (name, on) = (&node.name, if mine { "is" } else { "is not" });
        let text = format!(
            "{key}: {other} and this node, {name}, cannot meet: {name} {on} on loopback, and the other {}; \
             write an address in both that the others reach (node.name sets this node's)",
            if mine { "is not" } else { "is" }
        );
        reader.error(place, key, text);
    }
    seeds
}

fn mcast(reader: &mut Reader<'_>) -> Mcast {
    let addr = reader.get("cluster.mcast.addr", value::multicast).unwrap_or(Ipv4Addr::new(239, 192, 0, 1).into());
    let any: IpAddr = if addr.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let iface = reader.get("cluster.mcast.iface", value::ip).unwrap_or(any);
    if iface.is_ipv6() != addr.is_ipv6() {
        let text = format!(
            "cluster.mcast.iface = {iface} and cluster.mcast.addr = {addr} are of different kinds; write both as IPv4 or both as IPv6"
        );
        reader.error(reader.place("cluster.mcast.iface"), "cluster.mcast.iface", text);
    }
    let port = |text: &str| value::int(text, 1, 65535).and_then(|n| u16::try_from(n).map_err(|e| e.to_string()));
    Mcast {
        addr,
        ports: reader.list("cluster.mcast.ports", port).unwrap_or_else(|| vec![4369, 4370]),
        iface,
        ttl: reader
            .get("cluster.mcast.ttl", |text| value::int(text, 0, 255))
            .and_then(|n| u8::try_from(n).ok())
            .unwrap_or(1),
        loopback: reader.get("cluster.mcast.loop", value::flag).unwrap_or(true),
        sndbuf: reader.get("cluster.mcast.sndbuf", value::size),
        recbuf: reader.get("cluster.mcast.recbuf", value::size),
        buffer: reader.get("cluster.mcast.buffer", value::size),
    }
}

fn dns(reader: &mut Reader<'_>, node: &Node) -> Dns {
    require(reader, "dns", "cluster.dns.name", "ekka.example.org");
    Dns {
        name: reader.text("cluster.dns.name").unwrap_or_default(),
        app: reader.text("cluster.dns.app").unwrap_or_else(|| node.name.name().to_owned()),
        record: match reader.text("cluster.dns.type").as_deref() {
            Some("aaaa") => DnsRecord::Aaaa,
            Some("srv") => DnsRecord::Srv,
            _ => DnsRecord::A,
        },
        server: reader.get("cluster.dns.server", |text| value::socket(text, Some(53))),
    }
}

fn etcd(reader: &mut Reader<'_>) -> Etcd {
    require(reader, "etcd", "cluster.etcd.server", "http://127.0.0.1:2379");
    reader.both_or_none("cluster.etcd.username", "cluster.etcd.password_file");
    reader.both_or_none("cluster.etcd.ssl.keyfile", "cluster.etcd.ssl.certfile");
    let servers = reader.list("cluster.etcd.server", value::url).unwrap_or_default();
    if let Some(plain) = servers.iter().find(|url| url.starts_with("http://")) {
        let text = format!("{plain}: the names of the nodes go to etcd in the clear; https:// hides them");
        reader.notice(reader.place("cluster.etcd.server"), text);
    }
    let prefix = reader.text("cluster.etcd.prefix").map(|text| text.trim_matches('/').to_owned());
    Etcd {
        servers,
        prefix: prefix.unwrap_or_else(|| "ekkacl".to_owned()),
        node_ttl: reader.duration("cluster.etcd.node_ttl", Duration::from_secs(60)),
        version: match reader.text("cluster.etcd.version").as_deref() {
            Some("v2") => EtcdVersion::V2,
            Some("v3") => EtcdVersion::V3,
            _ => EtcdVersion::Auto,
        },
        username: reader.text("cluster.etcd.username"),
        password_file: reader.path("cluster.etcd.password_file"),
        keyfile: reader.path("cluster.etcd.ssl.keyfile"),
        certfile: reader.path("cluster.etcd.ssl.certfile"),
        cacertfile: reader.path("cluster.etcd.ssl.cacertfile"),
    }
}

fn k8s(reader: &mut Reader<'_>, node: &Node) -> K8s {
    let k8s = k8s_options(reader, node.name.name());
    insecure_token_notice(reader, &k8s);
    k8s
}

/// The options by themselves; `app` is the part of this node's name before the `@`.
pub(super) fn k8s_options(reader: &Reader<'_>, app: &str) -> K8s {
    let mounted = |name: &str| {
        let path = format!("{MOUNTED}/{name}");
        reader.around.exists(&path).then(|| path.into())
    };
    let (token, cacert) = (mounted("token"), mounted("ca.crt"));
    let app_name = reader.text("cluster.k8s.app_name").unwrap_or_else(|| app.to_owned());
    let address_type = match reader.text("cluster.k8s.address_type").as_deref() {
        Some("dns") => K8sAddress::Dns,
        Some("hostname") => K8sAddress::Hostname,
        _ => K8sAddress::Ip,
    };
    let suffix = reader.text("cluster.k8s.suffix").unwrap_or_else(|| {
        let suffix = match address_type {
            K8sAddress::Ip => "",
            K8sAddress::Dns => "pod.cluster.local",
            K8sAddress::Hostname => "svc.cluster.local",
        };
        suffix.to_owned()
    });
    let namespace = reader.text("cluster.k8s.namespace").unwrap_or_else(|| {
        let mounted = reader.around.read(&format!("{MOUNTED}/namespace")).map(|text| text.trim().to_owned());
        mounted.filter(|text| !text.is_empty()).unwrap_or_else(|| "default".to_owned())
    });
    let default_server = || vec!["https://kubernetes.default.svc".to_owned()];
    K8s {
        apiservers: reader.list("cluster.k8s.apiserver", value::url).unwrap_or_else(default_server),
        service_name: reader.text("cluster.k8s.service_name").unwrap_or_else(|| app_name.clone()),
        address_type,
        app_name,
        namespace,
        suffix: Some(suffix).filter(|suffix| !suffix.is_empty()),
        token_file: reader.path("cluster.k8s.token_file").or(token),
        cacertfile: reader.path("cluster.k8s.cacertfile").or(cacert),
        insecure_token: reader.get("cluster.k8s.insecure_token", value::flag).unwrap_or(false),
    }
}

/// A token goes over https or to loopback only, unless the operator says otherwise.
fn insecure_token_notice(reader: &mut Reader<'_>, k8s: &K8s) {
    let far = |url: &&String| {
        let host = value::url_host(url);
        let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        url.starts_with("http://") && !loopback
    };
    let Some(plain) = k8s.apiservers.iter().find(far) else { return };
    let text = match (&k8s.token_file, k8s.insecure_token) {
        (None, _) => format!("{plain}: answers of the API server could be forged on the way; https:// prevents it"),
        (Some(_), true) => format!("{plain}: the token goes in the clear, as cluster.k8s.insecure_token = on allows"),
        (Some(_), false) => {
            format!("{plain}: the token is not sent in the clear; use https://, or cluster.k8s.insecure_token = on")
        }
    };
    let place = match reader.place("cluster.k8s.apiserver") {
        Place::Default => reader.place("cluster.discovery"),
        place => place,
    };
    reader.notice(place, text);
}
