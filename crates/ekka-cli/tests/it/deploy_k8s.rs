//! The manifests of `deploy/k8s` hold what a cluster needs, as `kubectl` reads them; the rights are those that the
//! strategy uses and no others.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All objects of the folder, as kubectl gives them without a server.
fn objects() -> Vec<Value> {
    let mut command = Command::new("kubectl");
    command.args(["annotate", "--local", "-o", "json", "read=yes", "-f"]).arg(top().join("deploy/k8s"));
    let output = command.output().expect("`kubectl` is there: apt-get install kubernetes-client");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stream = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
    stream.map(|object| object.expect("kubectl writes JSON")).collect()
}

fn one(objects: &[Value], kind: &str) -> Value {
    let of_kind: Vec<&Value> = objects.iter().filter(|object| object["kind"] == kind).collect();
    let [object] = of_kind.as_slice() else { panic!("{} of {kind}", of_kind.len()) };
    (*object).clone()
}

#[test]
fn the_stateful_set_starts_all_pods_at_once_and_gives_them_time_to_leave() {
    let objects = objects();
    let set = one(&objects, "StatefulSet");
    assert_eq!(set["apiVersion"], "apps/v1");
    assert_eq!(set["spec"]["podManagementPolicy"], "Parallel");
    assert_eq!(set["spec"]["replicas"], 3);
    assert_eq!(set["spec"]["serviceName"], one(&objects, "Service")["metadata"]["name"]);
    assert_eq!(set["spec"]["volumeClaimTemplates"][0]["metadata"]["name"], "data", "identity is on the disc");
    let pod = &set["spec"]["template"]["spec"];
    assert_eq!(pod["enableServiceLinks"], false);
    assert_eq!(pod["terminationGracePeriodSeconds"], 90);
    assert_eq!(pod["serviceAccountName"], one(&objects, "ServiceAccount")["metadata"]["name"]);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    let container = &pod["containers"][0];
    assert_eq!(container["lifecycle"]["preStop"]["exec"]["command"], json!(["ekka", "drain", "--timeout", "45s"]));
    let env = container["env"].as_array().expect("variables");
    let pod_ip = env.iter().find(|var| var["name"] == "POD_IP").expect("ekka@auto needs it");
    assert_eq!(pod_ip["valueFrom"]["fieldRef"]["fieldPath"], "status.podIP");
}

#[test]
fn probes_are_those_of_the_operations_contract() {
    let set = one(&objects(), "StatefulSet");
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    for (probe, path, period, threshold) in [
        ("startupProbe", "/livez", 2, 30),
        ("livenessProbe", "/livez", 5, 6),
        ("readinessProbe", "/readyz?for=available", 2, 1),
    ] {
        let probe = &container[probe];
        assert_eq!(probe["httpGet"]["path"], path);
        assert_eq!(
            (probe["periodSeconds"].as_u64(), probe["failureThreshold"].as_u64()),
            (Some(period), Some(threshold))
        );
        assert_eq!(probe["httpGet"]["port"], "health");
    }
    assert_eq!(container["ports"][1], json!({"name": "health", "containerPort": 8370}));
}

#[test]
fn the_service_finds_pods_that_are_not_ready_and_one_pod_may_go_at_a_time() {
    let objects = objects();
    let service = one(&objects, "Service");
    assert_eq!(service["spec"]["clusterIP"], "None");
    assert_eq!(service["spec"]["publishNotReadyAddresses"], true);
    let labels = &one(&objects, "StatefulSet")["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&service["spec"]["selector"], labels);
    let budget = one(&objects, "PodDisruptionBudget");
    assert_eq!(budget["spec"]["maxUnavailable"], 1);
    assert_eq!(&budget["spec"]["selector"]["matchLabels"], labels);
}

#[test]
fn the_role_allows_what_the_strategy_asks_for_and_no_more() {
    let objects = objects();
    let role = one(&objects, "Role");
    let mut rules: Vec<String> = Vec::new();
    for rule in role["rules"].as_array().expect("rules") {
        for verb in rule["verbs"].as_array().expect("verbs") {
            let of = if rule["resourceNames"].is_null() { "all" } else { "ekka" };
            assert!(of == "all" || rule["resourceNames"] == json!(["ekka"]), "{rule}");
            rules.push(format!("{verb} {} in {} of {of}", rule["resources"], rule["apiGroups"]).replace('"', ""));
        }
    }
    rules.sort();
    assert_eq!(
        rules,
        [
            "get [services] in [] of ekka",
            "get [statefulsets] in [apps] of ekka",
            "list [endpointslices] in [discovery.k8s.io] of all",
            "watch [endpointslices] in [discovery.k8s.io] of all",
        ]
    );
    // `net_k8s.rs` runs pods with just these.
    assert_eq!(one(&objects, "StatefulSet")["metadata"]["name"], "ekka");
    assert_eq!(one(&objects, "Service")["metadata"]["name"], "ekka");
    let binding = one(&objects, "RoleBinding");
    assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
    assert_eq!(binding["subjects"][0]["name"], one(&objects, "ServiceAccount")["metadata"]["name"]);
}

#[test]
fn the_configuration_in_the_config_map_is_one() {
    let text = one(&objects(), "ConfigMap")["data"]["ekka.conf"].as_str().expect("a file").to_owned();
    let dir = tempfile::TempDir::new().expect("a folder");
    let file = dir.path().join("ekka.conf");
    let cookie = dir.path().join("cookie");
    std::fs::write(&cookie, format!("{:-<43}\n", "cookie")).expect("written");
    std::fs::write(&file, text).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ekka"));
    command.arg("check").arg("-c").arg(&file).env("POD_IP", "10.1.2.3").env("KUBERNETES_SERVICE_HOST", "10.96.0.1");
    let output =
        command.args(["--set", &format!("node.cookie_file={}", cookie.display())]).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("ekka@10.1.2.3"), "{said}");
}

#[test]
fn compose_and_image_agree_with_each_other() {
    let read = |name: &str| std::fs::read_to_string(top().join(name)).expect(name);
    let (compose, image) = (read("deploy/compose/compose.yaml"), read("deploy/Dockerfile"));
    for part in [
        r#"test: ["CMD", "ekka", "health", "ready", "--for", "available"]"#,
        "dockerfile: deploy/Dockerfile",
        "ekka@ekka1",
        "ekka@ekka2",
        "ekka@ekka3",
        "file: ./cookie",
        "> deploy/compose/cookie",
    ] {
        assert!(compose.contains(part), "{part}");
    }
    // The secret goes neither into the image nor into the repository.
    let lines = |name: &str| read(name).lines().map(str::to_owned).collect::<Vec<_>>();
    for part in ["target", ".git", "deploy/compose/cookie"] {
        assert!(lines(".dockerignore").iter().any(|line| line == part), "{part}");
    }
    assert!(lines(".gitignore").iter().any(|line| line == "/deploy/compose/cookie"));
    for part in ["FROM debian:bookworm-slim", "USER 8370:8370", "EKKA_HEALTH__LISTEN=0.0.0.0:8370", "EXPOSE 4370 8370"]
    {
        assert!(image.contains(part), "{part}");
    }
}
