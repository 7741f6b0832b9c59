//! A DNS server of a few lines that answers as no sound one would: with a failure, too much for UDP, or not at all.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How it answers every question.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// Not at all.
    Silence,
    /// With this code (2 SERVFAIL, 3 NXDOMAIN, 5 REFUSED).
    Code(u8),
    /// With no record, and no code.
    NoData,
    /// Cut off over UDP; over TCP with these records of the type asked for.
    Truncated(Vec<Vec<u8>>),
    /// Cut off over UDP, and nothing listens on TCP.
    TruncatedForEver,
    /// With bytes that are no message.
    Garbage,
    /// With code 1 (FORMERR) where the question has EDNS, else with these records.
    BeforeEdns(Vec<Vec<u8>>),
}

/// The server; ends when dropped.
pub(crate) struct Responder {
    pub(crate) address: SocketAddr,
    questions: Arc<AtomicUsize>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Responder {
    pub(crate) fn start(way: &Way) -> Self {
        let address = super::dns::free("127.0.0.1");
        let (questions, over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let mut threads = Vec::new();
        let udp = UdpSocket::bind(address).expect("the port is free");
        udp.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket takes a time-out");
        let (way_of_udp, count, end) = (way.clone(), questions.clone(), over.clone());
        threads.push(thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !end.load(Ordering::Relaxed) {
                let Ok((size, from)) = udp.recv_from(&mut buffer) else { continue };
                count.fetch_add(1, Ordering::Relaxed);
                if let Some(answer) = answer(&way_of_udp, &buffer[..size], Over::Udp) {
                    // Whoever asked may have gone.
                    let _ = udp.send_to(&answer, from);
                }
            }
        }));
        if !matches!(way, Way::TruncatedForEver) {
            let tcp = TcpListener::bind(address).expect("the port is free");
            let (way, count, end) = (way.clone(), questions.clone(), over.clone());
            threads.push(thread::spawn(move || {
                // The last connection is that of `drop`.
                for stream in tcp.incoming().map_while(Result::ok).take_while(|_| !end.load(Ordering::Relaxed)) {
                    count.fetch_add(1, Ordering::Relaxed);
                    let _ = serve(stream, &way); // whoever asked may have gone
                }
            }));
        }
        Self { address, questions, over, threads }
    }

    /// How many questions came.
    pub(crate) fn questions(&self) -> usize {
        self.questions.load(Ordering::Relaxed)
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address)); // wakes whoever waits for the next one, if anybody does
        for thread in self.threads.drain(..) {
            thread.join().expect("the server of a test does not panic");
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    Udp,
    Tcp,
}

fn serve(mut stream: TcpStream, way: &Way) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut size = [0; 2];
    stream.read_exact(&mut size)?;
    let mut question = vec![0; usize::from(u16::from_be_bytes(size))];
    stream.read_exact(&mut question)?;
    if let Some(answer) = answer(way, &question, Over::Tcp) {
        let size = u16::try_from(answer.len()).expect("a message is short");
        stream.write_all(&size.to_be_bytes())?;
        stream.write_all(&answer)?;
    }
    Ok(())
}

/// The message for a question: its header and question section, with flags, code and records.
fn answer(way: &Way, question: &[u8], over: Over) -> Option<Vec<u8>> {
    const TRUNCATED: u8 = 2;
    let section = question.get(12..)?;
    let name = section.iter().position(|byte| *byte == 0)? + 1;
    let kind = section.get(name..name + 2)?;
    let section = section.get(..name + 4)?;
    let edns = question.get(11) != Some(&0);
    let (flag, code, records): (u8, u8, &[Vec<u8>]) = match way {
        Way::Silence => return None,
        Way::Garbage => return Some(vec![0xff; 40]),
        Way::Code(code) => (0, *code, &[]),
        Way::NoData => (0, 0, &[]),
        Way::Truncated(records) if over == Over::Tcp => (0, 0, records),
        Way::Truncated(_) | Way::TruncatedForEver => (TRUNCATED, 0, &[]),
        Way::BeforeEdns(_) if edns => (0, 1, &[]),
        Way::BeforeEdns(records) => (0, 0, records),
    };
    let count = u16::try_from(records.len()).expect("a message is short").to_be_bytes();
    let mut message = question.get(..2)?.to_vec();
    message.extend([0x81 | flag, 0x80 | code, 0, 1, count[0], count[1], 0, 0, 0, 0]);
    message.extend(section);
    for data in records {
        message.extend([0xc0, 12]); // the name of the question
        message.extend(kind);
        message.extend([0, 1, 0, 0, 0, 5]); // class IN, five seconds
        message.extend(u16::try_from(data.len()).expect("a record is short").to_be_bytes());
        message.extend(data);
    }
    Some(message)
}
