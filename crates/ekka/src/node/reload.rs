//! What a reload changes at once, and what waits for the next start.

use super::Reloaded;
use crate::config::Config;

/// Compares two configurations by group.
pub(super) fn compare(old: &Config, new: &Config, credentials: bool) -> Reloaded {
    let mut report = Reloaded::default();
    let mut note = |live: bool, key: &str, differs: bool| {
        if differs {
            let list = if live { &mut report.changed } else { &mut report.needs_restart };
            list.push(key.to_owned());
        }
    };
    note(true, "node.cookie", credentials);
    note(true, "node.tags", old.node.tags != new.node.tags);
    note(true, "cluster.expect", old.cluster.expect != new.cluster.expect);
    note(true, "cluster.merge", old.cluster.merge != new.cluster.merge);
    note(false, "cluster.discovery", old.cluster.discovery != new.cluster.discovery);
    note(false, "cluster.name", old.cluster.name != new.cluster.name);
    note(false, "cluster.tls", std::mem::discriminant(&old.cluster.tls) != std::mem::discriminant(&new.cluster.tls));
    note(false, "node.name", old.node.name != new.node.name);
    note(false, "node.data_dir", old.node.data_dir != new.node.data_dir);
    note(false, "node.listen", old.node.listen != new.node.listen);
    note(false, "node.role", old.node.role != new.node.role);
    note(false, "api", old.api != new.api);
    note(false, "health.listen", old.health_listen != new.health_listen);
    note(false, "storage", old.storage != new.storage);
    note(false, "log", old.log != new.log);
    report
}
