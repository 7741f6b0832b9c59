//! The few objects of Kubernetes that are read, and of these the few fields. Unknown fields are skipped; where Go writes
//! an empty list as `null`, it is an empty list.

use serde::{Deserialize, Deserializer};

/// Bytes of the longest name of an object, and of an address that is a name (DNS subdomain of RFC 1123).
pub(super) const NAME_MAX: usize = 253;

/// What each object and list has.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metadata {
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) resource_version: String,
    /// Of a list: where the next page begins.
    #[serde(rename = "continue", deserialize_with = "or_default")]
    pub(super) next: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) owner_references: Vec<Owner>,
}

/// Who made an object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Owner {
    #[serde(deserialize_with = "or_default")]
    pub(super) kind: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) controller: bool,
}

/// An object that has a name.
pub(super) trait Object {
    fn metadata(&self) -> &Metadata;
}

macro_rules! objects {
    ($($object:ty),*) => {
        $(impl Object for $object {
            fn metadata(&self) -> &Metadata {
                &self.metadata
            }
        })*
    };
}

objects!(EndpointSlice, Endpoints, Meta, Workload);

/// A list of any kind.
#[derive(Clone, Debug, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub(super) struct List<T> {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) kind: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) metadata: Metadata,
    #[serde(default = "Vec::new", deserialize_with = "or_default")]
    pub(super) items: Vec<T>,
}

/// `discovery.k8s.io/v1` `EndpointSlice`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct EndpointSlice {
    #[serde(deserialize_with = "or_default")]
    pub(super) metadata: Metadata,
    #[serde(deserialize_with = "or_default")]
    pub(super) address_type: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) endpoints: Vec<SliceEndpoint>,
}

/// One endpoint of a slice. Its addresses mean the same; consumers use the first.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SliceEndpoint {
    #[serde(deserialize_with = "or_default")]
    pub(super) addresses: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) conditions: Conditions,
    pub(super) hostname: Option<String>,
    pub(super) target_ref: Option<Target>,
}

/// Conditions of an endpoint; one that is absent counts as met.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Conditions {
    pub(super) ready: Option<bool>,
}

/// The object behind an address.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Target {
    #[serde(deserialize_with = "or_default")]
    pub(super) uid: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
}

/// `v1` `Endpoints`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Endpoints {
    #[serde(deserialize_with = "or_default")]
    pub(super) metadata: Metadata,
    #[serde(deserialize_with = "or_default")]
    pub(super) subsets: Vec<Subset>,
}

/// A part of `Endpoints`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Subset {
    #[serde(deserialize_with = "or_default")]
    pub(super) addresses: Vec<SubsetAddress>,
    #[serde(deserialize_with = "or_default")]
    pub(super) not_ready_addresses: Vec<SubsetAddress>,
}

/// An address of `Endpoints`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SubsetAddress {
    #[serde(deserialize_with = "or_default")]
    pub(super) ip: String,
    pub(super) hostname: Option<String>,
    pub(super) target_ref: Option<Target>,
}

/// A `Pod`, or anything of which only the metadata matters.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Meta {
    #[serde(deserialize_with = "or_default")]
    pub(super) metadata: Metadata,
}

/// `apps/v1` `StatefulSet`, `ReplicaSet` and `Deployment`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Workload {
    #[serde(deserialize_with = "or_default")]
    pub(super) metadata: Metadata,
    #[serde(deserialize_with = "or_default")]
    pub(super) spec: WorkloadSpec,
}

/// How many pods there are to be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WorkloadSpec {
    /// An API server always writes it; where it is absent, this is none.
    pub(super) replicas: Option<u32>,
    /// Absent: `OrderedReady`.
    pub(super) pod_management_policy: Option<String>,
    /// Of a Deployment: how it is updated.
    #[serde(deserialize_with = "or_default")]
    pub(super) strategy: Strategy,
}

/// How the pods of a Deployment are replaced.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Strategy {
    /// `Recreate`, else `RollingUpdate`.
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub(super) kind: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) rolling_update: RollingUpdate,
}

/// How far an update may go at a time.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RollingUpdate {
    /// Pods beside the replicas. Absent: `25%`.
    pub(super) max_surge: Option<Amount>,
}

/// A number, or a percentage of the replicas.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Amount {
    Pods(u32),
    Text(String),
}

/// The API server's own word on a request.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    #[serde(deserialize_with = "or_default")]
    pub(super) message: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) code: u16,
}

/// One line of a watch.
#[derive(Clone, Debug, Deserialize)]
#[serde(bound(deserialize = "T: Default + Deserialize<'de>"))]
pub(super) struct WatchEvent<T> {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) object: T,
}

fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
