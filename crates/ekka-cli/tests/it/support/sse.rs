//! A table, followed over HTTP.

use std::io::{BufRead, Write};
use std::path::Path;

use serde_json::Value;

use super::ask::{Stream, connect};

/// A stream of changes.
pub(crate) struct Sse {
    stream: Stream,
    /// Where to go on: that of the last change that had one.
    pub(crate) id: Option<String>,
}

impl Sse {
    /// Follows a table from its rows, or from where a reader was.
    pub(crate) fn open(data: &Path, table: &str, after: Option<&str>) -> Self {
        let mut stream = connect(&data.join("ekka.sock")).expect("it runs");
        let seen = after.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        let request = format!("GET /v1/tables/{table}/watch HTTP/1.1\r\nhost: ekka\r\n{seen}\r\n");
        stream.get_mut().write_all(request.as_bytes()).expect("it reads");
        Self { stream, id: after.map(str::to_owned) }
    }

    /// The next change. Its id is that of the lines before it.
    pub(crate) fn next(&mut self) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.stream.read_line(&mut line).expect("it goes on") > 0, "the stream has ended");
            if let Some(id) = line.trim_end().strip_prefix("id: ") {
                self.id = Some(id.to_owned());
            } else if let Some(data) = line.strip_prefix("data: ") {
                return serde_json::from_str(data).expect("JSON");
            }
        }
    }

    /// Where to go on after the snapshot.
    pub(crate) fn id_of_snapshot(mut self) -> String {
        self.snapshot();
        self.id.expect("the end of a snapshot has an id")
    }

    /// All up to the end of a snapshot.
    pub(crate) fn snapshot(&mut self) -> Vec<Value> {
        let mut changes = Vec::new();
        while changes.last().is_none_or(|change: &Value| change["change"] != "snapshot_end") {
            changes.push(self.next());
        }
        changes
    }
}
