//! What this strategy asks of etcd, whichever of its two APIs it speaks, and how it finds out which.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::ask::{Ask, Pass};
use super::layout::Layout;
use super::listing::Listing;
use super::v2::{V2, V2Watch};
use super::v3::{V3, V3Watch};
use super::words::{Failure, Kind};
use crate::config::EtcdVersion;
use crate::http::Request;

/// Bytes of a value that is kept: an entry has some hundred.
pub(super) const VALUE_MAX: usize = 64 * 1024;

/// etcd, as far as it is used.
pub(super) struct Api {
    pub(super) ask: Ask,
    pub(super) layout: Layout,
    wanted: EtcdVersion,
    spoken: Mutex<Option<Spoken>>,
}

/// Which API is spoken; for v3, below which path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Spoken {
    V2,
    V3(&'static str),
}

/// A value, and the revision of its last change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Stored {
    pub(super) value: Vec<u8>,
    pub(super) revision: i64,
}

/// What keeps a node's key: how long it lasts without a beat, and for v3 the lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Hold {
    pub(super) lease: Option<i64>,
    pub(super) ttl: Duration,
}

/// One change below the base: which key, and its value where it has one now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Change {
    pub(super) name: String,
    pub(super) value: Option<Vec<u8>>,
}

/// Changes as they come.
pub(super) enum Watch<'a> {
    V2(V2Watch<'a>),
    V3(V3Watch),
}

/// Puts one question to the API that is spoken. Where nobody answered in its way, it is found out anew the next time.
macro_rules! question {
    ($self:ident, $api:ident => $question:expr) => {{
        let answer = match $self.spoken().await? {
            Spoken::V2 => {
                let $api = V2 { ask: &$self.ask, layout: &$self.layout };
                $question.await
            }
            Spoken::V3(path) => {
                let $api = V3 { ask: &$self.ask, layout: &$self.layout, path };
                $question.await
            }
        };
        if answer.as_ref().is_err_and(|failure| failure.kind == Kind::Unanswered) {
            *$self.known() = None;
        }
        answer
    }};
}

impl Api {
    pub(super) fn new(ask: Ask, layout: Layout, wanted: EtcdVersion) -> Self {
        Self { ask, layout, wanted, spoken: Mutex::new(None) }
    }

    /// All keys below the base.
    pub(super) async fn list(&self) -> Result<Listing, Failure> {
        question!(self, api => api.list())
    }

    /// One key.
    pub(super) async fn read(&self, key: &str) -> Result<Option<Stored>, Failure> {
        question!(self, api => api.read(key))
    }

    /// What a node's key will hang on. It is kept before the key is written, so that it can be let go.
    pub(super) async fn hold(&self, ttl: Duration) -> Result<Hold, Failure> {
        question!(self, api => api.hold(ttl))
    }

    /// Writes a node's key.
    ///
    /// # Errors
    /// `LeaseGone`: etcd does not know the hold (any more).
    pub(super) async fn put(&self, key: &str, value: &[u8], hold: Hold) -> Result<(), Failure> {
        question!(self, api => api.put(key, value, hold))
    }

    /// One beat; whether the hold was still there.
    pub(super) async fn beat(&self, key: &str, hold: Hold) -> Result<bool, Failure> {
        question!(self, api => api.beat(key, hold))
    }

    /// Lets a hold go, and the key of this value, or of this value's node, with it.
    pub(super) async fn let_go(&self, key: &str, value: &[u8], hold: Hold) -> Result<(), Failure> {
        question!(self, api => api.let_go(key, value, hold))
    }

    /// Writes a key that is not there; `Some`: it is, with this value. One step.
    pub(super) async fn create(&self, key: &str, value: &[u8]) -> Result<Option<Stored>, Failure> {
        question!(self, api => api.create(key, value))
    }

    /// Replaces the value of that revision; whether it still was the one. One step.
    pub(super) async fn swap(&self, key: &str, value: &[u8], revision: i64) -> Result<bool, Failure> {
        question!(self, api => api.swap(key, value, revision))
    }

