//! Each event of the node as one line of the log.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ekka::admin::dto::{event_id, event_line};
use ekka::core::event::Severity;
use ekka::node::{Node, StampedEvent};
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

/// Lines that come again and again while a fault lasts: once, then once a minute with a count.
const REPEATING: [&str; 3] = ["discovery.failing", "clock.offset", "cluster.waiting"];
const REPEAT_AFTER: Duration = Duration::from_secs(60);
/// Different lines that are remembered.
const KEPT: usize = 256;

/// Writes the events of a node, from its first on, until it ends.
pub(super) fn write(node: Node) -> JoinHandle<()> {
    let mut future = node.events();
    let past = node.recent_events(usize::MAX);
    drop(node);
    tokio::spawn(async move {
        let mut lines = Repeats::default();
        let last = past.last().map_or(0, |event| event.id);
        for event in past {
            lines.write(&event);
        }
        loop {
            match future.recv().await {
                Ok(event) if event.id <= last => {}
                Ok(event) => lines.write(&event),
                Err(RecvError::Lagged(missed)) => warn!(event = "lagged", count = missed, "events were missed here"),
                Err(RecvError::Closed) => return,
            }
        }
    })
}

/// When which line was last written, and how often it was left out since.
#[derive(Default)]
struct Repeats(BTreeMap<String, (Instant, u64)>);

/// A line that is to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stands {
    /// For how many, where that is counted.
    count: Option<u64>,
}

impl Repeats {
    fn write(&mut self, event: &StampedEvent) {
        let line = event_line(event);
        let Some(Stands { count }) = self.stands(&line, Instant::now()) else { return };
        let text = |name: &str| line.get(name).and_then(Value::as_str);
        let kind = event.event.kind.type_name();
        let id = text("decision").map_or_else(|| event_id(event.id), str::to_owned);
        let (peer, peer_addr) = (text("name").or(text("peer")).or(text("met")), text("addr"));
        let (reason, err, words) =
            (text("reason").or(text("evidence")), text("error"), text("text").unwrap_or_default());
        match event.event.kind.severity() {
            Severity::Info => info!(event = kind, id, peer, peer_addr, reason, err, count, "{words}"),
            Severity::Warning => warn!(event = kind, id, peer, peer_addr, reason, err, count, "{words}"),
            Severity::Critical => error!(event = kind, id, peer, peer_addr, reason, err, count, "{words}"),
        }
    }

    /// Whether to write the line now, and for how many it stands.
    fn stands(&mut self, line: &Value, now: Instant) -> Option<Stands> {
        let own = line.get("count").and_then(Value::as_u64);
        let text = |name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default();
        if !REPEATING.contains(&text("type")) {
            return Some(Stands { count: own });
        }
        let key = [text("type"), text("peer"), text("strategy"), text("error"), text("waits")].join("\n");
        if let Some((written, left_out)) = self.0.get_mut(&key) {
            if now.duration_since(*written) < REPEAT_AFTER {
                *left_out += 1;
                return None;
            }
            let count = *left_out + 1;
            (*written, *left_out) = (now, 0);
            return Some(Stands { count: Some(count) });
        }
        if self.0.len() >= KEPT {
            let oldest = self.0.iter().min_by_key(|(_, (written, _))| *written).map(|(key, _)| key.clone());
            oldest.map(|key| self.0.remove(&key));
        }
        self.0.insert(key, (now, 0));
        Some(Stands { count: own })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_fault_that_lasts_is_written_once_a_minute_with_a_count() {
        let mut lines = Repeats::default();
        let begun = Instant::now();
        let line = json!({"type": "discovery.failing", "strategy": "dns", "error": "SERVFAIL"});
        assert_eq!(lines.stands(&line, begun), Some(Stands { count: None }));
        assert_eq!(lines.stands(&line, begun + Duration::from_secs(5)), None);
        assert_eq!(lines.stands(&line, begun + Duration::from_secs(10)), None);
        assert_eq!(lines.stands(&line, begun + Duration::from_secs(61)), Some(Stands { count: Some(3) }));
        let other = json!({"type": "discovery.failing", "strategy": "dns", "error": "timeout"});
        assert_eq!(lines.stands(&other, begun), Some(Stands { count: None }));
    }

    #[test]
    fn changes_of_state_are_always_written() {
        let mut lines = Repeats::default();
        let line = json!({"type": "member.up", "name": "a@h"});
        assert_eq!(lines.stands(&line, Instant::now()), Some(Stands { count: None }));
        assert_eq!(lines.stands(&line, Instant::now()), Some(Stands { count: None }));
    }
}
