//! What a node shows and what it trusts: made from cookies or files, and replaced as a whole at a rotation.

use std::fmt;
use std::sync::Arc;

use super::challenge::Challenge;
use super::cookie::CookieSet;
use super::files::{Facts, Files};
use super::kdf::{Kdf, Root};
use super::tls::Tls;
use crate::env::Clock;
use crate::pem::PemError;

pub use crate::config::TlsMode as Mode;

/// A trusted authority: the one made from a cookie, one of the operator's, or a cookie itself in mode `off`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct AuthorityId(pub(super) [u8; 32]);

/// The credentials of a node. Clones are cheap and share one leaf key.
#[derive(Clone)]
pub struct Credentials {
    inner: Arc<Inner>,
}

struct Inner {
    mode: Mode,
    cluster_name: String,
    fingerprints: Vec<String>,
    roots: Vec<Root>,
    security: Security,
}

pub(super) enum Security {
    Tls(Box<Tls>),
    Challenge(Challenge),
}

/// Why credentials cannot be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The key derivation refuses its parameters.
    #[error("keys cannot be derived from the cookie: {0}")]
    Derivation(String),
    /// The TLS library refuses a key or certificate.
    #[error("the certificates cannot be used: {0}")]
    Tls(String),
    /// A file of the operator cannot be read.
    #[error("{path}: not read as {expected}: {problem}")]
    File {
        /// The file.
        path: String,
        /// What it should hold.
        expected: &'static str,
        /// What was found.
        problem: String,
    },
}

impl From<PemError> for CredentialsError {
    fn from(PemError { path, expected, problem }: PemError) -> Self {
        Self::File { path, expected, problem }
    }
}

impl Credentials {
    /// Derives everything. Blocks, on purpose for long: to be called off the runtime.
    ///
    /// # Errors
    /// A file cannot be read, or keys and certificates do not fit together. Nothing was changed.
    pub fn derive(mode: &Mode, cookies: &CookieSet, cluster_name: &str, kdf: Kdf) -> Result<Self, CredentialsError> {
        let roots = cookies.roots(kdf)?;
        let security = match mode {
            Mode::Cookie => Security::Tls(Box::new(Tls::from_cookies(&roots, cluster_name)?)),
            Mode::Files { certfile, keyfile, cacertfile } => {
                let files = Files::read(certfile, keyfile, cacertfile, None)?;
                let files = files.ok_or_else(|| CredentialsError::Tls("there are no files".to_owned()))?;
                Security::Tls(Box::new(Tls::from_files(files)?))
            }
            Mode::Off => Security::Challenge(Challenge::new(&roots, cluster_name)),
        };
        let inner = Inner {
            mode: mode.clone(),
            cluster_name: cluster_name.to_owned(),
            fingerprints: roots.iter().map(Root::fingerprint).collect(),
            roots,
            security,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The same with what the operator's files hold now; `None` where that has not changed, and in every other mode.
    /// Blocks.
    pub(super) fn read_again(&self) -> Result<Option<Self>, CredentialsError> {
        let Mode::Files { certfile, keyfile, cacertfile } = self.mode() else { return Ok(None) };
        let Some(files) = Files::read(certfile, keyfile, cacertfile, self.facts())? else { return Ok(None) };
        let inner = Inner {
            mode: self.inner.mode.clone(),
            cluster_name: self.inner.cluster_name.clone(),
            fingerprints: self.inner.fingerprints.clone(),
            roots: self.inner.roots.clone(),
            security: Security::Tls(Box::new(Tls::from_files(files)?)),
        };
        Ok(Some(Self { inner: Arc::new(inner) }))
    }

    /// What is remembered of the operator's files.
    pub(super) fn facts(&self) -> Option<&Facts> {
        match &self.inner.security {
            Security::Tls(tls) => tls.facts.as_ref(),
            Security::Challenge(_) => None,
        }
    }

    /// Whether both are the same ones, not only alike.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Whether certificate files of the operator hold the same in both.
    #[must_use]
    pub fn same_certificates(&self, other: &Self) -> bool {
        self.facts().map(|facts| facts.digest) == other.facts().map(|facts| facts.digest)
    }

    /// Fingerprints of the cookies, first the one that signs.
    #[must_use]
    pub fn fingerprints(&self) -> &[String] {
        &self.inner.fingerprints
    }

    /// How connections are protected.
    #[must_use]
    pub fn mode(&self) -> &Mode {
        &self.inner.mode
    }

    /// The name of the cluster that they are for.
    #[must_use]
    pub fn cluster_name(&self) -> &str {
        &self.inner.cluster_name
    }

    /// What a person compares: `cookie 3f9a-02c1-77de, name "ekka", tls cookie`.
    #[must_use]
    pub fn describe(&self) -> String {
        let cookie = self.inner.fingerprints.first().map_or("none", String::as_str);
        format!("cookie {cookie}, name {:?}, tls {}", self.inner.cluster_name, self.mode_name())
    }

    /// Keys for another use, one for each trusted cookie and first the one that signs. The label keeps uses apart.
    #[must_use]
    pub fn keys_for(&self, label: &str) -> Vec<[u8; 32]> {
        let label = format!("use {label}");
        self.inner.roots.iter().map(|root| root.key(&label, &self.inner.cluster_name)).collect()
    }

    pub(super) fn mode_name(&self) -> &'static str {
        match self.inner.mode {
            Mode::Cookie => "cookie",
            Mode::Files { .. } => "files",
            Mode::Off => "off",
        }
    }

    pub(super) fn security(&self) -> &Security {
        &self.inner.security
    }

    pub(super) fn use_clock(&self, clock: &Arc<dyn Clock>) {
        if let Security::Tls(tls) = &self.inner.security {
            tls.use_clock(clock);
        }
    }

    pub(super) fn trusts(&self, authority: &AuthorityId) -> bool {
        self.place_of(authority).is_some()
    }

    /// The fingerprint of the cookie that a trusted authority stands for; the operator's stand for none.
    pub(super) fn fingerprint_of(&self, authority: &AuthorityId) -> Option<&str> {
        if matches!(self.inner.mode, Mode::Files { .. }) {
            return None;
        }
        self.fingerprints().get(self.place_of(authority)?).map(String::as_str)
    }

    fn place_of(&self, authority: &AuthorityId) -> Option<usize> {
        match &self.inner.security {
            Security::Tls(tls) => tls.place_of(authority),
            Security::Challenge(challenge) => challenge.place_of(authority),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.describe())
    }
}
