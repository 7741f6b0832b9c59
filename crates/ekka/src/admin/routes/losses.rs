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
use crate::codec::json::{shown_in, text};
use crate::table::UnknownRevision;

/// Entries of one answer, unless told otherwise, and at most.
const ENTRIES: usize = 10_000;
const ENTRIES_MAX: usize = 100_000;

/// Which ones.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct LossesParams {
    /// Those after the one with this revision; from the first one on where it is not said.
    after: Option<String>,
    /// At most so many, 1 to 100000.
    #[serde(default = "entries")]
    limit: usize,
}

fn entries() -> usize {
    ENTRIES
}

/// Versions that lost to one whose writer had not seen them, as far as they are in memory on this node. An answer has no
/// more than a few MiB: go on with the last revision as `after`, until the answer is empty.
#[utoipa::path(
    get, path = "/v1/tables/{table}/losses", params(LossesParams),
    responses(
        (status = OK, body = Vec<LossAnswer>), (status = BAD_REQUEST, body = ErrorAnswer),
        (status = NOT_FOUND, body = ErrorAnswer)
    )
)]
pub(super) async fn losses(
    State(state): State<AdminState>,
    Path(table): Path<String>,
    Params(LossesParams { after, limit }): Params<LossesParams>,
) -> Result<Json<Vec<LossAnswer>>, ApiError> {
    if !(1..=ENTRIES_MAX).contains(&limit) {
        return Err(ApiError::bad_request(format!("a limit of {limit} entries: 1 to {ENTRIES_MAX} are taken")));
    }
    let door = door(&state)?;
    let (_, schema) = door.schema(&table).ok_or_else(|| absent(&door, &table))?;
    let losses = door.losses_after(&table, after.as_deref(), limit).ok_or_else(|| absent(&door, &table))?;
    let losses = losses.map_err(|UnknownRevision| unknown(&table, &after.unwrap_or_default()))?;
    let view = state.node.view();
    let answers = losses.into_iter().map(|loss| {
        let shown = loss.value.map(|bytes| shown_in(&schema, &bytes));
        LossAnswer {
            table: table.clone(),
            key: text(&loss.key),
            deleted: shown.is_none(),
            encoded: shown.as_ref().is_some_and(|shown| shown.encoded),
            value: shown.map(|shown| shown.value),
            node: name_of(&view, loss.node),
            revision: loss.revision,
            written: rfc3339(loss.written),
            expires_at: loss.expires_at.map(rfc3339),
        }
    });
    Ok(Json(answers.collect()))
}

fn unknown(table: &str, after: &str) -> ApiError {
    ApiError::bad_request(format!(
        "after={after:?}: this node knows of no such revision of {table}; take one that it gave in this start of it, or \
         begin without `after`"
    ))
}
