//! Clients that take tokens and read the ceiling, over the admin interface of every node, while others do harm to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::ask::{Request, Stream, connect, exchange};
use super::history::{Heard, Op};
use super::poll;

/// Before a node that does not answer is asked again.
const PAUSE: Duration = Duration::from_millis(20);

/// What clients do at each node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mix {
    /// Clients that take tokens.
    pub(crate) takers: usize,
    /// Clients that read.
    pub(crate) readers: usize,
    /// Between two operations of a client.
    pub(crate) pause: Duration,
    /// Readers ask for what the node has applied, and take it for a linearizable answer: a fault put in on purpose.
    pub(crate) stale: bool,
}

/// Clients at work.
pub(crate) struct Load {
    begun: Instant,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<Op>>>,
}

impl Load {
    /// Begins at each of these data directories.
    pub(crate) fn begin(nodes: impl IntoIterator<Item = PathBuf>, mix: Mix) -> Self {
        let mut load = Self { begun: Instant::now(), stop: Arc::default(), clients: Vec::new() };
        for data in nodes {
            load.also_at(&data, mix);
        }
        load
    }

    /// Begins at a further node.
    pub(crate) fn also_at(&mut self, data: &Path, mix: Mix) {
        for number in 0..mix.takers + mix.readers {
            let client = Client {
                number: self.clients.len(),
                socket: data.join("ekka.sock"),
                request: if number < mix.takers {
                    TAKE
                } else if mix.stale {
                    READ_APPLIED
                } else {
                    READ
                },
                begun: self.begun,
            };
            let stop = self.stop.clone();
            self.clients.push(thread::spawn(move || client.run(&stop, mix.pause)));
        }
    }

    /// The time since the load began.
    pub(crate) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Ends all clients: what each of them asked and heard.
    pub(crate) fn end(self) -> Vec<Op> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().flat_map(|client| client.join().expect("a client does not panic")).collect()
    }
}

const TAKE: Request<'static> = ("POST", "/v1/bench/tokens", r#"{"count": 1}"#);
const READ: Request<'static> = ("GET", "/v1/bench/ceiling", "");
const READ_APPLIED: Request<'static> = ("GET", "/v1/bench/ceiling?applied=true", "");

struct Client {
    number: usize,
    socket: PathBuf,
    request: Request<'static>,
    begun: Instant,
}

impl Client {
    fn run(&self, stop: &AtomicBool, pause: Duration) -> Vec<Op> {
        let mut ops = Vec::new();
        let mut stream = None;
        while !stop.load(Ordering::Relaxed) {
            let Some(open) = stream.take().or_else(|| connect(&self.socket).ok()) else {
                // The process does not run.
                poll::pace(PAUSE);
                continue;
            };
            let op = self.ask(open, &mut stream);
            if matches!(op.heard, Heard::Unknown | Heard::Refused) {
                poll::pace(PAUSE);
            }
            ops.push(op);
            poll::pace(pause);
        }
        ops
    }

    /// One operation. The connection is kept where it is good for another.
    fn ask(&self, mut open: Stream, keep: &mut Option<Stream>) -> Op {
        let asked = self.begun.elapsed();
        let answer = exchange(&mut open, self.request);
        let answered = self.begun.elapsed();
        let heard = match &answer {
            Ok((200, body)) => read(body).unwrap_or(Heard::Unknown),
            // The node says that it makes no sense: it is in no cluster (any more).
            Ok((409, _)) => Heard::Refused,
            _ => Heard::Unknown,
        };
        if answer.is_ok() {
            *keep = Some(open);
        }
        Op { client: self.number, asked, answered, heard }
    }
}

fn read(body: &Value) -> Option<Heard> {
    if let Some(ceiling) = body["ceiling"].as_u64() {
        return Some(Heard::Read { ceiling });
    }
    Some(Heard::Took { from: body["from"].as_u64()?, to: body["to"].as_u64()? })
}
