//! The strategy on real sockets of loopback, with somebody beside it who holds the cookie and can say anything.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ekka_core::autocluster::Registration;
use ekka_core::id::{NodeId, NodeName};
use tokio::sync::{Notify, watch};

use super::message::{Announcement, Body, DATAGRAM_MAX, Kind, Nonce, Stamp};
use super::seal::Keys;
use super::strategy;
use crate::config::Mcast;
use crate::discovery::{Attachment, Context, Discovery, Found, Me, SharedCredentials};
use crate::env::Env;
use crate::transport::{CookieSet, Credentials, Kdf, Mode};

const COOKIE: &str = "live-cookie-live-cookie-live-cookie-live-cookie";

fn credentials(cookies: &str) -> Credentials {
    Credentials::derive(&Mode::Cookie, &CookieSet::parse(cookies, "test").unwrap(), "ekka", Kdf::cheap()).unwrap()
}

/// A group that no other test has: by process, and the number of the test.
fn options(test: u8) -> Mcast {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let free = || UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    Mcast {
        addr: Ipv4Addr::new(239, 210 + test, high, low).into(),
        ports: vec![free(), free()],
        iface: Ipv4Addr::UNSPECIFIED.into(),
        ttl: 1,
        loopback: true,
        sndbuf: None,
        recbuf: None,
        buffer: None,
    }
}

struct Node {
    strategy: Arc<dyn Discovery>,
    credentials: SharedCredentials,
    registration: watch::Sender<Registration>,
    news: Arc<Notify>,
    _dir: tempfile::TempDir,
}

impl Node {
    fn new(options: &Mcast, n: u8, cookies: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let name: NodeName = format!("n{n}@127.0.0.{n}").parse().unwrap();
        let me = Me { endpoint: name.endpoint(4370).unwrap(), name, node_id: NodeId::from_u128(n.into()) };
        let credentials = SharedCredentials::new(credentials(cookies));
        let context = Context {
            env: Env::real(dir.path()).unwrap(),
            me,
            base_port: 4370,
            cluster_name: "ekka".to_owned(),
            credentials: credentials.clone(),
        };
        let registration = watch::Sender::new(Registration { listed: true, ..Registration::default() });
        let strategy = strategy(options, &context).unwrap();
        Self { strategy, credentials, registration, news: Arc::new(Notify::new()), _dir: dir }
    }

    /// Answers from now on.
    fn run(&self) -> tokio::task::JoinHandle<()> {
        let node = Attachment { registration: self.registration.subscribe(), news: self.news.clone() };
        let strategy = self.strategy.clone();
        tokio::spawn(async move { strategy.run(node).await })
    }

    async fn finds(&self) -> Found {
        self.strategy.discover().await.unwrap_or_else(|error| panic!("{error}"))
    }
}

fn names(found: &Found) -> Vec<String> {
    let mut names: Vec<String> = found.candidates.iter().map(|candidate| candidate.name.to_string()).collect();
    names.sort();
    names
}

/// A holder of the cookie with a socket of his own.
struct Insider {
    socket: UdpSocket,
    keys: Keys,
    group: SocketAddr,
}

