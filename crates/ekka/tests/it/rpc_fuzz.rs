//! What a peer sends on the lane for calls can be anything: seeded mutations of real messages, for a bounded time.

use std::time::{Duration, Instant};

use ekka::core::rng::Rng;
use ekka::core::rpc::{CallHead, Codec, Head, Refusal, Trace, encode};
use ekka::rpc::fuzz::{fuzz_message, fuzz_peer};

fn message(head: &Head<'_>, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(head, &mut bytes);
    bytes.extend_from_slice(payload);
    bytes
}

/// Every kind of message, as a peer would send them in a row.
fn corpus() -> Vec<Vec<u8>> {
    let call = |id, method, key| CallHead {
        id,
        method,
        codec: if method == "ekka.echo" { Codec::Raw } else { Codec::MessagePack },
        deadline_us: id * 100,
        key,
        trace: Some(Trace { trace_id: 1, span_id: 2, flags: 3 }),
    };
    vec![
        message(&Head::Call(call(1, "ekka.echo", None)), b"bytes"),
        message(&Head::Call(call(2, "slow", Some(7))), &[7]),
        message(&Head::Cast(call(3, "slow", Some(7))), &[8]),
        message(&Head::Call(call(4, "slow", Some(7))), &[9]),
        message(&Head::Cancel { id: 3 }, &[]),
        message(&Head::Open { call: call(5, "items", None), window: 2 }, &[]),
        message(&Head::Item { id: 5 }, &[1]),
        message(&Head::Item { id: 5 }, &[0xc1]),
        message(&Head::Handled { id: 5, count: 1 }, &[]),
        message(&Head::Finish { id: 5 }, &[]),
        message(&Head::Answer { id: 1 }, b"bytes"),
        message(&Head::Refused { id: 2, why: Refusal::Busy }, "w\u{f6}rds".as_bytes()),
        message(&Head::Finished { id: 5 }, &[]),
    ]
}

fn mutate(rng: &mut Rng, data: &mut Vec<u8>) {
    for _ in 0..=rng.index(6) {
        let at = rng.index(data.len() + 1);
        let byte = u8::try_from(rng.index(256)).expect("below 256");
        match rng.index(4) {
            0 => data.truncate(at),
            1 => data.insert(at, byte),
            2 if at < data.len() => data[at] = byte,
            _ => {
                let copy = data[..at].to_vec();
                data.extend(copy);
            }
        }
    }
}

#[test]
fn messages_can_hold_anything() {
    let corpus = corpus();
    for bytes in &corpus {
        fuzz_message(bytes);
    }
    let until = Instant::now() + Duration::from_secs(1);
    let mut rounds = 0;
    while Instant::now() < until {
        rounds += 1;
        let mut rng = Rng::new(rounds);
        let mut data = corpus[rng.index(corpus.len())].clone();
        mutate(&mut rng, &mut data);
        fuzz_message(&data);
    }
    assert!(rounds > 100, "only {rounds} rounds");
}

#[test]
fn a_peer_can_send_messages_in_any_order_and_shape() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let framed = |bytes: &[u8]| [&[u8::try_from(bytes.len()).expect("small")], bytes].concat();
    let whole: Vec<u8> = corpus().iter().flat_map(|bytes| framed(bytes)).collect();
    runtime.block_on(async { fuzz_peer(&whole) });
    let until = Instant::now() + Duration::from_secs(2);
    let mut rounds = 0;
    while Instant::now() < until {
        rounds += 1;
        let mut rng = Rng::new(rounds);
        let corpus = corpus();
        let mut data = Vec::new();
        for _ in 0..=rng.index(20) {
            let mut bytes = corpus[rng.index(corpus.len())].clone();
            if rng.index(3) == 0 {
                mutate(&mut rng, &mut bytes);
            }
            bytes.truncate(255);
            data.extend(framed(&bytes));
        }
        // Tasks of handlers run between two inputs, as they do between two reads.
        runtime.block_on(async {
            fuzz_peer(&data);
            tokio::task::yield_now().await;
        });
    }
    assert!(rounds > 100, "only {rounds} rounds");
}
