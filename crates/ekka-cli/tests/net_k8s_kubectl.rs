//! `kubectl` finds its way on the API server of the tests: it speaks the documented API, as far as it goes.

mod support;

use std::process::Command;

use serde_json::{Value, json};
use support::k8s::{Access, Fleet, Pod, TOKEN};

struct Kubectl<'a>(&'a Fleet, &'a str);

impl Kubectl<'_> {
    fn run(&self, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new("kubectl");
        let home = self.0.ca().parent().expect("a folder");
        command.env("HOME", home).env_remove("KUBECONFIG").args(["--server", &self.0.server.url(), "--token", self.1]);
        command.arg("--certificate-authority").arg(self.0.ca()).args(words);
        let output = command.output().expect("`kubectl` is there: apt-get install kubernetes-client");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(String::from_utf8_lossy(&output.stdout).into_owned()) } else { Err(said) }
    }

    fn json(&self, words: &[&str]) -> Value {
        let out = self.run(&[words, &["-o", "json"]].concat()).unwrap_or_else(|said| panic!("{words:?}: {said}"));
        serde_json::from_str(&out).expect("JSON")
    }
}

fn fleet() -> Fleet {
    let fleet = Fleet::stateful(3);
    fleet.server.world(|world| {
        world.access.all = true;
        for n in 0..3 {
            let hostname = Some(format!("ekka-{n}"));
            let ips = vec![format!("127.9.9.{}", n + 1)];
            world.put_pod(&format!("ekka-{n}"), Pod { ips, hostname, ready: n > 0, ..Pod::default() });
        }
    });
    fleet
}

#[test]
fn kubectl_reads_what_the_strategy_reads() {
    let fleet = fleet();
    let kubectl = Kubectl(&fleet, TOKEN);
    let version = kubectl.run(&["get", "--raw", "/version"]).expect("an answer");
    assert!(version.contains("v1.32"), "{version}");
    let endpoints = kubectl.json(&["get", "endpoints", "ekka"]);
    assert_eq!(endpoints["subsets"][0]["addresses"].as_array().map(Vec::len), Some(2));
    assert_eq!(endpoints["subsets"][0]["notReadyAddresses"][0]["ip"], "127.9.9.1");
    let slices = kubectl.json(&["get", "endpointslices", "-l", "kubernetes.io/service-name=ekka"]);
    assert_eq!(slices["items"][0]["endpoints"].as_array().map(Vec::len), Some(3));
    let other = kubectl.json(&["get", "endpointslices", "-l", "kubernetes.io/service-name=other"]);
    assert_eq!(other["items"], json!([]));
    let set = kubectl.json(&["get", "statefulset", "ekka"]);
    assert_eq!(set["spec"]["replicas"], 3);
    let pods = kubectl.run(&["get", "pods"]).expect("a table");
    assert!(pods.contains("ekka-0") && pods.contains("ekka-2"), "{pods}");
}

#[test]
fn kubectl_goes_through_pages_and_watches() {
    let fleet = fleet();
    fleet.server.world(|world| {
        world.slice_size = 1;
        world.put_pod("ekka-3", Pod { ips: vec!["127.9.9.4".into()], ..Pod::default() });
    });
    let kubectl = Kubectl(&fleet, TOKEN);
    let slices = kubectl.json(&["get", "endpointslices", "--chunk-size", "2"]);
    assert_eq!(slices["items"].as_array().map(Vec::len), Some(4));
    assert!(fleet.server.world(|world| world.asked_for("continue=")) > 0, "it asked for pages");
    let watched = kubectl.run(&["get", "endpointslices", "-w", "--request-timeout", "2s", "-o", "name"]);
    println!("{watched:?}");
    assert!(fleet.server.world(|world| world.asked_for("watch=true")) > 0, "it watched");
}

#[test]
fn kubectl_understands_denials() {
    let fleet = fleet();
    let stranger = Kubectl(&fleet, "another-token").run(&["get", "--raw", "/api/v1/namespaces/default/pods"]);
    assert!(
        stranger.as_ref().is_err_and(|said| said.contains("logged in") || said.contains("Unauthorized")),
        "{stranger:?}"
    );
    fleet.server.world(|world| world.access = Access::least(TOKEN));
    let kubectl = Kubectl(&fleet, TOKEN);
    let denied = kubectl.run(&["get", "statefulsets"]).expect_err("list is not allowed");
    assert!(
        denied.contains("User \"system:serviceaccount:default:ekka\" cannot list resource \"statefulsets\""),
        "{denied}"
    );
    let missing = kubectl.run(&["get", "statefulset", "other"]).expect_err("there is none");
    assert!(missing.contains("(NotFound)") && missing.contains("statefulsets.apps \"other\" not found"), "{missing}");
}
