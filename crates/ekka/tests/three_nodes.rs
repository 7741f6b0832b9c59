//! Three real nodes of one process: they form, lose one, and take it back.

mod support;

use std::time::Duration;

use ekka::core::view::Status;
use ekka::node::Node;
use support::{config, names, start, until};

struct Three {
    nodes: Vec<Node>,
    names: Vec<String>,
    dirs: Vec<tempfile::TempDir>,
}

async fn three() -> Three {
    let names = names(3);
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a directory")).collect();
    let mut nodes = Vec::new();
    for (name, dir) in names.iter().zip(&dirs) {
        nodes.push(start(config(name, &names, dir.path())).await.expect("the node starts"));
    }
    for node in &nodes {
        let what = format!("{} sees three up", node.view().name);
        until(node, &what, |view| view.members.iter().filter(|m| m.status == Status::Up).count() == 3).await;
    }
    Three { nodes, names, dirs }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_form_one_cluster_and_take_one_back() {
    let Three { mut nodes, names, dirs } = three().await;
    let id = nodes[0].view().cluster_id;
    assert!(id.is_some());
    assert!(nodes.iter().all(|node| node.view().cluster_id == id), "one cluster id");

    let stopped = nodes.remove(2);
    let gone = stopped.identity().node_id;
    let guid = stopped.identity().guid;
    stopped.stop(Duration::from_secs(10)).await.expect("it stops");
    for node in &nodes {
        until(node, "sees it stopped", |view| view.member(gone).is_some_and(|m| m.status == Status::Stopped)).await;
    }
    let again = start(config(&names[2], &names, dirs[2].path())).await.expect("it starts again");
    until(&again, "is up again", |view| view.status == Status::Up && view.cluster_id == id).await;
    for node in &nodes {
        until(node, "sees it up", |view| view.member(gone).is_some_and(|m| m.status == Status::Up && m.id.guid > guid))
            .await;
        assert_eq!(node.view().members.len(), 3, "one row for each node");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_blocks_every_thread_of_the_application_downs_nobody() {
    let Three { nodes, .. } = three().await;
    let mut events: Vec<_> = nodes.iter().map(Node::events).collect();
    // Both workers and the test's own thread block, as a careless application does.
    let workers: Vec<_> = (0..2).map(|_| tokio::spawn(async { block_for(Duration::from_secs(10)) })).collect();
    block_for(Duration::from_secs(10));
    for worker in workers {
        worker.await.expect("it only blocked");
    }
    for (node, events) in nodes.iter().zip(&mut events) {
        // The threads of the nodes went on all the time: nothing is left to be caught up with.
        assert!(node.last_step() < Duration::from_secs(2), "{:?}", node.last_step());
        while let Ok(event) = events.try_recv() {
            let kind = event.event.kind.type_name();
            let calm = !["member.down", "node.paused", "node.not_ready", "partition.suspected"].contains(&kind);
            assert!(calm, "{:?}", event.event.kind);
        }
    }
    assert!(nodes.iter().all(|n| n.view().members.iter().all(|m| m.status == Status::Up)), "all are up");
}

/// Blocks the thread: what is tested here.
fn block_for(time: Duration) {
    std::thread::sleep(time);
}
