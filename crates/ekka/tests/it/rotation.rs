//! S2-13: a cookie is rotated over running nodes, in the three steps of the handbook.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::{names, start, until};
use ekka::config::{Config, ConfigBuilder};
use ekka::core::view::{LinkState, Status};
use ekka::node::Node;

const OLD: &str = "old-cookie-of-the-rotation-0123456789abc";
const NEW: &str = "new-cookie-of-the-rotation-0123456789abc";

/// Nodes with a data directory and a cookie file each.
struct Two {
    nodes: Vec<Node>,
    names: Vec<String>,
    dirs: Vec<tempfile::TempDir>,
}

fn config(name: &str, seeds: &[String], dir: &Path) -> Config {
    let text = |path: std::path::PathBuf| path.to_str().expect("a path in UTF-8").to_owned();
    let builder = ConfigBuilder::new()
        .set("node.name", name)
        .set("node.cookie_file", text(dir.join("cookie")))
        .set("node.data_dir", text(dir.to_owned()))
        .set("cluster.discovery", "static")
        .set("cluster.static.seeds", seeds.join(","));
    builder.build().unwrap_or_else(|errors| panic!("{errors}"))
}

impl Two {
    async fn formed() -> Self {
        let names = names(2);
        let dirs: Vec<_> = (0..2).map(|_| tempfile::tempdir().expect("a directory")).collect();
        let mut nodes = Vec::new();
        for (name, dir) in names.iter().zip(&dirs) {
            fs::write(dir.path().join("cookie"), OLD).expect("writes");
            nodes.push(start(config(name, &names, dir.path())).await.expect("it starts"));
        }
        let two = Self { nodes, names, dirs };
        two.linked().await;
        two
    }

    /// Until each has the other up, and heard over a link of its own.
    async fn linked(&self) {
        for node in &self.nodes {
            let up = |link: &ekka::core::view::Link| link.state == LinkState::Up;
            until(node, "has both linked", |view| {
                view.members.iter().filter(|member| member.status == Status::Up).count() == 2
                    && view.links.iter().filter(|link| up(link)).count() == 2
            })
            .await;
        }
    }

    async fn step(&self, which: usize, cookies: &[&str]) -> Vec<String> {
        let dir = self.dirs[which].path();
        fs::write(dir.join("cookie"), cookies.join("\n")).expect("writes");
        let report = self.nodes[which].reload(config(&self.names[which], &self.names, dir)).await;
        let report = report.expect("it is taken");
        assert_eq!(report.changed, ["node.cookie"]);
        report.warnings
    }

    /// What a node says that the other signs with.
    async fn other_signs_with(&self, which: usize) -> Option<String> {
        self.nodes[which].signers().await.remove(0).cookie_id
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_13_a_cookie_is_rotated_without_a_restart() {
    let two = Two::formed().await;
    let mut events: Vec<_> = two.nodes.iter().map(Node::events).collect();
    let old = two.nodes[0].cookie_ids().remove(0);
    for which in 0..2 {
        assert!(two.step(which, &[OLD, NEW]).await.is_empty());
    }
    let new = two.nodes[0].cookie_ids().remove(1);
    assert_eq!(two.other_signs_with(0).await.as_ref(), Some(&old));
    // The links still stand on the old cookie; what is told is what the other signs with now.
    assert!(two.step(1, &[NEW, OLD]).await.is_empty());
    assert_eq!(two.other_signs_with(0).await.as_ref(), Some(&new));
    assert_eq!(two.other_signs_with(1).await.as_ref(), Some(&old));
    assert!(two.step(0, &[NEW, OLD]).await.is_empty());
    for which in 0..2 {
        assert_eq!(two.step(which, &[NEW]).await, Vec::<String>::new(), "nobody signs with the old one");
    }
    let begun = Instant::now();
    two.linked().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "closed links are redialled: {:?}", begun.elapsed());
    assert_eq!(two.other_signs_with(0).await.as_ref(), Some(&new));
    for events in &mut events {
        while let Ok(event) = events.try_recv() {
            assert_ne!(event.event.kind.type_name(), "member.down", "{:?}", event.event.kind);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_13_a_cookie_that_a_member_signs_with_is_taken_out_with_a_warning() {
    let two = Two::formed().await;
    let old = two.nodes[0].cookie_ids().remove(0);
    for which in 0..2 {
        two.step(which, &[OLD, NEW]).await;
    }
    let warnings = two.step(0, &[NEW]).await;
    let [warning] = warnings.as_slice() else { panic!("one is left behind: {warnings:?}") };
    assert!(warning.contains(&two.names[1]) && warning.contains(&old), "{warning}");
    assert!(warning.contains("ekka reload"), "{warning}");
    until(&two.nodes[0], "has lost it", |view| {
        view.members.iter().filter(|member| member.status == Status::Up).count() == 1
    })
    .await;
    assert_eq!(two.other_signs_with(0).await, None, "nothing is known of who is not linked");
    assert!(two.step(1, &[NEW]).await.is_empty(), "the first signs with the new one");
    two.linked().await;
}
