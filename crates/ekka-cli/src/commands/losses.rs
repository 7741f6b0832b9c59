//! `losses`: the journal of overridden writes.

use ekka::admin::dto::{LossAnswer, TableAnswer};
use serde_json::Value;

use super::table::{path, shown};
use crate::client::Client;
use crate::exit::Failure;
use crate::out;

/// Entries that are asked for at once.
const PAGE: usize = 1000;

pub(super) async fn run(client: &Client, table: Option<String>, json: bool) -> Result<(), Failure> {
    let tables = if let Some(table) = table {
        vec![table]
    } else {
        let all: Vec<TableAnswer> = client.get("/v1/tables").await?.success()?.read()?;
        all.into_iter().filter(|table| table.overridden > 0).map(|table| table.name).collect()
    };
    let mut shown_any = false;
    for table in &tables {
        let mut after = String::new();
        loop {
            let query = format!("/losses?limit={PAGE}{after}");
            let page: Vec<LossAnswer> = client.get(&path(table, &query)?).await?.success()?.read()?;
            let Some(last) = page.last() else { break };
            after = format!("&after={}", last.revision);
            let text = if json { lines(&page)? } else { columns(&page, !shown_any) };
            shown_any = true;
            if !out::print_and_ask(&text)? {
                return Ok(());
            }
        }
    }
    if shown_any || json { Ok(()) } else { out::print("no write was overridden by one that had not seen it\n") }
}

/// One object a line, as `table import` reads it.
fn lines(losses: &[LossAnswer]) -> Result<String, Failure> {
    let line = |loss| serde_json::to_string(loss).map(|line| line + "\n");
    losses.iter().map(line).collect::<Result<_, _>>().map_err(|error| Failure::failed(error.to_string()))
}

/// The head stands above the first page only.
fn columns(losses: &[LossAnswer], head: bool) -> String {
    let rows = losses.iter().map(|loss| {
        let value =
            if loss.deleted { "(deleted)".to_owned() } else { shown(loss.value.as_ref().unwrap_or(&Value::Null)) };
        vec![loss.table.clone(), shown(&loss.key), value, loss.node.clone(), loss.written.clone()]
    });
    let text = out::table(&["TABLE", "KEY", "VALUE THAT LOST", "WRITTEN BY", "WRITTEN"], rows);
    match text.split_once('\n') {
        Some((_, rows)) if !head => rows.to_owned(),
        _ => text,
    }
}
