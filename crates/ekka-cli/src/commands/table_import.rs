//! `table import`: lines of `table export`, of `losses --json` and of the files of the folder `set-aside`.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::SystemTime;

use ekka::admin::dto::TableAnswer;
use serde_json::{Value, json};

use super::pass_on;
use super::table::add_terms;
use super::table_file::at;
use crate::args::TermsArgs;
use crate::client::Client;
use crate::exit::Failure;
use crate::out;

/// What a line is.
#[derive(PartialEq, Debug)]
enum Line {
    /// Something to write.
    Row(Row),
    /// Nothing to write.
    Skipped(Why),
}

#[derive(PartialEq, Debug)]
struct Row {
    key: Value,
    /// One, or those of a key of a bag.
    values: Vec<Value>,
    /// They are bytes which JSON cannot say in the codec of the table.
    encoded: bool,
    ttl_ms: Option<u64>,
}

/// Why nothing of a line is written.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Why {
    /// It names another table.
    OtherTable,
    /// A deletion that lost: what won is a row that somebody wants.
    Deleted,
    /// Its time is over.
    Expired,
    /// A part of a sum that lost. Its number is all that one node ever added, most of which may be in the sum.
    Part,
}

impl Why {
    const ALL: [(Self, &'static str, &'static str); 4] = [
        (Self::OtherTable, "other_table", "of another table"),
        (Self::Deleted, "deleted", "deletions that lost"),
        (Self::Expired, "expired", "expired"),
        (Self::Part, "part", "parts of sums that lost; add by hand what is missing"),
    ];
}

/// What became of the lines.
#[derive(Default)]
struct Counts {
    rows: usize,
    skipped: Vec<Why>,
}

impl Counts {
    fn skipped(&self) -> impl Iterator<Item = (&'static str, &'static str, usize)> {
        Why::ALL.iter().map(|(why, field, text)| (*field, *text, self.skipped.iter().filter(|is| *is == why).count()))
    }

    fn json(&self) -> Value {
        let skipped: serde_json::Map<_, _> =
            self.skipped().map(|(field, _, count)| (field.to_owned(), count.into())).collect();
        json!({"rows": self.rows, "skipped": skipped})
    }

    fn text(&self) -> String {
        let skipped = self.skipped().filter(|(.., count)| *count > 0);
        let skipped = skipped.map(|(_, text, count)| format!("{count} left out: {text}\n"));
        format!("{} rows are written\n", self.rows) + &skipped.collect::<String>()
    }
}

pub(super) async fn run(client: &Client, path: &str, file: &Path, terms: TermsArgs, json: bool) -> Result<(), Failure> {
    let source: Box<dyn BufRead> = if file.as_os_str() == "-" {
        Box::new(BufReader::new(std::io::stdin()))
    } else {
        Box::new(BufReader::new(File::open(file).map_err(|error| at(file, &error))?))
    };
    let table: TableAnswer = client.get(path).await?.success()?.read()?;
    if table.kind == "owned" {
        let text =
            format!("{} is owned: its rows are those of the nodes that run, and are not read from a file", table.name);
        return Err(Failure::usage(text));
    }
    let path = format!("{path}/put");
    let mut counts = Counts::default();
    for (number, text) in source.lines().enumerate() {
        let text = text?;
        if text.trim().is_empty() {
            continue;
        }
        let line = read(&text, &table, SystemTime::now()).map_err(|why| {
            let (file, number, count) = (file.display(), number + 1, counts.rows);
            Failure::usage(format!("{file}, line {number}: {why}; {count} rows before it are written"))
        })?;
        match line {
            Line::Row(row) => {
                put(client, &path, row, terms).await?;
                counts.rows += 1;
            }
            Line::Skipped(why) => counts.skipped.push(why),
        }
    }
    if json { pass_on(&counts.json().to_string()) } else { out::print(&counts.text()) }
}

