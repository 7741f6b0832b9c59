//! Nodes of one process on loopback, for the tests of the library.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ekka::config::{Config, ConfigBuilder};
use ekka::core::view::View;
use ekka::env::Env;
use ekka::node::{Node, StartError, StartOptions};
use ekka::transport::Kdf;

/// Longest wait for a condition: ten times the largest target of the design.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A cookie for tests.
pub(crate) const COOKIE: &str = "tests-only-0123456789-0123456789-abcdef";

/// Names `ekka1@127.0.0.1:port` on free ports.
pub(crate) fn names(count: usize) -> Vec<String> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port")).collect();
    let port = |listener: &TcpListener| listener.local_addr().expect("a bound socket").port();
    listeners.iter().enumerate().map(|(i, l)| format!("ekka{}@127.0.0.1:{}", i + 1, port(l))).collect()
}

/// A configuration with static seeds.
pub(crate) fn config(name: &str, seeds: &[String], data_dir: &Path) -> Config {
    let builder = ConfigBuilder::new()
        .set("node.name", name)
        .set("node.cookie", COOKIE)
        .set("node.data_dir", data_dir.to_str().expect("a path in UTF-8"))
        .set("cluster.discovery", "static")
        .set("cluster.static.seeds", seeds.join(","));
    match builder.build() {
        Ok(config) => config,
        Err(errors) => panic!("{errors}"),
    }
}

/// Starts a node with a cheap key derivation.
pub(crate) async fn start(config: Config) -> Result<Node, StartError> {
    let env = Env::real(&config.node.data_dir).expect("a data directory");
    let options = StartOptions { kdf: Kdf::cheap(), ..StartOptions::default() };
    ekka::node::start(config, env, options).await
}

/// Waits until the view of a node satisfies a condition; how long it took.
pub(crate) async fn until(node: &Node, what: &str, condition: impl Fn(&View) -> bool) -> Duration {
    let begin = Instant::now();
    let mut views = node.view_changes();
    let done = views.wait_for(|view| condition(view));
    if let Ok(Ok(_)) = tokio::time::timeout(LIMIT, done).await {
        let took = begin.elapsed();
        println!("{what}: {took:?}");
        return took;
    }
    let view: Arc<View> = node.view();
    panic!("{what}: not within {LIMIT:?}; the view is {view:#?}")
}
