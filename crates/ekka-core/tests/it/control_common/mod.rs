//! One `Control` alone, without a network: what it starts with, its cluster, and the moments at which it is looked at.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use ekka_core::autocluster::{Faults as FormationFaults, Merge, Settings};
use ekka_core::control::{Faults, Identity, Saved, Setup};
use ekka_core::id::{ClusterId, Incarnation, NodeName, StoreId};
use ekka_core::membership::Record;
use ekka_core::time::{Instant, Now, Wall};
use ekka_core::view::{Role, Status};

pub(crate) fn cluster() -> ClusterId {
    ClusterId::mint(Wall::from_millis(1), 5)
}

pub(crate) fn at(ms: u64) -> Now {
    Now { mono: Instant::from_nanos(1_000_000_000 + ms * 1_000_000), wall: Wall::from_millis(1_800_000_000_000 + ms) }
}

/// A core member that is up.
pub(crate) fn core_member(name: NodeName, id: Incarnation, start_counter: u64, store: StoreId) -> Record {
    Record {
        id,
        version: 1,
        endpoint: name.endpoint(4370).unwrap(),
        name,
        role: Role::Core,
        status: Status::Up,
        software: "0.1.0".into(),
        start_counter,
        started: Wall::from_millis(1),
        store,
        process: id.guid,
        tags: BTreeMap::new(),
    }
}

/// A core of a manual cluster, with what is on its disc.
pub(crate) fn setup(name: NodeName, me: Incarnation, start_counter: u64, saved: Saved) -> Setup {
    let Incarnation { node_id, guid } = me;
    Setup {
        identity: Identity { node_id, guid, previous_guid: None, start_counter, renamed_from: None },
        endpoint: name.endpoint(4370).unwrap(),
        name,
        role: Role::Core,
        tags: BTreeMap::new(),
        store: StoreId::from_u128(1),
        damage: Vec::new(),
        cluster_name: "ekka".into(),
        software: "0.1.0".into(),
        formation: Settings {
            strategies: vec![],
            electorate: None,
            decider: None,
            counts: None,
            expect: Some(2),
            settle: Duration::from_secs(1),
            merge: Merge::Empty,
            base_port: 4370,
            may_vote: true,
            faults: FormationFaults::default(),
        },
        saved,
        seed: 1,
        faults: Faults::default(),
        session_max: Duration::from_secs(60),
        gone_after: Duration::from_secs(15),
        autoheal: Some(Duration::from_secs(3)),
        carried: None,
        autoclean: None,
    }
}
