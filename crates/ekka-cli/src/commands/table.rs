//! `table`: rows of replicated tables, by the agent.

use ekka::admin::dto::{RowAnswer, RowsAnswer, TableAnswer, TableChangedAnswer, WrittenAnswer};
use serde_json::{Value, json};

use super::{pass_on, table_file, table_import, table_verify};
use crate::args::{TableCommand, TermsArgs, word};
use crate::client::{Answer, Client};
use crate::exit::{Code, Failure};
use crate::out::{self, table as columns};

/// Rows that are asked for at once.
const PAGE: usize = 1000;

pub(super) async fn run(client: &Client, command: TableCommand, json: bool) -> Result<(), Failure> {
    match command {
        TableCommand::Create { copies: Some(copies), .. } => Err(Failure::usage(format!(
            "--copies {copies} is not there yet: the rows of a table are on every node that holds tables"
        ))),
        TableCommand::Create { table, kind, storage, type_, merge, codec, copies: None } => {
            let mut body = json!({
                "name": table, "kind": word(&kind), "storage": word(&storage), "type": word(&type_), "codec": word(&codec),
            });
            if let Some(merge) = merge {
                body["merge"] = word(&merge).into();
            }
            changed(&client.post("/v1/tables", &body).await?.success()?, json)
        }
        TableCommand::List => list(client, json).await,
        TableCommand::Put { table, key, value, ttl, if_revision, terms } => {
            let value = value_for(client, &table, value).await?;
            let mut body = json!({"key": key, "value": value});
            if let Some(ttl) = ttl {
                body["ttl_ms"] = out::millis(ttl).into();
            }
            if let Some(revision) = if_revision {
                body["if_revision"] = revision.into();
            }
            written(client, &path(&table, "/put")?, body, terms, json).await
        }
        TableCommand::Delete { table, key, terms } => {
            written(client, &path(&table, "/delete")?, json!({"key": key}), terms, json).await
        }
        TableCommand::Get { table, key, stale } => {
            let body = json!({"key": key, "stale": stale});
            let answer = client.post(&path(&table, "/get")?, &body).await?.success()?;
            if json {
                return pass_on(&answer.text());
            }
            out::print(&format!("{}\n", shown(&answer.read::<RowAnswer>()?.value)))
        }
        TableCommand::Scan { table, prefix, after, limit, reverse, stale } => {
            let which = json!({"prefix": prefix, "after": after, "reverse": reverse, "stale": stale});
            scan(client, &path(&table, "/scan")?, which, limit, json).await
        }
        TableCommand::Watch { table } => watch(client, &path(&table, "/watch")?, json).await,
        TableCommand::Info { table } => info(client, &path(&table, "")?, json).await,
        TableCommand::Verify { table } => table_verify::run(client, table, json).await,
        TableCommand::Export { table, file } => table_file::export(client, &path(&table, "/scan")?, file).await,
        TableCommand::Import { table, file, terms } => {
            table_import::run(client, &path(&table, "")?, &file, terms, json).await
        }
        TableCommand::Drop { table } => changed(&client.delete(&path(&table, "")?).await?.success()?, json),
    }
}

/// Where a table is. Its name goes into an address, so other letters than it may have are refused here.
pub(super) fn path(table: &str, rest: &str) -> Result<String, Failure> {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    if table.is_empty() || !table.bytes().all(letter) {
        let text = format!("there is no table {table:?}: names of tables have a-z, 0-9, '.', '_' and '-'");
        return Err(Failure::new(Code::NotFound, "not_found", text));
    }
    Ok(format!("/v1/tables/{table}{rest}"))
}

fn changed(answer: &Answer, json: bool) -> Result<(), Failure> {
    if json {
        return pass_on(&answer.text());
    }
    let answer: TableChangedAnswer = answer.read()?;
    let why = answer.decision.map(|id| format!("  [why: ekka why {id}]")).unwrap_or_default();
    out::print(&format!("{}{why}\n", answer.text))
}

async fn list(client: &Client, json: bool) -> Result<(), Failure> {
    let answer = client.get("/v1/tables").await?.success()?;
    if json {
        return pass_on(&answer.text());
    }
    let tables: Vec<TableAnswer> = answer.read()?;
    if tables.is_empty() {
        return out::print("there is no table yet: ekka table create NAME\n");
    }
    let rows = tables.iter().map(|table| {
        let lag = table.lag.values().copied().max().unwrap_or(0);
        let words = [&table.name, &table.kind, &table.storage, &table.type_].map(Clone::clone);
        let numbers = [table.rows, table.bytes, lag, table.overridden].map(|number| number.to_string());
        let loaded = if table.loaded { "yes" } else { "no" };
        words.into_iter().chain(numbers).chain([loaded.to_owned()]).collect()
    });
    let header = ["NAME", "KIND", "STORAGE", "TYPE", "ROWS", "BYTES", "LAG", "OVERRIDDEN", "LOADED"];
    out::print(&columns(&header, rows))
}

