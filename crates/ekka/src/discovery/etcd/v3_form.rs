//! The form of API v3 in JSON: what the answers hold. Pure; whatever a server sends gives a value or an error.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::api::{Change, Stored};
use super::layout::Layout;
use super::words::Failure;

/// Bytes as JSON has them.
pub(super) fn encoded(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn decoded(value: Option<&Value>) -> Result<Option<Vec<u8>>, Failure> {
    let Some(text) = value.and_then(Value::as_str) else { return Ok(None) };
    let wrong = |error| Failure::other(format!("etcd's answer holds bytes that are no base64: {error}"));
    STANDARD.decode(text).map(Some).map_err(wrong)
}

/// A 64-bit number: a text, or a number where it is small.
pub(super) fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// Keys and values of a range. (An empty value is left out by the gateway, as every default.)
pub(super) fn texts(answer: &Value, key: &str) -> Result<Vec<(Vec<u8>, Option<Vec<u8>>)>, Failure> {
    let rows = answer.get("kvs").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    rows.iter().map(|row| Ok((decoded(row.get(key))?.unwrap_or_default(), decoded(row.get("value"))?))).collect()
}

/// The one key that a range found.
pub(super) fn stored(answer: &Value) -> Result<Option<Stored>, Failure> {
    let Some(row) = answer.pointer("/kvs/0") else { return Ok(None) };
    let revision = row.get("mod_revision").and_then(number);
    let revision = revision.ok_or_else(|| Failure::other("etcd's answer holds a key without a revision"))?;
    Ok(Some(Stored { value: decoded(row.get("value"))?.unwrap_or_default(), revision }))
}

/// The changes that a line of a watch tells; none where it only says that the watch is there.
pub(super) fn changes(line: &[u8], layout: &Layout) -> Result<Vec<Change>, Failure> {
    let line: Value = serde_json::from_slice(line)
        .map_err(|error| Failure::other(format!("a line of etcd's watch is no JSON: {error}")))?;
    if let Some(error) = line.get("error") {
        return Err(Failure::other(format!(
            "etcd ended the watch: {}",
            super::entry::cut(error.to_string().as_bytes())
        )));
    }
    let result = line.get("result").unwrap_or(&Value::Null);
    if result.get("canceled").and_then(Value::as_bool) == Some(true) {
        let why = result.get("cancel_reason").and_then(Value::as_str).unwrap_or("it gave no reason");
        return Err(Failure::other(format!("etcd ended the watch: {}", super::entry::cut(why.as_bytes()))));
    }
    let mut changes = Vec::new();
    for event in result.get("events").and_then(Value::as_array).into_iter().flatten() {
        let Some(key) = decoded(event.pointer("/kv/key"))? else { continue };
        let Some(name) = layout.below(&String::from_utf8_lossy(&key)).map(str::to_owned) else { continue };
        let gone = event.get("type").is_some_and(|kind| *kind == "DELETE" || *kind == 1);
        let value = if gone { None } else { Some(decoded(event.pointer("/kv/value"))?.unwrap_or_default()) };
        changes.push(Change { name, value });
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Value {
        serde_json::from_str(text).expect("JSON")
    }

    #[test]
    fn answers_of_a_real_server_are_read() {
        let answer = json(
            r#"{"header":{"cluster_id":"324952591200643719","revision":"2"},
                "kvs":[{"key":"cC9la2thL2lk","create_revision":"2","mod_revision":"2","version":"1","value":"aGk="},
                       {"key":"cC9la2thL3g=","create_revision":"2","mod_revision":"3"}],"count":"2"}"#,
        );
        let rows = texts(&answer, "key").expect("rows");
        assert_eq!(rows, [(b"p/ekka/id".to_vec(), Some(b"hi".to_vec())), (b"p/ekka/x".to_vec(), None)]);
        assert_eq!(stored(&answer).expect("a key"), Some(Stored { value: b"hi".to_vec(), revision: 2 }));
        assert_eq!(stored(&json(r#"{"header":{}}"#)).expect("none"), None);
        assert_eq!(number(&json(r#""7587862094938718209""#)), Some(7_587_862_094_938_718_209));
        assert_eq!(number(&json("12")), Some(12));
    }

    #[test]
    fn changes_of_a_real_watch_are_read() {
        let layout = Layout::new("p", "ekka");
        let created = br#"{"result":{"header":{"revision":"2"},"created":true}}"#;
        assert_eq!(changes(created, &layout).expect("a line"), []);
        let put = br#"{"result":{"events":[{"kv":{"key":"cC9la2thL2lk","mod_revision":"3","value":"aGk="}}]}}"#;
        let change = Change { name: "id".to_owned(), value: Some(b"hi".to_vec()) };
        assert_eq!(changes(put, &layout).expect("a line"), [change]);
        let gone = br#"{"result":{"events":[{"type":"DELETE","kv":{"key":"cC9la2thL2lk","mod_revision":"4"}}]}}"#;
        assert_eq!(changes(gone, &layout).expect("a line"), [Change { name: "id".to_owned(), value: None }]);
        for ended in [
            &br#"{"result":{"created":true,"canceled":true,"cancel_reason":"permission denied"}}"#[..],
            br#"{"error":{"grpc_code":7,"message":"permission denied"}}"#,
        ] {
            let failure = changes(ended, &layout).expect_err("an end").to_string();
            assert!(failure.contains("permission denied"), "{failure}");
        }
        assert!(changes(b"garbage", &layout).is_err());
    }
}
