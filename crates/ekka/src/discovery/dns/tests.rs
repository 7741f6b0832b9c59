use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use ekka_core::id::{Endpoint, NodeId};
use ekka_core::rng::Rng;
use hickory_resolver::proto::op::{Message, OpCode};
use hickory_resolver::proto::rr::{self, Name, RData, rdata};

use super::*;
use crate::discovery::Me;
use lookup::{Failure, Reply};

/// Answers each question with the next of its answers, the last one for ever.
struct Sequence {
    answers: Vec<Result<Reply, Failure>>,
    count: AtomicUsize,
}

impl Ask for Sequence {
    fn ask<'a>(&'a self, _: SocketAddr, _: &'a str, _: DnsRecord) -> BoxFuture<'a, Result<Reply, Failure>> {
        let turn = self.count.fetch_add(1, Ordering::Relaxed).min(self.answers.len() - 1);
        Box::pin(async move { self.answers[turn].clone() })
    }
}

fn ip(text: &str, ttl: u64) -> Reply {
    let outcome = Outcome::Records(vec![Record::Ip(text.parse().unwrap())]);
    Reply { outcome, ttl: Duration::from_secs(ttl) }
}

fn no_name(ttl: u64) -> Reply {
    Reply { outcome: Outcome::NoName, ttl: Duration::from_secs(ttl) }
}

fn try_new(etc: &Path, options: &Dns, answers: Vec<Result<Reply, Failure>>) -> Result<Strategy, String> {
    with_base(4370, etc, options, answers)
}

fn with_base(
    base_port: u16,
    etc: &Path,
    options: &Dns,
    answers: Vec<Result<Reply, Failure>>,
) -> Result<Strategy, String> {
    let name: NodeName = "ekka@10.0.0.1".parse().unwrap();
    let endpoint = Endpoint { host: name.host().clone(), port: 4370 };
    let me = Me { name, endpoint, node_id: NodeId::from_random(1) };
    let naming = Naming { app: options.app.clone(), me, base_port };
    // Off threads, so that paused time stands still while files are read.
    let env = Env { threads: false, ..Env::real(&etc.join("data")).unwrap() };
    Strategy::new(options, naming, env, Files::at(etc), Arc::new(Sequence { answers, count: AtomicUsize::new(0) }))
}

fn options(name: &str) -> Dns {
    Dns { name: name.to_owned(), app: "ekka".to_owned(), record: DnsRecord::A, server: None }
}

