//! Tables, by their names: JSON in and out.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use ekka_core::schema::{Kind, MergeRule, Schema, Shape, Storage};
use ekka_core::table::{Ack, Acknowledged, Order};
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;

use super::error::ApiError;
use super::input::{Body, Params};
use super::row::row_answer;
use crate::admin::AdminState;
use crate::admin::dto::{
    CreateTableRequest, DeleteRequest, ErrorAnswer, KeyRequest, PutRequest, RowAnswer, RowsAnswer, ScanRequest,
    TableAnswer, TableChangedAnswer, TermsRequest, WrittenAnswer,
};
use crate::admin::values::{bytes_of_text, bytes_of_value};
use crate::codec::json::text;
use crate::table::{Freshness, OpenError, PutError, QuorumError, TableDoor, TableInfo, WriteTerms, is_built};

/// The words for how a write is acknowledged.
pub(super) const ACKS: [(&str, Ack); 3] = [("two", Ack::Two), ("local", Ack::Local), ("all", Ack::All)];
/// Rows of one answer, unless told otherwise, and at most.
const ROWS: usize = 1000;
const ROWS_MAX: usize = 100_000;
/// Time for a table to be open here once it is made.
const OPENED: Duration = Duration::from_secs(10);

/// All tables, as they are on this node.
#[utoipa::path(get, path = "/v1/tables", responses((status = OK, body = Vec<TableAnswer>)))]
pub(super) async fn list(State(state): State<AdminState>) -> Result<Json<Vec<TableAnswer>>, ApiError> {
    let door = door(&state)?;
    Ok(Json(door.names().iter().filter_map(|name| door.info(name)).map(answer).collect()))
}

/// Make a table; nothing where there is one with the same options.
#[utoipa::path(
    post, path = "/v1/tables", request_body = CreateTableRequest,
    responses(
        (status = OK, body = TableChangedAnswer), (status = BAD_REQUEST, body = ErrorAnswer),
        (status = CONFLICT, body = ErrorAnswer), (status = SERVICE_UNAVAILABLE, body = ErrorAnswer)
    )
)]
pub(super) async fn create(
    State(state): State<AdminState>,
    Body(body): Body<CreateTableRequest>,
) -> Result<Json<TableChangedAnswer>, ApiError> {
    let schema = schema(&body)?;
    let door = door(&state)?;
    let (id, decision) = state.node.ensure_table(schema.clone()).await?;
    if !door.loaded(id, OPENED).await {
        let text = format!("the table {} is made, and is not open on this node yet", schema.name);
        return Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timed_out", text));
    }
    let text = match decision {
        Some(_) => format!("made the table {schema}"),
        None => format!("there is the table {schema} already"),
    };
    Ok(Json(TableChangedAnswer { name: schema.name, text, decision: decision.map(|id| id.to_string()) }))
}

/// One table, as it is on this node.
#[utoipa::path(
    get, path = "/v1/tables/{table}",
    responses((status = OK, body = TableAnswer), (status = NOT_FOUND, body = ErrorAnswer))
)]
pub(super) async fn info(
    State(state): State<AdminState>,
    Path(table): Path<String>,
) -> Result<Json<TableAnswer>, ApiError> {
    let door = door(&state)?;
    door.info(&table).map(answer).map(Json).ok_or_else(|| absent(&door, &table))
}

/// Drop a table with all its rows, on all nodes.
#[utoipa::path(
    delete, path = "/v1/tables/{table}",
    responses(
        (status = OK, body = TableChangedAnswer), (status = NOT_FOUND, body = ErrorAnswer),
        (status = INTERNAL_SERVER_ERROR, body = ErrorAnswer)
    )
)]
pub(super) async fn remove(
    State(state): State<AdminState>,
    Path(table): Path<String>,
) -> Result<Json<TableChangedAnswer>, ApiError> {
    match state.node.drop_table(table.clone()).await? {
        Some(decision) => {
            let text = format!("dropped the table {table}");
            Ok(Json(TableChangedAnswer { name: table, text, decision: Some(decision.to_string()) }))
        }
        None => Err(absent(&door(&state)?, &table)),
    }
}

