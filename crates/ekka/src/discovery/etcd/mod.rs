//! `etcd`: nodes register under one prefix and find each other there, and one key decides which cluster they are.
//!
//! No lock is taken, on purpose. The id is decided by one transaction (create the key unless it is there), which cannot
//! be half done; a lock could expire in the hands of a holder that is paused, who would then go on as if it held it.

mod api;
mod ask;
mod entry;
#[cfg(test)]
mod fuzz;
mod keep;
mod layout;
mod listing;
mod pace;
mod record;
mod standing;
mod v2;
mod v2_form;
mod v3;
mod v3_form;
mod v3_list;
mod words;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ekka_core::autocluster::Proposal;
use ekka_core::limits::CANDIDATES_MAX;

use super::{Attachment, Context, Discovery, Found, LeftOut};
use crate::config::Etcd as Options;
use crate::env::BoxFuture;
use crate::http::{Server, TlsFiles};
use api::Api;
use ask::Ask;
use keep::Written;
use layout::{ID, Layout};
use listing::Listing;
use words::{Failure, Who};

/// etcd's own port.
const PORT: u16 = 2379;
/// What taking the entry out may take; the node waits for a little more.
const LET_GO_MAX: Duration = Duration::from_millis(2_500);

pub(super) fn strategy(options: &Options, context: &Context) -> Result<Arc<dyn Discovery>, String> {
    let servers = options.servers.iter().map(|url| Server::parse(url, Some(PORT))).collect::<Result<Vec<_>, _>>();
    let servers = servers.map_err(|error| format!("cluster.etcd.server: {error}"))?;
    if servers.is_empty() {
        return Err("cluster.etcd.server names no server: write http://host:port or https://host:port".to_owned());
    }
    let identity = options.certfile.clone().zip(options.keyfile.clone());
    let tls = TlsFiles { cacertfile: options.cacertfile.clone(), identity };
    let layout = Layout::new(&options.prefix, &context.cluster_name);
    let who = Who { user: options.username.clone(), base: layout.base().to_owned() };
    let ask = Ask::new(context.env.clone(), servers, tls, who, options.password_file.clone());
    Ok(Arc::new(Etcd {
        api: Api::new(ask, layout, options.version),
        context: context.clone(),
        node_ttl: options.node_ttl,
        written: Mutex::default(),
    }))
}

/// The strategy.
struct Etcd {
    api: Api,
    context: Context,
    node_ttl: Duration,
    /// What this node has in etcd: it outlives [`Discovery::run`], since it is to be taken out after that.
    written: Mutex<Option<Written>>,
}

impl Discovery for Etcd {
    fn name(&self) -> &'static str {
        "etcd"
    }

    fn discover(&self) -> BoxFuture<'_, Result<Found, String>> {
        Box::pin(async {
            let listing = self.api.list().await?;
            let mut found = self.judge(&listing);
            found.notes.extend(self.notes());
            Ok(found)
        })
    }

    fn run(&self, node: Attachment) -> BoxFuture<'_, ()> {
        Box::pin(keep::run(self, node))
    }

    fn unregister(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async {
            let late = |_| Failure::other(format!("etcd does not answer; the entry goes within {:?}", self.node_ttl));
            tokio::time::timeout(LET_GO_MAX, self.let_go()).await.map_err(late)??;
            Ok(())
        })
    }

    fn claim<'a>(&'a self, offer: &'a Proposal) -> BoxFuture<'a, Result<Option<Proposal>, String>> {
        Box::pin(async {
            let key = self.api.layout.id();
            match self.api.create(&key, &record::encode(offer)).await? {
                None => Ok(Some(offer.clone())),
                Some(stored) => record::decode(&key, &stored.value).map(Some),
            }
        })
    }
}

impl Etcd {
    fn judge(&self, listing: &Listing) -> Found {
        let mut found = Found::default();
        for entry in &listing.entries {
            if entry.name == ID {
                let said = entry.value.as_deref().map_err(|why| (*why).to_owned());
                match said.and_then(|value| record::decode(&self.api.layout.id(), value)) {
                    Ok(proposal) => found.notes.push(format!("the cluster has the id {}", proposal.cluster_id)),
                    Err(why) => found.left_out.push(LeftOut { what: ID.to_owned(), why }),
                }
                continue;
            }
            let judged = match &entry.value {
                Ok(value) => entry::judge(&entry.name, value, self.context.base_port),
                Err(why) => Err(LeftOut { what: entry::cut(entry.name.as_bytes()), why: (*why).to_owned() }),
            };
            match judged {
                Ok(candidate) if found.candidates.len() < CANDIDATES_MAX => found.candidates.push(candidate),
                Ok(candidate) => {
                    let why = format!("more than {CANDIDATES_MAX} nodes are listed");
                    found.left_out.push(LeftOut { what: candidate.name.to_string(), why });
                }
                Err(left_out) => found.left_out.push(left_out),
            }
        }
        let base = self.api.layout.base();
        let seen = listing.entries.len() as u64 + listing.others;
        if listing.others > 0 {
            found.notes.push(format!("{} further keys that begin with {base} are no entries of nodes", listing.others));
        }
        if let Some(all) = listing.of {
            found.notes.push(format!("{all} keys begin with {base}; the first {seen} were read"));
        } else if listing.entries.is_empty() {
            found.notes.push(format!("no key begins with {base}: no node of this cluster is registered"));
        }
        found
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(server) = self.api.ask.password_in_the_clear() {
            notes.push(format!("the password of etcd's user goes to {server} in the clear: https:// hides it"));
        }
        if self.api.ask.user_not_needed() {
            notes.push("etcd asks nobody for a password: cluster.etcd.username has no effect".to_owned());
        }
        notes
    }
}
