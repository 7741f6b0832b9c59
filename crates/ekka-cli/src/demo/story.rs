//! What the demo shows, step by step, each step awaited and checked.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::Scratch;
use super::node::{DemoNode, names};
use super::rows::{self, Writers};
use super::split::Partition;
use crate::exit::{Code, Failure};
use crate::out::{self, Paint, paint};

pub(super) const NODES: usize = 3;
/// How often the nodes are asked.
const LOOK: Duration = Duration::from_millis(20);
/// How long is written before a node is killed.
const WRITE: Duration = Duration::from_millis(500);
/// How long each step may take.
const STEP: Duration = Duration::from_secs(20);

/// What was measured.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    pub(super) nodes: usize,
    pub(super) cluster_id: String,
    pub(super) form: Duration,
    pub(super) notice: Duration,
    /// Writes that two nodes acknowledged.
    pub(super) writes: usize,
    /// Those of them that a node lacked at the end of its time.
    pub(super) lost: usize,
    pub(super) back: Duration,
    pub(super) partition: Partition,
    pub(super) total: Duration,
}

pub(super) struct Story<'a> {
    scratch: &'a Scratch,
    begun: Instant,
    json: bool,
    pub(super) nodes: Vec<DemoNode>,
}

impl<'a> Story<'a> {
    pub(super) fn new(scratch: &'a Scratch, json: bool) -> Self {
        Self { scratch, begun: Instant::now(), json, nodes: Vec::new() }
    }

    /// All of it.
    pub(super) async fn tell(mut self) -> Result<Figures, Failure> {
        let told = self.steps().await;
        if told.is_err() {
            self.show_log();
        }
        told
    }

    async fn steps(&mut self) -> Result<Figures, Failure> {
        let (form, cluster_id) = self.form().await?;
        let writers = self.share().await?;
        let (notice, guid) = self.kill().await?;
        let written = writers.end().await;
        let mut lost = self.look_for(&written).await?;
        let back = self.come_back(&cluster_id, &guid).await?;
        lost.append(&mut self.all_rows_everywhere(&written).await?);
        if !lost.is_empty() {
            self.show_log();
        }
        let partition = self.part(&cluster_id).await?;
        if partition.lost > 0 {
            self.show_log();
        }
        self.stop().await?;
        let (writes, lost) = (written.len(), lost.len());
        let total = self.begun.elapsed();
        Ok(Figures { nodes: NODES, cluster_id, form, notice, writes, lost, back, partition, total })
    }

    async fn form(&mut self) -> Result<(Duration, String), Failure> {
        self.scratch.bake()?;
        let names = names(NODES)?;
        let seeds = names.join(",");
        self.nodes = names.iter().map(|name| DemoNode::new(self.scratch.path(), name, &seeds).gated()).collect();
        let started = Instant::now();
        for n in 0..NODES {
            let pid = self.nodes[n].start(self.scratch.path())?;
            self.say(&format!("started {} (process {pid})", self.nodes[n].name))?;
        }
        let all: Vec<usize> = (0..NODES).collect();
        let cluster_id =
            self.until("the nodes did not form one cluster", async |nodes| one_cluster(nodes, &all).await).await?;
        let form = started.elapsed();
        let done = format!("{NODES} nodes, one cluster {cluster_id}, every node sees all others up");
        self.did(form, &done)?;
        Ok((form, cluster_id))
    }

    /// Begins to write on a table, at every node.
    async fn share(&mut self) -> Result<Writers, Failure> {
        rows::make(self.nodes[0].client()).await?;
        let all = self.until("the table did not get to all nodes", async |nodes| {
            for node in nodes {
                rows::keys(node.client()).await?;
            }
            Some(())
        });
        all.await?;
        self.say("a table that all three write on; each write is acknowledged by two nodes")?;
        let writers = Writers::begin(self.nodes.iter().map(|node| node.client().clone()));
        tokio::time::sleep(WRITE).await;
        Ok(writers)
    }

    /// Looks on both survivors for everything that was acknowledged by two nodes: what one of them lacks.
    async fn look_for(&mut self, written: &BTreeSet<String>) -> Result<BTreeSet<String>, Failure> {
        let begun = Instant::now();
        let lost = self.lacking(0..NODES - 1, written).await?;
        if lost.is_empty() {
            let count = written.len();
            let text =
                format!("{count} writes were acknowledged, by the killed node too; both survivors have them all");
            self.did(begun.elapsed(), &text)?;
        } else {
            self.did_not(&format!(
                "{} of {} acknowledged writes are missing on a survivor",
                lost.len(),
                written.len()
            ))?;
        }
        Ok(lost)
    }

    /// The same of the node that came back.
    async fn all_rows_everywhere(&mut self, written: &BTreeSet<String>) -> Result<BTreeSet<String>, Failure> {
        let begun = Instant::now();
        let lost = self.lacking(NODES - 1..NODES, written).await?;
        let name = self.nodes[NODES - 1].name.clone();
        if lost.is_empty() {
            self.did(begun.elapsed(), &format!("{name} has every row again"))?;
        } else {
            self.did_not(&format!("{name} lacks {} of {} rows", lost.len(), written.len()))?;
        }
        Ok(lost)
    }

