//! Where a server is: what a URL without a path says.

use std::fmt;

use ekka_core::id::{Endpoint, Host};

/// A server by its address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Server {
    pub(super) tls: bool,
    pub(super) endpoint: Endpoint,
}

impl Server {
    /// Reads `http://HOST[:PORT]` or `https://HOST[:PORT]`.
    ///
    /// # Errors
    /// It is none, in words.
    pub(crate) fn parse(url: &str, default_port: Option<u16>) -> Result<Self, String> {
        let bad = || format!("`{url}` is no address of a server: write http://host:port or https://host:port");
        let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
        let tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(bad()),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = if let Some(v6) = rest.strip_prefix('[') {
            let (host, after) = v6.split_once(']').ok_or_else(bad)?;
            let port = if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or_else(bad)?) };
            (Host::Ip(host.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?.into()), port)
        } else {
            let (host, port) = rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port)));
            if host.is_empty() || host.contains('/') {
                return Err(bad());
            }
            let ip = host.parse().map(Host::Ip);
            (ip.unwrap_or_else(|_| Host::Dns(host.to_ascii_lowercase())), port)
        };
        let port = match port {
            Some(port) => port.parse().map_err(|_| bad())?,
            None => default_port.unwrap_or(if tls { 443 } else { 80 }),
        };
        Ok(Self { tls, endpoint: Endpoint { host, port } })
    }

    /// Whether what goes there is encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        self.tls
    }

    /// Whether it is on this host.
    pub(crate) fn is_loopback(&self) -> bool {
        self.endpoint.host.is_loopback()
    }

    /// The value of the header `Host`.
    pub(super) fn authority(&self) -> String {
        self.endpoint.to_string()
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.endpoint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown_again() {
        for (url, shown) in [
            ("http://127.0.0.1:2379", "http://127.0.0.1:2379"),
            ("https://Etcd.example", "https://etcd.example:443"),
            ("http://[::1]:2379/", "http://[::1]:2379"),
            ("http://[::1]", "http://[::1]:80"),
        ] {
            assert_eq!(Server::parse(url, None).expect(url).to_string(), shown);
        }
        assert_eq!(Server::parse("http://etcd", Some(2379)).expect("a default").to_string(), "http://etcd:2379");
        for bad in [
            "127.0.0.1",
            "ftp://a",
            "http://",
            "http://a:b",
            "http://a/b",
            "http://[::1",
            "http://[::1]x",
            "http://a:99999",
        ] {
            let error = Server::parse(bad, None).expect_err(bad);
            assert!(error.contains("http://host:port"), "{error}");
        }
    }
}
