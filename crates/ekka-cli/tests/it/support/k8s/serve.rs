//! The sockets of the server: a thread with a runtime of its own, on loopback or in a network namespace.

use std::convert::Infallible;
use std::fs::File;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use nix::sched::{CloneFlags, setns};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::answer::{Answer, Asked, Selected, answer};
use super::pki::Pki;
use super::world::World;

/// Where a server listens.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) addr: SocketAddr,
    /// Network namespace.
    pub(crate) namespace: Option<String>,
    pub(crate) tls: Option<Pki>,
}

struct Shared {
    world: Mutex<World>,
    changed: Notify,
}

/// A server that can be stopped and started again with the same world.
pub(crate) struct ApiServer {
    shared: Arc<Shared>,
    place: Place,
    running: Option<(watch::Sender<bool>, JoinHandle<()>)>,
}

type Body = BoxBody<Bytes, Infallible>;

impl ApiServer {
    /// Starts it. A port of 0 becomes a free one, and stays.
    pub(crate) fn start(place: Place, world: World) -> Self {
        let shared = Arc::new(Shared { world: Mutex::new(world), changed: Notify::new() });
        let mut server = Self { shared, place, running: None };
        server.resume();
        server
    }

    /// Starts it again after [`ApiServer::stop`].
    pub(crate) fn resume(&mut self) {
        assert!(self.running.is_none(), "it runs");
        let (ended, end) = watch::channel(false);
        let (bound, addr) = mpsc::channel();
        let (shared, place) = (self.shared.clone(), self.place.clone());
        let thread = std::thread::spawn(move || run(&shared, &place, &bound, end));
        self.place.addr = addr.recv().expect("the server listens");
        self.running = Some((ended, thread));
    }

    /// Stops it; all its connections break.
    pub(crate) fn stop(&mut self) {
        if let Some((ended, thread)) = self.running.take() {
            ended.send_replace(true);
            thread.join().expect("the server ends");
        }
    }

    /// Looks at or changes the world.
    pub(crate) fn world<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let result = change(&mut lock(&self.shared));
        self.shared.changed.notify_waiters();
        result
    }

    /// Its address as the configuration has it.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", if self.place.tls.is_some() { "https" } else { "http" }, self.place.addr)
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, World> {
    shared.world.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run(shared: &Arc<Shared>, place: &Place, bound: &mpsc::Sender<SocketAddr>, mut end: watch::Receiver<bool>) {
    if let Some(namespace) = &place.namespace {
        let file = File::open(format!("/var/run/netns/{namespace}")).expect("the namespace is there");
        setns(file, CloneFlags::CLONE_NEWNET).expect("this thread can enter it");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind(place.addr).await.expect("the address is free");
        bound.send(listener.local_addr().expect("it is bound")).expect("the test waits");
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let Ok((stream, _)) = accepted else { continue };
                    let (shared, tls) = (shared.clone(), place.tls.clone());
                    drop(tokio::task::spawn(async move {
                        match tls {
                            Some(pki) => if let Ok(stream) = pki.acceptor().accept(stream).await {
                                serve(shared, stream).await;
                            },
                            None => serve(shared, stream).await,
                        }
                    }));
                }
                _ = end.changed() => return,
            }
        }
    });
}

async fn serve(shared: Arc<Shared>, stream: impl AsyncRead + AsyncWrite + Unpin + 'static) {
    let service = service_fn(|request| {
        let shared = shared.clone();
        async move {
            let hangs = lock(&shared).faults.hang_at.is_some_and(|part| request.uri().path().contains(part));
            if hangs {
                std::future::pending::<()>().await;
            }
            Ok::<_, Infallible>(handle(&shared, &request))
        }
    });
    // A client that goes away is none of our business.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn handle(shared: &Arc<Shared>, request: &Request<Incoming>) -> Response<Body> {
    let authorization = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let query: Vec<(String, String)> = request.uri().query().unwrap_or_default().split('&').filter_map(pair).collect();
    let path = decoded(request.uri().path());
    let mut world = lock(shared);
    world.asked.push((request.uri().to_string(), authorization.is_some()));
    let answer = answer(&mut world, &Asked { path: &path, query: &query, authorization });
    drop(world);
    match answer {
        Answer::Whole { status, body, retry_after } => {
            let json = body.starts_with('{');
            let mut response = Response::builder()
                .status(status)
                .header(CONTENT_TYPE, if json { "application/json" } else { "text/plain; charset=utf-8" });
            if let Some(seconds) = retry_after {
                response = response.header(RETRY_AFTER, seconds);
            }
            response.body(Full::new(Bytes::from(body)).boxed()).expect("a response")
        }
        Answer::Watch { resource, selected, bookmarks, after, seconds, first } => {
            let (sender, body) = Channel::new(64);
            let shared = shared.clone();
            let watched = Watched { resource, selected, bookmarks, seconds };
            drop(tokio::task::spawn(async move { tell(&shared, watched, after, first, sender).await }));
            let response = Response::builder().header(CONTENT_TYPE, "application/json");
            response.body(body.boxed()).expect("a response")
        }
    }
}

/// What a watch is told.
struct Watched {
    resource: &'static str,
    selected: Selected,
    bookmarks: bool,
    seconds: u64,
}

/// Sends events as they come, and bookmarks where they are wanted, until the time of the watch is over or the client is gone.
async fn tell(
    shared: &Shared,
    watched: Watched,
    mut after: u64,
    first: Vec<String>,
    mut to: Sender<Bytes, Infallible>,
) -> Option<()> {
    let Watched { resource, selected, bookmarks: wanted, seconds } = watched;
    let kind = if resource == "endpoints" { "Endpoints" } else { "EndpointSlice" };
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut lines = first;
    let mut bookmarks = tokio::time::interval(Duration::from_millis(lock(shared).bookmark_ms));
    loop {
        for line in lines.drain(..) {
            to.send(Frame::data(Bytes::from(format!("{line}\n")))).await.ok()?;
        }
        let mut changed = std::pin::pin!(shared.changed.notified());
        changed.as_mut().enable();
        let version = {
            let world = lock(shared);
            let news = world.events.iter().filter(|event| event.resource == resource && event.version > after);
            let news = news.filter(|event| selected.has(&event.object));
            lines.extend(news.map(|event| json!({"type": event.kind, "object": event.object}).to_string()));
            world.version
        };
        after = version;
        if !lines.is_empty() {
            continue;
        }
        tokio::select! {
            () = changed => {}
            _ = bookmarks.tick(), if wanted => {
                let object = json!({"kind": kind, "metadata": {"resourceVersion": after.to_string()}});
                lines.push(json!({"type": "BOOKMARK", "object": object}).to_string());
            }
            () = tokio::time::sleep_until(until) => return Some(()),
        }
    }
}

fn pair(text: &str) -> Option<(String, String)> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    (!key.is_empty()).then(|| (decoded(key), decoded(value)))
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let code = |rest: &mut std::str::Bytes<'_>| {
            let pair = [rest.next()?, rest.next()?];
            u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()
        };
        bytes.push(if byte == b'%' { code(&mut rest).expect("two hexadecimal digits") } else { byte });
    }
    String::from_utf8(bytes).expect("UTF-8")
}
