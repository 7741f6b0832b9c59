//! `node.*`

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ekka_core::id::{Host, NodeName};
use ekka_core::limits::BASE_PORT;
use ekka_core::view::Role;

use super::Reader;
use super::strategies::k8s_options;
use crate::config::auto;
use crate::config::env::lookup;
use crate::config::error::Place;
use crate::config::kind;
use crate::config::model::{CookieSource, Node, OnSigterm, Secret};
use crate::config::pods;
use crate::config::value;

/// Shortest cookie outside loopback, in characters: 32 of base64 are 192 bits.
const COOKIE_LEN_MIN: usize = 32;

pub(super) fn node(reader: &mut Reader<'_>, ipv6: bool) -> Node {
    let (name, name_from) = name(reader, ipv6);
    let base_port = base_port(reader);
    let port = port(reader, &name, base_port);
    let cookie_weak = reader.text("node.cookie_weak").as_deref() == Some("allow");
    let cookie = cookie(reader, &name, cookie_weak);
    let data_dir = reader.path("node.data_dir").unwrap_or_else(|| PathBuf::from("data").join(name.name()));
    Node {
        listen: listen(reader, &name, port, ipv6),
        cookie,
        cookie_weak,
        data_dir,
        base_port,
        port,
        role: match reader.text("node.role").as_deref() {
            Some("replicant") => Role::Replicant,
            Some("witness") => Role::Witness,
            _ => Role::Core,
        },
        stop_timeout: reader.duration("node.stop_timeout", Duration::from_secs(30)),
        on_sigterm: match reader.text("node.on_sigterm").as_deref() {
            Some("leave-and-forget") => OnSigterm::LeaveAndForget,
            _ => OnSigterm::Stop,
        },
        tags: reader.items("node.tags").and_then(|items| kind::tags(&items).ok()).unwrap_or_default(),
        name,
        name_from,
    }
}

/// The name, and how `auto` was resolved.
fn name(reader: &mut Reader<'_>, ipv6: bool) -> (NodeName, Option<String>) {
    let contained = auto::contained(reader.vars, reader.around);
    let loopback = if ipv6 { "ekka@[::1]" } else { "ekka@127.0.0.1" };
    let default = if contained { "ekka@auto" } else { loopback };
    let default: NodeName = default.parse().expect("the default is a node name");
    let written: NodeName = reader.get("node.name", value::node_name).unwrap_or(default);
    if !written.host().is_auto() || (reader.is_set("node.name") && reader.text("node.name").is_none()) {
        return (written, None);
    }
    let uses_k8s = reader.items("cluster.discovery").is_some_and(|list| list.iter().any(|word| word == "k8s"));
    let own = uses_k8s.then(|| pods::own_host(&k8s_options(reader, written.name()), reader.vars)).flatten();
    let records = records(reader);
    match own.unwrap_or_else(|| auto::host(reader.vars, reader.around, ipv6, records.as_ref())) {
        Ok((host, why)) => {
            let name = written.with_host(host);
            let from = format!("{} from {why}", name.host());
            (name, Some(from))
        }
        Err(why) => {
            let place = reader.place("node.name");
            reader.error(place, "node.name", format!("node.name = {written}: {why}"));
            (written, None)
        }
    }
}

/// The name that `dns` asks for addresses, where the resolver of the system is the one that it asks.
fn records(reader: &Reader<'_>) -> Option<auto::Records> {
    let asks_dns = reader.items("cluster.discovery").is_some_and(|words| words.iter().any(|word| word == "dns"));
    let record = reader.text("cluster.dns.type");
    if !asks_dns || reader.is_set("cluster.dns.server") || record.as_deref() == Some("srv") {
        return None;
    }
    Some(auto::Records { name: reader.text("cluster.dns.name")?, ipv6: record.as_deref() == Some("aaaa") })
}

fn base_port(reader: &Reader<'_>) -> u16 {
    let port = reader.get("node.base_port", |text| value::int(text, 1, 65535));
    port.and_then(|port| u16::try_from(port).ok()).unwrap_or(BASE_PORT)
}

/// The port of the port rule; an error shows the sum.
fn port(reader: &mut Reader<'_>, name: &NodeName, base_port: u16) -> u16 {
    if let Some(port) = name.port(base_port) {
        return port;
    }
    let (key, place) = match reader.place("node.base_port") {
        Place::Default => ("node.name", reader.place("node.name")),
        place => ("node.base_port", place),
    };
    reader.error(place, key, over_the_top(name, base_port));
    base_port
}

