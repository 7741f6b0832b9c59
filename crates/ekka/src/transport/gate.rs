//! Who may begin a handshake: bounds on half-open connections and on new ones a second, by source.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::limits::Limits;

/// The gate of one transport.
pub(super) struct Gate {
    state: Mutex<State>,
    bounds: Bounds,
}

struct Bounds {
    all: usize,
    strangers: usize,
    per_source: usize,
    rate: u32,
    per_loopback: usize,
    rate_loopback: u32,
    sources: usize,
}

#[derive(Default)]
struct State {
    half_open: usize,
    known: BTreeSet<IpAddr>,
    sources: BTreeMap<IpAddr, Source>,
}

struct Source {
    half_open: usize,
    /// When the bucket will be full again; each connection moves it on by one over the rate.
    full_at: Instant,
}

/// The place of one half-open connection, given back when dropped.
pub(super) struct Place {
    gate: Arc<Gate>,
    source: IpAddr,
}

impl Gate {
    pub(super) fn new(limits: &Limits) -> Self {
        let bounds = Bounds {
            all: limits.half_open,
            strangers: limits.half_open.saturating_sub(limits.half_open_reserved),
            per_source: limits.half_open_per_source,
            rate: limits.accept_rate.max(1),
            per_loopback: limits.half_open_loopback,
            rate_loopback: limits.accept_rate_loopback.max(1),
            sources: limits.sources,
        };
        Self { state: Mutex::default(), bounds }
    }

    /// Replaces the addresses for which places are kept.
    pub(super) fn set_known(&self, known: BTreeSet<IpAddr>) {
        let known = known.into_iter().map(|ip| ip.to_canonical()).collect();
        self.locked().known = known;
    }

    /// Half-open connections now.
    pub(super) fn half_open(&self) -> usize {
        self.locked().half_open
    }

    /// Takes a place for a connection from `ip`, or says in words why there is none.
    pub(super) fn enter(self: &Arc<Self>, ip: IpAddr, now: Instant) -> Result<Place, String> {
        let bounds = &self.bounds;
        let ip = ip.to_canonical();
        let source = network(ip);
        let (per_source, rate) = if ip.is_loopback() {
            (bounds.per_loopback, bounds.rate_loopback)
        } else {
            (bounds.per_source, bounds.rate)
        };
        let mut state = self.locked();
        let state = &mut *state;
        let known = state.known.contains(&ip);
        let all = if known { bounds.all } else { bounds.strangers };
        if !state.sources.contains_key(&source) && state.sources.len() >= bounds.sources {
            state.sources.retain(|_, source| source.half_open > 0 || source.full_at > now);
            if state.sources.len() >= bounds.sources {
                return Err(format!("{} sources have connected within a second", bounds.sources));
            }
        }
        let entry = state.sources.entry(source).or_insert(Source { half_open: 0, full_at: now });
        // The rate counts refused connections too: who hammers stays out.
        let full_at = entry.full_at.max(now) + Duration::from_secs(1) / rate;
        if full_at > now + Duration::from_secs(1) {
            return Err(format!("more than {rate} new connections a second from {source}"));
        }
        entry.full_at = full_at;
        if entry.half_open >= per_source {
            return Err(format!("{per_source} connections from {source} are not yet verified"));
        }
        if state.half_open >= all {
            return Err(format!("{} connections are not yet verified", state.half_open));
        }
        entry.half_open += 1;
        state.half_open += 1;
        Ok(Place { gate: self.clone(), source })
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.gate.locked();
        state.half_open = state.half_open.saturating_sub(1);
        if let Some(source) = state.sources.get_mut(&self.source) {
            source.half_open = source.half_open.saturating_sub(1);
        }
    }
}

/// The source that an address counts for: itself, or its /64.
pub(super) fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) if !v6.is_loopback() => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(limits: &Limits) -> Arc<Gate> {
        Arc::new(Gate::new(limits))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn a_source_has_eight_places_and_a_slash_64_is_one_source() {
        let gate = gate(&Limits::default());
        let now = Instant::now();
        let places: Vec<Place> =
            (0..8).map(|n| gate.enter(ip(&format!("2001:db8::{n}")), now).unwrap_or_else(|e| panic!("{e}"))).collect();
        assert!(gate.enter(ip("2001:db8::99"), now).is_err());
        assert!(gate.enter(ip("2001:db8:0:1::1"), now).is_ok());
        drop(places);
        assert!(gate.enter(ip("2001:db8::99"), now).is_ok());
        assert_eq!(gate.half_open(), 0);
    }

    #[tokio::test]
    async fn twenty_new_connections_a_second() {
        let gate = gate(&Limits::default());
        let mut now = Instant::now();
        let taken = |now| (0..100).filter(|_| gate.enter(ip("::ffff:10.0.0.9"), now).is_ok()).count();
        assert_eq!(taken(now), 20);
        now += Duration::from_millis(500);
        assert_eq!(taken(now), 10);
        now += Duration::from_secs(60);
        assert_eq!(taken(now), 20);
    }

    #[tokio::test]
    async fn loopback_has_wider_bounds() {
        let gate = gate(&Limits::default());
        let now = Instant::now();
        let places: Vec<_> = (0..100).filter_map(|_| gate.enter(ip("127.0.0.1"), now).ok()).collect();
        assert_eq!(places.len(), 64);
    }

    #[tokio::test]
    async fn strangers_leave_places_to_known_members() {
        let gate = gate(&Limits::default());
        gate.set_known(BTreeSet::from([ip("192.0.2.1")]));
        let now = Instant::now();
        let strangers: Vec<_> = (0..1000u32)
            .filter_map(|n| gate.enter(IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0a00_0000 + n)), now).ok())
            .collect();
        assert_eq!(strangers.len(), 192);
        assert!(gate.enter(ip("::ffff:192.0.2.1"), now).is_ok());
    }

    #[tokio::test]
    async fn the_memory_of_sources_is_bounded_and_recovers() {
        let gate = gate(&Limits { sources: 16, ..Limits::default() });
        let mut now = Instant::now();
        let many = |now| {
            let enter = |n| gate.enter(IpAddr::V4(std::net::Ipv4Addr::from_bits(0x0a00_0000 + n)), now).is_ok();
            (0..1000u32).filter(|n| enter(*n)).count()
        };
        assert_eq!(many(now), 16);
        now += Duration::from_secs(2);
        assert_eq!(many(now), 16);
        assert!(gate.locked().sources.len() <= 16);
    }
}
