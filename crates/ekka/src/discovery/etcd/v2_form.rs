//! The form of API v2: paths, forms and what the answers hold. Pure.

use serde_json::Value;

use super::api::{Change, Stored, VALUE_MAX};
use super::layout::Layout;
use super::listing::{Entry, Listing, Room};
use super::words::Failure;
use crate::http::percent_encoded;

/// Bytes for a URL or a form; slashes stay in a path.
pub(super) fn escaped(bytes: &[u8], path: bool) -> String {
    percent_encoded(bytes, if path { b"/@:" } else { b"" })
}

/// The number by which API v2 names an error.
pub(super) fn code(answer: &Value) -> Option<i64> {
    answer.get("errorCode")?.as_i64()
}

/// What stands in the folder that was asked for.
pub(super) fn listing(answer: &Value, layout: &Layout) -> Listing {
    let nodes = answer.pointer("/node/nodes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let entry = |node: &Value| {
        let name = layout.below(node.get("key")?.as_str()?.trim_start_matches('/'))?.to_owned();
        if node.get("dir").and_then(Value::as_bool) == Some(true) {
            return Some(Entry { name: format!("{name}/"), value: Err("a folder, not a node") });
        }
        let value = node.get("value").and_then(Value::as_str).unwrap_or_default();
        let long = value.len() > VALUE_MAX;
        Some(Entry { name, value: if long { Err("its value is too long") } else { Ok(value.as_bytes().to_vec()) } })
    };
    let mut room = Room::default();
    let entries: Vec<Entry> = nodes.iter().filter_map(entry).filter(|entry| room.takes(&entry.name)).collect();
    Listing { entries, others: room.more_others, of: room.is_over().then_some(nodes.len() as u64) }
}

/// The key that was asked for.
pub(super) fn stored(answer: &Value) -> Result<Stored, Failure> {
    let node = answer.get("node").unwrap_or(&Value::Null);
    if node.get("dir").and_then(Value::as_bool) == Some(true) {
        let key = node.get("key").and_then(Value::as_str).unwrap_or_default();
        return Err(Failure::other(format!(
            "etcd's {} is a folder where a key belongs",
            super::entry::cut(key.as_bytes())
        )));
    }
    let revision = node.get("modifiedIndex").and_then(Value::as_i64);
    let revision = revision.ok_or_else(|| Failure::other("etcd's answer holds a key without an index"))?;
    let value = node.get("value").and_then(Value::as_str).unwrap_or_default();
    Ok(Stored { value: value.as_bytes().to_vec(), revision })
}

/// The index of a change, and the change where it is one below the base.
pub(super) fn change(answer: &Value, layout: &Layout) -> (Option<i64>, Option<Change>) {
    let index = answer.pointer("/node/modifiedIndex").and_then(Value::as_i64);
    let key = answer.pointer("/node/key").and_then(Value::as_str).unwrap_or_default();
    let Some(name) = layout.below(key.trim_start_matches('/')) else { return (index, None) };
    let action = answer.get("action").and_then(Value::as_str).unwrap_or_default();
    let gone = ["delete", "expire", "compareAndDelete"].contains(&action);
    let value = answer.pointer("/node/value").and_then(Value::as_str).unwrap_or_default();
    (index, Some(Change { name: name.to_owned(), value: (!gone).then(|| value.as_bytes().to_vec()) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::etcd::listing::OTHERS_MAX;

    fn json(text: &str) -> Value {
        serde_json::from_str(text).expect("JSON")
    }

    #[test]
    fn paths_and_forms_are_escaped() {
        assert_eq!(escaped(b"p/ekka/n1@[::1]", true), "p/ekka/n1@%5B::1%5D");
        assert_eq!(escaped(b"{\"a\": \"b&c=d\"}/", false), "%7B%22a%22%3A%20%22b%26c%3Dd%22%7D%2F");
    }

    #[test]
    fn answers_of_a_real_server_are_read() {
        let layout = Layout::new("p", "ekka");
        let answer = json(
            r#"{"action":"get","node":{"key":"/p/ekka","dir":true,"nodes":[
                {"key":"/p/ekka/n1@h","value":"hi","ttl":60,"modifiedIndex":5,"createdIndex":4},
                {"key":"/p/ekka/n2@h","ttl":60,"modifiedIndex":6,"createdIndex":6},
                {"key":"/p/ekka/nodes","dir":true,"modifiedIndex":7,"createdIndex":7}]}}"#,
        );
        let names: Vec<_> =
            listing(&answer, &layout).entries.into_iter().map(|entry| (entry.name, entry.value)).collect();
        assert_eq!(names[0], ("n1@h".to_owned(), Ok(b"hi".to_vec())));
        assert_eq!(names[1], ("n2@h".to_owned(), Ok(Vec::new())));
        assert_eq!(names[2].0, "nodes/");
        let one = json(r#"{"action":"get","node":{"key":"/p/ekka/id","value":"v","modifiedIndex":5}}"#);
        assert_eq!(stored(&one).expect("a key"), Stored { value: b"v".to_vec(), revision: 5 });
        assert!(stored(&answer).is_err(), "a folder");
        assert_eq!(code(&json(r#"{"errorCode":105,"message":"Key already exists","index":4}"#)), Some(105));
    }

    #[test]
    fn however_many_keys_others_keep_there_the_nodes_and_the_id_are_taken() {
        let layout = Layout::new("p", "ekka");
        let names = (0..2_000).map(|n| format!("a{n}")).chain(["id", "n1@h"].map(str::to_owned));
        let keys = |names: Vec<String>| {
            let nodes: Vec<_> =
                names.iter().map(|name| serde_json::json!({"key": format!("/p/ekka/{name}")})).collect();
            listing(&serde_json::json!({"node": {"nodes": nodes}}), &layout)
        };
        let listed = keys(names.collect());
        assert_eq!((listed.entries.len(), listed.others, listed.of), (OTHERS_MAX + 2, 2_000 - OTHERS_MAX as u64, None));
        assert_eq!(
            listed.entries[OTHERS_MAX..].iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(),
            ["id", "n1@h"]
        );
        let listed = keys((0..2_000).map(|n| format!("n{n}@h")).collect());
        assert_eq!((listed.of, listed.others), (Some(2_000), 0));
        assert!(listed.entries.len() > ekka_core::limits::CANDIDATES_MAX && listed.entries.len() < 2_000);
    }

    #[test]
    fn changes_of_a_real_watch_are_read() {
        let layout = Layout::new("p", "ekka");
        let gone =
            json(r#"{"action":"expire","node":{"key":"/p/ekka/n1@h","modifiedIndex":9},"prevNode":{"value":"x"}}"#);
        assert_eq!(change(&gone, &layout), (Some(9), Some(Change { name: "n1@h".to_owned(), value: None })));
        let set = json(r#"{"action":"set","node":{"key":"/p/ekka/id","value":"v","modifiedIndex":9}}"#);
        assert_eq!(change(&set, &layout).1, Some(Change { name: "id".to_owned(), value: Some(b"v".to_vec()) }));
        assert_eq!(change(&json("{}"), &layout), (None, None));
    }
}
