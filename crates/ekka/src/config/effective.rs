//! The values that hold, as `ekka check` shows them.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use ekka_core::autocluster::Merge;
use ekka_core::view::Role;

use super::error::Place;
use super::formation::formation_settings;
use super::keys::{CLUSTER_ENABLE, CORE_NODES, KEYS};
use super::load::Effective;
use super::model::{
    Config, CookieSource, Dns, DnsRecord, Etcd, EtcdVersion, K8s, K8sAddress, LogFormat, Mcast, OnSigterm, Strategy,
    TlsMode,
};
use super::raw::Raws;
use super::value::{show_duration, show_size};

/// Every key that has a value, with its source; keys of strategies that are not in use are shown where they are set.
pub(super) fn values(config: &Config, raws: &Raws) -> Vec<Effective> {
    let mut values = Vec::new();
    for key in KEYS {
        let raw = raws.get(key.name);
        let written = || raw.filter(|raw| !raw.key.kind.is_secret()).map(|raw| raw.value.shown());
        let Some(value) = shown(config, key.name).or_else(written) else { continue };
        let source = source(raws, key.name);
        values.push(Effective { key: key.name, value, source });
    }
    values.retain(|value| value.key != CLUSTER_ENABLE && value.key != CORE_NODES);
    values
}

/// Where a value came from; values that another key decides have that key's place.
fn source(raws: &Raws, key: &str) -> Place {
    let place = |key: &str| raws.get(key).map(|raw| raw.place.clone());
    let enable_off = || {
        let raw = raws.get(CLUSTER_ENABLE)?;
        matches!(raw.value.text().ok()?.as_str(), "off" | "false").then(|| raw.place.clone())
    };
    let other = match key {
        "cluster.discovery" => enable_off(),
        _ => None,
    };
    let fallback = || match key {
        "cluster.tls" => {
            let raw = raws.get("cluster.proto_dist")?;
            raw.value.text().ok()?.ends_with("_tls").then(|| raw.place.clone())
        }
        "cluster.static.seeds" | "cluster.discovery" => place(CORE_NODES),
        _ => None,
    };
    other.or_else(|| place(key)).or_else(fallback).unwrap_or(Place::Default)
}

fn shown(config: &Config, key: &str) -> Option<String> {
    let (first, rest) = key.split_once('.')?;
    match first {
        "node" => node(config, rest),
        "cluster" => match rest.split_once('.') {
            Some((strategy, option)) if strategy != "tls" => strategy_option(config, strategy, option),
            _ => cluster(config, rest),
        },
        _ => other(config, key),
    }
}

fn node(config: &Config, key: &str) -> Option<String> {
    let node = &config.node;
    Some(match key {
        "name" => node.name.to_string(),
        "cookie" => match &node.cookie {
            CookieSource::Literal(_) => "(secret)".to_owned(),
            CookieSource::File(_) | CookieSource::UserFile(_) => return None,
        },
        "cookie_file" => match &node.cookie {
            CookieSource::File(file) | CookieSource::UserFile(file) => path(file),
            CookieSource::Literal(_) => return None,
        },
        "cookie_weak" => if node.cookie_weak { "allow" } else { "refuse" }.to_owned(),
        "data_dir" => path(&node.data_dir),
        "listen" => list(&node.listen),
        "base_port" => node.base_port.to_string(),
        "role" => role(node.role).to_owned(),
        "stop_timeout" => show_duration(node.stop_timeout),
        "on_sigterm" => match node.on_sigterm {
            OnSigterm::Stop => "stop".to_owned(),
            OnSigterm::LeaveAndForget => "leave-and-forget".to_owned(),
        },
        "tags" if node.tags.is_empty() => return None,
        "tags" => list(&node.tags.iter().map(|(key, text)| format!("{key}={text}")).collect::<Vec<_>>()),
        _ => return None,
    })
}

fn cluster(config: &Config, key: &str) -> Option<String> {
    let cluster = &config.cluster;
    let switch = |duration: Option<Duration>| duration.map_or_else(|| "off".to_owned(), show_duration);
    Some(match key {
        "name" => cluster.name.clone(),
        "discovery" => list(&cluster.discovery.iter().map(Strategy::name).collect::<Vec<_>>()),
        "expect" => formation_settings(config).expect?.to_string(),
        "merge" => match cluster.merge {
            Merge::Empty => "empty".to_owned(),
            Merge::Never => "never".to_owned(),
        },
        "autoheal" => switch(cluster.autoheal),
        "gone_after" => show_duration(cluster.gone_after),
        "autoclean" => switch(cluster.autoclean),
        "proto_dist" => if cluster.ipv6 { "inet6_tcp" } else { "inet_tcp" }.to_owned(),
        _ => return tls(&cluster.tls, key),
    })
}

fn tls(tls: &TlsMode, key: &str) -> Option<String> {
    let (mode, files) = match tls {
        TlsMode::Cookie => ("cookie", None),
        TlsMode::Off => ("off", None),
        TlsMode::Files { certfile, keyfile, cacertfile } => ("files", Some((certfile, keyfile, cacertfile))),
    };
    match (key, files) {
        ("tls", _) => Some(mode.to_owned()),
        ("tls.certfile", Some((file, _, _)))
        | ("tls.keyfile", Some((_, file, _)))
        | ("tls.cacertfile", Some((_, _, file))) => Some(path(file)),
        _ => None,
    }
}

