//! What every [`Storage`] has to do. Give [`storage_suite!`](crate::storage_suite) a function that makes a
//! [`Subject`], and it makes one test of each claim here.
#![allow(clippy::unwrap_used, reason = "a test")]

mod claims;
mod model;

pub use claims::{
    a_crash_keeps_what_was_synced_and_all_before_it, a_gap_is_refused_and_changes_nothing,
    a_waiter_that_goes_away_harms_nobody, checkpoints_are_replaced_whole, closing_syncs_what_waits_and_ends_the_store,
    large_records_and_checkpoints_come_back, many_logs_do_not_mix, many_writers_share_syncs,
    reading_has_bounds_and_limits, truncated_logs_go_on, what_is_queued_is_read_at_once,
};
pub use model::every_history_agrees_with_the_model;

use std::sync::Arc;

use crate::storage::{Found, Storage};

/// A store under test, over the processes that open it.
pub trait Subject {
    /// Opens it. The handle before this one is closed, dropped or crashed.
    fn open(&mut self) -> Arc<dyn Storage>;

    /// Ends the process that holds it, without a goodbye: what was not synced may be lost.
    fn crash(&mut self, store: Arc<dyn Storage>);
}

/// Makes a new, empty subject.
pub type Make<'a> = &'a dyn Fn() -> Box<dyn Subject>;

/// Runs asynchronous work on a runtime of its own.
pub(super) fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime without IO can always be built").block_on(work)
}

/// Opens a store that is known to be whole.
fn reopen(subject: &mut dyn Subject, before: &Found) -> Arc<dyn Storage> {
    let store = subject.open();
    let found = store.found();
    assert_eq!((found.store_id, found.created, found.damage), (before.store_id, false, vec![]));
    store
}

/// One test of each claim of the suite, on what `$make`, a function without arguments, returns as `Box<dyn Subject>`.
/// `$cases` is the number of random histories.
#[macro_export]
macro_rules! storage_suite {
    ($make:path, $cases:expr) => {
        $crate::storage_suite!(@claims $make,
            what_is_queued_is_read_at_once, reading_has_bounds_and_limits, a_gap_is_refused_and_changes_nothing,
            truncated_logs_go_on, checkpoints_are_replaced_whole, large_records_and_checkpoints_come_back,
            many_logs_do_not_mix, many_writers_share_syncs, a_waiter_that_goes_away_harms_nobody,
            a_crash_keeps_what_was_synced_and_all_before_it, closing_syncs_what_waits_and_ends_the_store,
        );

        #[test]
        fn every_history_agrees_with_the_model() {
            $crate::testing::suite::storage::every_history_agrees_with_the_model(&$make, $cases);
        }
    };
    (@claims $make:path, $($claim:ident),* $(,)?) => {
        $(
            #[test]
            fn $claim() {
                $crate::testing::suite::storage::$claim(&$make);
            }
        )*
    };
}
