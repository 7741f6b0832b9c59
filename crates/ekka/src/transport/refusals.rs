//! Refused handshakes: every one counts, and people hear of each source and reason once a minute, with the number.
//!
//! A source is what the limits of the gate count as one: an address, or the /64 of one. Who owns a /64 has more
//! addresses than there is room for lines in any log.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ekka_core::wire::RefusalReason;
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::gate::network;
use super::limits::Limits;

/// Refused handshakes of one source for one reason, as they are reported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusalNotice {
    /// From where: of several addresses of one /64 the latest.
    pub addr: IpAddr,
    /// Why.
    pub reason: RefusalReason,
    /// The latest one in words.
    pub text: String,
    /// How many since the last report.
    pub count: u64,
}

/// Counts and reports.
pub(super) struct Refusals {
    state: Mutex<State>,
    notices: broadcast::Sender<RefusalNotice>,
    interval: Duration,
    entries_max: usize,
}

#[derive(Default)]
struct State {
    counts: BTreeMap<RefusalReason, u64>,
    entries: BTreeMap<(IpAddr, RefusalReason), Entry>,
}

struct Entry {
    reported: Instant,
    unreported: u64,
    /// Of the latest that was not reported.
    addr: IpAddr,
    text: String,
}

impl Entry {
    /// One whose refusals so far are all reported.
    fn reported(addr: IpAddr, now: Instant) -> Self {
        Self { reported: now, unreported: 0, addr, text: String::new() }
    }
}

