//! What a verified peer can feed to the machine that decides, as functions of bytes: none may panic.

use ekka_core::control::{ConnId, Control, Input, Message, Output};
use ekka_core::machine::Machine;
use ekka_core::time::Now;

/// Decodes `data` as the envelope of the control lane; what decodes must encode to something that decodes to the same.
pub fn fuzz_message(data: &[u8]) {
    let Ok(message) = postcard::from_bytes::<Message>(data) else { return };
    let bytes = postcard::to_allocvec(&message).expect("what was decoded can be encoded");
    assert_eq!(postcard::from_bytes::<Message>(&bytes).as_ref(), Ok(&message));
}

/// Gives `data` as a frame to a node that is linked with a peer by `conn`, lets its time pass up to `now`, and asserts
/// every invariant after each step. Gives what came of it.
pub fn fuzz_linked(control: &mut Control, conn: ConnId, data: &[u8], now: Now) -> Vec<Output> {
    let mut out = Vec::new();
    control.handle(Input::Frame { conn, bytes: data.to_vec() }, now, &mut out);
    control.check();
    control.tick(now, &mut out);
    control.check();
    out
}