/// Says why a name has no port.
pub(super) fn over_the_top(name: &NodeName, base_port: u16) -> String {
    let offset = name.port_offset();
    let sum = u32::from(base_port) + u32::from(offset);
    format!(
        "the port of {name} would be {base_port} + {offset} = {sum}, above 65535: \
         lower node.base_port, or write the port in the name, as in {}@{}:4370",
        name.name(),
        name.host()
    )
}

fn listen(reader: &mut Reader<'_>, name: &NodeName, port: u16, ipv6: bool) -> Vec<SocketAddr> {
    let written = reader.list("node.listen", |text| value::socket(text, Some(port)));
    let Some(addrs) = written else {
        let ip: IpAddr = match name.host() {
            Host::Ip(ip) if ip.is_loopback() => *ip,
            host if host.is_loopback() && ipv6 => Ipv6Addr::LOCALHOST.into(),
            host if host.is_loopback() => Ipv4Addr::LOCALHOST.into(),
            Host::Ip(IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
            _ if ipv6 => Ipv6Addr::UNSPECIFIED.into(),
            _ => Ipv4Addr::UNSPECIFIED.into(),
        };
        return vec![(ip, port).into()];
    };
    if !addrs.iter().any(|addr| addr.port() == port) {
        let text = format!(
            "nothing listens on {port}, where peers dial {name}; write that port here, or another in node.name"
        );
        reader.notice(reader.place("node.listen"), text);
    }
    addrs
}

fn cookie(reader: &mut Reader<'_>, name: &NodeName, weak: bool) -> CookieSource {
    let literal = reader.raws.get("node.cookie").map(|raw| (raw.layer, raw.place.clone()));
    let file = reader.raws.get("node.cookie_file").map(|raw| (raw.layer, raw.place.clone()));
    let use_file = match (&literal, &file) {
        (Some((one, place)), Some((two, other))) if one == two => {
            let (place, other) = (place.clone(), other.clone());
            reader.error(
                place,
                "node.cookie",
                format!("node.cookie is set, and node.cookie_file too ({other}); write one"),
            );
            true
        }
        (Some((one, _)), Some((two, _))) => two > one,
        (_, file) => file.is_some(),
    };
    if use_file {
        return CookieSource::File(reader.path("node.cookie_file").unwrap_or_default());
    }
    if literal.is_some() {
        let text = reader.text("node.cookie").unwrap_or_default();
        let len = text.chars().count();
        let short = !text.is_empty() && len < COOKIE_LEN_MIN;
        if short && !weak && !name.host().is_loopback() {
            let text = format!(
                "node.cookie has {len} characters; a node outside loopback needs at least {COOKIE_LEN_MIN} \
                 (`ekka keygen` makes one), or node.cookie_weak = allow"
            );
            reader.error(reader.place("node.cookie"), "node.cookie", text);
        }
        return CookieSource::Literal(Secret::new(text));
    }
    let bad_name = reader.is_set("node.name") && reader.text("node.name").is_none();
    if !name.host().is_loopback() && !bad_name {
        reader.error(reader.place("node.name"), "node.cookie_file", no_cookie(name));
        return CookieSource::UserFile(PathBuf::new());
    }
    user_file(reader)
}

fn no_cookie(name: &NodeName) -> String {
    format!(
        "{name} is not on loopback and has no cookie. Make one, copy it to the other hosts, and write \
         node.cookie_file = /etc/ekka/cookie:\n  \
         ekka keygen > /etc/ekka/cookie; chmod 600 /etc/ekka/cookie\n  \
         scp -p /etc/ekka/cookie OTHER-HOST:/etc/ekka/cookie"
    )
}

/// The user's own cookie file, shared by all nodes that this user runs on loopback.
fn user_file(reader: &mut Reader<'_>) -> CookieSource {
    // The specification of these directories says that a relative one is to be ignored.
    let xdg = lookup(reader.vars, "XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = lookup(reader.vars, "HOME").map(|home| PathBuf::from(home).join(".config"));
    if let Some(dir) = xdg.or(home) {
        return CookieSource::UserFile(dir.join("ekka").join("cookie"));
    }
    reader.error(
        Place::Default,
        "node.cookie_file",
        "neither HOME nor XDG_CONFIG_HOME is set, so there is no place for the cookie; \
         write node.cookie_file = /path/to/cookie, or node.cookie",
    );
    CookieSource::UserFile(PathBuf::new())
}
