//! A row of a table, in JSON.

use ekka_core::id::NodeId;
use ekka_core::view::View;
use serde_json::json;

use crate::admin::dto::{RowAnswer, name_of};
use crate::admin::rfc3339;
use crate::codec::json::{shown, text, value_of};
use crate::table::{Cell, Row};

pub(super) fn row_answer(view: &View, codec: &str, row: &Row) -> RowAnswer {
    let (mut encoded, mut values_encoded) = (false, None);
    let value = match &row.value {
        Cell::One(bytes) => {
            let shown = shown(codec, bytes);
            encoded = shown.encoded;
            shown.value
        }
        Cell::Many(values) => {
            let shown = values.iter().map(|(bytes, _)| shown(codec, bytes));
            let (values, marks): (Vec<_>, Vec<_>) = shown.map(|shown| (shown.value, shown.encoded)).unzip();
            values_encoded = marks.contains(&true).then_some(marks);
            values.into()
        }
        Cell::Number(number) => json!(number),
        Cell::Owned(values) => {
            let owned = |(owner, bytes): &(NodeId, Vec<u8>)| json!({"owner": name_of(view, *owner), "value": value_of(codec, bytes)});
            values.iter().map(owned).collect()
        }
    };
    let expires_at = row.expires_at.map(rfc3339);
    let values_expire_at = values_expire_at(&row.value);
    let (key, revision) = (text(&row.key), row.revision.clone());
    RowAnswer { key, value, encoded, values_encoded, revision, expires_at, values_expire_at }
}

/// When each value of a bag expires; `None` where none does.
fn values_expire_at(cell: &Cell) -> Option<Vec<Option<String>>> {
    let Cell::Many(values) = cell else { return None };
    let times = || values.iter().map(|(_, at)| at.map(rfc3339));
    times().any(|at| at.is_some()).then(|| times().collect())
}
