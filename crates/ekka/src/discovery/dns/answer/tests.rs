use std::time::Duration;

use ekka_core::id::NodeId;

use super::*;

fn naming(me: &str, app: &str) -> Naming {
    let name: NodeName = me.parse().unwrap();
    let endpoint = name.endpoint(4370).unwrap();
    Naming { app: app.to_owned(), me: Me { name, endpoint, node_id: NodeId::from_random(1) }, base_port: 4370 }
}

fn of(outcome: Outcome, me: &str, app: &str, record: DnsRecord) -> Found {
    let answer = Answer { names: vec!["ekka.test.".to_owned()], outcome, ttl: Duration::ZERO };
    found(&answer, &naming(me, app), "ekka.test", record)
}

fn ips(texts: &[&str]) -> Outcome {
    Outcome::Records(texts.iter().map(|text| Record::Ip(text.parse().unwrap())).collect())
}

fn services(all: &[(u16, u16, u16, &str)]) -> Outcome {
    let service = |(priority, weight, port, target): &(u16, u16, u16, &str)| {
        Record::Service(Service { priority: *priority, weight: *weight, port: *port, target: (*target).to_owned() })
    };
    Outcome::Records(all.iter().map(service).collect())
}

fn listed(found: &Found) -> Vec<String> {
    found.candidates.iter().map(|candidate| format!("{} {}", candidate.name, candidate.endpoint)).collect()
}

fn left_out(found: &Found) -> Vec<String> {
    found.left_out.iter().map(|entry| format!("{}: {}", entry.what, entry.why)).collect()
}

#[test]
fn addresses_become_names_with_the_port_of_the_rule() {
    let found = of(ips(&["10.0.0.2", "10.0.0.1", "10.0.0.2"]), "ekka@10.0.0.1", "ekka", DnsRecord::A);
    assert_eq!(listed(&found), ["ekka@10.0.0.1 10.0.0.1:4370", "ekka@10.0.0.2 10.0.0.2:4370"]);
    assert_eq!((found.left_out, found.notes), (Vec::new(), Vec::new()));
    let found = of(ips(&["10.0.0.2"]), "n7@10.0.0.2", "n7", DnsRecord::A);
    assert_eq!(listed(&found), ["n7@10.0.0.2 10.0.0.2:4377"]);
}

#[test]
fn spec_10_21_addresses_of_ipv6_become_names_in_brackets() {
    // ekka#174, ekka#185
    let found = of(ips(&["2001:db8::2", "2001:db8::1"]), "ekka@[2001:db8::1]", "ekka", DnsRecord::Aaaa);
    assert_eq!(listed(&found), ["ekka@[2001:db8::1] [2001:db8::1]:4370", "ekka@[2001:db8::2] [2001:db8::2]:4370"]);
    assert_eq!(listed(&of(ips(&["::1"]), "ekka@[::1]", "ekka", DnsRecord::Aaaa)), ["ekka@[::1] [::1]:4370"]);
}

#[test]
fn the_original_s_localhost_is_this_node() {
    let found = of(ips(&["127.0.0.1"]), "ekka@127.0.0.1", "ekka", DnsRecord::A);
    assert_eq!(listed(&found), ["ekka@127.0.0.1 127.0.0.1:4370"]);
    assert!(found.notes.is_empty(), "{:?}", found.notes);
}

#[test]
fn addresses_that_no_host_has_are_left_out_with_the_reason() {
    let found =
        of(ips(&["0.0.0.0", "224.0.0.1", "255.255.255.255", "10.0.0.1"]), "ekka@10.0.0.1", "ekka", DnsRecord::A);
    assert_eq!(
        left_out(&found),
        [
            "0.0.0.0: it is the address of no host",
            "224.0.0.1: it is a multicast address",
            "255.255.255.255: it is the broadcast address"
        ]
    );
    assert_eq!(found.candidates.len(), 1);
    let found = of(ips(&["::", "ff02::1", "fe80::1", "::ffff:10.0.0.1"]), "ekka@[fd00::1]", "ekka", DnsRecord::Aaaa);
    assert_eq!(found.left_out.len(), 4, "{:?}", found.left_out);
    assert_eq!(found.notes, ["no record of ekka.test can be used, and this node is not listed"]);
}

#[test]
fn loopback_and_the_rest_never_meet() {
    let found = of(ips(&["127.0.1.1", "10.0.0.1"]), "ekka@10.0.0.1", "ekka", DnsRecord::A);
    assert_eq!(
        left_out(&found),
        ["127.0.1.1: 127.0.1.1 is on loopback and this node, ekka@10.0.0.1, is not: such nodes never join each other"]
    );
    let found = of(ips(&["127.0.0.1", "10.0.0.1"]), "ekka@127.0.0.1", "ekka", DnsRecord::A);
    assert_eq!(
        left_out(&found),
        ["10.0.0.1: 10.0.0.1 is not on loopback and this node, ekka@127.0.0.1, is: such nodes never join each other"]
    );
}

