//! A cluster on hosts that are cut from each other, and what it says before, during and after.
//!
//! Every side is written to all the time ([`Scribes`]); [`Parted::judge`] gives the account of what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::ask::{self, get, sees_up};
use super::rows::{self, post};
use super::scribes::{AVAILABLE, QUORUM, Scribes, Write};
use super::{Agent, Cluster, Netns};

/// Deriving the credentials takes most of it where the machine has much else to do.
pub(crate) const FORM_LIMIT: Duration = Duration::from_secs(60);
/// For what takes a moment.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// Until everybody knows of a cut; the limit is ten times that.
pub(crate) const DETECTION: Duration = Duration::from_secs(3);
/// From the repair to one cluster.
pub(crate) const HEALING: Duration = Duration::from_secs(5);

/// Whether those who come back must say that they did. Until healing says so, one cluster that is up and whole counts.
const HEALS_SAY_SO: bool = true;

/// Hosts with a node each. The nodes are ended before their network is taken away.
pub(crate) struct Parted<N = Netns> {
    pub(crate) cluster: Cluster,
    pub(crate) network: N,
    /// Of the cluster.
    pub(crate) id: String,
    /// Process and incarnation of each node as it was formed.
    pub(crate) starts: Vec<(u32, String)>,
    voters: BTreeSet<usize>,
}

impl Parted {
    /// So many nodes on hosts of their own that have formed and share two tables; `settings` go to each of them.
    pub(crate) fn formed(hosts: usize, storage: &str, settings: &[(&str, &str)]) -> Self {
        Self::formed_of(hosts, storage, settings, |_| ())
    }

    /// The same, of nodes with which something is done before they start.
    pub(crate) fn formed_of(
        hosts: usize,
        storage: &str,
        settings: &[(&str, &str)],
        prepare: impl FnOnce(&mut [Agent]),
    ) -> Self {
        let network = Netns::new(hosts);
        let mut cluster = Cluster::within(&network, hosts);
        prepare(&mut cluster.agents);
        Self::form(cluster, network, storage, settings)
    }

    /// As [`Parted::formed`], and so many nodes on further hosts that have not started, whose seeds are all the others.
    pub(crate) fn formed_with_spare(nodes: usize, spare: usize, storage: &str) -> (Self, Vec<Agent>) {
        let network = Netns::new(nodes + spare);
        let mut cluster = Cluster::within(&network, nodes + spare);
        let seeds: Vec<String> = cluster.agents[..nodes].iter().map(|agent| agent.name.clone()).collect();
        cluster.seeds(&seeds);
        let spare = cluster.agents.split_off(nodes);
        (Self::form(cluster, network, storage, &[]), spare)
    }
}

impl Parted<()> {
    /// The same on loopback, where nothing can be cut.
    pub(crate) fn on_loopback(nodes: u8, storage: &str, settings: &[(&str, &str)]) -> Self {
        Self::form(Cluster::on_loopback(nodes), (), storage, settings)
    }
}

impl<N: Sync> Parted<N> {
    fn form(mut cluster: Cluster, network: N, storage: &str, settings: &[(&str, &str)]) -> Self {
        for agent in &mut cluster.agents {
            for (key, value) in settings {
                agent.set(key, value);
            }
        }
        let nodes = cluster.agents.len();
        let (id, _) = cluster.form(FORM_LIMIT);
        let mut parted = Self { cluster, network, id, starts: Vec::new(), voters: BTreeSet::new() };
        parted.cluster.wait("all are ready", FORM_LIMIT, |_| parted.one());
        for (name, kind) in [(AVAILABLE, "available"), (QUORUM, "quorum")] {
            rows::make(&parted.cluster, &json!({"name": name, "kind": kind, "storage": storage}), SOON);
        }
        parted.starts = (0..nodes).map(|index| parted.start_of(index)).collect();
        parted.voters = (0..nodes).filter(|index| parted.votes(*index)).collect();
        parted
    }

    pub(crate) fn data(&self, index: usize) -> PathBuf {
        self.cluster.agents[index].data()
    }

    pub(crate) fn status(&self, index: usize) -> Result<Value, String> {
        get(&self.data(index), "/v1/status")
    }

    /// Which process and which incarnation a node is now.
    pub(crate) fn start_of(&self, index: usize) -> (u32, String) {
        let status = self.status(index).unwrap_or_else(|error| panic!("{error}\n{}", self.cluster.report()));
        (self.cluster.agents[index].pid(), status["guid"].as_str().expect("a guid").to_owned())
    }

    /// No process was restarted, and none took a new guid.
    pub(crate) fn same_starts(&self) {
        let now: Vec<_> = (0..self.starts.len()).map(|index| self.start_of(index)).collect();
        assert_eq!(now, self.starts, "the same processes under the same guids\n{}", self.cluster.report());
    }

    /// Who voted as the cluster was formed.
    pub(crate) fn voters(&self) -> &BTreeSet<usize> {
        &self.voters
    }

    fn votes(&self, index: usize) -> bool {
        self.cluster.agents[0].row(&self.cluster.agents[index].name).is_ok_and(|row| row["voter"] == true)
    }

