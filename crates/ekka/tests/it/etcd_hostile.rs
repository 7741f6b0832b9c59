//! What a server, a network or other users of etcd may do to a node, and what it must not make of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::etcd_support::{Etcd, Own, holds};
use crate::fake_server::{Mute, Reply, serve};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ekka::core::id::ClusterId;
use serde_json::{Value, json};

/// What every etcd of version 3 says, save for watches and lists.
fn v3(line: &str) -> Reply {
    let body = match line.rsplit('/').next().unwrap_or_default() {
        "version" => json!({"etcdserver": "3.4.0"}),
        "grant" => json!({"ID": "7", "TTL": "2"}),
        "keepalive" => json!({"result": {"ID": "7", "TTL": "2"}}),
        _ => json!({}),
    };
    Reply::Says(200, body.to_string())
}

fn text(base64: &Value) -> String {
    String::from_utf8(STANDARD.decode(base64.as_str().unwrap_or_default()).expect("base64")).expect("text")
}

/// The answer to `kv/range` where these are all keys.
fn range(keys: &BTreeMap<String, String>, asked: &str) -> Value {
    let asked: Value = serde_json::from_str(asked).expect("JSON");
    let limit: usize = asked["limit"].as_str().expect("a limit").parse().expect("a number");
    let found: Vec<_> = keys.range(text(&asked["key"])..text(&asked["range_end"])).collect();
    let rows: Vec<Value> = found
        .iter()
        .take(limit)
        .map(|(key, value)| {
            let value = if asked["keys_only"] == true { "" } else { value.as_str() };
            json!({"key": STANDARD.encode(key), "value": STANDARD.encode(value), "mod_revision": "5"})
        })
        .collect();
    json!({"kvs": rows, "more": found.len() > limit, "count": found.len().to_string()})
}

fn keys<const N: usize>(names: [&str; N]) -> BTreeMap<String, String> {
    names.into_iter().map(|name| (format!("ekkacl/ekka/{name}"), String::new())).collect()
}

