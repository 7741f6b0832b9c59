//! Thousands of bad connections leave nothing behind. A binary of its own: descriptors are counted for the process.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "the other binary needs the rest")]
#[path = "it/transport_common/mod.rs"]
mod transport_common;

use std::fs;
use std::time::Duration;

use ekka::transport::Limits;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use transport_common::*;

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn bad_connection(addr: std::net::SocketAddr, kind: usize) {
    let Ok(mut stream) = TcpStream::connect(addr).await else { return };
    let words: &[u8] = match kind % 5 {
        0 => b"GET / HTTP/1.1\r\n\r\n",
        1 => &[0xff; 2000],
        2 => &[22, 3, 1, 2, 0, 1, 0, 1],
        3 => b"ekka\x01",
        _ => b"",
    };
    // The node may have closed already; that is its right.
    let _ = stream.write_all(words).await;
}

async fn storm(node: &Node, count: usize) {
    let addr = node.transport.local_addrs()[0];
    for first in (0..count).step_by(20) {
        let mut batch = tokio::task::JoinSet::new();
        for kind in first..(first + 20).min(count) {
            batch.spawn(bad_connection(addr, kind));
        }
        batch.join_all().await;
    }
    let settled = async {
        while node.transport.stats().half_open > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, settled).await.expect("every place is given back");
}

#[tokio::test]
async fn bad_connections_leave_descriptors_and_memory_where_they_were() {
    let count = std::env::var("EKKA_STORM").ok().and_then(|text| text.parse().ok()).unwrap_or(2_000usize);
    let limits = Limits { accept_rate_loopback: 1_000_000, ..Limits::default() };
    let (mut a, mut b) = (Setup { limits, ..setup(1) }.start().await, setup(2).start().await);
    let (at_a, at_b) = link(&mut a, &mut b).await;
    storm(&a, 200).await;
    exchange((&mut a, at_a), (&mut b, at_b), b"warm").await;
    let (fds, memory) = (descriptors(), resident_kib());
    let mut done = 0;
    while done < count {
        storm(&a, 200).await;
        exchange((&mut a, at_a), (&mut b, at_b), b"the link carries").await;
        done += 200;
    }
    assert_eq!(descriptors(), fds);
    assert!(resident_kib() < memory + 8 * 1024, "{memory} KiB grew to {} KiB", resident_kib());
    let stats = a.transport.stats();
    let refused: u64 = stats.refused.values().sum();
    assert!(refused >= count as u64 / 2, "{:?}", stats.refused);
    assert_eq!((stats.connections, stats.half_open), (1, 0));
}
