//! What accepted configurations mean: layers, aliases, names, cookies, formation, and the words of `ekka check`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config_support::{Around, file, load_file, shown, vars};
use ekka::config::{
    Config, ConfigBuilder, CookieSource, Loaded, Place, Sources, Strategy, TlsMode, explain, formation_settings,
    load_in,
};
use ekka::core::limits::{SETTLE_OTHER, SETTLE_STATIC};

const COOKIE: &str = "node.cookie = 0123456789abcdef0123456789abcdef\n";

fn conf(text: &str) -> Config {
    load_file("a.conf", text).unwrap_or_else(|e| panic!("{e}")).config
}

fn env(pairs: &[(&str, &str)]) -> Loaded {
    let sources = Sources { env: vars(pairs), ..Sources::default() };
    load_in(&sources, &Around::default()).unwrap_or_else(|e| panic!("{e}"))
}

fn notices(loaded: &Loaded) -> String {
    loaded.notices.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn source<'a>(loaded: &'a Loaded, key: &str) -> &'a Place {
    &loaded.values.iter().find(|value| value.key == key).unwrap_or_else(|| panic!("{key} is shown")).source
}

#[test]
fn nothing_written_gives_the_documented_defaults() {
    let loaded = env(&[]);
    for (key, value) in [
        ("node.name", "ekka@127.0.0.1"),
        ("node.cookie_file", "/home/test/.config/ekka/cookie"),
        ("node.data_dir", "data/ekka"),
        ("node.listen", "127.0.0.1:4370"),
        ("node.base_port", "4370"),
        ("node.role", "core"),
        ("node.stop_timeout", "30s"),
        ("node.on_sigterm", "stop"),
        ("cluster.name", "ekka"),
        ("cluster.discovery", "manual"),
        ("cluster.expect", "1"),
        ("cluster.merge", "empty"),
        ("cluster.autoheal", "3s"),
        ("cluster.gone_after", "15s"),
        ("cluster.autoclean", "24h"),
        ("cluster.tls", "cookie"),
        ("cluster.proto_dist", "inet_tcp"),
        ("api.socket", "data/ekka/ekka.sock"),
        ("api.listen", "off"),
        ("health.listen", "off"),
        ("lock.max_ttl", "1m"),
        ("storage.reserve", "256MB"),
        ("storage.cache", "auto"),
        ("storage.keep", "1GB"),
        ("log.level", "info"),
    ] {
        assert_eq!(shown(&loaded, key).as_deref(), Some(value), "{key}");
        assert_eq!(source(&loaded, key), &Place::Default, "{key}");
    }
    assert!(loaded.notices.is_empty() && loaded.config.written.is_empty());
}

#[test]
fn defaults_of_the_strategies_are_those_of_the_documentation() {
    let text = "cluster.discovery = mcast,dns,etcd,k8s\ncluster.dns.name = x\ncluster.etcd.server = https://e:2379\n";
    let loaded = load_file("a.conf", text).unwrap();
    for (key, value) in [
        ("cluster.mcast.addr", "239.192.0.1"),
        ("cluster.mcast.ports", "4369,4370"),
        ("cluster.mcast.iface", "0.0.0.0"),
        ("cluster.mcast.ttl", "1"),
        ("cluster.mcast.loop", "on"),
        ("cluster.dns.app", "ekka"),
        ("cluster.dns.type", "a"),
        ("cluster.etcd.prefix", "ekkacl"),
        ("cluster.etcd.node_ttl", "1m"),
        ("cluster.etcd.version", "auto"),
        ("cluster.k8s.apiserver", "https://kubernetes.default.svc"),
        ("cluster.k8s.app_name", "ekka"),
        ("cluster.k8s.namespace", "default"),
        ("cluster.k8s.address_type", "ip"),
        ("cluster.k8s.insecure_token", "off"),
    ] {
        assert_eq!(shown(&loaded, key).as_deref(), Some(value), "{key}");
    }
}

