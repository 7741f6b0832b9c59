//! The judgement of one Hello.

use alloc::format;
use alloc::string::String;

use crate::id::{Guid, Incarnation, NodeId, NodeName};
use crate::view::Status;
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
    /// This node is in its cluster, and not only on its way into it.
    pub me_in: bool,
    /// The latest start known of that node id: its counter and its guid.
    pub latest: Option<(u64, Guid)>,
    /// What those who may hear another start of it said; `None` while they have not been asked.
    pub asked: Option<Asked>,
    /// A member or peer of another node id that has the claimed name and runs, and whether it is in a cluster.
    pub name_holder: Option<(Known, bool)>,
    /// Planted fault: a stale incarnation wins.
    pub stale_wins: bool,
}

/// What was answered to the question which start of a node runs. Each answer comes from that start itself, on a link
/// that somebody has to it, after the Hello that is judged: no age of a heartbeat and no clock is in it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Asked {
    /// A start older than the one that says Hello answered.
    pub older: Option<Known>,
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

/// The words for a copied data directory, as the newer of the two is told.
#[must_use]
pub fn duplicate(older: &Known) -> Refusal {
    let text = format!(
        "duplicate identity: node_id {} already runs as {} at {} and answers. This data directory is a copy of its: \
         give this node an empty data directory, or start it once with `ekka agent --restored`",
        short(older.id.node_id),
        older.name,
        older.addr,
    );
    Refusal::new(RefusalReason::DuplicateIdentity, text)
}

/// Of two that claim one thing: who is in a cluster stays, and otherwise the older start.
fn stays((guid, is_in): (Guid, bool), hello: &Hello) -> bool {
    let they_in = hello.status != Status::Joining;
    if is_in == they_in { hello.guid > guid } else { is_in }
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
    if stays((me.id.guid, facts.me_in), hello) {
        return Judgement::Refuse(duplicate(me));
    }
    let other = Known { id: hello.incarnation(), name: hello.name.clone(), addr: addr.into() };
    Judgement::StopSelf(duplicate(&other))
}

/// Compares with the latest start known of the same node id; `None` where nothing speaks against letting it in.
fn other_start(hello: &Hello, facts: &Facts) -> Option<Judgement> {
    let (counter, guid) = facts.latest.filter(|(_, guid)| *guid != hello.guid)?;
    let Some(asked) = &facts.asked else { return Some(Judgement::Ask) };
    let node = short(hello.node_id);
    if hello.guid < guid {
        // A newer start was seen, but this one is in the cluster with others: the newer one was a copy.
        return (!asked.itself).then(|| {
            let text = format!(
                "a newer start of node_id {node} is known here (start {counter}, this is start {}): this one is over",
                hello.start_counter
            );
            Judgement::Refuse(Refusal::new(RefusalReason::Superseded, text))
        });
    }
    if let Some(older) = &asked.older {
        return Some(Judgement::Refuse(duplicate(older)));
    }
    (hello.start_counter <= counter).then(|| {
        let text = format!(
            "the data directory of {} was restored from an old copy: this is its start {}, but start {counter} was \
             seen here; it joins as a new node",
            hello.name, hello.start_counter
        );
        Judgement::Refuse(Refusal::new(RefusalReason::Restored, text))
    })
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
        Some((holder, is_in)) if stays((holder.id.guid, *is_in), hello) => {
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
    use crate::view::Role;
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
        }
    }

    fn facts() -> Facts {
        Facts {
            me: known(1, 100, "ekka@10.0.0.1"),
            me_in: true,
            latest: None,
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
    fn of_two_with_this_identity_the_one_in_the_cluster_stays_and_else_the_older_one() {
        let stays = |guid, they_in, me_in| {
            let mut hello = hello(1, guid, 4, "ekka@10.0.0.7");
            hello.status = if they_in { Status::Up } else { Status::Joining };
            match judge(&hello, "a", &Facts { me_in, ..facts() }) {
                Judgement::Refuse(refusal) if refusal.reason == RefusalReason::DuplicateIdentity => true,
                Judgement::StopSelf(_) => false,
                other => panic!("{other:?}"),
            }
        };
        for (guid, they_in, me_in, mine_stays) in [
            (101, false, false, true),
            (101, true, true, true),
            (99, false, false, false),
            (99, true, true, false),
            (99, false, true, true), // a copy whose clock is behind
            (101, true, false, false),
        ] {
            assert_eq!(stays(guid, they_in, me_in), mine_stays, "guid {guid}, they in {they_in}, me in {me_in}");
        }
        assert_eq!(reason(&judge(&hello(1, 100, 3, "ekka@10.0.0.1"), "a", &facts())), Some(RefusalReason::OurSelf));
    }

    #[test]
    fn a_newer_start_is_let_in_once_no_older_one_answered() {
        let mut facts = facts();
        facts.latest = Some((7, Guid::from_u128(50)));
        let newer = hello(2, 60, 8, "ekka@10.0.0.3");
        assert_eq!(judge(&newer, "a", &facts), Judgement::Ask);
        facts.asked = Some(Asked::default());
        assert_eq!(judge(&newer, "a", &facts), Judgement::Accept);
        facts.asked = Some(Asked { older: Some(known(2, 50, "ekka@10.0.0.2")), itself: false });
        assert_eq!(reason(&judge(&newer, "a", &facts)), Some(RefusalReason::DuplicateIdentity));
    }

    #[test]
    fn an_older_start_is_over_unless_it_runs_in_the_cluster_with_others() {
        let mut facts = facts();
        facts.latest = Some((7, Guid::from_u128(50)));
        let older = hello(2, 40, 6, "ekka@10.0.0.2");
        assert_eq!(judge(&older, "a", &facts), Judgement::Ask);
        facts.asked = Some(Asked::default());
        assert_eq!(reason(&judge(&older, "a", &facts)), Some(RefusalReason::Superseded));
        facts.asked = Some(Asked { older: None, itself: true });
        assert_eq!(judge(&older, "a", &facts), Judgement::Accept);
    }

    #[test]
    fn a_restored_directory_is_told_so() {
        let mut facts = facts();
        facts.latest = Some((7, Guid::from_u128(50)));
        facts.asked = Some(Asked::default());
        let restored = judge(&hello(2, 60, 7, "ekka@10.0.0.2"), "a", &facts);
        assert_eq!(reason(&restored), Some(RefusalReason::Restored));
    }

    #[test]
    fn a_name_in_use_is_refused_with_both_sides_named() {
        let mut facts = facts();
        facts.name_holder = Some((known(3, 9, "ekka@10.0.0.2"), true));
        let Judgement::Refuse(refusal) = judge(&hello(2, 5, 1, "ekka@10.0.0.2"), "10.0.0.5:9", &facts) else {
            panic!("not refused")
        };
        assert_eq!(refusal.reason, RefusalReason::NameConflict);
        assert!(refusal.text.contains("10.0.0.9:1") && refusal.text.contains("10.0.0.5:9"), "{}", refusal.text);
    }
}
