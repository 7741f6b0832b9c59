//! From the addresses behind a Service to candidates: who is one, who is none, and why.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ekka_core::autocluster::Candidate;
use ekka_core::id::{Endpoint, Host, NodeName};
use ekka_core::limits::CANDIDATES_MAX;

use super::addresses::{Address, AddressSet, Kind};
use crate::config::K8s;
use crate::discovery::{Found, LeftOut};

/// Entries that are left out by name; the rest is counted.
const LEFT_OUT_MAX: usize = 64;

/// A candidate, and the address that gave it.
struct Named<'a> {
    candidate: Candidate,
    address: &'a Address,
}

/// What the addresses mean for this node.
pub(super) fn found(options: &K8s, me: &NodeName, base_port: u16, set: &AddressSet) -> Found {
    let mut found = Found::default();
    let mut named = Vec::new();
    let mut left_out = Vec::new();
    for address in set.iter() {
        match candidate(options, base_port, address) {
            Ok(candidate) => named.push(Named { candidate, address }),
            Err(why) => left_out.push(LeftOut { what: shown(address), why }),
        }
    }
    let ipv6 = prefers_ipv6(me, &named);
    let (pods, not_ready) = readiness(&named);
    let kept = one_family(&named, ipv6, &mut left_out);
    found.candidates = kept;
    if not_ready > 0 {
        found.notes.push(format!("{not_ready} of {pods} pods are not ready; they are candidates all the same"));
    }
    if !found.candidates.is_empty() && found.candidates.iter().all(|candidate| candidate.name != *me) {
        found.notes.push(not_listed(options, me, &found.candidates));
    }
    cut(&mut found, left_out, set.dropped());
    found
}

fn candidate(options: &K8s, base_port: u16, address: &Address) -> Result<Candidate, String> {
    let host = match &address.kind {
        Kind::Ip(ip) => options.host(Some(*ip), address.hostname.as_deref())?,
        Kind::Fqdn => fqdn(&address.text)?,
        Kind::Bad => return Err("is no address".to_owned()),
    };
    let name: Result<NodeName, _> = format!("{}@{host}", options.app_name).parse();
    let name = name.map_err(|error| error.to_string())?;
    let port = name.port(base_port).ok_or_else(|| {
        format!("the port of {name} would be above 65535: lower node.base_port, or the number that ends app_name")
    })?;
    // Where the address is known the resolver need not be asked: names of pods resolve late, or not at all.
    let host = match address.kind {
        Kind::Ip(ip) => Host::Ip(ip),
        Kind::Fqdn | Kind::Bad => host,
    };
    Ok(Candidate { endpoint: Endpoint { host, port }, name })
}

fn fqdn(text: &str) -> Result<Host, String> {
    let name: Result<NodeName, _> = format!("x@{text}").parse();
    match name {
        Ok(name) if name.explicit_port().is_none() => Ok(name.host().clone()),
        _ => Err("is no name of a host".to_owned()),
    }
}

/// Whether the IPv6 addresses count where pods have both kinds: as this node names itself.
fn prefers_ipv6(me: &NodeName, named: &[Named<'_>]) -> bool {
    let family = |ip: &IpAddr| ip.is_ipv6();
    let mine =
        || named.iter().find(|n| n.candidate.name == *me).and_then(|n| ip(n.address)).is_some_and(|ip| family(&ip));
    match me.host() {
        Host::Ip(ip) => family(ip),
        Host::Dns(_) => mine(),
    }
}

fn ip(address: &Address) -> Option<IpAddr> {
    match address.kind {
        Kind::Ip(ip) => Some(ip),
        Kind::Fqdn | Kind::Bad => None,
    }
}

/// Which pod an address belongs to: by its uid, else by name, else the address stands for itself.
fn pod_key(address: &Address) -> (&str, &str) {
    match &address.pod {
        Some((name, uid)) => (name, uid),
        None => ("", &address.text),
    }
}

/// How many pods there are, and how many of them are not ready by any of their addresses.
fn readiness(named: &[Named<'_>]) -> (usize, usize) {
    let mut pods: BTreeMap<(&str, &str), bool> = BTreeMap::new();
    for Named { address, .. } in named {
        *pods.entry(pod_key(address)).or_default() |= address.ready;
    }
    (pods.len(), pods.values().filter(|ready| !**ready).count())
}

/// One candidate for each name; of a pod with addresses of both kinds only those of one kind, or it would count twice.
fn one_family(named: &[Named<'_>], ipv6: bool, left_out: &mut Vec<LeftOut>) -> Vec<Candidate> {
    let preferred = |address: &Address| ip(address).is_none_or(|ip| ip.is_ipv6() == ipv6);
    let mut by_pod: BTreeMap<(&str, &str), String> = BTreeMap::new();
    for Named { candidate, address } in named.iter().filter(|named| preferred(named.address)) {
        by_pod.entry(pod_key(address)).or_insert_with(|| candidate.name.to_string());
    }
    let mut kept: BTreeMap<NodeName, Candidate> = BTreeMap::new();
    for Named { candidate, address } in named {
        match by_pod.get(&pod_key(address)) {
            Some(other) if !preferred(address) => {
                if *other != candidate.name.to_string() {
                    left_out.push(LeftOut { what: shown(address), why: format!("is the other address of {other}") });
                }
            }
            _ => drop(kept.entry(candidate.name.clone()).or_insert_with(|| candidate.clone())),
        }
    }
    kept.into_values().collect()
}

fn not_listed(options: &K8s, me: &NodeName, candidates: &[Candidate]) -> String {
    let service = &options.service_name;
    match candidates.iter().find(|candidate| candidate.endpoint.host == *me.host()) {
        Some(other) => format!(
            "Service {service} lists this node's address as {}, but node.name is {me}: the part before the @ must be \
             cluster.k8s.app_name",
            other.name
        ),
        None => format!(
            "this node, {me}, is not among the pods of Service {service}: in a pod of it, node.name = {}@auto gives the \
             name that the others know",
            options.app_name
        ),
    }
}

/// Keeps the answer within its bounds, and says so.
fn cut(found: &mut Found, mut left_out: Vec<LeftOut>, dropped: usize) {
    let over = found.candidates.len().saturating_sub(CANDIDATES_MAX) + dropped;
    if over > 0 {
        found.candidates.truncate(CANDIDATES_MAX);
        found.notes.push(format!("{over} addresses more than the {CANDIDATES_MAX} that are taken were cut off"));
    }
    let more = left_out.len().saturating_sub(LEFT_OUT_MAX);
    if more > 0 {
        left_out.truncate(LEFT_OUT_MAX);
        found.notes.push(format!("{more} further addresses are no candidates either"));
    }
    found.left_out = left_out;
}

/// An address with its pod; what a server sends is cut to what a line bears.
fn shown(address: &Address) -> String {
    let clip = |text: &str| text.chars().take(253).collect::<String>();
    match &address.pod {
        Some((pod, _)) => format!("{} (pod {})", clip(&address.text), clip(pod)),
        None => clip(&address.text),
    }
}

#[cfg(test)]
mod tests;
