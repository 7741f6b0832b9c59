//! A server that sends lines without end: whoever reads them ends, and nobody else waits.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use tokio::time::Instant;

use super::{Client, HttpError, Limits, Request, Server, TlsFiles};
use crate::env::Env;

/// A timer of the same runtime may be so late: tests run beside each other.
const LATE_MAX: Duration = Duration::from_millis(500);

/// Serves one connection: a head, then that again and again.
fn flooding(piece: &'static [u8]) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a connection");
        let mut request = [0; 4096];
        let _ = client.read(&mut request).expect("a request");
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("the client reads");
        // The client ends it.
        while client.write_all(piece).is_ok() {}
    });
    Server::parse(&format!("http://{address}"), None).expect("an address")
}

/// Reads up to so many lines, and gives the error that came, how many there were, and how late a timer was.
async fn read(piece: &'static [u8], lines_max: usize) -> (Option<HttpError>, usize, Duration) {
    let directory = tempfile::tempdir().expect("a folder");
    let env = Env::real(directory.path()).expect("the world");
    let client = Client::new(env, TlsFiles::default(), Limits::default());
    let timer = tokio::spawn(async {
        let mut late = Duration::ZERO;
        for _ in 0..50 {
            let due = Instant::now() + Duration::from_millis(10);
            tokio::time::sleep_until(due).await;
            late = late.max(due.elapsed());
        }
        late
    });
    let mut lines = client.lines(&flooding(piece), Request::get("/")).await.expect("an answer").expect("200");
    let (mut error, mut count) = (None, 0);
    while error.is_none() && count < lines_max {
        match lines.next().await {
            Ok(line) => count += usize::from(line.is_some()),
            Err(why) => error = Some(why),
        }
    }
    drop(lines);
    (error, count, timer.await.expect("no panic"))
}

#[tokio::test]
async fn a_server_that_floods_with_short_lines_stops_nobody_else() {
    let piece: &[u8] = "{}\n".repeat(200_000).leak().as_bytes();
    let (error, count, late) = read(piece, 2_000_000).await;
    assert_eq!((error, count), (None, 2_000_000));
    assert!(late < LATE_MAX, "{late:?}");
}

#[tokio::test]
async fn lines_without_content_end_the_answer_when_many_follow_each_other() {
    let piece: &[u8] = "\n".repeat(400_000).leak().as_bytes();
    let (error, count, late) = read(piece, 2_000_000).await;
    let error = error.expect("an end").to_string();
    assert!(error.contains("1000 lines without content"), "{error}");
    assert!(count == 1000 && late < LATE_MAX, "{count} {late:?}");
}
