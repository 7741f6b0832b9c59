//! Calls between simulated nodes under faults: what callers were told, beside what handlers really did.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ekka::node::Node;
use ekka::rpc::{CallError, Caller, Handlers, Method};

use super::world::ONE_THREAD;

/// Each call has a number of its own, and is carried out in two steps with time between them.
const NOTE: Method<u64, u64> = Method::new("sim.note");
/// Between two calls of one host.
const PAUSE: Duration = Duration::from_millis(20);
/// What a call may take.
const DEADLINE: Duration = Duration::from_millis(400);

/// What handlers did, and what callers were told. It outlives all processes.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) on: bool,
    last: u64,
    /// How often each call was begun.
    begun: BTreeMap<u64, u32>,
    answered: BTreeSet<u64>,
    /// The caller was told that it may have been carried out.
    unknown: BTreeSet<u64>,
    /// The caller was told that it was not.
    unsent: BTreeSet<u64>,
}

/// What came of all calls of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CallCounts {
    /// Answered.
    pub answered: usize,
    /// Ended with an unknown outcome.
    pub unknown: usize,
    /// Of these, carried out.
    pub unknown_but_done: usize,
    /// Known not to have been carried out.
    pub unsent: usize,
}

pub(super) type SharedLedger = Arc<Mutex<Ledger>>;

/// The handlers of a host.
pub(super) fn handlers(ledger: &SharedLedger) -> Handlers {
    if !ledger.lock().expect(ONE_THREAD).on {
        return Handlers::new();
    }
    let ledger = ledger.clone();
    Handlers::new().serve(&NOTE, move |_: Caller, number: u64| {
        let ledger = ledger.clone();
        async move {
            *ledger.lock().expect(ONE_THREAD).begun.entry(number).or_default() += 1;
            // Some answer at once, some take longer than their caller waits.
            tokio::time::sleep(Duration::from_millis(number % 7 * 90)).await;
            Ok(number)
        }
    })
}

/// Calls the others, one after the other and many at once, until the node ends.
pub(super) async fn call_others(node: Node, ledger: SharedLedger) {
    if !ledger.lock().expect(ONE_THREAD).on {
        return;
    }
    let mut turn = 0;
    loop {
        tokio::select! {
            biased;
            _ = node.ended() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
        let view = node.view();
        let others: Vec<_> = view.members.iter().filter(|m| m.id.node_id != view.me.node_id).collect();
        let Some(target) = others.get(turn % others.len().max(1)) else { continue };
        turn += 1;
        let number = {
            let mut ledger = ledger.lock().expect(ONE_THREAD);
            ledger.last += 1;
            ledger.last
        };
        let call = node.call(target.id.node_id, &NOTE, &number).deadline(DEADLINE);
        let ledger = ledger.clone();
        tokio::spawn(async move {
            let result = call.await;
            ledger.lock().expect(ONE_THREAD).told(number, &result);
        });
    }
}

impl Ledger {
    fn told(&mut self, number: u64, result: &Result<u64, CallError>) {
        let place = match result {
            Ok(_) => &mut self.answered,
            Err(error) if error.outcome_unknown() => &mut self.unknown,
            Err(_) => &mut self.unsent,
        };
        place.insert(number);
    }

    /// What came of all calls.
    ///
    /// # Errors
    /// A caller was told something that is not true.
    pub(super) fn verdict(&self) -> Result<CallCounts, String> {
        for (number, times) in &self.begun {
            if *times > 1 {
                return Err(format!("call {number} was begun {times} times"));
            }
        }
        if let Some(number) = self.answered.iter().find(|number| !self.begun.contains_key(number)) {
            return Err(format!("call {number} was answered and never begun"));
        }
        if let Some(number) = self.unsent.iter().find(|number| self.begun.contains_key(number)) {
            return Err(format!("call {number} was carried out although its caller was told that it was not"));
        }
        Ok(CallCounts {
            answered: self.answered.len(),
            unknown: self.unknown.len(),
            unknown_but_done: self.unknown.iter().filter(|number| self.begun.contains_key(number)).count(),
            unsent: self.unsent.len(),
        })
    }
}
