//! Whether the tables of this node have what their peers hold, and their peers what they have.

use std::collections::BTreeMap;
use std::time::Duration;

use ekka_core::limits::TABLE_REPORT_INTERVAL;
use ekka_core::table::Vector;
use ekka_core::view::{Member, Role, Status};
use tokio::time::{Instant, sleep};

use super::super::available::AvailableSlot;
use super::super::slot::Slot;
use super::TableDoor;

/// A table is opened a moment after its entry was applied.
const SOON: Duration = Duration::from_millis(5);
/// How often it is looked whether peers have said more.
const LOOK: Duration = Duration::from_millis(50);

impl TableDoor {
    /// Waits until a table with this number is open here and has got from its peers what they hold, so long at most;
    /// whether it has.
    pub async fn loaded(&self, id: u64, limit: Duration) -> bool {
        let tables = &self.tables;
        let wait = async {
            let mut committed = tables.committed();
            let slot = loop {
                match tables.slot(id) {
                    Some(slot) => break slot,
                    None => drop(tokio::time::timeout(SOON, committed.changed()).await),
                }
            };
            slot.loaded().wait_for(|loaded| *loaded).await.is_ok()
        };
        tokio::select! {
            biased;
            () = tables.stopped() => false,
            loaded = tokio::time::timeout(limit, wait) => loaded.unwrap_or(false),
        }
    }

    /// Waits until a table of this name is open here and has got from its peers what they hold.
    pub(crate) async fn loaded_by_name(&self, name: &str) {
        // One that is dropped meanwhile may be made again.
        while self.waits(name).is_some() {
            match self.tables.named(name) {
                Some(slot) => drop(tokio::time::timeout(LOOK, slot.loaded().wait_for(|loaded| *loaded)).await),
                None => sleep(SOON).await,
            }
        }
    }

    /// What a table waits for until it has what its peers held, in words; `None` where it waits for nothing.
    #[must_use]
    pub fn waits(&self, name: &str) -> Option<String> {
        match self.tables.named(name) {
            Some(slot) => slot.waits().map(|whom| format!("waits for {whom}")),
            None if self.tables.committed().borrow().tables.contains_key(name) => Some("is read from disc".into()),
            None => Some("there is no table of this name".into()),
        }
    }

    /// Of which tables no other node that is up has all that this one had when it was asked, in words. Peers say now and
    /// then what they hold, and are given the time for that. Owned tables are not looked at: their rows end with the owner.
    pub async fn only_here(&self) -> Vec<String> {
        let until = Instant::now() + 2 * TABLE_REPORT_INTERVAL + Duration::from_millis(500);
        let mut goals: BTreeMap<u64, (std::sync::Arc<AvailableSlot>, Vector)> = BTreeMap::new();
        for slot in &*self.tables.slots() {
            if let Slot::Available(slot) = slot {
                let table = slot.read();
                if table.size().bytes > 0 {
                    goals.insert(slot.id, (slot.clone(), table.held()));
                }
            }
        }
        loop {
            let view = self.tables.view();
            let is_other = |member: &&Member| member.id.node_id != view.me.node_id && member.role != Role::Witness;
            let others: Vec<&Member> =
                view.members.iter().filter(is_other).filter(|member| member.status.is_running()).collect();
            let up = || others.iter().filter(|member| member.status == Status::Up);
            goals.retain(|_, (slot, goal)| {
                !slot.closed.is_cancelled() && !up().any(|member| slot.is_whole_at(member.id, goal))
            });
            // Only one that is up, and has all that its peers held, gets there soon.
            let mut hopes = goals.values().filter(|(slot, _)| up().any(|member| slot.told.has_all(member.id)));
            if hopes.next().is_none() || Instant::now() >= until {
                return goals.values().map(|(slot, goal)| words(slot, goal, &others)).collect();
            }
            sleep(LOOK).await;
        }
    }
}

/// Why none of these nodes has all of a table.
fn words(slot: &AvailableSlot, goal: &Vector, others: &[&Member]) -> String {
    let why = |member: &&Member| {
        let (name, status) = (&member.name, member.status.as_str());
        let lacks = match slot.lacks(member.id, goal) {
            Some(1) => "lacks 1 operation".to_owned(),
            Some(count) if count > 0 => format!("lacks {count} operations"),
            Some(_) | None => "has not said that it has all rows".to_owned(),
        };
        if member.status == Status::Up { format!("{name} {lacks}") } else { format!("{name} is {status} and {lacks}") }
    };
    let name = &slot.schema.name;
    if others.is_empty() {
        return format!("no other node has table {name}: none is up");
    }
    format!("no other node has all of table {name}: {}", others.iter().map(why).collect::<Vec<_>>().join(", "))
}
