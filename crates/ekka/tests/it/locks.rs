//! Quorum locks of real nodes in one process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::support::{config, names, start, until};
use ekka::core::view::Status;
use ekka::lock::{Guard, LockError};
use ekka::node::Node;
use tokio::time::{Instant, sleep, timeout};

const SOON: Duration = Duration::from_secs(20);

struct Several {
    nodes: Vec<Node>,
    names: Vec<String>,
    dirs: Vec<tempfile::TempDir>,
}

impl Several {
    async fn ready(count: usize) -> Self {
        let names = names(count);
        let dirs: Vec<_> = (0..count).map(|_| tempfile::tempdir().expect("a directory")).collect();
        let mut nodes = Self { nodes: Vec::new(), names, dirs };
        for index in 0..count {
            let node = nodes.begin(index).await;
            nodes.nodes.push(node);
        }
        for node in &nodes.nodes {
            up(node, count).await;
        }
        nodes
    }

    async fn begin(&self, index: usize) -> Node {
        start(config(&self.names[index], &self.names, self.dirs[index].path())).await.expect("the node starts")
    }
}

async fn up(node: &Node, count: usize) {
    let what = format!("{} sees {count} up and is ready", node.view().name);
    until(node, &what, |view| {
        view.ready_quorum && view.members.iter().filter(|m| m.status == Status::Up).count() == count
    })
    .await;
}

async fn waiters(node: &Node, name: &str) -> u64 {
    let rows = node.lock_list().await.expect("a majority");
    rows.iter().find(|row| row.name.as_str() == name).map_or(0, |row| row.waiters)
}

async fn take(node: &Node, name: &str) -> Guard {
    let acquire = node.lock(name).expect("a name").acquire().wait(SOON);
    acquire.await.unwrap_or_else(|error| panic!("{}: {error}", node.view().name))
}

