//! The objects: pods, the Service and what Kubernetes makes of them, with one version for all.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::access::Access;

/// A pod as the test wants it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pod {
    pub(crate) ips: Vec<String>,
    pub(crate) hostname: Option<String>,
    pub(crate) ready: bool,
    /// Kind and name of what made it.
    pub(crate) owner: Option<(String, String)>,
    /// Given by the world.
    pub(crate) uid: u64,
}

/// What happened to an object.
#[derive(Clone)]
pub(super) struct Event {
    pub(super) version: u64,
    pub(super) resource: &'static str,
    pub(super) kind: &'static str,
    pub(super) object: Value,
}

/// How the server fails.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// Each request is answered with this status.
    pub(crate) status: Option<u16>,
    /// Requests whose path holds the first are answered with 200 and the second, as by something that is no API server.
    pub(crate) body: Option<(&'static str, &'static str)>,
    /// A watch is answered with 200, and ends at once.
    pub(crate) cut_watches: bool,
    /// Requests whose path holds it are never answered.
    pub(crate) hang_at: Option<&'static str>,
    /// So many requests are answered with 429, and this `Retry-After`.
    pub(crate) busy: (u32, u32),
    /// So many `continue` tokens have run out.
    pub(crate) stale_pages: u32,
    /// A watch from before the oldest event is refused by status; else by an ERROR line.
    pub(crate) gone_by_status: bool,
    /// These API groups are not there.
    pub(crate) no_group: Option<&'static str>,
}

/// All of it.
pub(crate) struct World {
    pub(crate) service: String,
    pub(crate) namespace: String,
    pub(crate) access: Access,
    pub(crate) faults: Faults,
    /// Endpoints that one slice holds at most.
    pub(crate) slice_size: usize,
    /// The slices have no Service: there is none.
    pub(crate) no_service: bool,
    pub(crate) bookmark_ms: u64,
    /// Method and target of each request, and whether a token came with it.
    pub(crate) asked: Vec<(String, bool)>,
    pods: BTreeMap<String, Pod>,
    workloads: BTreeMap<(&'static str, String), Value>,
    slices: BTreeMap<String, Value>,
    endpoints: Value,
    pub(super) version: u64,
    pub(super) events: Vec<Event>,
    /// Older events are forgotten.
    pub(super) oldest: u64,
    uids: u64,
}

impl World {
    /// A Service without pods.
    pub(crate) fn new(service: &str, namespace: &str, access: Access) -> Self {
        let mut world = Self {
            service: service.to_owned(),
            namespace: namespace.to_owned(),
            access,
            faults: Faults::default(),
            slice_size: 100,
            no_service: false,
            bookmark_ms: 500,
            asked: Vec::new(),
            pods: BTreeMap::new(),
            workloads: BTreeMap::new(),
            slices: BTreeMap::new(),
            endpoints: Value::Null,
            version: 1,
            events: Vec::new(),
            oldest: 1,
            uids: 0,
        };
        world.reconcile();
        world
    }

    /// Makes a pod, in place of one of that name.
    pub(crate) fn put_pod(&mut self, name: &str, mut pod: Pod) {
        self.uids += 1;
        pod.uid = self.uids;
        self.pods.insert(name.to_owned(), pod);
        self.reconcile();
    }

    /// Takes a pod away.
    pub(crate) fn remove_pod(&mut self, name: &str) {
        self.pods.remove(name);
        self.reconcile();
    }

    /// Puts a StatefulSet, ReplicaSet or Deployment there.
    pub(crate) fn put_workload(&mut self, kind: &'static str, name: &str, owner: Option<(&str, &str)>, spec: &Value) {
        let resource = match kind {
            "StatefulSet" => "statefulsets",
            "ReplicaSet" => "replicasets",
            "Deployment" => "deployments",
            _ => panic!("{kind} is no workload here"),
        };
        self.version += 1;
        let mut metadata = self.metadata(name);
        if let Some((kind, name)) = owner {
            metadata["ownerReferences"] = json!([owner_reference(kind, name)]);
        }
        let object = json!({"kind": kind, "apiVersion": "apps/v1", "metadata": metadata, "spec": spec});
        self.workloads.insert((resource, name.to_owned()), object);
    }

    /// Forgets events: a watch that begins before now is too old.
    pub(crate) fn compact(&mut self) {
        self.version += 10;
        self.oldest = self.version;
        self.events.clear();
    }

    /// How often a part of a target was asked for.
    pub(crate) fn asked_for(&self, part: &str) -> usize {
        self.asked.iter().filter(|(target, _)| target.contains(part)).count()
    }

