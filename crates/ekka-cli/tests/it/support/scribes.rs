//! Writers at every node, each write under a key of its own: what was acknowledged, when, and with how many copies.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::json;

use super::ask::{connect, exchange};
use super::poll;

/// The tables that they write to.
pub(crate) const AVAILABLE: &str = "users";
pub(crate) const QUORUM: &str = "grants";

/// Between two writes of one writer: the processors are the nodes'.
const PAUSE: Duration = Duration::from_millis(50);

/// A write that was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) table: &'static str,
    pub(crate) key: String,
    pub(crate) value: u64,
    /// By which node.
    pub(crate) node: usize,
    pub(crate) sent: Instant,
    pub(crate) acked: Instant,
    /// Others wrote the same key.
    pub(crate) contested: bool,
    /// As the answer has it.
    #[expect(dead_code, reason = "read in the text of a write that is missed")]
    pub(crate) copies: u64,
}

/// Two writers at each node, one for each table.
pub(crate) struct Scribes {
    stop: Arc<AtomicBool>,
    refused: Arc<Refused>,
    threads: Vec<JoinHandle<Vec<Write>>>,
}

/// What writers were told in place of an acknowledgement, and how often.
type Refused = Mutex<BTreeMap<String, u64>>;

impl Scribes {
    pub(crate) fn begin(nodes: impl IntoIterator<Item = PathBuf>) -> Self {
        let (stop, refused): (Arc<AtomicBool>, Arc<Refused>) = <_>::default();
        let mut threads = Vec::new();
        for (node, data) in nodes.into_iter().enumerate() {
            for table in [AVAILABLE, QUORUM] {
                let (stop, refused, data) = (stop.clone(), refused.clone(), data.clone());
                threads.push(thread::spawn(move || write(&data, (node, table), &stop, &refused)));
            }
        }
        Self { stop, refused, threads }
    }

    /// Ends them: all that was acknowledged.
    pub(crate) fn end(self) -> Vec<Write> {
        self.stop.store(true, Ordering::Relaxed);
        let all: Vec<_> =
            self.threads.into_iter().flat_map(|thread| thread.join().expect("a writer does not panic")).collect();
        for (words, times) in &*self.refused.lock().expect("no writer panicked") {
            println!("{times} writes were not acknowledged: {words}");
        }
        all
    }
}

fn write(data: &Path, (node, table): (usize, &'static str), stop: &AtomicBool, refused: &Refused) -> Vec<Write> {
    // Every key is new, also from one round to the next.
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let refuse = |words: String| *refused.lock().expect("no writer panicked").entry(words).or_default() += 1;
    let (mut acked, mut stream) = (Vec::new(), None);
    let (socket, path) = (data.join("ekka.sock"), format!("/v1/tables/{table}/put"));
    while !stop.load(Ordering::Relaxed) {
        poll::pace(PAUSE);
        let Some(mut open) = stream.take().or_else(|| connect(&socket).ok()) else { continue };
        let value = NEXT.fetch_add(1, Ordering::Relaxed);
        let (key, sent) = (format!("w{node}-{value}"), Instant::now());
        match exchange(&mut open, ("POST", &path, &json!({"key": key, "value": value}).to_string())) {
            Ok((200, answer)) => {
                let copies = answer["copies"].as_u64().unwrap_or_default();
                acked.push(Write { table, key, value, node, sent, acked: Instant::now(), contested: false, copies });
                stream = Some(open);
            }
            Ok((status, answer)) => {
                let code = answer["error"]["code"].as_str().unwrap_or("no code");
                refuse(format!("n{}: {table}: {status} {code}", node + 1));
                stream = Some(open);
            }
            Err(error) => refuse(format!("n{}: {table}: {:?}", node + 1, error.kind())),
        }
    }
    acked
}

/// No quorum write was acknowledged by these nodes that was sent and answered in that time.
pub(crate) fn none_committed(writes: &[Write], nodes: &[usize], from: Instant, to: Instant) {
    let within = |write: &&Write| {
        write.table == QUORUM && nodes.contains(&write.node) && write.sent >= from && write.acked <= to
    };
    let wrong = writes.iter().find(within);
    assert!(wrong.is_none(), "acknowledged without a majority: {wrong:?}");
}
