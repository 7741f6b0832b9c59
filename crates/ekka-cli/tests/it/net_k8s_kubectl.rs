//! `kubectl` finds its way on the API server of the tests: it speaks the documented API, as far as it goes.

use std::process::Command;
use std::time::Duration;

use crate::support::k8s::{Access, Fleet, Pod, Rule, TOKEN};
use crate::support::poll;
use serde_json::{Value, json};

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
    let label = |service: &str| format!("kubernetes.io/service-name={service}");
    let field = |name: &str| format!("metadata.name={name}");
    let told = watched(&fleet, &["endpointslices", "-l", &label("ekka")], r"{.endpoints[*].addresses[*]}", "127.9.9.5");
    assert!(told.contains("127.9.9.5"), "{told}");
    let told =
        watched(&fleet, &["endpointslices", "-l", &label("other")], r"{.endpoints[*].addresses[*]}", "127.9.9.6");
    assert_eq!(told.trim(), "", "of the slices of another Service nothing is told");
    let told =
        watched(&fleet, &["endpoints", "--field-selector", &field("ekka")], "{.subsets[*].*[*].ip}", "127.9.9.7");
    assert!(told.contains("127.9.9.7"), "{told}");
    let told =
        watched(&fleet, &["endpoints", "--field-selector", &field("other")], "{.subsets[*].*[*].ip}", "127.9.9.8");
    assert_eq!(told.trim(), "", "of other Endpoints nothing is told");
}

/// What `kubectl` prints of changes while a pod gets another address.
fn watched(fleet: &Fleet, what: &[&str], path: &str, ip: &str) -> String {
    let watches = || fleet.server.world(|world| world.asked_for("watch=true"));
    let before = watches();
    let kubectl = Kubectl(fleet, TOKEN);
    let output = format!("jsonpath={path}{{\"\\n\"}}");
    let words = [&["get"], what, &["--watch-only", "--request-timeout", "3s", "-o", &output]].concat();
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| kubectl.run(&words));
        let begun = poll::until(Duration::from_secs(30), || {
            if watches() > before { Ok(()) } else { Err("kubectl does not watch".to_owned()) }
        });
        begun.unwrap_or_else(|seen| panic!("{seen}"));
        fleet.server.world(|world| world.put_pod("ekka-3", Pod { ips: vec![ip.into()], ..Pod::default() }));
        let said = watch.join().expect("it ends");
        println!("{what:?}: {said:?}");
        said.expect("the time of the watch is over")
    })
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
    // Only the one of that name.
    assert_eq!(kubectl.json(&["get", "statefulset", "ekka"])["spec"]["replicas"], 3);
    let denied = kubectl.run(&["get", "statefulset", "other"]).expect_err("of another name");
    assert!(denied.contains("(Forbidden)"), "{denied}");
    fleet.server.world(|world| world.access.allow(&[Rule("get", "apps", "statefulsets")]));
    let missing = kubectl.run(&["get", "statefulset", "other"]).expect_err("there is none");
    assert!(missing.contains("(NotFound)") && missing.contains("statefulsets.apps \"other\" not found"), "{missing}");
}
