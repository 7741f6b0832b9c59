//! Taking a changed configuration: what is in effect at once, and what waits for the next start.

use std::collections::BTreeSet;

use ekka_core::event::EventKind;
use tokio::sync::oneshot;

use super::driver::{Own, Reload};
use super::{Inner, Reloaded, Signer, start};
use crate::config::{Config, TlsMode, formation_settings};
use crate::discovery;
use crate::transport::Credentials;

/// Takes what can be changed without a restart. Everything that can fail comes before the first change.
pub(super) async fn reload(node: &Inner, wanted: Config) -> Result<Reloaded, String> {
    // One at a time: each compares with what the one before it left in effect.
    let _turn = node.reloading.lock().await;
    let transport = node.transport().ok_or("the node is starting")?;
    let old = node.config();
    let config = merged(&old, &wanted);
    // The same settings: those in use go on, with what they keep in a backend.
    let stay = node.own_strategies || old.cluster.discovery == config.cluster.discovery;
    let strategies = if stay { None } else { Some(discovery::strategies(&config, &node.context)?) };
    let credentials = start::derive(&config, &node.env, node.kdf).await.map_err(|error| error.to_string())?;
    let stopping = || String::from("the node is stopping");
    let before = transport.credentials();
    let cookies = before.fingerprints() != credentials.fingerprints();
    let mut report = compare(&old, &wanted, cookies, !before.same_certificates(&credentials));
    if before.fingerprints().iter().any(|print| !credentials.fingerprints().contains(print)) {
        report.warnings = left_behind(&node.signers().await, credentials.fingerprints());
    }
    let step = rotation(&credentials);
    let own = node.present().own.clone();
    let place = own.reserve().await.map_err(|_| stopping())?;
    node.context.credentials.set(credentials.clone());
    transport.set_credentials(credentials);
    let (tags, formation) = (config.node.tags.clone(), Box::new(formation_settings(&config)));
    let (autoheal, autoclean) = (config.cluster.autoheal, config.cluster.autoclean);
    let (done, taken) = oneshot::channel();
    place.send(Own::Reload(Reload { strategies, tags, formation, autoheal, autoclean, done }));
    node.set_config(config);
    taken.await.map_err(|_| stopping())?;
    if cookies {
        node.shared.event(EventKind::CredentialsRotated { step }.into(), node.env.clock.now());
    }
    let event =
        EventKind::ConfigReloaded { changed: report.changed.clone(), needs_restart: report.needs_restart.clone() };
    node.shared.event(event.into(), node.env.clock.now());
    Ok(report)
}

/// In words, who signs with a cookie that is no longer trusted here.
fn left_behind(signers: &[Signer], trusted: &[String]) -> Vec<String> {
    let names = |print: &String| {
        let sign = signers.iter().filter(|signer| signer.cookie_id.as_ref() == Some(print));
        sign.map(|signer| signer.name.to_string()).collect::<Vec<_>>().join(", ")
    };
    let prints: BTreeSet<&String> = signers.iter().filter_map(|signer| signer.cookie_id.as_ref()).collect();
    let lost = prints.into_iter().filter(|print| !trusted.contains(print));
    lost.map(|print| {
        format!(
            "{} still signs with {print}, which is not trusted here any more: it is refused until its cookie file \
             begins with a trusted one and `ekka reload` was run there",
            names(print)
        )
    })
    .collect()
}

/// The state of a rotation.
fn rotation(credentials: &Credentials) -> String {
    match credentials.fingerprints() {
        [] => "no cookie".to_owned(),
        [one] => format!("signs with {one} and trusts no other"),
        [signs, others @ ..] => format!("signs with {signs}, trusts {} too", others.join(" and ")),
    }
}

/// The old configuration with what `wanted` changes at once. The rest stays as it is: a node that derived its keys
/// for another cluster name, say, would be cut off from all others until its restart.
fn merged(old: &Config, wanted: &Config) -> Config {
    let mut config = old.clone();
    config.node.cookie = wanted.node.cookie.clone();
    config.node.cookie_weak = wanted.node.cookie_weak;
    config.node.tags.clone_from(&wanted.node.tags);
    config.cluster.discovery.clone_from(&wanted.cluster.discovery);
    config.cluster.expect = wanted.cluster.expect;
    config.cluster.merge = wanted.cluster.merge;
    config.cluster.autoclean = wanted.cluster.autoclean;
    if same_mode(&old.cluster.tls, &wanted.cluster.tls) {
        config.cluster.tls = wanted.cluster.tls.clone();
    }
    config
}

fn same_mode(a: &TlsMode, b: &TlsMode) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

/// Compares two configurations by group.
fn compare(old: &Config, new: &Config, cookies: bool, certificates: bool) -> Reloaded {
    let mut report = Reloaded::default();
    let mut note = |live: bool, key: &str, differs: bool| {
        if differs {
            let list = if live { &mut report.changed } else { &mut report.needs_restart };
            list.push(key.to_owned());
        }
    };
    let same_mode = same_mode(&old.cluster.tls, &new.cluster.tls);
    note(true, "node.cookie", cookies);
    note(true, "node.tags", old.node.tags != new.node.tags);
    note(true, "cluster.discovery", old.cluster.discovery != new.cluster.discovery);
    note(true, "cluster.expect", old.cluster.expect != new.cluster.expect);
    note(true, "cluster.merge", old.cluster.merge != new.cluster.merge);
    note(true, "cluster.autoclean", old.cluster.autoclean != new.cluster.autoclean);
    note(true, "cluster.tls", same_mode && (certificates || old.cluster.tls != new.cluster.tls));
    note(false, "cluster.name", old.cluster.name != new.cluster.name);
    note(false, "cluster.tls", !same_mode);
    note(false, "cluster.proto_dist", old.cluster.ipv6 != new.cluster.ipv6);
    note(true, "cluster.autoheal", old.cluster.autoheal != new.cluster.autoheal);
    note(false, "cluster.gone_after", old.cluster.gone_after != new.cluster.gone_after);
    note(false, "node.name", old.node.name != new.node.name);
    note(false, "node.data_dir", old.node.data_dir != new.node.data_dir);
    note(false, "node.base_port", old.node.base_port != new.node.base_port);
    note(false, "node.listen", old.node.listen != new.node.listen);
    note(false, "node.role", old.node.role != new.node.role);
    note(false, "node.stop_timeout", old.node.stop_timeout != new.node.stop_timeout);
    note(false, "node.on_sigterm", old.node.on_sigterm != new.node.on_sigterm);
    note(false, "api", old.api != new.api);
    note(false, "health.listen", old.health_listen != new.health_listen);
    note(false, "lock.max_ttl", old.lock_max_ttl != new.lock_max_ttl);
    note(false, "storage", old.storage != new.storage);
    note(false, "log", old.log != new.log);
    report
}
