//! `table export`, `table import`: rows as lines of JSON.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use ekka::admin::dto::{RowsAnswer, TableAnswer};
use serde_json::{Value, json};

use super::pass_on;
use super::table::add_terms;
use crate::args::TermsArgs;
use crate::client::Client;
use crate::exit::Failure;
use crate::out;

/// Rows that are asked for at once.
const PAGE: usize = 1000;

pub(super) async fn export(client: &Client, path: &str, file: Option<PathBuf>) -> Result<(), Failure> {
    let mut sink: Box<dyn Write> = match &file {
        Some(file) => Box::new(BufWriter::new(File::create(file).map_err(|error| at(file, &error))?)),
        None => Box::new(std::io::stdout()),
    };
    let (mut after, mut count) = (Value::Null, 0usize);
    loop {
        let body = json!({"after": after, "limit": PAGE});
        let page: RowsAnswer = client.post(path, &body).await?.success()?.read()?;
        for row in &page.rows {
            writeln!(sink, "{}", json!({"key": row.key, "value": row.value}))?;
        }
        count += page.rows.len();
        match page.next {
            Some(next) => after = next,
            None => break,
        }
    }
    sink.flush()?;
    if let Some(file) = file {
        out::note(&format!("{count} rows are in {}", file.display()));
    }
    Ok(())
}

pub(super) async fn import(
    client: &Client,
    path: &str,
    file: &Path,
    terms: TermsArgs,
    json: bool,
) -> Result<(), Failure> {
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
    let is_bag = table.type_ == "bag";
    let path = format!("{path}/put");
    let mut count = 0usize;
    for (number, line) in source.lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |why: &str| {
            let (file, number) = (file.display(), number + 1);
            Failure::usage(format!("{file}, line {number}: {why}; {count} rows before it are written"))
        };
        let row: Value = serde_json::from_str(&line).map_err(|error| wrong(&format!("no JSON: {error}")))?;
        let (Some(key), Some(value)) = (row.get("key"), row.get("value")) else {
            return Err(wrong("an object with `key` and `value` is expected"));
        };
        // A key of a bag has its values in an array.
        let values = match value {
            Value::Array(values) if is_bag => values.as_slice(),
            value => std::slice::from_ref(value),
        };
        for value in values {
            let mut body = json!({"key": key, "value": value});
            add_terms(&mut body, terms);
            client.post(&path, &body).await?.success()?;
        }
        count += 1;
    }
    if json {
        return pass_on(&json!({"rows": count}).to_string());
    }
    out::print(&format!("{count} rows are written\n"))
}

fn at(file: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("{}: {error}", file.display()))
}