async fn names(strategy: &Strategy) -> Result<String, String> {
    let found = strategy.discover().await?;
    Ok(found.candidates.iter().map(|candidate| candidate.name.to_string()).collect::<Vec<_>>().join(" "))
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_kept_for_its_time_to_live_within_bounds() {
    for (ttl, kept) in [(0, 1), (7, 7), (3600, 30)] {
        let etc = tempfile::tempdir().unwrap();
        let answers = vec![Ok(ip("10.0.0.1", ttl)), Ok(ip("10.0.0.2", ttl))];
        let strategy = try_new(etc.path(), &options("ekka.test"), answers).unwrap();
        assert_eq!(names(&strategy).await.as_deref(), Ok("ekka@10.0.0.1"));
        tokio::time::advance(Duration::from_millis(kept * 1000 - 1)).await;
        assert_eq!(names(&strategy).await.as_deref(), Ok("ekka@10.0.0.1"), "ttl {ttl}");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(names(&strategy).await.as_deref(), Ok("ekka@10.0.0.2"), "ttl {ttl}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_answer_is_kept_for_a_second_and_a_failure_not_at_all() {
    let etc = tempfile::tempdir().unwrap();
    let answers = vec![Ok(no_name(7200)), Err(Failure::ServFail), Ok(ip("10.0.0.1", 60))];
    let strategy = try_new(etc.path(), &options("ekka.test"), answers).unwrap();
    assert_eq!(names(&strategy).await.as_deref(), Ok(""));
    tokio::time::advance(Duration::from_millis(999)).await;
    assert_eq!(names(&strategy).await.as_deref(), Ok(""));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(names(&strategy).await.is_err_and(|words| words.contains("SERVFAIL")), "an earlier answer hides no error");
    assert_eq!(names(&strategy).await.as_deref(), Ok("ekka@10.0.0.1"));
}

#[tokio::test(start_paused = true)]
async fn a_changed_resolv_conf_ends_what_was_kept() {
    let etc = tempfile::tempdir().unwrap();
    let strategy =
        try_new(etc.path(), &options("ekka.test"), vec![Ok(ip("10.0.0.1", 60)), Ok(ip("10.0.0.2", 60))]).unwrap();
    assert_eq!(names(&strategy).await.as_deref(), Ok("ekka@10.0.0.1"));
    std::fs::write(etc.path().join("resolv.conf"), "nameserver 10.0.0.53\n").unwrap();
    assert_eq!(names(&strategy).await.as_deref(), Ok("ekka@10.0.0.2"));
}

#[tokio::test(start_paused = true)]
async fn the_hosts_file_goes_before_the_servers_and_is_read_anew_each_time() {
    let etc = tempfile::tempdir().unwrap();
    let strategy = try_new(etc.path(), &options("ekka.test"), vec![Ok(ip("10.0.0.9", 60))]).unwrap();
    std::fs::write(etc.path().join("hosts"), "10.0.0.1 ekka.test\n10.0.0.2 ekka.test\n").unwrap();
    assert_eq!(names(&strategy).await.as_deref(), Ok("ekka@10.0.0.1 ekka@10.0.0.2"));
    std::fs::write(etc.path().join("hosts"), "10.0.0.3 ekka.test\n").unwrap();
    assert_eq!(names(&strategy).await.as_deref(), Ok("ekka@10.0.0.3"));
    std::fs::write(etc.path().join("hosts"), "").unwrap();
    assert_eq!(names(&strategy).await.as_deref(), Ok("ekka@10.0.0.9"));
}

#[tokio::test(start_paused = true)]
async fn localhost_is_never_asked_for() {
    let etc = tempfile::tempdir().unwrap();
    let strategy = try_new(etc.path(), &options("localhost"), vec![Err(Failure::Refused)]).unwrap();
    let found = strategy.discover().await.unwrap();
    // The node of this test is not on loopback, so the address shows here.
    assert_eq!(found.left_out[0].what, "127.0.0.1");
    let six = Dns { record: DnsRecord::Aaaa, ..options("db.LOCALHOST.") };
    let strategy = try_new(etc.path(), &six, vec![Err(Failure::Refused)]).unwrap();
    assert_eq!(strategy.discover().await.unwrap().left_out[0].what, "::1");
    let srv = Dns { record: DnsRecord::Srv, ..options("localhost") };
    assert!(try_new(etc.path(), &srv, vec![Err(Failure::Refused)]).unwrap().discover().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_server_of_the_configuration_is_asked_for_the_name_as_it_stands_there() {
    let etc = tempfile::tempdir().unwrap();
    std::fs::write(etc.path().join("hosts"), "10.0.0.1 ekka\n").unwrap();
    std::fs::write(etc.path().join("resolv.conf"), "search lan\n").unwrap();
    let with_server = Dns { server: Some("10.0.0.53:53".parse().unwrap()), ..options("ekka") };
    let strategy = try_new(etc.path(), &with_server, vec![Ok(no_name(0))]).unwrap();
    let found = strategy.discover().await.unwrap();
    assert_eq!(
        found.notes,
        ["no record of type A for ekka: not even this node is listed; the name does not exist (NXDOMAIN)"]
    );
}

#[test]
fn names_and_ports_that_cannot_be_are_refused_before_anything_is_asked() {
    let etc = tempfile::tempdir().unwrap();
    let refused = |app: &str, base_port, record| {
        let options = Dns { app: app.to_owned(), record, ..options("x") };
        with_base(base_port, etc.path(), &options, vec![Ok(no_name(0))]).err()
    };
    assert!(refused("a b", 4370, DnsRecord::A).is_some_and(|words| words.contains("cluster.dns.app = a b")));
    assert!(refused("n59999", 10_000, DnsRecord::A).is_some_and(|words| words.contains("gives port 69999")));
    assert_eq!(refused("n59999", 4370, DnsRecord::A), None);
    assert_eq!(refused("n59999", 10_000, DnsRecord::Srv), None, "the records bring the port");
}

/// A message with records of every kind, as seed for mutations.
fn message() -> Vec<u8> {
    let name = Name::from_ascii("ekka.test.").unwrap();
    let mut message = Message::response(7, OpCode::Query);
    let srv = rdata::SRV::new(1, 2, 4370, Name::from_ascii("a.example.").unwrap());
    let alias = rdata::CNAME(Name::from_ascii("b.example.").unwrap());
    message.add_answers(
        [
            RData::A(rdata::A::new(10, 0, 0, 1)),
            RData::AAAA(rdata::AAAA::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
            RData::SRV(srv),
            RData::CNAME(alias),
        ]
        .map(|data| rr::Record::from_rdata(name.clone(), 60, data)),
    );
    message.to_vec().unwrap()
}

fn mutated(rng: &mut Rng, seed: &[u8]) -> Vec<u8> {
    let mut data = seed.to_vec();
    for _ in 0..=rng.index(8) {
        let at = rng.index(data.len() + 1);
        match rng.index(4) {
            0 => data.truncate(at),
            1 => data.insert(at, rng.next_u64().to_le_bytes()[0]),
            2 => {
                let end = (at + rng.index(40)).min(data.len());
                let piece = data[at..end].to_vec();
                drop(data.splice(at..at, piece));
            }
            _ => {
                if let Some(byte) = data.get_mut(at) {
                    *byte ^= 1 << rng.index(8);
                }
            }
        }
    }
    data
}

#[test]
fn mutated_messages_and_files_never_panic() {
    let files = b"nameserver 10.0.0.53\nsearch a.example b\noptions ndots:5\n10.0.0.1 ekka n1\n::1 localhost\n";
    fuzz_dns_message(&message());
    let begun = std::time::Instant::now();
    let mut rounds = 0;
    while begun.elapsed() < Duration::from_secs(2) {
        rounds += 1;
        let mut rng = Rng::new(rounds);
        fuzz_dns_message(&mutated(&mut rng, &message()));
        fuzz_dns_files(&mutated(&mut rng, files));
    }
    assert!(rounds > 100, "only {rounds} rounds");
}