#[test]
fn later_sources_win_and_each_value_names_its_own() {
    let (_one, first) = file("one.conf", "cluster.name = one\nlog.level = warn\nlog.format = json\nnode.role = core\n");
    let (_two, second) = file("two.config", "{cluster_name, two}.\n");
    let sources = Sources {
        files: vec![first.clone(), second],
        env: vars(&[("EKKA_CLUSTER__NAME", "three"), ("EKKA_LOG__LEVEL", "debug")]),
        set: vec!["cluster.name=four".to_owned(), "cluster.name = five".to_owned()],
        name: Some("six@127.0.0.1".to_owned()),
        built: Vec::new(),
    };
    let loaded = load_in(&sources, &Around::default()).unwrap();
    let five = shown(&loaded, "cluster.name");
    assert_eq!((five.as_deref(), source(&loaded, "cluster.name")), (Some("five"), &Place::Set));
    assert_eq!(source(&loaded, "log.level"), &Place::Env("EKKA_LOG__LEVEL".to_owned()));
    assert_eq!(source(&loaded, "log.format"), &Place::File { path: first, line: Some(3) });
    assert_eq!(source(&loaded, "node.name"), &Place::Name);
    let built = ConfigBuilder::new().over(sources).cluster_name("seven").load_in(&Around::default()).unwrap();
    assert_eq!((built.config.cluster.name.as_str(), source(&built, "cluster.name")), ("seven", &Place::Builder));
}

#[test]
fn variables_that_kubernetes_makes_for_a_service_called_ekka_do_not_disturb() {
    let kubernetes = [
        ("EKKA_PORT", "tcp://10.96.0.17:4370"),
        ("EKKA_SERVICE_HOST", "10.96.0.17"),
        ("EKKA_SERVICE_PORT", "4370"),
        ("EKKA_PORT_4370_TCP", "tcp://10.96.0.17:4370"),
        ("EKKA_PORT_4370_TCP_PROTO", "tcp"),
        ("EKKA_PORT_4370_TCP_PORT", "4370"),
        ("EKKA_PORT_4370_TCP_ADDR", "10.96.0.17"),
    ];
    assert_eq!(env(&kubernetes), env(&[]));
    let both: Vec<_> =
        kubernetes.into_iter().chain([("EKKA_CLUSTER__NAME", "x"), ("EKKA_FENCING_TOKEN", "7")]).collect();
    assert_eq!(env(&both).config.cluster.name, "x");
}

#[test]
fn aliases_are_read_under_their_new_name_with_one_notice_each() {
    let rows: &[(&str, &str, &str, &str)] = &[
        ("a.conf", "cluster.discovery_strategy = k8s\ncluster.k8s.app = shop", "cluster.k8s.app_name", "shop"),
        ("a.conf", "cluster.dns.record_type = srv", "cluster.dns.type", "srv"),
        ("a.conf", "cluster.etcd.keyfile = k", "cluster.etcd.ssl.keyfile", "k"),
        ("a.conf", "rlog.role = replicant", "node.role", "replicant"),
        ("a.config", "{cluster_clean_down, 3600000}", "cluster.autoclean", "1h"),
        ("a.config", "{proto_dist, inet6_tcp}", "cluster.proto_dist", "inet6_tcp"),
        ("a.config", "{kernel, [{inet_dist_base_port, 5000}]}", "node.base_port", "5000"),
    ];
    for (name, text, key, value) in rows {
        let loaded = load_file(name, text).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(shown(&loaded, key).as_deref(), Some(*value), "{text}");
        assert_eq!(notices(&loaded).matches(&format!("is read as {key}")).count(), 1, "{}", notices(&loaded));
    }
    let loaded =
        env(&[("NODE_ROLE", "replicant"), ("CORE_NODES", "a@127.0.0.1 b@127.0.0.1"), ("EKKA_PROTO_DIST_MOD", "")]);
    assert_eq!(shown(&loaded, "cluster.static.seeds").as_deref(), Some("a@127.0.0.1,b@127.0.0.1"));
    assert_eq!(shown(&loaded, "cluster.discovery").as_deref(), Some("static"));
    assert_eq!(source(&loaded, "cluster.static.seeds"), &Place::Env("CORE_NODES".to_owned()));
    let both = env(&[("NODE_ROLE", "worker"), ("EKKA_NODE__ROLE", "witness")]);
    assert_eq!(shown(&both, "node.role").as_deref(), Some("witness"), "the generic name yields");
    assert!(notices(&loaded).contains("cluster.static.seeds") && notices(&loaded).contains("`NODE_ROLE`"));
}

