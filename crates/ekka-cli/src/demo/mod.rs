//! `demo`: three real nodes on loopback form a cluster, share a table, lose one to `kill -9` in the middle of writes, lose
//! no write that was acknowledged, take the node back, are cut in two under writes, and heal.
//!
//! Every claim that is printed was read from the nodes themselves; what does not come true in time ends the demo with
//! exit 1. The nodes are processes of this same program. They end with the demo: each is killed when its handle is
//! dropped, and stops by itself when its standard input closes, should the demo itself be killed.

mod node;
mod rows;
mod split;
mod story;

use std::path::{Path, PathBuf};
use std::time::Duration;

use ekka::transport::CookieSet;

use serde_json::json;

pub(crate) use self::node::{DemoNode, names};
use self::story::{Figures, Story};
use crate::commands::block_on;
use crate::exit::{Code, Failure};
use crate::out;

/// The demo ends by itself within this time, whatever happens.
const WHOLE: Duration = Duration::from_secs(60);

/// Runs the demo.
pub(crate) fn run(json: bool) -> Result<(), Failure> {
    let scratch = Scratch::make()?;
    let figures = block_on(async {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        let interrupted = || Err(Failure::new(Code::Failed, "interrupted", "interrupted: the nodes were ended"));
        tokio::select! {
            told = tokio::time::timeout(WHOLE, Story::new(&scratch, json).tell()) => told.unwrap_or_else(|_| {
                let text = format!("the demo did not end within {} s", WHOLE.as_secs());
                Err(Failure::new(Code::TimedOut, "timed_out", text))
            }),
            _ = tokio::signal::ctrl_c() => interrupted(),
            _ = terminate.recv() => interrupted(),
        }
    })?;
    if json {
        out::print(&format!("{}\n", as_json(&figures)))?;
    } else if figures.lost + figures.partition.lost == 0 {
        out::print(&summary(&figures))?;
    }
    verdict(&figures)
}

/// A write that was acknowledged and is missing fails the demo.
fn verdict(figures: &Figures) -> Result<(), Failure> {
    let writes = figures.writes + figures.partition.majority + figures.partition.minority;
    match figures.lost + figures.partition.lost {
        0 => Ok(()),
        lost => {
            let text = format!("{lost} of {writes} acknowledged writes were lost");
            Err(Failure::new(Code::Failed, "writes_lost", text))
        }
    }
}

fn as_json(figures: &Figures) -> serde_json::Value {
    json!({
        "ok": figures.lost + figures.partition.lost == 0,
        "nodes": figures.nodes,
        "cluster_id": figures.cluster_id,
        "form_s": seconds(figures.form),
        "notice_kill_s": seconds(figures.notice),
        "writes": figures.writes,
        "writes_lost": figures.lost,
        "back_s": seconds(figures.back),
        "partition": {
            "seen_s": seconds(figures.partition.seen),
            "healed_s": seconds(figures.partition.healed),
            "majority_writes": figures.partition.majority,
            "minority_writes": figures.partition.minority,
            "writes_lost": figures.partition.lost,
        },
        "total_s": seconds(figures.total),
    })
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

fn summary(figures: &Figures) -> String {
    format!(
        "\nAll of it happened: {} nodes formed one cluster in {:.2} s, the others noticed kill -9 after {:.2} s,\n\
         none of {} acknowledged writes was lost, and the killed node was back with its name, a new guid\n\
         and every row {:.2} s after its start. Cut off from the others it wrote on alone: {} writes of its side and {} of\n\
         theirs are on all nodes, {:.2} s after the repair.\n\
         Next: `ekka keygen`, and docs/install.md for three machines.\n",
        figures.nodes,
        figures.form.as_secs_f64(),
        figures.notice.as_secs_f64(),
        figures.writes,
        figures.back.as_secs_f64(),
        figures.partition.minority,
        figures.partition.majority,
        figures.partition.healed.as_secs_f64()
    )
}

/// The directory of the demo, removed at its end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn make() -> Result<Self, Failure> {
        use std::os::unix::fs::DirBuilderExt;
        let dir = std::env::temp_dir().join(format!("ekka-demo-{}", std::process::id()));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&dir);
        made.map_err(|error| Failure::failed(format!("{}: {error}", dir.display())))?;
        Ok(Self(dir))
    }
}

impl Scratch {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the cookie of the nodes in it.
    pub(crate) fn bake(&self) -> Result<(), Failure> {
        use std::os::unix::fs::PermissionsExt;
        let cookie = self.0.join("cookie");
        std::fs::write(&cookie, CookieSet::generate())?;
        Ok(std::fs::set_permissions(&cookie, std::fs::Permissions::from_mode(0o600))?)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // in the directory for what may be thrown away
    }
}

#[cfg(test)]
mod tests {
    use super::split::Partition;
    use super::*;

    fn figures(lost: usize) -> Figures {
        let cluster_id = "c".to_owned();
        let (form, notice, back, total) = Default::default();
        let partition = Partition::default();
        Figures { nodes: 3, cluster_id, form, notice, writes: 9, lost, back, partition, total }
    }

    #[test]
    fn a_write_that_was_lost_is_counted_and_fails_the_demo() {
        let told = as_json(&figures(2));
        assert_eq!((&told["ok"], &told["writes"], &told["writes_lost"]), (&json!(false), &json!(9), &json!(2)));
        let failure = verdict(&figures(2)).unwrap_err();
        assert_eq!((failure.code(), failure.message()), (Code::Failed, "2 of 9 acknowledged writes were lost"));
        let told = as_json(&figures(0));
        assert_eq!((&told["ok"], &told["writes_lost"]), (&json!(true), &json!(0)));
        assert!(verdict(&figures(0)).is_ok());
    }
}