#[test]
fn services_give_names_ports_and_their_order() {
    let all = [
        (20, 0, 4370, "d.example."),
        (10, 1, 4370, "C.Example."),
        (10, 9, 5000, "b.example."),
        (10, 9, 4370, "a.example."),
        (10, 9, 4370, "a.example."),
    ];
    let found = of(services(&all), "ekka@b.example:5000", "ekka", DnsRecord::Srv);
    assert_eq!(
        listed(&found),
        [
            "ekka@a.example a.example:4370",
            "ekka@b.example:5000 b.example:5000",
            "ekka@c.example c.example:4370",
            "ekka@d.example d.example:4370"
        ]
    );
    assert!(found.left_out.is_empty() && found.notes.is_empty(), "{found:?}");
}

#[test]
fn a_service_that_is_this_node_bears_this_node_s_name() {
    let found = of(services(&[(0, 0, 4371, "a.example.")]), "ekka1@a.example", "ekka", DnsRecord::Srv);
    assert_eq!(listed(&found), ["ekka1@a.example a.example:4371"]);
    assert!(found.notes.is_empty(), "{:?}", found.notes);
}

#[test]
fn targets_that_are_no_hosts_are_left_out_and_the_dot_means_nobody() {
    let found = of(services(&[(0, 0, 0, ".")]), "ekka@a.example", "ekka", DnsRecord::Srv);
    assert_eq!(left_out(&found), [".:0: the target `.` says that there is no such service"]);
    assert!(found.candidates.is_empty());
    let all = [(0, 0, 0, "a."), (0, 0, 1, "x y."), (0, 0, 1, "a\\032b."), (0, 0, 1, "-a."), (0, 0, 1, "a:9.")];
    let found = of(services(&all), "ekka@a.example", "ekka", DnsRecord::Srv);
    assert_eq!((found.candidates.len(), found.left_out.len()), (0, 5), "{found:?}");
    assert!(left_out(&found).iter().any(|text| text == "a:0: its port is 0"), "{found:?}");
}

#[test]
fn an_empty_answer_says_that_not_even_this_node_is_listed() {
    let found = of(Outcome::NoName, "ekka@10.0.0.1", "ekka", DnsRecord::A);
    assert_eq!(
        found.notes,
        ["no record of type A for ekka.test: not even this node is listed; the name does not exist (NXDOMAIN)"]
    );
    let answer = Answer {
        names: vec!["ekka.test.lan.".to_owned(), "ekka.test.".to_owned()],
        outcome: Outcome::NoData,
        ttl: Duration::ZERO,
    };
    let found = super::found(&answer, &naming("ekka@10.0.0.1", "ekka"), "ekka.test", DnsRecord::Srv);
    assert_eq!(
        found.notes,
        ["no record of type SRV for ekka.test: not even this node is listed; the name has none; asked for: \
          ekka.test.lan., ekka.test."]
    );
}

#[test]
fn an_answer_without_this_node_is_noted_with_the_reason_where_it_shows() {
    let found = of(ips(&["10.0.0.2"]), "ekka@10.0.0.1", "ekka", DnsRecord::A);
    assert_eq!(found.notes, ["this node, ekka@10.0.0.1 (10.0.0.1:4370), is not in the answer: others may not find it"]);
    let found = of(ips(&["10.0.0.1"]), "ekka1@10.0.0.1", "ekka", DnsRecord::A);
    let note = &found.notes[0];
    assert!(note.contains("its host is there as ekka@10.0.0.1, port 4370, and it listens on 4371"), "{note}");
}

#[test]
fn long_answers_are_bounded_and_say_so() {
    let many: Vec<Record> = (0..3000u32).map(|n| Record::Ip(IpAddr::V4((0x0a00_0001 + n).into()))).collect();
    let found = of(Outcome::Records(many), "ekka@10.0.0.1", "ekka", DnsRecord::A);
    assert_eq!(found.candidates.len(), CANDIDATES_MAX);
    assert_eq!(found.notes, ["the answer names 1976 more than the 1024 that are looked at"]);
    let many: Vec<Record> = (0..3000u32).map(|n| Record::Ip(IpAddr::V4((0xe000_0001 + n).into()))).collect();
    let found = of(Outcome::Records(many), "ekka@10.0.0.1", "ekka", DnsRecord::A);
    assert_eq!(found.left_out.len(), LEFT_OUT_MAX);
    assert_eq!(found.notes[0], "3000 records are left out; 64 of them are shown");
}
