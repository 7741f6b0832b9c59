//! A way to a server that holds one request back: what a client sent and a network has not delivered yet.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

/// A port whose connections go to a server, but for the first with a certain word in what the client sends.
pub(crate) struct Stall {
    /// Where to connect.
    pub(crate) address: String,
    held: Receiver<()>,
    deliver: Sender<bool>,
}

impl Stall {
    /// Goes to `server` (`host:port`) and holds back the first request that holds that word.
    pub(crate) fn new(server: &str, word: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket").to_string();
        let (seen, held) = channel();
        let (deliver, may_go) = channel();
        let (server, once) = (server.to_owned(), Arc::new(Mutex::new(Some((seen, may_go)))));
        thread::spawn(move || {
            for client in listener.incoming() {
                let (server, once) = (server.clone(), once.clone());
                thread::spawn(move || pass(&client.expect("a connection"), &server, word, &once));
            }
        });
        Self { address, held, deliver }
    }

    /// Waits until a request is held back.
    pub(crate) fn wait(&self, limit: std::time::Duration) {
        self.held.recv_timeout(limit).expect("a request of that kind came");
    }

    /// Lets it go on to the server, or loses it.
    pub(crate) fn release(&self, deliver: bool) {
        self.deliver.send(deliver).expect("somebody waits for it");
    }
}

type Once = Mutex<Option<(Sender<()>, Receiver<bool>)>>;

fn pass(client: &TcpStream, server: &str, word: &str, once: &Once) {
    // A server that is not there: the client sees its connection end.
    let Ok(server) = TcpStream::connect(server) else { return };
    let back = (server.try_clone().expect("a socket"), client.try_clone().expect("a socket"));
    thread::spawn(move || copy(&back.0, &back.1));
    let mut buffer = vec![0; 65_536];
    let mut from = client;
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let sent = String::from_utf8_lossy(&buffer[..length]);
        let held = if sent.contains(word) { once.lock().expect("no panic").take() } else { None };
        if let Some((seen, may_go)) = held {
            // The test may have ended.
            let _ = seen.send(());
            if may_go.recv() != Ok(true) {
                break;
            }
        }
        if (&server).write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    // Either may be closed already.
    let _ = server.shutdown(Shutdown::Write);
}

fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
