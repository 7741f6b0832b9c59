//! `discover`: asks each strategy once and looks at each candidate as an observer, which changes nothing there.

use std::sync::Arc;

use ekka::config::Config;
use ekka::core::autocluster::{Candidate, Expect};
use ekka::core::id::{Endpoint, Guid, NodeId};
use ekka::core::limits::{CANDIDATES_MAX, DISCOVERY_TIMEOUT};
use ekka::core::view::Role;
use ekka::core::wire::{HelloTemplate, Moment, Purpose};
use ekka::discovery::{Context, Discovery, Found, LeftOut, Me, SharedCredentials};
use ekka::env::Env;
use ekka::transport::{CookieSet, Credentials, Kdf, observe_once};
use serde_json::json;
use tokio::task::JoinSet;

use crate::args::ConfigArgs;
use crate::exit::{Code, Failure};
use crate::{out, settings};

/// What came of one candidate.
struct Seen {
    strategy: &'static str,
    name: String,
    address: String,
    /// `usable`, `self`, `other_cluster`, `other_name`, `credentials`, `refused`, `unreachable`, or `left_out`.
    result: &'static str,
    text: String,
}

pub(super) async fn run(args: &ConfigArgs, json: bool) -> Result<(), Failure> {
    let loaded = settings::load(args)?;
    // The node's own directory stays as it is: this one goes at the end.
    let scratch = Scratch::make()?;
    let observer = Arc::new(Observer::new(&loaded.config, &scratch)?);
    let strategies = ekka::discovery::strategies(&loaded.config, &observer.context(&loaded.config))
        .map_err(|text| Failure::new(Code::Usage, "configuration", text))?;
    let mut report = Report::default();
    for strategy in strategies {
        match asked(strategy.as_ref()).await {
            Ok(found) => report.found(&observer, strategy.name(), found).await,
            Err(error) => report.failed.push((strategy.name(), error)),
        }
    }
    say(&report, json)?;
    // An answer in which nobody is found is an answer; a strategy that fails is none.
    if report.failed.is_empty() { Ok(()) } else { Err(Failure::silent(Code::Failed)) }
}

/// One answer, within the time that a node gives it.
async fn asked(strategy: &dyn Discovery) -> Result<Found, String> {
    let late = |_| Err(format!("no answer within {} s", DISCOVERY_TIMEOUT.as_secs()));
    tokio::time::timeout(DISCOVERY_TIMEOUT, strategy.discover()).await.unwrap_or_else(late)
}