    /// Whether these nodes are a majority of the voters.
    pub(crate) fn majority(&self, side: &[usize]) -> bool {
        side.iter().filter(|index| self.voters.contains(index)).count() * 2 > self.voters.len()
    }

    /// How many nodes are on another side than the one that the others come back to.
    pub(crate) fn outside(&self, sides: &[&[usize]]) -> usize {
        let majority = sides.iter().find(|side| self.majority(side)).map(|side| side.len());
        let largest = sides.iter().map(|side| side.len()).max().expect("sides");
        sides.iter().map(|side| side.len()).sum::<usize>() - majority.unwrap_or(largest)
    }

    /// Begins to write at every node.
    pub(crate) fn write(&self) -> Scribes {
        Scribes::begin((0..self.cluster.agents.len()).map(|index| self.data(index)))
    }

    /// One key, written on each side by one that cannot have seen the other's.
    pub(crate) fn same_key(&self, sides: &[&[usize]], key: &str) -> Vec<Write> {
        let put = |(number, side): (usize, &&[usize])| {
            let (node, sent) = (side[0], Instant::now());
            let body = json!({"key": key, "value": number, "ack": "local"});
            post(&self.data(node), &format!("/v1/tables/{AVAILABLE}/put"), &body).expect("a local write");
            let (key, value) = (key.to_owned(), u64::try_from(number).expect("few sides"));
            Write { table: AVAILABLE, key, value, node, sent, acked: Instant::now(), contested: true, copies: 1 }
        };
        sides.iter().enumerate().map(put).collect()
    }

    /// Every node sees those of the other sides as down, and says what kind of split it is in.
    pub(crate) fn all_know(&self, sides: &[&[usize]]) -> Result<(), String> {
        for side in sides {
            let state = if self.majority(side) { "suspected" } else { "minority" };
            for index in *side {
                self.knows(*index, side, state)?;
            }
        }
        Ok(())
    }

    fn knows(&self, index: usize, side: &[usize], state: &str) -> Result<(), String> {
        for other in (0..self.cluster.agents.len()).filter(|other| self.cluster.agents[*other].runs()) {
            self.sees(index, other, if side.contains(&other) { &["up"] } else { &["down", "gone"] })?;
        }
        let split = &self.status(index)?["split"];
        if split["state"] == *state { Ok(()) } else { Err(format!("n{}: not {state}: {split}", index + 1)) }
    }

    /// Whether a node gives another one of these statuses.
    pub(crate) fn sees(&self, index: usize, other: usize, statuses: &[&str]) -> Result<(), String> {
        let (members, name) = (get(&self.data(index), "/v1/members")?, &self.cluster.agents[other].name);
        let row = members.as_array().into_iter().flatten().find(|row| row["name"] == **name);
        let seen = row.map_or("nothing", |row| row["status"].as_str().unwrap_or_default());
        if statuses.contains(&seen) { Ok(()) } else { Err(format!("n{} sees {name} as {seen}", index + 1)) }
    }

    /// A quorum write is refused where there is no majority, and done where there is one. All are asked at once: a refusal
    /// comes when no leader was found in time.
    pub(crate) fn only_a_majority_commits(&self, sides: &[&[usize]], value: u64) {
        let path = format!("/v1/tables/{QUORUM}/put");
        let ask = |index: usize, commits: bool| {
            let body = json!({"key": format!("probe-{index}"), "value": value});
            if commits {
                self.cluster.wait("a majority commits", SOON, |_| post(&self.data(index), &path, &body));
            } else {
                let refused = post(&self.data(index), &path, &body);
                let refused = refused.expect_err("no majority, and yet a quorum write was acknowledged");
                assert!(refused.contains("no_quorum"), "n{}: {refused}", index + 1);
            }
        };
        std::thread::scope(|scope| {
            for (side, index) in sides.iter().flat_map(|side| side.iter().map(move |index| (side, *index))) {
                scope.spawn(move || ask(index, self.majority(side)));
            }
        });
    }

    /// One cluster, the one that was formed; every node up for all, ready, and no trace of a split.
    pub(crate) fn one(&self) -> Result<(), String> {
        let names: BTreeSet<&str> = self.cluster.agents.iter().map(|agent| agent.name.as_str()).collect();
        for agent in &self.cluster.agents {
            let status = get(&agent.data(), "/v1/status")?;
            let (split, reasons) = (&status["split"], &status["reasons"]);
            if status["cluster_id"] != *self.id || status["status"] != "up" || status["ready"] != true {
                return Err(format!("{}: {} {}, {reasons}", agent.name, status["status"], status["cluster_id"]));
            }
            if split["state"] != "none" {
                return Err(format!("{}: {split}", agent.name));
            }
        }
        self.cluster.agents.iter().try_for_each(|agent| sees_up(agent, &names))
    }

    /// What each node said so far of this kind of event.
    pub(crate) fn said(&self, index: usize, kind: &str) -> Result<Vec<Value>, String> {
        Ok(ask::events(&self.data(index))?.into_iter().filter(|event| event["type"] == kind).collect())
    }

