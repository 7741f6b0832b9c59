//! `losses`: the journal of overridden writes.

use ekka::admin::dto::{LossAnswer, TableAnswer};

use super::table::{path, shown};
use crate::client::Client;
use crate::exit::Failure;
use crate::out;

pub(super) async fn run(client: &Client, table: Option<String>, json: bool) -> Result<(), Failure> {
    let tables = if let Some(table) = table {
        vec![table]
    } else {
        let all: Vec<TableAnswer> = client.get("/v1/tables").await?.success()?.read()?;
        all.into_iter().filter(|table| table.overridden > 0).map(|table| table.name).collect()
    };
    let mut losses: Vec<LossAnswer> = Vec::new();
    for table in &tables {
        let answer = client.get(&path(table, "/losses")?).await?.success()?;
        losses.extend(answer.read::<Vec<LossAnswer>>()?);
    }
    if json {
        // One object a line, as `table import` reads it.
        let lines = losses.iter().map(|loss| serde_json::to_string(loss).unwrap_or_default() + "\n");
        return out::print(&lines.collect::<String>());
    }
    if losses.is_empty() {
        return out::print("no write was overridden by one that had not seen it\n");
    }
    let rows = losses.iter().map(|loss| {
        let value = loss.value.as_ref().map_or_else(|| "(deleted)".to_owned(), shown);
        vec![loss.table.clone(), shown(&loss.key), value, loss.node.clone(), loss.written.clone()]
    });
    out::print(&out::table(&["TABLE", "KEY", "VALUE THAT LOST", "WRITTEN BY", "WRITTEN"], rows))
}
