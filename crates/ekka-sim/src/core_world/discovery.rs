//! What discovery answers: the list of the machine, with lies where a plan wants them.

use std::collections::BTreeSet;

use ekka_core::autocluster::Candidate;
use ekka_core::control::{DialError, Input};
use ekka_core::id::{Endpoint, NodeName};
use ekka_core::wire::{Refusal, RefusalReason};

use super::world::World;

/// What answers at an address at which no machine of the plan is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stranger {
    /// No process listens there.
    Refuses,
    /// Nothing comes back.
    Silent,
    /// A node with another cookie.
    OtherCookie,
    /// A node of a cluster with another name.
    OtherCluster,
    /// Something that speaks another protocol.
    Garbage,
}

impl Stranger {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Refuses, Self::Silent, Self::OtherCookie, Self::OtherCluster, Self::Garbage];

    /// What a dial ends in.
    #[must_use]
    pub fn error(self) -> DialError {
        match self {
            Self::Refuses => DialError::Refused,
            Self::Silent => DialError::TimedOut,
            Self::OtherCookie => DialError::Credentials("the handshake failed: another cookie".into()),
            Self::OtherCluster => {
                DialError::Rejected(Refusal::new(RefusalReason::Name, "this is cluster \"other\", not \"ekka\""))
            }
            Self::Garbage => DialError::Garbage("HTTP/1.1 400".into()),
        }
    }
}

/// How discovery deceives.
#[derive(Clone, Debug, Default)]
pub struct Lies {
    /// Whom every answer names beside the list.
    pub extra: Vec<Candidate>,
    /// Machines whose answers are empty now.
    pub empty: BTreeSet<usize>,
    /// Machines whose discovery is down now.
    pub down: BTreeSet<usize>,
}

impl Lies {
    /// Names somebody who is not there, or who is there under another name too.
    pub fn name(&mut self, name: &NodeName) -> Endpoint {
        let endpoint = name.endpoint(4370).expect("a port below 65536");
        self.extra.push(Candidate { name: name.clone(), endpoint: endpoint.clone() });
        endpoint
    }
}

impl World {
    /// Discovery answers a machine.
    pub(super) fn discovered(&mut self, machine: usize) {
        let result = if !self.discovery_works || self.lies.down.contains(&machine) {
            Err("the backend is down".into())
        } else if self.lies.empty.contains(&machine) {
            Ok(Vec::new().into())
        } else {
            let list = self.machines[machine].spec.seeds.iter();
            let named =
                list.map(|name| Candidate { name: name.clone(), endpoint: name.endpoint(4370).expect("a port") });
            Ok(self.lies.extra.iter().cloned().chain(named).collect::<Vec<_>>().into())
        };
        let list = self.source_list(machine);
        self.input(machine, Input::Discovered { list, strategy: "static".into(), result });
    }
}
