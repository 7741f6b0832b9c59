//! `members`

use std::collections::BTreeMap;

use ekka_core::view::{Member, Role, Sync, View};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::rfc3339;

/// One member, as this node sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct MemberAnswer {
    /// Its name.
    pub name: String,
    /// Who it is.
    pub node_id: String,
    /// Which start of it.
    pub guid: String,
    /// `joining`, `syncing`, `up`, `draining`, `healing`, `leaving`, `stopped`, `down` or `gone`.
    pub status: String,
    /// `core`, `replicant` or `witness`.
    pub role: String,
    /// Whether it votes.
    pub voter: bool,
    /// Where it is dialled.
    pub address: String,
    /// The version of its software.
    pub version: String,
    /// Since when it has this status.
    pub since: String,
    /// When this node last heard it; null where it never did.
    pub last_heard: Option<String>,
    /// What it fetches; null while it fetches nothing, and of other members than the one that answers.
    pub sync: Option<SyncAnswer>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// How far a member is with fetching tables.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct SyncAnswer {
    /// Tables that it has.
    pub tables: u64,
    /// Of how many.
    pub of: u64,
    /// Bytes fetched.
    pub bytes: u64,
    /// Seconds to go, estimated.
    pub eta_s: Option<u64>,
}

impl From<Sync> for SyncAnswer {
    fn from(Sync { tables, of, bytes }: Sync) -> Self {
        Self { tables, of, bytes, eta_s: None }
    }
}

impl MemberAnswer {
    /// All members of a view, oldest first.
    #[must_use]
    pub fn all(view: &View) -> Vec<Self> {
        let own = |member: &Member| if member.id == view.me { view.sync } else { None };
        view.members.iter().map(|member| Self { sync: own(member).map(SyncAnswer::from), ..Self::of(member) }).collect()
    }

    fn of(member: &Member) -> Self {
        Self {
            name: member.name.to_string(),
            node_id: member.id.node_id.to_string(),
            guid: member.id.guid.to_string(),
            status: member.status.as_str().into(),
            role: role_word(member.role).into(),
            voter: member.voter,
            address: member.endpoint.to_string(),
            version: member.version.clone(),
            since: rfc3339(member.since),
            last_heard: member.last_heard_wall.map(rfc3339),
            sync: None,
            tags: member.tags.clone(),
        }
    }
}

/// The word for a role.
pub(in crate::admin) fn role_word(role: Role) -> &'static str {
    match role {
        Role::Core => "core",
        Role::Replicant => "replicant",
        Role::Witness => "witness",
    }
}
