//! Records that name machines, each for a time: an answer of any age can be made from them.

use ekka_core::autocluster::Candidate;
use ekka_core::time::Instant;

#[derive(Clone, Debug)]
struct Record {
    machine: usize,
    candidate: Candidate,
    from: Instant,
    until: Option<Instant>,
}

/// All records that ever were.
#[derive(Clone, Debug, Default)]
pub(in crate::core_world) struct Records(Vec<Record>);

impl Records {
    /// Makes a record that shows from then on, unless the same one is there, which is there to stay from now on. Whether
    /// it is new.
    pub(super) fn make(&mut self, machine: usize, candidate: Candidate, shows: Instant, now: Instant) -> bool {
        let there = |r: &&mut Record| {
            r.machine == machine && r.candidate == candidate && r.until.is_none_or(|until| until > now)
        };
        if let Some(record) = self.0.iter_mut().find(there) {
            record.until = None;
            return false;
        }
        self.0.push(Record { machine, candidate, from: shows, until: None });
        true
    }

    /// The records of a machine go then.
    pub(super) fn end(&mut self, machine: usize, goes: Instant) {
        for record in self.0.iter_mut().filter(|record| record.machine == machine && record.until.is_none()) {
            record.until = Some(goes);
        }
    }

    /// All records are gone.
    pub(super) fn clear(&mut self, now: Instant) {
        for record in self.0.iter_mut().filter(|record| record.until.is_none_or(|until| until > now)) {
            record.until = Some(now);
        }
    }

    /// What was to show later shows now.
    pub(super) fn show_all(&mut self, now: Instant) {
        for record in &mut self.0 {
            record.from = record.from.min(now);
        }
    }

    /// The answer of that time.
    pub(super) fn as_of(&self, time: Instant) -> Vec<Candidate> {
        let shows = |r: &&Record| r.from <= time && r.until.is_none_or(|until| until > time);
        self.0.iter().filter(shows).map(|record| record.candidate.clone()).collect()
    }
}