    /// All objects of a resource; none where there is no such resource.
    pub(super) fn objects(&self, resource: &str) -> Option<Vec<Value>> {
        let workloads = |wanted: &str| {
            self.workloads.iter().filter(|((of, _), _)| *of == wanted).map(|(_, object)| object.clone()).collect()
        };
        Some(match resource {
            "endpointslices" => self.slices.values().cloned().collect(),
            "endpoints" => Some(self.endpoints.clone()).filter(|object| !object.is_null()).into_iter().collect(),
            "pods" => self.pods.iter().map(|(name, pod)| self.pod(name, pod)).collect(),
            "services" if self.no_service => Vec::new(),
            "services" => vec![json!({
                "kind": "Service", "apiVersion": "v1", "metadata": self.metadata(&self.service),
                "spec": {"clusterIP": "None", "publishNotReadyAddresses": true}
            })],
            "statefulsets" | "replicasets" | "deployments" => workloads(resource),
            _ => return None,
        })
    }

    fn metadata(&self, name: &str) -> Value {
        json!({"name": name, "namespace": self.namespace, "resourceVersion": self.version.to_string(),
               "uid": format!("uid-{name}"), "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": null})
    }

    fn pod(&self, name: &str, pod: &Pod) -> Value {
        let mut metadata = self.metadata(name);
        metadata["uid"] = json!(format!("uid-{}", pod.uid));
        if let Some((kind, name)) = &pod.owner {
            metadata["ownerReferences"] = json!([owner_reference(kind, name)]);
        }
        json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "status": {"podIP": pod.ips.first()}})
    }

    /// What the controllers of Kubernetes do: slices and Endpoints follow the pods.
    fn reconcile(&mut self) {
        let mut slices = BTreeMap::new();
        if !self.no_service {
            for (family, ipv6) in [("IPv4", false), ("IPv6", true)] {
                let of_family = |ip: &&String| ip.contains(':') == ipv6;
                let endpoints: Vec<Value> = self
                    .pods
                    .iter()
                    .filter_map(|(name, pod)| Some(endpoint(name, pod, pod.ips.iter().find(of_family)?)))
                    .collect();
                for (at, chunk) in endpoints.chunks(self.slice_size).enumerate() {
                    let name = format!("{}-{}{at:03}", self.service, family.to_lowercase());
                    slices.insert(name, (family, chunk.to_vec()));
                }
            }
        }
        let gone: Vec<String> = self.slices.keys().filter(|name| !slices.contains_key(*name)).cloned().collect();
        for name in gone {
            let object = self.slices.remove(&name).expect("it was listed");
            self.tell("endpointslices", "DELETED", object);
        }
        for (name, (family, endpoints)) in slices {
            let before = self.slices.get(&name);
            if before.is_some_and(|object| object["endpoints"] == json!(endpoints)) {
                continue;
            }
            let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
            let mut metadata = self.metadata(&name);
            metadata["labels"] = json!({"kubernetes.io/service-name": self.service});
            let object = json!({"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "metadata": metadata,
                "addressType": family, "endpoints": endpoints, "ports": [{"name": "", "port": 1883, "protocol": "TCP"}]});
            let object = self.tell("endpointslices", kind, object);
            self.slices.insert(name, object);
        }
        self.reconcile_endpoints();
    }

    fn reconcile_endpoints(&mut self) {
        if self.no_service {
            return;
        }
        let of = |ready: bool| -> Vec<Value> {
            let pods = self.pods.iter().filter(|(_, pod)| pod.ready == ready);
            pods.filter_map(|(name, pod)| {
                let ip = pod.ips.first()?;
                Some(json!({"ip": ip, "hostname": pod.hostname, "targetRef": target(name, pod)}))
            })
            .collect()
        };
        let (ready, not_ready) = (of(true), of(false));
        let subsets = match (ready.is_empty(), not_ready.is_empty()) {
            (true, true) => Value::Null,
            (true, false) => json!([{"notReadyAddresses": not_ready}]),
            (false, true) => json!([{"addresses": ready}]),
            (false, false) => json!([{"addresses": ready, "notReadyAddresses": not_ready}]),
        };
        if !self.endpoints.is_null() && self.endpoints["subsets"] == subsets {
            return;
        }
        let kind = if self.endpoints.is_null() { "ADDED" } else { "MODIFIED" };
        let metadata = self.metadata(&self.service.clone());
        let object = json!({"kind": "Endpoints", "apiVersion": "v1", "metadata": metadata, "subsets": subsets});
        self.endpoints = self.tell("endpoints", kind, object);
    }

    fn tell(&mut self, resource: &'static str, kind: &'static str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.events.push(Event { version: self.version, resource, kind, object: object.clone() });
        object
    }
}

fn owner_reference(kind: &str, name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "controller": true, "blockOwnerDeletion": true,
           "uid": format!("uid-{name}")})
}

fn target(name: &str, pod: &Pod) -> Value {
    json!({"kind": "Pod", "name": name, "uid": format!("uid-{}", pod.uid)})
}

fn endpoint(name: &str, pod: &Pod, ip: &str) -> Value {
    let conditions = json!({"ready": pod.ready, "serving": pod.ready, "terminating": false});
    let mut endpoint = json!({"addresses": [ip], "conditions": conditions, "targetRef": target(name, pod)});
    if let Some(hostname) = &pod.hostname {
        endpoint["hostname"] = json!(hostname);
    }
    endpoint
}