impl Refusals {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            state: Mutex::default(),
            notices: broadcast::channel(NOTICES_KEPT).0,
            interval: limits.refusal_interval,
            entries_max: limits.refusal_entries.max(1),
        }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<RefusalNotice> {
        self.notices.subscribe()
    }

    /// How many were refused, for every reason there is.
    pub(super) fn counts(&self) -> BTreeMap<&'static str, u64> {
        let state = self.locked();
        RefusalReason::ALL
            .iter()
            .map(|reason| (reason.as_str(), state.counts.get(reason).copied().unwrap_or(0)))
            .collect()
    }

    /// Counts one, and reports it unless one of the same source and reason was reported within the interval.
    pub(super) fn add(&self, addr: IpAddr, reason: RefusalReason, text: String, now: Instant) {
        let addr = addr.to_canonical();
        let source = network(addr);
        let mut state = self.locked();
        *state.counts.entry(reason).or_insert(0) += 1;
        if let Some(entry) = state.entries.get_mut(&(source, reason)) {
            if now.duration_since(entry.reported) < self.interval {
                entry.unreported += 1;
                entry.addr = addr;
                entry.text = text;
                return;
            }
            let count = entry.unreported + 1;
            *entry = Entry::reported(addr, now);
            return self.report(RefusalNotice { addr, reason, text, count });
        }
        if state.entries.len() >= self.entries_max {
            let oldest = state.entries.iter().min_by_key(|(_, entry)| entry.reported).map(|(key, _)| *key);
            if let Some((source, reason)) = oldest
                && let Some(entry) = state.entries.remove(&(source, reason))
                && entry.unreported > 0
            {
                let Entry { addr, text, unreported: count, .. } = entry;
                self.report(RefusalNotice { addr, reason, text, count });
            }
        }
        state.entries.insert((source, reason), Entry::reported(addr, now));
        self.report(RefusalNotice { addr, reason, text, count: 1 });
    }

    /// Reports what was held back for the interval; forgets what has been quiet. To be called now and then.
    pub(super) fn flush(&self, now: Instant) {
        let mut state = self.locked();
        state.entries.retain(|(_, reason), entry| {
            if now.duration_since(entry.reported) < self.interval {
                return true;
            }
            if entry.unreported == 0 {
                return false;
            }
            let (addr, text) = (entry.addr, std::mem::take(&mut entry.text));
            self.report(RefusalNotice { addr, reason: *reason, text, count: entry.unreported });
            *entry = Entry::reported(addr, now);
            true
        });
    }

    fn report(&self, notice: RefusalNotice) {
        let (peer_addr, reason, count) = (notice.addr, notice.reason.as_str(), notice.count);
        // Of the target of events: the agent writes the event that comes of the notice, and one line is enough.
        tracing::warn!(target: "ekka::event", %peer_addr, reason, count, advice = notice.text, "handshake refused");
        // Nobody may listen; that is no error.
        let _ = self.notices.send(notice);
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Notices that wait for a slow reader.
const NOTICES_KEPT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn refusals(entries_max: usize) -> (Refusals, broadcast::Receiver<RefusalNotice>) {
        let refusals = Refusals::new(&Limits { refusal_entries: entries_max, ..Limits::default() });
        let notices = refusals.subscribe();
        (refusals, notices)
    }

    fn ip(n: u32) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0a00_0000 + n))
    }

    fn drain(notices: &mut broadcast::Receiver<RefusalNotice>) -> Vec<(IpAddr, RefusalReason, u64)> {
        std::iter::from_fn(|| notices.try_recv().ok()).map(|n| (n.addr, n.reason, n.count)).collect()
    }

    #[tokio::test]
    async fn one_address_and_reason_is_reported_once_a_minute_with_the_number() {
        let (refusals, mut notices) = refusals(16);
        let (garbage, timeout) = (RefusalReason::Garbage, RefusalReason::Timeout);
        let start = Instant::now();
        for second in 0..59 {
            refusals.add(ip(1), garbage, "x".to_owned(), start + Duration::from_secs(second));
        }
        refusals.add(ip(1), timeout, "x".to_owned(), start);
        assert_eq!(drain(&mut notices), [(ip(1), garbage, 1), (ip(1), timeout, 1)]);
        refusals.flush(start + Duration::from_secs(61));
        assert_eq!(drain(&mut notices), [(ip(1), garbage, 58)]);
        refusals.add(ip(1), garbage, "x".to_owned(), start + Duration::from_secs(62));
        assert_eq!(drain(&mut notices), []);
        refusals.flush(start + Duration::from_secs(200));
        refusals.flush(start + Duration::from_secs(400));
        assert_eq!(drain(&mut notices), [(ip(1), garbage, 1)]);
        assert!(refusals.locked().entries.is_empty());
        assert_eq!(refusals.counts()["garbage"], 60);
        assert_eq!(refusals.counts()["version"], 0, "zeros are there from the start");
    }

    #[tokio::test]
    async fn a_slash_64_is_one_source_and_the_latest_address_is_named() {
        let (refusals, mut notices) = refusals(16);
        let garbage = RefusalReason::Garbage;
        let start = Instant::now();
        let host = |n: u32| format!("2001:db8::{n:x}").parse::<IpAddr>().unwrap();
        for n in 1..=1000 {
            refusals.add(host(n), garbage, "x".to_owned(), start);
        }
        let next: IpAddr = "2001:db8:0:1::1".parse().unwrap();
        refusals.add(next, garbage, "x".to_owned(), start);
        assert_eq!(drain(&mut notices), [(host(1), garbage, 1), (next, garbage, 1)]);
        refusals.flush(start + Duration::from_secs(61));
        assert_eq!(drain(&mut notices), [(host(1000), garbage, 999)]);
        assert_eq!(refusals.counts()["garbage"], 1001);
    }

    #[tokio::test]
    async fn the_memory_is_bounded_and_what_is_forgotten_is_reported() {
        let (refusals, mut notices) = refusals(4);
        let start = Instant::now();
        let garbage = RefusalReason::Garbage;
        refusals.add(ip(0), garbage, String::new(), start);
        refusals.add(ip(0), garbage, String::new(), start);
        for n in 1..100u32 {
            refusals.add(ip(n), garbage, String::new(), start + Duration::from_millis(u64::from(n)));
        }
        assert_eq!(refusals.locked().entries.len(), 4);
        let reported: u64 = drain(&mut notices).iter().map(|(_, _, count)| count).sum();
        assert_eq!(reported, 101);
    }
}
