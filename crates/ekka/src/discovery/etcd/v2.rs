//! API v2: plain keys under `/v2/keys`, each with a time to live of its own.

use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

use super::api::{Change, Hold, Stored};
use super::ask::{Ask, Pass};
use super::entry::owner;
use super::layout::Layout;
use super::listing::Listing;
use super::v2_form::{change, code, escaped, listing, stored};
use super::words::{Failure, Kind};
use crate::http::{Lines, Request, Response};

/// Codes of API v2.
const KEY_NOT_FOUND: i64 = 100;
const COMPARE_FAILED: i64 = 101;
const KEY_EXISTS: i64 = 105;
const UNAUTHORIZED: i64 = 110;

/// Questions of API v2.
#[derive(Clone, Copy)]
pub(super) struct V2<'a> {
    pub(super) ask: &'a Ask,
    pub(super) layout: &'a Layout,
}

impl V2<'_> {
    pub(super) async fn list(&self) -> Result<Listing, Failure> {
        let base = self.layout.base().trim_end_matches('/');
        match self.call(Method::GET, base, "quorum=true&sorted=true", None).await? {
            Ok(answer) => Ok(listing(&answer, self.layout)),
            Err(refusal) if refusal.code == Some(KEY_NOT_FOUND) => Ok(Listing::default()),
            Err(refusal) => Err(self.failure(refusal)),
        }
    }

    pub(super) async fn read(&self, key: &str) -> Result<Option<Stored>, Failure> {
        match self.call(Method::GET, key, "quorum=true", None).await? {
            Ok(answer) => stored(&answer).map(Some),
            Err(refusal) if refusal.code == Some(KEY_NOT_FOUND) => Ok(None),
            Err(refusal) => Err(self.failure(refusal)),
        }
    }

    #[expect(clippy::unused_async, reason = "the questions of both APIs look alike")]
    pub(super) async fn hold(&self, ttl: Duration) -> Result<Hold, Failure> {
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        Ok(Hold { lease: None, ttl: Duration::from_secs(seconds.max(1)) })
    }

    pub(super) async fn put(&self, key: &str, value: &[u8], hold: Hold) -> Result<(), Failure> {
        let query = format!("ttl={}", hold.ttl.as_secs());
        self.call(Method::PUT, key, &query, Some(value)).await?.map(drop).map_err(|refusal| self.failure(refusal))
    }

    pub(super) async fn beat(&self, key: &str, hold: Hold) -> Result<bool, Failure> {
        let query = format!("ttl={}&refresh=true&prevExist=true", hold.ttl.as_secs());
        match self.call(Method::PUT, key, &query, None).await? {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.code == Some(KEY_NOT_FOUND) => Ok(false),
            Err(refusal) => Err(self.failure(refusal)),
        }
    }

    pub(super) async fn let_go(&self, key: &str, value: &[u8], _hold: Hold) -> Result<(), Failure> {
        let mut only = format!("prevValue={}", escaped(value, false));
        // It may hold an earlier value of this node: an answer may have been lost. In between it may change again.
        for _ in 0..3 {
            match self.call(Method::DELETE, key, &only, None).await? {
                Ok(_) => return Ok(()),
                Err(refusal) if refusal.code == Some(KEY_NOT_FOUND) => return Ok(()),
                Err(refusal) if refusal.code == Some(COMPARE_FAILED) => {}
                Err(refusal) => return Err(self.failure(refusal)),
            }
            match self.read(key).await? {
                Some(stored) if owner(&stored.value).is_some() && owner(&stored.value) == owner(value) => {
                    only = format!("prevIndex={}", stored.revision);
                }
                // Gone by now, or that of another node.
                _ => return Ok(()),
            }
        }
        Err(Failure::other(format!("etcd's key {key} changes all the time and is not taken out")))
    }

    pub(super) async fn create(&self, key: &str, value: &[u8]) -> Result<Option<Stored>, Failure> {
        // A key that goes between the two questions is tried once more.
        for _ in 0..2 {
            match self.call(Method::PUT, key, "prevExist=false", Some(value)).await? {
                Ok(_) => return Ok(None),
                Err(refusal) if refusal.code == Some(KEY_EXISTS) => {}
                Err(refusal) => return Err(self.failure(refusal)),
            }
            if let Some(stored) = self.read(key).await? {
                return Ok(Some(stored));
            }
        }
        Err(Failure::other(format!("etcd's key {key} comes and goes")))
    }

    pub(super) async fn swap(&self, key: &str, value: &[u8], revision: i64) -> Result<bool, Failure> {
        match self.call(Method::PUT, key, &format!("prevIndex={revision}"), Some(value)).await? {
            Ok(_) => Ok(true),
            Err(refusal) if [Some(KEY_NOT_FOUND), Some(COMPARE_FAILED)].contains(&refusal.code) => Ok(false),
            Err(refusal) => Err(self.failure(refusal)),
        }
    }

    async fn call(
        &self,
        method: Method,
        key: &str,
        query: &str,
        value: Option<&[u8]>,
    ) -> Result<Result<Value, Refusal>, Failure> {
        let target = format!("/v2/keys/{}?{query}", escaped(key.as_bytes(), true));
        let form = value.map(|value| Bytes::from(format!("value={}", escaped(value, false))));
        let body = form.map(|form| ("application/x-www-form-urlencoded", form));
        let request = Request { method, target, authorization: None, body };
        let (server, response) = self.ask.send(&request, Pass::Basic).await?;
        let server = server.to_string();
        match serde_json::from_slice::<Value>(&response.body) {
            Ok(answer) if response.status.is_success() => Ok(Ok(answer)),
            Err(error) if response.status.is_success() => {
                Err(Failure::other(format!("{server}: the answer of API v2 is no JSON: {error}")))
            }
            answer => Ok(Err(Refusal { code: answer.ok().and_then(|answer| code(&answer)), server, response })),
        }
    }

    fn failure(&self, refusal: Refusal) -> Failure {
        let Refusal { server, response, code } = refusal;
        let said = self.ask.said(&response);
        match (response.status, code) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) | (_, Some(UNAUTHORIZED)) => {
                self.ask.who.denied_v2(&server, &said)
            }
            (StatusCode::NOT_FOUND, None) => Failure::new(
                Kind::Unanswered,
                format!(
                    "{server}: etcd does not serve API v2: start it with --enable-v2, or write cluster.etcd.version = v3"
                ),
            ),
            (status, _) => Failure::other(format!("{server}: API v2: {}: {said}", status.as_u16())),
        }
    }
}

