//! A row of a table, in JSON.

use ekka_core::id::NodeId;
use ekka_core::view::View;
use serde_json::json;

use crate::admin::dto::{RowAnswer, name_of};
use crate::admin::rfc3339;
use crate::codec::json::{is_encoded, text, value_of};
use crate::table::{Cell, Row};

pub(super) fn row_answer(view: &View, codec: &str, row: &Row) -> RowAnswer {
    let value = match &row.value {
        Cell::One(bytes) => value_of(codec, bytes),
        Cell::Many(values) => values.iter().map(|(bytes, _)| value_of(codec, bytes)).collect(),
        Cell::Number(number) => json!(number),
        Cell::Owned(values) => {
            let owned = |(owner, bytes): &(NodeId, Vec<u8>)| json!({"owner": name_of(view, *owner), "value": value_of(codec, bytes)});
            values.iter().map(owned).collect()
        }
    };
    let expires_at = row.expires_at.map(rfc3339);
    let values_expire_at = values_expire_at(&row.value);
    let encoded = matches!(&row.value, Cell::One(bytes) if is_encoded(codec, bytes));
    let values_encoded = values_encoded(codec, &row.value);
    let (key, revision) = (text(&row.key), row.revision.clone());
    RowAnswer { key, value, encoded, values_encoded, revision, expires_at, values_expire_at }
}

/// When each value of a bag expires; `None` where none does.
fn values_expire_at(cell: &Cell) -> Option<Vec<Option<String>>> {
    let Cell::Many(values) = cell else { return None };
    let times = || values.iter().map(|(_, at)| at.map(rfc3339));
    times().any(|at| at.is_some()).then(|| times().collect())
}

/// Which values of a bag JSON cannot say; `None` where it can say all.
fn values_encoded(codec: &str, cell: &Cell) -> Option<Vec<bool>> {
    let Cell::Many(values) = cell else { return None };
    let encoded = || values.iter().map(|(bytes, _)| is_encoded(codec, bytes));
    encoded().any(|is| is).then(|| encoded().collect())
}
