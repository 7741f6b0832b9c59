//! Node names (`name@host`) and the port rule.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use core::fmt;
use core::net::{IpAddr, Ipv6Addr};
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::{HOST_LEN_MAX, NAME_PART_LEN_MAX, PORT_OFFSET_MODULO};

/// Where a host is: an address, or a name for the resolver.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Host {
    /// A literal address.
    Ip(IpAddr),
    /// A host name, in lower case.
    Dns(String),
}

impl Host {
    /// Whether this is a loopback address or the name `localhost`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Ip(ip) => ip.is_loopback(),
            Self::Dns(name) => name == "localhost" || name.ends_with(".localhost"),
        }
    }

    /// Whether this is the word `auto`, to be replaced before a node starts.
    #[must_use]
    pub fn is_auto(&self) -> bool {
        matches!(self, Self::Dns(name) if name == "auto")
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Dns(name) => f.write_str(name),
        }
    }
}

/// A host and a port to dial.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// The host.
    pub host: Host,
    /// The TCP port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The name of a node: `name@host`, `name@host:port`, `name@[::1]`. Kept in lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName {
    name: String,
    host: Host,
    port: Option<u16>,
}

/// Why a text is no node name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// There is no `@`, or more than one.
    #[error("`{0}` is not a node name: write name@host, as in ekka@10.0.0.1")]
    NotTwoParts(String),
    /// The part before the `@` is empty, too long, or has characters outside `a-z0-9_.-`.
    #[error("`{0}`: the part before the @ takes 1 to 64 letters, digits, `_`, `-` and `.`")]
    BadName(String),
    /// The part after the `@` is no host.
    #[error(
        "`{0}`: the part after the @ takes a host name, an IPv4 address, or an IPv6 address in brackets, as in ekka@[::1]"
    )]
    BadHost(String),
    /// The port is not between 1 and 65535.
    #[error("`{0}`: the port after the host must be between 1 and 65535")]
    BadPort(String),
}

impl NodeName {
    /// The part before the `@`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The part after the `@`, without the port.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The port written in the name, where there is one.
    #[must_use]
    pub fn explicit_port(&self) -> Option<u16> {
        self.port
    }

    /// The same name on another host.
    #[must_use]
    pub fn with_host(&self, host: Host) -> Self {
        Self { host, ..self.clone() }
    }

    /// The digits that end the name part, modulo 60000: how far the port lies above the base port.
    #[must_use]
    pub fn port_offset(&self) -> u16 {
        let digits = self.name.len() - self.name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        let tail = &self.name.as_bytes()[self.name.len() - digits..];
        let sum =
            tail.iter().fold(0u32, |sum, digit| (sum * 10 + u32::from(digit - b'0')) % u32::from(PORT_OFFSET_MODULO));
        u16::try_from(sum).unwrap_or(0) // below the modulo, which is a u16
    }

    /// The port that the node listens on, or `None` where base and offset are above 65535.
    #[must_use]
    pub fn port(&self, base_port: u16) -> Option<u16> {
        self.port.or_else(|| base_port.checked_add(self.port_offset()))
    }

    /// Where to dial the node, or `None` where its port would be above 65535.
    #[must_use]
    pub fn endpoint(&self, base_port: u16) -> Option<Endpoint> {
        Some(Endpoint { host: self.host.clone(), port: self.port(base_port)? })
    }
}

fn parse_host(text: &str) -> Option<(Host, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (ip, after) = rest.split_once(']')?;
        let ip: Ipv6Addr = ip.parse().ok()?;
        return match after {
            "" => Some((Host::Ip(IpAddr::V6(ip)), None)),
            _ => Some((Host::Ip(IpAddr::V6(ip)), Some(after.strip_prefix(':')?))),
        };
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Some((Host::Ip(ip), port));
    }
    let looks_numeric = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let label_ok = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let plain = host.strip_suffix('.').unwrap_or(host);
    let ok = !looks_numeric && plain.len() <= HOST_LEN_MAX && plain.split('.').all(label_ok);
    ok.then(|| (Host::Dns(plain.to_owned()), port))
}

impl FromStr for NodeName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let lower = text.to_ascii_lowercase();
        let (name, rest) = lower.split_once('@').ok_or_else(|| NameError::NotTwoParts(text.to_owned()))?;
        if rest.contains('@') {
            return Err(NameError::NotTwoParts(text.to_owned()));
        }
        let name_ok = !name.is_empty()
            && name.len() <= NAME_PART_LEN_MAX
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        if !name_ok {
            return Err(NameError::BadName(text.to_owned()));
        }
        let (host, port) = parse_host(rest).ok_or_else(|| NameError::BadHost(text.to_owned()))?;
        let port = match port {
            None => None,
            Some(port) => match port.parse::<u16>() {
                Ok(port) if port > 0 => Some(port),
                _ => return Err(NameError::BadPort(text.to_owned())),
            },
        };
        Ok(Self { name: name.to_owned(), host, port })
    }
}

impl TryFrom<String> for NodeName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> NodeName {
        text.parse().unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn port_rule_takes_the_digits_that_end_the_name_part() {
        for (text, port) in [
            ("ekka@h", 4370),
            ("ekka1@h", 4371),
            ("node12@h", 4382),
            ("n60000@h", 4370),
            ("n65535@h", 9905),
            ("n99999999999999999999999@h", 4370 + 39999),
            ("1a2@h", 4372),
            ("ekka1@h:9000", 9000),
        ] {
            assert_eq!(name(text).port(4370), Some(port), "{text}");
        }
        assert_eq!(name("n59999@h").port(10_000), None);
    }

    #[test]
    fn names_are_compared_in_lower_case_and_print_as_they_parse() {
        assert_eq!(name("Broker@Node-3.Example"), name("broker@node-3.example"));
        for text in ["ekka@10.0.0.1", "ekka@[::1]", "ekka@[fe80::1]:99", "a_b-c.d@auto", "ekka@host:1"] {
            assert_eq!(name(text).to_string(), text);
        }
        assert!(name("x@auto").host().is_auto());
    }

    #[test]
    fn what_is_no_name_is_refused_with_its_reason() {
        for text in ["", "ekka", "a@b@c"] {
            assert!(matches!(text.parse::<NodeName>(), Err(NameError::NotTwoParts(_))), "{text}");
        }
        for text in ["@h", "a b@h", "ä@h"] {
            assert!(matches!(text.parse::<NodeName>(), Err(NameError::BadName(_))), "{text}");
        }
        for text in ["a@", "a@::1", "a@1.2.3", "a@1.2.3.4.5", "a@-h", "a@h..i", "a@[::1", "a@[::1]x", "a@h i"] {
            assert!(matches!(text.parse::<NodeName>(), Err(NameError::BadHost(_))), "{text}");
        }
        for text in ["a@h:0", "a@h:65536", "a@h:x", "a@h:", "a@[::1]:"] {
            assert!(matches!(text.parse::<NodeName>(), Err(NameError::BadPort(_))), "{text}");
        }
    }
}
