//! One question to one server, by `hickory-resolver`: UDP, repeated while nothing comes, TCP where the answer is too
//! long for it, aliases followed.
//!
//! The library's cache, search list, hosts file and choice of servers stay unused: each would turn "could not find out"
//! into "knows nobody" somewhere, and they are decided in `lookup` where they can be tested without a server. The
//! sockets are the library's own: `env::Net` has streams only.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{self, Name, RData, RecordType};

use super::lookup::{Ask, Failure, Outcome, Record, Reply, SERVER_TIMEOUT, Service};
use crate::config::DnsRecord;
use crate::env::BoxFuture;

/// Asks over the network.
pub(super) struct Hickory;

impl Ask for Hickory {
    fn ask<'a>(
        &'a self,
        server: SocketAddr,
        name: &'a str,
        record: DnsRecord,
    ) -> BoxFuture<'a, Result<Reply, Failure>> {
        Box::pin(async move {
            match query(server, name, record, Edns::On).await {
                // Servers from before EDNS take a question with it for garbage.
                Err(Failure::Other(words)) if words == words_of(ResponseCode::FormErr) => {
                    query(server, name, record, Edns::Off).await
                }
                result => result,
            }
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Edns {
    On,
    Off,
}

async fn query(server: SocketAddr, name: &str, record: DnsRecord, edns: Edns) -> Result<Reply, Failure> {
    let resolver = resolver(server, edns).map_err(|error| failure(&error))?;
    let name = Name::from_ascii(name).map_err(|error| Failure::Other(format!("{name} is no DNS name: {error}")))?;
    match resolver.lookup(name, record_type(record)).await {
        Ok(lookup) => Ok(reply(lookup.answers(), record)),
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => match none.response_code {
            ResponseCode::NXDomain => Ok(Reply { outcome: Outcome::NoName, ttl: Duration::ZERO }),
            ResponseCode::NoError => Ok(Reply { outcome: Outcome::NoData, ttl: Duration::ZERO }),
            code => Err(refusal(code)),
        },
        Err(error) => Err(failure(&error)),
    }
}

fn resolver(server: SocketAddr, edns: Edns) -> Result<TokioResolver, NetError> {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = server.port();
    }
    let config =
        ResolverConfig::from_parts(None, Vec::new(), vec![NameServerConfig::new(server.ip(), true, connections)]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.timeout = SERVER_TIMEOUT;
    options.attempts = 0;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.edns0 = edns == Edns::On;
    builder.build()
}

fn record_type(record: DnsRecord) -> RecordType {
    match record {
        DnsRecord::A => RecordType::A,
        DnsRecord::Aaaa => RecordType::AAAA,
        DnsRecord::Srv => RecordType::SRV,
    }
}

/// What the records of an answer say. Aliases on the way are passed over, but their time to live counts.
pub(super) fn reply(answers: &[rr::Record], record: DnsRecord) -> Reply {
    let fit = |data: &RData| match (data, record) {
        (RData::A(ip), DnsRecord::A) => Some(Record::Ip(ip.0.into())),
        (RData::AAAA(ip), DnsRecord::Aaaa) => Some(Record::Ip(ip.0.into())),
        (RData::SRV(srv), DnsRecord::Srv) => Some(Record::Service(Service {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: srv.target.to_ascii(),
        })),
        _ => None,
    };
    let records: Vec<Record> = answers.iter().filter_map(|answer| fit(&answer.data)).collect();
    let ttl = Duration::from_secs(answers.iter().map(|answer| answer.ttl).min().unwrap_or(0).into());
    let outcome = if records.is_empty() { Outcome::NoData } else { Outcome::Records(records) };
    Reply { outcome, ttl }
}

fn failure(error: &NetError) -> Failure {
    match error {
        NetError::Timeout => Failure::Silent,
        NetError::Truncated => Failure::Truncated,
        NetError::Dns(DnsError::ResponseCode(code)) => refusal(*code),
        NetError::Io(error) => Failure::Other(error.to_string()),
        error => Failure::Other(error.to_string().chars().take(200).collect()),
    }
}

fn refusal(code: ResponseCode) -> Failure {
    match code {
        ResponseCode::ServFail => Failure::ServFail,
        ResponseCode::Refused => Failure::Refused,
        code => Failure::Other(words_of(code)),
    }
}

fn words_of(code: ResponseCode) -> String {
    format!("it answered \"{code}\" (code {})", u16::from(code))
}
