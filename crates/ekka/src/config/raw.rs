//! Raw values: what the front ends give, each with its place, merged so that the later source wins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, Notice, Place};
use super::keys::{self, Key, Meaning};
use super::value::Value;

/// A value that someone wrote, under the key as written.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value: Value,
    pub(crate) place: Place,
}

/// A value under a known key.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Raw {
    pub(crate) key: &'static Key,
    pub(crate) value: Value,
    pub(crate) place: Place,
    /// Which source it came from, counted from the first; a higher one wins.
    pub(crate) layer: u32,
}

/// All values, the later sources over the earlier ones.
#[derive(Debug, Default)]
pub(crate) struct Raws {
    values: BTreeMap<&'static str, Raw>,
    layers: u32,
    pub(crate) errors: Vec<ConfigError>,
    pub(crate) notices: Vec<Notice>,
}

/// Whether a key may stand twice in one source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Twice {
    /// An error that names both lines.
    Refused,
    /// The later wins, as on a command line.
    LaterWins,
}

impl Raws {
    /// Takes the values of the next source.
    pub(crate) fn add(&mut self, entries: Vec<Entry>, twice: Twice) {
        let layer = self.layers;
        self.layers += 1;
        for mut entry in entries {
            let Some(key) = self.known(&entry) else { continue };
            if let (keys::CORE_NODES, Value::Written(text)) = (key.name, &entry.value) {
                let names = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|name| !name.is_empty());
                entry.value = Value::List(names.map(str::to_owned).collect());
            }
            let before = self.values.get(key.name).filter(|raw| raw.layer == layer && twice == Twice::Refused);
            if let Some(before) = before {
                let text = match (&before.place, &entry.place) {
                    (Place::File { line: Some(line), .. }, _) => {
                        format!("{} stands in line {line} already; write it once in a file", key.name)
                    }
                    (place, _) => format!("{} is set by {place} already; set it once", key.name),
                };
                self.errors.push(ConfigError { place: entry.place, key: Some(key.name.to_owned()), text });
                continue;
            }
            if let Err(why) = key.kind.check(&entry.value) {
                let found = if key.kind.is_secret() { "(secret)".to_owned() } else { entry.value.shown() };
                let text = format!("{} = {found}: {why}", key.name);
                self.errors.push(ConfigError { place: entry.place.clone(), key: Some(key.name.to_owned()), text });
            }
            self.values.insert(key.name, Raw { key, value: entry.value, place: entry.place, layer });
        }
    }

    /// The key that is meant; says what is to be said about it.
    fn known(&mut self, entry: &Entry) -> Option<&'static Key> {
        let place = entry.place.clone();
        match keys::meaning(&entry.key) {
            Meaning::Own(key) => return Some(key),
            Meaning::Alias(key) => {
                let text = format!("`{}` is read as {}", entry.key, key.name);
                self.notices.push(Notice { place, text });
                return Some(key);
            }
            Meaning::NoEffect(why) => {
                let text = format!("`{}` has no effect: {why}", entry.key);
                self.notices.push(Notice { place, text });
            }
            Meaning::Unknown(nearest) => {
                let text = unknown(&entry.key, nearest);
                self.errors.push(ConfigError { place, key: Some(entry.key.clone()), text });
            }
        }
        None
    }

    /// The value of a key, where someone gave it.
    pub(crate) fn get(&self, name: &str) -> Option<&Raw> {
        debug_assert!(keys::by_name(name).is_some(), "{name} is in the table");
        self.values.get(name)
    }

    /// The keys that were given.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.values.keys().copied()
    }
}

impl Raw {
    /// A path, relative to the folder of the file that it stands in.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        let written = PathBuf::from(self.value.text().ok()?);
        match &self.place {
            Place::File { path, .. } => Some(path.parent().unwrap_or(Path::new("")).join(written)),
            _ => Some(written),
        }
    }
}

/// What is said about an unknown key.
pub(crate) fn unknown(written: &str, nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("unknown key `{}`; did you mean {nearest}?", super::value::clip(written)),
        None => format!("unknown key `{}`; docs/configuration.md lists all keys", super::value::clip(written)),
    }
}
