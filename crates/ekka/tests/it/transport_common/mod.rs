//! Nodes for the tests of the transport: real sockets on loopback, a cheap key derivation, no control machine.
#![allow(unreachable_pub, clippy::unwrap_used, reason = "a test fails by panicking")]

pub mod pki;

use std::sync::Arc;
use std::time::Duration;

use ekka::config::TlsMode;
use ekka::env::Env;
use ekka::transport::{CookieSet, Credentials, HelloSource, Kdf, Limits, Options, Transport};
use ekka_core::control::{CloseCause, ConnId, DialError, Input};
use ekka_core::id::{Endpoint, Guid, Host, Incarnation, NodeId};
use ekka_core::time::Wall;
use ekka_core::view::{Role, Status};
use ekka_core::wire::{Hello, Purpose, VersionRange};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longer than anything here lasts; reached only by a failing test.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const COOKIE: &str = "a-cookie-of-the-tests-that-is-long-enough";

pub struct Node {
    pub transport: Transport,
    pub hello: HelloSource,
    pub inputs: mpsc::Receiver<Input>,
    pub bulk: mpsc::Receiver<(NodeId, Vec<u8>)>,
    #[cfg_attr(not(feature = "testing"), expect(dead_code, reason = "read in `consensus_transport`"))]
    pub groups: mpsc::Receiver<(Incarnation, Vec<u8>)>,
    pub endpoint: Endpoint,
    pub env: Env,
    _dir: Arc<tempfile::TempDir>,
}

pub struct Setup {
    pub number: u32,
    pub name: String,
    pub cluster_name: String,
    pub versions: VersionRange,
    pub credentials: Credentials,
    pub limits: Limits,
}

pub fn credentials(cookies: &str, cluster_name: &str, mode: &TlsMode) -> Credentials {
    let cookies = CookieSet::parse(cookies, "test").unwrap();
    Credentials::derive(mode, &cookies, cluster_name, Kdf::cheap()).unwrap()
}

pub fn cookie(cookies: &str) -> Credentials {
    credentials(cookies, "ekka", &TlsMode::Cookie)
}

/// Node `number` with the common cookie.
pub fn setup(number: u32) -> Setup {
    Setup {
        number,
        name: format!("ekka{number}@127.0.0.1"),
        cluster_name: "ekka".to_owned(),
        versions: VersionRange::OURS,
        credentials: cookie(COOKIE),
        limits: Limits::default(),
    }
}

impl Setup {
    pub fn hello(&self) -> HelloSource {
        let hello = Hello {
            versions: self.versions,
            features: 0,
            software: "0.1.0".to_owned(),
            purpose: Purpose::Observer,
            name: self.name.parse().unwrap(),
            node_id: NodeId::from_random(u128::from(self.number)),
            guid: Guid::from_u128(u128::from(self.number) + 1000),
            previous_guid: None,
            start_counter: 1,
            cluster_name: self.cluster_name.clone(),
            cluster_id: None,
            wall: Wall::from_millis(1),
            role: Role::Core,
            status: Status::Joining,
            listen_port: 1,
            holds: false,
            generation: 0,
        };
        Arc::new(move |purpose| Hello { purpose, ..hello.clone() })
    }

    pub async fn start(self) -> Node {
        self.start_with_inputs(1024).await
    }

    pub async fn start_with_inputs(self, inputs_max: usize) -> Node {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let env = Env::real(dir.path()).unwrap();
        let (events, inputs) = mpsc::channel(inputs_max);
        let (bulk_sender, bulk) = mpsc::channel(1);
        let (groups_sender, groups) = mpsc::channel(1024);
        let hello = self.hello();
        let options = Options {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            limits: self.limits,
            bulk: Some(bulk_sender),
            groups: Some(groups_sender),
            hosts: ekka::transport::Hosts::default(),
        };
        let transport = Transport::start(&env, options, self.credentials, hello.clone(), events).await.unwrap();
        let port = transport.local_addrs()[0].port();
        let endpoint = Endpoint { host: Host::Ip([127, 0, 0, 1].into()), port };
        Node { transport, hello, inputs, bulk, groups, endpoint, env, _dir: dir }
    }
}

impl Node {
    pub fn own_hello(&self) -> Box<Hello> {
        Box::new((self.hello)(Purpose::Peer(ekka_core::wire::Lane::Control)))
    }

    pub async fn input(&mut self) -> Input {
        timeout(PATIENCE, self.inputs.recv()).await.expect("an input comes in time").expect("the transport runs")
    }

    pub async fn greeted(&mut self) -> (ConnId, Box<Hello>) {
        match self.input().await {
            Input::Hello { conn, hello, .. } => (conn, hello),
            other => panic!("a hello was expected, not {other:?}"),
        }
    }

    pub async fn frame(&mut self) -> Vec<u8> {
        match self.input().await {
            Input::Frame { bytes, .. } => bytes,
            other => panic!("a frame was expected, not {other:?}"),
        }
    }

    pub async fn closed(&mut self) -> CloseCause {
        match self.input().await {
            Input::Closed { cause, .. } => cause,
            other => panic!("an end was expected, not {other:?}"),
        }
    }

    pub async fn dial_failed(&mut self) -> DialError {
        match self.input().await {
            Input::DialFailed { error, .. } => error,
            other => panic!("a failed dial was expected, not {other:?}"),
        }
    }

    pub async fn dial_and_fail(&mut self, to: &Endpoint) -> DialError {
        self.transport.dial(to.clone());
        self.dial_failed().await
    }

    /// Waits until `reason` has been counted `count` times.
    pub async fn refused(&self, reason: &str, count: u64) {
        let reached = async {
            while self.transport.stats().refused[reason] < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = timeout(PATIENCE, reached).await.is_ok();
        assert!(in_time, "{count} x {reason} expected, counted: {:?}", self.transport.stats().refused);
    }
}

/// A link from `a` to `b`, both verdicts given.
pub async fn link(a: &mut Node, b: &mut Node) -> (ConnId, ConnId) {
    a.transport.dial(b.endpoint.clone());
    let (at_b, hello) = b.greeted().await;
    assert_eq!(hello.name, a.own_hello().name);
    b.transport.verdict(at_b, Ok(b.own_hello()));
    let (at_a, hello) = a.greeted().await;
    assert_eq!(hello.name, b.own_hello().name);
    a.transport.verdict(at_a, Ok(a.own_hello()));
    (at_a, at_b)
}

/// Proves that a link carries frames both ways.
pub async fn exchange(a: (&mut Node, ConnId), b: (&mut Node, ConnId), text: &[u8]) {
    a.0.transport.send(a.1, text.to_vec());
    assert_eq!(b.0.frame().await, text);
    b.0.transport.send(b.1, text.to_vec());
    assert_eq!(a.0.frame().await, text);
}
