//! Where an agent is, and how it is reached.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto, version};

use super::Duplex;
use crate::exit::Failure;

/// Where an agent is.
#[derive(Clone)]
pub(crate) enum Target {
    /// On this host.
    Unix(PathBuf),
    /// Anywhere.
    Tcp {
        /// `host:port`
        authority: String,
        /// The bearer token.
        token: Option<String>,
        /// TLS, with the name that the certificate must have.
        tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    },
}

impl Target {
    /// Whether it is a socket of this host.
    pub(crate) fn is_socket(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    /// Reads `http://HOST:PORT`, `https://HOST:PORT` or `unix:PATH`.
    pub(crate) fn parse(url: &str, token: Option<&Path>, authorities: Option<&Path>) -> Result<Self, Failure> {
        if let Some(path) = url.strip_prefix("unix:") {
            return Ok(Self::Unix(PathBuf::from(path.strip_prefix("//").unwrap_or(path))));
        }
        let bad = || Failure::usage(format!("--url {url}: takes http://HOST:PORT, https://HOST:PORT or unix:PATH"));
        let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
        let authority = rest.trim_end_matches('/').to_owned();
        let (host, port) = authority.rsplit_once(':').ok_or_else(bad)?;
        if host.is_empty() || authority.contains('/') || port.parse::<u16>().is_err() {
            return Err(bad());
        }
        let token = token.map(read_token).transpose()?;
        let tls = match scheme {
            "http" => None,
            "https" => {
                let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                let name = ServerName::try_from(name).map_err(|_| bad())?;
                Some((client_config(authorities)?, name))
            }
            _ => return Err(bad()),
        };
        Ok(Self::Tcp { authority, token, tls })
    }

    pub(super) async fn connect(&self) -> io::Result<Box<dyn Duplex>> {
        Ok(match self {
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Self::Tcp { authority, tls: None, .. } => Box::new(TcpStream::connect(authority).await?),
            Self::Tcp { authority, tls: Some((config, name)), .. } => {
                let tcp = TcpStream::connect(authority).await?;
                Box::new(TlsConnector::from(config.clone()).connect(name.clone(), tcp).await?)
            }
        })
    }

    pub(super) fn host(&self) -> &str {
        match self {
            Self::Unix(_) => "localhost",
            Self::Tcp { authority, .. } => authority,
        }
    }

    pub(super) fn token(&self) -> Option<&str> {
        match self {
            Self::Unix(_) => None,
            Self::Tcp { token, .. } => token.as_deref(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp { authority, tls, .. } => {
                write!(f, "{}://{authority}", if tls.is_some() { "https" } else { "http" })
            }
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn read_token(path: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("--token-file {}: {error}", path.display())))?;
    match text.lines().next().map(str::trim) {
        Some(token) if !token.is_empty() && token.is_ascii() => Ok(token.to_owned()),
        _ => Err(Failure::usage(format!("--token-file {}: holds no token in its first line", path.display()))),
    }
}

fn client_config(authorities: Option<&Path>) -> Result<Arc<ClientConfig>, Failure> {
    let from = authorities
        .map_or_else(|| "the system's authorities".to_owned(), |path| format!("--ca-file {}", path.display()));
    let bad = |why: &dyn fmt::Display| Failure::usage(format!("{from}: {why}"));
    let trusted = match authorities {
        Some(path) => {
            let pem = std::fs::read(path).map_err(|error| bad(&error))?;
            CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect()
        }
        None => ekka::env::system_authorities().map_err(|why| bad(&format!("{why}: give --ca-file FILE")))?,
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted);
    if roots.is_empty() {
        return Err(bad(&"holds no certificate in PEM"));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_protocol_versions(&[&version::TLS13])
        .map_err(|error| bad(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_in_three_forms_and_else_refused_in_words() {
        let parse = |url| Target::parse(url, None, None);
        assert_eq!(parse("unix:/run/x.sock").expect("a socket").to_string(), "/run/x.sock");
        assert_eq!(parse("http://10.0.0.1:8371/").expect("plain").to_string(), "http://10.0.0.1:8371");
        assert_eq!(parse("http://[::1]:80").expect("IPv6").host(), "[::1]:80");
        for bad in ["10.0.0.1", "http://10.0.0.1", "ftp://a:1", "http://:1", "http://a:99999", "http://a:1/v1"] {
            let failure = parse(bad).expect_err(bad);
            assert!(failure.message().contains("http://HOST:PORT"), "{bad}: {failure:?}");
        }
    }
}
