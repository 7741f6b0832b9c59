//! Bad configurations: each is refused with its place, its key, and what is accepted.

use crate::config_support::{self, Around, file, vars};
use ekka::config::{Place, Sources, load_in};

/// Where the bad text is put, and where the error is to point.
#[derive(Clone, Copy, Debug)]
enum At {
    /// A line of a `.conf` file.
    Conf(u32),
    /// A line of a `.config` file.
    Erl(u32),
    /// The `.conf` file as a whole.
    ConfFile,
    /// `NAME=text` in the environment.
    Env,
    /// `--set`
    Set,
    /// `--name`
    Name,
    /// A default that does not go with the rest of the `.conf` file.
    Default,
}

struct Row(At, &'static str, Option<&'static str>, &'static [&'static str]);

const STATIC: &str = "write cluster.static.seeds = ekka@10.0.0.1,ekka@10.0.0.2";

const ROWS: &[Row] = &[
    // The grammar of `.conf`.
    Row(At::Conf(2), "cluster.name = a\ncluster.name", None, &["no `=`", "key = value"]),
    Row(At::Conf(1), "= x", Some(""), &["no key", "letters, digits"]),
    Row(At::Conf(1), "cluster..name = x", Some("cluster..name"), &["joined by dots"]),
    Row(At::Conf(1), "cluster name = x", Some("cluster name"), &["words of letters"]),
    Row(
        At::Conf(3),
        "\n# c\ncluster.name = x # y",
        Some("cluster.name"),
        &["comments stand on their own line", "quote"],
    ),
    Row(At::Conf(2), "cluster.name = a\r\ncluster.name = b\r\n", Some("cluster.name"), &["line 1", "once"]),
    Row(At::Conf(1), "cluster.name = \"a", Some("cluster.name"), &["closing quote"]),
    Row(At::Conf(1), "cluster.name = \"a\" b", Some("cluster.name"), &["after the closing quote"]),
    Row(At::Conf(1), "cluster.name = \"a\\n\"", Some("cluster.name"), &["backslash"]),
    Row(At::Conf(1), "cluster.name =", Some("cluster.name"), &["empty", "1 to 64 letters"]),
    Row(At::ConfFile, "{cluster_name, ekka}.", None, &["rename", ".config"]),
    Row(At::ConfFile, "\u{feff}[{ekka, []}].", None, &["rename", ".config"]),
    // Unknown keys.
    Row(At::Conf(1), "cluster.nmae = x", Some("cluster.nmae"), &["did you mean cluster.name?"]),
    Row(At::Conf(1), "Cluster.name = x", Some("Cluster.name"), &["did you mean cluster.name?"]),
    Row(At::Conf(1), "cluster.static.seed = a@b", Some("cluster.static.seed"), &["cluster.static.seeds?"]),
    Row(At::Conf(1), "mqtt = on", Some("mqtt"), &["docs/configuration.md"]),
    Row(At::Erl(2), "[{ekka, [\n  {cluster_nmae, a}]}].", Some("cluster_nmae"), &["did you mean cluster.name?"]),
    Row(
        At::Erl(2),
        "{cluster_discovery, {mcast, [\n {port, [1]}]}}",
        Some("cluster.mcast.port"),
        &["cluster.mcast.ports?"],
    ),
    Row(At::Env, "EKKA_CLUSTER__NMAE=x", Some("cluster.nmae"), &["EKKA_CLUSTER__NAME?"]),
    Row(At::Env, "EKKA_CLUSTER__STATIC__SEED=x", Some("cluster.static.seed"), &["EKKA_CLUSTER__STATIC__SEEDS?"]),
    Row(At::Set, "node.rol=core", Some("node.rol"), &["did you mean node.role?"]),
    Row(At::Set, "node.role", None, &["key = value"]),
    // Kinds of values.
    Row(At::Conf(1), "node.name = ekka", Some("node.name"), &["name@host"]),
    Row(At::Conf(1), "node.name = a@b@c", Some("node.name"), &["name@host"]),
    Row(At::Name, "ekka@[::1", Some("node.name"), &["IPv6 address in brackets"]),
    Row(At::Env, "EKKA_NODE__NAME=ekka@h:99999", Some("node.name"), &["between 1 and 65535"]),
    Row(At::Conf(1), "node.base_port = 65536", Some("node.base_port"), &["from 1 to 65535"]),
    Row(At::Set, "node.base_port=-1", Some("node.base_port"), &["from 1 to 65535"]),
    Row(At::Conf(1), "node.role = leader", Some("node.role"), &["core, replicant or witness"]),
    Row(At::Env, "NODE_ROLE=leader", Some("node.role"), &["core, replicant or witness"]),
    Row(At::Erl(1), "{node_role, leader}.", Some("node.role"), &["core, replicant or witness"]),
    Row(At::Conf(1), "node.on_sigterm = leave", Some("node.on_sigterm"), &["stop or leave-and-forget"]),
    Row(At::Conf(1), "node.stop_timeout = 30", Some("node.stop_timeout"), &["no unit: 30s or 30ms?"]),
    Row(At::Conf(1), "node.stop_timeout = 1m30", Some("node.stop_timeout"), &["1m30s", "ms, s, m, h, d"]),
    Row(At::Conf(1), "node.tags = zone", Some("node.tags"), &["k=v", "zone=a"]),
    Row(At::Conf(1), "node.tags = a=1,a=2", Some("node.tags"), &["twice"]),
    Row(At::Conf(1), "node.listen = eth0", Some("node.listen"), &["address:port"]),
    Row(At::Conf(1), "node.listen = 127.0.0.1:0", Some("node.listen"), &["fixed one"]),
    Row(At::Conf(1), "node.cookie = a b", Some("node.cookie"), &["(secret)", "without white space"]),
    Row(At::Conf(1), "node.cookie_weak = yes", Some("node.cookie_weak"), &["allow or refuse"]),
    Row(At::Conf(1), "cluster.name = a/b", Some("cluster.name"), &["letters, digits"]),
    Row(At::Conf(1), "cluster.discovery = singleton", Some("cluster.discovery"), &["manual, static, mcast"]),
    Row(At::Conf(1), "cluster.discovery = dns,", Some("cluster.discovery"), &["item 2 of the list is empty"]),
    Row(At::Conf(1), "cluster.expect = 0", Some("cluster.expect"), &["from 1 to 4096"]),
    Row(At::Conf(1), "cluster.merge = always", Some("cluster.merge"), &["empty or never"]),
    Row(At::Conf(1), "cluster.autoheal = maybe", Some("cluster.autoheal"), &["on or off, or a duration"]),
    Row(At::Erl(1), "{cluster_autoheal, 0},", Some("cluster.autoheal"), &["write off", "3s"]),
    Row(At::Erl(1), "{cluster_autoheal, 1.5},", Some("cluster.autoheal"), &["`1.5` stands there", "on or off"]),
    Row(At::Conf(1), "cluster.gone_after = 5s", Some("cluster.gone_after"), &["at least 10s"]),
    Row(At::Conf(1), "cluster.autoclean = 60000", Some("cluster.autoclean"), &["60000 has no unit: 60s or 60000ms?"]),
    Row(
        At::Conf(1),
        "cluster.autoclean = 0",
        Some("cluster.autoclean"),
        &["0 would remove any down node at once; write off"],
    ),
    Row(At::Conf(1), "cluster.autoclean = 0s", Some("cluster.autoclean"), &["write off"]),
    Row(
        At::Erl(3),
        "\n\n{cluster_autoclean, 0},",
        Some("cluster.autoclean"),
        &["0 would remove any down node at once; write off"],
    ),
    Row(At::Erl(1), "{mria, [{cluster_autoclean, 0}]}.", Some("cluster.autoclean"), &["write off"]),
    Row(At::Conf(1), "cluster.autoclean = on", Some("cluster.autoclean"), &["write off, or a duration"]),
    Row(At::Conf(1), "cluster.tls = tls", Some("cluster.tls"), &["cookie, files or off"]),
    Row(At::Env, "EKKA_PROTO_DIST_MOD=inet_quic", Some("cluster.proto_dist"), &["inet_tcp, inet6_tcp"]),
    Row(At::Erl(1), "{proto_dist, inet_quic}.", Some("cluster.proto_dist"), &["inet_tcp, inet6_tcp"]),
    // Options of strategies are checked, in use or not.
    Row(At::Conf(1), "cluster.mcast.addr = 10.0.0.1", Some("cluster.mcast.addr"), &["multicast address", "224.0.0.0"]),
    Row(
        At::Erl(1),
        "{cluster_discovery, {mcast, [{addr,{239,192,0}}]}}",
        Some("cluster.mcast.addr"),
        &["a tuple", "multicast address"],
    ),
    Row(At::Conf(1), "cluster.mcast.ports = 4369,70000", Some("cluster.mcast.ports"), &["item 2", "1 to 65535"]),
    Row(At::Conf(1), "cluster.mcast.iface = eth0", Some("cluster.mcast.iface"), &["IP address"]),
    Row(
        At::Conf(2),
        "cluster.discovery = mcast\ncluster.mcast.iface = ::1",
        Some("cluster.mcast.iface"),
        &["both as IPv4"],
    ),
    Row(At::Conf(1), "cluster.mcast.ttl = 256", Some("cluster.mcast.ttl"), &["0 to 255"]),
    Row(At::Erl(1), "{cluster_discovery, {mcast, [{ttl, -1}]}}", Some("cluster.mcast.ttl"), &["0 to 255"]),
    Row(At::Conf(1), "cluster.mcast.loop = yes", Some("cluster.mcast.loop"), &["on, off, true or false"]),
    Row(At::Conf(1), "cluster.mcast.sndbuf = 16", Some("cluster.mcast.sndbuf"), &["16 has no unit"]),
    Row(At::Conf(1), "cluster.mcast.buffer = 16KiB", Some("cluster.mcast.buffer"), &["16KB"]),
    Row(At::Conf(1), "cluster.dns.type = mx", Some("cluster.dns.type"), &["a, aaaa or srv"]),
    Row(At::Conf(1), "cluster.dns.name = http://x", Some("cluster.dns.name"), &["DNS name"]),
    Row(At::Conf(1), "cluster.dns.server = ns1", Some("cluster.dns.server"), &["address:port"]),
    Row(At::Conf(1), "cluster.dns.prefix = x", Some("cluster.dns.prefix"), &["unknown key"]),
    Row(At::Conf(1), "cluster.etcd.server = ftp://x", Some("cluster.etcd.server"), &["http://host:port"]),
    Row(At::Conf(1), "cluster.etcd.server = http://u:p@x", Some("cluster.etcd.server"), &["user or password"]),
    Row(At::Conf(1), "cluster.etcd.version = v4", Some("cluster.etcd.version"), &["v2, v3 or auto"]),
    Row(At::Conf(1), "cluster.etcd.node_ttl = 500ms", Some("cluster.etcd.node_ttl"), &["at least 1s"]),
    Row(At::Conf(1), "cluster.k8s.address_type = pod", Some("cluster.k8s.address_type"), &["ip, dns or hostname"]),
    Row(At::Conf(1), "cluster.static.seeds = a@b,,c@d", Some("cluster.static.seeds"), &["item 2 of the list is empty"]),
    Row(At::Conf(1), "cluster.static.seeds = a@auto", Some("cluster.static.seeds"), &["this node's own name"]),
    Row(
        At::Erl(1),
        "{cluster_discovery, {static, [{seeds, [{a, b}]}]}}",
        Some("cluster.static.seeds"),
        &["write node names"],
    ),
    Row(At::Conf(1), "api.listen = 8080", Some("api.listen"), &["address:port"]),
    Row(At::Conf(1), "health.listen = 127.0.0.1", Some("health.listen"), &["port is missing", "127.0.0.1:8370"]),
    Row(At::Conf(1), "lock.max_ttl = 0s", Some("lock.max_ttl"), &["at least 1s"]),
    Row(At::Conf(1), "storage.reserve = 1TB", Some("storage.reserve"), &["256MB or 1GB"]),
    Row(At::Conf(1), "storage.cache = big", Some("storage.cache"), &["auto"]),
    Row(At::Set, "log.level=verbose", Some("log.level"), &["error, warn, info"]),
    Row(At::Conf(1), "log.format = xml", Some("log.format"), &["text or json"]),
    // Keys that need or exclude each other.
    Row(
        At::Conf(1),
        "cluster.discovery = static",
        Some("cluster.static.seeds"),
        &["needs cluster.static.seeds", STATIC],
    ),
    Row(
        At::Conf(2),
        "cluster.discovery = static\ncluster.static.seeds =",
        Some("cluster.static.seeds"),
        &["needs seeds"],
    ),
    Row(At::Conf(1), "cluster.discovery = dns", Some("cluster.dns.name"), &["needs cluster.dns.name"]),
    Row(At::Conf(1), "cluster.discovery = etcd", Some("cluster.etcd.server"), &["needs cluster.etcd.server"]),
    Row(
        At::Conf(1),
        "cluster.discovery = manual,dns\ncluster.dns.name = x",
        Some("cluster.discovery"),
        &["stands alone"],
    ),
    Row(
        At::Conf(3),
        "cluster.discovery=etcd\ncluster.etcd.server=https://e\ncluster.etcd.username=u",
        Some("cluster.etcd.username"),
        &["cluster.etcd.password_file", "both"],
    ),
    Row(
        At::Conf(3),
        "cluster.discovery=etcd\ncluster.etcd.server=https://e\ncluster.etcd.keyfile=u",
        Some("cluster.etcd.ssl.keyfile"),
        &["cluster.etcd.ssl.certfile"],
    ),
    Row(
        At::Conf(1),
        "cluster.tls = files",
        Some("cluster.tls"),
        &["cluster.tls.certfile, cluster.tls.keyfile, cluster.tls.cacertfile"],
    ),
    Row(
        At::Conf(1),
        "cluster.proto_dist = inet_tls\ncluster.tls.certfile = a",
        Some("cluster.proto_dist"),
        &["needs cluster.tls.keyfile"],
    ),
    Row(
        At::Conf(2),
        "cluster.proto_dist=inet_tls\ncluster.tls=off\ncluster.tls.certfile=a\ncluster.tls.keyfile=a\ncluster.tls.cacertfile=a",
        Some("cluster.tls"),
        &["cluster.proto_dist = inet_tls", "conf:1", "write one"],
    ),
    Row(At::Conf(1), "api.listen = 127.0.0.1:8080", Some("api.listen"), &["api.token_file = FILE"]),
    Row(At::Conf(1), "api.tls.keyfile = a", Some("api.tls.keyfile"), &["api.tls.certfile"]),
    Row(At::Conf(1), "node.cookie = abc\nnode.cookie_file = f", Some("node.cookie"), &["conf:2", "write one"]),
    Row(
        At::Conf(1),
        "node.name = ekka@10.0.0.1",
        Some("node.cookie_file"),
        &["ekka keygen > /etc/ekka/cookie; chmod 600", "scp", "node.cookie_file = /etc/ekka/cookie"],
    ),
    Row(
        At::Conf(2),
        "node.name = ekka@10.0.0.1\nnode.cookie = short",
        Some("node.cookie"),
        &["5 characters", "at least 32", "node.cookie_weak = allow"],
    ),
    Row(
        At::Conf(1),
        "node.base_port = 65000\nnode.name = n600@127.0.0.1",
        Some("node.base_port"),
        &["65000 + 600 = 65600", "above 65535"],
    ),
    Row(
        At::Conf(2),
        "node.cookie_file = c\nnode.name = ekka@auto",
        Some("node.name"),
        &["no default route", "ekka@10.0.0.1"],
    ),
    Row(
        At::Conf(3),
        "node.base_port = 60000\ncluster.discovery = static\ncluster.static.seeds = n6000@127.0.0.1",
        Some("cluster.static.seeds"),
        &["60000 + 6000 = 66000"],
    ),
    Row(
        At::Conf(2),
        "cluster.discovery = static\ncluster.static.seeds = ekka@10.0.0.2",
        Some("cluster.static.seeds"),
        &["ekka@127.0.0.1 is on loopback", "node.name"],
    ),
    Row(
        At::Conf(3),
        "cluster.discovery = static\ncluster.static.seeds = a@127.0.0.1\ncluster.expect = 3",
        Some("cluster.expect"),
        &["are 2", "write 2 to 2"],
    ),
    Row(At::Default, "", Some("node.cookie_file"), &["HOME", "node.cookie_file = /path"]),
    // The grammar and the shapes of `.config`.
    Row(At::Erl(2), "[{ekka, [\n  {cluster_name, Ekka}]}].", None, &["variable", "'ekka@H'"]),
    Row(At::Erl(2), "[{ekka, [\n  {cluster_name, ekka}}].", None, &["`,` or `]`", "line 1"]),
    Row(At::Erl(2), "{cluster_name,\n \"ekka}.", None, &["closing `\"`"]),
    Row(At::Erl(1), "{cluster_name, ekka} {cluster_autoheal, true}", None, &["comma or the final dot"]),
    Row(At::Erl(1), "cluster_name.", None, &["{key, value}"]),
    Row(At::Erl(1), "{ekka, on}.", None, &["{ekka, [{cluster_name, ekka}]}"]),
    Row(At::Erl(1), "{cluster_discovery, 5}", Some("cluster.discovery"), &["{strategy, [options]}"]),
    Row(At::Erl(1), "{cluster_discovery, {singleton, []}}", Some("cluster.discovery"), &["manual, static, mcast"]),
    Row(At::Erl(2), "{cluster_name, a},\n{cluster_name, b}", Some("cluster.name"), &["line 1"]),
    Row(
        At::Erl(2),
        "{cluster_discovery, {dns,\n [{prefix, {oh, no}}]}}",
        None,
        &["options of etcd (prefix)", "change dns to etcd"],
    ),
    Row(At::Erl(1), "{kernel, [{inet_dist_base_port, 99999}]}", Some("node.base_port"), &["1 to 65535"]),
    Row(At::Erl(1), "{cluster_enable, maybe}", Some("cluster.enable"), &["on, off, true or false"]),
];

