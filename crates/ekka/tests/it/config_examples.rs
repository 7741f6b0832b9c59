//! The snippets of the original's README, and the examples under `etc/`, are read as they are.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use crate::config_support::{Around, load_file, shown, vars};
use ekka::config::{DnsRecord, K8sAddress, Sources, Strategy, load_in};

const README: &str = include_str!("../fixtures/original-readme.txt");

/// The text behind a title, from the line after `from` to the line `to`.
fn snippet(title: &str, from: &str, to: &str) -> String {
    let section = README.split_once(&format!("\n{title}\n")).unwrap_or_else(|| panic!("{title}")).1;
    let lines = section.lines().skip_while(|line| !line.eq_ignore_ascii_case(from)).skip(1);
    let text: Vec<&str> = lines.take_while(|line| *line != to).collect();
    text.join("\n").trim().to_owned()
}

fn erlang(title: &str) -> String {
    snippet(title, "Erlang config:", "Cuttlefish style config:")
}

fn conf(title: &str, to: &str) -> String {
    snippet(title, "Cuttlefish style config:", to)
}

fn strategy(name: &str, text: &str) -> Strategy {
    let loaded = load_file(name, text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(loaded.config.cluster.name, "ekka");
    let [strategy] = loaded.config.cluster.discovery.as_slice() else { panic!("one strategy") };
    strategy.clone()
}

#[test]
fn snippets_for_static_name_the_seeds() {
    let title = "Cluster using static node list";
    for (name, text) in [("a.config", erlang(title)), ("a.conf", conf(title, "Cluster using IP Multicast"))] {
        let Strategy::Static { seeds } = strategy(name, &text) else { panic!("{name}") };
        let seeds: Vec<String> = seeds.iter().map(ToString::to_string).collect();
        assert_eq!(seeds, ["ekka1@127.0.0.1", "ekka2@127.0.0.1"], "{name}");
    }
}

#[test]
fn snippets_for_mcast_give_group_ports_and_reach() {
    let title = "Cluster using IP Multicast";
    for (name, text) in [("a.config", erlang(title)), ("a.conf", conf(title, "Cluster using DNS A records"))] {
        let Strategy::Mcast(mcast) = strategy(name, &text) else { panic!("{name}") };
        assert_eq!(mcast.addr, IpAddr::from([239, 192, 0, 1]), "{name}");
        assert_eq!((mcast.ports, mcast.iface), (vec![4369, 4370], Ipv4Addr::UNSPECIFIED.into()), "{name}");
        assert_eq!((mcast.ttl, mcast.loopback), (255, true), "{name}");
    }
}

#[test]
fn snippet_for_dns_in_erlang_has_the_options_of_etcd_and_is_refused_for_it() {
    let errors = load_file("ekka.config", erlang("Cluster using DNS A records")).unwrap_err().to_string();
    let (place, text) = errors.split_once("ekka.config:").expect("a place");
    assert!(Path::new(place).is_absolute() && !text.contains('\n'));
    assert_eq!(
        text,
        "3: {dns, …} has options of etcd (server, prefix, node_ttl): the original README's DNS example is wrong. For DNS \
         write {dns, [{name, \"localhost\"}, {app, \"ekka\"}]}; for etcd change dns to etcd"
    );
}

#[test]
fn snippet_for_dns_in_conf_names_localhost() {
    let text = conf("Cluster using DNS A records", "Cluster using etcd");
    let Strategy::Dns(dns) = strategy("a.conf", &text) else { panic!("dns") };
    assert_eq!((dns.name.as_str(), dns.app.as_str(), dns.record), ("localhost", "ekka", DnsRecord::A));
}

#[test]
fn snippets_for_etcd_name_server_prefix_and_ttl() {
    let title = "Cluster using etcd";
    let texts =
        [("a.config", erlang(title), "ekkacluster"), ("a.conf", conf(title, "Cluster using Kubernates"), "ekkacl")];
    for (name, text, prefix) in texts {
        let Strategy::Etcd(etcd) = strategy(name, &text) else { panic!("{name}") };
        assert_eq!(etcd.servers, ["http://127.0.0.1:2379"], "{name}");
        assert_eq!((etcd.prefix.as_str(), etcd.node_ttl), (prefix, Duration::from_secs(60)), "{name}");
        let notices = load_file(name, &text).unwrap().notices;
        assert_eq!(notices.len(), 1, "{notices:?}");
        assert!(notices[0].text.contains("in the clear"), "{}", notices[0]);
    }
}

#[test]
fn snippets_for_k8s_name_api_server_and_app() {
    let title = "Cluster using Kubernates";
    let texts = [("a.config", erlang(title)), ("a.conf", conf(title, "Network partition and Autoheal"))];
    for (name, text) in texts {
        let Strategy::K8s(k8s) = strategy(name, &text) else { panic!("{name}") };
        assert_eq!(k8s.apiservers, ["http://10.110.111.204:8080"], "{name}");
        assert_eq!((k8s.app_name.as_str(), k8s.service_name.as_str()), ("ekka", "ekka"), "{name}");
        assert_eq!((k8s.namespace.as_str(), k8s.address_type, k8s.suffix), ("default", K8sAddress::Ip, None));
    }
}

#[test]
fn snippets_for_autoheal_and_autoclean_switch_them_on() {
    let heal = ("Enable autoheal", "Node down and Autoclean");
    for (name, text) in [("a.config", erlang(heal.0)), ("a.conf", conf(heal.0, heal.1))] {
        let config = load_file(name, &text).unwrap().config;
        assert_eq!(config.cluster.autoheal, Some(Duration::from_secs(3)), "{text}");
    }
    let clean = ("Enable autoclean", "Lock Service");
    for (name, text, secs) in [("a.config", erlang(clean.0), 60), ("a.conf", conf(clean.0, clean.1), 300)] {
        let config = load_file(name, &text).unwrap().config;
        assert_eq!(config.cluster.autoclean, Some(Duration::from_secs(secs)), "{text}");
    }
}

#[test]
fn every_example_under_etc_is_read_in_both_styles_to_the_same_end() {
    let etc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../etc");
    let around = Around { route: Some(IpAddr::from([10, 0, 0, 1])), ..Around::default() };
    let load = |name: &str| {
        let sources = Sources { files: vec![etc.join(name)], env: vars(&[]), ..Sources::default() };
        load_in(&sources, &around).unwrap_or_else(|e| panic!("{e}"))
    };
    let mut seen = 0;
    for strategy in ["manual", "static", "mcast", "dns", "etcd", "k8s"] {
        let (conf, erlang) = (load(&format!("ekka-{strategy}.conf")), load(&format!("ekka-{strategy}.config")));
        assert_eq!(conf.config, erlang.config, "{strategy}");
        assert_eq!(shown(&conf, "cluster.discovery").as_deref(), Some(strategy));
        assert!(conf.notices.is_empty() && erlang.notices.is_empty(), "{:?} {:?}", conf.notices, erlang.notices);
        seen += 2;
    }
    let (conf, erlang) = (load("witness.conf"), load("witness.config"));
    assert_eq!(conf.config, erlang.config);
    assert_eq!(shown(&conf, "node.role").as_deref(), Some("witness"));
    seen += 2;
    let files = std::fs::read_dir(&etc).unwrap().count();
    assert_eq!(files, seen, "an example under etc/ is not tested");
}