/// All that the strategies said.
#[derive(Default)]
struct Report {
    seen: Vec<Seen>,
    notes: Vec<(&'static str, String)>,
    failed: Vec<(&'static str, String)>,
}

impl Report {
    async fn found(&mut self, observer: &Arc<Observer>, strategy: &'static str, found: Found) {
        self.seen.extend(look(observer, strategy, found.candidates).await);
        let left_out = |LeftOut { what, why }: LeftOut| Seen {
            strategy,
            name: printable(&what),
            address: String::new(),
            result: "left_out",
            text: printable(&why),
        };
        self.seen.extend(found.left_out.into_iter().take(CANDIDATES_MAX).map(left_out));
        self.notes.extend(found.notes.iter().map(|note| (strategy, printable(note))));
        match found.expect {
            Expect::Unknown => {}
            Expect::Nodes(expect) => {
                self.notes.push((strategy, format!("a new cluster forms when {expect} nodes have met")));
            }
            Expect::NotHeard(why) => {
                let note = format!(
                    "how many nodes there are to be is not known, and without cluster.expect none form a cluster: {why}"
                );
                self.notes.push((strategy, printable(&note)));
            }
        }
    }
}

/// What a backend holds may be anybody's text; it does not move the cursor of this terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

async fn look(observer: &Arc<Observer>, strategy: &'static str, candidates: Vec<Candidate>) -> Vec<Seen> {
    let mut looks = JoinSet::new();
    for (place, candidate) in candidates.into_iter().take(CANDIDATES_MAX).enumerate() {
        let observer = observer.clone();
        looks.spawn(async move { (place, observer.look(strategy, candidate).await) });
    }
    let mut seen = looks.join_all().await;
    seen.sort_by_key(|(place, _)| *place);
    seen.into_iter().map(|(_, seen)| seen).collect()
}

/// This program, as a stranger that only looks.
struct Observer {
    env: Env,
    credentials: Credentials,
    template: HelloTemplate,
}

impl Observer {
    fn new(config: &Config, scratch: &Scratch) -> Result<Self, Failure> {
        let env = Env::real(&scratch.0)?;
        let wrong = |error: &dyn std::fmt::Display| Failure::new(Code::Usage, "configuration", error);
        let cookies = CookieSet::of(&config.node).map_err(|error| wrong(&error))?;
        let credentials = Credentials::derive(&config.cluster.tls, &cookies, &config.cluster.name, Kdf::default())
            .map_err(|error| wrong(&error))?;
        let template = HelloTemplate {
            software: env!("CARGO_PKG_VERSION").to_owned(),
            name: config.node.name.clone(),
            node_id: NodeId::from_random(env.entropy.bits()),
            guid: Guid::next(env.clock.now().wall, env.entropy.bits(), None),
            previous_guid: None,
            start_counter: 0,
            cluster_name: config.cluster.name.clone(),
            role: Role::default(),
            listen_port: config.node.port,
        };
        Ok(Self { env, credentials, template })
    }

    /// What the strategies are made with: as the node would make them, save that the node_id is none of this world.
    fn context(&self, config: &Config) -> Context {
        let (name, node_id) = (config.node.name.clone(), self.template.node_id);
        let endpoint = Endpoint { host: name.host().clone(), port: config.node.port };
        Context {
            env: self.env.clone(),
            me: Me { name, endpoint, node_id },
            base_port: config.node.base_port,
            cluster_name: config.cluster.name.clone(),
            credentials: SharedCredentials::new(self.credentials.clone()),
        }
    }

    async fn look(&self, strategy: &'static str, candidate: Candidate) -> Seen {
        let (result, text) = if candidate.name == self.template.name {
            ("self", "this node itself (good)".to_owned())
        } else {
            self.dial(&candidate).await
        };
        let (name, address) = (candidate.name.to_string(), candidate.endpoint.to_string());
        Seen { strategy, name, address, result, text: printable(&text) }
    }

    async fn dial(&self, candidate: &Candidate) -> (&'static str, String) {
        use ekka::core::control::DialError;
        let moment = Moment { wall: self.env.clock.now().wall, ..Moment::default() };
        let hello = self.template.hello(Purpose::Observer, moment);
        match observe_once(&self.env, &self.credentials, hello, &candidate.endpoint).await {
            Ok((there, took)) => {
                let cluster = match there.cluster_id {
                    Some(id) => format!("in cluster {id}"),
                    None => "in no cluster yet".into(),
                };
                let words = format!("{}, {cluster}, answered in {} ms", there.status.as_str(), took.as_millis());
                if there.cluster_name != self.template.cluster_name {
                    ("other_cluster", format!("is of the cluster named \"{}\"", there.cluster_name))
                } else if there.name == candidate.name {
                    ("usable", words)
                } else if there.name == self.template.name {
                    ("self", format!("this node itself, {}, at an address that is not in its name", there.name))
                } else {
                    ("other_name", format!("answers as {}: {words}", there.name))
                }
            }
            Err(error) => {
                let result = match &error {
                    DialError::Credentials(_) => "credentials",
                    DialError::Rejected(_) => "refused",
                    _ => "unreachable",
                };
                (result, error.to_string())
            }
        }
    }
}

fn say(report: &Report, json: bool) -> Result<(), Failure> {
    let Report { seen, notes, failed } = report;
    let failed: Vec<_> = failed.iter().map(|(name, error)| (*name, printable(error))).collect();
    if json {
        let candidates: Vec<_> = seen
            .iter()
            .map(|s| {
                json!({"strategy": s.strategy, "name": s.name, "address": s.address, "result": s.result, "text": s.text})
            })
            .collect();
        let notes: Vec<_> = notes.iter().map(|(name, text)| json!({"strategy": name, "text": text})).collect();
        let failed: Vec<_> = failed.iter().map(|(name, error)| json!({"strategy": *name, "error": error})).collect();
        return out::print(&format!("{}\n", json!({"candidates": candidates, "notes": notes, "failed": failed})));
    }
    let rows = seen
        .iter()
        .map(|s| vec![s.strategy.into(), s.name.clone(), s.address.clone(), s.result.into(), s.text.clone()]);
    let mut text = if seen.is_empty() {
        String::new()
    } else {
        out::table(&["STRATEGY", "NAME", "ADDRESS", "RESULT", "WHAT"], rows)
    };
    for (name, note) in notes {
        text += &format!("{name}: {note}\n");
    }
    for (name, error) in failed {
        text += &format!("{name} failed: {error}\n");
    }
    if text.is_empty() {
        text = "no strategy named anybody: with `manual`, an operator types `ekka join NODE`\n".into();
    }
    out::print(&text)
}

/// A directory that goes when this is dropped.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn make() -> Result<Self, Failure> {
        // Not a name that was there before: process ids come again, in containers soon.
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let name = format!("ekka-discover-{}-{}", std::process::id(), since.as_nanos());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir(&dir).map_err(|error| Failure::failed(format!("{}: {error}", dir.display())))?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // it holds nothing
    }
}
