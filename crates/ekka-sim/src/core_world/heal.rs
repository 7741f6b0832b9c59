//! A node's way back after a partition, as far as its control part takes part: callbacks and tables take a little time; and
//! what nodes tell, of which it is seen whether there was a partition.

use std::time::Duration;

use ekka_core::control::{HealNews, HealRequest, Input};
use ekka_core::event::{Event, EventKind};
use ekka_core::id::{NodeId, NodeName};

use super::happening::Happening;
use super::net::Delivery;
use super::world::World;

/// Callbacks and the exchange of tables take up to this.
const STEP: Duration = Duration::from_millis(200);

impl World {
    pub(super) fn told(&mut self, machine: usize, event: Event) {
        self.note(&format!("{machine}: {:?}", event.kind));
        match &event.kind {
            EventKind::MemberDown { node_id, .. } => {
                if let Some(by) = self.machines[machine].node_id() {
                    self.watch.fell(by, *node_id);
                }
            }
            EventKind::HealStarted { stays, returns, .. } => {
                let seen = self.ids_of(machine, stays).zip(self.ids_of(machine, returns));
                if let Some(Err(what)) = seen.map(|(stays, returns)| self.watch.heals(&stays, &returns)) {
                    self.failure.get_or_insert(what);
                }
            }
            _ => {}
        }
        self.events[machine].push(event);
    }

    /// The nodes of these names, as a machine shows them, where it shows all of them.
    fn ids_of(&self, machine: usize, names: &[NodeName]) -> Option<Vec<NodeId>> {
        let view = self.machines[machine].process.as_ref()?.control.view();
        let id_of = |name: &NodeName| view.members.iter().find(|m| m.name == *name).map(|m| m.id.node_id);
        names.iter().map(id_of).collect()
    }

    pub(super) fn heal_request(&mut self, machine: usize, request: &HealRequest) {
        let failed = Vec::new();
        let news = match *request {
            HealRequest::Prepare { id } => HealNews::Prepared { id, failed },
            HealRequest::Exchange { id, .. } => HealNews::Exchanged { id, rows: 0, overridden: 0 },
            HealRequest::Reboot { id } => HealNews::Rebooted { id, failed },
            HealRequest::Drop => return,
        };
        let (life, when) = (self.machines[machine].life, self.now + self.rng.up_to(STEP));
        let delivery = Delivery::Backend(Box::new(Input::Heal(news)));
        self.at(when, Happening::Deliver { machine, life, delivery });
    }
}