/// Write a row.
#[utoipa::path(
    post, path = "/v1/tables/{table}/put", request_body = PutRequest,
    responses(
        (status = OK, body = WrittenAnswer), (status = BAD_REQUEST, body = ErrorAnswer),
        (status = NOT_FOUND, body = ErrorAnswer), (status = PAYLOAD_TOO_LARGE, body = ErrorAnswer),
        (status = GATEWAY_TIMEOUT, body = ErrorAnswer), (status = SERVICE_UNAVAILABLE, body = ErrorAnswer),
        (status = INSUFFICIENT_STORAGE, body = ErrorAnswer)
    )
)]
pub(super) async fn put(
    State(state): State<AdminState>,
    Path(table): Path<String>,
    Body(body): Body<PutRequest>,
) -> Result<Json<WrittenAnswer>, ApiError> {
    let door = door(&state)?;
    let (_, schema) = door.schema(&table).ok_or_else(|| absent(&door, &table))?;
    let key = bytes_of_text("key", &body.key).map_err(ApiError::bad_request)?;
    let value = bytes_of_cell(&schema, &body).map_err(ApiError::bad_request)?;
    let (ttl, terms) = (body.ttl_ms.map(Duration::from_millis), terms(&body.terms)?);
    let row = (&key[..], &value[..]);
    let written = match body.if_revision {
        Some(revision) => door.put_at(&table, row, ttl, (revision, terms.deadline)).await,
        None => door.put(&table, row, ttl, terms).await,
    };
    let written = written.ok_or_else(|| absent(&door, &table))?;
    Ok(Json(written_answer(body.key, written?)))
}

/// Delete a row, whether or not there is one.
#[utoipa::path(
    post, path = "/v1/tables/{table}/delete", request_body = DeleteRequest,
    responses(
        (status = OK, body = WrittenAnswer), (status = BAD_REQUEST, body = ErrorAnswer),
        (status = NOT_FOUND, body = ErrorAnswer), (status = GATEWAY_TIMEOUT, body = ErrorAnswer),
        (status = SERVICE_UNAVAILABLE, body = ErrorAnswer)
    )
)]
pub(super) async fn delete(
    State(state): State<AdminState>,
    Path(table): Path<String>,
    Body(body): Body<DeleteRequest>,
) -> Result<Json<WrittenAnswer>, ApiError> {
    let door = door(&state)?;
    let key = bytes_of_text("key", &body.key).map_err(ApiError::bad_request)?;
    let written = door.delete(&table, &key, terms(&body.terms)?).await.ok_or_else(|| absent(&door, &table))?;
    Ok(Json(written_answer(body.key, written?)))
}

/// The row of a key, as this node has it.
#[utoipa::path(
    post, path = "/v1/tables/{table}/get", request_body = KeyRequest,
    responses(
        (status = OK, body = RowAnswer), (status = BAD_REQUEST, body = ErrorAnswer),
        (status = NOT_FOUND, body = ErrorAnswer)
    )
)]
pub(super) async fn get(
    State(state): State<AdminState>,
    Path(table): Path<String>,
    Body(body): Body<KeyRequest>,
) -> Result<Json<RowAnswer>, ApiError> {
    let door = door(&state)?;
    let (_, schema) = door.schema(&table).ok_or_else(|| absent(&door, &table))?;
    let key = bytes_of_text("key", &body.key).map_err(ApiError::bad_request)?;
    let found = door.get(&table, &key, freshness(body.stale)).await.ok_or_else(|| absent(&door, &table))?;
    let row = found?
        .ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "not_found", format!("{table} has no row {}", body.key)))?;
    Ok(Json(row_answer(&state.node.view(), &schema.codec, &row)))
}

/// Rows in the order of the bytes of their keys, as this node has them.
#[utoipa::path(
    post, path = "/v1/tables/{table}/scan", request_body = ScanRequest,
    responses(
        (status = OK, body = RowsAnswer), (status = BAD_REQUEST, body = ErrorAnswer),
        (status = NOT_FOUND, body = ErrorAnswer)
    )
)]
pub(super) async fn scan(
    State(state): State<AdminState>,
    Path(table): Path<String>,
    Body(body): Body<ScanRequest>,
) -> Result<Json<RowsAnswer>, ApiError> {
    scan_rows(&state, &table, &body).await
}

/// Rows in the order of the bytes of their keys, as this node has them; keys that are no text are asked for with `scan`.
#[utoipa::path(
    get, path = "/v1/tables/{table}/rows", params(RowsParams),
    responses(
        (status = OK, body = RowsAnswer), (status = BAD_REQUEST, body = ErrorAnswer),
        (status = NOT_FOUND, body = ErrorAnswer)
    )
)]
pub(super) async fn rows(
    State(state): State<AdminState>,
    Path(table): Path<String>,
    Params(params): Params<RowsParams>,
) -> Result<Json<RowsAnswer>, ApiError> {
    let RowsParams { prefix, after, limit, reverse, stale } = params;
    let (prefix, after) = (prefix.map(Value::String), after.map(Value::String));
    scan_rows(&state, &table, &ScanRequest { prefix, after, limit, reverse, stale }).await
}

