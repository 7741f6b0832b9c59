//! A node's entry: what is written as its value, and what an entry that is found means.
//!
//! Reading is lenient: more fields may come, and what is no entry of ours is left out with words. An entry without a
//! value counts by its key's name: that is how the original wrote them.

use ekka_core::autocluster::Candidate;
use ekka_core::id::{ClusterId, Endpoint, NameError, NodeId, NodeName};
use serde::{Deserialize, Serialize};

use crate::discovery::{LeftOut, Me};

/// The value of a node's key.
#[derive(Serialize, Deserialize)]
struct Value {
    name: NodeName,
    node_id: NodeId,
    endpoint: String,
    #[serde(default)]
    cluster_id: Option<ClusterId>,
    #[serde(default)]
    version: String,
}

/// What this node's key holds.
pub(super) fn encode(me: &Me, cluster_id: Option<ClusterId>) -> Vec<u8> {
    let value = Value {
        name: me.name.clone(),
        node_id: me.node_id,
        endpoint: me.endpoint.to_string(),
        cluster_id,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    serde_json::to_vec(&value).expect("texts and ids are JSON")
}

/// Whose value it is, where it says so.
pub(super) fn owner(value: &[u8]) -> Option<NodeId> {
    serde_json::from_slice::<Value>(value).ok().map(|value| value.node_id)
}

/// What an entry means: its name below the base, and its value.
pub(super) fn judge(name: &str, value: &[u8], base_port: u16) -> Result<Candidate, LeftOut> {
    let left_out = |why: String| LeftOut { what: cut(name.as_bytes()), why };
    if let Some((folder, _)) = name.split_once('/') {
        let original = ["nodes", "lock"].contains(&folder);
        let whose = if original { ": the original Ekka keeps its keys there" } else { "" };
        return Err(left_out(format!("stands in a folder of its own, `{}`{whose}", cut(folder.as_bytes()))));
    }
    let no_name = |error: NameError| left_out(format!("no entry of a node: {}", cut(error.to_string().as_bytes())));
    let by_key: NodeName = name.parse().map_err(no_name)?;
    if by_key.host().is_auto() {
        return Err(left_out("`auto` is no address".to_owned()));
    }
    if value.iter().all(u8::is_ascii_whitespace) {
        return by_name(by_key, base_port).map_err(left_out);
    }
    let foreign = |error: serde_json::Error| {
        let (error, value) = (cut(error.to_string().as_bytes()), cut(value));
        left_out(format!("its value is none that ekka writes ({error}): `{value}`"))
    };
    let value: Value = serde_json::from_slice(value).map_err(foreign)?;
    if value.name != by_key {
        return Err(left_out(format!("its value is that of another node, {}", value.name)));
    }
    match endpoint(&value.endpoint) {
        Some(endpoint) => Ok(Candidate { name: by_key, endpoint }),
        None => Err(left_out(format!("its endpoint is no host:port: `{}`", cut(value.endpoint.as_bytes())))),
    }
}

fn by_name(name: NodeName, base_port: u16) -> Result<Candidate, String> {
    let endpoint = name.endpoint(base_port).ok_or_else(|| format!("its port by {base_port} would be above 65535"))?;
    Ok(Candidate { name, endpoint })
}

/// Reads `host:port`, as an endpoint shows itself. The grammar is that of names.
pub(super) fn endpoint(text: &str) -> Option<Endpoint> {
    let name: NodeName = format!("x@{text}").parse().ok()?;
    Some(Endpoint { host: name.host().clone(), port: name.explicit_port()? }).filter(|it| !it.host.is_auto())
}

/// Foreign bytes as words: short, and on one line.
pub(super) fn cut(bytes: &[u8]) -> String {
    const MAX: usize = 120;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * MAX)]);
    let shown: String = text.chars().take(MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if shown.len() < bytes.len() && text.chars().count() > MAX { format!("{shown}…") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> Me {
        let name: NodeName = "n1@10.0.0.1".parse().expect("a name");
        let endpoint = name.endpoint(4370).expect("a port");
        Me { name, endpoint, node_id: NodeId::from_u128(7) }
    }

    #[test]
    fn what_a_node_writes_makes_it_a_candidate() {
        let value = encode(&me(), Some(ClusterId::from_u128(3)));
        let found = judge("n1@10.0.0.1", &value, 4370).expect("a candidate");
        assert_eq!((found.name, found.endpoint), (me().name, me().endpoint));
        assert_eq!(owner(&value), Some(me().node_id));
        let json: serde_json::Value = serde_json::from_slice(&value).expect("JSON");
        for field in ["name", "node_id", "endpoint", "cluster_id", "version"] {
            assert!(json.get(field).is_some(), "{field}");
        }
        assert!(
            serde_json::from_slice::<serde_json::Value>(&encode(&me(), None)).expect("JSON")["cluster_id"].is_null()
        );
    }

    #[test]
    fn more_fields_do_no_harm_and_the_endpoint_may_be_another_than_the_names() {
        let id = NodeId::from_u128(7);
        let value = format!(r#"{{"name":"n1@h","node_id":"{id}","endpoint":"[::1]:9000","new":[1]}}"#);
        let found = judge("n1@h", value.as_bytes(), 4370).expect("a candidate");
        assert_eq!(found.endpoint.to_string(), "[::1]:9000");
    }

    #[test]
    fn an_entry_without_a_value_counts_by_its_name() {
        for value in ["", " \n"] {
            let found = judge("n2@10.0.0.2", value.as_bytes(), 5000).expect("a candidate");
            assert_eq!(found.endpoint.to_string(), "10.0.0.2:5002");
        }
        assert!(judge("n59999@h", b"", 10_000).expect_err("no port").why.contains("65535"));
    }

    #[test]
    fn what_is_no_entry_is_left_out_with_its_reason() {
        let other = encode(&me(), None);
        for (name, value, why) in [
            ("lock", &b""[..], "no entry of a node"),
            ("nodes/n1@h", b"", "the original Ekka"),
            ("x/y", b"", "a folder"),
            ("n1@h", b"hello\nthere", "`hello there`"),
            ("n1@h", b"{}", "none that ekka writes"),
            ("n1@auto", b"", "no address"),
            ("n9@10.0.0.1", &other, "another node, n1@10.0.0.1"),
            (
                "n1@h",
                br#"{"name":"n1@h","node_id":"00000000-0000-0000-0000-000000000000","endpoint":"h"}"#,
                "host:port",
            ),
        ] {
            let left = judge(name, value, 4370).expect_err(name);
            assert!(left.why.contains(why), "{name}: {}", left.why);
        }
    }

    #[test]
    fn foreign_bytes_are_shown_short_and_on_one_line() {
        assert_eq!(cut(b"a\nb\x1b"), "a b ");
        let long = cut(&b"x".repeat(1_000_000));
        assert!(long.ends_with('…') && long.chars().count() == 121);
    }
}
