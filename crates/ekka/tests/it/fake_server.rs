//! A server that says whatever a test wants, and a way to a real etcd on which watches fall silent.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// What a request is answered with.
pub(crate) enum Reply {
    /// Status and body.
    Says(u16, String),
    /// A body with status 200 that does not end.
    Holds(String),
    /// The same, and the body comes again and again, every 5 ms.
    Repeats(String),
    /// The end of the connection.
    Ends,
}

/// What follows on a body.
enum Rest {
    Nothing,
    Silence,
    TheSame,
}

/// Answers each request, given as `METHOD /target` and body. Gives its address.
pub(crate) fn serve(answer: impl Fn(&str, &str) -> Reply + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket");
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for client in listener.incoming() {
            let answer = answer.clone();
            thread::spawn(move || one(client.expect("a connection"), &*answer));
        }
    });
    format!("http://{address}")
}

fn one(mut client: TcpStream, answer: &dyn Fn(&str, &str) -> Reply) {
    let Some((line, body)) = request(&mut client) else { return };
    let (status, body, rest) = match answer(&line, &body) {
        Reply::Says(status, body) => (status, body, Rest::Nothing),
        Reply::Holds(body) => (200, body, Rest::Silence),
        Reply::Repeats(body) => (200, body, Rest::TheSame),
        Reply::Ends => return,
    };
    // The client may be gone.
    let _ = client.write_all(format!("HTTP/1.1 {status} Said\r\nconnection: close\r\n\r\n{body}").as_bytes());
    match rest {
        Rest::Nothing => {}
        Rest::Silence => drop(client.read(&mut [0; 1])),
        Rest::TheSame => {
            client.set_read_timeout(Some(Duration::from_millis(5))).expect("a socket");
            // Until the client says something or ends.
            while client.write_all(body.as_bytes()).is_ok() && client.read(&mut [0; 1]).is_err() {}
        }
    }
}

fn request(client: &mut TcpStream) -> Option<(String, String)> {
    let (mut data, mut buffer) = (Vec::new(), vec![0; 65_536]);
    loop {
        let length = client.read(&mut buffer).ok().filter(|length| *length > 0)?;
        data.extend_from_slice(&buffer[..length]);
        let text = String::from_utf8_lossy(&data).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let of = |line: &str| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok();
        if body.len() >= head.lines().find_map(of).unwrap_or(0) {
            return Some((head.split(" HTTP").next().unwrap_or_default().to_owned(), body.to_owned()));
        }
    }
}

/// A way to a server on which all watches can be made silent: they stay open, and nothing comes any more.
pub(crate) struct Mute {
    /// Where to connect.
    pub(crate) url: String,
    pub(crate) muted: Arc<AtomicBool>,
}

impl Mute {
    pub(crate) fn new(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let server = url.trim_start_matches("http://").to_owned();
        let url = format!("http://{}", listener.local_addr().expect("a bound socket"));
        let muted = Arc::new(AtomicBool::new(false));
        let flag = muted.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (server, flag) = (server.clone(), flag.clone());
                thread::spawn(move || pass(client.expect("a connection"), &server, &flag));
            }
        });
        Self { url, muted }
    }
}

fn pass(mut client: TcpStream, server: &str, muted: &AtomicBool) {
    let mut buffer = vec![0; 65_536];
    let Ok(length @ 1..) = client.read(&mut buffer) else { return };
    let is_watch = String::from_utf8_lossy(&buffer[..length]).contains("/watch");
    let Ok(mut server) = TcpStream::connect(server) else { return };
    server.write_all(&buffer[..length]).expect("etcd reads");
    let (mut from, mut to) = (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
    while let Ok(length @ 1..) = server.read(&mut buffer) {
        if is_watch && muted.load(Ordering::SeqCst) {
            continue;
        }
        if client.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
    let _ = client.shutdown(std::net::Shutdown::Both);
}
