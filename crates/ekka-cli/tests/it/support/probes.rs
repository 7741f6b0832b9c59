//! What a load balancer and a scraper see of each node: its probes and its split, asked for all the time.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::ask::{Stream, connect, exchange_text};
use super::poll;

/// Between two samples of one node.
const INTERVAL: Duration = Duration::from_millis(100);

/// What a node said of itself at one time.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// When it was asked, and when it had answered all.
    pub(crate) asked: Instant,
    pub(crate) at: Instant,
    /// Of `/livez`.
    pub(crate) live: u16,
    /// Of `/readyz`, and the codes of its reasons.
    pub(crate) quorum: u16,
    pub(crate) reasons: Vec<String>,
    /// Of `/readyz?for=available`, and its body.
    pub(crate) available: u16,
    pub(crate) body: Value,
    /// States of `ekka_split` that are 1.
    pub(crate) split: Vec<String>,
}

/// Threads that ask, one for each node.
pub(crate) struct Probes {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Sample>>>,
}

impl Probes {
    pub(crate) fn begin(nodes: impl IntoIterator<Item = PathBuf>) -> Self {
        let stop: Arc<AtomicBool> = <_>::default();
        let ask = |data: PathBuf| {
            let stop = stop.clone();
            thread::spawn(move || all(&data.join("ekka.sock"), &stop))
        };
        let threads = nodes.into_iter().map(ask).collect();
        Self { stop, threads }
    }

    /// Ends them: the samples of each node. A node that did not answer has failed a probe.
    pub(crate) fn end(self) -> Vec<Vec<Sample>> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().expect("every probe is answered")).collect()
    }
}

fn all(socket: &Path, stop: &AtomicBool) -> Vec<Sample> {
    let mut stream = connect(socket).expect("the node runs");
    let mut samples = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        samples.push(sample(&mut stream).unwrap_or_else(|error| panic!("{}: {error}", socket.display())));
        poll::pace(INTERVAL);
    }
    samples
}

fn sample(stream: &mut Stream) -> std::io::Result<Sample> {
    let asked = Instant::now();
    let (live, _) = exchange_text(stream, "/livez")?;
    let (quorum, body) = exchange_text(stream, "/readyz")?;
    let body: Value = serde_json::from_str(&body).map_err(std::io::Error::other)?;
    let reasons = body["reasons"].as_array().into_iter().flatten();
    let reasons = reasons.filter_map(|reason| reason["code"].as_str().map(str::to_owned)).collect();
    let (available, body) = exchange_text(stream, "/readyz?for=available")?;
    let body = serde_json::from_str(&body).map_err(std::io::Error::other)?;
    let (_, metrics) = exchange_text(stream, "/metrics")?;
    let is_one = |line: &&str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()) == Some(1.0);
    let held = metrics.lines().filter(|line| line.starts_with("ekka_split{")).filter(is_one);
    let split = held.filter_map(|line| Some(line.split_once("state=\"")?.1.split_once('"')?.0.to_owned())).collect();
    Ok(Sample { asked, at: Instant::now(), live, quorum, reasons, available, body, split })
}

/// Whether all samples of a node keep a rule; what was seen where one does not.
pub(crate) fn keep<'a>(
    samples: impl IntoIterator<Item = &'a Sample>,
    start: Instant,
    rule: impl Fn(&Sample) -> bool,
) -> Result<(), String> {
    match samples.into_iter().find(|sample| !rule(sample)) {
        Some(seen) => Err(format!("{:.2?} after the cut: {seen:?}", seen.asked.saturating_duration_since(start))),
        None => Ok(()),
    }
}
