//! API v3 through its JSON gateway: keys and values in base64, 64-bit numbers as texts, a watch is one object a line.

use std::time::Duration;

use hyper::Method;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::api::{Change, Hold, Stored};
use super::ask::{Ask, Pass, said};
use super::layout::Layout;
use super::v3_form::{changes, encoded, number, stored};
use super::words::{Failure, Kind, no_user};
use crate::http::{Lines, Request, Response};

/// Questions of API v3.
pub(super) struct V3<'a> {
    pub(super) ask: &'a Ask,
    pub(super) layout: &'a Layout,
    /// What the paths of the gateway begin with.
    pub(super) path: &'static str,
}

impl V3<'_> {
    /// What `kv/range` gives for the keys from one to before another.
    pub(super) async fn range(&self, from: &[u8], end: &[u8], limit: usize, keys: bool) -> Result<Value, Failure> {
        let body = json!({
            "key": encoded(from), "range_end": encoded(end), "limit": limit.to_string(), "keys_only": keys,
        });
        self.call("kv/range", &body).await
    }

    pub(super) async fn read(&self, key: &str) -> Result<Option<Stored>, Failure> {
        let answer = self.call("kv/range", &json!({"key": encoded(key.as_bytes())})).await?;
        stored(&answer)
    }

    pub(super) async fn hold(&self, ttl: Duration) -> Result<Hold, Failure> {
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let answer = self.call("lease/grant", &json!({"TTL": seconds.max(1).to_string()})).await?;
        let lease = answer.get("ID").and_then(number).filter(|id| *id != 0);
        let granted = answer.get("TTL").and_then(number).and_then(|ttl| u64::try_from(ttl).ok()).filter(|ttl| *ttl > 0);
        match (lease, granted) {
            (Some(lease), Some(granted)) => Ok(Hold { lease: Some(lease), ttl: Duration::from_secs(granted) }),
            _ => Err(Failure::other("etcd's answer to lease/grant holds no lease")),
        }
    }

    pub(super) async fn put(&self, key: &str, value: &[u8], hold: Hold) -> Result<(), Failure> {
        let mut body = json!({"key": encoded(key.as_bytes()), "value": encoded(value)});
        let lease = hold.lease.ok_or_else(|| Failure::new(Kind::LeaseGone, "a key of v3 hangs on a lease"))?;
        body["lease"] = lease.to_string().into();
        self.call("kv/put", &body).await.map(drop)
    }

    pub(super) async fn beat(&self, _key: &str, hold: Hold) -> Result<bool, Failure> {
        let Some(lease) = hold.lease else { return Ok(false) };
        match self.call("lease/keepalive", &json!({"ID": lease.to_string()})).await {
            Ok(answer) => {
                let result = answer.get("result").unwrap_or(&answer);
                Ok(result.get("TTL").and_then(number).is_some_and(|ttl| ttl > 0))
            }
            Err(failure) if failure.kind == Kind::LeaseGone => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// The key goes with its lease, and in the same step.
    pub(super) async fn let_go(&self, _key: &str, _value: &[u8], hold: Hold) -> Result<(), Failure> {
        let Some(lease) = hold.lease else { return Ok(()) };
        match self.call(revoke(self.path), &json!({"ID": lease.to_string()})).await {
            Err(failure) if failure.kind != Kind::LeaseGone => Err(failure),
            _ => Ok(()),
        }
    }

    pub(super) async fn create(&self, key: &str, value: &[u8]) -> Result<Option<Stored>, Failure> {
        let key = encoded(key.as_bytes());
        let body = json!({
            "compare": [{"target": "CREATE", "result": "EQUAL", "key": key, "create_revision": "0"}],
            "success": [{"request_put": {"key": key, "value": encoded(value)}}],
            "failure": [{"request_range": {"key": key}}],
        });
        let answer = self.call("kv/txn", &body).await?;
        if succeeded(&answer) {
            return Ok(None);
        }
        let range = answer.pointer("/responses/0/response_range").unwrap_or(&Value::Null);
        match stored(range)? {
            Some(stored) => Ok(Some(stored)),
            None => Err(Failure::other("etcd's answer to a transaction holds neither a success nor the key")),
        }
    }

    pub(super) async fn swap(&self, key: &str, value: &[u8], revision: i64) -> Result<bool, Failure> {
        let key = encoded(key.as_bytes());
        let body = json!({
            "compare": [{"target": "MOD", "result": "EQUAL", "key": key, "mod_revision": revision.to_string()}],
            "success": [{"request_put": {"key": key, "value": encoded(value)}}],
        });
        Ok(succeeded(&self.call("kv/txn", &body).await?))
    }

    pub(super) async fn watch(&self) -> Result<V3Watch, Failure> {
        let range = json!({
            "key": encoded(self.layout.base().as_bytes()), "range_end": encoded(self.layout.end().as_bytes()),
        });
        let request = Request::json(Method::POST, format!("{}/watch", self.path), &json!({"create_request": range}));
        let (server, lines) = self.ask.lines(&request, Pass::Token(self.path)).await?;
        Ok(V3Watch { lines, server, layout: self.layout.clone(), idle: 0 })
    }

    async fn call(&self, what: &str, body: &Value) -> Result<Value, Failure> {
        let request = Request::json(Method::POST, format!("{}/{what}", self.path), body);
        let (server, response) = self.ask.send(&request, Pass::Token(self.path)).await?;
        if response.status.is_success() {
            return serde_json::from_slice(&response.body)
                .map_err(|error| Failure::other(format!("{server}: the answer to {what} is no JSON: {error}")));
        }
        Err(self.failure(&server.to_string(), what, &response))
    }

    fn failure(&self, server: &str, what: &str, response: &Response) -> Failure {
        let (all, said) = (said(response), self.ask.said(response));
        let answer: Value = serde_json::from_slice(&response.body).unwrap_or_default();
        let has = |part: &str| all.contains(part);
        if has("lease not found") {
            return Failure::new(Kind::LeaseGone, format!("{server}: {said}"));
        }
        if has("permission denied") {
            return self.ask.who.denied(server, &said);
        }
        if has("user name is empty") {
            self.ask.ask_for_token_again();
            return no_user(server, &said);
        }
        if has("database space exceeded") {
            return Failure::other(format!(
                "{server}: etcd's disc quota is used up ({said}): compact and defragment it"
            ));
        }
        if response.status == StatusCode::NOT_FOUND && answer.get("code").is_none() {
            return Failure::new(
                Kind::Unanswered,
                format!(
                    "{server}: etcd has no JSON gateway at {}/{what}: it was switched off \
                     (--enable-grpc-gateway=false), or this is another server",
                    self.path
                ),
            );
        }
        Failure::other(format!("{server}: {what}: {}: {said}", response.status.as_u16()))
    }
}

/// Where a lease is revoked: only from 3.4 on beside the other questions of leases.
fn revoke(path: &str) -> &'static str {
    if path == "/v3" { "lease/revoke" } else { "kv/lease/revoke" }
}