#[tokio::test]
async fn a_key_that_is_lost_while_the_watch_is_silent_comes_back_within_its_time_to_live() {
    let etcd = Etcd::start();
    let way = Mute::new(&etcd.url(0));
    let own = Own::new(1, &way.url, &[]).run();
    let key = "ekkacl/ekka/n1@10.0.0.1";
    let there = async || holds(etcd.value(key).is_some(), "no key");
    own.wait("it is registered", there).await;
    own.sees(&["n1@10.0.0.1"]).await;
    way.muted.store(true, Ordering::SeqCst);
    etcd.ctl(&["del", key]);
    let took = own.wait("it is registered again", there).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn long_values_of_others_are_not_read() {
    let long = "x".repeat(1_000_000);
    let names = (0..400)
        .map(|n| format!("ekkacl/ekka/foreign-{n:03}"))
        .chain(["foreign-200a@10.0.0.1", "n2@10.0.0.2", "n3@10.0.0.3"].map(|name| format!("ekkacl/ekka/{name}")));
    let keys: BTreeMap<String, String> = names
        .map(|name| {
            let value = if name.contains('@') { String::new() } else { long.clone() };
            (name, value)
        })
        .collect();
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let url = serve(move |line, body| {
        if !line.ends_with("kv/range") {
            return v3(line);
        }
        let body = range(&keys, body).to_string();
        count.fetch_add(body.len(), Ordering::SeqCst);
        Reply::Says(200, body)
    });
    let own = Own::new(1, &url, &[]);
    let found = own.found().await;
    let names: Vec<String> = found.candidates.iter().map(|candidate| candidate.name.to_string()).collect();
    assert_eq!(names, ["foreign-200a@10.0.0.1", "n2@10.0.0.2", "n3@10.0.0.3"]);
    assert_eq!(found.left_out.len(), 64, "the rest is counted");
    assert!(found.notes.iter().any(|note| note.starts_with("336 further keys")), "{:?}", found.notes);
    let sent = sent.load(Ordering::SeqCst);
    println!("etcd sent {sent} bytes");
    assert!(sent < 200_000, "{sent}");
}

#[tokio::test]
async fn however_many_keys_others_keep_there_the_nodes_and_the_id_are_found() {
    let etcd = Etcd::start();
    // Before, between and after what is this cluster's.
    let others = ["a", "j", "z"].into_iter().flat_map(|first| (0..1_500).map(move |n| format!("{first}{n:04}")));
    etcd.put_many(others.map(|name| format!("ekkacl/ekka/{name}")));
    let own = Own::new(1, &etcd.url(0), &[]).run();
    own.register(Some(7));
    own.sees(&["n1@10.0.0.1"]).await;
    own.wait("the id is noted", async || {
        let notes = own.found().await.notes;
        holds(notes.iter().any(|note| note.starts_with("the cluster has the id")), notes)
    })
    .await;
    let found = own.found().await;
    assert_eq!(found.left_out.len(), 64);
    assert!(found.notes.iter().any(|note| note.starts_with("4436 further keys")), "{:?}", found.notes);
}

#[tokio::test]
async fn a_server_that_has_more_keys_for_ever_is_not_asked_for_ever() {
    let questions = Arc::new(AtomicUsize::new(0));
    let count = questions.clone();
    let (key, end) = (STANDARD.encode("ekkacl/ekka/"), STANDARD.encode("ekkacl/ekka0"));
    let all = json!({"key": key, "range_end": end, "limit": "9", "keys_only": true}).to_string();
    let url = serve(move |line, _| {
        if !line.ends_with("kv/range") {
            return v3(line);
        }
        count.fetch_add(1, Ordering::SeqCst);
        let mut answer = range(&keys(["foreign", "n2@10.0.0.2"]), &all);
        answer["more"] = true.into();
        Reply::Says(200, answer.to_string())
    });
    let found = Own::new(1, &url, &[]).found().await;
    assert_eq!(found.candidates[0].name.to_string(), "n2@10.0.0.2");
    assert!(found.notes.iter().any(|note| note.contains("keys begin with")), "{:?}", found.notes);
    let questions = questions.load(Ordering::SeqCst);
    assert!(questions < 500, "{questions}");
}

#[tokio::test]
async fn keys_that_come_while_the_list_is_read_push_none_of_it_out() {
    for (new, names, why) in [
        (1, &["n2@10.0.0.2", "n3@10.0.0.3"][..], None),
        (32, &["n2@10.0.0.2", "n3@10.0.0.3"][..], None),
        // More than there is room for: who is missing did not go.
        (33, &["n2@10.0.0.2"][..], Some("its value was not read")),
    ] {
        let url = serve(move |line, body| {
            if !line.ends_with("kv/range") {
                return v3(line);
            }
            let mut all = keys(["n2@10.0.0.2", "n3@10.0.0.3"]);
            if body.contains("\"keys_only\":false") {
                all.extend((0..new).map(|n| (format!("ekkacl/ekka/n2a-{n}@10.0.0.9"), String::new())));
            }
            Reply::Says(200, range(&all, body).to_string())
        });
        let found = Own::new(1, &url, &[]).found().await;
        let seen: Vec<String> = found.candidates.iter().map(|candidate| candidate.name.to_string()).collect();
        assert_eq!(seen, names, "{new} new keys");
        let left: Vec<&str> = found.left_out.iter().map(|left| left.why.as_str()).collect();
        assert!(left.len() == usize::from(why.is_some()) && why.is_none_or(|why| left[0].starts_with(why)), "{left:?}");
    }
}

#[tokio::test]
async fn an_id_that_could_not_be_looked_at_after_a_new_registration_is_looked_at_soon() {
    // 0: all is well; 1: the lease is lost; 2: it is, and the id cannot be read; 3: the id is gone.
    let stage = Arc::new(AtomicUsize::new(0));
    let (now, looks, written) = (stage.clone(), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (looked, wrote) = (looks.clone(), written.clone());
    let id = json!({"format": 1, "cluster_id": ClusterId::from_u128(7), "founders": []}).to_string();
    let url = serve(move |line, body| {
        let is_id = || text(&serde_json::from_str::<Value>(body).expect("JSON")["key"]) == "ekkacl/ekka/id";
        let turns = |from: usize| now.compare_exchange(from, from + 1, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        match line.rsplit('/').next().unwrap_or_default() {
            "watch" => Reply::Holds("{\"result\":{\"created\":true}}\n".to_owned()),
            "keepalive" if turns(1) => Reply::Says(200, json!({"result": {"ID": "7"}}).to_string()),
            "range" if is_id() && turns(2) => Reply::Says(500, "out of order".to_owned()),
            "range" if is_id() => {
                looked.fetch_add(1, Ordering::SeqCst);
                let there = now.load(Ordering::SeqCst) < 3;
                let rows = json!([{"key": STANDARD.encode("ekkacl/ekka/id"), "value": STANDARD.encode(&id), "mod_revision": "5"}]);
                Reply::Says(200, json!({"kvs": if there { rows } else { json!([]) }}).to_string())
            }
            "txn" => {
                wrote.fetch_add(1, Ordering::SeqCst);
                Reply::Says(200, json!({"succeeded": true}).to_string())
            }
            _ => v3(line),
        }
    });
    let own = Own::new(1, &url, &[("cluster.etcd.node_ttl", "1h")]).run();
    own.register(Some(7));
    let seen = || looks.load(Ordering::SeqCst);
    // Once by itself, and once since the watch was opened.
    own.wait("it has looked at the id", async || holds(seen() >= 2, seen())).await;
    stage.store(1, Ordering::SeqCst);
    let wrote = || written.load(Ordering::SeqCst);
    own.wait("the id is written again", async || holds(wrote() > 0, wrote())).await;
    assert_eq!(stage.load(Ordering::SeqCst), 3, "all of it happened");
}

#[tokio::test]
async fn a_key_that_another_node_writes_all_the_time_is_looked_at_five_times_a_second_at_most() {
    let beats = Arc::new(AtomicUsize::new(0));
    let count = beats.clone();
    let url = serve(move |line, _| match line.rsplit('/').next().unwrap_or_default() {
        "watch" => {
            let kv = json!({"key": STANDARD.encode("ekkacl/ekka/n1@10.0.0.1"), "value": STANDARD.encode("{}")});
            Reply::Repeats(format!("{}\n", json!({"result": {"events": [{"kv": kv}]}})))
        }
        "keepalive" => {
            count.fetch_add(1, Ordering::SeqCst);
            v3(line)
        }
        _ => v3(line),
    });
    let own = Own::new(1, &url, &[("cluster.etcd.node_ttl", "1h")]).run();
    let seen = || beats.load(Ordering::SeqCst);
    let took = own.wait("eleven looks", async || holds(seen() >= 11, seen())).await;
    assert!(took > Duration::from_millis(1_900), "{took:?}");
}

#[tokio::test]
async fn watches_that_end_at_once_come_further_and_further_apart() {
    let watches = Arc::new(AtomicUsize::new(0));
    let count = watches.clone();
    let url = serve(move |line, _| {
        if !line.ends_with("/watch") {
            return v3(line);
        }
        count.fetch_add(1, Ordering::SeqCst);
        Reply::Says(200, "{\"result\":{\"created\":true}}\n".to_owned())
    });
    let own = Own::new(1, &url, &[]).run();
    let seen = || watches.load(Ordering::SeqCst);
    let took = own.wait("five watches", async || holds(seen() >= 5, seen())).await;
    // At least half of 250, 500, 1000 and 2000 ms.
    assert!(took > Duration::from_millis(1_800), "{took:?}");
}

#[tokio::test]
async fn a_watch_of_v2_that_is_answered_at_once_is_asked_ten_times_a_second_at_most() {
    let watches = Arc::new(AtomicUsize::new(0));
    let count = watches.clone();
    let url = serve(move |line, _| {
        if line.contains("wait=true") {
            count.fetch_add(1, Ordering::SeqCst);
        }
        let node = json!({"key": "/ekkacl/ekka/x", "value": "v", "modifiedIndex": 5});
        Reply::Says(200, json!({"action": "set", "node": node}).to_string())
    });
    let own = Own::new(1, &url, &[("cluster.etcd.version", "v2")]).run();
    let seen = || watches.load(Ordering::SeqCst);
    let took = own.wait("eleven watches", async || holds(seen() >= 11, seen())).await;
    assert!(took > Duration::from_millis(900), "{took:?}");
}

#[tokio::test]
async fn a_watch_that_says_nothing_in_many_lines_is_left_for_another() {
    let watches = Arc::new(AtomicUsize::new(0));
    let count = watches.clone();
    let url = serve(move |line, _| {
        if !line.ends_with("/watch") {
            return v3(line);
        }
        count.fetch_add(1, Ordering::SeqCst);
        Reply::Holds("{}\n".repeat(2000))
    });
    let own = Own::new(1, &url, &[]).run();
    own.wait("a second watch", async || holds(watches.load(Ordering::SeqCst) > 1, "one watch")).await;
}

/// The one key of an API v2: its value as the form has it, and how often it was sent.
#[derive(Default)]
struct Store {
    value: Option<String>,
    sent: usize,
}

fn decoded(form: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = form.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        if *first == b'%' {
            let hex = std::str::from_utf8(&rest[..2]).expect("hex");
            bytes.push(u8::from_str_radix(hex, 16).expect("hex"));
            rest = &rest[2..];
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).expect("UTF-8")
}

/// An API v2 whose answers to the second and later writes are lost; `arrives`: the writes themselves are not.
fn forgetful(store: Arc<Mutex<Store>>, arrives: bool) -> String {
    serve(move |line, body| {
        let mut store = store.lock().expect("no panic");
        let refused = |code: u16, number: u32| Reply::Says(code, json!({"errorCode": number}).to_string());
        let node =
            |value: &str| json!({"key": "/ekkacl/ekka/n1@10.0.0.1", "value": decoded(value), "modifiedIndex": 5});
        if line.contains("wait=true") {
            return Reply::Holds(String::new());
        }
        if let Some(value) = body.strip_prefix("value=") {
            store.sent += 1;
            if store.sent == 1 || arrives {
                store.value = Some(value.to_owned());
            }
            return if store.sent == 1 { Reply::Says(201, "{}".to_owned()) } else { Reply::Ends };
        }
        let Some(value) = &store.value else { return refused(404, 100) };
        if !line.starts_with("DELETE") {
            return Reply::Says(200, json!({"node": node(value)}).to_string());
        }
        if line.ends_with("prevIndex=5") || line.ends_with(&format!("prevValue={value}")) {
            store.value = None;
            return Reply::Says(200, "{}".to_owned());
        }
        refused(412, 101)
    })
}

#[tokio::test]
async fn an_entry_of_v2_is_taken_out_also_where_the_answer_to_its_last_write_was_lost() {
    for arrives in [true, false] {
        let store = Arc::new(Mutex::new(Store::default()));
        let url = forgetful(store.clone(), arrives);
        let mut own = Own::new(1, &url, &[("cluster.etcd.version", "v2")]).run();
        let sent = || store.lock().expect("no panic").sent;
        own.wait("it is registered", async || holds(sent() == 1, sent())).await;
        own.register(Some(9));
        own.wait("it is written again", async || holds(sent() > 1, sent())).await;
        own.stop().await;
        assert_eq!(store.lock().expect("no panic").value, None, "arrives: {arrives}");
    }
}

#[tokio::test]
async fn the_entry_of_another_node_of_this_name_stays() {
    let store = Arc::new(Mutex::new(Store::default()));
    let url = forgetful(store.clone(), true);
    let mut own = Own::new(1, &url, &[("cluster.etcd.version", "v2")]).run();
    own.wait("it is registered", async || holds(store.lock().expect("no panic").sent == 1, "not sent")).await;
    own.crash().await;
    let other = store.lock().expect("no panic").value.clone().expect("a value").replace("00000001", "00000002");
    assert_ne!(store.lock().expect("no panic").value.as_ref(), Some(&other));
    store.lock().expect("no panic").value = Some(other.clone());
    own.stop_again().await;
    assert_eq!(store.lock().expect("no panic").value, Some(other));
}

#[tokio::test]
async fn a_password_and_a_token_that_a_server_sends_back_are_not_told() {
    const SECRET: &str = "sesame-27";
    const TOKEN: &str = "token.of-5";
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("password");
    std::fs::write(&file, format!("{SECRET}\n")).expect("a file");
    let who = [("cluster.etcd.username", "ekka"), ("cluster.etcd.password_file", file.to_str().expect("UTF-8"))];
    let answers = [
        (400, "you said {body}".to_owned(), "400"),
        (500, "you said {body}".to_owned(), "500"),
        (200, json!({"password": SECRET}).to_string(), "200"),
        (400, json!({"message": format!("no such password: {SECRET}!")}).to_string(), "password: ***!"),
        (400, json!({"error": format!("authentication failed, {SECRET}")}).to_string(), "does not accept user `ekka`"),
        (200, json!({"token": TOKEN}).to_string(), "unknown: ***"),
    ];
    for (status, answer, words) in answers {
        let url = serve(move |line, body| match line.rsplit('/').next() {
            Some("authenticate") => Reply::Says(status, answer.replace("{body}", body)),
            Some("range") => Reply::Says(400, json!({"message": format!("unknown: {TOKEN}")}).to_string()),
            _ => v3(line),
        });
        let error = Own::new(1, &url, &who).strategy.discover().await.expect_err("no answer");
        println!("{error}");
        assert!(error.contains(words), "{error}");
        assert!(!error.contains(SECRET) && !error.contains(TOKEN), "{error}");
    }
}
