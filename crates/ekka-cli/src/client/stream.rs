//! Bodies of any length: backups down from an agent, and up to one.

use std::fs::File;
use std::io::{self, Read, Write};

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use hyper::Method;
use hyper::body::Incoming;

use super::{ANSWER_MAX, Client, whole};
use crate::exit::Failure;

/// Bytes that are read at once.
const PIECE: usize = 64 * 1024;
/// Pieces that wait for the agent.
const PIECES_MAX: usize = 4;

impl Client {
    /// Writes what an agent gives to a sink; how many bytes that were.
    pub(crate) async fn download(&self, path: &str, sink: &mut impl Write) -> Result<u64, Failure> {
        let response = self.send(Method::GET, path, None).await?;
        if !response.status().is_success() {
            return whole(response).await?.success().map(|_| 0);
        }
        let (mut body, mut count) = (response.into_body(), 0);
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|error| Failure::failed(format!("it was cut off after {count} bytes: {error}")))?;
            if let Some(bytes) = frame.data_ref() {
                sink.write_all(bytes)?;
                count += bytes.len() as u64;
            }
        }
        Ok(count)
    }

    /// Asks for something whose answer goes on, line by line.
    pub(crate) async fn lines(&self, path: &str, body: &serde_json::Value) -> Result<Lines, Failure> {
        let response = self.send(Method::POST, path, Some(body)).await?;
        if response.status().is_success() {
            return Ok(Lines { body: response.into_body(), pending: Vec::new() });
        }
        Err(match whole(response).await?.success() {
            Ok(_) => Failure::failed("the agent gave an answer of no kind known here"),
            Err(failure) => failure,
        })
    }

    /// Gives a file to an agent; the lines of its answer come out one by one.
    pub(crate) async fn upload(&self, path: &str, file: File) -> Result<Lines, Failure> {
        let (mut sender, body) = Channel::<Bytes, io::Error>::new(PIECES_MAX);
        let mut file = Some(file);
        tokio::spawn(async move {
            while let Some(open) = file.take() {
                let read = tokio::task::spawn_blocking(move || read(open)).await;
                let (open, bytes) = match read {
                    Ok(Ok((open, bytes))) if !bytes.is_empty() => (open, bytes),
                    Ok(Ok(_)) => return,
                    Ok(Err(error)) => return sender.abort(error),
                    Err(error) => return sender.abort(io::Error::other(error)),
                };
                // The agent may have answered already, and reads no more.
                if sender.send_data(bytes).await.is_err() {
                    return;
                }
                file = Some(open);
            }
        });
        let response = self.send_body((Method::POST, path), "application/octet-stream", body).await?;
        if !response.status().is_success() {
            return Err(match whole(response).await?.success() {
                Ok(_) => Failure::failed("the agent gave an answer of no kind known here"),
                Err(failure) => failure,
            });
        }
        Ok(Lines { body: response.into_body(), pending: Vec::new() })
    }
}

fn read(mut file: File) -> io::Result<(File, Bytes)> {
    let mut bytes = vec![0; PIECE];
    let count = file.read(&mut bytes)?;
    bytes.truncate(count);
    Ok((file, bytes.into()))
}

/// The lines of an answer that goes on.
pub(crate) struct Lines {
    body: Incoming,
    pending: Vec<u8>,
}

impl Lines {
    /// The next line that says something; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<String>, Failure> {
        loop {
            while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).trim().to_owned();
                if !line.is_empty() {
                    return Ok(Some(line));
                }
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => self.pending.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
                Some(Err(error)) => return Err(Failure::failed(format!("the answer was cut off: {error}"))),
            }
            if self.pending.len() > ANSWER_MAX {
                return Err(Failure::failed("the agent sends a line without end"));
            }
        }
    }
}
