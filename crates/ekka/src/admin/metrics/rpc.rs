//! What is counted of calls.

use std::collections::BTreeMap;

use super::Sheet;
use crate::rpc::MethodCounts;

/// Requests by result, and how long they took.
pub(super) fn calls(sheet: &mut Sheet, counts: &BTreeMap<(String, &'static str), MethodCounts>) {
    let rows = counts.iter().flat_map(|((method, side), counts)| {
        counts.results.iter().map(move |(result, count)| {
            let labels =
                vec![("method", method.clone()), ("side", (*side).to_owned()), ("result", (*result).to_owned())];
            (labels, *count)
        })
    });
    sheet.counter("ekka_rpc_requests", "Calls by method, side and result", rows);
    let rows = counts
        .iter()
        .map(|((method, side), counts)| (vec![("method", method.clone()), ("side", (*side).to_owned())], counts.times));
    sheet.times("ekka_rpc_seconds", "Time of calls by method and side", rows.collect());
}
