//! Pods as agents on loopback addresses: what the scheduler, the kubelet and a StatefulSet do between them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::access::{Access, Rule};
use super::serve::{ApiServer, Place};
use super::{Pki, Pod, World};
use crate::support::{Agent, poll};

/// The Service, the application and the StatefulSet.
pub(crate) const APP: &str = "ekka";
/// The token that the API server knows at first.
pub(crate) const TOKEN: &str = "token-of-the-first-hour";

/// What pods of a Deployment need beside the Role of `deploy/k8s`, as docs/discovery/k8s.md has it.
const OF_DEPLOYMENTS: [Rule; 3] =
    [Rule("get", "", "pods"), Rule("get", "apps", "replicasets"), Rule("get", "apps", "deployments")];

/// An API server and the agents that run as its pods. Agents end before the server does.
pub(crate) struct Fleet {
    pub(crate) pods: BTreeMap<String, Agent>,
    pub(crate) server: ApiServer,
    pki: Pki,
    directory: TempDir,
    network: String,
    addresses: u8,
    folders: u32,
}

impl Fleet {
    /// A StatefulSet of so many replicas, no pod of it made.
    pub(crate) fn stateful(replicas: u32) -> Self {
        let fleet = Self::new();
        let spec = json!({"replicas": replicas, "podManagementPolicy": "Parallel", "serviceName": APP});
        fleet.server.world(|world| world.put_workload("StatefulSet", APP, None, &spec));
        fleet
    }

    /// A Deployment of so many replicas, no pod of it made.
    pub(crate) fn deployed(replicas: u32) -> Self {
        let fleet = Self::new();
        fleet.server.world(|world| {
            world.access.allow(&OF_DEPLOYMENTS);
            world.put_workload("Deployment", APP, None, &json!({"replicas": replicas}));
            let owner = Some(("Deployment", APP));
            world.put_workload("ReplicaSet", "ekka-5f7c", owner, &json!({"replicas": replicas}));
        });
        fleet
    }

    /// An API server with TLS on loopback, and nothing else.
    pub(crate) fn new() -> Self {
        Self::at("127.0.0.1:0")
    }

    /// The same at an address.
    pub(crate) fn at(addr: &str) -> Self {
        static FLEETS: AtomicU8 = AtomicU8::new(0);
        let process = std::process::id();
        // Far from the addresses of the clusters of other tests of this process: the third number is odd there too, but
        // the last begins elsewhere.
        let number = u32::from(FLEETS.fetch_add(1, Ordering::Relaxed));
        let network = format!("127.{}.{}", 1 + (process / 250 + number * 31) % 254, 1 + (process + number * 97) % 250);
        let directory = tempfile::Builder::new().prefix("ekka-k8s-").tempdir().expect("a temporary folder");
        let pki = Pki::new(directory.path(), &["127.0.0.1", "::1", "localhost", "kubernetes.default.svc"]);
        fs::write(directory.path().join("token"), format!("{TOKEN}\n")).expect("the token can be written");
        fs::write(directory.path().join("cookie"), format!("{:-<43}\n", "cookie-of-the-pods")).expect("a cookie");
        let place = Place { addr: addr.parse().expect("an address"), namespace: None, tls: Some(pki.clone()) };
        let server = ApiServer::start(place, World::new(APP, "default", Access::least(TOKEN)));
        Self { pods: BTreeMap::new(), server, pki, directory, network, addresses: 0, folders: 0 }
    }

    /// The file that the kubelet mounts.
    pub(crate) fn token_file(&self) -> PathBuf {
        self.directory.path().join("token")
    }

    /// The authority of the API server.
    pub(crate) fn ca(&self) -> &Path {
        self.pki.ca()
    }

    /// An address that no pod ever had.
    pub(crate) fn fresh_ip(&mut self) -> String {
        self.addresses += 1;
        format!("{}.{}", self.network, self.addresses)
    }

    /// Starts pod `ekka-<n>` of the StatefulSet: with the disc that it had, and a new address.
    pub(crate) fn start_member(&mut self, ordinal: u32) -> String {
        let name = format!("{APP}-{ordinal}");
        let ip = self.fresh_ip();
        let owner = ("StatefulSet".to_owned(), APP.to_owned());
        let pod = Pod { ips: vec![ip], hostname: Some(name.clone()), owner: Some(owner), ..Pod::default() };
        let folder = self.directory.path().join(&name);
        self.start_pod(&name, pod, &folder);
        name
    }

    /// Starts a pod of the Deployment: with nothing on its disc, and a new address.
    pub(crate) fn start_replica(&mut self) -> String {
        self.folders += 1;
        let name = format!("{APP}-5f7c-{:05}", self.folders);
        let ip = self.fresh_ip();
        let owner = ("ReplicaSet".to_owned(), "ekka-5f7c".to_owned());
        let pod = Pod { ips: vec![ip], owner: Some(owner), ..Pod::default() };
        let folder = self.directory.path().join(&name);
        // What has no disc cannot come back: it leaves for good, with its vote.
        self.start_pod_with(&name, pod, &folder, &[("node.on_sigterm", "leave-and-forget")]);
        name
    }