async fn info(client: &Client, path: &str, json: bool) -> Result<(), Failure> {
    let answer = client.get(path).await?.success()?;
    if json {
        return pass_on(&answer.text());
    }
    let table: TableAnswer = answer.read()?;
    let lag: Vec<String> = table.lag.iter().map(|(peer, ops)| format!("{peer} {ops}")).collect();
    let lag = if lag.is_empty() { "no peer is linked".to_owned() } else { lag.join(", ") };
    let lines = [
        ("name", table.name),
        ("kind", table.kind),
        ("storage", table.storage),
        ("type", table.type_),
        ("merge", table.merge),
        ("codec", table.codec),
        ("rows", table.rows.to_string()),
        ("tombstones", table.tombstones.to_string()),
        ("bytes", table.bytes.to_string()),
        ("overridden", table.overridden.to_string()),
        ("digest", table.digest),
        ("loaded", if table.loaded { "yes" } else { "no: it waits for what its peers hold" }.to_owned()),
        ("lag", lag),
    ];
    out::print(&lines.map(|(name, value)| format!("{name:<11} {value}\n")).concat())
}

/// What is written for the last word of `put`: JSON where it is JSON, else a text; for bytes always the text.
async fn value_for(client: &Client, table: &str, value: String) -> Result<Value, Failure> {
    let info: TableAnswer = client.get(&path(table, "")?).await?.success()?.read()?;
    if info.codec == "raw" {
        return Ok(Value::String(value));
    }
    Ok(serde_json::from_str(&value).unwrap_or(Value::String(value)))
}

async fn written(client: &Client, path: &str, mut body: Value, terms: TermsArgs, json: bool) -> Result<(), Failure> {
    add_terms(&mut body, terms);
    let answer = client.post(path, &body).await?.success()?;
    if json {
        return pass_on(&answer.text());
    }
    let answer: WrittenAnswer = answer.read()?;
    let copies = if answer.copies == 1 { "1 copy".to_owned() } else { format!("{} copies", answer.copies) };
    let durable = if answer.durable { "on disc" } else { "in memory" };
    let lonely = if answer.lonely { ": no other node is up" } else { "" };
    out::print(&format!("{copies} {durable}{lonely}\n"))
}

/// How a write is to be acknowledged.
pub(super) fn add_terms(body: &mut Value, terms: TermsArgs) {
    body["ack"] = word(&terms.ack).into();
    body["strict"] = terms.strict.into();
    body["deadline_ms"] = out::millis(terms.deadline).into();
}

async fn scan(client: &Client, path: &str, mut which: Value, limit: Option<usize>, json: bool) -> Result<(), Failure> {
    let (mut left, mut begun) = (limit.unwrap_or(usize::MAX), false);
    if json {
        out::print("[")?;
    }
    while left > 0 {
        which["limit"] = left.min(PAGE).into();
        let page: RowsAnswer = client.post(path, &which).await?.success()?.read()?;
        left = left.saturating_sub(page.rows.len());
        let mut text = String::new();
        for row in &page.rows {
            if json {
                let comma = if std::mem::replace(&mut begun, true) { "," } else { "" };
                text += &format!("{comma}\n{}", json!({"key": row.key, "value": row.value}));
            } else {
                text += &format!("{}\t{}\n", shown(&row.key), shown(&row.value));
            }
        }
        if !out::print_and_ask(&text)? {
            return Ok(());
        }
        match page.next {
            Some(next) => which["after"] = next,
            None => break,
        }
    }
    if json { out::print(if begun { "\n]\n" } else { "]\n" }) } else { Ok(()) }
}

async fn watch(client: &Client, path: &str, json: bool) -> Result<(), Failure> {
    let show = |data: &str| out::print_and_ask(&if json { format!("{data}\n") } else { change(data) });
    tokio::select! {
        ended = client.follow(path, show) => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

/// One change as a line for people.
fn change(data: &str) -> String {
    let Ok(change) = serde_json::from_str::<Value>(data) else { return format!("{data}\n") };
    let field = |name: &str| change.get(name).map(shown).unwrap_or_default();
    match field("change").as_str() {
        "snapshot_end" => "-- every change from here on --\n".to_owned(),
        "resync" => "-- too far behind: all rows anew --\n".to_owned(),
        "delete" => format!("delete\t{}\n", field("key")),
        kind => format!("{}\t{}\t{}\n", if kind == "snapshot" { "row" } else { kind }, field("key"), field("value")),
    }
}

/// A text as it is, all else as JSON.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}