#[test]
fn each_bad_configuration_is_refused_with_place_key_and_what_is_accepted() {
    assert!(ROWS.len() >= 60);
    for Row(at, text, key, pieces) in ROWS {
        let name = if matches!(at, At::Erl(_)) { "ekka.config" } else { "ekka.conf" };
        let in_file = !matches!(at, At::Env | At::Set | At::Name);
        let (_dir, path) = file(name, if in_file { text } else { "" });
        let line_of = |line: u32| Place::File { path: path.clone(), line: Some(line) };
        let mut sources = Sources { files: vec![path.clone()], env: vars(&[]), ..Sources::default() };
        let place = match at {
            At::Conf(line) | At::Erl(line) => line_of(*line),
            At::ConfFile => Place::File { path: path.clone(), line: None },
            At::Env => {
                let (name, value) = text.split_once('=').unwrap();
                sources.env.push((name.to_owned(), value.to_owned()));
                Place::Env(name.to_owned())
            }
            At::Set => {
                sources.set.push((*text).to_owned());
                Place::Set
            }
            At::Name => {
                sources.name = Some((*text).to_owned());
                Place::Name
            }
            At::Default => {
                sources.env.clear();
                Place::Default
            }
        };
        let errors =
            load_in(&sources, &Around::default()).err().unwrap_or_else(|| panic!("{at:?} {text:?} is accepted"));
        let [error] = errors.iter().collect::<Vec<_>>()[..] else { panic!("{text:?} gives more than one:\n{errors}") };
        assert_eq!((&error.place, error.key.as_deref()), (&place, *key), "{text:?}: {error}");
        for piece in *pieces {
            assert!(error.to_string().contains(piece), "{text:?}: no {piece:?} in: {error}");
        }
        assert!(error.to_string().starts_with(&place.to_string()), "{error}");
    }
}

