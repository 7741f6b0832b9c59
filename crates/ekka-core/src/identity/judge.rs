//! The judgement of one Hello.

use alloc::format;
use alloc::string::String;

use super::Claim;
use crate::id::{Guid, Incarnation, NodeId, NodeName};
use crate::wire::{Hello, Refusal, RefusalReason};

/// What this node knows of a node id or a name that a Hello claims.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known {
    /// Which start of which node.
    pub id: Incarnation,
    /// Its name.
    pub name: NodeName,
    /// Where it is, for words.
    pub addr: String,
}

/// What this node knows that bears on a Hello.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// This node.
    pub me: Known,
    /// Its own claim.
    pub mine: Claim,
    /// The latest start known of that node id: how often its directory was started, and its guid.
    pub latest: Option<(u64, Guid)>,
    /// Another start of that node id that is linked here.
    pub linked: Option<Guid>,
    /// The start that says Hello was found to be a copy before; the original, for words.
    pub copy_of: Option<Known>,
    /// What those who may hear another start of it said; `None` while they have not been asked.
    pub asked: Option<Asked>,
    /// The node that says Hello is a member of this node's cluster.
    pub seated: bool,
    /// A member or peer of another node id that has the claimed name and runs.
    pub name_holder: Option<(Known, Claim)>,
    /// Planted fault: a stale incarnation wins.
    pub stale_wins: bool,
}

/// What was answered to the question which start of a node runs. Each answer comes from that start itself, on a link
/// that somebody has to it, after the Hello that is judged: no age of a heartbeat and no clock is in it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Asked {
    /// The other start with the best claim that answered.
    pub rival: Option<(Known, Claim)>,
    /// The very start that says Hello answered on a link of somebody else.
    pub itself: bool,
}

/// What to do with the peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// Let it in.
    Accept,
    /// Refuse it in words.
    Refuse(Refusal),
    /// Hold it back and ask around which start of its node runs.
    Ask,
    /// The other of two that claim *this* node's identity has the better claim: this node stops.
    StopSelf(Refusal),
}

fn short(node_id: NodeId) -> String {
    let text = format!("{node_id}");
    text.chars().take(8).collect()
}

/// The words for a copied data directory, as the copy is told.
#[must_use]
pub fn duplicate(original: &Known) -> Refusal {
    let text = format!(
        "duplicate identity: node_id {} already runs as {} at {} and answers. This data directory is a copy of its: \
         give this node an empty data directory, or start it once with `ekka agent --restored`",
        short(original.id.node_id),
        original.name,
        original.addr,
    );
    Refusal::new(RefusalReason::DuplicateIdentity, text)
}

/// The words for a name that somebody else has.
#[must_use]
pub fn name_conflict(hello: &Hello, addr: &str, holder: &Known) -> Refusal {
    let text = format!(
        "name conflict: {} is the name of node_id {} at {}, which is up; node_id {} at {addr} claims it too. Give one of \
         them another node.name",
        hello.name,
        short(holder.id.node_id),
        holder.addr,
        short(hello.node_id),
    );
    Refusal::new(RefusalReason::NameConflict, text)
}

/// Of two that claim this node's identity.
fn own_twin(hello: &Hello, addr: &str, facts: &Facts) -> Judgement {
    let me = &facts.me;
    if hello.guid == me.id.guid {
        return Judgement::Refuse(Refusal::new(RefusalReason::OurSelf, format!("this is {} itself", me.name)));
    }
    if facts.mine.beats(Claim::of(hello)) {
        return Judgement::Refuse(duplicate(me));
    }
    let other = Known { id: hello.incarnation(), name: hello.name.clone(), addr: addr.into() };
    Judgement::StopSelf(duplicate(&other))
}

/// Compares with other starts of the same node id; `None` where nothing speaks against letting it in.
fn other_start(hello: &Hello, facts: &Facts) -> Option<Judgement> {
    if let Some(original) = &facts.copy_of {
        return Some(Judgement::Refuse(duplicate(original)));
    }
    let latest = facts.latest.filter(|(_, guid)| *guid != hello.guid);
    if latest.is_none() && facts.linked.is_none() {
        return None;
    }
    let Some(asked) = &facts.asked else { return Some(Judgement::Ask) };
    if let Some((rival, claim)) = &asked.rival {
        return (!Claim::of(hello).beats(*claim)).then(|| Judgement::Refuse(duplicate(rival)));
    }
    let (counter, guid) = latest?;
    if hello.guid < guid {
        // It is in the cluster, and somebody else hears it there: the newer start was of a copy, and is not here.
        return (!(hello.holds && asked.itself)).then(|| Judgement::Refuse(superseded(hello, counter)));
    }
    (hello.start_counter <= counter).then(|| Judgement::Refuse(restored(hello, counter)))
}