/// Which rows.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct RowsParams {
    /// Those whose keys begin with this; all where it is not said.
    prefix: Option<String>,
    /// Those after this key.
    after: Option<String>,
    /// At most so many; 1000 where it is not said.
    limit: Option<usize>,
    /// The highest key first; `after` then says below which one.
    #[serde(default)]
    reverse: bool,
    /// Of a quorum table: as this node has it, without asking a majority; it may be old.
    #[serde(default)]
    stale: bool,
}

async fn scan_rows(state: &AdminState, table: &str, body: &ScanRequest) -> Result<Json<RowsAnswer>, ApiError> {
    let door = door(state)?;
    let (_, schema) = door.schema(table).ok_or_else(|| absent(&door, table))?;
    let bytes = |what, value: &Option<Value>| value.as_ref().map(|value| bytes_of_text(what, value)).transpose();
    let prefix = bytes("prefix", &body.prefix).map_err(ApiError::bad_request)?.unwrap_or_default();
    let after = bytes("key after which to go on", &body.after).map_err(ApiError::bad_request)?;
    let limit = body.limit.unwrap_or(ROWS);
    if !(1..=ROWS_MAX).contains(&limit) {
        return Err(ApiError::bad_request(format!("a limit of {limit} rows: 1 to {ROWS_MAX} are taken")));
    }
    let of = (&prefix[..], after.as_deref());
    let order = if body.reverse { Order::Descending } else { Order::Ascending };
    let page = door.scan_in(table, of, order, limit, freshness(body.stale)).await;
    let page = page.ok_or_else(|| absent(&door, table))??;
    let view = state.node.view();
    let rows = page.rows.iter().map(|row| row_answer(&view, &schema.codec, row)).collect();
    Ok(Json(RowsAnswer { rows, next: page.next.map(|key| text(&key)) }))
}

fn freshness(stale: bool) -> Freshness {
    if stale { Freshness::Stale } else { Freshness::Linearizable }
}

pub(super) fn door(state: &AdminState) -> Result<TableDoor, ApiError> {
    state
        .node
        .tables()
        .ok_or_else(|| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "this node serves no tables"))
}

pub(super) fn absent(door: &TableDoor, table: &str) -> ApiError {
    let names = door.names();
    let known = if names.is_empty() { "there is none yet: `ekka table create NAME`".into() } else { names.join(", ") };
    ApiError::new(StatusCode::NOT_FOUND, "not_found", format!("there is no table {table:?}; tables: {known}"))
}

fn answer(info: TableInfo) -> TableAnswer {
    let TableInfo { schema, rows, tombstones, bytes, loaded, lag, overridden, differs, .. } = info;
    TableAnswer {
        kind: schema.kind.as_str().into(),
        storage: schema.storage.as_str().into(),
        type_: schema.shape.as_str().into(),
        merge: schema.merge.as_str().into(),
        name: schema.name,
        codec: schema.codec,
        rows,
        tombstones,
        bytes,
        loaded,
        lag: lag.into_iter().collect(),
        overridden,
        digest: differs.map_or("unknown", |differs| if differs { "differs" } else { "equal" }).into(),
    }
}

/// The bytes of a value; of a counter, those of a whole number.
fn bytes_of_cell(schema: &Schema, PutRequest { value, encoded, .. }: &PutRequest) -> Result<Vec<u8>, String> {
    if schema.shape == Shape::Bag || !matches!(schema.merge, MergeRule::Max | MergeRule::Sum) {
        return if *encoded { bytes_of_text("encoded value", value) } else { bytes_of_value(&schema.codec, value) };
    }
    let number = value.as_i64().ok_or_else(|| format!("{} has counters: {value} is no whole number", schema.name))?;
    Ok(number.to_le_bytes().to_vec())
}

fn written_answer(key: Value, written: Acknowledged) -> WrittenAnswer {
    let Acknowledged { copies, durable, lonely } = written;
    WrittenAnswer { key, copies, durable, lonely }
}

pub(super) fn word<T: Copy>(what: &str, given: &str, known: &[(&str, T)]) -> Result<T, ApiError> {
    let found = known.iter().find(|(word, _)| *word == given);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
        ApiError::bad_request(format!("{what} {given:?}: {} are taken", words.join(", ")))
    })
}

