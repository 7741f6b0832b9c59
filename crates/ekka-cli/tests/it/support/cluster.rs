//! Several agents that belong together, and what they all say.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Agent, Netns, poll};

/// How long a stop by SIGTERM may take: `node.stop_timeout` is 30 s by default, an idle node needs far less.
pub(crate) const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A wait that took longer tells what it waited for.
const SLOW: Duration = Duration::from_secs(5);

/// Agents with one cookie and one list of seeds. They are killed and their folders removed when it is dropped.
pub(crate) struct Cluster {
    /// The nodes, in the order of their names.
    pub(crate) agents: Vec<Agent>,
    hosts: Vec<String>,
    directory: TempDir,
    cookie: String,
}

impl Cluster {
    /// So many nodes on loopback, each a seed, none started.
    pub(crate) fn on_loopback(count: u8) -> Self {
        static CLUSTERS: AtomicU8 = AtomicU8::new(0);
        let process = std::process::id();
        // Hosts of 127.0.0.0/8 by process, then cluster, then node: ports follow from names, so addresses must differ.
        let (high, low) = (process / 254 % 254 + 1, process % 254 + 1);
        let first = u32::from(CLUSTERS.fetch_add(1, Ordering::Relaxed) % 20) * 12 + 1;
        Self::on_hosts((0..u32::from(count)).map(|n| format!("127.{high}.{low}.{}", first + n)).collect())
    }

    /// One node on each host, each a seed, none started.
    fn on_hosts(hosts: Vec<String>) -> Self {
        let directory = tempfile::Builder::new().prefix("ekka-test-").tempdir().expect("a temporary folder");
        let cookie = format!("{:-<43}", format!("cookie-of-{}", directory.path().display()).replace('/', "-"));
        let names: Vec<String> = hosts.iter().enumerate().map(|(n, host)| format!("n{}@{host}", n + 1)).collect();
        let mut cluster = Self { agents: Vec::new(), hosts, directory, cookie };
        for name in &names {
            let agent = cluster.agent(name);
            cluster.agents.push(agent);
        }
        cluster.seeds(&names);
        cluster
    }

    /// A node in the namespace of each of the first hosts of a network. The network is declared first by callers, so that it
    /// outlives the agents.
    pub(crate) fn within(network: &Netns, hosts: usize) -> Self {
        let mut cluster = Self::on_hosts((0..hosts).map(Netns::address).collect());
        for (host, agent) in cluster.agents.iter_mut().enumerate() {
            agent.enter(&network.namespace(host));
        }
        cluster
    }

    /// A further node with the same cookie and no seeds yet. It is the caller's.
    pub(crate) fn agent(&self, name: &str) -> Agent {
        let taken = (1..=u8::MAX).map(|n| self.directory.path().join(format!("n{n}"))).find(|path| !path.exists());
        let mut agent = Agent::new(&taken.expect("a test has few nodes"), name);
        agent.set("node.cookie", &self.cookie).set("cluster.discovery", "static");
        agent
    }

    /// What all nodes prove to each other that they know.
    pub(crate) fn cookie(&self) -> &str {
        &self.cookie
    }

    /// The host of a node.
    pub(crate) fn host(&self, index: usize) -> &str {
        &self.hosts[index]
    }

    /// An address of loopback that no node of this cluster has.
    pub(crate) fn free_host(&self) -> String {
        let (network, last) = self.hosts[0].rsplit_once('.').expect("IPv4");
        format!("{network}.{}", last.parse::<usize>().expect("a number") + self.hosts.len())
    }