async fn put(client: &Client, path: &str, row: Row, terms: TermsArgs) -> Result<(), Failure> {
    for value in row.values {
        let mut body = json!({"key": row.key, "value": value});
        if row.encoded {
            body["encoded"] = true.into();
        }
        if let Some(ttl_ms) = row.ttl_ms {
            body["ttl_ms"] = ttl_ms.into();
        }
        add_terms(&mut body, terms);
        client.post(path, &body).await?.success()?;
    }
    Ok(())
}

fn read(text: &str, table: &TableAnswer, now: SystemTime) -> Result<Line, String> {
    let line: Value = serde_json::from_str(text).map_err(|error| format!("no JSON: {error}"))?;
    let (Some(key), Some(value)) = (line.get("key"), line.get("value")) else {
        return Err("an object with `key` and `value` is expected".into());
    };
    if line.get("table").is_some_and(|name| *name != table.name.as_str()) {
        return Ok(Line::Skipped(Why::OtherTable));
    }
    // Versions say whether they are deletions, rows of an export do not.
    let is_version = line.get("deleted").is_some();
    if line.get("deleted").is_some_and(|deleted| *deleted == true) {
        return Ok(Line::Skipped(Why::Deleted));
    }
    let has_lost = line.get("lost").map_or(is_version, |lost| *lost == true);
    if table.merge == "sum" && has_lost {
        return Ok(Line::Skipped(Why::Part));
    }
    let ttl_ms = match end(&line, now)? {
        End::Never => None,
        End::In(left) => Some(left),
        End::Past => return Ok(Line::Skipped(Why::Expired)),
    };
    // A key of a bag has its values in an array; a version is one value, which may be an array itself.
    let values = match value {
        Value::Array(values) if table.type_ == "bag" && !is_version => values.clone(),
        value => vec![value.clone()],
    };
    let encoded = line.get("encoded").is_some_and(|encoded| *encoded == true);
    Ok(Line::Row(Row { key: key.clone(), values, encoded, ttl_ms }))
}

/// When the row of a line ends.
enum End {
    Never,
    /// In so many milliseconds.
    In(u64),
    Past,
}