fn terms(body: &TermsRequest) -> Result<WriteTerms, ApiError> {
    let defaults = WriteTerms::default();
    let ack = body.ack.as_deref().map(|given| word("the ack", given, &ACKS)).transpose()?;
    Ok(WriteTerms {
        ack: ack.unwrap_or(defaults.ack),
        strict: body.strict,
        deadline: body.deadline_ms.map_or(defaults.deadline, Duration::from_millis),
    })
}

fn schema(body: &CreateTableRequest) -> Result<Schema, ApiError> {
    let kinds = [Kind::Available, Kind::Owned, Kind::Quorum].map(|kind| (kind.as_str(), kind));
    let storages = [Storage::Ram, Storage::Disc].map(|storage| (storage.as_str(), storage));
    let shapes = [Shape::Set, Shape::OrderedSet, Shape::Bag].map(|shape| (shape.as_str(), shape));
    let rules = [MergeRule::LastWriter, MergeRule::Union, MergeRule::Max, MergeRule::Sum];
    let rules = rules.map(|rule| (rule.as_str(), rule));
    let (kind, shape) = (word("the kind", &body.kind, &kinds)?, word("the type", &body.type_, &shapes)?);
    let usual = if shape == Shape::Bag { MergeRule::Union } else { MergeRule::LastWriter };
    let merge = body.merge.as_deref().map(|given| word("the merge rule", given, &rules)).transpose()?;
    let schema = Schema {
        storage: word("the storage", &body.storage, &storages)?,
        shape,
        merge: merge.unwrap_or(usual),
        codec: body.codec.clone(),
        ..Schema::new(body.name.clone(), kind)
    };
    schema.check().map_err(|error| ApiError::bad_request(error.to_string()))?;
    if !is_built(kind) {
        let text = format!("tables of the kind {} are not there yet", kind.as_str());
        return Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, "not_yet", text));
    }
    Ok(schema)
}

impl From<OpenError> for ApiError {
    fn from(error: OpenError) -> Self {
        let text = error.to_string();
        match error {
            OpenError::Mismatch { .. } => Self::new(StatusCode::CONFLICT, "mismatch", text),
            OpenError::Schema(_) => Self::bad_request(text),
            OpenError::NotMade { why, .. } => why.into(),
            OpenError::NotLoaded { .. } => Self::new(StatusCode::GATEWAY_TIMEOUT, "timed_out", text),
            OpenError::Stopping => Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", text),
        }
    }
}

impl From<QuorumError> for ApiError {
    fn from(error: QuorumError) -> Self {
        let (status, code) = match &error {
            QuorumError::NoQuorum(_) => (StatusCode::SERVICE_UNAVAILABLE, "no_quorum"),
            QuorumError::Conflict => (StatusCode::CONFLICT, "conflict"),
            QuorumError::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            QuorumError::DiscFull => (StatusCode::INSUFFICIENT_STORAGE, "disc_full"),
            QuorumError::Unknown(_) => (StatusCode::GATEWAY_TIMEOUT, "timed_out"),
            QuorumError::WrongType(_) | QuorumError::Codec { .. } => (StatusCode::BAD_REQUEST, "bad_request"),
            QuorumError::Refused(_) => (StatusCode::CONFLICT, "refused"),
            QuorumError::Closed => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        };
        Self::new(status, code, error.to_string()).unknown(error.outcome_unknown())
    }
}

impl From<PutError> for ApiError {
    fn from(error: PutError) -> Self {
        let (status, code) = match &error {
            PutError::KeyTooLong { .. } | PutError::ValueTooLong { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            PutError::Codec { .. } | PutError::WrongKind(_) => (StatusCode::BAD_REQUEST, "bad_request"),
            PutError::Clock(_) => (StatusCode::SERVICE_UNAVAILABLE, "clock"),
            PutError::TooFewCopies(_) => (StatusCode::SERVICE_UNAVAILABLE, "too_few_copies"),
            PutError::DiscFull => (StatusCode::INSUFFICIENT_STORAGE, "disc_full"),
            PutError::DiscFailed { .. } => (StatusCode::SERVICE_UNAVAILABLE, "disc_failed"),
            PutError::TimedOut { .. } => (StatusCode::GATEWAY_TIMEOUT, "timed_out"),
            PutError::NotLoaded => (StatusCode::SERVICE_UNAVAILABLE, "not_loaded"),
            PutError::Closed => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
            PutError::Quorum(error) => return error.clone().into(),
        };
        Self::new(status, code, error.to_string()).unknown(error.outcome_unknown())
    }
}
