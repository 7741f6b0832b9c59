//! Environment variables: two underscores for each dot of a key, and a few names of the original.
//!
//! Every other `EKKA_*` is somebody else's: Kubernetes makes `EKKA_PORT`, `EKKA_SERVICE_HOST` and the like for a
//! Service called `ekka`.

use super::error::{ConfigError, Notice, Place};
use super::keys;
use super::raw::{self, Entry};
use super::value::Value;

/// Variables of the original, and the keys that they set; empty ones count as not set.
const ALIASES: &[(&str, &str)] =
    &[("NODE_ROLE", "node.role"), ("CORE_NODES", keys::CORE_NODES), ("EKKA_PROTO_DIST_MOD", "cluster.proto_dist")];

/// Picks the variables that are configuration.
pub(crate) fn parse(vars: &[(String, String)], errors: &mut Vec<ConfigError>, notices: &mut Vec<Notice>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (name, text) in vars {
        let place = Place::Env(name.clone());
        let value = Value::Written(text.trim().to_owned());
        if let Some((_, key)) = ALIASES.iter().find(|(alias, _)| alias == name).filter(|_| !text.trim().is_empty()) {
            notices.push(Notice { place: place.clone(), text: format!("`{name}` is read as {key}") });
            entries.push(Entry { key: (*key).to_owned(), value, place });
            continue;
        }
        let Some(rest) = name.strip_prefix("EKKA_").filter(|rest| rest.contains("__")) else { continue };
        let key = rest.replace("__", ".").to_ascii_lowercase();
        if let keys::Meaning::Unknown(nearest) = keys::meaning(&key) {
            let text = raw::unknown(name, nearest.map(variable).as_deref());
            errors.push(ConfigError { place, key: Some(key), text });
        } else {
            entries.push(Entry { key, value, place });
        }
    }
    entries
}

/// The variable that sets a key.
pub(crate) fn variable(key: &str) -> String {
    format!("EKKA_{}", key.replace('.', "__").to_ascii_uppercase())
}

/// The value of a variable that is read for what it says about the surroundings; empty counts as not set.
pub(crate) fn lookup<'a>(vars: &'a [(String, String)], name: &str) -> Option<&'a str> {
    vars.iter().find(|(var, text)| var == name && !text.is_empty()).map(|(_, text)| text.as_str())
}
