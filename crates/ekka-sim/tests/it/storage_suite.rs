//! The conformance suite on the simulated store, whose crashes lose and tear what was not synced.

use std::sync::Arc;
use std::time::Duration;

use ekka::storage::Storage;
use ekka::testing::suite::storage::Subject;
use ekka_sim::stack::StoreDisc;

struct Simulated(StoreDisc);

impl Subject for Simulated {
    fn open(&mut self) -> Arc<dyn Storage> {
        Arc::new(self.0.open(42))
    }

    fn crash(&mut self, store: Arc<dyn Storage>) {
        drop(store);
    }
}

fn simulated() -> Box<dyn Subject> {
    let disc = StoreDisc::new(7);
    // The suite runs in real time.
    disc.set_faults(|faults| faults.sync = Duration::ZERO);
    Box::new(Simulated(disc))
}

ekka::storage_suite!(simulated, 200);
