//! What may not stand in the code: impurity in the core, leftovers, prints, sleeps, names of machines.

use crate::tidy::source::{Tree, code, code_of_tests, code_outside_tests, is_word, line_of, words};

/// The rules themselves name what they refuse.
const RULES: &str = "crates/ekka-sim/tests/it/tidy/";

/// Where tests wait by the clock, and why once: a poll of real processes or sockets, or a fault that is waiting itself.
const SLEEPERS: [(&str, &str); 8] = [
    ("crates/ekka/tests/it/admin/sockets.rs", "polls for a file of another task, within a limit"),
    ("crates/ekka/tests/transport_storm.rs", "polls a counter, within a limit"),
    ("crates/ekka/tests/it/transport_strangers.rs", "polls counters; a stranger that drips has to take its time"),
    ("crates/ekka/tests/it/storage_process.rs", "polls the counter of what the process reads, within a limit"),
    (POLL, "the poll of real processes"),
    ("crates/ekka/tests/it/transport_common/mod.rs", "the poll of counters of real sockets"),
    ("crates/ekka/src/table/disc/tests/life.rs", "its tests pause the time of the runtime"),
    ("crates/ekka/tests/it/three_nodes.rs", "blocking the application's runtime is the fault"),
];

const POLL: &str = "crates/ekka-cli/tests/it/support/poll.rs";

/// Complaints about what would make the core impure.
pub(crate) fn core(tree: &Tree) -> Vec<String> {
    const BANNED: [(&str, &str); 8] = [
        ("HashMap", "its order differs from run to run: BTreeMap"),
        ("HashSet", "its order differs from run to run: BTreeSet"),
        ("std::", "the core is no_std: core:: or alloc::"),
        ("SystemTime", "time comes in with each input"),
        ("async", "rooms are functions; the shell awaits"),
        (".await", "rooms are functions; the shell awaits"),
        ("tokio", "the core knows no runtime"),
        ("tracing", "the core gives events, the shell logs"),
    ];
    let sources = tree.rust().filter(|(path, _)| path.starts_with("crates/ekka-core/src/"));
    sources.flat_map(|(path, text)| find(path, &code_outside_tests(path, text), &BANNED)).collect()
}

/// Complaints about unfinished work.
pub(crate) fn leftovers(tree: &Tree) -> Vec<String> {
    const IN_CODE: [(&str, &str); 3] = [
        ("todo!", "finish it"),
        ("dbg!", "take it out"),
        ("#[ignore", "a test runs, or is chosen by `cargo xtask soak`"),
    ];
    const ANYWHERE: [(&str, &str); 2] =
        [("FIXME", "finish it, or write an issue"), ("XXX", "finish it, or write an issue")];
    let mut complaints = Vec::new();
    for (path, text) in tree.rust().filter(|(path, _)| !path.starts_with(RULES)) {
        complaints.extend(find(path, &code(text), &IN_CODE));
        complaints.extend(find(path, text, &ANYWHERE));
        for at in words(text, "TODO") {
            if !text[at..].starts_with("TODO(#") {
                complaints
                    .push(format!("{path}:{}: TODO without the number of an issue: TODO(#12)", line_of(text, at)));
            }
        }
    }
    complaints
}

/// Complaints about libraries that print.
pub(crate) fn printing(tree: &Tree) -> Vec<String> {
    const BANNED: [(&str, &str); 4] = [
        ("println!", "libraries do not print: return it, or tracing"),
        ("eprintln!", "libraries do not print: return it, or tracing"),
        ("print!", "libraries do not print: return it, or tracing"),
        ("eprint!", "libraries do not print: return it, or tracing"),
    ];
    let libraries = tree.rust().filter(|(path, _)| {
        ["crates/ekka/src/", "crates/ekka-core/src/", "crates/ekka-sim/src/"].iter().any(|lib| path.starts_with(lib))
            && !path.contains("/bin/")
            && !path.ends_with("/main.rs")
    });
    libraries.flat_map(|(path, text)| find(path, &code_outside_tests(path, text), &BANNED)).collect()
}

/// Complaints about tests that wait by the clock. Simulated time (turmoil, a paused runtime) is no waiting.
pub(crate) fn sleeps(tree: &Tree) -> Vec<String> {
    const THREAD: [(&str, &str); 1] = [("thread::sleep", "wait for a condition with the poll of the test support")];
    const RUNTIME: [(&str, &str); 1] = [("time::sleep", "wait for a condition, or pause the time of the runtime")];
    let mut complaints = Vec::new();
    for (path, text) in tree
        .rust()
        .filter(|(path, _)| !SLEEPERS.iter().any(|(known, _)| known == path) && !path.starts_with("crates/ekka-sim/"))
    {
        let code = code_of_tests(path, text);
        complaints.extend(find(path, &code, &THREAD));
        if !code.contains("start_paused") && !code.contains("time::pause") {
            complaints.extend(find(path, &code, &RUNTIME));
        }
    }
    complaints
}

