//! Section 8: nobody is `up` for the first time without a majority of the voters that it knows.

use ekka_core::view::{Status, View};

/// A node with several seeds is never the only member, and is ready for quorum work only with a majority in reach.
pub(super) fn check(promised: bool, seeds: usize, view: &View) -> Result<(), String> {
    if view.status == Status::Up && seeds > 1 && promised && view.members.len() < 2 {
        return Err(format!("up alone with {seeds} seeds"));
    }
    if view.status == Status::Up && view.cluster_id.is_none() {
        return Err("up without a cluster".into());
    }
    if view.ready_quorum && !view.quorum.holds() {
        return Err("ready for quorum work without a majority".into());
    }
    Ok(())
}
