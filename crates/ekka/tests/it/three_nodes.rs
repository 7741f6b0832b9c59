//! Three real nodes of one process: they form, lose one, and take it back.

use std::time::Duration;

use crate::support::{config, names, start, until};
use ekka::core::view::Status;
use ekka::node::Node;
use ekka::table::{Available, TableDef};

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
async fn a_node_that_is_up_has_all_rows_and_tables_are_waited_for_by_their_names() {
    const USERS: TableDef<String, u64, Available> = TableDef::available("users");
    let Three { mut nodes, names, dirs } = three().await;
    let table = nodes[0].table(&USERS).await.expect("it is made");
    for number in 0..500 {
        table.put(&format!("k{number}"), &number).await.expect("it is written");
    }
    let limit = Duration::from_secs(10);
    nodes[1].wait_for_tables(&["users"], limit).await.expect("it is there");
    let missing = nodes[1].wait_for_tables(&["users", "nobody"], Duration::from_millis(200)).await.unwrap_err();
    assert_eq!(missing.tables, [("nobody".to_owned(), "there is no table of this name".to_owned())]);
    assert_eq!(missing.to_string(), "table nobody: there is no table of this name");
    nodes.remove(2).stop(limit).await.expect("it stops");
    let again = start(config(&names[2], &names, dirs[2].path())).await.expect("it starts again");
    until(&again, "is up again", |view| view.status == Status::Up).await;
    let info = again.tables().info("users").expect("it is open");
    assert!(info.loaded && info.rows == 500, "a node that is up has all rows: {info:?}");
    again.wait_for_tables(&["users"], Duration::ZERO).await.expect("it is loaded");
    assert_eq!(nodes[0].tables().only_here().await, Vec::<String>::new());
    again.stop(limit).await.expect("it stops");
    let late = nodes.remove(0);
    let stopped = late.clone();
    late.stop(limit).await.expect("it stops");
    assert!(stopped.wait_for_tables(&["users"], limit).await.unwrap_err().stopping);
    let alone = nodes[0].tables().only_here().await;
    assert_eq!(alone, ["no other node has table users: none is up"]);
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
