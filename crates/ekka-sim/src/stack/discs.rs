//! What befalls the discs of hosts.

use super::World;

impl World {
    /// Makes the disc of a host refuse to write, or take writes again.
    pub fn fail_disk(&mut self, i: usize, failing: bool) {
        self.note(&format!("disc {i} {}", if failing { "fails" } else { "works" }));
        self.touch(i);
        self.seats[i].failing = failing;
        self.seats[i].disk.set_failing(failing);
    }

    /// Power goes at these hosts, at once: their processes end, and what their discs had not synced is lost or torn.
    pub fn lose_power(&mut self, hosts: impl IntoIterator<Item = usize>) {
        for i in hosts {
            self.note(&format!("power of {i} is gone"));
            self.end_process(i);
        }
    }

    /// Somewhere in the store of a host, which does not run, bytes go bad.
    pub fn spoil_store(&mut self, i: usize) {
        self.note(&format!("store of {i} is spoilt"));
        if self.seats[i].disk.store().spoil() {
            self.lock_groups().lost_store(i);
        }
    }

    /// The host gets another disc, empty: its node is a new one.
    pub fn wipe(&mut self, i: usize) {
        self.note(&format!("disc of {i} is wiped"));
        self.crash(i);
        self.seats[i].disk.wipe();
        self.watch.another_node(i);
        self.lock_groups().lost_store(i);
    }
}
