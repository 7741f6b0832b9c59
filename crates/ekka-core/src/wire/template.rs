//! The one place where a node's own Hello is put together.

use alloc::string::String;

use super::{Hello, Purpose, VersionRange};
use crate::id::{ClusterId, Guid, NodeId, NodeName};
use crate::time::Wall;
use crate::view::{Role, Status};

/// What a node says of itself in every Hello of one start; the rest is of the moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HelloTemplate {
    /// Version of the software.
    pub software: String,
    /// Its name.
    pub name: NodeName,
    /// Who it is.
    pub node_id: NodeId,
    /// Which start.
    pub guid: Guid,
    /// The start before.
    pub previous_guid: Option<Guid>,
    /// How often its data directory was started.
    pub start_counter: u64,
    /// The name of its cluster.
    pub cluster_name: String,
    /// Its role.
    pub role: Role,
    /// The port that it listens on.
    pub listen_port: u16,
}

/// What a Hello says of the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Moment {
    /// The id of its cluster, once it has one.
    pub cluster_id: Option<ClusterId>,
    /// Its status.
    pub status: Status,
    /// It is up, and reaches a majority of its cluster's voters.
    pub holds: bool,
    /// Its wall clock.
    pub wall: Wall,
    /// The generation of its cluster.
    pub generation: u64,
}

impl HelloTemplate {
    /// The Hello of this moment.
    #[must_use]
    pub fn hello(&self, purpose: Purpose, moment: Moment) -> Hello {
        let Moment { cluster_id, status, holds, wall, generation } = moment;
        Hello {
            versions: VersionRange::OURS,
            features: 0,
            software: self.software.clone(),
            purpose,
            name: self.name.clone(),
            node_id: self.node_id,
            guid: self.guid,
            previous_guid: self.previous_guid,
            start_counter: self.start_counter,
            cluster_name: self.cluster_name.clone(),
            cluster_id,
            wall,
            role: self.role,
            status,
            listen_port: self.listen_port,
            holds,
            generation,
        }
    }
}
