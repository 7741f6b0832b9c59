//! What strangers can feed to the decoders, as functions of bytes: any input must come back, none may panic.

use ekka_core::wire::{FrameDecoder, FrameKind, Hello, HelloReply};

/// Cuts `data` into pieces (the first byte says how long) and decodes frames of every set of kinds used.
pub fn fuzz_frames(data: &[u8]) {
    let Some((size, data)) = data.split_first() else { return };
    let sets: [&'static [FrameKind]; 5] = [
        &[FrameKind::Hello],
        &[FrameKind::HelloReply],
        &[FrameKind::Control, FrameKind::Group, FrameKind::Call, FrameKind::HelloReply],
        &[FrameKind::Bulk, FrameKind::HelloReply],
        &[FrameKind::Call],
    ];
    for allowed in sets {
        let limit = allowed.iter().map(|kind| kind.limit()).max().unwrap_or(0);
        let mut decoder = FrameDecoder::new(allowed);
        'stream: for piece in data.chunks(usize::from(*size).max(1)) {
            decoder.push(piece);
            loop {
                match decoder.next_frame() {
                    Ok(None) => break,
                    Ok(Some((kind, body))) => {
                        assert!(allowed.contains(&kind) && body.len() < kind.limit());
                    }
                    Err(_) => break 'stream,
                }
            }
            assert!(decoder.buffered() <= limit + 4, "a decoder keeps at most one frame");
        }
    }
}

/// Decodes `data` as a Hello and as an answer; what decodes must encode to something that decodes to the same.
pub fn fuzz_hello(data: &[u8]) {
    let _ = Hello::decode_versions(data);
    if let Ok(hello) = Hello::decode(data) {
        assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
    }
    if let Ok(reply) = HelloReply::decode(data) {
        assert_eq!(HelloReply::decode(&reply.encode()), Ok(reply));
    }
}
