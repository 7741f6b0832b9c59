//! Refused handshakes: every one counts, and people hear of each address and reason once a minute, with the number.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ekka_core::wire::RefusalReason;
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::limits::Limits;

/// Refused handshakes of one address for one reason, as they are reported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefusalNotice {
    /// From where.
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
    text: String,
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

    /// Counts one, and reports it unless one of the same address and reason was reported within the interval.
    pub(super) fn add(&self, addr: IpAddr, reason: RefusalReason, text: String, now: Instant) {
        let addr = addr.to_canonical();
        let mut state = self.locked();
        *state.counts.entry(reason).or_insert(0) += 1;
        if let Some(entry) = state.entries.get_mut(&(addr, reason)) {
            if now.duration_since(entry.reported) < self.interval {
                entry.unreported += 1;
                entry.text = text;
                return;
            }
            let count = entry.unreported + 1;
            *entry = Entry { reported: now, unreported: 0, text: String::new() };
            return self.report(RefusalNotice { addr, reason, text, count });
        }
        if state.entries.len() >= self.entries_max {
            let oldest = state.entries.iter().min_by_key(|(_, entry)| entry.reported).map(|(key, _)| *key);
            if let Some((addr, reason)) = oldest
                && let Some(entry) = state.entries.remove(&(addr, reason))
                && entry.unreported > 0
            {
                self.report(RefusalNotice { addr, reason, text: entry.text, count: entry.unreported });
            }
        }
        state.entries.insert((addr, reason), Entry { reported: now, unreported: 0, text: String::new() });
        self.report(RefusalNotice { addr, reason, text, count: 1 });
    }

    /// Reports what was held back for the interval; forgets what has been quiet. To be called now and then.
    pub(super) fn flush(&self, now: Instant) {
        let mut state = self.locked();
        state.entries.retain(|(addr, reason), entry| {
            if now.duration_since(entry.reported) < self.interval {
                return true;
            }
            if entry.unreported == 0 {
                return false;
            }
            let text = std::mem::take(&mut entry.text);
            self.report(RefusalNotice { addr: *addr, reason: *reason, text, count: entry.unreported });
            *entry = Entry { reported: now, unreported: 0, text: String::new() };
            true
        });
    }

    fn report(&self, notice: RefusalNotice) {
        let (peer_addr, reason, count) = (notice.addr, notice.reason.as_str(), notice.count);
        tracing::warn!(%peer_addr, reason, count, advice = notice.text, "handshake refused");
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
