//! What becomes of an answer where API servers are silent, or tell only a part.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::fake_server::{Reply, serve};
use ekka::config::ConfigBuilder;
use ekka::core::autocluster::Expect;
use ekka::core::id::{Endpoint, NodeId};
use ekka::discovery::{Context, Discovery, Found, Me, SharedCredentials, strategies};
use ekka::env::Env;
use ekka::transport::{CookieSet, Credentials, Kdf};

const SLICES: &str = r#"{"kind": "EndpointSliceList", "metadata": {"resourceVersion": "1"}, "items": [
    {"metadata": {"name": "ekka-x"}, "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}]}]}"#;
const SET: &str = r#"{"metadata": {"name": "ekka"}, "spec": {"replicas": 3, "podManagementPolicy": "Parallel"}}"#;

/// The strategy of a node that asks these API servers.
fn strategy(servers: &str) -> (Arc<dyn Discovery>, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = ConfigBuilder::new()
        .set("node.name", "ekka@10.0.0.1")
        .set("node.cookie", "tests-only-0123456789-0123456789-abcdef")
        .set("node.data_dir", folder.path().to_str().expect("UTF-8"))
        .set("cluster.discovery", "k8s")
        .set("cluster.k8s.apiserver", servers)
        .build()
        .unwrap_or_else(|errors| panic!("{errors}"));
    let cookies = CookieSet::of(&config.node).expect("a cookie");
    let credentials = Credentials::derive(&config.cluster.tls, &cookies, &config.cluster.name, Kdf::cheap());
    let me = Me {
        name: config.node.name.clone(),
        endpoint: Endpoint { host: config.node.name.host().clone(), port: config.node.port },
        node_id: NodeId::from_u128(1),
    };
    let context = Context {
        env: Env::real(folder.path()).expect("the world"),
        me,
        base_port: config.node.base_port,
        cluster_name: config.cluster.name.clone(),
        credentials: SharedCredentials::new(credentials.expect("credentials")),
    };
    let mut all = strategies(&config, &context).unwrap_or_else(|error| panic!("{error}"));
    (all.remove(0), folder)
}

fn names(found: &Found) -> Vec<String> {
    found.candidates.iter().map(|candidate| candidate.name.to_string()).collect()
}

#[tokio::test]
async fn a_server_behind_silent_ones_gets_its_turn() {
    // They take connections, and say nothing.
    let silent: Vec<TcpListener> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    let urls = silent.iter().map(|it| format!("http://{}", it.local_addr().expect("a bound socket")));
    let answers =
        serve(|line, _| Reply::Says(200, if line.contains("endpointslices") { SLICES } else { SET }.to_owned()));
    let servers = urls.chain([answers]).collect::<Vec<_>>().join(", ");
    let (strategy, _folder) = strategy(&servers);
    let error = strategy.discover().await.expect_err("no time for the third one");
    assert!(error.contains("no API server answered within 5.5 s"), "{error}");
    let found = strategy.discover().await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((names(&found).len(), found.expect), (2, Expect::Nodes(2)));
    let again = std::time::Instant::now();
    strategy.discover().await.unwrap_or_else(|error| panic!("{error}"));
    assert!(again.elapsed().as_secs() < 1, "the one that answered is asked first: {:?}", again.elapsed());
}

#[tokio::test]
async fn pods_are_candidates_also_while_the_number_of_replicas_is_not_read() {
    let status = Arc::new(AtomicU16::new(503));
    let says = status.clone();
    let server = serve(move |line, _| match line {
        line if line.contains("endpointslices") => Reply::Says(200, SLICES.to_owned()),
        _ => Reply::Says(says.load(Ordering::SeqCst), SET.to_owned()),
    });
    let (strategy, _folder) = strategy(&server);
    let found = strategy.discover().await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(names(&found), ["ekka@10.0.0.1", "ekka@10.0.0.2"]);
    assert!(matches!(&found.expect, Expect::NotHeard(why) if why.contains("503")), "{:?}", found.expect);
    status.store(200, Ordering::SeqCst);
    let found = strategy.discover().await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found.expect, Expect::Nodes(2));
    // What was read once holds.
    status.store(503, Ordering::SeqCst);
    let found = strategy.discover().await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found.expect, Expect::Nodes(2));
}
