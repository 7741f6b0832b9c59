//! One request and its answer on one connection.

use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;

use super::{HttpError, Server};
use crate::env::BoxStream;

/// Lines without content that may follow each other. Nobody needs them; a server that floods is left.
const BLANK_MAX: u32 = 1000;

/// What a request may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// To resolve, connect and shake hands.
    pub(crate) connect: Duration,
    /// From the request to the whole answer; for lines, to the head of the answer.
    pub(crate) answer: Duration,
    /// Bytes of an answer, or of one line.
    pub(crate) body_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(2), answer: Duration::from_secs(4), body_max: 8 * 1024 * 1024 }
    }
}

/// A request. Its target is a path with its query, encoded.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) target: String,
    /// The whole value of `Authorization`.
    pub(crate) authorization: Option<String>,
    /// Type and bytes.
    pub(crate) body: Option<(&'static str, Bytes)>,
}

impl Request {
    /// GET.
    pub(crate) fn get(target: impl Into<String>) -> Self {
        Self { method: Method::GET, target: target.into(), authorization: None, body: None }
    }

    /// Any method with a body in JSON.
    pub(crate) fn json(method: Method, target: impl Into<String>, body: &serde_json::Value) -> Self {
        let bytes = Bytes::from(body.to_string());
        Self { method, target: target.into(), authorization: None, body: Some(("application/json", bytes)) }
    }

    /// The same with the whole value of `Authorization`.
    pub(crate) fn authorized(mut self, value: Option<String>) -> Self {
        self.authorization = value;
        self
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    #[allow(dead_code, reason = "the strategy of etcd looks at none")]
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Response {
    /// The body as text, for words, cut to a length that a line of the log bears.
    pub(crate) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let text = text.trim();
        let end = text.char_indices().map(|(at, _)| at).find(|at| *at >= 300).unwrap_or(text.len());
        text[..end].to_owned()
    }
}

/// An answer that is read while it comes.
pub(crate) struct Lines {
    connection: Connection,
    status: StatusCode,
    headers: HeaderMap,
    body: Incoming,
    pending: BytesMut,
    /// So much of it holds no end of a line.
    scanned: usize,
    /// Lines without content that came last.
    blank: u32,
    server: String,
    limit: usize,
}

pub(super) async fn begin(
    stream: BoxStream,
    server: &Server,
    request: Request,
    limit: usize,
) -> Result<Lines, HttpError> {
    let name = server.to_string();
    let broken = |why: &dyn Error| HttpError::Protocol { server: name.clone(), why: causes(why) };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    let mut connection = Connection { work: Some(Box::pin(async { drop(connection.await) })) };
    let mut built = hyper::Request::builder()
        .method(request.method)
        .uri(request.target)
        .header(HOST, server.authority())
        .header(ACCEPT, "application/json");
    if let Some(value) = request.authorization {
        built = built.header(AUTHORIZATION, value);
    }
    let (kind, body) = request.body.map_or((None, Bytes::new()), |(kind, body)| (Some(kind), body));
    if let Some(kind) = kind {
        built = built.header(CONTENT_TYPE, kind);
    }
    let built = built.body(Full::new(body)).map_err(|error| broken(&error))?;
    let response = connection.drive(sender.send_request(built)).await.map_err(|error| broken(&error))?;
    let (head, body) = response.into_parts();
    let (status, headers) = (head.status, head.headers);
    let pending = BytesMut::new();
    Ok(Lines { connection, status, headers, body, pending, scanned: 0, blank: 0, server: name, limit })
}

pub(super) async fn whole(
    stream: BoxStream,
    server: &Server,
    request: Request,
    limit: usize,
) -> Result<Response, HttpError> {
    begin(stream, server, request, limit).await?.into_whole().await
}

impl Lines {
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// The next line without its end; `None` at the end of the answer. *Cancel safe.* However fast lines come, others
    /// get their turn in between.
    ///
    /// # Errors
    /// The connection broke, the line is too long, or too many lines without content follow each other.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, HttpError> {
        // Lines that are there already are given without waiting for anything.
        tokio::task::consume_budget().await;
        loop {
            if let Some(line) = self.complete() {
                self.blank = if line.trim_ascii().is_empty() { self.blank + 1 } else { 0 };
                if self.blank > BLANK_MAX {
                    let why = format!("more than {BLANK_MAX} lines without content came one after the other");
                    return Err(HttpError::Protocol { server: self.server.clone(), why });
                }
                return Ok(Some(line));
            }
            if !self.more().await? {
                let rest = self.pending.split();
                self.scanned = 0;
                return Ok(if rest.is_empty() { None } else { Some(rest.to_vec()) });
            }
        }
    }

    /// Takes the first line that is there as a whole. Each byte is looked at once.
    fn complete(&mut self) -> Option<Vec<u8>> {
        let Some(end) = self.pending[self.scanned..].iter().position(|byte| *byte == b'\n') else {
            self.scanned = self.pending.len();
            return None;
        };
        let line = self.pending.split_to(self.scanned + end + 1);
        self.scanned = 0;
        Some(line[..line.len() - 1].to_vec())
    }

    /// Reads a further part of the body; whether there was one.
    async fn more(&mut self) -> Result<bool, HttpError> {
        let Some(frame) = self.connection.drive(self.body.frame()).await else { return Ok(false) };
        let broken = |error: hyper::Error| HttpError::Protocol { server: self.server.clone(), why: causes(&error) };
        if let Ok(data) = frame.map_err(broken)?.into_data() {
            if self.pending.len() + data.len() > self.limit {
                return Err(HttpError::TooLarge { server: self.server.clone(), limit: self.limit });
            }
            self.pending.extend_from_slice(&data);
        }
        Ok(true)
    }

    pub(super) async fn into_whole(mut self) -> Result<Response, HttpError> {
        while self.more().await? {}
        Ok(Response { status: self.status, headers: self.headers, body: self.pending.freeze() })
    }
}

/// An error with what caused it: hyper tells the cause only so, and it is what a reader can act on.
fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text += ": ";
            text += &inner_text;
        }
        cause = inner.source();
    }
    text
}

/// The connection's own work, done whenever somebody waits for something that comes over it: no task is left behind.
struct Connection {
    work: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Connection {
    async fn drive<T>(&mut self, wanted: impl Future<Output = T>) -> T {
        let mut wanted = pin!(wanted);
        poll_fn(|context| {
            // Its errors come out where the answer is read.
            if let Some(work) = &mut self.work
                && work.as_mut().poll(context).is_ready()
            {
                self.work = None;
            }
            match wanted.as_mut().poll(context) {
                Poll::Ready(value) => Poll::Ready(value),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}