/// USERS 33 and 36: whoever comes later has the higher token, whichever node it is on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_at_a_time_holds_it_and_tokens_grow() {
    let three = Several::ready(3).await;
    let (inside, last, granted) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)), 20);
    let mut tasks = Vec::new();
    for node in &three.nodes {
        let (node, inside, last) = (node.clone(), inside.clone(), last.clone());
        tasks.push(tokio::spawn(async move {
            for _ in 0..granted {
                let guard = take(&node, "counter").await;
                guard.check().expect("it is held");
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "somebody else is inside");
                let before = last.swap(guard.token(), Ordering::SeqCst);
                assert!(before < guard.token(), "{} after {before}", guard.token());
                tokio::task::yield_now().await;
                assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1);
                guard.release().await.expect("released");
            }
        }));
    }
    let begin = Instant::now();
    for task in tasks {
        task.await.expect("no panic");
    }
    println!("{} grants on three nodes: {:?}", 3 * granted, begin.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_is_let_in_by_a_release_a_drop_and_in_order() {
    let three = Several::ready(3).await;
    let (one, other) = (&three.nodes[0], &three.nodes[1]);
    let held = take(one, "a").await;
    let busy = other.lock("a").expect("a name").try_acquire().await;
    assert!(
        matches!(&busy, Err(LockError::Held { holder: Some(holder), .. }) if *holder == three.names[0]),
        "{:?}",
        busy.err()
    );
    let begin = Instant::now();
    let late = other.lock("a").expect("a name").acquire().wait(Duration::from_millis(300)).await;
    assert!(matches!(late, Err(LockError::TimedOut { .. })), "{:?}", late.err());
    assert!(begin.elapsed() < Duration::from_secs(5));
    // Whoever gave up is not let in.
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut waiting = Vec::new();
    for number in 0..4 {
        let (node, told) = (three.nodes[number % 3].clone(), order.clone());
        waiting.push(tokio::spawn(async move {
            let guard = take(&node, "a").await;
            told.lock().expect("no panic").push(number);
            drop(guard);
        }));
        // So that they come in this order.
        let queued = async {
            while waiters(one, "a").await != number as u64 + 1 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, queued).await.expect("it waits");
    }
    held.release().await.expect("released");
    for task in waiting {
        timeout(SOON, task).await.expect("let in").expect("no panic");
    }
    assert_eq!(*order.lock().expect("no panic"), [0, 1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_shared_is_and_what_is_counted_has_its_number() {
    let three = Several::ready(3).await;
    let shared = |node: &Node| node.lock("doc").expect("a name").shared().try_acquire();
    let (one, two) = (shared(&three.nodes[0]).await.expect("shared"), shared(&three.nodes[1]).await.expect("shared"));
    assert!(three.nodes[2].lock("doc").expect("a name").try_acquire().await.is_err());
    drop((one, two));
    drop(take(&three.nodes[2], "doc").await);
    let permit = |node: &Node| node.lock("pool").expect("a name").permits(2).try_acquire();
    let (first, second) = (permit(&three.nodes[0]).await, permit(&three.nodes[0]).await);
    assert!(first.is_ok() && second.is_ok() && permit(&three.nodes[1]).await.is_err());
    // Several at once: all of them or none.
    let pair = three.nodes[0].locks(["x", "y"]).expect("names").acquire().wait(SOON).await.expect("both");
    assert_eq!(pair.held().len(), 2);
    assert!(three.nodes[1].locks(["y", "z"]).expect("names").try_acquire().await.is_err());
    drop(take(&three.nodes[1], "z").await);
    let bad = three.nodes[0].locks(["x", "x"]).expect("names").acquire().await;
    assert!(matches!(bad, Err(LockError::Refused(_))), "{:?}", bad.err());
    assert!(three.nodes[0].lock("").is_err() && three.nodes[0].lock(&"n".repeat(256)).is_err());
    for ttl in [Duration::ZERO, Duration::from_secs(86_400 * 365)] {
        let bad = three.nodes[0].lock("x").expect("a name").ttl(ttl).acquire().await;
        assert!(matches!(bad, Err(LockError::Bad(_))), "{:?}", bad.err());
    }
    // The same owner comes in again.
    let again = || three.nodes[0].lock("mine").expect("a name").owner(7).try_acquire();
    let (outer, inner) = (again().await.expect("held"), again().await.expect("held again"));
    assert_eq!(outer.token(), inner.token());
    drop(outer);
    assert!(three.nodes[1].lock("mine").expect("a name").try_acquire().await.is_err());
    drop(inner);
    drop(take(&three.nodes[1], "mine").await);
}

/// USERS 33: what a process held is free once its node has started again, and before that when its time is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_of_a_node_that_stopped_is_lost_and_passes_on() {
    let three = Several::ready(3).await;
    let lock = three.nodes[2].lock("job").expect("a name").ttl(Duration::from_secs(2));
    let guard = lock.acquire().wait(SOON).await.expect("held");
    let token = guard.token();
    let waiter = {
        let node = three.nodes[0].clone();
        tokio::spawn(async move { take(&node, "job").await })
    };
    // It is renewed for longer than its time-to-live.
    assert!(timeout(Duration::from_secs(5), guard.lost()).await.is_err(), "it goes on");
    guard.check().expect("it is held");
    assert!(!waiter.is_finished());
    three.nodes[2].stop(SOON).await.expect("it stops");
    timeout(SOON, guard.lost()).await.expect("its holder is told");
    assert!(matches!(guard.check(), Err(LockError::Lost(_))));
    assert!(matches!(guard.run(std::future::pending::<()>()).await, Err(LockError::Lost(_))));
    let next = timeout(SOON, waiter).await.expect("it passes on").expect("no panic");
    assert!(next.token() > token, "{} after {token}", next.token());
}

/// A node beyond the voters has no replica: its locks go by a voter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_vote_holds_and_waits_as_others_do() {
    let four = Several::ready(4).await;
    until(&four.nodes[0], "three vote", |view| view.volatile.voters.len() == 3).await;
    let voters = four.nodes[0].view().volatile.voters.clone();
    let votes = |node: &&Node| voters.contains(&node.view().me.node_id);
    let (beyond, voter) =
        (four.nodes.iter().find(|node| !votes(node)), four.nodes.iter().find(votes).expect("a voter"));
    let beyond = beyond.expect("of four three vote");
    let guard = take(beyond, "far").await;
    let waiter = {
        let node = voter.clone();
        tokio::spawn(async move { take(&node, "far").await })
    };
    sleep(Duration::from_millis(100)).await;
    guard.release().await.expect("released");
    let held = timeout(SOON, waiter).await.expect("let in").expect("no panic");
    let waiter = {
        let node = beyond.clone();
        tokio::spawn(async move { take(&node, "far").await })
    };
    sleep(Duration::from_millis(100)).await;
    let begin = Instant::now();
    drop(held);
    drop(timeout(SOON, waiter).await.expect("let in").expect("no panic"));
    println!("a node without a vote was let in {:?} after the release", begin.elapsed());
}
