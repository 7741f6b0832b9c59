//! What a configuration means, in the words with which `ekka check` ends.

use ekka_core::autocluster::Settings;
use ekka_core::durable::plan::TWO_VOTERS;
use ekka_core::id::NodeName;
use ekka_core::view::Role;

use super::formation::formation_settings;
use super::model::{Config, Strategy, TlsMode};

/// The closing lines of `ekka check`: who this is, what it listens on, whom it must reach, when it forms a cluster, and
/// what deserves a second look. `fingerprint` is the cookie's, where the cookie could be read.
#[must_use]
pub fn explain(config: &Config, fingerprint: Option<&str>) -> Vec<String> {
    let settings = formation_settings(config);
    let mut lines = vec![who(config, fingerprint)];
    lines.extend(config.node.name_from.iter().map(|from| format!("the host in the name is {from}")));
    lines.push(listens(config));
    lines.extend(also_listens(config));
    lines.push(forms(config, &settings));
    lines.extend(notes(config, &settings));
    lines
}

fn who(config: &Config, fingerprint: Option<&str>) -> String {
    let cookie = fingerprint.map(|print| format!(", cookie {print}")).unwrap_or_default();
    let role = match config.node.role {
        Role::Core => "",
        Role::Replicant => ", replicant",
        Role::Witness => ", witness",
    };
    format!("ok: {}, cluster \"{}\"{role}{cookie}", config.node.name, config.cluster.name)
}

/// The ports, and whom it must reach as far as that is known without asking anybody.
fn listens(config: &Config) -> String {
    let on: Vec<String> = config
        .node
        .listen
        .iter()
        .map(|addr| match addr.ip() {
            ip if ip.is_unspecified() => format!("{} (all addresses)", addr.port()),
            ip => format!("{} ({ip})", addr.port()),
        })
        .collect();
    let reach: Vec<String> = others(config)
        .into_iter()
        .filter_map(|seed| seed.endpoint(config.node.base_port))
        .map(|endpoint| endpoint.to_string())
        .collect();
    let reach = if reach.is_empty() { String::new() } else { format!("; must reach {}", reach.join(", ")) };
    format!("listens on TCP {}{reach}", on.join(", "))
}

fn also_listens(config: &Config) -> Option<String> {
    let health = config.health_listen.map(|addr| format!("health on TCP {addr}"));
    let api = config.api.tcp.as_ref().map(|tcp| format!("the API on TCP {}", tcp.listen));
    let both: Vec<String> = health.into_iter().chain(api).collect();
    (!both.is_empty()).then(|| format!("serves {}", both.join(" and ")))
}

/// The seeds without this node.
fn others(config: &Config) -> Vec<NodeName> {
    let mut others: Vec<NodeName> = seeds(config).iter().filter(|seed| **seed != config.node.name).cloned().collect();
    others.sort();
    others.dedup();
    others
}

fn seeds(config: &Config) -> &[NodeName] {
    let seeds = config.cluster.discovery.iter().find_map(|strategy| match strategy {
        Strategy::Static { seeds } => Some(seeds.as_slice()),
        Strategy::Manual | Strategy::Mcast(_) | Strategy::Dns(_) | Strategy::Etcd(_) | Strategy::K8s(_) => None,
    });
    seeds.unwrap_or_default()
}

fn forms(config: &Config, settings: &Settings) -> String {
    if !settings.may_vote {
        return "joins a cluster that others form; as a replicant it never forms one".to_owned();
    }
    if let Some(backend) = &settings.decider {
        return match settings.expect {
            Some(expect) if expect > 1 => {
                format!("forms a new cluster by one key in {backend}, once {expect} nodes have met")
            }
            _ => format!("forms a new cluster by one key in {backend}, which one node alone can make"),
        };
    }
    if config.cluster.discovery == [Strategy::Manual] && settings.expect != Some(1) {
        return "waits for an operator: `ekka form`, or `ekka join NODE`".to_owned();
    }
    match (&settings.electorate, settings.expect) {
        (Some(list), Some(_)) if list.len() == 1 => "forms a new cluster alone: it is its only seed".to_owned(),
        (Some(list), Some(expect)) => format!("forms a new cluster when {expect} of {} seeds have met", list.len()),
        (None, Some(1)) if config.cluster.discovery == [Strategy::Manual] => {
            "forms a cluster of its own at once; `ekka join NODE` takes it into another".to_owned()
        }
        (_, Some(1)) => "forms a new cluster alone where it finds no other node".to_owned(),
        (_, Some(expect)) => format!("forms a new cluster when {expect} nodes have met"),
        (_, None) => {
            let replicas = config.cluster.discovery.iter().any(|strategy| matches!(strategy, Strategy::K8s(_)));
            let first = if replicas { "a majority of the replicas, where they can be read, else " } else { "" };
            format!(
                "forms a new cluster when {first}a majority of the nodes that discovery lists, at least 2, have met; \
                 alone only after 30 s in which it listed this node and nobody else"
            )
        }
    }
}

fn notes(config: &Config, settings: &Settings) -> Vec<String> {
    let mut notes = Vec::new();
    let seeds = seeds(config);
    if !seeds.is_empty() {
        if seeds.contains(&config.node.name) {
            notes.push("note: this node is one of its own seeds (good)".to_owned());
        } else if settings.may_vote {
            notes.push(format!(
                "note: this node is not among its own seeds: it joins a cluster of theirs. To have it vote when the \
                 cluster forms, add {} to the seeds of every node",
                config.node.name
            ));
        }
    }
    if settings.electorate.as_ref().is_some_and(|list| list.len() == 2) {
        notes.push(format!("warning: {TWO_VOTERS}"));
    }
    if config.cluster.tls == TlsMode::Off {
        notes.push("warning: cluster.tls = off: data between the nodes goes in the clear".to_owned());
    }
    notes
}