    /// What one of these nodes lacks of the writes that were acknowledged, once they had time to get all.
    pub(super) async fn lacking(
        &mut self,
        which: Range<usize>,
        written: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, Failure> {
        let mut last = None;
        let found = self.until("the nodes did not say what they hold", async |nodes| {
            let mut lacking = BTreeSet::new();
            for node in &nodes[which.clone()] {
                lacking.append(&mut rows::lacking(node.client(), written).await?);
            }
            let is_all = lacking.is_empty();
            last = Some(lacking);
            is_all.then_some(())
        });
        match (found.await, last) {
            (Ok(()), _) => Ok(BTreeSet::new()),
            (Err(failure), Some(lacking)) if failure.code() == Code::TimedOut && !lacking.is_empty() => Ok(lacking),
            (Err(failure), _) => Err(failure),
        }
    }

    async fn kill(&mut self) -> Result<(Duration, String), Failure> {
        let victim = NODES - 1;
        let name = self.nodes[victim].name.clone();
        let Some(status) = self.nodes[victim].status().await else {
            return Err(Failure::failed(format!("{name} does not answer")));
        };
        self.say(&format!("kill -9 {name}"))?;
        let killed = Instant::now();
        self.nodes[victim].kill().await?;
        self.until("the others did not notice the kill", async |nodes| {
            for node in &nodes[..victim] {
                let members = node.members().await?;
                members.iter().find(|member| member.name == name && member.status == "down")?;
            }
            Some(())
        })
        .await?;
        let notice = killed.elapsed();
        self.did(notice, &format!("both others see {name} down"))?;
        let kept = self.until("the others lost their majority", async |nodes| {
            let status = nodes[0].status().await?;
            status.ready.then(|| format!("{} of {} voters in reach", status.quorum.in_reach, status.quorum.voters))
        });
        let kept = kept.await?;
        self.say(&format!("{} goes on: {kept}", self.nodes[0].name))?;
        Ok((notice, status.guid))
    }

    async fn come_back(&mut self, cluster_id: &str, old_guid: &str) -> Result<Duration, Failure> {
        let victim = NODES - 1;
        let name = self.nodes[victim].name.clone();
        let started = Instant::now();
        let pid = self.nodes[victim].start(self.scratch.path())?;
        self.say(&format!("started {name} again (process {pid}); nobody types join"))?;
        let all: Vec<usize> = (0..NODES).collect();
        let (now_id, guid) = self
            .until("the killed node did not come back", async |nodes| {
                let id = one_cluster(nodes, &all).await?;
                let guid = nodes[victim].status().await?.guid;
                let members = nodes[0].members().await?;
                let rows: Vec<_> = members.iter().filter(|member| member.name == name).collect();
                matches!(rows.as_slice(), [row] if row.guid == guid && guid != old_guid).then_some((id, guid))
            })
            .await?;
        let back = started.elapsed();
        if now_id != cluster_id {
            return Err(Failure::failed(format!("the cluster was {cluster_id} and is {now_id} now")));
        }
        self.did(back, &format!("{name} is back in the same cluster, one row, new guid {}", out::short(&guid)))?;
        Ok(back)
    }

    async fn stop(&mut self) -> Result<(), Failure> {
        for n in 0..NODES {
            let clean = self.nodes[n].stop().await?;
            if !clean {
                return Err(Failure::failed(format!("{} did not stop cleanly", self.nodes[n].name)));
            }
        }
        self.say("all three stopped with a goodbye")
    }

    /// Asks until there is an answer. A node that ends meanwhile ends the demo.
    pub(super) async fn until<T>(
        &mut self,
        or_else: &str,
        mut ask: impl AsyncFnMut(&[DemoNode]) -> Option<T>,
    ) -> Result<T, Failure> {
        let begun = Instant::now();
        loop {
            if let Some(answer) = ask(&self.nodes).await {
                return Ok(answer);
            }
            if let Some(ended) = self.nodes.iter_mut().find_map(|node| node.has_ended().then(|| node.name.clone())) {
                return Err(Failure::failed(format!("{or_else}: the process of {ended} has ended")));
            }
            if begun.elapsed() > STEP {
                return Err(Failure::new(
                    Code::TimedOut,
                    "timed_out",
                    format!("{or_else} within {} s", STEP.as_secs()),
                ));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    pub(super) fn say(&self, text: &str) -> Result<(), Failure> {
        if self.json {
            return Ok(());
        }
        out::print(&format!("{:6.2} s  {text}\n", self.begun.elapsed().as_secs_f64()))
    }

    pub(super) fn did(&self, took: Duration, text: &str) -> Result<(), Failure> {
        self.say(&format!("{} {text} (after {:.2} s)", paint("ok", Paint::Good), took.as_secs_f64()))
    }

    pub(super) fn did_not(&self, text: &str) -> Result<(), Failure> {
        self.say(&format!("{} {text}", paint("LOST", Paint::Bad)))
    }

    /// The end of the nodes' log, where something did not come true.
    fn show_log(&self) {
        let log = std::fs::read_to_string(self.scratch.path().join("nodes.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        out::note("the last lines of the nodes' log:");
        for line in &lines[lines.len().saturating_sub(20)..] {
            out::note(line);
        }
    }
}

/// The id of the cluster, once these nodes agree on it, are ready, and see each other up.
pub(super) async fn one_cluster(nodes: &[DemoNode], which: &[usize]) -> Option<String> {
    let names: BTreeSet<&str> = which.iter().map(|n| nodes[*n].name.as_str()).collect();
    let mut id = None;
    for n in which {
        let status = nodes[*n].status().await?;
        let members = nodes[*n].members().await?;
        let up: BTreeSet<&str> =
            members.iter().filter(|member| member.status == "up").map(|member| member.name.as_str()).collect();
        let own = status.cluster_id?;
        if !status.ready || up != names || id.get_or_insert_with(|| own.clone()) != &own {
            return None;
        }
    }
    id
}
