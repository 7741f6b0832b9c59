//! Never without a leader for long while a majority of the voters runs and each of them reaches each other.

use std::collections::BTreeMap;
use std::time::Duration;

use ekka_core::consensus::{Configuration, VoterId};
use ekka_core::id::ClusterId;

use super::Groups;

/// The promise.
const LEADERLESS_MAX: Duration = Duration::from_secs(5);
/// What links and processes may take to be there again, before the time counts.
const GRACE: Duration = Duration::from_secs(8);

/// Since when hosts run without a fault of their own, and reach each other.
#[derive(Debug, Default)]
pub(in crate::stack) struct Fitness {
    /// Hosts that run, since when, and in which cluster they say they are.
    pub(in crate::stack) hosts: BTreeMap<usize, (Duration, Option<ClusterId>)>,
    /// Pairs that do not reach each other now, or since when they do again: the smaller host first.
    pub(in crate::stack) pairs: BTreeMap<(usize, usize), Option<Duration>>,
}

/// What is remembered of one cluster.
#[derive(Debug)]
pub(super) struct Watched {
    changed_at: Duration,
    led_at: Duration,
    pub(super) longest: Duration,
}

impl Watched {
    pub(super) fn new(now: Duration) -> Self {
        Self { changed_at: now, led_at: now, longest: Duration::ZERO }
    }

    pub(super) fn reconfigured(&mut self, now: Duration) {
        self.changed_at = now;
    }
}

impl Fitness {
    /// Since when this pair is whole.
    fn pair(&self, a: usize, b: usize) -> Option<Duration> {
        self.pairs.get(&(a.min(b), a.max(b))).copied().unwrap_or(Some(Duration::ZERO))
    }

    /// Since when all of these run and reach each other.
    fn of(&self, hosts: &[usize], cluster_id: ClusterId) -> Option<Duration> {
        let mut since = Duration::ZERO;
        for (n, host) in hosts.iter().enumerate() {
            let (at, _) = self.hosts.get(host).filter(|(_, cluster)| *cluster == Some(cluster_id))?;
            since = since.max(*at);
            for other in &hosts[..n] {
                since = since.max(self.pair(*host, *other)?);
            }
        }
        Some(since)
    }

    /// Since when some majority is there.
    fn majority(
        &self,
        configuration: &Configuration,
        host_of: impl Fn(VoterId) -> Option<usize>,
        cluster_id: ClusterId,
    ) -> Option<Duration> {
        let voters = configuration.all_voters();
        let sets = 1u32.checked_shl(u32::try_from(voters.len()).ok()?)?;
        let majorities = (1..sets).filter_map(|set| {
            let has =
                |voter: VoterId| voters.iter().position(|other| *other == voter).is_some_and(|n| set >> n & 1 == 1);
            let hosts = voters.iter().filter(|voter| has(**voter)).map(|voter| host_of(*voter));
            configuration.is_majority(has).then(|| hosts.collect::<Option<Vec<usize>>>()).flatten()
        });
        majorities.filter_map(|hosts| self.of(&hosts, cluster_id)).min()
    }
}

impl Groups {
    /// Looks at each cluster.
    pub(super) fn check_leaders(&mut self, fitness: &Fitness) -> Result<(), String> {
        let clusters: Vec<ClusterId> = self.watched.keys().copied().collect();
        for cluster_id in clusters {
            let led = self.leader(cluster_id).is_some();
            let since = self
                .configuration(cluster_id)
                .and_then(|configuration| fitness.majority(configuration, |voter| self.host_of(voter), cluster_id));
            let now = self.now;
            let Some(watched) = self.watched.get_mut(&cluster_id) else { continue };
            if led {
                watched.led_at = now;
            }
            let Some(since) = since else { continue };
            let from = (since.max(watched.changed_at) + GRACE).max(watched.led_at);
            let without = now.saturating_sub(from);
            watched.longest = watched.longest.max(without);
            if without > LEADERLESS_MAX {
                return Err(format!("cluster {cluster_id}: a majority is there since {since:?}, and nobody leads it"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ekka_core::id::NodeId;

    use super::*;

    #[test]
    fn a_majority_is_whole_since_its_last_pair_is() {
        let cluster_id = ClusterId::MIN;
        let voter = |n: u128| VoterId { node_id: NodeId::from_u128(n), start: 1 };
        let configuration = Configuration { voters: vec![(0..3).map(voter).collect()], ..Configuration::default() };
        let host_of = |voter: VoterId| usize::try_from(voter.node_id.as_u128()).ok();
        let at = Duration::from_secs;
        let mut fitness = Fitness::default();
        let majority = |fitness: &Fitness| fitness.majority(&configuration, host_of, cluster_id);
        assert_eq!(majority(&fitness), None);
        fitness.hosts = (0..3).map(|host| (host, (at(host as u64), Some(cluster_id)))).collect();
        assert_eq!(majority(&fitness), Some(at(1)), "the first two");
        fitness.pairs.insert((0, 1), None);
        assert_eq!(majority(&fitness), Some(at(2)));
        fitness.pairs.insert((0, 2), Some(at(9)));
        assert_eq!(majority(&fitness), Some(at(2)), "the last two");
        fitness.pairs.insert((1, 2), None);
        assert_eq!(majority(&fitness), Some(at(9)));
    }
}
