//! `status`, `cookie` and `version`

use ekka_core::view::{Conflict, LinkState, Quorum, Reason, Split, View};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ReasonAnswer, name_of};
use crate::admin::rfc3339;
use crate::node::Signer;

/// The state of one node and of the cluster as it sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct StatusAnswer {
    /// The node's name.
    pub node: String,
    /// Who it is.
    pub node_id: String,
    /// Which start of it.
    pub guid: String,
    /// `joining`, `syncing`, `up`, `draining`, `healing`, `leaving`, `stopped`, `down` or `gone`.
    pub status: String,
    /// The same as `ready_for.quorum`.
    pub ready: bool,
    /// Ready for what.
    pub ready_for: ReadyForAnswer,
    /// The text of the first of `reasons`.
    pub reason: Option<String>,
    /// Why it is not ready, or what it waits for.
    pub reasons: Vec<ReasonAnswer>,
    /// The name that all nodes of the cluster share.
    pub cluster_name: String,
    /// The cluster's id; null before it has formed.
    pub cluster_id: Option<String>,
    /// The generation of the cluster: 0, and a larger one with each `recover`. Divided by 2^32 it is the number of
    /// recoveries; what remains names the survivor.
    #[serde(default)]
    pub cluster_generation: u64,
    /// The smallest version among all members.
    pub cluster_version: String,
    /// This node's version.
    pub version: String,
    /// Fingerprint of the cookie that signs; null where the operator's certificates do.
    pub cookie_id: Option<String>,
    /// The oldest member that is up: a hint.
    pub leader: Option<String>,
    /// The oldest core that is up: a hint.
    pub coordinator: Option<String>,
    /// The voters in reach.
    pub quorum: QuorumAnswer,
    /// The volatile group: locks, and quorum tables in memory.
    #[serde(default)]
    pub volatile: VolatileAnswer,
    /// The split, if there is one.
    pub split: SplitAnswer,
    /// Other formed clusters of this name that were met.
    pub conflicts: Vec<ConflictAnswer>,
    /// Offset of this node's clock from the median of its peers, or where none is in reach how far it jumped since.
    pub clock_offset_ms: Option<i64>,
    /// What an operator must know.
    pub alarms: Vec<AlarmAnswer>,
    /// What an operator can do.
    pub advice: Vec<String>,
    /// When this start began.
    pub started: String,
}

/// Ready for what.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReadyForAnswer {
    /// Work that needs a majority.
    pub quorum: bool,
    /// `available` tables and local work.
    pub available: bool,
}

/// The voters in reach of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct QuorumAnswer {
    /// How many vote.
    pub voters: u32,
    /// How many of them are in reach, the node itself included.
    pub in_reach: u32,
    /// How many make a majority.
    pub needed: u32,
    /// How many of those in reach may fail.
    pub can_lose: u32,
}

/// The volatile group, as a node knows it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct VolatileAnswer {
    /// The present generation; 0 before the first.
    pub generation: u64,
    /// Names of those who vote in it.
    pub voters: Vec<String>,
    /// Who leads it; null where this node does not follow it, or knows of none.
    pub leader: Option<String>,
    /// This node counts as one of the voters.
    pub votes: bool,
    /// Writes that were acknowledged before this generation may be missing in it.
    pub lost: bool,
}

/// What a node knows of a split.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct SplitAnswer {
    /// `none`, `suspected`, `minority`, `partial` or `healing`.
    pub state: String,
    /// Since when; null while there is none.
    pub since: Option<String>,
    /// Whether a majority of voters is in reach.
    pub majority: bool,
    /// Who is not reached.
    pub unreachable: Vec<UnreachableAnswer>,
    /// Links between running members that are broken: from, to.
    pub links: Vec<(String, String)>,
}

/// A member that is not reached.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct UnreachableAnswer {
    /// Its name.
    pub name: String,
    /// Who it is.
    pub node_id: String,
    /// Since when.
    pub since: String,
    /// `silent`, `refused` or `one-way`.
    pub evidence: String,
    /// Names of members that still hear it.
    pub seen_by: Vec<String>,
}

/// Another formed cluster of the same name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ConflictAnswer {
    /// Its id.
    pub other_cluster_id: String,
    /// A member of it that was met.
    pub met: String,
    /// Why nothing moves.
    pub why: String,
    /// Since when.
    pub since: String,
}

/// What an operator must know.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct AlarmAnswer {
    /// For programs.
    pub code: String,
    /// For people.
    pub text: String,
    /// Since when.
    pub since: String,
    /// The decision behind it, for `ekka why`; null where there is none.
    pub id: Option<String>,
}

/// What signs and what is trusted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct CookieAnswer {
    /// Fingerprint of the cookie that signs; null where the operator's certificates do.
    pub cookie_id: Option<String>,
    /// Fingerprints of all that are trusted.
    pub trusted: Vec<String>,
    /// The other members.
    #[serde(default)]
    pub members: Vec<SignerAnswer>,
}

/// What a member signs with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct SignerAnswer {
    /// Its name.
    pub name: String,
    /// Who it is.
    pub node_id: String,
    /// Fingerprint of the cookie; `unknown` where the member is not linked with this node, null where the operator's
    /// certificates sign.
    pub cookie_id: Option<String>,
}

