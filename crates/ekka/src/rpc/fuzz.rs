//! What a peer can send on the lane for calls, as functions of bytes: any input must come back, none may panic.

use std::sync::Arc;

use ekka_core::id::{Guid, Incarnation, NodeId};
use ekka_core::rpc::{decode, encode};

use super::connection::{Connection, Service};
use super::driver::take;
use super::figures::Figures;
use super::handlers::{Handlers, Peer};
use super::{Caller, Method, Receiver, Stream, builtin};

/// Decodes `data` as a message; what decodes must encode to something that decodes to the same.
pub fn fuzz_message(data: &[u8]) {
    let Ok((head, payload)) = decode(data) else { return };
    let mut bytes = Vec::new();
    encode(&head, &mut bytes);
    bytes.extend_from_slice(payload);
    assert_eq!(decode(&bytes), Ok((head, payload)));
}

/// Gives `data`, cut into messages by a length before each, to a connection that serves calls and streams; to be run in
/// a runtime.
pub fn fuzz_peer(data: &[u8]) {
    let me = Incarnation { node_id: NodeId::from_u128(1), guid: Guid::from_u128(2) };
    let slow: Method<u64, u64> = Method::new("slow");
    let items: Stream<u64> = Stream::new("items");
    let handlers = Handlers::new()
        .serve(&slow, async |_: Caller, n| {
            tokio::task::yield_now().await;
            Ok(n)
        })
        .receive(&items, async |_: Caller, mut items: Receiver<u64>| {
            while items.next().await?.is_some() {}
            Ok(())
        });
    let handlers = builtin::add(handlers, move || (me, "ekka@127.0.0.1".to_owned()));
    let service = Service {
        figures: Figures::new(handlers.methods.keys().map(String::as_str)),
        handlers,
        app: tokio::runtime::Handle::current(),
        epoch: tokio::time::Instant::now(),
    };
    let name = "ekka@127.0.0.1".parse().expect("the name of a node");
    let peer = Arc::new(Peer { incarnation: me, name });
    let connection = Connection::new(peer, Arc::new(service), Arc::default());
    let mut rest = data;
    while let Some((length, after)) = rest.split_first() {
        let (frame, after) = after.split_at(usize::from(*length).min(after.len()));
        rest = after;
        if take(&connection, frame).is_err() {
            break;
        }
        connection.expire();
        connection.check();
    }
    connection.end("the end of the input");
    connection.check();
}
