//! How nodes are asked that are not all reached directly: what cannot be asked of a node itself is asked through a third.
//!
//! A question goes one node further and never two: one that is to be passed on is not of the kind that can be passed on
//! again, and who is asked for itself asks nobody else. Only the start of the node that is meant answers.
//!
//! Whom a direct call did not reach is asked through a third at once, until it is linked again; so is one that this node does
//! not hear. What may take long is asked on a way that has just answered a short question, so that no time for long answers
//! is spent on dials.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ekka_core::id::{Incarnation, NodeId};
use ekka_core::view::{LinkState, View};
use tokio::time::Instant;

use super::super::hub::Tables;
use super::{Ask, DIGEST, PASSED, Passed, Told};
use crate::rpc::{Call, CallError, Hub};

/// Time for a short answer; so long a direct call is waited for before a third is asked.
const SHORT: Duration = Duration::from_secs(2);
/// How long a peer may take to sum up a table.
const LONG: Duration = Duration::from_secs(60);
/// What one that passes a question on keeps back of the time it has, at most half of that.
const GRACE: Duration = Duration::from_secs(5);
/// So many others are asked about one that does not answer.
const THIRDS: usize = 3;
/// A node that is heard all along and was not reached is called again after so long.
const AGAIN: Duration = Duration::from_secs(10);

/// How nodes are asked in one exchange, or by one comparison.
pub(in crate::table) struct Reach<'a> {
    tables: &'a Tables,
    hub: &'a Arc<Hub>,
    /// Whether others are asked to pass on.
    by_others: bool,
    unreached: Mutex<BTreeMap<NodeId, Unreached>>,
}

/// A node that a direct call did not reach.
#[derive(Clone, Copy)]
struct Unreached {
    at: Instant,
    /// Whether it was heard ever since, as far as was looked.
    heard: bool,
}

/// What came of a call.
enum Called {
    Told(Told),
    /// Whom it was for was not reached; why.
    NotReached(String),
    /// It failed, and would through anybody; why.
    Failed(String),
}

impl<'a> Reach<'a> {
    /// Asks nodes themselves only.
    pub(in crate::table) fn direct(tables: &'a Tables, hub: &'a Arc<Hub>) -> Self {
        Self { tables, hub, by_others: false, unreached: Mutex::default() }
    }

    /// Asks others to pass on what a node cannot be asked itself.
    pub(in crate::table) fn by_others(tables: &'a Tables, hub: &'a Arc<Hub>) -> Self {
        Self { by_others: true, ..Self::direct(tables, hub) }
    }

    /// These, first those that are reached directly as far as is known.
    pub(in crate::table) fn nearest_first(&self, nodes: &[Incarnation]) -> Vec<Incarnation> {
        let view = self.tables.view();
        let mut nodes = nodes.to_vec();
        nodes.sort_by_key(|node| !self.is_near(&view, node.node_id));
        nodes
    }

    /// Asks what is answered at once.
    pub(in crate::table) async fn ask(&self, node: Incarnation, ask: Ask) -> Result<Told, String> {
        if !self.by_others {
            return self.directly(node, ask).await;
        }
        self.find_way(node, &Passed { node, ask }).await.map(|(_, told)| told)
    }

    /// Asks for what a table sums to.
    pub(in crate::table) async fn sum(&self, node: Incarnation, ask: Ask) -> Result<Told, String> {
        if !self.by_others {
            return self.directly(node, ask).await;
        }
        let by = match self.find_way(node, &Passed { node, ask: Ask::Open }).await? {
            (_, Told::Not(why)) => return Err(why),
            (by, _) => by,
        };
        let limit = if by == node.node_id { LONG } else { LONG + GRACE };
        match self.call(by, &Passed { node, ask }, limit).await {
            Called::Told(told) => Ok(told),
            Called::NotReached(why) | Called::Failed(why) => Err(why),
        }
    }

    async fn directly(&self, node: Incarnation, ask: Ask) -> Result<Told, String> {
        let called = Call::new(self.hub.clone(), node.node_id, &DIGEST, &ask).deadline(LONG).await;
        called.map_err(|error| error.to_string())
    }

    /// Asks a node, or through the first third that reaches it. Whose call it was, and what it was told.
    async fn find_way(&self, node: Incarnation, question: &Passed) -> Result<(NodeId, Told), String> {
        let (view, id) = (self.tables.view(), node.node_id);
        let mut ways = Vec::new();
        if self.is_near(&view, id) {
            ways.push(id);
        }
        ways.extend(self.thirds(&view, id));
        // What is not heard may be reached all the same; it is tried once, after all others.
        if !ways.contains(&id) && !self.locked().contains_key(&id) {
            ways.push(id);
        }
        let mut failed = None;
        for by in ways {
            match self.call(by, question, SHORT).await {
                Called::Told(told) => return Ok((by, told)),
                Called::Failed(why) if by == id => return Err(why),
                Called::NotReached(why) | Called::Failed(why) => {
                    let through = || format!("through {}: {why}", self.tables.world.name_of(by));
                    failed.get_or_insert_with(|| if by == id { why.clone() } else { through() });
                }
            }
        }
        Err(failed.unwrap_or_else(|| "it is not reached, and nobody else can be asked".into()))
    }