#[test]
fn keys_without_effect_say_why_they_are_not_needed() {
    for (name, text) in [
        ("a.conf", "cluster.etcd.transport = tcp"),
        ("a.conf", "cluster.skip_table_load_check = true"),
        ("a.config", "{skip_table_load_check, true}."),
        ("a.config", "{cluster_discovery, {mcast, [{heartbeat, 1000}, {ttl, 1}]}}"),
    ] {
        let loaded = load_file(name, text).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(notices(&loaded).matches("has no effect: ").count(), 1, "{}", notices(&loaded));
    }
}

#[test]
fn sections_of_other_applications_are_skipped_with_one_notice_each() {
    let text =
        "[{kernel, [{logger, [{handler, default, logger_std_h, #{config => #{file => \"x\"}}}]}, {net_ticktime, 5}]},
                 {mnesia, [{dir, \"x\"}]}, {emqx, []},
                 {mria, [{cluster_autoclean, 60}, {node_role, core}, {shard_transport, distr}]},
                 {ekka, [{cluster_name, <<\"shop\">>}, {cluster_autoheal, undefined}]}].";
    let loaded = load_file("sys.config", text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(
        (loaded.config.cluster.name.as_str(), loaded.config.cluster.autoclean),
        ("shop", Some(Duration::from_secs(60)))
    );
    for section in ["kernel", "mnesia", "emqx", "mria"] {
        assert_eq!(notices(&loaded).matches(&format!("section {{{section}, …}}")).count(), 1, "{}", notices(&loaded));
    }
    assert_eq!(loaded.notices.len(), 4);
}

#[test]
fn cluster_enable_off_is_manual_and_keeps_the_rest() {
    let text = "cluster.enable = off\ncluster.discovery = static\ncluster.static.seeds = a@127.0.0.1\n";
    let loaded = load_file("a.conf", text).unwrap();
    assert_eq!(loaded.config.cluster.discovery, [Strategy::Manual]);
    assert_eq!(shown(&loaded, "cluster.static.seeds").as_deref(), Some("a@127.0.0.1"));
    assert!(matches!(source(&loaded, "cluster.discovery"), Place::File { line: Some(1), .. }));
    assert!(notices(&loaded).contains("cluster.discovery = manual"));
    let on = load_file("a.config", "{cluster_enable, true}, {cluster_discovery, {static, [{seeds, ['a@127.0.0.1']}]}}");
    assert_eq!(on.unwrap().config.cluster.discovery[0].name(), "static");
}

#[test]
fn tls_of_the_original_is_files() {
    let files = "cluster.tls.certfile = c.pem\ncluster.tls.keyfile = k.pem\ncluster.tls.cacertfile = /ca.pem\n";
    for (proto, ipv6) in [("inet_tls", false), ("inet6_tls", true)] {
        let (dir, path) = file("a.conf", format!("cluster.proto_dist = {proto}\n{files}"));
        let sources = Sources { files: vec![path], env: vars(&[]), ..Sources::default() };
        let config = load_in(&sources, &Around::default()).unwrap().config;
        let TlsMode::Files { certfile, cacertfile, .. } = config.cluster.tls else { panic!("files") };
        assert_eq!(
            (certfile, cacertfile),
            (dir.path().join("c.pem"), PathBuf::from("/ca.pem")),
            "relative to the file"
        );
        assert_eq!(config.cluster.ipv6, ipv6);
        assert_eq!(config.node.name.to_string(), if ipv6 { "ekka@[::1]" } else { "ekka@127.0.0.1" });
    }
    let loaded = load_file("a.conf", "cluster.tls = off").unwrap();
    assert!(loaded.config.cluster.tls == TlsMode::Off && notices(&loaded).contains("in the clear"));
}

#[test]
fn multicast_by_ipv6_is_read_from_tuples_of_eight() {
    let loaded = load_file("a.config", "{cluster_discovery, {mcast, [{addr,{16#ff02,0,0,0,0,0,0,1}}]}}.").unwrap();
    assert_eq!(shown(&loaded, "cluster.mcast.addr").as_deref(), Some("ff02::1"));
    assert_eq!(shown(&loaded, "cluster.mcast.iface").as_deref(), Some("::"));
}

#[test]
fn auto_with_dns_takes_the_own_address_that_the_records_list() {
    let [one, two, six]: [IpAddr; 3] = ["10.0.0.1", "10.0.0.2", "fd00::2"].map(|text| text.parse().unwrap());
    let around = |own: &[IpAddr]| Around {
        addrs: vec![IpAddr::from([127, 0, 0, 1]), one, two, six],
        own: own.to_vec(),
        route: Some(IpAddr::from([192, 168, 7, 7])),
        ..Around::default()
    };
    let dns = "node.name = ekka@auto\ncluster.discovery = dns\n";
    let rows = [
        ("", around(&[two, six]), "ekka@10.0.0.2", "the records of ekka.test, which list this address"),
        ("cluster.dns.type = aaaa\n", around(&[two, six]), "ekka@[fd00::2]", "the records of ekka.test"),
        ("", around(&[IpAddr::from([127, 0, 0, 1])]), "ekka@192.168.7.7", "default route"),
        ("cluster.dns.type = srv\n", around(&[two]), "ekka@192.168.7.7", "default route"),
        ("cluster.dns.server = 10.0.0.53\n", around(&[two]), "ekka@192.168.7.7", "default route"),
        ("cluster.dns.name = localhost\n", around(&[IpAddr::from([127, 0, 0, 1])]), "ekka@127.0.0.1", "localhost"),
    ];
    for (more, around, name, why) in rows {
        let named = if more.contains("dns.name") { "" } else { "cluster.dns.name = ekka.test\n" };
        let (_dir, path) = file("a.conf", format!("{dns}{named}{more}"));
        let set = vec![COOKIE.trim().to_owned()];
        let sources = Sources { files: vec![path], env: vars(&[]), set, ..Sources::default() };
        let node = load_in(&sources, &around).unwrap_or_else(|e| panic!("{e}")).config.node;
        assert_eq!(node.name.to_string(), name, "{more}");
        assert!(node.name_from.as_ref().is_some_and(|text| text.contains(why)), "{:?}", node.name_from);
    }
}

#[test]
fn auto_takes_the_pod_then_the_host_name_then_the_route() {
    let route = IpAddr::from([192, 168, 7, 7]);
    let (ten, debian) = (IpAddr::from([10, 0, 0, 5]), IpAddr::from([127, 0, 1, 1]));
    let named = |addrs: &[IpAddr]| Around {
        container: true,
        host_name: Some("n5.example"),
        addrs: addrs.to_vec(),
        route: Some(route),
        ..Around::default()
    };
    let rows = [
        (vec![("POD_IP", "10.1.2.3")], named(&[ten]), "ekka@10.1.2.3", "POD_IP"),
        (vec![], named(&[ten]), "ekka@n5.example", "which resolves to 10.0.0.5"),
        (vec![], named(&[debian]), "ekka@192.168.7.7", "resolves to loopback only (127.0.1.1)"),
        (vec![], named(&[]), "ekka@192.168.7.7", "does not resolve"),
        (
            vec![("KUBERNETES_SERVICE_HOST", "10.96.0.1")],
            Around { route: Some(route), ..Around::default() },
            "ekka@192.168.7.7",
            "default route",
        ),
    ];
    for (pairs, around, name, why) in rows {
        let sources = Sources { env: vars(&pairs), set: vec![COOKIE.trim().to_owned()], ..Sources::default() };
        let node = load_in(&sources, &around).unwrap_or_else(|e| panic!("{e}")).config.node;
        assert_eq!(node.name.to_string(), name);
        assert!(node.name_from.as_ref().is_some_and(|from| from.contains(why)), "{:?}", node.name_from);
        assert_eq!(node.listen, [(Ipv4Addr::UNSPECIFIED, 4370).into()]);
    }
    assert_eq!(env(&[("POD_IP", "10.1.2.3")]).config.node.name.to_string(), "ekka@127.0.0.1", "not asked for");
}

#[test]
fn a_pod_reads_what_kubernetes_mounts() {
    let around = Around {
        files: vec![
            ("/var/run/secrets/kubernetes.io/serviceaccount/namespace", "shop\n"),
            ("/var/run/secrets/kubernetes.io/serviceaccount/token", "t"),
        ],
        ..Around::default()
    };
    let load = |more: &str| {
        let (_dir, path) = file("a.conf", format!("cluster.discovery = k8s\n{more}"));
        load_in(&Sources { files: vec![path], env: vars(&[]), ..Sources::default() }, &around).unwrap()
    };
    let loaded = load("cluster.k8s.address_type = dns");
    assert_eq!(shown(&loaded, "cluster.k8s.namespace").as_deref(), Some("shop"));
    assert_eq!(shown(&loaded, "cluster.k8s.suffix").as_deref(), Some("pod.cluster.local"));
    assert!(shown(&loaded, "cluster.k8s.token_file").is_some_and(|path| path.ends_with("serviceaccount/token")));
    assert_eq!(
        shown(&load("cluster.k8s.address_type = dns\ncluster.k8s.suffix ="), "cluster.k8s.suffix").as_deref(),
        Some("")
    );
    assert!(notices(&load("cluster.k8s.apiserver = http://10.0.0.9:8080")).contains("the token is not sent"));
    assert!(notices(&load("cluster.k8s.apiserver = http://127.0.0.1:8001")).is_empty());
}

#[test]
fn the_cookie_comes_from_the_later_source_and_is_strong_outside_loopback() {
    let far = "node.name = ekka@10.0.0.1\n";
    let weak = conf(&format!("{far}node.cookie = short\nnode.cookie_weak = allow"));
    assert!(
        weak.node.cookie_weak
            && matches!(weak.node.cookie, CookieSource::Literal(ref text) if text.expose() == "short")
    );
    assert!(matches!(conf("node.cookie = short").node.cookie, CookieSource::Literal(_)), "loopback may");
    let (_dir, path) = file("a.conf", format!("{far}{COOKIE}"));
    let sources = |env| Sources { files: vec![path.clone()], env: vars(env), ..Sources::default() };
    let config = load_in(&sources(&[("EKKA_NODE__COOKIE_FILE", "/c")]), &Around::default()).unwrap().config;
    assert_eq!(config.node.cookie, CookieSource::File("/c".into()));
    let xdg = env(&[("XDG_CONFIG_HOME", "/xdg")]).config.node.cookie;
    assert_eq!(xdg, CookieSource::UserFile("/xdg/ekka/cookie".into()));
}

#[test]
fn listening_follows_the_name_and_the_port_rule() {
    let listen = |text: &str| conf(text).node.listen.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(listen("node.name = n2@127.0.0.3"), ["127.0.0.3:4372"]);
    assert_eq!(listen("node.name = n2@localhost:99"), ["127.0.0.1:99"]);
    assert_eq!(listen(&format!("{COOKIE}node.name = n2@[fd00::1]")), ["[::]:4372"]);
    assert_eq!(
        listen(&format!("{COOKIE}node.name = n2@h\nnode.listen = 10.0.0.1, [::1]:4372")),
        ["10.0.0.1:4372", "[::1]:4372"]
    );
    let loaded = load_file("a.conf", "node.listen = 127.0.0.1:9999").unwrap();
    assert!(notices(&loaded).contains("nothing listens on 4370"));
}

#[test]
fn the_electorate_is_the_seeds_and_this_node_and_its_majority_is_expected() {
    let seeds = "cluster.discovery = static,dns\ncluster.dns.name = x\ncluster.static.seeds = b@127.0.0.1,a@127.0.0.1,b@127.0.0.1\n";
    let settings = formation_settings(&conf(&format!("{seeds}node.name = c@127.0.0.1")));
    let names: Vec<String> = settings.electorate.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["a@127.0.0.1", "b@127.0.0.1", "c@127.0.0.1"]);
    assert_eq!((settings.expect, settings.settle, settings.may_vote), (Some(2), SETTLE_STATIC, true));
    assert_eq!(settings.strategies, ["static", "dns"]);

    let replicant = formation_settings(&conf(&format!("{seeds}node.name = c@127.0.0.1\nnode.role = replicant")));
    assert_eq!((replicant.electorate.map(|list| list.len()), replicant.may_vote), (Some(2), false));

    let rows = [
        ("", Some(1)),
        ("cluster.discovery = mcast", Some(1)),
        ("cluster.discovery = dns\ncluster.dns.name = localhost", Some(1)),
        ("cluster.discovery = etcd\ncluster.etcd.server = https://e", Some(1)),
        // Where etcd decides, the seeds do not vote, and settle no sooner than other sources.
        (
            "cluster.discovery = static,etcd\ncluster.static.seeds = b@127.0.0.1\ncluster.etcd.server = https://e",
            Some(1),
        ),
        ("cluster.discovery = k8s", None),
        ("cluster.discovery = k8s\ncluster.expect = 3", Some(3)),
        ("node.name = ekka@10.0.0.1\nnode.cookie_file = c\ncluster.discovery = mcast", None),
    ];
    for (text, expect) in rows {
        let settings = formation_settings(&conf(text));
        assert_eq!((settings.electorate, settings.expect, settings.settle), (None, expect, SETTLE_OTHER), "{text}");
    }
}

#[test]
fn check_ends_with_ports_peers_and_when_it_forms() {
    let text = format!(
        "{COOKIE}node.name = ekka@10.0.0.1\ncluster.discovery = static\n\
         cluster.static.seeds = ekka@10.0.0.1, ekka@10.0.0.2, ekka@10.0.0.3\n"
    );
    assert_eq!(
        explain(&conf(&text), Some("3f9a-02c1-77de")),
        [
            "ok: ekka@10.0.0.1, cluster \"ekka\", cookie 3f9a-02c1-77de",
            "listens on TCP 4370 (all addresses); must reach 10.0.0.2:4370, 10.0.0.3:4370",
            "forms a new cluster when 2 of 3 seeds have met",
            "note: this node is one of its own seeds (good)",
        ]
    );
    let two = explain(&conf(&text.replace(", ekka@10.0.0.3", "")), None).join("\n");
    assert!(
        two.contains("two voters: none can be lost. Add a third node or a witness: ekka agent --set node.role=witness")
    );
    let stranger =
        explain(&conf(&text.replace("node.name = ekka@10.0.0.1", "node.name = x@10.0.0.9")), None).join("\n");
    assert!(stranger.contains("not among its own seeds") && stranger.contains("must reach 10.0.0.1:4370"));
    let manual = explain(&conf("cluster.autoheal = on"), None).join("\n");
    assert!(manual.contains("ekka join NODE") && !manual.contains("not yet in effect"), "{manual}");
    let waiting = explain(&conf("cluster.expect = 3"), None).join("\n");
    assert!(waiting.contains("waits for an operator"), "{waiting}");
    let role = explain(&conf("node.role = witness"), None).join("\n");
    assert!(role.contains(", witness") && !role.contains("warning"), "{role}");
}

#[test]
fn the_builder_gives_the_same_values_through_the_same_checks() {
    let base = || ConfigBuilder::new().over(Sources { env: vars(&[]), ..Sources::default() });
    let built = base()
        .name("n1@127.0.0.1")
        .cookie("quote\"and\\slash,comma")
        .data_dir("/tmp/with, comma")
        .seeds(["n1@127.0.0.1", "n2@127.0.0.1"])
        .expect(2)
        .set("cluster.autoclean", "5m")
        .load_in(&Around::default())
        .unwrap_or_else(|e| panic!("{e}"));
    assert!(
        matches!(&built.config.node.cookie, CookieSource::Literal(text) if text.expose() == "quote\"and\\slash,comma")
    );
    assert_eq!(built.config.node.data_dir, Path::new("/tmp/with, comma"));
    assert_eq!(built.config.cluster.expect, Some(2));
    assert_eq!(built.config.cluster.autoclean, Some(Duration::from_secs(300)));
    let errors = base().name("nobody").set("cluster.nmae", "x").load_in(&Around::default()).unwrap_err();
    assert_eq!(errors.iter().map(|e| &e.place).collect::<Vec<_>>(), [&Place::Builder, &Place::Builder]);
}

#[test]
fn auto_in_a_pod_is_the_name_that_the_strategy_gives_the_pod() {
    let pod = [("KUBERNETES_SERVICE_HOST", "10.96.0.1"), ("POD_IP", "10.1.2.3"), ("HOSTNAME", "ekka-0")];
    let around = || Around {
        files: vec![("/var/run/secrets/kubernetes.io/serviceaccount/namespace", "shop\n")],
        ..Around::default()
    };
    let load = |pairs: &[(&str, &str)], more: &[&str]| {
        let mut set = vec![COOKIE.trim().to_owned(), "node.name=ekka@auto".into(), "cluster.discovery=k8s".into()];
        set.extend(more.iter().map(|text| (*text).to_owned()));
        load_in(&Sources { env: vars(pairs), set, ..Sources::default() }, &around())
    };
    for (kind, name) in [
        ("ip", "ekka@10.1.2.3"),
        ("dns", "ekka@10-1-2-3.shop.pod.cluster.local"),
        ("hostname", "ekka@ekka-0.svc.shop.svc.cluster.local"),
    ] {
        let address_type = format!("cluster.k8s.address_type={kind}");
        let loaded = load(&pod, &[&address_type, "cluster.k8s.service_name=svc"]).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(loaded.config.node.name.to_string(), name);
    }
    // On the machine's network HOSTNAME is the machine's: the pod's name can be given.
    let host = [&pod[..2], &[("HOSTNAME", "worker-7"), ("POD_NAME", "ekka-1")]].concat();
    let loaded = load(&host, &["cluster.k8s.address_type=hostname"]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(loaded.config.node.name.to_string(), "ekka@ekka-1.ekka.shop.svc.cluster.local");
    let error = load(&pod[..1], &["cluster.k8s.address_type=dns"]).expect_err("no address").to_string();
    assert!(error.contains("POD_IP (fieldRef status.podIP)"), "{error}");
    let outside = load(&pod[1..], &["cluster.k8s.address_type=dns"]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(outside.config.node.name.to_string(), "ekka@10.1.2.3", "not in a pod");
}
