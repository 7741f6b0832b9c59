use std::collections::BTreeMap;
use std::sync::Mutex;

use super::*;
use crate::discovery::dns::system::resolv_conf;

/// Servers by address and name; what is not there is silence.
#[derive(Default)]
struct Script {
    says: BTreeMap<(String, String), Result<Reply, Failure>>,
    asked: Mutex<Vec<String>>,
}

impl Script {
    fn says(mut self, server: &str, name: &str, what: Result<Outcome, Failure>) -> Self {
        let reply = what.map(|outcome| Reply { outcome, ttl: Duration::from_secs(7) });
        self.says.insert((format!("{server}:53"), name.to_owned()), reply);
        self
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Ask for Script {
    fn ask<'a>(&'a self, server: SocketAddr, name: &'a str, _: DnsRecord) -> BoxFuture<'a, Result<Reply, Failure>> {
        self.asked.lock().unwrap().push(format!("{name} at {}", server.ip()));
        let said = self.says.get(&(server.to_string(), name.to_owned())).cloned();
        Box::pin(async move {
            match said {
                Some(said) => said,
                None => std::future::pending().await,
            }
        })
    }
}

fn records() -> Outcome {
    Outcome::Records(vec![Record::Ip("10.0.0.1".parse().unwrap())])
}

fn run(script: &Script, resolv: &str, name: &str) -> (Result<Answer, String>, Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let start = Instant::now();
        let result = lookup(script, &resolv_conf(resolv), name, DnsRecord::A).await;
        (result, start.elapsed())
    })
}

const TWO: &str = "nameserver 1.1.1.1\nnameserver 2.2.2.2\nsearch lan\n";

#[test]
fn the_first_server_that_answers_has_the_word() {
    let script = Script::default().says("1.1.1.1", "a.b.", Ok(records())).says("2.2.2.2", "a.b.", Ok(Outcome::NoName));
    let (answer, took) = run(&script, TWO, "a.b");
    assert_eq!(answer, Ok(Answer { names: vec!["a.b.".to_owned()], outcome: records(), ttl: Duration::from_secs(7) }));
    assert_eq!((script.asked(), took), (vec!["a.b. at 1.1.1.1".to_owned()], Duration::ZERO));
}

#[test]
fn no_such_name_is_an_answer_that_ends_the_asking_for_that_name() {
    let script = Script::default()
        .says("1.1.1.1", "a.b.", Ok(Outcome::NoName))
        .says("2.2.2.2", "a.b.", Ok(records()))
        .says("1.1.1.1", "a.b.lan.", Ok(Outcome::NoData));
    let (answer, _) = run(&script, TWO, "a.b");
    let answer = answer.unwrap();
    assert_eq!((answer.outcome, answer.names.len()), (Outcome::NoData, 2), "that a name exists tells more");
}

#[test]
fn a_silent_or_failing_server_is_passed_over_for_the_next() {
    for first in [None, Some(Failure::ServFail), Some(Failure::Refused), Some(Failure::Truncated)] {
        let mut script = Script::default().says("2.2.2.2", "a.b.", Ok(records()));
        let silent = first.is_none();
        if let Some(failure) = first {
            script = script.says("1.1.1.1", "a.b.", Err(failure));
        }
        let (answer, took) = run(&script, TWO, "a.b");
        assert_eq!(answer.map(|a| a.outcome), Ok(records()));
        assert_eq!(took, if silent { SERVER_TIMEOUT } else { Duration::ZERO });
    }
}

#[test]
fn a_silent_server_is_asked_last_for_the_other_names() {
    let script = Script::default().says("2.2.2.2", "a.lan.", Ok(Outcome::NoName)).says("2.2.2.2", "a.", Ok(records()));
    let (answer, took) = run(&script, TWO, "a");
    assert_eq!(answer.map(|a| a.outcome), Ok(records()));
    assert_eq!(script.asked(), ["a.lan. at 1.1.1.1", "a.lan. at 2.2.2.2", "a. at 2.2.2.2"]);
    assert_eq!(took, SERVER_TIMEOUT);
}

#[test]
fn a_failure_is_never_taken_for_an_empty_answer() {
    let script =
        Script::default().says("1.1.1.1", "a.lan.", Err(Failure::ServFail)).says("1.1.1.1", "a.", Ok(Outcome::NoName));
    let (answer, _) = run(&script, "nameserver 1.1.1.1\nsearch lan", "a");
    assert_eq!(
        answer,
        Err("no answer for A records of a.lan. (asked for also: a.): 1.1.1.1:53 answered SERVFAIL; it could not find \
             out itself: its own log says why"
            .to_owned())
    );
    // Records of another name of the list are an answer all the same.
    let script =
        Script::default().says("1.1.1.1", "a.lan.", Err(Failure::ServFail)).says("1.1.1.1", "a.", Ok(records()));
    assert!(run(&script, "nameserver 1.1.1.1\nsearch lan", "a").0.is_ok());
}

#[test]
fn silence_of_all_ends_in_time_and_says_who_was_silent() {
    let many = "nameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver 3.3.3.3\nsearch a b c d e f\n";
    let (answer, took) = run(&Script::default(), many, "x");
    let words = answer.unwrap_err();
    assert!(took <= LOOKUP_TIMEOUT, "{took:?}");
    assert!(LOOKUP_TIMEOUT * 3 / 2 < ekka_core::limits::DISCOVERY_TIMEOUT);
    for server in ["1.1.1.1:53 did not answer within 2 s", "2.2.2.2:53 did", "3.3.3.3:53 did", "UDP and TCP"] {
        assert!(words.contains(server), "{words}");
    }
    // The words stay the same while the trouble does: they are the text of an event.
    assert_eq!(run(&Script::default(), many, "x").0, Err(words));
}

#[test]
fn one_silent_server_is_asked_twice() {
    let script = Script::default();
    let (answer, took) = run(&script, "nameserver 1.1.1.1", "a.b.");
    assert!(answer.is_err());
    assert_eq!((script.asked().len(), took), (2, SERVER_TIMEOUT * 2));
}