    async fn call(&self, by: NodeId, question: &Passed, limit: Duration) -> Called {
        match Call::new(self.hub.clone(), by, &PASSED, question).deadline(limit).await {
            Ok(Told::NotReached(why)) => Called::NotReached(why),
            Ok(told) => Called::Told(told),
            Err(error) if is_out_of_reach(&error) => {
                // One that took too long over a table was there when that began.
                if limit == SHORT || matches!(error, CallError::Unreachable { .. }) {
                    let heard = hears(&self.tables.view(), None, by) == Some(true);
                    self.locked().insert(by, Unreached { at: Instant::now(), heard });
                }
                Called::NotReached(error.to_string())
            }
            Err(error) => Called::Failed(error.to_string()),
        }
    }

    /// Whom to ask about a node that is not reached: first those of whom it is known that they hear it.
    fn thirds(&self, view: &View, node: NodeId) -> Vec<NodeId> {
        let runs = view.members.iter().filter(|member| member.status.is_running());
        let mut others: Vec<NodeId> = runs.map(|member| member.id.node_id).collect();
        others.retain(|other| *other != node && *other != view.me.node_id && self.is_near(view, *other));
        others.sort_by_key(|other| hears(view, Some(*other), node) != Some(true));
        others.truncate(THIRDS);
        others
    }

    /// Whether a node is to be called itself.
    fn is_near(&self, view: &View, node: NodeId) -> bool {
        is_near(self.locked().entry(node), hears(view, None, node))
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<NodeId, Unreached>> {
        // Nothing that holds this lock can leave it half-changed.
        self.unreached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a node is to be called itself, by whether this node hears it, and what became of the last call.
fn is_near(entry: Entry<'_, NodeId, Unreached>, hears: Option<bool>) -> bool {
    let Entry::Occupied(mut unreached) = entry else { return hears != Some(false) };
    if hears == Some(false) {
        unreached.get_mut().heard = false;
        return false;
    }
    let linked_again = hears == Some(true) && !unreached.get().heard;
    let again = linked_again || unreached.get().at.elapsed() >= AGAIN;
    if again {
        unreached.remove();
    }
    again
}

/// Whether a node hears another one, as far as is known here; this node, where it is none.
fn hears(view: &View, by: Option<NodeId>, node: NodeId) -> Option<bool> {
    let by = by.unwrap_or(view.me.node_id);
    let link = view.links.iter().find(|link| link.from == by && link.to == node)?;
    Some(link.state == LinkState::Up)
}

fn is_out_of_reach(error: &CallError) -> bool {
    matches!(error, CallError::Unreachable { .. } | CallError::TimedOut { .. })
}

/// Passes a question on to the node that it is for, within what is left of the time of who asked.
pub(super) async fn pass_on(hub: &Arc<Hub>, question: Passed, left: Duration) -> Told {
    let limit = left.saturating_sub(GRACE).max(left / 2);
    match Call::new(hub.clone(), question.node.node_id, &PASSED, &question).deadline(limit).await {
        Ok(told) => told,
        Err(error) => Told::NotReached(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_that_a_call_did_not_reach_is_called_again_once_it_is_linked_again_or_later() {
        let node = NodeId::from_u128(1);
        let mut unreached = BTreeMap::new();
        let mut near = |failed: Option<bool>, hears| {
            if let Some(heard) = failed {
                unreached.insert(node, Unreached { at: Instant::now(), heard });
            }
            is_near(unreached.entry(node), hears)
        };
        assert_eq!([None, Some(true), Some(false)].map(|hears| near(None, hears)), [true, true, false]);
        assert!(!near(Some(true), Some(true)), "it is not seen yet that it is silent");
        assert!(!near(None, Some(false)));
        assert!(near(None, Some(true)), "it is linked again");
        assert!(near(None, Some(true)), "and that is forgotten");
        assert!(!near(Some(true), Some(true)));
        tokio::time::advance(AGAIN).await;
        assert!(near(None, Some(true)));
        assert!(!near(Some(false), None));
        tokio::time::advance(AGAIN).await;
        assert!(!near(None, Some(false)), "what is not heard is not called again");
        assert!(near(None, None));
    }
}