fn superseded(hello: &Hello, counter: u64) -> Refusal {
    let text = format!(
        "a newer start of node_id {} is known here (start {counter}, this is start {}): this one is over",
        short(hello.node_id),
        hello.start_counter
    );
    Refusal::new(RefusalReason::Superseded, text)
}

fn restored(hello: &Hello, counter: u64) -> Refusal {
    let text = format!(
        "the data directory of {} was restored from an old copy: this is its start {}, but start {counter} was seen \
         here; it joins as a new node",
        hello.name, hello.start_counter
    );
    Refusal::new(RefusalReason::Restored, text)
}

/// The claim to a name: a member's is better than that of somebody who is not in.
fn name_claim(hello: &Hello, facts: &Facts) -> Claim {
    let claim = Claim::of(hello);
    Claim { is_in: claim.is_in || facts.seated, holds: false, ..claim }
}

/// Judges a Hello.
#[must_use]
pub fn judge(hello: &Hello, addr: &str, facts: &Facts) -> Judgement {
    let me = &facts.me;
    if hello.node_id == me.id.node_id {
        return own_twin(hello, addr, facts);
    }
    if !facts.stale_wins
        && let Some(judgement) = other_start(hello, facts)
    {
        return judgement;
    }
    if hello.name == me.name {
        return Judgement::Refuse(name_conflict(hello, addr, me));
    }
    match &facts.name_holder {
        Some((holder, claim)) if !name_claim(hello, facts).beats(*claim) => {
            Judgement::Refuse(name_conflict(hello, addr, holder))
        }
        _ => Judgement::Accept,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ClusterId;
    use crate::time::Wall;
    use crate::view::{Role, Status};
    use crate::wire::{Lane, Purpose, VersionRange};

    fn known(node: u128, guid: u128, name: &str) -> Known {
        let id = Incarnation { node_id: NodeId::from_u128(node), guid: Guid::from_u128(guid) };
        Known { id, name: name.parse().unwrap(), addr: "10.0.0.9:1".into() }
    }

    fn hello(node: u128, guid: u128, counter: u64, name: &str) -> Hello {
        Hello {
            versions: VersionRange::OURS,
            features: 0,
            software: "0.1.0".into(),
            purpose: Purpose::Peer(Lane::Control),
            name: name.parse().unwrap(),
            node_id: NodeId::from_u128(node),
            guid: Guid::from_u128(guid),
            previous_guid: None,
            start_counter: counter,
            cluster_name: "ekka".into(),
            cluster_id: None::<ClusterId>,
            wall: Wall::from_millis(1),
            role: Role::Core,
            status: Status::Joining,
            listen_port: 4370,
            holds: false,
            generation: 0,
        }
    }

    fn claim(guid: u128, is_in: bool, holds: bool) -> Claim {
        Claim { guid: Guid::from_u128(guid), is_in, holds }
    }

    fn facts() -> Facts {
        Facts {
            me: known(1, 100, "ekka@10.0.0.1"),
            mine: claim(100, true, true),
            latest: None,
            linked: None,
            copy_of: None,
            seated: false,
            asked: None,
            name_holder: None,
            stale_wins: false,
        }
    }

    fn reason(judgement: &Judgement) -> Option<RefusalReason> {
        match judgement {
            Judgement::Refuse(refusal) | Judgement::StopSelf(refusal) => Some(refusal.reason),
            _ => None,
        }
    }

    #[test]
    fn a_stranger_with_its_own_name_and_disc_is_let_in() {
        assert_eq!(judge(&hello(2, 5, 1, "ekka@10.0.0.2"), "a", &facts()), Judgement::Accept);
    }

    #[test]
    fn whoever_holds_a_majority_stays_then_whoever_is_in_the_cluster_then_the_older_start() {
        for (a, b, first) in [
            (claim(9, true, true), claim(5, true, false), true),
            (claim(9, true, true), claim(5, false, false), true),
            (claim(9, true, false), claim(5, false, false), true),
            (claim(9, false, false), claim(5, false, false), false),
            (claim(9, true, true), claim(5, true, true), false),
        ] {
            assert_eq!((a.beats(b), b.beats(a)), (first, !first), "{a:?} {b:?}");
        }
    }

    #[test]
    fn of_two_with_this_identity_the_better_claim_stays() {
        let mut newer = hello(1, 101, 4, "ekka@10.0.0.7");
        assert_eq!(reason(&judge(&newer, "a", &facts())), Some(RefusalReason::DuplicateIdentity));
        (newer.status, newer.holds) = (Status::Up, true);
        let cut_off = Facts { mine: claim(100, true, false), ..facts() };
        assert!(matches!(judge(&newer, "a", &cut_off), Judgement::StopSelf(_)));
        // A copy whose clock is behind has the smaller guid, and is not in the cluster.
        let slow = judge(&hello(1, 99, 4, "ekka@10.0.0.7"), "a", &facts());
        assert_eq!(reason(&slow), Some(RefusalReason::DuplicateIdentity));
        assert!(!matches!(slow, Judgement::StopSelf(_)));
        assert_eq!(reason(&judge(&hello(1, 100, 3, "ekka@10.0.0.1"), "a", &facts())), Some(RefusalReason::OurSelf));
    }

    #[test]
    fn a_newer_start_is_let_in_once_nobody_with_a_better_claim_answered() {
        let mut facts = facts();
        facts.latest = Some((7, Guid::from_u128(50)));
        let newer = hello(2, 60, 8, "ekka@10.0.0.3");
        assert_eq!(judge(&newer, "a", &facts), Judgement::Ask);
        facts.asked = Some(Asked::default());
        assert_eq!(judge(&newer, "a", &facts), Judgement::Accept);
        let rival = (known(2, 50, "ekka@10.0.0.2"), claim(50, false, false));
        facts.asked = Some(Asked { rival: Some(rival), itself: false });
        assert_eq!(reason(&judge(&newer, "a", &facts)), Some(RefusalReason::DuplicateIdentity));
        let settled = Hello { status: Status::Up, holds: true, ..newer };
        assert_eq!(judge(&settled, "a", &facts), Judgement::Accept, "it has the cluster's majority, the rival nobody");
    }

    #[test]
    fn an_older_start_is_over_unless_it_holds_a_majority_and_others_hear_it() {
        let mut facts = facts();
        facts.latest = Some((7, Guid::from_u128(50)));
        let older = hello(2, 40, 6, "ekka@10.0.0.2");
        assert_eq!(judge(&older, "a", &facts), Judgement::Ask);
        facts.asked = Some(Asked { rival: None, itself: true });
        assert_eq!(reason(&judge(&older, "a", &facts)), Some(RefusalReason::Superseded));
        let holds = Hello { status: Status::Up, holds: true, ..older };
        assert_eq!(judge(&holds, "a", &facts), Judgement::Accept);
        facts.asked = Some(Asked::default());
        assert_eq!(reason(&judge(&holds, "a", &facts)), Some(RefusalReason::Superseded), "nobody else hears it");
    }

    #[test]
    fn another_start_that_is_linked_is_asked_although_nothing_is_known_of_the_node() {
        let facts = Facts { linked: Some(Guid::from_u128(50)), ..facts() };
        assert_eq!(judge(&hello(2, 60, 8, "ekka@10.0.0.3"), "a", &facts), Judgement::Ask);
    }

    #[test]
    fn a_copy_that_was_found_out_and_a_restored_directory_are_told_so() {
        let mut facts = facts();
        facts.latest = Some((7, Guid::from_u128(50)));
        facts.asked = Some(Asked::default());
        let restored = judge(&hello(2, 60, 7, "ekka@10.0.0.2"), "a", &facts);
        assert_eq!(reason(&restored), Some(RefusalReason::Restored));
        facts.copy_of = Some(known(2, 50, "ekka@10.0.0.2"));
        let copy = judge(&hello(2, 60, 8, "ekka@10.0.0.2"), "a", &facts);
        assert_eq!(reason(&copy), Some(RefusalReason::DuplicateIdentity));
    }

    #[test]
    fn a_name_in_use_is_refused_with_both_sides_named() {
        let mut facts = facts();
        facts.name_holder = Some((known(3, 9, "ekka@10.0.0.2"), claim(9, true, false)));
        let Judgement::Refuse(refusal) = judge(&hello(2, 5, 1, "ekka@10.0.0.2"), "10.0.0.5:9", &facts) else {
            panic!("not refused")
        };
        assert_eq!(refusal.reason, RefusalReason::NameConflict);
        assert!(refusal.text.contains("10.0.0.9:1") && refusal.text.contains("10.0.0.5:9"), "{}", refusal.text);
    }
}
