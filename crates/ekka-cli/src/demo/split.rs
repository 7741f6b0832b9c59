//! The demo's partition: the third node is cut off by the gates while all three are written to, and comes back.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::node::DemoNode;
use super::rows::Writers;
use super::story::{NODES, Story, one_cluster};
use crate::exit::Failure;

/// How long both sides are written to once they know that they are cut.
const WRITE: Duration = Duration::from_secs(1);
/// The one that is cut off.
const AWAY: usize = NODES - 1;

/// What was measured.
#[derive(Clone, Debug, Default)]
pub(super) struct Partition {
    /// Until both sides say so.
    pub(super) seen: Duration,
    /// From the repair until all is one again, and says so.
    pub(super) healed: Duration,
    /// Writes that were acknowledged on the side of the majority.
    pub(super) majority: usize,
    /// And on the side of the one that was alone.
    pub(super) minority: usize,
    /// Those of all these that a node lacks at the end.
    pub(super) lost: usize,
}

impl Story<'_> {
    /// Cuts, writes on both sides, repairs, and looks for every write.
    pub(super) async fn part(&mut self, cluster_id: &str) -> Result<Partition, Failure> {
        let name = self.nodes[AWAY].name.clone();
        let writers = Writers::begin_at("p", 1, self.nodes.iter().map(|node| node.client().clone()));
        self.cut()?;
        self.say(&format!("cut {name} off from the others, as a pulled cable does; all three are written to"))?;
        let cut = Instant::now();
        self.until("the sides did not notice the cut", async |nodes| both_sides_know(nodes, &name).await).await?;
        let seen = cut.elapsed();
        self.did(seen, &format!("the majority goes on, ready; {name} says minority: tables yes, quorum no"))?;
        tokio::time::sleep(WRITE).await;
        let repaired = Instant::now();
        self.open()?;
        self.say("the cable is back")?;
        let by_node = writers.end_each().await;
        let all: Vec<usize> = (0..NODES).collect();
        let healed = self.until("the sides did not come together", async |nodes| {
            for node in nodes {
                (node.status().await?.split.state == "none").then_some(())?;
            }
            one_cluster(nodes, &all).await
        });
        let now_id = healed.await?;
        let healed = repaired.elapsed();
        if now_id != cluster_id {
            return Err(Failure::failed(format!("the cluster was {cluster_id} and is {now_id} now")));
        }
        self.did(healed, &format!("healed by itself: {name} exchanged its tables and is up, its process the same"))?;
        let minority = by_node[AWAY].len();
        let written: BTreeSet<String> = by_node.into_iter().flatten().collect();
        let majority = written.len() - minority;
        let begun = Instant::now();
        let lost = self.lacking(0..NODES, &written).await?.len();
        if lost == 0 {
            let text = format!(
                "{majority} writes of the majority's side and {minority} of the other one: all are on all nodes"
            );
            self.did(begun.elapsed(), &text)?;
        } else {
            self.did_not(&format!("{lost} of {} acknowledged writes are missing on a node", written.len()))?;
        }
        Ok(Partition { seen, healed, majority, minority, lost })
    }

    fn cut(&self) -> Result<(), Failure> {
        let address = |node: &DemoNode| node.name.split('@').nth(1).unwrap_or_default().to_owned();
        let away = address(&self.nodes[AWAY]);
        // A gate holds what its own node dialled, so both sides have one.
        for node in &self.nodes[..AWAY] {
            node.set_gate(&format!("{away} both\n"))?;
        }
        let others: String = self.nodes[..AWAY].iter().map(|node| format!("{} both\n", address(node))).collect();
        self.nodes[AWAY].set_gate(&others)
    }

    fn open(&self) -> Result<(), Failure> {
        self.nodes.iter().try_for_each(|node| node.set_gate(""))
    }
}

/// The majority sees the other one down and is ready; that one says that it is alone, and serves its tables.
async fn both_sides_know(nodes: &[DemoNode], away: &str) -> Option<()> {
    for node in &nodes[..AWAY] {
        let members = node.members().await?;
        members.iter().find(|member| member.name == away && member.status == "down")?;
        (node.status().await?.ready_for.quorum).then_some(())?;
    }
    let alone = nodes[AWAY].status().await?;
    (alone.split.state == "minority" && !alone.ready_for.quorum && alone.ready_for.available).then_some(())
}
