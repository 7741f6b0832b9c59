//! What is counted of tables.

use std::collections::BTreeMap;

use super::{Labels, Sheet, flag, number};
use crate::histogram::Times;
use crate::table::{Kind, TableCounts, TableInfo, ops_of};

/// Rows, bytes, what peers lack, writes and how they ended.
pub(super) fn tables(sheet: &mut Sheet, tables: &[(TableInfo, TableCounts)]) {
    let gauge =
        |of: fn(&TableInfo) -> u64| move |(info, _): &(TableInfo, TableCounts)| (of_table(info), number(of(info)));
    let rows = |of| tables.iter().map(gauge(of)).collect::<Vec<_>>();
    sheet.gauge("ekka_table_rows", "Rows of a table on this node", rows(|info| info.rows));
    sheet.gauge("ekka_table_bytes", "Bytes of its rows, deleted ones that are kept included", rows(|info| info.bytes));
    sheet.gauge(
        "ekka_table_tombstones",
        "Deleted rows that are kept until every member knows",
        rows(|info| info.tombstones),
    );
    let loaded = tables.iter().map(|(info, _)| (of_table(info), flag(info.loaded)));
    sheet.gauge("ekka_table_loaded", "Whether it has got from its peers what they hold", loaded);
    let lags = tables
        .iter()
        .flat_map(|(info, _)| info.lag.iter().map(|(peer, lag)| (with(of_table(info), "peer", peer), number(*lag))));
    sheet.gauge("ekka_table_lag_ops", "Operations of this node that a member has not said to hold", lags);
    let ages = tables.iter().flat_map(|(info, counts)| {
        let age = |node: &_| counts.behind_s.get(node).copied().unwrap_or(0.0);
        info.peers.iter().map(move |(peer, node)| (with(of_table(info), "peer", peer), age(node)))
    });
    sheet.gauge("ekka_table_lag_seconds", "Age of the oldest of them", ages);
    let compared = tables.iter().filter_map(|(info, _)| Some((of_table(info), flag(info.differs?))));
    sheet.gauge("ekka_table_digest_mismatch", "Whether the last comparison with a peer found a difference", compared);
    let overrides = tables.iter().map(|(info, _)| (of_table(info), info.overridden));
    sheet.counter("ekka_merge_overrides", "Versions that lost to one whose writer had not seen them", overrides);
    let degraded = tables.iter().map(|(info, counts)| (of_table(info), counts.degraded));
    sheet.counter("ekka_table_degraded_acks", "Writes with one copy because no other node was up", degraded);
    let healed = tables.iter().flat_map(|(info, counts)| {
        let (taken, given) = counts.healed;
        [("in", taken), ("out", given)].map(|(direction, rows)| (with(of_table(info), "direction", direction), rows))
    });
    sheet.counter("ekka_heal_rows", "Rows that heals brought to this node, and took from it", healed);
    let ops = tables.iter().flat_map(|(info, counts)| {
        counts.ops.iter().map(|((op, result), count)| (with(with(of_table(info), "op", op), "result", result), *count))
    });
    sheet.counter("ekka_table_ops", "Writes by table, operation and result", ops);
    sheet.times("ekka_table_op_seconds", "Time of writes by kind of table and operation", times(tables));
}

/// What is set aside for a person to decide.
pub(super) fn set_aside(sheet: &mut Sheet, rows: BTreeMap<String, u64>) {
    let rows = rows.into_iter().map(|(table, rows)| (vec![("table", table)], number(rows)));
    sheet.gauge("ekka_set_aside_rows", "Rows in files of the folder set-aside", rows);
}

fn of_table(info: &TableInfo) -> Labels {
    vec![("table", info.schema.name.clone())]
}

fn with(mut labels: Labels, name: &'static str, value: &str) -> Labels {
    labels.push((name, value.to_owned()));
    labels
}

/// By kind: tables may be many.
fn times(tables: &[(TableInfo, TableCounts)]) -> Vec<(Labels, Times)> {
    let mut rows = Vec::new();
    for kind in [Kind::Available, Kind::Owned, Kind::Quorum] {
        for op in ops_of(kind) {
            let of_kind = tables.iter().filter(|(info, _)| info.schema.kind == kind);
            let mut sum = Times::default();
            for times in of_kind.filter_map(|(_, counts)| counts.times.get(*op)) {
                sum.seconds += times.seconds;
                sum.buckets.iter_mut().zip(times.buckets).for_each(|(sum, count)| *sum += count);
            }
            rows.push((vec![("kind", kind.as_str().to_owned()), ("op", (*op).to_owned())], sum));
        }
    }
    rows
}