    /// Events `heal.finished` of each node so far.
    pub(crate) fn finished(&self) -> Vec<usize> {
        let count = |index| self.said(index, "heal.finished").map_or(0, |events| events.len());
        (0..self.cluster.agents.len()).map(count).collect()
    }

    /// Waits until the cluster is one, and so many nodes have said since `before` that they came back: how long it took.
    pub(crate) fn healed(&self, before: &[usize], outside: usize, limit: Duration) -> Duration {
        let start = Instant::now();
        self.cluster.wait("one cluster again", limit, |_| {
            self.one()?;
            let back = self.finished().iter().zip(before).filter(|(now, before)| now > before).count();
            if HEALS_SAY_SO && back < outside {
                return Err(format!("{back} of {outside} said that they came back"));
            }
            Ok(())
        });
        let took = start.elapsed();
        assert_eq!(self.cluster.whole().as_ref(), Ok(&self.id), "{}", self.cluster.report());
        took
    }

    /// Rows that heals moved, as far as the nodes count them.
    pub(crate) fn exchanged(&self) -> String {
        let rows =
            (0..self.cluster.agents.len()).flat_map(|index| self.said(index, "heal.finished").unwrap_or_default());
        let rows: Vec<u64> = rows.filter_map(|event| event["rows"].as_u64()).collect();
        if rows.is_empty() { "not said".into() } else { rows.iter().sum::<u64>().to_string() }
    }

    /// Every acknowledged write is on every node in the table, or in the journal if another one won; all tables are
    /// equal, as a scan and as `table verify` have it.
    pub(crate) fn judge(&self, writes: &[Write]) -> Account {
        let overridden = self.cluster.wait("all hold what was acknowledged", SOON, |cluster| {
            let mut overridden = 0;
            for table in [AVAILABLE, QUORUM] {
                let mut held = Vec::new();
                for agent in &cluster.agents {
                    held.push(rows::rows(&agent.data(), table)?);
                    let rows = held.last().expect("just pushed");
                    overridden = missing(&agent.data(), rows, writes.iter().filter(|write| write.table == table))
                        .map_err(|lost| format!("{}: {table}: {lost}", agent.name))?
                        .max(overridden);
                }
                if let Some(other) = held.iter().position(|rows| *rows != held[0]) {
                    return Err(format!("{table} differs between n1 and n{}", other + 1));
                }
            }
            Ok(overridden)
        });
        for index in 0..self.cluster.agents.len() {
            self.cluster.wait("verify finds all in step", SOON, |cluster| verified(cluster, index));
        }
        Account { overridden, acked: writes.len() }
    }
}

/// What became of what was acknowledged; nothing was lost.
pub(crate) struct Account {
    pub(crate) acked: usize,
    /// Of these, in the journal.
    pub(crate) overridden: usize,
}

/// `ekka table verify` of the table that every node holds.
fn verified(cluster: &Cluster, index: usize) -> Result<(), String> {
    let answer = cluster.agents[index].json(&["table", "verify", AVAILABLE])?;
    let peers = answer[0]["peers"].as_array().ok_or_else(|| answer.to_string())?;
    let in_step = peers.iter().filter(|peer| peer["state"] == "in_step").count();
    if in_step + 1 == cluster.agents.len() { Ok(()) } else { Err(answer.to_string()) }
}

/// Which acknowledged writes a node has neither in the table nor in the journal; or how many are in the journal.
fn missing<'a>(
    data: &std::path::Path,
    rows: &BTreeMap<String, Value>,
    writes: impl Iterator<Item = &'a Write>,
) -> Result<usize, String> {
    let (not_there, mut journal) = (writes.filter(|write| rows.get(&write.key) != Some(&json!(write.value))), None);
    let (mut overridden, mut lost) = (0, Vec::new());
    for write in not_there {
        if journal.is_none() {
            journal = Some(journal_of(data, write.table)?);
        }
        let entries = journal.as_ref().expect("just read");
        // Nobody else ever wrote the keys that are not contested: nothing can have won over them.
        if write.contested && entries.contains(&(write.key.clone(), write.value)) {
            overridden += 1;
        } else {
            lost.push(format!("{}={} of n{}", write.key, write.value, write.node + 1));
        }
    }
    match lost.len() {
        0 => Ok(overridden),
        count => Err(format!("{count} acknowledged writes are not there: {:?}", &lost[..count.min(5)])),
    }
}

/// All of the journal of a node: keys and values that lost.
fn journal_of(data: &std::path::Path, table: &str) -> Result<BTreeSet<(String, u64)>, String> {
    let (mut entries, mut after) = (BTreeSet::new(), String::new());
    loop {
        let page = get(data, &format!("/v1/tables/{table}/losses?limit=10000{after}"))?;
        let page = page.as_array().ok_or("losses are no array")?;
        let Some(last) = page.last() else { return Ok(entries) };
        after = format!("&after={}", last["revision"].as_str().ok_or("no revision")?);
        entries
            .extend(page.iter().filter_map(|loss| Some((loss["key"].as_str()?.to_owned(), loss["value"].as_u64()?))));
    }
}
