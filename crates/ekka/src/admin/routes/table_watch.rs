//! A table, followed: server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use ekka_core::id::NodeId;
use ekka_core::table::{OwnedChange, OwnedRow, Version};
use http_body_util::channel::{Channel, Sender};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::error::ApiError;
use super::table::{absent, door};
use crate::admin::AdminState;
use crate::admin::dto::name_of;
use crate::codec::json::{text, value_of};
use crate::table::{Cell, RawChange, RawOwnedChange, RawQuorumChange, TableWatch};

/// Lines that wait for one client.
const LINES_MAX: usize = 16;
/// A comment that shows both sides that the other is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// All rows of a table, then every change once: `snapshot`, `snapshot_end`, `put`, `delete`, `resync`; of an
/// `owned` table with the `owner`, and `owner_hidden`, `owner_shown`, `owner_gone`.
///
/// The end of the snapshot and each change after it have an id; a reader that comes back to this node with `Last-Event-ID`
/// goes on there, or gets `resync` and all rows anew. What belongs to a snapshot has none: without the whole of it there
/// is nothing to go on from.
#[utoipa::path(
    get, path = "/v1/tables/{table}/watch",
    responses(
        (status = OK, body = String, content_type = "text/event-stream"),
        (status = NOT_FOUND, body = crate::admin::dto::ErrorAnswer),
        (status = SERVICE_UNAVAILABLE, body = crate::admin::dto::ErrorAnswer)
    )
)]
pub(super) async fn watch(
    State(state): State<AdminState>,
    Path(table): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let permit = state.readers.clone().try_acquire_owned().map_err(|_| {
        let text = "too many readers of streams on this node: close some";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too_many", text)
    })?;
    let door = door(&state)?;
    let (_, schema) = door.schema(&table).ok_or_else(|| absent(&door, &table))?;
    let watch = match seen(&headers) {
        Some((history, revision)) => door.watch_after(&table, history, revision),
        None => door.watch(&table),
    };
    let watch = watch.ok_or_else(|| absent(&door, &table))?;
    let (sender, body) = Channel::<Bytes, Infallible>::new(LINES_MAX);
    let reader = Reader { sender, watch, codec: schema.codec, state, _permit: permit };
    tokio::spawn(reader.run());
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    Ok((headers, Body::new(body)).into_response())
}

/// Where a reader was that comes back: in which history, and at which of its revisions. What is no id of a change is of no
/// history, so that the reader is told that it has to begin anew.
fn seen(headers: &HeaderMap) -> Option<(&str, u64)> {
    let id = headers.get("last-event-id").filter(|id| !id.is_empty())?;
    let place = id.to_str().ok().and_then(|id| id.rsplit_once(':'));
    let place = place.and_then(|(history, revision)| Some((history, revision.parse().ok()?)));
    Some(place.unwrap_or(("", 0)))
}

/// What comes next.
enum Next {
    Available(RawChange),
    Owned(RawOwnedChange),
    Quorum(RawQuorumChange),
}

async fn next(watch: &mut TableWatch) -> Option<Next> {
    match watch {
        TableWatch::Available(watch) => watch.next().await.map(Next::Available),
        TableWatch::Owned(watch) => watch.next().await.map(Next::Owned),
        TableWatch::Quorum(watch) => watch.next().await.map(Next::Quorum),
    }
}

/// One client. Ends with the client, the table, the node or the server.
struct Reader {
    sender: Sender<Bytes, Infallible>,
    watch: TableWatch,
    codec: String,
    state: AdminState,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    async fn run(mut self) {
        let shutdown = self.state.shutdown.clone();
        let mut alive = self.write(": changes of a table".into()).await;
        while alive {
            alive = tokio::select! {
                () = shutdown.cancelled() => false,
                next = tokio::time::timeout(KEEP_ALIVE, next(&mut self.watch)) => match next {
                    Ok(Some(Next::Available(change))) => self.give(&change).await,
                    Ok(Some(Next::Owned(change))) => self.give_owned(&change).await,
                    Ok(Some(Next::Quorum(change))) => self.give_quorum(&change).await,
                    Ok(None) => false,
                    Err(_) => self.write(": still here".into()).await,
                },
            };
        }
    }