fn succeeded(answer: &Value) -> bool {
    answer.get("succeeded").and_then(Value::as_bool) == Some(true)
}

/// Changes below the base, from one server.
pub(super) struct V3Watch {
    lines: Lines,
    pub(super) server: usize,
    layout: Layout,
    /// Lines without a change that came last.
    idle: u32,
}

/// Lines without a change that may follow each other.
const IDLE_MAX: u32 = 1000;

impl V3Watch {
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Change>>, Failure> {
        match self.lines.next().await {
            Ok(Some(line)) => {
                let changes = changes(&line, &self.layout)?;
                self.idle = if changes.is_empty() { self.idle + 1 } else { 0 };
                if self.idle > IDLE_MAX {
                    let why = format!("more than {IDLE_MAX} lines of etcd's watch in a row told no change");
                    return Err(Failure::other(why));
                }
                Ok(Some(changes))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(Failure::other(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::revoke;

    #[test]
    fn a_lease_is_revoked_below_kv_before_etcd_3_4() {
        let all = ["/v3", "/v3beta", "/v3alpha"].map(|path| format!("{path}/{}", revoke(path)));
        assert_eq!(all, ["/v3/lease/revoke", "/v3beta/kv/lease/revoke", "/v3alpha/kv/lease/revoke"]);
    }
}