    /// Changes from now on.
    pub(super) async fn watch(&self) -> Result<Watch<'_>, Failure> {
        match self.spoken().await? {
            Spoken::V2 => {
                let mut watch = V2Watch::new(V2 { ask: &self.ask, layout: &self.layout });
                watch.open().await?;
                Ok(Watch::V2(watch))
            }
            Spoken::V3(path) => Ok(Watch::V3(V3 { ask: &self.ask, layout: &self.layout, path }.watch().await?)),
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<Spoken>> {
        self.spoken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn spoken(&self) -> Result<Spoken, Failure> {
        if self.wanted == EtcdVersion::V2 {
            return Ok(Spoken::V2);
        }
        let known = *self.known();
        if let Some(spoken) = known {
            return Ok(spoken);
        }
        let (server, answer) = self.ask.send(&Request::get("/version"), Pass::Nobody).await?;
        let server = server.to_string();
        let spoken = match version(&answer.body) {
            Some(version) => choose(&server, version, self.wanted)?,
            None if self.wanted == EtcdVersion::V3 => Spoken::V3("/v3"),
            None => {
                return Err(Failure::other(format!(
                    "{server}: what answers GET /version is no etcd ({}: {}): correct cluster.etcd.server, or write \
                     cluster.etcd.version = v3 where a proxy hides it",
                    answer.status.as_u16(),
                    self.ask.said(&answer)
                )));
            }
        };
        *self.known() = Some(spoken);
        Ok(spoken)
    }
}

impl Watch<'_> {
    /// The next changes; `None` at the end, after which it is to be begun anew. *Cancel safe.*
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Change>>, Failure> {
        match self {
            Self::V2(watch) => watch.next().await,
            Self::V3(watch) => watch.next().await,
        }
    }

    /// The number of the server that gives it.
    pub(super) fn server(&self) -> usize {
        match self {
            Self::V2(watch) => watch.server,
            Self::V3(watch) => watch.server,
        }
    }
}

/// Major and minor version of the server.
pub(super) fn version(body: &[u8]) -> Option<(u32, u32)> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let mut numbers = answer.get("etcdserver")?.as_str()?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn choose(server: &str, version: (u32, u32), wanted: EtcdVersion) -> Result<Spoken, Failure> {
    match version {
        (3, 3) => Ok(Spoken::V3("/v3beta")),
        (3, 0..=2) => Ok(Spoken::V3("/v3alpha")),
        (0..=2, minor) if wanted == EtcdVersion::V3 => Err(Failure::other(format!(
            "{server}: etcd {}.{minor} has no API v3: write cluster.etcd.version = v2 or auto",
            version.0
        ))),
        (0..=2, _) => Ok(Spoken::V2),
        _ => Ok(Spoken::V3("/v3")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_the_server_chooses_the_api() {
        for (text, wanted, spoken) in [
            ("3.6.1", EtcdVersion::Auto, Some(Spoken::V3("/v3"))),
            ("3.4.23", EtcdVersion::V3, Some(Spoken::V3("/v3"))),
            ("3.3.27", EtcdVersion::Auto, Some(Spoken::V3("/v3beta"))),
            ("3.2.0", EtcdVersion::Auto, Some(Spoken::V3("/v3alpha"))),
            ("2.3.8", EtcdVersion::Auto, Some(Spoken::V2)),
            ("2.3.8", EtcdVersion::V3, None),
            ("4.0.0", EtcdVersion::Auto, Some(Spoken::V3("/v3"))),
        ] {
            let body = format!(r#"{{"etcdserver":"{text}","etcdcluster":"not_decided"}}"#);
            let version = version(body.as_bytes()).expect(text);
            assert_eq!(choose("s", version, wanted).ok(), spoken, "{text}");
        }
        for none in ["", "{}", "404 page not found", r#"{"etcdserver":3}"#, r#"{"etcdserver":"three"}"#] {
            assert_eq!(version(none.as_bytes()), None, "{none}");
        }
    }
}