    async fn give(&mut self, change: &RawChange) -> bool {
        let (kind, revision, data) = match change {
            RawChange::Snapshot(row) => ("snapshot", None, self.cell(row, true).1),
            RawChange::SnapshotEnd(revision) => ("snapshot_end", Some(*revision), json!({})),
            RawChange::Put(row, revision) | RawChange::Delete(row, revision) => {
                let (kind, data) = self.cell(row, matches!(change, RawChange::Put(..)));
                (kind, Some(*revision), data)
            }
            RawChange::Gone(key, revision) => ("delete", Some(*revision), self.row(key, None)),
            RawChange::Resync => ("resync", None, json!({})),
        };
        self.say(kind, revision, data).await
    }

    async fn give_owned(&mut self, change: &RawOwnedChange) -> bool {
        let view = self.state.node.view();
        let owned = |owner: NodeId, mut row: Value| {
            row["owner"] = name_of(&view, owner).into();
            row
        };
        let whole = |row: &OwnedRow| self.row(row.key(), Some(row.value()));
        let (kind, revision, data) = match change {
            RawOwnedChange::Snapshot(owner, row) => ("snapshot", None, owned(*owner, whole(row))),
            RawOwnedChange::SnapshotEnd(revision) => ("snapshot_end", Some(*revision), json!({})),
            RawOwnedChange::Resync => ("resync", None, json!({})),
            RawOwnedChange::Hidden(owner) => ("owner_hidden", None, owned(*owner, json!({}))),
            RawOwnedChange::Changed(change, revision) => {
                let (kind, data) = match change {
                    OwnedChange::Put(owner, row) => ("put", owned(*owner, whole(row))),
                    OwnedChange::Delete(owner, row) => ("delete", owned(*owner, self.row(row.key(), None))),
                    OwnedChange::Hidden(owner) => ("owner_hidden", owned(*owner, json!({}))),
                    OwnedChange::Shown(owner) => ("owner_shown", owned(*owner, json!({}))),
                    OwnedChange::OwnerGone(id) => ("owner_gone", owned(id.node_id, json!({"guid": id.guid}))),
                };
                (kind, Some(*revision), data)
            }
        };
        self.say(kind, revision, data).await
    }

    async fn give_quorum(&mut self, change: &RawQuorumChange) -> bool {
        let (kind, revision, data) = match change {
            RawQuorumChange::Snapshot(row) => ("snapshot", None, self.row(row.key(), Some(row.value()))),
            RawQuorumChange::SnapshotEnd(revision) => ("snapshot_end", Some(*revision), json!({})),
            RawQuorumChange::Put(row, revision) => ("put", *revision, self.row(row.key(), Some(row.value()))),
            RawQuorumChange::Delete(row, revision) => ("delete", *revision, self.row(row.key(), None)),
            RawQuorumChange::Resync => ("resync", None, json!({})),
        };
        self.say(kind, revision, data).await
    }

    async fn say(&mut self, kind: &str, revision: Option<u64>, mut data: Value) -> bool {
        let place = self.watch.history().zip(revision);
        let id = place.map(|(history, revision)| format!("id: {history}:{revision}\n")).unwrap_or_default();
        data["change"] = kind.into();
        self.write(format!("{id}event: {kind}\ndata: {data}")).await
    }

    /// A row that was put or is gone; of a bag with the value that it is about, of counters with the number as it is now.
    fn cell(&self, row: &Version, put: bool) -> (&'static str, Value) {
        let TableWatch::Available(watch) = &self.watch else { return ("put", self.row(row.key(), Some(row.value()))) };
        let (key, cell) = watch.cell(row);
        match cell {
            Some(Cell::Number(number)) => ("put", json!({"key": text(&key), "value": number})),
            Some(_) if put => ("put", self.row(&key, Some(row.value()))),
            Some(_) if watch.is_bag() => ("delete", self.row(&key, Some(row.value()))),
            None | Some(_) => ("delete", self.row(&key, None)),
        }
    }

    fn row(&self, key: &[u8], value: Option<&[u8]>) -> Value {
        let mut row = json!({"key": text(key)});
        if let Some(value) = value {
            row["value"] = value_of(&self.codec, value);
        }
        row
    }

    /// Writes one message; a client that does not read holds this up, and is behind when it reads again.
    async fn write(&mut self, message: String) -> bool {
        let bytes = Bytes::from(format!("{message}\n\n"));
        let shutdown = self.state.shutdown.clone();
        tokio::select! {
            sent = self.sender.send_data(bytes) => sent.is_ok(),
            () = shutdown.cancelled() => false,
        }
    }
}