#[test]
fn all_errors_are_told_at_once_in_the_order_of_their_places() {
    let text = "cluster.nmae = x\nnode.role = boss\ncluster.gone_after = 1s\ncluster.discovery = dns\n";
    let (_dir, path) = file("ekka.conf", text);
    let sources = Sources { files: vec![path], env: vars(&[("EKKA_LOG__LEVEL", "loud")]), ..Sources::default() };
    let errors = load_in(&sources, &Around::default()).unwrap_err();
    let keys: Vec<&str> = errors.iter().filter_map(|e| e.key.as_deref()).collect();
    assert_eq!(keys, ["cluster.nmae", "node.role", "cluster.gone_after", "cluster.dns.name", "log.level"]);
    assert_eq!(errors.to_string().lines().count(), 5);
}

#[test]
fn a_secret_is_never_shown() {
    let literal = "hunter2-is-a-secret-of-thirty-two-letters";
    let loaded = config_support::load_file("a.conf", format!("node.cookie = {literal}")).unwrap();
    assert!(!format!("{loaded:?}").contains(literal));
    let (_dir, path) = file("vm.args", format!("-name a@10.0.0.1\n-setcookie {literal}\n"));
    let sources = Sources { files: vec![path], env: vars(&[]), ..Sources::default() };
    let errors = load_in(&sources, &Around::default()).unwrap_err();
    let lines: Vec<String> = errors.iter().map(|e| e.text.clone()).collect();
    assert!(lines[0].contains("write node.name = a@10.0.0.1") && lines[1].contains("node.cookie_file"), "{errors}");
    assert!(!errors.to_string().contains(literal));
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let gone = Sources { files: vec!["/nowhere/ekka.conf".into()], env: vars(&[]), ..Sources::default() };
    let text = load_in(&gone, &Around::default()).unwrap_err().to_string();
    assert_eq!(text, "/nowhere/ekka.conf: there is no such file");
    let text = config_support::load_file("a.conf", b"# ok\ncluster.name = \xff\n").unwrap_err().to_string();
    assert!(text.contains("a.conf:2: ") && text.contains("UTF-8"), "{text}");
    let text = config_support::load_file("a.conf", vec![b'#'; (1 << 20) + 1]).unwrap_err().to_string();
    assert!(text.contains("larger than 1024 KB"), "{text}");
}
