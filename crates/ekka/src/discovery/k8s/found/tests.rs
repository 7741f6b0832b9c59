use super::super::addresses::{of_endpoints, of_slice};
use super::*;
use crate::config::K8sAddress;

fn options(address_type: K8sAddress) -> K8s {
    K8s {
        apiservers: Vec::new(),
        service_name: "svc".into(),
        address_type,
        app_name: "app".into(),
        namespace: "ns".into(),
        suffix: Some("svc.cluster.local".into()),
        token_file: None,
        cacertfile: None,
        insecure_token: false,
    }
}

fn slices(json: &[&str]) -> AddressSet {
    let mut set = AddressSet::default();
    for (at, text) in json.iter().enumerate() {
        set.put(&format!("slice-{at}"), of_slice(serde_json::from_str(text).expect(text)));
    }
    set
}

fn names(found: &Found) -> Vec<String> {
    found.candidates.iter().map(|candidate| candidate.name.to_string()).collect()
}

fn me(name: &str) -> NodeName {
    name.parse().expect(name)
}

#[test]
fn endpoints_give_ready_and_not_ready_addresses_once() {
    let endpoints = r#"{"metadata": {"name": "svc"}, "subsets": [
        {"addresses": [{"ip": "10.0.0.1", "targetRef": {"kind": "Pod", "name": "p-0", "uid": "u0"}}],
         "notReadyAddresses": [{"ip": "10.0.0.2"}], "ports": [{"port": 1883}]},
        {"addresses": null, "notReadyAddresses": [{"ip": "10.0.0.1", "targetRef": {"name": "p-0", "uid": "u0"}}]}]}"#;
    let mut set = AddressSet::default();
    set.put("svc", of_endpoints(serde_json::from_str(endpoints).expect("Endpoints")));
    let found = found(&options(K8sAddress::Ip), &me("app@10.0.0.1"), 4370, &set);
    assert_eq!(names(&found), ["app@10.0.0.1", "app@10.0.0.2"]);
    assert_eq!(found.notes, ["1 of 2 pods are not ready; they are candidates all the same"]);
    assert_eq!(found.candidates[0].endpoint.to_string(), "10.0.0.1:4370", "the port is ours, not the Service's");
}

#[test]
fn jgroups_215_a_pod_with_two_addresses_is_one_candidate() {
    let set = slices(&[
        r#"{"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1", "10.0.0.99"], "hostname": "p-0",
            "targetRef": {"kind": "Pod", "name": "p-0", "uid": "u0"}}]}"#,
        r#"{"addressType": "IPv6", "endpoints": [{"addresses": ["fd00::1"], "hostname": "p-0",
            "targetRef": {"kind": "Pod", "name": "p-0", "uid": "u0"}},
            {"addresses": ["fd00::2"], "hostname": "p-1", "targetRef": {"kind": "Pod", "name": "p-1", "uid": "u1"}}]}"#,
    ]);
    let v4 = found(&options(K8sAddress::Ip), &me("app@10.0.0.1"), 4370, &set);
    assert_eq!(names(&v4), ["app@10.0.0.1", "app@[fd00::2]"], "who has no other address is dialled by what it has");
    assert_eq!(v4.left_out.len(), 1, "{:?}", v4.left_out);
    assert!(v4.left_out[0].why.contains("the other address of app@10.0.0.1"), "{:?}", v4.left_out);
    let v6 = found(&options(K8sAddress::Ip), &me("app@[fd00::1]"), 4370, &set);
    assert_eq!(names(&v6), ["app@[fd00::1]", "app@[fd00::2]"]);
    let by_name = found(&options(K8sAddress::Hostname), &me("app@p-0.svc.ns.svc.cluster.local"), 4370, &set);
    assert_eq!(names(&by_name), ["app@p-0.svc.ns.svc.cluster.local", "app@p-1.svc.ns.svc.cluster.local"]);
    assert!(by_name.left_out.is_empty(), "the same name: {:?}", by_name.left_out);
}

#[test]
fn slices_of_names_are_taken_by_name_and_nonsense_is_left_out() {
    let set = slices(&[
        r#"{"addressType": "FQDN", "endpoints": [{"addresses": ["Node-1.example"]}, {"addresses": ["a b"]}]}"#,
        r#"{"addressType": "IPv4", "endpoints": [{"addresses": ["node"]}, {"addresses": []}, {"addresses": null}]}"#,
        r#"{"addressType": "IPv4", "endpoints": null}"#,
    ]);
    let found = found(&options(K8sAddress::Ip), &me("app@10.0.0.1"), 4370, &set);
    assert_eq!(names(&found), ["app@node-1.example"]);
    let why: Vec<_> = found.left_out.iter().map(|entry| (entry.what.as_str(), entry.why.as_str())).collect();
    assert_eq!(why, [("a b", "is no name of a host"), ("node", "is no address")]);
}

#[test]
fn a_pod_that_is_back_elsewhere_is_listed_by_both_addresses_while_the_old_one_stays() {
    let set = slices(&[r#"{"addressType": "IPv4", "endpoints": [
        {"addresses": ["10.0.0.1"], "targetRef": {"name": "p-0", "uid": "old"}},
        {"addresses": ["10.0.0.9"], "targetRef": {"name": "p-0", "uid": "new"}}]}"#]);
    let found = found(&options(K8sAddress::Ip), &me("app@10.0.0.9"), 4370, &set);
    assert_eq!(names(&found), ["app@10.0.0.1", "app@10.0.0.9"]);
}

#[test]
fn a_node_that_others_know_by_another_name_is_told() {
    let set = slices(&[r#"{"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}]}"#]);
    let other = found(&options(K8sAddress::Ip), &me("ekka@10.0.0.1"), 4370, &set);
    assert!(other.notes.iter().any(|note| note.contains("lists this node's address as app@10.0.0.1")), "{other:?}");
    let absent = found(&options(K8sAddress::Ip), &me("app@10.0.0.7"), 4370, &set);
    assert!(absent.notes.iter().any(|note| note.contains("is not among the pods of Service svc")), "{absent:?}");
}

#[test]
fn what_a_server_can_make_this_node_keep_is_bounded() {
    let endpoints: Vec<String> =
        (0..9000).map(|n| format!(r#"{{"addresses": ["10.{}.{}.1"]}}"#, n / 250, n % 250)).collect();
    let slice = format!(r#"{{"addressType": "IPv4", "endpoints": [{}]}}"#, endpoints.join(","));
    let found = found(&options(K8sAddress::Ip), &me("app@10.0.0.1"), 4370, &slices(&[&slice, &slice, &slice]));
    assert_eq!(found.candidates.len(), CANDIDATES_MAX);
    assert!(found.notes.iter().any(|note| note.contains("were cut off")), "{:?}", found.notes);
    let empty: Vec<&str> = vec!["{}"; 6000];
    let set = slices(&empty);
    assert_eq!(set.iter().count(), 0, "slices without addresses have their bound too");
}
