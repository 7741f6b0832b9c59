//! The words for a lookup that failed: the name, the type, the names tried, and each server with what came of it.

use std::net::SocketAddr;

use super::lookup::{Failure, SERVER_TIMEOUT};
use crate::config::DnsRecord;

/// The type, as zone files write it.
pub(super) fn kind(record: DnsRecord) -> &'static str {
    match record {
        DnsRecord::A => "A",
        DnsRecord::Aaaa => "AAAA",
        DnsRecord::Srv => "SRV",
    }
}

/// No server gave an answer for this name.
pub(super) fn failed(name: &str, record: DnsRecord, failures: &[(SocketAddr, Failure)], asked: &[String]) -> String {
    let each: Vec<String> =
        failures.iter().map(|(server, failure)| format!("{server} {}", failure_words(failure))).collect();
    let others: Vec<&str> = asked.iter().map(String::as_str).filter(|other| *other != name).collect();
    let tried = if others.is_empty() { String::new() } else { format!(" (asked for also: {})", others.join(", ")) };
    let what_to_do = failures.first().map_or("", |(_, failure)| advice(failure));
    format!("no answer for {} records of {name}{tried}: {}; {what_to_do}", kind(record), each.join(", "))
}

fn failure_words(failure: &Failure) -> String {
    match failure {
        Failure::Silent => format!("did not answer within {} s", SERVER_TIMEOUT.as_secs()),
        Failure::ServFail => "answered SERVFAIL".to_owned(),
        Failure::Refused => "answered REFUSED".to_owned(),
        Failure::Truncated => "has an answer that is too long for UDP and gives none over TCP".to_owned(),
        Failure::Other(words) => format!("failed: {words}"),
    }
}

/// What a person can do about it.
fn advice(failure: &Failure) -> &'static str {
    match failure {
        Failure::Silent => "see whether it runs and can be reached from here on UDP and TCP",
        Failure::ServFail => "it could not find out itself: its own log says why",
        Failure::Refused => "it does not serve this machine or this name: see its access rules, or cluster.dns.server",
        Failure::Truncated => "open TCP to it",
        Failure::Other(_) => "see whether it is a DNS server, and cluster.dns.server or /etc/resolv.conf",
    }
}