impl CookieAnswer {
    /// What a node trusts, and what it knows of the others.
    #[must_use]
    pub fn of(trusted: Vec<String>, signers: Vec<Signer>) -> Self {
        let by_cookie = !trusted.is_empty();
        let member = |Signer { name, node_id, cookie_id }| SignerAnswer {
            name: name.to_string(),
            node_id: node_id.to_string(),
            cookie_id: cookie_id.or_else(|| by_cookie.then(|| "unknown".to_owned())),
        };
        Self { cookie_id: trusted.first().cloned(), trusted, members: signers.into_iter().map(member).collect() }
    }
}

/// Which software runs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct VersionAnswer {
    /// This node's version.
    pub version: String,
    /// The smallest version among all members.
    pub cluster_version: String,
    /// The smallest protocol version that this node speaks.
    pub protocol_min: u16,
    /// The largest.
    pub protocol_max: u16,
}

impl StatusAnswer {
    /// The status of a view. `extra` are reasons of the embedding program: with one of them the node is not ready.
    #[must_use]
    pub fn of(view: &View, cookie_ids: &[String], extra: &[Reason]) -> Self {
        let reasons: Vec<ReasonAnswer> = view.reasons.iter().chain(extra).map(ReasonAnswer::from).collect();
        let ready_for = ReadyForAnswer {
            quorum: view.ready_quorum && extra.is_empty(),
            available: view.ready_available && extra.is_empty(),
        };
        Self {
            node: view.name.to_string(),
            node_id: view.me.node_id.to_string(),
            guid: view.me.guid.to_string(),
            status: view.status.as_str().into(),
            ready: ready_for.quorum,
            ready_for,
            reason: reasons.first().map(|reason| reason.text.clone()),
            reasons,
            cluster_name: view.cluster_name.clone(),
            cluster_id: view.cluster_id.map(|id| id.to_string()),
            cluster_generation: view.generation,
            cluster_version: view.cluster_version.clone(),
            version: own_version(view),
            cookie_id: cookie_ids.first().cloned(),
            leader: view.leader.map(|id| name_of(view, id)),
            coordinator: view.coordinator.map(|id| name_of(view, id)),
            quorum: view.quorum.into(),
            volatile: VolatileAnswer::of(view),
            split: SplitAnswer::of(view, &view.split),
            conflicts: view.conflicts.iter().map(ConflictAnswer::from).collect(),
            clock_offset_ms: view.clock_offset_ms,
            alarms: view.alarms.iter().map(AlarmAnswer::from).collect(),
            advice: view.advice.clone(),
            started: rfc3339(view.started),
        }
    }
}

impl VolatileAnswer {
    fn of(view: &View) -> Self {
        let volatile = &view.volatile;
        Self {
            generation: volatile.generation,
            voters: volatile.voters.iter().map(|id| name_of(view, *id)).collect(),
            leader: volatile.leader.map(|id| name_of(view, id)),
            votes: volatile.votes,
            lost: volatile.lost,
        }
    }
}

impl SplitAnswer {
    fn of(view: &View, split: &Split) -> Self {
        let unreachable = split.unreachable.iter().map(|u| UnreachableAnswer {
            name: name_of(view, u.node_id),
            node_id: u.node_id.to_string(),
            since: rfc3339(u.since),
            evidence: u.evidence.clone(),
            seen_by: u.seen_by.iter().map(|id| name_of(view, *id)).collect(),
        });
        let runs = |id| view.member(id).is_some_and(|member| member.status.is_running());
        let broken = view
            .links
            .iter()
            .filter(|link| {
                matches!(link.state, LinkState::Down | LinkState::OneWay) && runs(link.from) && runs(link.to)
            })
            .map(|link| (name_of(view, link.from), name_of(view, link.to)));
        Self {
            state: split.state.as_str().into(),
            since: split.since.map(rfc3339),
            majority: split.majority,
            unreachable: unreachable.collect(),
            links: broken.collect(),
        }
    }
}

impl VersionAnswer {
    /// The versions of a view.
    #[must_use]
    pub fn of(view: &View) -> Self {
        let ours = ekka_core::wire::VersionRange::OURS;
        Self {
            version: own_version(view),
            cluster_version: view.cluster_version.clone(),
            protocol_min: ours.min,
            protocol_max: ours.max,
        }
    }
}

impl From<Quorum> for QuorumAnswer {
    fn from(quorum: Quorum) -> Self {
        let Quorum { voters, in_reach, needed, can_lose } = quorum;
        Self { voters, in_reach, needed, can_lose }
    }
}

impl From<&Conflict> for ConflictAnswer {
    fn from(conflict: &Conflict) -> Self {
        Self {
            other_cluster_id: conflict.other.to_string(),
            met: conflict.met.to_string(),
            why: conflict.why.clone(),
            since: rfc3339(conflict.since),
        }
    }
}

impl From<&Reason> for AlarmAnswer {
    fn from(reason: &Reason) -> Self {
        Self { code: reason.code.clone(), text: reason.text.clone(), since: rfc3339(reason.since), id: None }
    }
}

/// The version that the node's own row says; a node without a row yet runs this library.
pub(in crate::admin) fn own_version(view: &View) -> String {
    view.member(view.me.node_id).map_or_else(|| env!("CARGO_PKG_VERSION").to_owned(), |member| member.version.clone())
}
