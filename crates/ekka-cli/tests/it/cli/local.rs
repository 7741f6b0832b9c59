//! Commands that need no agent.

use serde_json::Value;
use tempfile::TempDir;

use super::run;

const COOKIE: &str = "0123456789abcdef0123456789abcdef0123456789a";

#[tokio::test]
async fn keygen_prints_a_cookie_of_43_characters_and_never_twice_the_same() {
    let dir = TempDir::new().expect("a directory");
    let (one, two) = (run(dir.path(), "keygen").await, run(dir.path(), "keygen").await);
    assert_eq!((one.code, one.out.trim_end().len()), (Some(0), 43));
    assert_ne!(one.out, two.out);
}

#[tokio::test]
async fn pages_are_made_from_the_command_line_itself() {
    let dir = TempDir::new().expect("a directory");
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(dir.path(), &format!("completions {shell}")).await;
        assert!(ran.code == Some(0) && ran.out.contains("force-leave"), "{shell}");
    }
    let man = run(dir.path(), "man").await;
    assert!(
        man.out.contains(".TH ekka 1") && man.out.contains("EKKA FORCE\\-LEAVE")
            || man.out.contains("EKKA FORCE-LEAVE")
    );
}

#[tokio::test]
async fn wrong_words_and_later_commands_are_exit_2() {
    let dir = TempDir::new().expect("a directory");
    let near = run(dir.path(), "membrs").await;
    assert!(near.code == Some(2) && near.err.contains("members"), "{near:?}");
    let later = run(dir.path(), "top --json").await;
    let error: Value = serde_json::from_str(&later.err).expect("an error as JSON");
    assert_eq!((later.code, error["error"]["code"].as_str()), (Some(2), Some("not_there_yet")));
    let help = run(dir.path(), "--help").await;
    assert!(help.code == Some(0) && help.out.contains("(not there yet)"), "{help:?}");
    let misplaced = run(dir.path(), "check -n ekka1").await;
    assert!(misplaced.code == Some(2) && misplaced.err.contains("--name"), "{misplaced:?}");
}

#[tokio::test]
async fn check_gives_every_value_with_its_source_and_what_it_means() {
    let dir = TempDir::new().expect("a directory");
    std::fs::write(dir.path().join("cookie"), COOKIE).expect("writes");
    let conf = "node.name = ekka@10.0.0.1\nnode.cookie_file = cookie\ncluster.discovery = static\n\
                cluster.static.seeds = ekka@10.0.0.1, ekka@10.0.0.2, ekka@10.0.0.3\n";
    std::fs::write(dir.path().join("e.conf"), conf).expect("writes");
    let human = run(dir.path(), "check -c e.conf --set cluster.name=shop").await;
    for part in [
        "e.conf:1",
        "--set",
        "ok: ekka@10.0.0.1, cluster \"shop\", cookie ",
        "must reach 10.0.0.2:4370",
        "2 of 3 seeds",
    ] {
        assert!(human.out.contains(part), "`{part}` is not in {human:?}");
    }
    assert!(!human.out.contains(COOKIE), "secrets are not shown");
    let json = run(dir.path(), "check -c e.conf --json").await;
    let value: Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!((value["ok"].as_bool(), value["node"].as_str()), (Some(true), Some("ekka@10.0.0.1")));
    let wrong = run(dir.path(), "check -c e.conf --set cluster.nam=x").await;
    assert!(wrong.code == Some(2) && wrong.err.contains("cluster.name"), "{wrong:?}");
}

#[tokio::test]
async fn discover_looks_at_each_seed_and_changes_nothing() {
    let dir = TempDir::new().expect("a directory");
    std::fs::write(dir.path().join("cookie"), COOKIE).expect("writes");
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|held| held.local_addr()).expect("a free port");
    let seeds = format!("ekka1@127.0.0.1,ekka2@127.0.0.1:{}", free.port());
    let line = format!(
        "discover --json --name ekka1@127.0.0.1 --set node.cookie_file=cookie --set cluster.discovery=static --set cluster.static.seeds={seeds}"
    );
    let ran = run(dir.path(), &line).await;
    let value: Value = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    let results: Vec<_> = value["candidates"].as_array().into_iter().flatten().map(|c| c["result"].clone()).collect();
    assert_eq!((ran.code, results), (Some(0), vec!["self".into(), "unreachable".into()]));
    assert!(!dir.path().join("data").exists(), "the data directory is not made");
}
