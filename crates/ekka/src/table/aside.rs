//! Rows that have no place in a table any more: in a file of the folder `set-aside`, for a person to decide. They are lines
//! that `ekka table import` reads.

use std::io;
use std::sync::Arc;

use ekka_core::event::EventKind;
use ekka_core::schema::Schema;
use ekka_core::table::{Table, Version};
use ekka_core::time::Wall;
use serde_json::{Value, json};
use tracing::error;

use crate::codec::json::{text, value_of};
use crate::env::Env;

/// Tells people of an event.
pub(crate) type Tell = Arc<dyn Fn(EventKind) + Send + Sync>;

/// Writes such files.
pub(super) struct Aside {
    env: Env,
    tell: Tell,
}

impl Aside {
    pub(super) fn new(env: Env, tell: Tell) -> Self {
        Self { env, tell }
    }

    /// Tells people of an event.
    pub(super) fn tell(&self, event: EventKind) {
        (self.tell)(event);
    }

    /// What the node has of the world.
    pub(super) fn env(&self) -> &Env {
        &self.env
    }

    /// Writes these versions of a table; whether they are on disc.
    pub(super) async fn write(&self, schema: &Schema, versions: Vec<Version>) -> bool {
        let rows = versions.len() as u64;
        self.write_lines(schema, rows, move |schema| lines(schema, &versions)).await
    }

    /// The same of keys and values of a quorum table.
    pub(super) async fn write_rows(&self, schema: &Schema, rows: Vec<(Vec<u8>, Vec<u8>)>) -> bool {
        let count = rows.len() as u64;
        let all = move |schema: &Schema| {
            let line = |(key, value): &(Vec<u8>, Vec<u8>)| line(key, &value_of(&schema.codec, value), false);
            rows.iter().flat_map(line).collect()
        };
        self.write_lines(schema, count, all).await
    }

    async fn write_lines(
        &self,
        schema: &Schema,
        rows: u64,
        lines: impl FnOnce(&Schema) -> Vec<u8> + Send + 'static,
    ) -> bool {
        let table = schema.name.clone();
        let name = format!("set-aside/{}-{table}.jsonl", stamp(self.env.clock.now().wall));
        let (disk, file, of) = (self.env.disk.clone(), name.clone(), schema.clone());
        let written = self.env.blocking(move || disk.write(&file, &lines(&of))).await;
        let file = format!("{}/{name}", self.env.disk.path());
        self.said(written, table, file, rows)
    }

    fn said(&self, written: io::Result<()>, table: String, file: String, rows: u64) -> bool {
        match written {
            Ok(()) => {
                (self.tell)(EventKind::TableSetAside { table, file, rows });
                true
            }
            Err(err) => {
                error!(table, file, rows, %err, "rows that have no place in the table cannot be set aside");
                false
            }
        }
    }
}

/// All that there is of a table: rows, and what lost.
pub(super) fn everything(table: &Table, wall: Wall) -> Vec<Version> {
    let rows = table.rows();
    rows.iter().filter(|row| row.is_live(wall)).chain(table.journal()).cloned().collect()
}

/// A time as the name of a file may have it.
fn stamp(wall: Wall) -> String {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(wall.as_millis());
    humantime::format_rfc3339_millis(at).to_string().replace(':', "-")
}

fn lines(schema: &Schema, versions: &[Version]) -> Vec<u8> {
    let line = |version: &Version| {
        let value = if version.is_delete() { Value::Null } else { value_of(&schema.codec, version.value()) };
        line(version.key(), &value, version.is_delete())
    };
    versions.iter().flat_map(line).collect()
}

fn line(key: &[u8], value: &Value, deleted: bool) -> Vec<u8> {
    let mut line = json!({"key": text(key), "value": value, "deleted": deleted}).to_string().into_bytes();
    line.push(b'\n');
    line
}
