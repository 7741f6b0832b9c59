//! One lookup: every name of the search list, at every server in turn, within one time.
//!
//! A server that answers "no such name" has answered, and the next name is tried. One that fails or is silent has not:
//! the next server is asked, and if none answers, the lookup fails, unless another name gives records. So an empty
//! result means that servers said so. Servers are asked one after the other, in their order, because where they see
//! different zones (a company's server first, a public one second) the first one's word counts; one that was silent is
//! asked last for the rest of the lookup.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::names::names;
use super::system::Sources;
use super::words;
use crate::config::DnsRecord;
use crate::env::BoxFuture;

/// How long one server may take for one question, a repeated one over TCP included.
pub(super) const SERVER_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the whole lookup may take: well below the node's limit for one answer.
pub(super) const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a question is put to a server that is silent.
const PASSES: usize = 2;

/// Who puts one question to one server.
pub(super) trait Ask: Send + Sync + 'static {
    /// Asks `server` for records of this type of a fully qualified name.
    fn ask<'a>(&'a self, server: SocketAddr, name: &'a str, record: DnsRecord)
    -> BoxFuture<'a, Result<Reply, Failure>>;
}

/// A record that was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Record {
    /// A or AAAA.
    Ip(IpAddr),
    /// SRV.
    Service(Service),
}

/// An SRV record.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Service {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) port: u16,
    pub(super) target: String,
}

/// What a server answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Reply {
    pub(super) outcome: Outcome,
    /// How long it may be kept.
    pub(super) ttl: Duration,
}

/// What is known of a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// Records of the type asked for, at least one.
    Records(Vec<Record>),
    /// The name exists and has no record of this type.
    NoData,
    /// The name does not exist.
    NoName,
}

/// Why a server gave no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Failure {
    /// Nothing came in time.
    Silent,
    /// SERVFAIL.
    ServFail,
    /// REFUSED.
    Refused,
    /// The answer did not fit into UDP and could not be had over TCP.
    Truncated,
    /// Anything else, in words.
    Other(String),
}

/// What the lookup gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    /// The names that were asked, fully qualified; the last one has the records.
    pub(super) names: Vec<String>,
    pub(super) outcome: Outcome,
    pub(super) ttl: Duration,
}

/// Asks.
///
/// # Errors
/// No server could say what there is; in words that stay the same while the trouble does.
pub(super) async fn lookup(
    asker: &dyn Ask,
    sources: &Sources,
    name: &str,
    record: DnsRecord,
) -> Result<Answer, String> {
    let deadline = Instant::now() + LOOKUP_TIMEOUT;
    let mut servers = sources.servers.clone();
    let all = names(name, &sources.search, sources.ndots);
    let mut asked: Vec<String> = Vec::new();
    let mut empty: Option<Reply> = None;
    let mut failed: Option<(String, Vec<(SocketAddr, Failure)>)> = None;
    for name in all {
        match ask_servers(asker, &mut servers, &name, record, deadline).await {
            Ok(Reply { outcome: outcome @ Outcome::Records(_), ttl }) => {
                asked.push(name);
                return Ok(Answer { names: asked, outcome, ttl });
            }
            // That one of the names exists tells more than that another does not.
            Ok(reply) if empty.is_none() || reply.outcome == Outcome::NoData => empty = Some(reply),
            Ok(_) => {}
            Err(failures) => {
                failed.get_or_insert((name.clone(), failures));
            }
        }
        asked.push(name);
        if Instant::now() >= deadline {
            break;
        }
    }
    match (failed, empty) {
        (Some((name, mut failures)), _) => {
            // In the order of the configuration, however the silent ones were put off, so that the words stay the same.
            failures.sort_by_key(|(server, _)| sources.servers.iter().position(|other| other == server));
            Err(words::failed(&name, record, &failures, &asked))
        }
        (None, Some(reply)) => Ok(Answer { names: asked, outcome: reply.outcome, ttl: reply.ttl }),
        (None, None) => Err(format!("cluster.dns.name = {name} is no name that can be asked for")),
    }
}

/// Asks one server after the other until one answers, the silent ones once more.
async fn ask_servers(
    asker: &dyn Ask,
    servers: &mut Vec<SocketAddr>,
    name: &str,
    record: DnsRecord,
    deadline: Instant,
) -> Result<Reply, Vec<(SocketAddr, Failure)>> {
    let mut failures: Vec<(SocketAddr, Failure)> = Vec::new();
    for pass in 0..PASSES {
        for server in servers.clone() {
            let silent_before = failures.iter().any(|(known, why)| *known == server && *why == Failure::Silent);
            if pass > 0 && !silent_before {
                continue;
            }
            let limit = SERVER_TIMEOUT.min(deadline.saturating_duration_since(Instant::now()));
            let failure = match timeout(limit, asker.ask(server, name, record)).await {
                Ok(Ok(reply)) => return Ok(reply),
                Ok(Err(failure)) => failure,
                Err(_) => Failure::Silent,
            };
            if failure == Failure::Silent {
                servers.retain(|other| *other != server);
                servers.push(server);
            }
            failures.retain(|(known, _)| *known != server);
            failures.push((server, failure));
        }
    }
    Err(failures)
}

#[cfg(test)]
mod tests;