/// Complaints about paths and hosts that exist on one machine only.
pub(crate) fn places(tree: &Tree) -> Vec<String> {
    const BANNED: [&str; 7] = [
        // In two pieces each, so that this file does not name them itself.
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("index.", "crates.io"),
        concat!("static.", "crates.io"),
        concat!("arti", "factory"),
        concat!("pypi", ".org"),
        concat!("proxy.", "golang.org"),
    ];
    let mut complaints = Vec::new();
    // The lock file names the public index for every package.
    let files = tree.all().filter(|(path, _)| !path.starts_with(RULES) && *path != "Cargo.lock");
    for (path, text) in files {
        for place in BANNED {
            for (at, _) in text.match_indices(place) {
                // After a word it is a part of another path.
                if place.starts_with('/') && at > 0 && is_word(text.as_bytes()[at - 1]) {
                    continue;
                }
                complaints.push(format!("{path}:{}: names `{place}`", line_of(text, at)));
            }
        }
    }
    complaints
}

fn find(path: &str, text: &str, banned: &[(&str, &str)]) -> Vec<String> {
    let hits = banned.iter().flat_map(|(word, advice)| words(text, word).map(move |at| (at, *word, *advice)));
    hits.map(|(at, word, advice)| format!("{path}:{}: `{word}`: {advice}", line_of(text, at))).collect()
}

#[cfg(test)]
fn count(rule: fn(&Tree) -> Vec<String>, path: &str, text: &str) -> usize {
    rule(&Tree::of(&[(path, text)])).len()
}

#[test]
fn impurity_is_seen() {
    let path = "crates/ekka-core/src/x.rs";
    assert_eq!(count(core, path, "use std::collections::HashMap;"), 2);
    assert_eq!(count(core, path, "async fn f() { g().await }"), 2);
    assert_eq!(count(core, path, "use alloc::collections::BTreeMap; // no HashMap"), 0);
    assert_eq!(count(core, path, "#[cfg(test)]\nmod tests { extern crate std; use std::fs; }"), 0);
    assert_eq!(count(core, "crates/ekka/src/x.rs", "async fn f() {}"), 0);
}

#[test]
fn leftovers_are_seen() {
    let path = "crates/ekka/src/x.rs";
    assert_eq!(count(leftovers, path, "fn f() { todo!() } // FIXME\n"), 2);
    assert_eq!(count(leftovers, path, "#[ignore]\nfn f() { dbg!(1); }"), 2);
    assert_eq!(count(leftovers, path, "// TODO later\n// TODO(#7): then"), 1);
    assert_eq!(count(leftovers, path, "// todo! is a macro\nlet template = \"XXXXXX\";"), 0);
    assert_eq!(count(printing, path, "fn f() { println!(\"x\"); eprintln!(\"y\"); }"), 2);
    assert_eq!(count(printing, "crates/ekka-sim/src/bin/ekka-sim.rs", "fn f() { println!(\"x\"); }"), 0);
}

#[test]
fn sleeping_tests_are_seen() {
    let sleep = "fn t() { std::thread::sleep(D); }";
    assert_eq!(count(sleeps, "crates/ekka-cli/tests/it/net_x.rs", sleep), 1);
    assert_eq!(count(sleeps, POLL, sleep), 0);
    assert_eq!(count(sleeps, "crates/ekka/src/x.rs", sleep), 0, "no test");
    assert_eq!(count(sleeps, "crates/ekka/src/x.rs", &format!("#[cfg(test)]\nmod tests {{ {sleep} }}")), 1);
    let tokio = "async fn t() { tokio::time::sleep(D).await; }";
    assert_eq!(count(sleeps, "crates/ekka/tests/it/x.rs", tokio), 1);
    assert_eq!(count(sleeps, "crates/ekka/tests/it/x.rs", &format!("#[tokio::test(start_paused = true)]\n{tokio}")), 0);
}

#[test]
fn places_are_seen() {
    assert_eq!(count(places, "README.md", concat!("cd /wo", "rk/x; curl https://index.", "crates.io")), 2);
    assert_eq!(count(places, "README.md", concat!("a net/wo", "rk/load")), 0);
}
