//! The lease of this node, as programs that act for the cluster ask for it.

use std::time::Duration;

use super::Node;

impl Node {
    /// What is left of this node's lease at this moment, by its own clock: for so long nobody else is told that this start
    /// of the node is over. Zero while it is fenced, before its first lease, and once it stops.
    ///
    /// The clock is looked at in this call: a process that was frozen and woke up is not taken in, whatever ran first.
    #[must_use]
    pub fn lease_left(&self) -> Duration {
        let until = *self.inner.shared.lease().borrow();
        until.map_or(Duration::ZERO, |until| until.since(self.now().mono))
    }

    /// Whether this node holds its lease at this moment. Who acts in the name of the whole cluster asks right before each
    /// act, and passes a fencing token on where the act takes long.
    #[must_use]
    pub fn holds_lease(&self) -> bool {
        !self.lease_left().is_zero()
    }

    /// Resolves when this node is fenced: its lease has run out, by its own clock, and others may be told from now on that
    /// this start of it is over, so that its locks and duties go to them. At once where it holds none. *Cancel safe.*
    ///
    /// A fenced node that gets in touch again in time holds its lease again; one that was declared gone meanwhile comes back
    /// under a new guid, with the event `node.over`.
    pub async fn fenced(&self) {
        let mut lease = self.inner.shared.lease();
        loop {
            lease.mark_unchanged();
            let left = self.lease_left();
            if left.is_zero() {
                return;
            }
            tokio::select! {
                biased;
                changed = lease.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(left) => {}
            }
        }
    }
}
