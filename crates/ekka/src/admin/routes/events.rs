//! The stream of events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use ekka_core::limits::EVENTS_KEPT;
use http_body_util::channel::{Channel, Sender};
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast};
use utoipa::IntoParams;

use super::error::ApiError;
use super::input::Params;
use crate::admin::AdminState;
use crate::admin::dto::{event_id, event_line, lagged_line, parse_event_id};
use crate::node::StampedEvent;

/// Lines that wait for one client; behind them the broadcast's own bound holds, and says what was missed.
const LINES_MAX: usize = 16;
/// A comment that shows both sides that the other is there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Which events.
#[derive(Deserialize, IntoParams)]
pub(super) struct EventParams {
    /// How many of the past first.
    #[serde(default)]
    last: usize,
    /// Go on with those that come, as server-sent events; `false` ends with the past, one JSON object a line.
    #[serde(default = "yes")]
    follow: bool,
}

fn yes() -> bool {
    true
}

/// Events, oldest first: server-sent events, or one JSON object a line with `follow=false`.
///
/// A reader that comes back with `Last-Event-ID` gets what it missed, as far as it is kept.
#[utoipa::path(
    get, path = "/v1/events", params(EventParams),
    responses(
        (status = OK, body = String, content_type = "text/event-stream"),
        (status = SERVICE_UNAVAILABLE, body = crate::admin::dto::ErrorAnswer)
    )
)]
pub(super) async fn events(
    State(state): State<AdminState>,
    headers: HeaderMap,
    Params(params): Params<EventParams>,
) -> Result<Response, ApiError> {
    if !params.follow {
        let past = state.node.recent_events(params.last.min(EVENTS_KEPT));
        let lines: String = past.iter().map(|event| format!("{}\n", event_line(event))).collect();
        return Ok(([(CONTENT_TYPE, "application/x-ndjson")], lines).into_response());
    }
    let permit = state.readers.clone().try_acquire_owned().map_err(|_| {
        let text = "too many readers of events on this node: close some, or read with follow=false";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too_many", text)
    })?;
    // First the future, then the past: nothing between them is lost, and what is in both is given once.
    let future = state.node.events();
    let seen = headers.get("last-event-id").and_then(|id| parse_event_id(id.to_str().ok()?));
    let past = match seen {
        Some(seen) => state.node.recent_events(EVENTS_KEPT).into_iter().filter(|event| event.id > seen).collect(),
        None => state.node.recent_events(params.last.min(EVENTS_KEPT)),
    };
    let (sender, body) = Channel::<Bytes, Infallible>::new(LINES_MAX);
    let reader = Reader { sender, future, past: past.into(), last: seen, state, _permit: permit };
    tokio::spawn(reader.run());
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    Ok((headers, Body::new(body)).into_response())
}

/// One client of the stream. Ends with the client, the node or the server.
struct Reader {
    sender: Sender<Bytes, Infallible>,
    future: broadcast::Receiver<Arc<StampedEvent>>,
    past: VecDeque<Arc<StampedEvent>>,
    last: Option<u64>,
    state: AdminState,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    async fn run(mut self) {
        let shutdown = self.state.shutdown.clone();
        let mut alive = self.write(": events of this node".into()).await;
        while alive {
            if let Some(event) = self.past.pop_front() {
                alive = self.give(&event).await;
                continue;
            }
            alive = tokio::select! {
                () = shutdown.cancelled() => {
                    self.last_words().await;
                    false
                }
                next = tokio::time::timeout(KEEP_ALIVE, self.future.recv()) => match next {
                    Ok(Ok(event)) => self.give(&event).await,
                    Ok(Err(RecvError::Lagged(missed))) => {
                        self.state.missed(missed);
                        self.write(format!("event: lagged\ndata: {}", lagged_line(missed))).await
                    }
                    Ok(Err(RecvError::Closed)) => false,
                    Err(_) => self.write(": still here".into()).await,
                },
            };
        }
    }

    /// What came before the end is given as far as the client takes it at once.
    async fn last_words(&mut self) {
        while let Ok(event) = self.future.try_recv() {
            if !self.give(&event).await {
                return;
            }
        }
    }

    async fn give(&mut self, event: &StampedEvent) -> bool {
        if self.last.is_some_and(|last| event.id <= last) {
            return true;
        }
        self.last = Some(event.id);
        let (id, kind) = (event_id(event.id), event.event.kind.type_name());
        self.write(format!("id: {id}\nevent: {kind}\ndata: {}", event_line(event))).await
    }

    /// Writes one message; a client that does not read holds this up until it is gone or the server ends.
    async fn write(&mut self, message: String) -> bool {
        let bytes = Bytes::from(format!("{message}\n\n"));
        let shutdown = self.state.shutdown.clone();
        if shutdown.is_cancelled() {
            return tokio::time::timeout(Duration::from_millis(100), self.sender.send_data(bytes))
                .await
                .is_ok_and(|sent| sent.is_ok());
        }
        tokio::select! {
            sent = self.sender.send_data(bytes) => sent.is_ok(),
            () = shutdown.cancelled() => false,
        }
    }
}
