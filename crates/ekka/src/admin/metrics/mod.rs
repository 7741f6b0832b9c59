//! Metrics: made from the view and the counters at the moment they are asked for.
//!
//! Names, labels and meanings are the contract of OPERATIONS section 4. Every name is there from the first scrape on,
//! zeros included where the labels are known beforehand, so that alerts on counters see the first fault.

mod groups;
mod process;
mod rpc;
mod shell;
mod tables;
mod times;
mod view;

use std::fmt;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::AdminState;
use crate::table::TableDoor;

/// The text of one scrape, in the OpenMetrics format.
pub(super) fn scrape(state: &AdminState) -> Result<String, fmt::Error> {
    let seen = state.node.view();
    let constant = [("cluster", seen.cluster_name.clone()), ("node", seen.name.to_string())];
    let constant = constant.map(|(name, value)| (name.into(), value.into()));
    let mut sheet = Sheet { registry: Registry::with_labels(constant.into_iter()) };
    view::identity(&mut sheet, &seen);
    view::readiness(&mut sheet, state, &seen);
    view::split(&mut sheet, &seen, state.node.now());
    view::members(&mut sheet, &seen);
    view::links(&mut sheet, &seen);
    let counters = state.node.counters();
    shell::membership(&mut sheet, &counters);
    shell::heals(&mut sheet, &counters);
    shell::transport(&mut sheet, &counters, &seen);
    groups::groups(&mut sheet, &counters);
    groups::disc(&mut sheet, &counters);
    rpc::calls(&mut sheet, &counters.rpc);
    let door = state.node.tables();
    let names = door.as_ref().map(TableDoor::names).unwrap_or_default();
    let of_tables: Vec<_> = names.iter().filter_map(|name| door.as_ref()?.figures(name)).collect();
    tables::tables(&mut sheet, &of_tables);
    tables::set_aside(&mut sheet, door.as_ref().map(TableDoor::set_aside).unwrap_or_default());
    let age = door.as_ref().and_then(TableDoor::last_backup_s);
    sheet.gauge(
        "ekka_backup_last_success_seconds",
        "Seconds since this node last gave a whole backup; no row where it never did",
        age.map(|age| (vec![], number(age))),
    );
    shell::discovery(&mut sheet, &counters, &state.summary.strategies);
    sheet.counter(
        "ekka_events_lagged",
        "Events that slow readers missed",
        [(vec![], counters.events_lagged + state.events_missed())],
    );
    process::register(&mut sheet);
    let mut text = String::with_capacity(16 * 1024);
    encode_registry(&mut text, &sheet.registry)?;
    for registry in &state.registries {
        let registry = registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        encode_registry(&mut text, &registry)?;
    }
    encode_eof(&mut text)?;
    Ok(text)
}

/// The labels of one row.
type Labels = Vec<(&'static str, String)>;

/// What one scrape is written on.
struct Sheet {
    registry: Registry,
}

impl Sheet {
    /// Adds a gauge with its rows.
    fn gauge(&mut self, name: &str, help: &str, rows: impl IntoIterator<Item = (Labels, f64)>) {
        let family = Family::<Labels, Gauge<f64, AtomicU64>>::default();
        for (labels, value) in rows {
            family.get_or_create(&labels).set(value);
        }
        self.registry.register(name, help, family);
    }

    /// Adds a counter with its rows. The name goes without `_total`, which the format adds.
    fn counter(&mut self, name: &str, help: &str, rows: impl IntoIterator<Item = (Labels, u64)>) {
        debug_assert!(!name.ends_with("_total"), "{name}: the format adds _total");
        let family = Family::<Labels, Counter>::default();
        for (labels, value) in rows {
            family.get_or_create(&labels).inc_by(value);
        }
        self.registry.register(name, help, family);
    }
}

/// 1 for yes, 0 for no.
fn flag(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

/// A number as Prometheus has it.
#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers; exact up to 2^53")]
fn number(value: u64) -> f64 {
    value as f64
}
