//! Entry points for fuzzing: any bytes, no panic; and seeded mutations of real answers.

use serde_json::Value;

use super::layout::Layout;
use super::{api, entry, record, v2_form, v3_form};

/// Reads the bytes as a node's key and value, and as the id's value.
fn fuzz_values(data: &[u8]) {
    let (name, value) = data.split_at(data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len()));
    if let Err(left) = entry::judge(&String::from_utf8_lossy(name), value, 4370) {
        assert!(left.what.len() < 1000 && left.why.len() < 4000, "words are short");
    }
    let _ = entry::owner(data);
    if let Ok(proposal) = record::decode("key", data) {
        assert_eq!(record::decode("key", &record::encode(&proposal)), Ok(proposal));
    }
}

/// Reads the bytes as answers of both APIs.
fn fuzz_answers(data: &[u8]) {
    let layout = Layout::new("p", "ekka");
    let _ = v3_form::changes(data, &layout);
    let _ = api::version(data);
    let Ok(answer) = serde_json::from_slice::<Value>(data) else { return };
    let _ = v3_form::texts(&answer, "key");
    let _ = v3_form::stored(&answer);
    let _ = v2_form::listing(&answer, &layout);
    let _ = v2_form::stored(&answer);
    let _ = v2_form::change(&answer, &layout);
}

const VALUES: [&str; 3] = [
    "n1@10.0.0.1\n{\"name\":\"n1@10.0.0.1\",\"node_id\":\"00000000-0000-0000-0000-000000000007\",\"endpoint\":\"10.0.0.1:4371\",\"cluster_id\":null,\"version\":\"0.1.0\"}",
    "nodes/n1@h\n",
    "{\"format\":1,\"cluster_id\":\"00000000-0000-0000-0000-000000000007\",\"founders\":[{\"node_id\":\"00000000-0000-0000-0000-000000000001\",\"guid\":\"00000000-0000-0000-0000-000000000002\",\"name\":\"n1@[::1]\",\"endpoint\":\"[::1]:4371\",\"role\":\"core\",\"software\":\"0.1.0\"}]}",
];
const ANSWERS: [&str; 6] = [
    r#"{"result":{"events":[{"type":"DELETE","kv":{"key":"cC9la2thL2lk","mod_revision":"4"}}]}}"#,
    r#"{"result":{"created":true,"canceled":true,"cancel_reason":"permission denied"}}"#,
    r#"{"header":{"revision":"2"},"kvs":[{"key":"cC9la2thL2lk","mod_revision":"2","value":"aGk="}],"count":"1","more":true}"#,
    r#"{"etcdserver":"3.4.23","etcdcluster":"3.4.0"}"#,
    r#"{"action":"get","node":{"key":"/p/ekka","dir":true,"nodes":[{"key":"/p/ekka/n1@h","value":"hi","modifiedIndex":5}]}}"#,
    r#"{"action":"expire","node":{"key":"/p/ekka/n1@h","modifiedIndex":9},"prevNode":{"value":"x"}}"#,
];
const PIECES: [&str; 12] =
    ["\"", "{", "}", "[", "]", ",", ":", "null", "-1", "99999999999999999999", "\u{feff}", "\\u0000"];

fn mutated(rng: &mut ekka_core::rng::Rng, corpus: &[&str]) -> Vec<u8> {
    let mut data = corpus[rng.index(corpus.len())].as_bytes().to_vec();
    for _ in 0..=rng.index(6) {
        let at = rng.index(data.len() + 1);
        match rng.index(4) {
            0 => data.truncate(at),
            1 => drop(data.splice(at..at, PIECES[rng.index(PIECES.len())].bytes())),
            2 => {
                let end = (at + rng.index(20)).min(data.len());
                data.drain(at..end);
            }
            _ => {
                if let Some(byte) = data.get_mut(at) {
                    *byte = u8::try_from(rng.index(256)).expect("below 256");
                }
            }
        }
    }
    data
}

fn run(corpus: &[&str], target: fn(&[u8])) {
    for seed in 0..20_000 {
        target(&mutated(&mut ekka_core::rng::Rng::new(seed), corpus));
    }
    target("[".repeat(200_000).as_bytes());
    target(format!("{{\"kvs\":[{}]}}", "{},".repeat(10_000)).as_bytes());
}

#[test]
fn values_of_keys_are_read_whatever_they_hold() {
    run(&VALUES, fuzz_values);
}

#[test]
fn answers_are_read_whatever_a_server_sends() {
    run(&ANSWERS, fuzz_answers);
}
