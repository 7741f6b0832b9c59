//! What a run may do.

use std::time::Duration;

use ekka_core::autoheal::Options;
use ekka_core::rng::Rng;

/// Microseconds since the world began.
pub(crate) type Us = u64;

pub(crate) const MS: Us = 1_000;
pub(crate) const SECOND: Us = 1_000 * MS;

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Which nodes hold tables; as many as there are nodes.
    pub(crate) cores: Vec<bool>,
    /// The sets of voters, by the numbers of the nodes.
    pub(crate) voters: Vec<Vec<usize>>,
    /// The place of each node in the order of members.
    pub(crate) seniority: Vec<u64>,
    pub(crate) autoheal: Option<Duration>,
    /// For so long things happen.
    pub(crate) span: Us,
    /// On average one thing in so long.
    pub(crate) pace: Us,
    pub(crate) splits: bool,
    pub(crate) one_way: bool,
    pub(crate) links: bool,
    pub(crate) kills: bool,
    pub(crate) stops: bool,
    pub(crate) pauses: bool,
    /// Starts are declared gone while they run.
    pub(crate) gone: bool,
    /// The longest that callbacks take.
    pub(crate) callbacks: Us,
    /// Some callbacks fail.
    pub(crate) failing: bool,
    /// Tables spread as fast as can be.
    pub(crate) fast: bool,
    pub(crate) options: Options,
}

impl Plan {
    pub(crate) fn nodes(&self) -> usize {
        self.cores.len()
    }

    /// All cores, three or as many as there are voters, the first node the oldest; nothing happens by chance.
    pub(crate) fn plain(nodes: usize, options: Options) -> Self {
        let votes = if nodes >= 5 { 5 } else { 1.max(nodes - (nodes + 1) % 2) };
        Self {
            seed: 0,
            cores: vec![true; nodes],
            voters: vec![(0..votes).collect()],
            seniority: (0..nodes as u64).collect(),
            autoheal: Some(Duration::from_secs(3)),
            span: 0,
            pace: SECOND,
            splits: false,
            one_way: false,
            links: false,
            kills: false,
            stops: false,
            pauses: false,
            gone: false,
            callbacks: 0,
            failing: false,
            fast: true,
            options,
        }
    }

    pub(crate) fn from_seed(seed: u64, options: Options) -> Self {
        let mut rng = Rng::new(seed ^ 0x4ea1);
        let nodes = 3 + rng.index(7);
        let mut seniority: Vec<u64> = (0..nodes as u64).collect();
        for i in (1..nodes).rev() {
            seniority.swap(i, rng.index(i + 1));
        }
        let mut cores: Vec<bool> = (0..nodes).map(|_| rng.below(4) != 0).collect();
        cores[rng.index(nodes)] = true;
        let core = |rng: &mut Rng| -> Vec<usize> {
            let mut all: Vec<usize> = (0..nodes).filter(|n| cores[*n]).collect();
            let odd = 1 + 2 * rng.index(all.len().div_ceil(2));
            while all.len() > odd {
                all.remove(rng.index(all.len()));
            }
            all
        };
        let mut voters = vec![core(&mut rng)];
        if rng.below(8) == 0 {
            voters.push(core(&mut rng));
        }
        let autoheal = (rng.below(10) != 0).then(|| Duration::from_millis(500 + rng.below(4_500)));
        // One in eight has single links cut and nothing else.
        let partial = rng.below(8) == 0;
        let mut may = |of: u64| rng.below(of) != 0 && !partial;
        let (splits, one_way, kills, stops) = (may(6), may(2), may(2), may(3));
        let (pauses, gone, failing, fast) = (may(2), may(3), !may(4), may(2));
        Self {
            seed,
            cores,
            voters,
            seniority,
            autoheal,
            span: (20 + rng.below(60)) * SECOND,
            pace: (1 + rng.below(8)) * SECOND,
            splits,
            one_way,
            links: partial || rng.below(2) == 0,
            kills,
            stops,
            pauses,
            gone,
            callbacks: [0, 300 * MS, 2 * SECOND][rng.index(3)],
            failing,
            fast,
            options,
        }
    }
}
