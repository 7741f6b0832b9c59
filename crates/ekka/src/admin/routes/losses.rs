//! The journal of overridden writes.

use axum::Json;
use axum::extract::{Path, State};
use serde::Deserialize;
use utoipa::IntoParams;

use super::error::ApiError;
use super::input::Params;
use super::table::{absent, door};
use crate::admin::AdminState;
use crate::admin::dto::{ErrorAnswer, LossAnswer, name_of};
use crate::admin::rfc3339;
use crate::codec::json::{text, value_of};

/// Entries of one answer, unless told otherwise.
const ENTRIES: usize = 10_000;

/// How many.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct LossesParams {
    /// At most so many.
    #[serde(default = "entries")]
    limit: usize,
}

fn entries() -> usize {
    ENTRIES
}

/// Versions that lost to one whose writer had not seen them, as far as they are in memory on this node.
#[utoipa::path(
    get, path = "/v1/tables/{table}/losses", params(LossesParams),
    responses((status = OK, body = Vec<LossAnswer>), (status = NOT_FOUND, body = ErrorAnswer))
)]
pub(super) async fn losses(
    State(state): State<AdminState>,
    Path(table): Path<String>,
    Params(params): Params<LossesParams>,
) -> Result<Json<Vec<LossAnswer>>, ApiError> {
    let door = door(&state)?;
    let (_, schema) = door.schema(&table).ok_or_else(|| absent(&door, &table))?;
    let losses = door.losses(&table, params.limit).ok_or_else(|| absent(&door, &table))?;
    let view = state.node.view();
    let answers = losses.into_iter().map(|loss| LossAnswer {
        table: table.clone(),
        key: text(&loss.key),
        value: loss.value.map(|bytes| value_of(&schema.codec, &bytes)),
        node: name_of(&view, loss.node),
        revision: loss.revision,
        written: rfc3339(loss.written),
    });
    Ok(Json(answers.collect()))
}
