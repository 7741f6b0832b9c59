//! The addresses of members, for which places in the handshake are kept.
//!
//! A member whose name holds an address is known by that. One that is named by DNS is known by where its verified
//! connections came from or went to; what they show outlives them, so that a member that lost its link finds a place
//! when strangers hold all others. Nothing is kept of who is no member.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ekka_core::id::NodeId;

/// Each member with its addresses: one row for each, three addresses a row.
#[derive(Default)]
pub(super) struct Known {
    members: BTreeMap<NodeId, Addresses>,
}

#[derive(Clone, Copy, Default)]
struct Addresses {
    /// The one in its name.
    named: Option<IpAddr>,
    /// Where it last came from.
    came_from: Option<IpAddr>,
    /// Where it was last dialled; behind a translation of addresses that is another one.
    dialed: Option<IpAddr>,
}

impl Known {
    /// Replaces the members, each with the address in its name; what was seen of those who stay is kept.
    pub(super) fn set_members(&mut self, members: BTreeMap<NodeId, Option<IpAddr>>) {
        let row = |(node, named)| {
            let seen = self.members.get(&node).copied().unwrap_or_default();
            (node, Addresses { named, ..seen })
        };
        self.members = members.into_iter().map(row).collect();
    }

    /// A verified connection with a node is open, or was when it became a member.
    pub(super) fn seen(&mut self, node: NodeId, addr: IpAddr, dialed: bool) {
        if let Some(row) = self.members.get_mut(&node) {
            let slot = if dialed { &mut row.dialed } else { &mut row.came_from };
            *slot = Some(addr);
        }
    }

    /// All addresses.
    pub(super) fn addrs(&self) -> BTreeSet<IpAddr> {
        self.members.values().flat_map(|row| [row.named, row.came_from, row.dialed]).flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u128) -> NodeId {
        NodeId::from_u128(n)
    }

    fn ip(n: u8) -> IpAddr {
        [10, 0, 0, n].into()
    }

    #[test]
    fn a_member_is_known_by_its_name_and_by_what_was_seen_of_it() {
        let mut known = Known::default();
        known.set_members(BTreeMap::from([(node(1), Some(ip(1))), (node(2), None)]));
        assert_eq!(known.addrs(), BTreeSet::from([ip(1)]));
        known.seen(node(2), ip(22), false);
        known.seen(node(2), ip(2), true);
        known.seen(node(2), ip(23), false);
        assert_eq!(known.addrs(), BTreeSet::from([ip(1), ip(2), ip(23)]), "the latest of each way");
        known.set_members(BTreeMap::from([(node(2), None), (node(3), None)]));
        assert_eq!(known.addrs(), BTreeSet::from([ip(2), ip(23)]), "what was seen of those who stay is kept");
    }

    #[test]
    fn strangers_are_not_remembered() {
        let mut known = Known::default();
        (0..1000).for_each(|n| known.seen(node(n), ip(9), false));
        assert!(known.members.is_empty());
        known.set_members(BTreeMap::from([(node(1), None)]));
        assert!(known.addrs().is_empty());
    }
}