    fn start_pod(&mut self, name: &str, pod: Pod, folder: &Path) {
        self.start_pod_with(name, pod, folder, &[]);
    }

    fn start_pod_with(&mut self, name: &str, pod: Pod, folder: &Path, settings: &[(&str, &str)]) {
        let ip = pod.ips[0].clone();
        let mut agent = self.agent(folder, &ip);
        for (key, value) in settings {
            agent.set(key, value);
        }
        agent
            .set("node.listen", &ip)
            .var("KUBERNETES_SERVICE_HOST", "127.0.0.1")
            .var("POD_IP", &ip)
            .var("HOSTNAME", name);
        self.server.world(|world| world.put_pod(name, pod));
        agent.start();
        self.pods.insert(name.to_owned(), agent);
    }

    /// A pod is deleted the gentle way: SIGTERM, its end, its address gone.
    pub(crate) fn stop_pod(&mut self, name: &str) {
        let mut agent = self.pods.remove(name).unwrap_or_else(|| panic!("no pod {name}"));
        agent.stop(Duration::from_secs(10));
        self.server.world(|world| world.remove_pod(name));
    }

    /// A pod of which no process runs: it asks by `ekka discover`. Its folder holds nothing.
    pub(crate) fn asker(&mut self, pod: &str, host: &str) -> Agent {
        self.folders += 1;
        let folder = self.directory.path().join(format!("asker-{}", self.folders));
        let mut agent = self.agent(&folder, host);
        agent.var("KUBERNETES_SERVICE_HOST", "127.0.0.1").var("HOSTNAME", pod);
        agent
    }

    /// A node that uses the API server.
    fn agent(&self, folder: &Path, host: &str) -> Agent {
        let mut agent = Agent::new(folder, &format!("{APP}@{host}"));
        agent
            .set("node.cookie_file", &self.directory.path().join("cookie").display().to_string())
            .set("cluster.discovery", "k8s")
            .set("cluster.k8s.apiserver", &self.server.url())
            .set("cluster.k8s.token_file", &self.token_file().display().to_string())
            .set("cluster.k8s.cacertfile", &self.ca().display().to_string());
        agent
    }

    /// Waits until all pods are one cluster that each sees whole; its id and how long it took.
    pub(crate) fn whole(&self, limit: Duration) -> (String, Duration) {
        poll::until(limit, || self.one_cluster()).unwrap_or_else(|seen| panic!("{seen}\n{}", self.report()))
    }

    /// Waits until every pod lists so many members and no other.
    pub(crate) fn wait_members(&self, count: usize) {
        let listed = || {
            for agent in self.pods.values() {
                let members = agent.json(&["members"])?;
                if members.as_array().map(Vec::len) != Some(count) {
                    return Err(format!("{} lists {members}", agent.name));
                }
            }
            Ok(())
        };
        let waited = poll::until(Duration::from_secs(30), listed);
        waited.unwrap_or_else(|seen| panic!("not {count} members: {seen}\n{}", self.report()));
    }

    /// The id of the one cluster that all pods are in, each `up` in the eyes of each, and each ready for quorum work.
    pub(crate) fn one_cluster(&self) -> Result<String, String> {
        let mut id: Option<String> = None;
        for agent in self.pods.values() {
            let status = agent.json(&["status"])?;
            if status["ready"] != true {
                return Err(format!("{} is not ready: {}", agent.name, status["reason"]));
            }
            let its = status["cluster_id"].as_str().ok_or_else(|| format!("{}: {}", agent.name, status["reason"]))?;
            if id.get_or_insert_with(|| its.to_owned()) != its {
                return Err(format!("{} is in cluster {its}, another one in {id:?}", agent.name));
            }
            for other in self.pods.values() {
                let row = agent.row(&other.name)?;
                if row["status"] != "up" {
                    return Err(format!("{} sees {} as {}", agent.name, other.name, row["status"]));
                }
            }
        }
        id.ok_or_else(|| "there is no pod".to_owned())
    }

    /// The ids of all clusters that pods are in.
    pub(crate) fn clusters(&self) -> Vec<String> {
        let ids = self.pods.values().filter_map(|agent| agent.json(&["status"]).ok());
        let mut ids: Vec<String> = ids.filter_map(|status| status["cluster_id"].as_str().map(str::to_owned)).collect();
        ids.sort();
        ids.dedup();
        ids
    }

    /// What a failing test shows.
    pub(crate) fn report(&self) -> String {
        self.pods.values().map(Agent::report).collect()
    }
}
