//! What a key accepts: one check for every front end, run for every key that is set, in use or not.

use std::collections::BTreeMap;
use std::time::Duration;

use super::value::{self, Value};

/// The kind of value that a key takes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Kind {
    /// A node name.
    Name,
    /// A list of node names.
    Names,
    /// Text that is not empty.
    Text,
    /// Text that may be empty, which means none.
    TextOrNone,
    /// Text for names of clusters, applications and the like: letters, digits, `_`, `-`, `.`.
    Word,
    /// A DNS name.
    DomainName,
    /// Text that nobody may see.
    Secret,
    /// A path, relative to the file that it stands in.
    Path,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list of these words, none twice.
    SomeOf(&'static [&'static str]),
    /// on, off, true, false.
    Flag,
    /// A whole number.
    Int(u32, u32),
    /// A list of ports.
    Ports,
    /// A duration of at least this.
    Duration(Duration),
    /// Off, a duration of at least this, or, where `on` is true, on.
    Switch {
        /// Whether `on` is accepted.
        on: bool,
        /// Smallest duration.
        min: Duration,
        /// What is said where the duration is 0.
        zero: &'static str,
    },
    /// A size.
    Size,
    /// A size, or the word auto.
    SizeOrAuto,
    /// An IP address.
    Ip,
    /// A multicast address.
    Multicast,
    /// A list of address[:port].
    Listen,
    /// address:port.
    Socket,
    /// address[:port] of a DNS server.
    DnsServer,
    /// A list of addresses of HTTP servers.
    Urls,
    /// A list of k=v.
    Tags,
}

impl Kind {
    /// Whether the value is a list.
    pub(crate) fn is_list(self) -> bool {
        matches!(self, Self::Names | Self::SomeOf(_) | Self::Ports | Self::Listen | Self::Urls | Self::Tags)
    }

    /// Whether the value is hidden.
    pub(crate) fn is_secret(self) -> bool {
        self == Self::Secret
    }

    /// Checks a value; the error says what is accepted.
    pub(crate) fn check(self, value: &Value) -> Result<(), String> {
        if self.is_list() { self.check_items(&value.items()?) } else { self.check_text(&value.text()?) }
    }

    fn check_text(self, text: &str) -> Result<(), String> {
        if text.is_empty() && self != Self::TextOrNone {
            return Err(format!("the value is empty; {}", self.accepts()));
        }
        match self {
            Self::Name => value::node_name(text).map(drop),
            Self::Text | Self::TextOrNone | Self::Path => no_control(text),
            Self::Word => word(text),
            Self::DomainName => domain_name(text),
            Self::Secret => secret(text),
            Self::OneOf(words) if words.contains(&text) => Ok(()),
            Self::OneOf(_) => Err(self.accepts()),
            Self::Flag => value::flag(text).map(drop),
            Self::Int(min, max) => value::int(text, min, max).map(drop),
            Self::Duration(min) => at_least(value::duration(text)?, min),
            Self::Switch { .. } => self.check_switch(text),
            Self::Size => value::size(text).map(drop),
            Self::SizeOrAuto if text == "auto" => Ok(()),
            Self::SizeOrAuto => value::size(text).map(drop).map_err(|e| format!("{e}, or auto")),
            Self::Ip => value::ip(text).map(drop),
            Self::Multicast => value::multicast(text).map(drop),
            Self::Socket => value::socket(text, None).map(drop),
            Self::DnsServer => value::socket(text, Some(53)).map(drop),
            Self::Names | Self::SomeOf(_) | Self::Ports | Self::Listen | Self::Urls | Self::Tags => {
                unreachable!("lists are checked by their items")
            }
        }
    }

    fn check_switch(self, text: &str) -> Result<(), String> {
        let Self::Switch { on, min, zero } = self else { return Ok(()) };
        match text {
            "off" | "false" => Ok(()),
            "on" | "true" if on => Ok(()),
            "0" if !zero.is_empty() => Err(zero.to_owned()),
            _ => match value::duration(text) {
                Ok(Duration::ZERO) if !zero.is_empty() => Err(zero.to_owned()),
                Ok(duration) => at_least(duration, min),
                Err(e) if e.contains("has no unit") => Err(e),
                Err(_) => Err(self.accepts()),
            },
        }
    }

    fn check_items(self, items: &[String]) -> Result<(), String> {
        const ITEMS_MAX: usize = 1024;
        if items.is_empty() && self != Self::Names && self != Self::Tags {
            return Err(format!("the list is empty; {}", self.accepts()));
        }
        if items.len() > ITEMS_MAX {
            return Err(format!("{} items; a list takes at most {ITEMS_MAX}", items.len()));
        }
        for (at, item) in items.iter().enumerate() {
            self.check_item(item).map_err(|e| {
                if items.len() == 1 { e } else { format!("item {} (`{}`): {e}", at + 1, value::clip(item)) }
            })?;
            if matches!(self, Self::SomeOf(_)) && items[..at].contains(item) {
                return Err(format!("`{item}` stands there twice"));
            }
        }
        if self == Self::Tags { tags(items).map(drop) } else { Ok(()) }
    }

