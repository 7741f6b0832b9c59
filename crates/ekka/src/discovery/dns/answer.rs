//! What the records mean: candidates, what is left out and why, and what a person should know.

use std::net::IpAddr;

use ekka_core::autocluster::Candidate;
use ekka_core::id::{Endpoint, NodeName};
use ekka_core::limits::CANDIDATES_MAX;

use super::lookup::{Answer, Outcome, Record, Service};
use super::words;
use crate::config::DnsRecord;
use crate::discovery::{Found, LeftOut, Me};

/// Entries that are left out and told one by one; a message holds thousands.
const LEFT_OUT_MAX: usize = 64;

/// How names are made.
pub(super) struct Naming {
    /// `cluster.dns.app`
    pub(super) app: String,
    pub(super) me: Me,
    pub(super) base_port: u16,
}

/// Turns an answer into what the strategy says. `asked` is the name as configured, without a dot at its end.
pub(super) fn found(answer: &Answer, naming: &Naming, asked: &str, record: DnsRecord) -> Found {
    let records = match &answer.outcome {
        Outcome::Records(records) => sorted(records),
        Outcome::NoData => {
            return Found { notes: vec![nobody(answer, asked, record, "the name has none")], ..Found::default() };
        }
        Outcome::NoName => {
            let why = "the name does not exist (NXDOMAIN)";
            return Found { notes: vec![nobody(answer, asked, record, why)], ..Found::default() };
        }
    };
    let mut found = Found::default();
    let mut left_out = 0;
    let mut too_many = 0;
    for entry in &records {
        match candidate(entry, naming) {
            Ok(candidate) if found.candidates.iter().any(|other| other.endpoint == candidate.endpoint) => {}
            Ok(_) if found.candidates.len() >= CANDIDATES_MAX => too_many += 1,
            Ok(candidate) => found.candidates.push(candidate),
            Err(why) => {
                left_out += 1;
                if found.left_out.len() < LEFT_OUT_MAX {
                    found.left_out.push(LeftOut { what: shown(entry), why });
                }
            }
        }
    }
    if too_many > 0 {
        found.notes.push(format!("the answer names {too_many} more than the {CANDIDATES_MAX} that are looked at"));
    }
    if left_out > LEFT_OUT_MAX {
        found.notes.push(format!("{left_out} records are left out; {LEFT_OUT_MAX} of them are shown"));
    }
    found.notes.extend(without_me(&found, naming, asked));
    found
}

/// Addresses in order; services by priority (low first), then weight (high first), then name.
fn sorted(records: &[Record]) -> Vec<Record> {
    let mut records = records.to_vec();
    records.sort_by_key(|record| match record {
        Record::Ip(ip) => (Some(*ip), None),
        Record::Service(service) => {
            let Service { priority, weight, port, target } = service.clone();
            (None, Some((priority, u16::MAX - weight, target.to_ascii_lowercase(), port)))
        }
    });
    records.dedup();
    records
}

fn shown(record: &Record) -> String {
    match record {
        Record::Ip(ip) => ip.to_string(),
        Record::Service(service) => {
            let target = service.target.trim_end_matches('.');
            format!("{}:{}", if target.is_empty() { "." } else { target }, service.port)
        }
    }
}

fn candidate(record: &Record, naming: &Naming) -> Result<Candidate, String> {
    let (name, endpoint) = match record {
        Record::Ip(ip) => by_address(*ip, naming)?,
        Record::Service(service) => by_service(service, naming)?,
    };
    // The same rule that peers go by when they meet (a name on loopback never joins one that is not).
    if endpoint.host.is_loopback() != naming.me.name.host().is_loopback() {
        let (this, other) = if endpoint.host.is_loopback() { ("is not", "is") } else { ("is", "is not") };
        return Err(format!(
            "{} {other} on loopback and this node, {}, {this}: such nodes never join each other",
            endpoint.host, naming.me.name
        ));
    }
    // Whatever its record makes of its name, who is dialled there is this node.
    let name = if endpoint == naming.me.endpoint { naming.me.name.clone() } else { name };
    Ok(Candidate { name, endpoint })
}

fn by_address(ip: IpAddr, naming: &Naming) -> Result<(NodeName, Endpoint), String> {
    fit(ip)?;
    let host = match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let name: NodeName = format!("{}@{host}", naming.app).parse().map_err(|error| format!("{error}"))?;
    let endpoint = name.endpoint(naming.base_port).ok_or("its port would be above 65535")?;
    Ok((name, endpoint))
}

fn by_service(service: &Service, naming: &Naming) -> Result<(NodeName, Endpoint), String> {
    let target = service.target.trim_end_matches('.');
    if target.is_empty() {
        return Err("the target `.` says that there is no such service".to_owned());
    }
    if service.port == 0 {
        return Err("its port is 0".to_owned());
    }
    let bad = |_| "its target is no host name".to_owned();
    let name: NodeName = format!("{}@{target}", naming.app).parse().map_err(bad)?;
    if name.explicit_port().is_some() {
        return Err("its target is no host name".to_owned());
    }
    let host = name.host().clone();
    // A port that the rule gives anyway is not part of the name.
    let name: NodeName = match name.port(naming.base_port) {
        Some(port) if port == service.port => name,
        _ => format!("{}@{host}:{}", naming.app, service.port).parse().map_err(bad)?,
    };
    Ok((name, Endpoint { host, port: service.port }))
}

/// Whether one host can have this address.
fn fit(ip: IpAddr) -> Result<(), String> {
    let why = match ip {
        IpAddr::V4(ip) if ip.octets()[0] == 0 => "it is the address of no host",
        IpAddr::V4(ip) if ip.is_multicast() => "it is a multicast address",
        IpAddr::V4(ip) if ip.is_broadcast() => "it is the broadcast address",
        IpAddr::V6(ip) if ip.is_unspecified() => "it is the address of no host",
        IpAddr::V6(ip) if ip.is_multicast() => "it is a multicast address",
        IpAddr::V6(ip) if ip.is_unicast_link_local() => "a link-local address is of use on one interface only",
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => "it is an IPv4 address in IPv6 form: write an A record",
        _ => return Ok(()),
    };
    Err(why.to_owned())
}

/// The words for an answer in which nobody is.
fn nobody(answer: &Answer, asked: &str, record: DnsRecord, why: &str) -> String {
    let tried = match answer.names.as_slice() {
        [] | [_] => String::new(),
        names => format!("; asked for: {}", names.join(", ")),
    };
    format!("no record of type {} for {asked}: not even this node is listed; {why}{tried}", words::kind(record))
}

/// The note that this node is missing, with the reason where it shows.
fn without_me(found: &Found, naming: &Naming, asked: &str) -> Option<String> {
    let me = &naming.me;
    if found.candidates.iter().any(|candidate| candidate.endpoint == me.endpoint) {
        return None;
    }
    if found.candidates.is_empty() {
        return Some(format!("no record of {asked} can be used, and this node is not listed"));
    }
    let here = found.candidates.iter().find(|candidate| candidate.endpoint.host == me.endpoint.host);
    let why = match here {
        Some(other) => format!(
            "; its host is there as {}, port {}, and it listens on {}: all nodes need the same name part and \
             node.base_port, or SRV records",
            other.name, other.endpoint.port, me.endpoint.port
        ),
        None => String::new(),
    };
    Some(format!("this node, {} ({}), is not in the answer: others may not find it{why}", me.name, me.endpoint))
}

#[cfg(test)]
mod tests;