fn end(line: &Value, now: SystemTime) -> Result<End, String> {
    let Some(at) = line.get("expires_at").filter(|at| !at.is_null()) else { return Ok(End::Never) };
    let end = at.as_str().and_then(|at| humantime::parse_rfc3339(at).ok());
    let end = end.ok_or_else(|| format!("`expires_at` is {at}: a time as 2026-11-23T02:13:07.120Z is expected"))?;
    Ok(match end.duration_since(now).map_or(0, out::millis) {
        0 => End::Past,
        left => End::In(left),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn table(type_: &str, merge: &str) -> TableAnswer {
        let answer = json!({
            "name": "t", "kind": "available", "storage": "ram", "type": type_, "merge": merge, "codec": "json",
            "rows": 0, "tombstones": 0, "bytes": 0, "loaded": true, "lag": {}, "overridden": 0,
        });
        serde_json::from_value(answer).unwrap()
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000)
    }

    fn of(table: &TableAnswer, line: &Value) -> Line {
        read(&line.to_string(), table, now()).unwrap()
    }

    fn row(values: &[Value], ttl_ms: Option<u64>) -> Line {
        Line::Row(Row { key: "k".into(), values: values.to_vec(), encoded: false, ttl_ms })
    }

    #[test]
    fn a_deletion_that_lost_and_a_row_of_another_table_are_not_written() {
        let set = table("set", "last-writer");
        let lost = json!({"table": "t", "key": "k", "value": null, "deleted": true});
        assert_eq!(of(&set, &lost), Line::Skipped(Why::Deleted));
        assert_eq!(of(&set, &json!({"key": "k", "value": null, "deleted": false})), row(&[Value::Null], None));
        assert_eq!(of(&set, &json!({"key": "k", "value": null})), row(&[Value::Null], None), "null is a value");
        let other = json!({"table": "other", "key": "k", "value": 1, "deleted": false});
        assert_eq!(of(&set, &other), Line::Skipped(Why::OtherTable));
        assert_eq!(of(&set, &json!({"table": "t", "key": "k", "value": 1, "deleted": false})), row(&[json!(1)], None));
    }

    #[test]
    fn a_row_expires_when_it_would_have_and_one_that_has_is_not_written() {
        let set = table("set", "last-writer");
        let until = |at: Value| json!({"key": "k", "value": 1, "expires_at": at});
        assert_eq!(of(&set, &until(json!("1970-01-01T00:16:41.500Z"))), row(&[json!(1)], Some(1_500)));
        for past in ["1970-01-01T00:16:40.000Z", "1970-01-01T00:00:00.000Z"] {
            assert_eq!(of(&set, &until(json!(past))), Line::Skipped(Why::Expired));
        }
        assert_eq!(of(&set, &until(Value::Null)), row(&[json!(1)], None));
        for wrong in [json!("soon"), json!(7)] {
            assert!(read(&until(wrong).to_string(), &set, now()).unwrap_err().contains("expires_at"));
        }
    }

    #[test]
    fn the_array_of_an_export_is_several_values_of_a_bag_and_that_of_a_version_is_one() {
        let bag = table("bag", "union");
        assert_eq!(of(&bag, &json!({"key": "k", "value": [1, 2]})), row(&[json!(1), json!(2)], None));
        assert_eq!(of(&bag, &json!({"key": "k", "value": [1, 2], "deleted": false})), row(&[json!([1, 2])], None));
    }

    #[test]
    fn bytes_are_told_from_an_object_that_looks_like_them() {
        let bytes = json!({"base64": "/w=="});
        let (set, bag) = (table("set", "last-writer"), table("bag", "union"));
        let marked = |values: Value| json!({"key": "k", "value": values, "encoded": true});
        let encoded = Line::Row(Row { key: "k".into(), values: vec![bytes.clone()], encoded: true, ttl_ms: None });
        assert_eq!(of(&set, &marked(bytes.clone())), encoded);
        assert_eq!(of(&bag, &marked(json!([bytes]))), encoded);
        assert_eq!(of(&set, &json!({"key": "k", "value": bytes})), row(&[bytes], None));
    }

    #[test]
    fn counters_take_rows_and_of_what_lost_only_maxima() {
        let (row_line, lost) = (
            json!({"key": "k", "value": 7, "deleted": false, "lost": false}),
            json!({"key": "k", "value": 7, "deleted": false, "lost": true}),
        );
        let loss = json!({"table": "t", "key": "k", "value": 7, "deleted": false, "revision": "r"});
        for line in [&json!({"key": "k", "value": 7}), &row_line] {
            assert_eq!(of(&table("set", "sum"), line), row(&[json!(7)], None));
        }
        for line in [&lost, &loss] {
            assert_eq!(of(&table("set", "sum"), line), Line::Skipped(Why::Part));
            assert_eq!(of(&table("set", "max"), line), row(&[json!(7)], None));
        }
    }

    #[test]
    fn what_was_left_out_is_counted_and_said() {
        let counts = Counts { rows: 2, skipped: vec![Why::Expired, Why::Deleted, Why::Expired] };
        let skipped = json!({"other_table": 0, "deleted": 1, "expired": 2, "part": 0});
        assert_eq!(counts.json(), json!({"rows": 2, "skipped": skipped}));
        let text = "2 rows are written\n1 left out: deletions that lost\n2 left out: expired\n";
        assert_eq!(counts.text(), text);
    }

    #[test]
    fn what_is_no_line_is_refused_in_words() {
        let set = table("set", "last-writer");
        assert!(read("{", &set, now()).unwrap_err().contains("no JSON"));
        assert!(read("{\"key\": 1}", &set, now()).unwrap_err().contains("`value`"));
    }
}
