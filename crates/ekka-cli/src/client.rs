//! A client of the admin interface: HTTP/1.1 over a Unix socket, TCP, or TLS.

mod stream;
mod target;

pub(crate) use stream::Lines;
pub(crate) use target::Target;

use std::time::Duration;

use bytes::Bytes;
use ekka::admin::dto::{ErrorAnswer, ErrorBody};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::exit::{Code, Failure};

/// How long reaching an agent may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer that needs no work may take.
const ANSWER: Duration = Duration::from_secs(10);
/// The largest answer that is read.
const ANSWER_MAX: usize = 64 * 1024 * 1024;

/// A client of one agent. Each request has a connection of its own.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    target: Target,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Client {
    pub(crate) fn new(target: Target) -> Self {
        Self { target }
    }

    /// Whether the agent is reached by a socket of this host.
    pub(crate) fn is_on_this_host(&self) -> bool {
        self.target.is_socket()
    }

    /// Reads something that is there at once.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, Failure> {
        tokio::time::timeout(ANSWER, self.request(Method::GET, path, None)).await.unwrap_or_else(|_| {
            let text = format!("{} does not answer within {} s", self.target, ANSWER.as_secs());
            Err(Failure::new(Code::TimedOut, "timed_out", text))
        })
    }

    /// Gives a command; its work may take long.
    pub(crate) async fn post(&self, path: &str, body: &serde_json::Value) -> Result<Answer, Failure> {
        self.request(Method::POST, path, Some(body)).await
    }

    /// Has something taken away.
    pub(crate) async fn delete(&self, path: &str) -> Result<Answer, Failure> {
        self.request(Method::DELETE, path, None).await
    }

    /// Reads server-sent events: the data of each, until `take` says no or the agent ends.
    pub(crate) async fn follow(
        &self,
        path: &str,
        mut take: impl FnMut(&str) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let response = self.send(Method::GET, path, None).await?;
        if response.status() != StatusCode::OK {
            return whole(response).await?.success().map(|_| ());
        }
        let mut body = response.into_body();
        let mut pending: Vec<u8> = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { break };
            pending.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line);
                if let Some(data) = line.trim_end().strip_prefix("data: ")
                    && !take(data)?
                {
                    return Ok(());
                }
            }
            if pending.len() > ANSWER_MAX {
                return Err(Failure::failed("the agent sends a line without end"));
            }
        }
        Err(Failure::new(Code::NoAgent, "no_agent", format!("the stream ended: the agent at {} stopped", self.target)))
    }

    async fn request(&self, method: Method, path: &str, body: Option<&serde_json::Value>) -> Result<Answer, Failure> {
        whole(self.send(method, path, body).await?).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<Response<Incoming>, Failure> {
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        self.send_body((method, path), "application/json", Full::new(body)).await
    }

    async fn send_body<B>(
        &self,
        (method, path): (Method, &str),
        kind: &str,
        body: B,
    ) -> Result<Response<Incoming>, Failure>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: std::error::Error + Send + Sync,
    {
        let connected = tokio::time::timeout(CONNECT, self.target.connect()).await;
        let stream = connected.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into())).map_err(|error| {
            Failure::new(Code::NoAgent, "no_agent", format!("no agent answers at {}: {error}", self.target))
        })?;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.target.host())
            .header(ACCEPT, "*/*")
            .header(CONTENT_TYPE, kind);
        if let Some(token) = self.target.token() {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(body).map_err(|error| Failure::usage(format!("`{path}`: {error}")))?;
        exchange(stream, request)
            .await
            .map_err(|error| Failure::failed(format!("the agent at {} ended the connection: {error}", self.target)))
    }
}

async fn exchange<B>(stream: Box<dyn Duplex>, request: Request<B>) -> Result<Response<Incoming>, hyper::Error>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: std::error::Error + Send + Sync,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // The connection lives as long as its answer is read; its errors come out there.
    tokio::spawn(connection);
    sender.send_request(request).await
}

async fn whole(response: Response<Incoming>) -> Result<Answer, Failure> {
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
    let body = body.map_err(|error| Failure::failed(format!("the answer was cut off: {error}")))?;
    Ok(Answer { status, body: body.to_bytes() })
}

impl Answer {
    /// The answer, or what went wrong in the agent's words.
    pub(crate) fn success(self) -> Result<Self, Failure> {
        if self.status.is_success() {
            return Ok(self);
        }
        Err(match serde_json::from_slice::<ErrorAnswer>(&self.body) {
            Ok(answer) => Failure::answered(answer.error),
            Err(_) => Failure::answered(ErrorBody {
                code: "failed".into(),
                message: format!("the agent answered {}: {}", self.status, self.text().trim()),
                ..ErrorBody::default()
            }),
        })
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as what the contract says.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Failure::failed(format!("the agent's answer is not of a kind known here: {error}")))
    }
}

/// A stream of bytes in both directions.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}
