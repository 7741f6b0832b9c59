//! Nobody is gone for its silence before it is fenced: while a start of a node holds its lease, no log says that it is
//! over for that.

use ekka::node::Node;
use ekka_core::consensus::LogPlace;
use ekka_core::durable::{Command, Entry};
use ekka_core::id::Incarnation;
use ekka_core::lease::Cause;

use super::Groups;

impl Groups {
    /// A node runs on this host.
    pub(in crate::stack) fn runs(&mut self, host: usize, node: Node) {
        self.nodes.insert(host, node);
    }

    /// A command was applied somewhere.
    pub(super) fn check_gone(&self, at: LogPlace, command: &[u8]) -> Result<(), String> {
        let Ok(Entry { command: Command::Gone(gone), .. }) = Entry::decode(command) else { return Ok(()) };
        if gone.term != at.term || !matches!(gone.cause, Cause::Silent { .. } | Cause::Removed { .. }) {
            return Ok(());
        }
        for (host, node) in &self.nodes {
            let identity = node.identity();
            let is_it = gone.id == Incarnation { node_id: identity.node_id, guid: identity.guid };
            if is_it && node.holds_lease() {
                return Err(format!("host {host} is gone with {:?} of its lease left", node.lease_left()));
            }
        }
        Ok(())
    }
}