    fn check_item(self, item: &str) -> Result<(), String> {
        match self {
            Self::Names => {
                if value::node_name(item)?.host().is_auto() {
                    return Err("`auto` is for this node's own name; write the other node's host or address".to_owned());
                }
                Ok(())
            }
            Self::SomeOf(words) if words.contains(&item) => Ok(()),
            Self::Ports => value::int(item, 1, 65535).map(drop),
            Self::Listen => match value::socket(item, Some(1))? {
                addr if addr.port() == 0 => {
                    Err("port 0 would be another one at each start; peers dial a fixed one".to_owned())
                }
                _ => Ok(()),
            },
            Self::Urls => value::url(item).map(drop),
            Self::Tags => Ok(()),
            _ => Err(self.accepts()),
        }
    }

    /// What is accepted, in words.
    pub(crate) fn accepts(self) -> String {
        match self {
            Self::Name => "write name@host, as in ekka@10.0.0.1".to_owned(),
            Self::Names => "write node names with commas between, as in ekka@10.0.0.1,ekka@10.0.0.2".to_owned(),
            Self::Text | Self::TextOrNone => "write a text".to_owned(),
            Self::Word => WORD_WORDS.to_owned(),
            Self::DomainName => DOMAIN_WORDS.to_owned(),
            Self::Secret => SECRET_WORDS.to_owned(),
            Self::Path => "write a path".to_owned(),
            Self::OneOf(words) => format!("write {}", or(words)),
            Self::SomeOf(words) => format!("write {}, or several with commas between", or(words)),
            Self::Flag => "write on, off, true or false".to_owned(),
            Self::Int(min, max) => format!("write a whole number from {min} to {max}"),
            Self::Ports => "write ports with commas between, as in 4369,4370".to_owned(),
            Self::Duration(_) => value::DURATION_WORDS.to_owned(),
            Self::Switch { on: true, .. } => {
                format!("write on or off, or {}", &value::DURATION_WORDS["write ".len()..])
            }
            Self::Switch { on: false, .. } => format!("write off, or {}", &value::DURATION_WORDS["write ".len()..]),
            Self::Size => value::SIZE_WORDS.to_owned(),
            Self::SizeOrAuto => format!("{}, or auto", value::SIZE_WORDS),
            Self::Ip => "write an IP address such as 10.0.0.1 or fd00::1".to_owned(),
            Self::Multicast => "write a multicast address such as 239.192.0.1".to_owned(),
            Self::Listen | Self::DnsServer => "write address or address:port".to_owned(),
            Self::Socket => "write address:port".to_owned(),
            Self::Urls => "write http://host:port or https://host:port, several with commas between".to_owned(),
            Self::Tags => "write k=v with commas between, as in zone=a,rack=12".to_owned(),
        }
    }
}

const WORD_WORDS: &str = "write 1 to 64 letters, digits, `_`, `-` and `.`";
const DOMAIN_WORDS: &str = "write a DNS name such as ekka.example.org, without a scheme or a port";
const SECRET_WORDS: &str = "write 1 to 255 visible characters without white space (`ekka keygen` makes a good one)";

fn or(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [init @ .., last] => format!("{} or {last}", init.join(", ")),
    }
}

fn at_least(duration: Duration, min: Duration) -> Result<(), String> {
    if duration < min {
        return Err(format!("at least {} is accepted", value::show_duration(min)));
    }
    Ok(())
}

fn no_control(text: &str) -> Result<(), String> {
    if text.chars().any(char::is_control) {
        return Err("a control character stands in it; write visible characters".to_owned());
    }
    Ok(())
}

fn word(text: &str) -> Result<(), String> {
    let ok = text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    if ok && text != "." && text != ".." { Ok(()) } else { Err(WORD_WORDS.to_owned()) }
}

fn domain_name(text: &str) -> Result<(), String> {
    let plain = text.strip_suffix('.').unwrap_or(text);
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
    };
    if plain.len() <= 253 && plain.split('.').all(label_ok) { Ok(()) } else { Err(DOMAIN_WORDS.to_owned()) }
}

fn secret(text: &str) -> Result<(), String> {
    let ok = text.len() <= 255 && text.chars().all(|c| !c.is_control() && !c.is_whitespace());
    if ok { Ok(()) } else { Err(SECRET_WORDS.to_owned()) }
}

/// Reads tags.
pub(crate) fn tags(items: &[String]) -> Result<BTreeMap<String, String>, String> {
    let mut tags = BTreeMap::new();
    for item in items {
        let (key, text) = item
            .split_once('=')
            .map(|(key, text)| (key.trim(), text.trim()))
            .filter(|(key, text)| word(key).is_ok() && !key.is_empty() && word(text).is_ok() && !text.is_empty())
            .ok_or_else(|| format!("`{}` is no tag; {}", value::clip(item), Kind::Tags.accepts()))?;
        if tags.insert(key.to_owned(), text.to_owned()).is_some() {
            return Err(format!("tag `{key}` stands there twice; each key once"));
        }
    }
    Ok(tags)
}
