//! Rows of tables, written and read over the admin interface: by one call, and by writers that go on while others do harm.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};

use super::ask::{Stream, connect, exchange, get};
use super::{Agent, Cluster, poll};

/// Before a node that does not answer is asked again.
const PAUSE: Duration = Duration::from_millis(20);
/// Values only grow, also from one round of writers to the next: a row of an earlier round is not taken for a later one.
static NEXT_VALUE: AtomicU64 = AtomicU64::new(1);

/// Asks a node for something that has a body.
///
/// # Errors
/// It does not answer, or with an error: the status and what it said.
pub(crate) fn post(data: &Path, path: &str, body: &Value) -> Result<Value, String> {
    let asked = connect(&data.join("ekka.sock")).and_then(|mut stream| post_on(&mut stream, path, body));
    match asked {
        Ok((200, body)) => Ok(body),
        Ok((status, body)) => Err(format!("{path}: {status}: {body}")),
        Err(error) => Err(format!("{}: {path}: {error}", data.display())),
    }
}

fn post_on(stream: &mut Stream, path: &str, body: &Value) -> std::io::Result<(u16, Value)> {
    exchange(stream, ("POST", path, &body.to_string()))
}

/// Has a table made by the first node, and waits until each one has it.
pub(crate) fn make(cluster: &Cluster, table: &Value, limit: Duration) {
    let path = cluster.agents[0].data();
    let made = cluster.wait("the table is made", limit, |_| post(&path, "/v1/tables", table));
    let name = made["name"].as_str().expect("a name");
    cluster.wait("every node has the table", limit, |cluster| {
        cluster.agents.iter().try_for_each(|agent| loaded(agent, name))
    });
}

/// Whether a node has a table, and in it what its peers held.
///
/// # Errors
/// It has not, or does not answer.
pub(crate) fn loaded(agent: &Agent, table: &str) -> Result<(), String> {
    let info = get(&agent.data(), &format!("/v1/tables/{table}"))?;
    if info["loaded"] == true { Ok(()) } else { Err(format!("{}: {info}", agent.name)) }
}

/// All rows of a table on a node, by their keys.
///
/// # Errors
/// It does not answer.
pub(crate) fn rows(data: &Path, table: &str) -> Result<BTreeMap<String, Value>, String> {
    let (mut rows, mut after) = (BTreeMap::new(), Value::Null);
    loop {
        let body = json!({"after": after, "limit": 10_000});
        let page = post(data, &format!("/v1/tables/{table}/scan"), &body)?;
        for row in page["rows"].as_array().ok_or("no rows")? {
            rows.insert(row["key"].as_str().ok_or("a key is no text")?.to_owned(), row["value"].clone());
        }
        after = page["next"].clone();
        if after.is_null() {
            return Ok(rows);
        }
    }
}

/// A write that was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Acked {
    pub(crate) key: String,
    pub(crate) value: u64,
    pub(crate) copies: u64,
}

/// Writers, one at each node, each with keys of its own; a key is written over again and again.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    refused: Arc<Refused>,
    threads: Vec<JoinHandle<Vec<Acked>>>,
}

/// What writers were told in place of an acknowledgement, and how often.
type Refused = Mutex<BTreeMap<String, u64>>;

impl Writers {
    /// Begins; each writer has so many keys.
    pub(crate) fn begin(nodes: impl IntoIterator<Item = PathBuf>, table: &str, keys: u64) -> Self {
        let (stop, refused): (Arc<AtomicBool>, Arc<Refused>) = <_>::default();
        let writer = |(number, data): (usize, PathBuf)| {
            let (stop, refused, path) = (stop.clone(), refused.clone(), format!("/v1/tables/{table}/put"));
            thread::spawn(move || write(&data.join("ekka.sock"), &path, (number, keys), &stop, &refused))
        };
        let threads = nodes.into_iter().enumerate().map(writer).collect();
        Self { stop, refused, threads }
    }

    /// Ends them: what was acknowledged, the last of each key.
    pub(crate) fn end(self) -> Vec<Acked> {
        self.stop.store(true, Ordering::Relaxed);
        let all = self.threads.into_iter().flat_map(|thread| thread.join().expect("a writer does not panic"));
        let all: BTreeMap<_, _> = all.map(|acked| (acked.key.clone(), acked)).collect();
        for (words, times) in &*self.refused.lock().expect("no writer panicked") {
            println!("{times} writes were not acknowledged: {words}");
        }
        all.into_values().collect()
    }
}

fn write(socket: &Path, path: &str, (number, keys): (usize, u64), stop: &AtomicBool, refused: &Refused) -> Vec<Acked> {
    let refuse = |words: String| {
        *refused.lock().expect("no writer panicked").entry(words).or_default() += 1;
    };
    let (mut acked, mut stream, mut count) = (Vec::new(), None, 0u64);
    while !stop.load(Ordering::Relaxed) {
        let Some(mut open) = stream.take().or_else(|| connect(socket).ok()) else {
            poll::pace(PAUSE);
            continue;
        };
        count += 1;
        let (key, value) = (format!("w{number}-{}", count % keys), NEXT_VALUE.fetch_add(1, Ordering::Relaxed));
        match post_on(&mut open, path, &json!({"key": key, "value": value})) {
            Ok((200, answer)) => {
                acked.push(Acked { key, value, copies: answer["copies"].as_u64().unwrap_or_default() });
                stream = Some(open);
            }
            Ok((status, answer)) => {
                refuse(format!("{status}: {answer}"));
                poll::pace(PAUSE);
            }
            Err(error) => refuse(error.to_string()),
        }
    }
    acked
}
