//! `dns`: the nodes are what a DNS name stands for.
//!
//! A and AAAA records give addresses (`app@<address>`, port by the port rule), SRV records hosts with ports
//! (`app@<target>`). Nothing is written to DNS, so `run` has nothing to do: whoever keeps the records (an operator, a
//! headless Service, a container runtime) registers the nodes.
//!
//! `system` reads the resolver's files, `names` says which names are asked, `lookup` which server is asked when and
//! what their silence means, `ask` puts one question to one server (the only part with sockets), `answer` turns records
//! into candidates. A failure is an error and never an empty answer: "knows nobody" is said only where a server said so.

mod answer;
mod ask;
mod fuzz;
mod lookup;
mod names;
mod system;
mod words;

pub use fuzz::{fuzz_dns_files, fuzz_dns_message};

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ekka_core::id::NodeName;
use tokio::time::Instant;

use super::{Context, Discovery, Found};
use crate::config::{Dns, DnsRecord};
use crate::env::{BoxFuture, Env};
use answer::Naming;
use ask::Hickory;
use lookup::{Answer, Ask, Outcome, Record};
use system::{Files, Sources};

/// An answer is kept at least so long: a TTL of 0 must not turn every wake-up into a question.
const KEEP_MIN: Duration = Duration::from_secs(1);

/// And at most so long, whatever its TTL says: a change of the records is to show soon.
const KEEP_MAX: Duration = Duration::from_secs(30);

/// "Knows nobody" is kept no longer than this, whatever the zone says: it is the answer that changes first, and the
/// server's own negative cache is in the way already.
const KEEP_EMPTY: Duration = Duration::from_secs(1);

pub(super) fn strategy(options: &Dns, context: &Context) -> Result<Arc<dyn Discovery>, String> {
    let naming = Naming { app: options.app.clone(), me: context.me.clone(), base_port: context.base_port };
    Ok(Arc::new(Strategy::new(options, naming, context.env.clone(), Files::default(), Arc::new(Hickory))?))
}

/// One DNS name, asked for one type of record.
struct Strategy {
    options: Dns,
    naming: Naming,
    env: Env,
    files: Files,
    asker: Arc<dyn Ask>,
    kept: Mutex<Option<Kept>>,
}

/// An answer that needs no question until its time is over, or the resolver's files have changed.
struct Kept {
    found: Found,
    sources: Sources,
    until: Instant,
}

impl Strategy {
    fn new(options: &Dns, naming: Naming, env: Env, files: Files, asker: Arc<dyn Ask>) -> Result<Self, String> {
        let app = &options.app;
        let example: NodeName = format!("{app}@localhost").parse().map_err(|_| {
            format!("cluster.dns.app = {app} is no name part of a node: write 1 to 64 letters, digits, _, - or .")
        })?;
        if options.record != DnsRecord::Srv && example.port(naming.base_port).is_none() {
            let sum = u32::from(naming.base_port) + u32::from(example.port_offset());
            return Err(format!(
                "cluster.dns.app = {app} gives port {sum} by the port rule, which is above 65535: write another name, or \
                 a smaller node.base_port"
            ));
        }
        Ok(Self { options: options.clone(), naming, env, files, asker, kept: Mutex::new(None) })
    }

    async fn ask(&self) -> Result<Found, String> {
        let sources = self.sources().await;
        if let Some(found) = self.kept(&sources) {
            return Ok(found);
        }
        let asked = self.options.name.trim_end_matches('.');
        let record = self.options.record;
        let answer = match self.without_question(&sources) {
            Some(answer) => answer,
            None => lookup::lookup(self.asker.as_ref(), &sources, &self.options.name, record).await?,
        };
        let mut found = answer::found(&answer, &self.naming, asked, record);
        found.notes.extend(sources.notes.iter().cloned());
        self.keep(&found, sources, &answer);
        Ok(found)
    }

    /// Who is to be asked, as the files of the system say it now: they change under a running process (a laptop that
    /// moves, a container that is given its resolver late).
    async fn sources(&self) -> Sources {
        if let Some(server) = self.options.server {
            return Sources::only(server);
        }
        let (files, name, record) = (self.files.clone(), self.options.name.clone(), self.options.record);
        self.env.blocking(move || files.read(&name, record)).await
    }

    /// What needs no server: an entry of the hosts file, and `localhost`, which no server may be asked for (RFC 6761).
    fn without_question(&self, sources: &Sources) -> Option<Answer> {
        let records = if sources.hosts.is_empty() {
            let plain = self.options.name.trim_end_matches('.').to_ascii_lowercase();
            let local = plain == "localhost" || plain.ends_with(".localhost");
            match self.options.record {
                DnsRecord::A if local => vec![Record::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST))],
                DnsRecord::Aaaa if local => vec![Record::Ip(IpAddr::V6(Ipv6Addr::LOCALHOST))],
                _ => return None,
            }
        } else {
            sources.hosts.iter().copied().map(Record::Ip).collect()
        };
        // The file is read each time anyway.
        Some(Answer { names: vec![self.options.name.clone()], outcome: Outcome::Records(records), ttl: Duration::ZERO })
    }

    fn kept(&self, sources: &Sources) -> Option<Found> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.as_ref().filter(|kept| kept.until > Instant::now() && kept.sources == *sources)?;
        Some(kept.found.clone())
    }

    fn keep(&self, found: &Found, sources: Sources, answer: &Answer) {
        let time = match answer.outcome {
            Outcome::Records(_) => answer.ttl.clamp(KEEP_MIN, KEEP_MAX),
            Outcome::NoName | Outcome::NoData => KEEP_EMPTY,
        };
        let kept = Kept { found: found.clone(), sources, until: Instant::now() + time };
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
    }
}

impl Discovery for Strategy {
    fn name(&self) -> &'static str {
        "dns"
    }

    fn discover(&self) -> BoxFuture<'_, Result<Found, String>> {
        Box::pin(self.ask())
    }
}

#[cfg(test)]
mod tests;
