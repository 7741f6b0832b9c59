//! The parsers take anything: seeded mutations of real configurations, for a bounded time.

use std::time::{Duration, Instant};

use crate::fuzz_support::run;
use ekka::config::{fuzz_conf, fuzz_erlang};

const CONFS: &[&str] = &[
    include_str!("../../../../etc/ekka-static.conf"),
    include_str!("../../../../etc/ekka-mcast.conf"),
    include_str!("../../../../etc/ekka-etcd.conf"),
    include_str!("../../../../etc/ekka-k8s.conf"),
    include_str!("../fixtures/original-readme.txt"),
];
const CONFIGS: &[&str] = &[
    include_str!("../../../../etc/ekka-static.config"),
    include_str!("../../../../etc/ekka-mcast.config"),
    include_str!("../../../../etc/ekka-etcd.config"),
    include_str!("../../../../etc/ekka-k8s.config"),
    "[{kernel, [{x, #{a => <<1,\"b\"/utf8>>}}]}, {mria, [{cluster_autoclean, 16#FF}]}, {ekka, [{a, -1.5e3, $\\n}]}].",
];
/// Pieces that parsers trip over.
const PIECES: &[&str] = &[
    "\"",
    "'",
    "\\",
    "\\x{",
    "#",
    "#{",
    "<<",
    ">>",
    "{",
    "}",
    "[",
    "]",
    ",",
    ".",
    "=",
    "\n",
    "\r",
    "%",
    "$",
    "16#",
    "1_0",
    "1e999",
    "-",
    "é",
    "\u{feff}",
    "99999999999999999999",
    "ekka@auto",
    "0",
    "{dns, [{prefix, 1}]}",
    "undefined",
    "[::",
    "cluster.discovery = static,dns,etcd,k8s,mcast\n",
    "node.base_port = 65535\n",
    "node.name = n59999@h\n",
    "\0",
];

#[test]
fn conf_parser_survives_mutated_files() {
    run("conf", CONFS, PIECES, fuzz_conf);
}

#[test]
fn erlang_parser_survives_mutated_files() {
    run("erlang", CONFIGS, PIECES, fuzz_erlang);
}

#[test]
fn files_made_to_be_slow_are_read_in_bounded_time() {
    let started = Instant::now();
    let big = 500_000;
    fuzz_erlang("[".repeat(big).as_bytes());
    fuzz_erlang("{a,1},".repeat(big / 6).as_bytes());
    fuzz_erlang(format!("{{cluster_discovery, {{static, [{{seeds, [{}]}}]}}}}", "'a@h',".repeat(big / 6)).as_bytes());
    fuzz_conf("a.b = c\n".repeat(big / 8).as_bytes());
    fuzz_conf(format!("{} = 1\n", "x".repeat(big)).as_bytes());
    fuzz_conf(format!("cluster.static.seeds = {}\n", "a@h,".repeat(big / 4)).as_bytes());
    fuzz_conf(format!("node.stop_timeout = {}\n", "1s".repeat(big / 2)).as_bytes());
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
}
