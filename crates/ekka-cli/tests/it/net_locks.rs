//! `ekka lock` over real agents: a lock lives as long as the command that it was taken for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Cluster, Figures};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

const FORM_LIMIT: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_secs(20);

fn formed() -> Cluster {
    let mut cluster = Cluster::on_loopback(3);
    cluster.form(FORM_LIMIT);
    cluster.wait("all are ready", FORM_LIMIT, |cluster| {
        (0..3).try_for_each(|index| {
            let status = cluster.agents[index].json(&["status"])?;
            if status["ready"] == true { Ok(()) } else { Err(status["reason"].to_string()) }
        })
    });
    cluster
}

/// A script that writes its token and its process id into a file, and then goes on for as long as it is let.
fn holder(cluster: &Cluster, index: usize, words: &[&str], file: &Path) -> Child {
    let script = format!("echo $EKKA_FENCING_TOKEN $$ > {}; exec sleep 300", file.display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_ekka"));
    command.args(["--data-dir"]).arg(cluster.agents[index].data()).args(["lock", "run"]).args(words);
    command.args(["--", "sh", "-c", &script]).stdin(Stdio::null());
    command.spawn().expect("ekka starts")
}

/// The token and the process of a script that has begun.
fn begun(cluster: &Cluster, file: &Path) -> (u64, Pid) {
    cluster.wait("the command runs", SOON, |_| {
        let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
        let mut words = text.split_whitespace();
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok()).ok_or_else(|| text.clone());
        let (token, pid) = (number()?, number()?);
        Ok((token, Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("not 0")))
    })
}

fn files<const N: usize>() -> (tempfile::TempDir, [PathBuf; N]) {
    let dir = tempfile::tempdir().expect("a directory");
    let files = std::array::from_fn(|index| dir.path().join(format!("holder-{index}")));
    (dir, files)
}

fn locks(cluster: &Cluster, index: usize) -> Vec<Value> {
    let answer = cluster.agents[index].json(&["lock", "list"]).expect("a majority");
    answer.as_array().cloned().unwrap_or_default()
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("not 0")
}

/// USERS 33: a client that is killed while its agent lives frees the lock at once, and its command ends with it.
#[test]
fn a_client_that_is_killed_frees_its_lock_and_takes_its_command_with_it() {
    let mut freed = Figures::new("kill -9 of a client until the next one holds its lock", Duration::from_secs(1));
    let cluster = formed();
    for _ in 0..3 {
        let (_dir, [first, second]) = files();
        let mut one = holder(&cluster, 0, &["job"], &first);
        let (token, command) = begun(&cluster, &first);
        let mut other = holder(&cluster, 1, &["job", "--wait", "1m"], &second);
        cluster.wait("it waits", SOON, |cluster| {
            let rows = locks(cluster, 2);
            let waits = rows.iter().any(|row| row["name"] == "job" && row["waiters"] == 1);
            if waits { Ok(()) } else { Err(format!("{rows:?}")) }
        });
        assert!(!second.exists(), "two hold it");
        let start = Instant::now();
        one.kill().expect("it runs");
        let (next, _) = begun(&cluster, &second);
        freed.add(start.elapsed());
        assert!(next > token, "{next} after {token}");
        cluster.wait("the command has ended", SOON, |_| {
            if test_kill_process(command).is_err() { Ok(()) } else { Err("it runs".into()) }
        });
        one.wait().expect("it has ended");
        kill_process(pid(&other), Signal::TERM).expect("it runs");
        assert_eq!(other.wait().expect("it ends").code(), Some(143), "the command's own end");
        cluster.wait("nobody holds it", SOON, |cluster| {
            let rows = locks(cluster, 2);
            if rows.is_empty() { Ok(()) } else { Err(format!("{rows:?}")) }
        });
    }
    freed.assert_each();
}

/// USERS 36; an agent that dies proves nothing about its clients: the command ends before the lock passes on.
#[test]
fn a_command_whose_agent_dies_has_ended_before_the_lock_passes_on() {
    let mut cluster = formed();
    let (_dir, [first, second]) = files();
    let mut one = holder(&cluster, 0, &["job", "--ttl", "6s"], &first);
    let (token, command) = begun(&cluster, &first);
    let mut other = holder(&cluster, 1, &["job", "--ttl", "6s"], &second);
    cluster.agents[0].kill();
    let start = Instant::now();
    let status = one.wait().expect("it ends");
    let ended = start.elapsed();
    assert!(!status.success() && test_kill_process(command).is_err(), "{status}");
    assert!(!second.exists(), "the next one holds it while the command runs");
    let (next, _) = begun(&cluster, &second);
    println!("the command ended {ended:.1?} after its agent, the next one held the lock after {:.1?}", start.elapsed());
    assert!(next > token, "{next} after {token}");
    kill_process(pid(&other), Signal::TERM).expect("it runs");
    other.wait().expect("it ends");
}

#[test]
fn a_lock_is_not_had_is_taken_away_and_words_are_wrong_with_their_codes() {
    let cluster = formed();
    let (_dir, [file]) = files();
    let mut one = holder(&cluster, 0, &["job"], &file);
    let (_, command) = begun(&cluster, &file);
    let ekka = |words: &[&str]| cluster.agents[1].ekka(words);
    let code = |words: &[&str]| ekka(words).status.code();
    assert_eq!(code(&["lock", "run", "job", "--wait", "0s", "--", "true"]), Some(4), "held by another one");
    assert_eq!(code(&["lock", "run", "job", "--wait", "300ms", "--", "true"]), Some(5));
    assert_eq!(code(&["lock", "run", "job", "--wait", "0s", "--conflict-exit-code", "77", "--", "true"]), Some(77));
    for words in [
        &["lock", "run", "", "--", "true"][..],
        &["lock", "run", "x", "--ttl", "0s", "--", "true"],
        &["lock", "run", "x", "--ttl", "1year", "--", "true"],
        &["lock", "run", "x"],
        &["lock", "run", "x", "--permits", "0", "--", "true"],
    ] {
        let output = ekka(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let long = "n".repeat(300);
    let output = ekka(&["lock", "run", &long, "--", "true"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("300 bytes"), "{output:?}");
    // The command's own end is the end of this one.
    assert_eq!(code(&["lock", "run", "other", "--", "sh", "-c", "exit 9"]), Some(9));
    assert_eq!(code(&["lock", "run", "other", "--", "sh", "-c", "kill -KILL $$"]), Some(137));
    assert_eq!(code(&["lock", "run", "other", "--", "/nonexistent"]), Some(127));
    assert_eq!(code(&["lock", "force-release", "nobody"]), Some(4));
    assert_eq!(code(&["lock", "force-release", "job"]), Some(0));
    let status = one.wait().expect("it ends");
    assert!(!status.success() && test_kill_process(command).is_err(), "{status}");
    assert_eq!(code(&["lock", "run", "job", "--", "true"]), Some(0));
}
