//! A node's way back after a partition, as far as its control part takes part: callbacks and tables take a little time.

use std::time::Duration;

use ekka_core::control::{HealNews, HealRequest, Input};

use super::happening::Happening;
use super::net::Delivery;
use super::world::World;

/// Callbacks and the exchange of tables take up to this.
const STEP: Duration = Duration::from_millis(200);

impl World {
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
