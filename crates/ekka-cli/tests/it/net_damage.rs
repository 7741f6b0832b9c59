//! A voter whose log on disc is damaged says so, votes as a new voter, and is filled again: real processes.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::Cluster;
use crate::support::cluster::STOP_LIMIT;

const LIMIT: Duration = Duration::from_secs(60);

/// All files below a folder, the largest first.
fn files(folder: &Path) -> Vec<(u64, PathBuf)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the store") {
        let entry = entry.expect("an entry of an open folder");
        let kind = entry.file_type().expect("its kind is known");
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push((entry.metadata().expect("its size is known").len(), entry.path()));
        }
    }
    found.sort_by(|a, b| b.cmp(a));
    found
}

/// Overwrites the beginning of every journal.
fn damage(store: &Path) {
    let journals: Vec<PathBuf> = files(store)
        .into_iter()
        .filter(|(length, path)| *length > 0 && path.extension().is_some_and(|extension| extension == "jnl"))
        .map(|(_, path)| path)
        .collect();
    assert!(!journals.is_empty(), "no journal in {}: {:?}", store.display(), files(store));
    for path in journals {
        let mut file = OpenOptions::new().write(true).open(&path).expect("a journal can be written");
        file.seek(SeekFrom::Start(8)).expect("a file can be sought");
        file.write_all(&[0xa5; 4096]).expect("a journal can be written");
    }
}

#[test]
fn a_voter_with_a_damaged_log_says_so_and_is_filled_again_as_a_new_voter() {
    let mut cluster = Cluster::on_loopback(3);
    let (id, _) = cluster.form(LIMIT);
    cluster.agents[2].stop(STOP_LIMIT);
    damage(&cluster.agents[2].data().join("store"));
    cluster.agents[2].start();
    let again = cluster.wait("up again", LIMIT, Cluster::whole);
    assert_eq!(again, id);
    let events = cluster.agents[2].events().expect("it runs");
    assert!(events.iter().any(|event| event["type"] == "storage.damaged"), "{events:?}");
    let status = cluster.agents[2].json(&["status"]).expect("it runs");
    let alarms = status["alarms"].as_array().expect("an array");
    assert!(alarms.iter().any(|alarm| alarm["code"] == "storage_damaged"), "{alarms:?}");
    cluster.wait("it votes again", LIMIT, |cluster| {
        let row = cluster.agents[0].row(&cluster.agents[2].name)?;
        let status = cluster.agents[0].json(&["status"])?;
        if row["voter"] == true && status["quorum"]["voters"] == 3 { Ok(()) } else { Err(format!("{row}")) }
    });
    // What it holds now counts: with it and one other there is a majority.
    cluster.agents[1].kill();
    cluster.wait("a majority without the third", LIMIT, |cluster| {
        let status = cluster.agents[2].json(&["status"])?;
        if status["ready"] == true && status["quorum"]["in_reach"] == 2 { Ok(()) } else { Err(status.to_string()) }
    });
}
