//! A small HTTP/1.1 client for the strategies that ask a server (etcd, Kubernetes): over the injected network, with TLS
//! 1.3 where the address says https. Each request has a connection of its own; nothing is followed, nothing is kept.

mod encode;
mod exchange;
#[cfg(test)]
mod flood;
mod server;
mod tls;

pub(crate) use encode::percent_encoded;
pub(crate) use exchange::{Limits, Lines, Request, Response};
pub(crate) use server::Server;
pub(crate) use tls::TlsFiles;

use hyper::StatusCode;

use crate::env::Env;
use tls::Connector;

/// A client. Its files are read again when they change.
pub(crate) struct Client {
    env: Env,
    connector: Connector,
    limits: Limits,
}

/// Why there is no answer. Each text says whom it is about; whether the request had an effect is not known, save after
/// `Connect` and `Tls`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// The server was not reached.
    #[error("{server}: not reached: {why}")]
    Connect { server: String, why: String },
    /// Files, or the handshake.
    #[error("{server}: TLS: {why}")]
    Tls { server: String, why: String },
    /// It did not answer in time.
    #[error("{server}: no answer within {seconds} s")]
    TimedOut { server: String, seconds: u64 },
    /// What came is no answer of HTTP, or ended too early.
    #[error("{server}: {why}")]
    Protocol { server: String, why: String },
    /// The answer is longer than anything that is taken.
    #[error("{server}: an answer of more than {limit} bytes")]
    TooLarge { server: String, limit: usize },
}

impl Client {
    pub(crate) fn new(env: Env, tls: TlsFiles, limits: Limits) -> Self {
        Self { connector: Connector::new(tls), env, limits }
    }

    /// One request and its whole answer, of any status.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub(crate) async fn send(&self, server: &Server, request: Request) -> Result<Response, HttpError> {
        let stream = self.connect(server).await?;
        let late = |_| HttpError::TimedOut { server: server.to_string(), seconds: self.limits.answer.as_secs() };
        let answer = exchange::whole(stream, server, request, self.limits.body_max);
        tokio::time::timeout(self.limits.answer, answer).await.map_err(late)?
    }

    /// One request whose answer is read line by line as it comes; the answer whole where its status is no success.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub(crate) async fn lines(&self, server: &Server, request: Request) -> Result<Result<Lines, Response>, HttpError> {
        let stream = self.connect(server).await?;
        let late = |_| HttpError::TimedOut { server: server.to_string(), seconds: self.limits.answer.as_secs() };
        let begun = exchange::begin(stream, server, request, self.limits.body_max);
        let lines = tokio::time::timeout(self.limits.answer, begun).await.map_err(late)??;
        if lines.status() == StatusCode::OK {
            return Ok(Ok(lines));
        }
        tokio::time::timeout(self.limits.answer, lines.into_whole()).await.map_err(late)?.map(Err)
    }

    async fn connect(&self, server: &Server) -> Result<crate::env::BoxStream, HttpError> {
        let connecting = self.connector.connect(&self.env, server);
        let late = |_| HttpError::Connect {
            server: server.to_string(),
            why: format!("no connection within {} s", self.limits.connect.as_secs()),
        };
        tokio::time::timeout(self.limits.connect, connecting).await.map_err(late)?
    }
}
