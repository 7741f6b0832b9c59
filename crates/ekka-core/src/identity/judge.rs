//! The judgement of one Hello.

use alloc::format;
use alloc::string::String;

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
    /// Another incarnation of the same node id that is linked and was heard within the detection time.
    pub live_twin: Option<Known>,
    /// Largest start counter seen of that node id, with the guid that had it.
    pub counter: Option<(u64, Guid)>,
    /// A member of another node id that has the claimed name and is up.
    pub name_holder: Option<Known>,
    /// Planted fault: a stale incarnation wins.
    pub stale_wins: bool,
}

/// What to do with the peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// Let it in.
    Accept,
    /// Refuse it in words.
    Refuse(Refusal),
    /// Hold it back and ask the older one whether it is there.
    Hold(Known),
    /// It is the older of two that claim *this* node's identity, and it lives: this node stops.
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

/// Judges a Hello.
#[must_use]
pub fn judge(hello: &Hello, addr: &str, facts: &Facts) -> Judgement {
    let me = &facts.me;
    if hello.node_id == me.id.node_id {
        return match hello.guid.cmp(&me.id.guid) {
            core::cmp::Ordering::Equal => {
                Judgement::Refuse(Refusal::new(RefusalReason::OurSelf, format!("this is {} itself", me.name)))
            }
            core::cmp::Ordering::Greater => Judgement::Refuse(duplicate(me)),
            core::cmp::Ordering::Less => Judgement::StopSelf(duplicate(&Known {
                id: hello.incarnation(),
                name: hello.name.clone(),
                addr: addr.into(),
            })),
        };
    }
    if !facts.stale_wins {
        if let Some((counter, guid)) = facts.counter
            && hello.guid != guid
        {
            if hello.guid < guid {
                return Judgement::Refuse(Refusal::new(
                    RefusalReason::Superseded,
                    format!(
                        "a newer start of node_id {} is known here (start {counter}, this is start {}): this one is over",
                        short(hello.node_id),
                        hello.start_counter
                    ),
                ));
            }
            if hello.start_counter <= counter {
                return Judgement::Refuse(Refusal::new(
                    RefusalReason::Restored,
                    format!(
                        "the data directory of {} was restored from an old copy: this is its start {}, but start \
                         {counter} was seen here; it joins as a new node",
                        hello.name, hello.start_counter
                    ),
                ));
            }
        }
        if let Some(twin) = &facts.live_twin
            && hello.guid > twin.id.guid
        {
            return Judgement::Hold(twin.clone());
        }
    }
    let holder = facts.name_holder.as_ref().or((hello.name == me.name).then_some(me));
    if let Some(holder) = holder {
        let text = format!(
            "name conflict: {} is the name of node_id {} at {}, which is up; node_id {} at {addr} claims it too. Give \
             one of them another node.name",
            hello.name,
            short(holder.id.node_id),
            holder.addr,
            short(hello.node_id),
        );
        return Judgement::Refuse(Refusal::new(RefusalReason::NameConflict, text));
    }
    Judgement::Accept
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
        }
    }

    fn facts() -> Facts {
        Facts {
            me: known(1, 100, "ekka@10.0.0.1"),
            live_twin: None,
            counter: None,
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
    fn of_two_with_this_identity_the_newer_one_stops() {
        let newer = judge(&hello(1, 101, 4, "ekka@10.0.0.7"), "a", &facts());
        assert_eq!(reason(&newer), Some(RefusalReason::DuplicateIdentity));
        let older = judge(&hello(1, 99, 3, "ekka@10.0.0.7"), "a", &facts());
        assert!(matches!(older, Judgement::StopSelf(_)));
        assert_eq!(reason(&judge(&hello(1, 100, 3, "ekka@10.0.0.1"), "a", &facts())), Some(RefusalReason::OurSelf));
    }

    #[test]
    fn a_newer_start_is_held_back_while_the_older_was_just_heard() {
        let mut facts = facts();
        facts.live_twin = Some(known(2, 50, "ekka@10.0.0.2"));
        facts.counter = Some((7, Guid::from_u128(50)));
        assert!(matches!(judge(&hello(2, 60, 8, "ekka@10.0.0.3"), "a", &facts), Judgement::Hold(_)));
    }

    #[test]
    fn an_older_start_and_a_restored_directory_are_told_so() {
        let mut facts = facts();
        facts.counter = Some((7, Guid::from_u128(50)));
        let stale = judge(&hello(2, 40, 6, "ekka@10.0.0.2"), "a", &facts);
        assert_eq!(reason(&stale), Some(RefusalReason::Superseded));
        let restored = judge(&hello(2, 60, 7, "ekka@10.0.0.2"), "a", &facts);
        assert_eq!(reason(&restored), Some(RefusalReason::Restored));
        assert_eq!(judge(&hello(2, 60, 8, "ekka@10.0.0.2"), "a", &facts), Judgement::Accept);
    }

    #[test]
    fn a_name_in_use_is_refused_with_both_sides_named() {
        let mut facts = facts();
        facts.name_holder = Some(known(3, 9, "ekka@10.0.0.2"));
        let Judgement::Refuse(refusal) = judge(&hello(2, 5, 1, "ekka@10.0.0.2"), "10.0.0.5:9", &facts) else {
            panic!("not refused")
        };
        assert_eq!(refusal.reason, RefusalReason::NameConflict);
        assert!(refusal.text.contains("10.0.0.9:1") && refusal.text.contains("10.0.0.5:9"), "{}", refusal.text);
    }
}
