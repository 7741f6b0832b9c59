//! One line of `events`.

use serde_json::{Map, Value, json};

use crate::admin::{rfc3339, text_of};
use crate::node::StampedEvent;

/// An event as a JSON object: `time, id, node, type, severity, text`, the decision behind it, and the fields of its
/// type. The id of a formed cluster is `cluster_id` here, since `id` is the event's own.
#[must_use]
pub fn event_line(stamped: &StampedEvent) -> Value {
    let kind = &stamped.event.kind;
    let mut line = Map::new();
    line.insert("time".into(), rfc3339(stamped.time).into());
    line.insert("id".into(), event_id(stamped.id).into());
    line.insert("node".into(), stamped.node.to_string().into());
    line.insert("type".into(), kind.type_name().into());
    line.insert("severity".into(), serde_json::to_value(kind.severity()).unwrap_or(Value::Null));
    line.insert("text".into(), text_of(kind).into());
    if let Some(decision) = stamped.event.decision {
        line.insert("decision".into(), decision.to_string().into());
    }
    if let Ok(Value::Object(fields)) = serde_json::to_value(kind) {
        for (name, value) in fields {
            let name = match name.as_str() {
                "for_" => "for".to_owned(),
                "id" => "cluster_id".to_owned(),
                _ => name,
            };
            line.insert(name, value);
        }
    }
    Value::Object(line)
}

/// The line that stands for events that a slow reader missed.
#[must_use]
pub fn lagged_line(missed: u64) -> Value {
    json!({"type": "lagged", "missed": missed})
}

/// An event's number as it is written.
#[must_use]
pub fn event_id(number: u64) -> String {
    format!("e-{number:06x}")
}

/// The number of an event, from what [`event_id`] wrote.
#[must_use]
pub fn parse_event_id(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("e-")?, 16).ok()
}