fn strategy_option(config: &Config, strategy: &str, option: &str) -> Option<String> {
    let used = config.cluster.discovery.iter().find(|used| used.name() == strategy)?;
    match used {
        Strategy::Manual => None,
        Strategy::Static { seeds } => (option == "seeds").then(|| list(seeds)),
        Strategy::Mcast(mcast) => mcast_option(mcast, option),
        Strategy::Dns(dns) => dns_option(dns, option),
        Strategy::Etcd(etcd) => etcd_option(etcd, option),
        Strategy::K8s(k8s) => k8s_option(k8s, option),
    }
}

fn mcast_option(mcast: &Mcast, option: &str) -> Option<String> {
    Some(match option {
        "addr" => mcast.addr.to_string(),
        "ports" => list(&mcast.ports),
        "iface" => mcast.iface.to_string(),
        "ttl" => mcast.ttl.to_string(),
        "loop" => if mcast.loopback { "on" } else { "off" }.to_owned(),
        "sndbuf" => show_size(mcast.sndbuf?),
        "recbuf" => show_size(mcast.recbuf?),
        "buffer" => show_size(mcast.buffer?),
        _ => return None,
    })
}

fn dns_option(dns: &Dns, option: &str) -> Option<String> {
    Some(match option {
        "name" => dns.name.clone(),
        "app" => dns.app.clone(),
        "type" => match dns.record {
            DnsRecord::A => "a".to_owned(),
            DnsRecord::Aaaa => "aaaa".to_owned(),
            DnsRecord::Srv => "srv".to_owned(),
        },
        "server" => dns.server?.to_string(),
        _ => return None,
    })
}

fn etcd_option(etcd: &Etcd, option: &str) -> Option<String> {
    Some(match option {
        "server" => list(&etcd.servers),
        "prefix" => etcd.prefix.clone(),
        "node_ttl" => show_duration(etcd.node_ttl),
        "version" => match etcd.version {
            EtcdVersion::V2 => "v2".to_owned(),
            EtcdVersion::V3 => "v3".to_owned(),
            EtcdVersion::Auto => "auto".to_owned(),
        },
        "username" => etcd.username.clone()?,
        "password_file" => path(etcd.password_file.as_ref()?),
        "ssl.keyfile" => path(etcd.keyfile.as_ref()?),
        "ssl.certfile" => path(etcd.certfile.as_ref()?),
        "ssl.cacertfile" => path(etcd.cacertfile.as_ref()?),
        _ => return None,
    })
}

fn k8s_option(k8s: &K8s, option: &str) -> Option<String> {
    Some(match option {
        "apiserver" => list(&k8s.apiservers),
        "service_name" => k8s.service_name.clone(),
        "address_type" => match k8s.address_type {
            K8sAddress::Ip => "ip".to_owned(),
            K8sAddress::Dns => "dns".to_owned(),
            K8sAddress::Hostname => "hostname".to_owned(),
        },
        "app_name" => k8s.app_name.clone(),
        "namespace" => k8s.namespace.clone(),
        "suffix" => k8s.suffix.clone()?,
        "token_file" => path(k8s.token_file.as_ref()?),
        "cacertfile" => path(k8s.cacertfile.as_ref()?),
        "insecure_token" => if k8s.insecure_token { "on" } else { "off" }.to_owned(),
        _ => return None,
    })
}

fn other(config: &Config, key: &str) -> Option<String> {
    let tcp = config.api.tcp.as_ref();
    let tls = tcp.and_then(|tcp| tcp.tls.as_ref());
    Some(match key {
        "api.socket" => path(&config.api.socket),
        "api.socket_group" => config.api.socket_group.clone()?,
        "api.listen" => tcp.map_or_else(|| "off".to_owned(), |tcp| tcp.listen.to_string()),
        "api.token_file" => path(&tcp?.token_file),
        "api.tls.certfile" => path(&tls?.0),
        "api.tls.keyfile" => path(&tls?.1),
        "health.listen" => config.health_listen.map_or_else(|| "off".to_owned(), |addr| addr.to_string()),
        "lock.max_ttl" => show_duration(config.lock_max_ttl),
        "storage.reserve" => show_size(config.storage.reserve),
        "storage.cache" => config.storage.cache.map_or_else(|| "auto".to_owned(), show_size),
        "storage.keep" => show_size(config.storage.keep),
        "log.level" => config.log.level.clone(),
        "log.format" => match config.log.format {
            Some(LogFormat::Text) => "text".to_owned(),
            Some(LogFormat::Json) => "json".to_owned(),
            None => "text on a terminal, else json".to_owned(),
        },
        _ => return None,
    })
}

/// The word of a role.
pub(super) fn role(role: Role) -> &'static str {
    match role {
        Role::Core => "core",
        Role::Replicant => "replicant",
        Role::Witness => "witness",
    }
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

fn list<T: Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
