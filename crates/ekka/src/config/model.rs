//! The checked model: every value valid, every default in place.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ekka_core::autocluster::Merge;
use ekka_core::id::NodeName;
use ekka_core::view::Role;

/// A whole, valid configuration.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// `node.*`
    pub node: Node,
    /// `cluster.*`
    pub cluster: Cluster,
    /// `api.*`
    pub api: Api,
    /// `health.listen`: plain HTTP, read-only.
    pub health_listen: Option<SocketAddr>,
    /// `lock.max_ttl`
    pub lock_max_ttl: Duration,
    /// `storage.*`
    pub storage: Storage,
    /// `log.*`
    pub log: Log,
    /// The keys that someone wrote, in any source; the rest are defaults.
    pub written: BTreeSet<&'static str>,
}

/// `node.*`
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// `node.name`; its host is never `auto` here.
    pub name: NodeName,
    /// How `auto` was resolved, in words; `None` where the name was written out.
    pub name_from: Option<String>,
    /// Where the cookie comes from.
    pub cookie: CookieSource,
    /// `node.cookie_weak = allow`
    pub cookie_weak: bool,
    /// `node.data_dir`
    pub data_dir: PathBuf,
    /// `node.listen`: addresses, each with the port of the port rule where it names none.
    pub listen: Vec<SocketAddr>,
    /// `node.base_port`
    pub base_port: u16,
    /// The port of the port rule, or of the name.
    pub port: u16,
    /// `node.role`
    pub role: Role,
    /// `node.stop_timeout`
    pub stop_timeout: Duration,
    /// `node.on_sigterm`
    pub on_sigterm: OnSigterm,
    /// `node.tags`
    pub tags: BTreeMap<String, String>,
}

/// Where the cookie comes from. The secret itself is read by `transport` at start and at reload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CookieSource {
    /// `node.cookie`, given literally. (Not printed by `Debug` of [`Secret`].)
    Literal(Secret),
    /// `node.cookie_file`
    File(PathBuf),
    /// The user's file for nodes on loopback, made if absent.
    UserFile(PathBuf),
}

/// A text that no log line shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// What SIGTERM does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnSigterm {
    /// Stop, and come back by itself.
    #[default]
    Stop,
    /// Leave for good.
    LeaveAndForget,
}

/// `cluster.*`
#[derive(Clone, PartialEq, Debug)]
pub struct Cluster {
    /// `cluster.name`
    pub name: String,
    /// `cluster.discovery`, in order, each with its options.
    pub discovery: Vec<Strategy>,
    /// `cluster.expect`; `None`: the strategy's default.
    pub expect: Option<u32>,
    /// `cluster.merge`
    pub merge: Merge,
    /// `cluster.autoheal`: `None` is off.
    pub autoheal: Option<Duration>,
    /// `cluster.gone_after`
    pub gone_after: Duration,
    /// `cluster.autoclean`: `None` is off.
    pub autoclean: Option<Duration>,
    /// `cluster.tls` (with `cluster.proto_dist = inet_tls` folded in)
    pub tls: TlsMode,
    /// `cluster.proto_dist` asks for IPv6.
    pub ipv6: bool,
}

/// `cluster.tls`
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TlsMode {
    /// Both sides derive one certificate authority from the cookie.
    Cookie,
    /// The operator's PKI.
    Files {
        /// This node's certificate chain (PEM).
        certfile: PathBuf,
        /// Its key (PEM).
        keyfile: PathBuf,
        /// The authorities (PEM).
        cacertfile: PathBuf,
    },
    /// Authenticated by the cookie, payload in the clear.
    Off,
}

/// One discovery strategy with its options.
#[derive(Clone, PartialEq, Debug)]
pub enum Strategy {
    /// An operator types `join`.
    Manual,
    /// A list of names.
    Static {
        /// `cluster.static.seeds`
        seeds: Vec<NodeName>,
    },
    /// Multicast.
    Mcast(Mcast),
    /// DNS records.
    Dns(Dns),
    /// etcd.
    Etcd(Etcd),
    /// Kubernetes.
    K8s(K8s),
}

impl Strategy {
    /// The word in the configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Static { .. } => "static",
            Self::Mcast(_) => "mcast",
            Self::Dns(_) => "dns",
            Self::Etcd(_) => "etcd",
            Self::K8s(_) => "k8s",
        }
    }
}

/// `cluster.mcast.*`
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "named and explained as in docs/configuration.md")]
pub struct Mcast {
    pub addr: IpAddr,
    pub ports: Vec<u16>,
    pub iface: IpAddr,
    pub ttl: u8,
    pub loopback: bool,
    pub sndbuf: Option<u64>,
    pub recbuf: Option<u64>,
    pub buffer: Option<u64>,
}

/// `cluster.dns.*`
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "named and explained as in docs/configuration.md")]
pub struct Dns {
    pub name: String,
    pub app: String,
    pub record: DnsRecord,
    pub server: Option<SocketAddr>,
}

/// `cluster.dns.type`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs, reason = "DNS's own words")]
pub enum DnsRecord {
    #[default]
    A,
    Aaaa,
    Srv,
}

/// `cluster.etcd.*`
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "named and explained as in docs/configuration.md")]
pub struct Etcd {
    pub servers: Vec<String>,
    pub prefix: String,
    pub node_ttl: Duration,
    pub version: EtcdVersion,
    pub username: Option<String>,
    pub password_file: Option<PathBuf>,
    pub keyfile: Option<PathBuf>,
    pub certfile: Option<PathBuf>,
    pub cacertfile: Option<PathBuf>,
}

/// `cluster.etcd.version`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs, reason = "etcd's own words")]
pub enum EtcdVersion {
    V2,
    V3,
    #[default]
    Auto,
}

/// `cluster.k8s.*`
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "named and explained as in docs/configuration.md")]
pub struct K8s {
    pub apiservers: Vec<String>,
    pub service_name: String,
    pub address_type: K8sAddress,
    pub app_name: String,
    pub namespace: String,
    pub suffix: Option<String>,
    pub token_file: Option<PathBuf>,
    pub cacertfile: Option<PathBuf>,
    pub insecure_token: bool,
}

/// `cluster.k8s.address_type`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs, reason = "the original's own words")]
pub enum K8sAddress {
    #[default]
    Ip,
    Dns,
    Hostname,
}

/// `api.*`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Api {
    /// `api.socket`
    pub socket: PathBuf,
    /// `api.socket_group`
    pub socket_group: Option<String>,
    /// `api.listen`, with its token file and perhaps TLS.
    pub tcp: Option<ApiTcp>,
}

/// `api.listen` and what belongs to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ApiTcp {
    /// `api.listen`
    pub listen: SocketAddr,
    /// `api.token_file`
    pub token_file: PathBuf,
    /// `api.tls.certfile` and `api.tls.keyfile`
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// `storage.*`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Storage {
    /// `storage.reserve`, bytes
    pub reserve: u64,
    /// `storage.cache`, bytes; `None` is auto.
    pub cache: Option<u64>,
    /// `storage.keep`, bytes
    pub keep: u64,
}

/// `log.*`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Log {
    /// `log.level`
    pub level: String,
    /// `log.format`; `None`: text on a terminal, else json.
    pub format: Option<LogFormat>,
}

/// `log.format`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "said by their names")]
pub enum LogFormat {
    Text,
    Json,
}
