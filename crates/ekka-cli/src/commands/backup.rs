//! `backup`, `restore`: files that hold all tables.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

use ekka::admin::dto::{RestoreLine, RestoredAnswer, RestoredTable};
use ekka::admin::rfc3339;
use ekka::backup::{Summary, check};
use serde_json::{Value, json};

use super::pass_on;
use crate::args::{BackupArgs, RestoreArgs, word};
use crate::client::Client;
use crate::exit::Failure;
use crate::out;

/// Writes a backup: beside the file first, checked and synced, then under its name.
pub(super) async fn backup(client: &Client, args: BackupArgs, json: bool) -> Result<(), Failure> {
    let aside = Aside::beside(&args.file)?;
    let mut sink = BufWriter::new(File::create(&aside.path).map_err(|error| at(&aside.path, &error))?);
    client.download("/v1/backup", &mut sink).await?;
    let file = sink.into_inner().map_err(|error| at(&aside.path, error.error()))?;
    file.sync_all().map_err(|error| at(&aside.path, &error))?;
    let summary = read(&aside.path)?;
    aside.take_place_of(&args.file)?;
    if json {
        return pass_on(&of(&summary).to_string());
    }
    let (rows, tables, bytes) = (summary.rows(), summary.tables.len(), summary.bytes);
    out::print(&format!("{rows} rows of {tables} tables are in {}, {bytes} bytes\n", args.file.display()))
}

/// Checks a backup, without an agent.
pub(super) fn verify(file: &Path, json: bool) -> Result<(), Failure> {
    let summary = read(file)?;
    if json {
        return pass_on(&of(&summary).to_string());
    }
    let head = &summary.head;
    let from = format!("{} of cluster {} ({}), {}", head.node, head.cluster_name, head.cluster, rfc3339(head.time));
    let rows = summary.tables.iter().map(|table| {
        let schema = &table.head.schema;
        vec![schema.name.clone(), schema.options(), table.rows.to_string(), table.bytes.to_string()]
    });
    let tables = out::table(&["TABLE", "WHAT", "ROWS", "BYTES"], rows);
    out::print(&format!("{} is whole: {} bytes, from {from}\n{tables}", file.display(), summary.bytes))
}

fn read(file: &Path) -> Result<Summary, Failure> {
    let open = File::open(file).map_err(|error| at(file, &error))?;
    check(BufReader::new(open)).map_err(|error| Failure::failed(format!("{}: {error}", file.display())))
}

fn of(summary: &Summary) -> Value {
    let head = &summary.head;
    let tables = summary.tables.iter().map(|table| {
        let (schema, revision) = (&table.head.schema, table.head.revision);
        json!({
            "name": schema.name, "kind": schema.kind.as_str(), "storage": schema.storage.as_str(),
            "type": schema.shape.as_str(), "merge": schema.merge.as_str(), "codec": schema.codec,
            "revision": revision, "rows": table.rows, "bytes": table.bytes,
        })
    });
    json!({
        "cluster_id": head.cluster.to_string(), "cluster_name": head.cluster_name, "node": head.node,
        "time": rfc3339(head.time), "version": head.version, "token_ceiling": head.token_ceiling,
        "rows": summary.rows(), "bytes": summary.bytes, "tables": tables.collect::<Vec<_>>(),
    })
}

/// Puts a backup back, and says how it goes.
pub(super) async fn restore(client: &Client, args: RestoreArgs, json: bool) -> Result<(), Failure> {
    // What is damaged is found before anything is sent.
    let summary = read(&args.file)?;
    let file = File::open(&args.file).map_err(|error| at(&args.file, &error))?;
    let path = format!("/v1/restore?mode={}&plan={}", word(&args.mode), args.plan);
    let mut lines = client.upload(&path, file).await?;
    if args.no_wait {
        out::note("the agent has the backup and goes on with it");
        return Ok(());
    }
    loop {
        let line = tokio::select! {
            line = lines.next() => line?,
            _ = tokio::signal::ctrl_c() => {
                out::note("the agent has the backup and goes on with it");
                return Ok(());
            }
        };
        let Some(line) = line else { return Err(Failure::failed("the agent ended before it was done")) };
        let said: RestoreLine = serde_json::from_str(&line)
            .map_err(|error| Failure::failed(format!("the agent's answer is not of a kind known here: {error}")))?;
        match said {
            RestoreLine { done: Some(done), .. } if json => {
                return pass_on(&serde_json::to_string(&done).unwrap_or_default());
            }
            RestoreLine { done: Some(done), .. } => return out::print(&told(&done)),
            RestoreLine { error: Some(error), .. } => return Err(Failure::answered(error)),
            RestoreLine { progress: Some(table), .. } => out::note(&progress(&table, &summary)),
            RestoreLine { .. } => {}
        }
    }
}

fn progress(table: &RestoredTable, summary: &Summary) -> String {
    let seen = table.added + table.replaced + table.kept + table.stay_deleted + table.expired;
    let of = summary.tables.iter().find(|of| of.head.schema.name == table.table).map_or(0, |of| of.rows);
    format!("{}: {seen} of {of} rows", table.table)
}

fn told(done: &RestoredAnswer) -> String {
    let rows = done.tables.iter().map(|table| {
        let numbers = [table.added, table.replaced, table.kept, table.stay_deleted, table.expired, table.deleted];
        let made = if table.made { "made" } else { "" };
        let words = [table.table.clone(), made.to_owned()];
        words.into_iter().chain(numbers.map(|number| number.to_string())).collect()
    });
    let header = ["TABLE", "", "ADDED", "REPLACED", "KEPT", "STAY DELETED", "EXPIRED", "DELETED"];
    let mut text = out::table(&header, rows);
    if let Some(ceiling) = done.token_ceiling {
        text += &format!("fencing tokens go on above {ceiling}\n");
    }
    for note in &done.notes {
        text += &format!("{note}\n");
    }
    text + if done.plan { "nothing was changed\n" } else { "done\n" }
}

/// A file that is written beside another one, and is gone unless it takes its place.
struct Aside {
    path: PathBuf,
}

impl Aside {
    fn beside(file: &Path) -> Result<Self, Failure> {
        let name = file.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| Failure::usage(format!("{} names no file", file.display())))?;
        Ok(Self { path: file.with_file_name(format!(".{name}.{}", std::process::id())) })
    }

    fn take_place_of(self, file: &Path) -> Result<(), Failure> {
        fs::rename(&self.path, file).map_err(|error| at(file, &error))?;
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| at(folder, &error))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // It is not there any more where all went well.
        let _ = fs::remove_file(&self.path);
    }
}

fn at(file: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("{}: {error}", file.display()))
}
