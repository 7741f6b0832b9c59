//! What the called side has under way for one connection: the window, the order of keys, the deadlines.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::time::Instant;

/// The calls of one connection that are under way. `T` is work that waits for its turn.
#[derive(Debug)]
pub struct Serving<T> {
    window: usize,
    calls: BTreeMap<u64, Call>,
    /// For each key with work: who runs, and who waits behind it.
    keys: BTreeMap<u64, VecDeque<(u64, T)>>,
    /// No call ends before this.
    earliest: Option<Instant>,
}

#[derive(Debug)]
struct Call {
    key: Option<u64>,
    deadline: Instant,
    waits: bool,
}

/// What becomes of a call that has come.
#[derive(PartialEq, Eq, Debug)]
pub enum Admitted<T> {
    /// Run it now, and say when it is over.
    Run(T),
    /// It waits behind another call with its key.
    Waits,
    /// The window is full, or the peer used a number twice: nothing was kept.
    Full,
}

impl<T> Serving<T> {
    /// Nothing under way, and at most `window` calls at once.
    #[must_use]
    pub fn new(window: usize) -> Self {
        Self { window, calls: BTreeMap::new(), keys: BTreeMap::new(), earliest: None }
    }

    /// Whether one more call would be taken.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.calls.len() < self.window
    }

    /// Calls under way, those that wait among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether nothing is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// The numbers of the calls under way.
    pub fn ids(&self) -> impl Iterator<Item = u64> {
        self.calls.keys().copied()
    }

    /// Takes a call.
    pub fn admit(&mut self, id: u64, key: Option<u64>, deadline: Instant, work: T) -> Admitted<T> {
        if !self.has_room() || self.calls.contains_key(&id) {
            return Admitted::Full;
        }
        self.earliest = Some(self.earliest.map_or(deadline, |earliest| earliest.min(deadline)));
        debug_assert!(self.earliest <= Some(deadline), "a deadline that nobody waits for");
        let waiting = key.and_then(|key| self.keys.get_mut(&key));
        let waits = waiting.is_some();
        self.calls.insert(id, Call { key, deadline, waits });
        match (waiting, key) {
            (Some(waiting), _) => {
                waiting.push_back((id, work));
                return Admitted::Waits;
            }
            (None, Some(key)) => {
                self.keys.insert(key, VecDeque::new());
            }
            (None, None) => {}
        }
        Admitted::Run(work)
    }

    /// A call is over: it was answered, cancelled or given up. Gives the next of its key, which is to run now; `None`
    /// as the first part where the call was not under way (any more).
    pub fn end(&mut self, id: u64) -> (bool, Option<(u64, T)>) {
        let Some(call) = self.calls.remove(&id) else { return (false, None) };
        let Some(key) = call.key else { return (true, None) };
        let Some(waiting) = self.keys.get_mut(&key) else { return (true, None) };
        if call.waits {
            waiting.retain(|(waiter, _)| *waiter != id);
            return (true, None);
        }
        let next = waiting.pop_front();
        match &next {
            Some((next, _)) => {
                if let Some(call) = self.calls.get_mut(next) {
                    call.waits = false;
                }
            }
            None => {
                self.keys.remove(&key);
            }
        }
        (true, next)
    }

    /// When [`Self::expired`] is to be asked next. It may be too early, never too late.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.earliest
    }

    /// The calls whose deadline has passed. Each is to be ended, if need be once its work has really stopped: until then it
    /// keeps its place.
    pub fn expired(&mut self, now: Instant) -> Vec<u64> {
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return Vec::new();
        }
        // Calls that ended in time left their deadline behind in `earliest`: one look over the window is cheaper than
        // to keep them sorted.
        self.earliest = self.calls.values().map(|call| call.deadline).filter(|deadline| *deadline > now).min();
        self.calls.iter().filter(|(_, call)| call.deadline <= now).map(|(id, _)| *id).collect()
    }

    /// The connection is over: forgets everything that waits. What runs is the caller's to stop.
    pub fn clear(&mut self) {
        self.calls.clear();
        self.keys.clear();
        self.earliest = None;
    }

    /// Asserts what the head of the module promises.
    pub fn check(&self) {
        assert!(self.calls.len() <= self.window, "more calls than the window");
        for (key, waiting) in &self.keys {
            let of_key = || self.calls.iter().filter(|(_, call)| call.key == Some(*key));
            assert_eq!(of_key().filter(|(_, call)| !call.waits).count(), 1, "one call of a key runs");
            let waiters: Vec<u64> = waiting.iter().map(|(id, _)| *id).collect();
            assert!(waiters.iter().all(|id| self.calls.get(id).is_some_and(|call| call.waits)));
            assert_eq!(of_key().count(), waiters.len() + 1, "whoever waits stands in the queue of its key");
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    fn at(nanos: u64) -> Instant {
        Instant::from_nanos(nanos)
    }

    #[test]
    fn calls_with_one_key_run_one_after_the_other() {
        let mut serving = Serving::new(8);
        assert_eq!(serving.admit(1, Some(7), at(9), 'a'), Admitted::Run('a'));
        assert_eq!(serving.admit(2, Some(7), at(9), 'b'), Admitted::Waits);
        assert_eq!(serving.admit(3, Some(7), at(9), 'c'), Admitted::Waits);
        assert_eq!(serving.admit(4, Some(8), at(9), 'd'), Admitted::Run('d'), "another key does not wait");
        assert_eq!(serving.end(2), (true, None), "one that waits is cancelled");
        assert_eq!(serving.end(1), (true, Some((3, 'c'))));
        assert_eq!(serving.end(3), (true, None));
        assert_eq!(serving.end(3), (false, None));
        assert_eq!(serving.ids().collect::<Vec<_>>(), [4]);
        serving.check();
    }

    #[test]
    fn a_full_window_and_a_number_used_twice_are_refused() {
        let mut serving = Serving::new(2);
        assert_eq!(serving.admit(1, None, at(9), ()), Admitted::Run(()));
        assert_eq!(serving.admit(1, None, at(9), ()), Admitted::Full);
        assert_eq!(serving.admit(2, None, at(9), ()), Admitted::Run(()));
        assert_eq!(serving.admit(3, None, at(9), ()), Admitted::Full);
        assert_eq!(serving.end(1), (true, None));
        assert_eq!(serving.admit(3, None, at(9), ()), Admitted::Run(()));
    }

    #[test]
    fn only_what_is_late_expires() {
        let mut serving = Serving::new(8);
        for (id, deadline) in [(1, 10), (2, 20), (3, 30)] {
            let _ = serving.admit(id, None, at(deadline), ());
        }
        assert_eq!(serving.expired(at(9)), []);
        assert_eq!(serving.expired(at(20)), [1, 2]);
        assert_eq!(serving.deadline(), Some(at(30)));
        serving.clear();
        assert_eq!((serving.len(), serving.deadline()), (0, None));
    }

    proptest! {
        #[test]
        fn any_order_of_steps_keeps_the_invariants_and_the_order_of_a_key(
            steps in prop::collection::vec((0u64..12, 0u64..3, 0u64..4), 0..200)
        ) {
            let mut serving = Serving::new(5);
            let mut came: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
            let mut ran: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
            let mut last = 0;
            let mut under_way = vec![];
            for (pick, key, what) in steps {
                if what < 3 {
                    last += 1;
                    match serving.admit(last, Some(key), at(last), key) {
                        Admitted::Run(key) => ran.entry(key).or_default().push(last),
                        Admitted::Waits => {}
                        Admitted::Full => continue,
                    }
                    came.entry(key).or_default().push(last);
                    under_way.push(last);
                } else if !under_way.is_empty() {
                    let id = under_way.remove(usize::try_from(pick).unwrap() % under_way.len());
                    if let (true, Some((next, key))) = serving.end(id) {
                        ran.entry(key).or_default().push(next);
                    }
                }
                serving.check();
            }
            for (key, ran) in ran {
                prop_assert!(ran.is_sorted(), "key {} ran {:?}", key, ran);
                prop_assert!(ran.iter().all(|id| came[&key].contains(id)));
            }
        }
    }
}
