//! What the demo writes on a table, while one of the nodes is killed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ekka::admin::dto::{RowsAnswer, WrittenAnswer};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::client::Client;
use crate::exit::Failure;

/// The table of the demo.
pub(super) const TABLE: &str = "demo";
/// Before a node that does not answer is asked again.
const PAUSE: Duration = Duration::from_millis(20);
/// Rows that are asked for at once.
const PAGE: usize = 1000;

/// Has the table made.
pub(super) async fn make(client: &Client) -> Result<(), Failure> {
    client.post("/v1/tables", &json!({"name": TABLE})).await?.success().map(|_| ())
}

/// Writers, one at each node, until they are told to end.
pub(super) struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<BTreeSet<String>>>,
}

impl Writers {
    /// Writes count that two nodes have acknowledged.
    pub(super) fn begin(clients: impl IntoIterator<Item = Client>) -> Self {
        Self::begin_at("w", 2, clients)
    }

    /// Writes whose keys begin so count once so many nodes have acknowledged them.
    pub(super) fn begin_at(head: &'static str, copies: u32, clients: impl IntoIterator<Item = Client>) -> Self {
        let stop: Arc<AtomicBool> = Arc::default();
        let task = |(number, client)| tokio::spawn(write(client, (head, number), copies, stop.clone()));
        let tasks = clients.into_iter().enumerate().map(task).collect();
        Self { stop, tasks }
    }

    /// Ends them: the keys of all writes that were acknowledged by two nodes.
    pub(super) async fn end(self) -> BTreeSet<String> {
        self.end_each().await.into_iter().flatten().collect()
    }

    /// Ends them: the keys of the writes that count, by the node that was asked.
    pub(super) async fn end_each(self) -> Vec<BTreeSet<String>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut acknowledged = Vec::new();
        for task in self.tasks {
            // A writer neither panics nor is aborted.
            acknowledged.push(task.await.unwrap_or_default());
        }
        acknowledged
    }
}

async fn write(client: Client, (head, number): (&str, usize), copies: u32, stop: Arc<AtomicBool>) -> BTreeSet<String> {
    let (mut acknowledged, mut count) = (BTreeSet::new(), 0u64);
    while !stop.load(Ordering::Relaxed) {
        count += 1;
        let key = format!("{head}{number}-{count}");
        match put(&client, &key, count).await {
            Some(written) if written.copies >= copies => {
                acknowledged.insert(key);
            }
            Some(_) => {}
            None => tokio::time::sleep(PAUSE).await,
        }
    }
    acknowledged
}

async fn put(client: &Client, key: &str, value: u64) -> Option<WrittenAnswer> {
    let body = json!({"key": key, "value": value});
    client.post(&format!("/v1/tables/{TABLE}/put"), &body).await.ok()?.success().ok()?.read().ok()
}

/// All keys that a node has.
pub(super) async fn keys(client: &Client) -> Option<BTreeSet<String>> {
    let (mut keys, mut after) = (BTreeSet::new(), Value::Null);
    loop {
        let body = json!({"after": after, "limit": PAGE});
        let answer = client.post(&format!("/v1/tables/{TABLE}/scan"), &body).await.ok()?.success().ok()?;
        let page: RowsAnswer = answer.read().ok()?;
        keys.extend(page.rows.iter().filter_map(|row| row.key.as_str().map(str::to_owned)));
        match page.next {
            Some(next) => after = next,
            None => return Some(keys),
        }
    }
}

/// Which of the writes that were acknowledged a node lacks. `None`: it does not say.
pub(super) async fn lacking(client: &Client, acknowledged: &BTreeSet<String>) -> Option<BTreeSet<String>> {
    Some(acknowledged.difference(&keys(client).await?).cloned().collect())
}
