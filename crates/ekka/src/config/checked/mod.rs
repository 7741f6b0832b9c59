//! From raw values to the checked model.
//!
//! Each value was checked against its kind when it was read ([`super::raw`]); here they are put together, defaults
//! fill the gaps, and what only several keys together can show is refused. A value that was refused already reads as
//! absent, so that one mistake gives one error.

mod cluster;
mod node;
mod strategies;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::auto::Surroundings;
use super::error::{ConfigError, Notice, Place};
use super::keys;
use super::model::{Api, ApiTcp, Config, Log, LogFormat, Storage};
use super::raw::{Raw, Raws};
use super::value;

/// What the checks read, and where they put what they find.
pub(super) struct Reader<'a> {
    pub(super) raws: &'a Raws,
    pub(super) vars: &'a [(String, String)],
    pub(super) around: &'a dyn Surroundings,
    pub(super) errors: Vec<ConfigError>,
    pub(super) notices: Vec<Notice>,
}

impl Reader<'_> {
    fn raw(&self, key: &str) -> Option<&Raw> {
        self.raws.get(key).filter(|raw| raw.key.kind.check(&raw.value).is_ok())
    }

    /// Whether someone gave the key, even a bad value.
    fn is_set(&self, key: &str) -> bool {
        self.raws.get(key).is_some()
    }

    fn place(&self, key: &str) -> Place {
        self.raws.get(key).map_or(Place::Default, |raw| raw.place.clone())
    }

    fn text(&self, key: &str) -> Option<String> {
        self.raw(key).and_then(|raw| raw.value.text().ok())
    }

    fn items(&self, key: &str) -> Option<Vec<String>> {
        self.raw(key).and_then(|raw| raw.value.items().ok())
    }

    /// The value, read by a function of [`super::value`].
    fn get<T>(&self, key: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.text(key).and_then(|text| read(&text).ok())
    }

    /// The list, each item read by a function of [`super::value`].
    fn list<T>(&self, key: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<Vec<T>> {
        self.items(key).map(|items| items.iter().filter_map(|item| read(item).ok()).collect())
    }

    fn duration(&self, key: &str, default: Duration) -> Duration {
        self.get(key, value::duration).unwrap_or(default)
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        self.raw(key).and_then(Raw::path)
    }

    fn error(&mut self, place: Place, key: &str, text: impl Into<String>) {
        self.errors.push(ConfigError { place, key: Some(key.to_owned()), text: text.into() });
    }

    fn notice(&mut self, place: Place, text: impl Into<String>) {
        self.notices.push(Notice { place, text: text.into() });
    }

    /// Refuses one of two keys without the other.
    fn both_or_none(&mut self, one: &str, other: &str) {
        for (set, missing) in [(one, other), (other, one)] {
            if self.is_set(set) && !self.is_set(missing) {
                self.error(self.place(set), set, format!("{set} is set without {missing}; write both, or none"));
            }
        }
    }
}

/// Checks everything; where there are errors, the result is not to be used.
pub(super) fn config(reader: &mut Reader<'_>) -> Config {
    let cluster = cluster::security(reader);
    let node = node::node(reader, cluster.ipv6);
    let cluster = cluster::cluster(reader, &node, cluster);
    let api = api(reader, &node.data_dir);
    let written: BTreeSet<&'static str> = reader.raws.keys().collect();
    Config {
        node,
        cluster,
        api,
        health_listen: reader.get("health.listen", |text| value::socket(text, None)),
        lock_max_ttl: reader.duration("lock.max_ttl", Duration::from_secs(60)),
        storage: storage(reader),
        log: Log {
            level: reader.text("log.level").unwrap_or_else(|| "info".to_owned()),
            format: reader
                .text("log.format")
                .map(|text| if text == "json" { LogFormat::Json } else { LogFormat::Text }),
        },
        written,
    }
}

fn api(reader: &mut Reader<'_>, data_dir: &std::path::Path) -> Api {
    reader.both_or_none("api.tls.certfile", "api.tls.keyfile");
    let listen: Option<SocketAddr> = reader.get("api.listen", |text| value::socket(text, None));
    let token_file = reader.path("api.token_file");
    let tls = reader.path("api.tls.certfile").zip(reader.path("api.tls.keyfile"));
    if reader.is_set("api.listen") && !reader.is_set("api.token_file") {
        reader.error(
            reader.place("api.listen"),
            "api.listen",
            "api.listen is set without api.token_file; the HTTP API on TCP needs a token: \
             make one with `ekka keygen > FILE; chmod 600 FILE` and write api.token_file = FILE",
        );
    }
    if !reader.is_set("api.listen") {
        for key in ["api.token_file", "api.tls.certfile", "api.tls.keyfile"] {
            if reader.is_set(key) {
                reader.notice(reader.place(key), format!("{key} has no effect while api.listen is not set"));
            }
        }
    }
    if let (Some(addr), None) = (listen, &tls)
        && !addr.ip().is_loopback()
    {
        let text =
            format!("the API on {addr} is plain HTTP: its token goes in the clear; set api.tls.certfile and keyfile");
        reader.notice(reader.place("api.listen"), text);
    }
    Api {
        socket: reader.path("api.socket").unwrap_or_else(|| data_dir.join("ekka.sock")),
        socket_group: reader.text("api.socket_group"),
        tcp: listen.zip(token_file).map(|(listen, token_file)| ApiTcp { listen, token_file, tls }),
    }
}

fn storage(reader: &Reader<'_>) -> Storage {
    Storage {
        reserve: reader.get("storage.reserve", value::size).unwrap_or(256 << 20),
        cache: reader.get("storage.cache", value::size),
        keep: reader.get("storage.keep", value::size).unwrap_or(1 << 30),
    }
}

/// Seeds, or the core nodes that the original's replicants are given in their place.
pub(super) fn seeds_key(reader: &Reader<'_>) -> &'static str {
    let replicant = reader.text("node.role").as_deref() == Some("replicant");
    let by_core_nodes = replicant && reader.is_set(keys::CORE_NODES) && !reader.is_set("cluster.static.seeds");
    if by_core_nodes { keys::CORE_NODES } else { "cluster.static.seeds" }
}