impl Insider {
    fn new(options: &Mcast) -> Self {
        let socket = UdpSocket::bind("127.0.0.99:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        Self { socket, keys: Keys::of(&credentials(COOKIE)).unwrap(), group: (options.addr, options.ports[0]).into() }
    }

    /// The nonce is the stamp too.
    fn ping(&self, n: u8, nonce: Nonce) -> Vec<u8> {
        let name: NodeName = format!("x{n}@127.0.0.99").parse().unwrap();
        let (endpoint, node_id) = (name.endpoint(4370).unwrap(), NodeId::from_u128(1000 + u128::from(n)));
        let body = Body {
            node_id,
            name,
            endpoint,
            reply: self.socket.local_addr().unwrap(),
            answers: 0,
            stamp: Stamp::try_from(nonce).unwrap(),
        };
        Announcement { kind: Kind::Ping, nonce, body }.encode(&self.keys)
    }

    /// The pongs that come within a time, by the nonce that they answer.
    fn pongs(&self, time: Duration) -> Vec<Nonce> {
        let (start, mut answered, mut buffer) = (Instant::now(), Vec::new(), [0; DATAGRAM_MAX]);
        while start.elapsed() < time {
            let Ok(len) = self.socket.recv(&mut buffer) else { continue };
            let pong = Announcement::decode(&buffer[..len], &self.keys).unwrap();
            assert_eq!(pong.kind, Kind::Pong);
            answered.push(pong.body.answers);
        }
        answered
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_one_host_find_each_other_and_a_late_one_is_news() {
    let options = options(0);
    let nodes: Vec<Node> = (1..=2).map(|n| Node::new(&options, n, COOKIE)).collect();
    for node in &nodes {
        node.run();
    }
    let late = Node::new(&options, 3, COOKIE);
    assert_eq!(names(&nodes[0].finds().await).first().map(String::as_str), Some("n1@127.0.0.1"));
    assert_eq!(names(&late.finds().await), ["n1@127.0.0.1", "n2@127.0.0.2", "n3@127.0.0.3"], "without `run`");
    tokio::time::timeout(Duration::from_secs(5), nodes[1].news.notified()).await.expect("an unknown node is news");
    late.run();
    let everybody = || async { names(&nodes[1].finds().await).len() == 3 };
    let start = Instant::now();
    while !everybody().await {
        assert!(start.elapsed() < Duration::from_secs(20), "the late one is not found");
    }
    // One that has left answers no more, and finds the others still.
    nodes[0].registration.send_replace(Registration::default());
    late.strategy.unregister().await.unwrap();
    let stranger = Node::new(&options, 4, COOKIE);
    assert_eq!(names(&stranger.finds().await), ["n2@127.0.0.2", "n4@127.0.0.4"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_new_pings_of_one_node_is_answered_once_a_second() {
    let options = options(1);
    let node = Node::new(&options, 1, COOKIE);
    node.run();
    node.finds().await;
    let insider = Insider::new(&options);
    let time = Duration::from_secs(4);
    let (sent, answered) = tokio::task::spawn_blocking(move || {
        std::thread::scope(|scope| {
            let flood = scope.spawn(|| {
                let start = Instant::now();
                let mut nonce = 1;
                while start.elapsed() < time {
                    let _ = insider.socket.send_to(&insider.ping(1, nonce), insider.group);
                    nonce += 1;
                }
                nonce - 1
            });
            let answered = insider.pongs(time + Duration::from_millis(300));
            (flood.join().unwrap(), answered.len())
        })
    })
    .await
    .unwrap();
    assert!(sent > 2000, "only {sent} pings are no flood");
    assert!((3..=5).contains(&answered), "{answered} answers to {sent} pings in {time:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_13_a_replayed_ping_makes_no_node_answer_again() {
    let options = options(2);
    let nodes: Vec<Node> = (1..=3).map(|n| Node::new(&options, n, COOKIE)).collect();
    for node in &nodes {
        node.run();
        node.finds().await;
    }
    let insider = Insider::new(&options);
    let answered = tokio::task::spawn_blocking(move || {
        let ping = insider.ping(1, 7);
        let mut answered = Vec::new();
        for _ in 0..6 {
            insider.socket.send_to(&ping, insider.group).unwrap();
            // Longer than a second: it is not the limit that holds the answers back.
            answered.extend(insider.pongs(Duration::from_millis(1100)));
        }
        answered
    })
    .await
    .unwrap();
    assert_eq!(answered, [7, 7, 7], "each of the three nodes answers it once");
    let notes = nodes[0].finds().await.notes.join("; ");
    assert!(notes.contains("5 a ping heard before"), "{notes}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_13_recorded_pings_in_rotation_take_no_answer_from_the_node_that_made_them() {
    let options = options(3);
    let node = Node::new(&options, 1, COOKIE);
    node.run();
    node.finds().await;
    let insider = Insider::new(&options);
    let answered = tokio::task::spawn_blocking(move || {
        let say = |ping: &[u8]| insider.socket.send_to(ping, insider.group).map(drop).unwrap();
        let recorded: Vec<Vec<u8>> = (1..=40).map(|nonce| insider.ping(1, nonce)).collect();
        for ping in &recorded {
            say(ping);
        }
        let first = insider.pongs(Duration::from_millis(1100));
        assert_eq!(first.len(), 1, "of many within a second one is answered: {first:?}");
        let mut answered = Vec::new();
        for (nonce, old) in (100..105).zip(&recorded) {
            say(old);
            answered.extend(insider.pongs(Duration::from_millis(500)));
            say(&insider.ping(1, nonce));
            answered.extend(insider.pongs(Duration::from_millis(600)));
        }
        answered
    })
    .await
    .unwrap();
    assert_eq!(answered, [100, 101, 102, 103, 104], "the node's own pings and none that was recorded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn announcements_follow_a_rotation_of_the_cookie() {
    let options = options(4);
    let (old, new) = (COOKIE, "new-cookie-new-cookie-new-cookie-new-cookie-new");
    let (a, b) = (Node::new(&options, 1, old), Node::new(&options, 2, new));
    a.run();
    b.run();
    assert_eq!(names(&a.finds().await), ["n1@127.0.0.1"], "another cookie is nobody");
    let notes = a.finds().await.notes.join("; ");
    assert!(!notes.contains("n2@"), "{notes}");
    a.credentials.set(credentials(&format!("{old}\n{new}\n")));
    b.credentials.set(credentials(&format!("{new}\n{old}\n")));
    let start = Instant::now();
    while names(&a.finds().await).len() != 2 || names(&b.finds().await).len() != 2 {
        assert!(start.elapsed() < Duration::from_secs(20), "they do not find each other");
    }
}

#[tokio::test]
async fn a_network_without_the_interface_is_said_with_the_key_to_set() {
    let mut options = options(5);
    options.iface = IpAddr::from([192, 0, 2, 77]);
    let error = Node::new(&options, 1, COOKIE).strategy.discover().await.unwrap_err();
    assert!(error.contains("cluster.mcast.iface = 192.0.2.77"), "{error}");
}
