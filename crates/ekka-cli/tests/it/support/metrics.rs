//! What a node says by HTTP on its `health.listen`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Sum of a metric of a node with `health.listen` at this address, over all label sets that hold the text.
///
/// # Errors
/// It does not answer.
pub(crate) fn metric(address: &str, name: &str, label: &str) -> Result<f64, String> {
    let text = get(address, "/metrics")?;
    let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
    Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

/// The whole answer of a node with `health.listen` at this address, its head first.
///
/// # Errors
/// It does not answer.
pub(crate) fn get(address: &str, path: &str) -> Result<String, String> {
    let fail = |error: std::io::Error| format!("{address}: {error}");
    let mut stream = TcpStream::connect(address).map_err(fail)?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(fail)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").map_err(fail)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(fail)?;
    Ok(text)
}