    /// The list of seeds as the configuration has it.
    pub(crate) fn seed_list(&self) -> String {
        self.agents.iter().map(|agent| agent.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Gives all nodes the same seeds.
    pub(crate) fn seeds(&mut self, names: &[String]) {
        for agent in &mut self.agents {
            agent.set("cluster.static.seeds", &names.join(", "));
        }
    }

    /// Starts all nodes at once.
    pub(crate) fn start(&mut self) {
        for agent in &mut self.agents {
            agent.start();
        }
    }

    /// Starts all nodes and waits until they have formed: id and time from the first start on.
    pub(crate) fn form(&mut self, limit: Duration) -> (String, Duration) {
        let start = Instant::now();
        self.start();
        let id = self.wait("one cluster that all see whole", limit, Self::whole);
        (id, start.elapsed())
    }

    /// Waits for a condition; shows how long it took, or the end of all logs.
    pub(crate) fn wait<T>(
        &self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut(&Self) -> Result<T, String>,
    ) -> T {
        let start = Instant::now();
        let mut seen: Vec<(Duration, String)> = Vec::new();
        let look = || {
            condition(self).inspect_err(|why| {
                if seen.last().is_none_or(|(_, last)| last != why) {
                    seen.push((start.elapsed(), why.clone()));
                }
            })
        };
        let (value, took) = poll::until(limit, look)
            .unwrap_or_else(|seen| panic!("waited for: {what}\nbut: {seen}\n{}", self.report()));
        println!("{what}: {took:.2?}");
        // What took so long that somebody will ask for the reason.
        for (at, why) in seen.iter().filter(|_| took > SLOW) {
            println!("  from {at:.2?} on: {why}");
        }
        value
    }

    /// Asserts a rule for a while.
    pub(crate) fn throughout(&self, what: &str, time: Duration, mut rule: impl FnMut(&Self) -> Result<(), String>) {
        poll::throughout(time, || rule(self)).unwrap_or_else(|seen| panic!("{what}: {seen}\n{}", self.report()));
    }

    /// What a failing test shows.
    pub(crate) fn report(&self) -> String {
        self.agents.iter().map(Agent::report).collect()
    }

    /// The id of the one cluster, if its nodes are all `up` in one and each sees every one of them `up`.
    ///
    /// # Errors
    /// What differs.
    pub(crate) fn whole(&self) -> Result<String, String> {
        let names: BTreeSet<&str> = self.agents.iter().map(|agent| agent.name.as_str()).collect();
        let mut ids = BTreeSet::new();
        for agent in &self.agents {
            let status = agent.json(&["status"])?;
            let id = status["cluster_id"].as_str().ok_or_else(|| format!("{}: {}", agent.name, status["reason"]))?;
            ids.insert(id.to_owned());
            let members = agent.json(&["members"])?;
            let members = members.as_array().ok_or("`members --json` is no array")?;
            let up: BTreeSet<&str> =
                members.iter().filter(|m| m["status"] == "up").filter_map(|m| m["name"].as_str()).collect();
            if up != names {
                return Err(format!("{} sees as up {up:?} of {names:?}", agent.name));
            }
        }
        if ids.len() != 1 {
            return Err(format!("not one cluster id: {ids:?}"));
        }
        Ok(ids.pop_first().unwrap_or_default())
    }

    /// Whether all other running nodes give that status to a member.
    ///
    /// # Errors
    /// Who gives another.
    pub(crate) fn all_see(&self, index: usize, status: &str) -> Result<(), String> {
        let name = &self.agents[index].name;
        for (other, agent) in self.agents.iter().enumerate() {
            if other != index && agent.runs() {
                let row = agent.row(name)?;
                if row["status"] != status {
                    return Err(format!("{} sees {name} as {}, not {status}", agent.name, row["status"]));
                }
            }
        }
        Ok(())
    }

    /// How many times any node has declared any other down, by their events.
    ///
    /// # Errors
    /// A node does not answer.
    pub(crate) fn downs(&self) -> Result<usize, String> {
        let mut count = 0;
        for agent in &self.agents {
            count += agent.events()?.iter().filter(|event| event["type"] == "member.down").count();
        }
        Ok(count)
    }

    /// Text of a field of a node's own status.
    pub(crate) fn status(&self, index: usize, field: &str) -> String {
        let agent = &self.agents[index];
        let status = agent.json(&["status"]).unwrap_or_else(|error| panic!("{error}\n{}", agent.report()));
        status[field].as_str().unwrap_or_else(|| panic!("{}: no text in `{field}`: {status}", agent.name)).to_owned()
    }
}