/// An answer that is no success.
struct Refusal {
    server: String,
    response: Response,
    code: Option<i64>,
}

/// Changes below the base. Each question waits for one of them.
pub(super) struct V2Watch<'a> {
    api: V2<'a>,
    lines: Option<Lines>,
    next: Option<i64>,
    /// When a question may be put again.
    not_before: Instant,
    pub(super) server: usize,
}

/// From one question of a watch to the next, also where a server answers each at once.
const APART: Duration = Duration::from_millis(100);

impl<'a> V2Watch<'a> {
    pub(super) fn new(api: V2<'a>) -> Self {
        Self { api, lines: None, next: None, not_before: Instant::now(), server: 0 }
    }

    /// Opens the question beforehand, so that nothing that comes after is missed.
    pub(super) async fn open(&mut self) -> Result<(), Failure> {
        tokio::time::sleep_until(self.not_before).await;
        self.not_before = Instant::now() + APART;
        let base = escaped(self.api.layout.base().trim_end_matches('/').as_bytes(), true);
        let index = self.next.map(|index| format!("&waitIndex={index}")).unwrap_or_default();
        let request = Request::get(format!("/v2/keys/{base}?wait=true&recursive=true{index}"));
        let (server, lines) = self.api.ask.lines(&request, Pass::Basic).await?;
        (self.server, self.lines) = (server, Some(lines));
        Ok(())
    }

    pub(super) async fn next(&mut self) -> Result<Option<Vec<Change>>, Failure> {
        if self.lines.is_none() {
            self.open().await?;
        }
        let Some(lines) = &mut self.lines else { return Ok(None) };
        let line = lines.next().await;
        self.lines = None;
        let Ok(Some(line)) = line else { return Ok(None) };
        let answer: Value = serde_json::from_slice(&line)
            .map_err(|error| Failure::other(format!("a change of API v2 is no JSON: {error}")))?;
        let (index, change) = change(&answer, self.api.layout);
        // Not a change: what answers so does not wait for one.
        let Some(index) = index else { return Ok(None) };
        self.next = Some(index.saturating_add(1));
        Ok(Some(change.into_iter().collect()))
    }
}
