//! Rows as lines that `ekka table import` reads.

use ekka_core::schema::Schema;
use ekka_core::table::{Table, Version, quorum};
use ekka_core::time::Wall;
use serde_json::json;

use super::super::parts::Parts;
use crate::codec::json::{shown_in, text};
use crate::codec::time::rfc3339;

/// All that there is of a table.
pub(in crate::table) struct Everything {
    /// Its rows.
    rows: Vec<Version>,
    /// What lost.
    lost: Vec<Version>,
}

impl Everything {
    pub(in crate::table) fn of(table: &Table, wall: Wall) -> Self {
        let rows = table.rows();
        Self {
            rows: rows.iter().filter(|row| row.is_live(wall)).cloned().collect(),
            lost: table.journal().cloned().collect(),
        }
    }

    /// Versions that have lost, and no row.
    pub(in crate::table) fn lost(lost: Vec<Version>) -> Self {
        Self { rows: Vec::new(), lost }
    }

    fn len(&self) -> usize {
        self.rows.len() + self.lost.len()
    }
}

/// What is to be set aside.
pub(in crate::table) enum Rows {
    /// Of a table that is no quorum table.
    Versions(Everything),
    Quorum(Vec<quorum::Row>),
}

impl Rows {
    pub(in crate::table) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(in crate::table) fn len(&self) -> usize {
        match self {
            Self::Versions(all) => all.len(),
            Self::Quorum(rows) => rows.len(),
        }
    }

    pub(super) fn lines(&self, schema: &Schema) -> Vec<u8> {
        match self {
            Self::Versions(all) => lines(schema, all),
            Self::Quorum(rows) => lines_of_quorum(schema, rows),
        }
    }
}

/// What lost in the order in which it was written, and then the rows: who puts all back has the rows as they were.
fn lines(schema: &Schema, all: &Everything) -> Vec<u8> {
    let mut lost: Vec<&Version> = all.lost.iter().collect();
    lost.sort_by_key(|version| version.hlc());
    let lost = lost.into_iter().flat_map(|version| line(schema, version, true));
    lost.chain(all.rows.iter().flat_map(|version| line(schema, version, false))).collect()
}

/// A bag has a line for each element, and a counter one for each part.
fn line(schema: &Schema, version: &Version, lost: bool) -> Vec<u8> {
    let key = Parts::of(schema).key(version.key());
    let value = (!version.is_delete()).then(|| version.value());
    text_line(schema, &key, value, version.expires_at(), lost)
}

fn lines_of_quorum(schema: &Schema, rows: &[quorum::Row]) -> Vec<u8> {
    let line = |row: &quorum::Row| text_line(schema, row.key(), Some(row.value()), row.expires_at(), false);
    rows.iter().flat_map(line).collect()
}

fn text_line(schema: &Schema, key: &[u8], value: Option<&[u8]>, expires_at: Option<Wall>, lost: bool) -> Vec<u8> {
    let shown = value.map(|bytes| shown_in(schema, bytes));
    let encoded = shown.as_ref().is_some_and(|shown| shown.encoded);
    let shown = shown.map(|shown| shown.value);
    let mut line = json!({"key": text(key), "value": shown, "deleted": value.is_none(), "lost": lost});
    if encoded {
        line["encoded"] = true.into();
    }
    if let Some(at) = expires_at {
        line["expires_at"] = rfc3339(at).into();
    }
    let mut line = line.to_string().into_bytes();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use ekka_core::id::{Guid, Incarnation, NodeId};
    use ekka_core::schema::{Kind, MergeRule, Shape, Storage};
    use ekka_core::table::{Faults, Hlc, Settings};
    use serde_json::Value;

    use super::*;

    const WALL: Wall = Wall::from_millis(1_000);

    fn table() -> Table {
        let me = Incarnation { node_id: NodeId::from_u128(1), guid: Guid::from_u128(2) };
        let mut table = Table::new(Settings { me, storage: Storage::Ram, bound: Hlc::ZERO, faults: Faults::default() });
        table.bound_is(Hlc::at(Wall::from_millis(100_000)));
        table
    }

    fn schema(shape: Shape, merge: MergeRule) -> Schema {
        Schema { shape, merge, codec: "raw".into(), ..Schema::new("t", Kind::Available) }
    }

    fn read(schema: &Schema, all: &Everything) -> Vec<Value> {
        let lines = String::from_utf8(lines(schema, all)).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_has_the_key_of_the_application_and_says_when_its_row_expires() {
        let bag = schema(Shape::Bag, MergeRule::Union);
        let mut table = table();
        table.bag_add(b"tags", b"red", None, WALL).unwrap();
        table.bag_add(b"tags", b"blue", Some(Wall::from_millis(5_000)), WALL).unwrap();
        let red = json!({"key": "tags", "value": "red", "deleted": false, "lost": false});
        let mut blue = json!({"key": "tags", "value": "blue", "deleted": false, "lost": false});
        blue["expires_at"] = "1970-01-01T00:00:05.000Z".into();
        assert_eq!(read(&bag, &Everything::of(&table, WALL)), [red, blue]);
    }

    #[test]
    fn the_part_of_a_counter_is_a_number() {
        let mut table = table();
        table.sum_add(b"hits", 7, WALL).unwrap();
        let lines = read(&schema(Shape::Set, MergeRule::Sum), &Everything::of(&table, WALL));
        assert_eq!(lines, [json!({"key": "hits", "value": 7, "deleted": false, "lost": false})]);
    }

    #[test]
    fn bytes_that_json_cannot_say_are_marked() {
        let mut table = table();
        table.put(b"bytes", &[0xff], None, WALL).unwrap();
        table.put(b"object", br#"{"base64":"/w=="}"#, None, WALL).unwrap();
        let of = |codec: &str| {
            let schema = Schema { codec: codec.into(), ..schema(Shape::Set, MergeRule::LastWriter) };
            read(&schema, &Everything::of(&table, WALL))
        };
        let value = json!({"base64": "/w=="});
        let line = |key: &str| json!({"key": key, "value": value, "deleted": false, "lost": false});
        let mut marked = line("bytes");
        marked["encoded"] = true.into();
        assert_eq!(of("json"), [marked, line("object")]);
        assert_eq!(of("raw")[0], line("bytes"), "these are read as bytes anyway");
    }

    #[test]
    fn what_lost_comes_first_in_the_order_of_time_and_a_deletion_says_so() {
        let mut table = table();
        table.put(b"k", b"old", None, WALL).unwrap();
        let old = table.get(b"k", WALL).unwrap().clone();
        table.delete(b"k", Wall::from_millis(2_000)).unwrap();
        let deletion = table.rows().iter().next().unwrap().clone();
        table.put(b"k", b"now", None, Wall::from_millis(3_000)).unwrap();
        let row = table.get(b"k", Wall::from_millis(3_000)).unwrap().clone();
        let all = Everything { rows: vec![row], lost: vec![deletion, old] };
        let lines = read(&schema(Shape::Set, MergeRule::LastWriter), &all);
        let said: Vec<_> =
            lines.iter().map(|line| (line["value"].as_str(), line["deleted"] == true, line["lost"] == true)).collect();
        assert_eq!(said, [(Some("old"), false, true), (None, true, true), (Some("now"), false, false)]);
    }
}
