//! Three voters that are killed, frozen and cut off, one at a time, by chance.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::Cluster;
use super::ask::{get, settled_with};

const NODES: usize = 3;
const LIMIT: Duration = Duration::from_secs(90);

/// Chance by a seed: which fault, where, how long.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn of(seed: u64) -> Self {
        Self(0x9E37_79B9_7F4A_7C15 ^ seed)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        // xorshift64*: the low bits are the weak ones.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }
}

/// Three voters whose networks have a gate.
pub(crate) struct Gated {
    pub(crate) cluster: Cluster,
    gates: Vec<PathBuf>,
    /// Members that are no agents, and do not vote.
    pub(crate) others: Vec<String>,
}

impl Gated {
    pub(crate) fn formed() -> Self {
        let mut cluster = Cluster::on_loopback(u8::try_from(NODES).expect("a few"));
        let gates: Vec<PathBuf> = cluster.agents.iter().map(|agent| agent.data().with_file_name("gate")).collect();
        for (agent, gate) in cluster.agents.iter_mut().zip(&gates) {
            agent.start_with(&["--gate", &gate.display().to_string()]);
        }
        let gated = Self { cluster, gates, others: Vec::new() };
        gated.mended();
        gated
    }

    fn start(&mut self, index: usize) {
        let gate = self.gates[index].display().to_string();
        self.cluster.agents[index].start_with(&["--gate", &gate]);
    }

    /// Cuts the ways between a node and all others. A gate holds what its own node dialled: both ends close theirs.
    pub(crate) fn cut(&self, index: usize) {
        let members = self.cluster.agents[index].json(&["members"]).unwrap_or_else(|error| panic!("{error}"));
        let rows: Vec<_> = members.as_array().into_iter().flatten().collect();
        let own = &self.cluster.agents[index].name;
        for (agent, gate) in self.cluster.agents.iter().zip(&self.gates) {
            let at_other_end = rows.iter().filter(|row| (row["name"] == **own) != (agent.name == *own));
            let dead =
                at_other_end.filter_map(|row| row["address"].as_str()).map(|address| format!("{address} both\n"));
            fs::write(gate, dead.collect::<String>()).expect("a gate can be written");
        }
    }

    pub(crate) fn open(&self) {
        self.gates.iter().for_each(|gate| fs::write(gate, "").expect("a gate can be written"));
    }

    /// Waits until all is as it should be.
    pub(crate) fn mended(&self) {
        let others: Vec<&str> = self.others.iter().map(String::as_str).collect();
        self.cluster.wait("all are one, and vote", LIMIT, |cluster| settled_with(cluster, NODES, &others));
        self.cluster.wait("all are ready", LIMIT, |cluster| {
            let mut statuses = cluster.agents.iter().map(|agent| get(&agent.data(), "/v1/status"));
            statuses.try_for_each(|status| {
                let status = status?;
                if status["ready"] == true { Ok(()) } else { Err(status["reason"].to_string()) }
            })
        });
    }

    /// The node that leads where one says so, else any.
    fn leader(&self, chance: &mut Chance) -> usize {
        let any = usize::try_from(chance.below(NODES as u64)).expect("a small number");
        let Ok(status) = get(&self.cluster.agents[any].data(), "/v1/status") else { return any };
        self.cluster.agents.iter().position(|agent| status["leader"] == *agent.name).unwrap_or(any)
    }

    /// For as long as a fault is there: the processes of the others live.
    fn others_live(&self, at: usize, time: Duration) {
        self.cluster.throughout("the other processes live", time, |cluster| {
            let mut others = cluster.agents.iter().enumerate().filter(|(index, _)| *index != at);
            let dead = others.find(|(_, agent)| !std::path::Path::new(&format!("/proc/{}", agent.pid())).exists());
            dead.map_or(Ok(()), |(_, agent)| Err(format!("{} has ended", agent.name)))
        });
    }

    /// One fault at one node, and its end. A majority of the voters is up and connected all the time.
    pub(crate) fn harm(&mut self, chance: &mut Chance) {
        let at =
            if chance.below(2) == 0 { self.leader(chance) } else { usize::try_from(chance.below(3)).expect("small") };
        let held = Duration::from_millis(500 + chance.below(2_500));
        match chance.below(3) {
            0 => {
                self.cluster.agents[at].kill();
                self.others_live(at, held);
                self.start(at);
            }
            1 => {
                self.cluster.agents[at].freeze();
                self.others_live(at, held);
                self.cluster.agents[at].thaw();
            }
            _ => {
                self.cut(at);
                self.others_live(at, held);
                self.open();
            }
        }
        // The next fault may hit another voter: this one has to be back, or there is no majority.
        self.mended();
    }
}
