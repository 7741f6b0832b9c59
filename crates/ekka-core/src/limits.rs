//! Every bound in one place, with the relations between them checked when this compiles.

use core::time::Duration;

/// Longest part of a node name before the `@`, in bytes.
pub const NAME_PART_LEN_MAX: usize = 64;
/// Longest host, in bytes (RFC 1035).
pub const HOST_LEN_MAX: usize = 253;
/// The port rule: digits that end a name count modulo this.
pub const PORT_OFFSET_MODULO: u16 = 60_000;
/// Default base port of the port rule.
pub const BASE_PORT: u16 = 4370;

/// Longest frame before a peer has been verified and has said Hello, in bytes.
pub const HELLO_FRAME_MAX: usize = 64 * 1024;
/// Longest frame of the control lane, in bytes.
pub const CONTROL_FRAME_MAX: usize = 1024 * 1024;
/// Longest frame of the bulk lane, in bytes: a value of 16 MiB with its key and head.
pub const BULK_FRAME_MAX: usize = 17 * 1024 * 1024;
/// Bytes that may wait for one peer on the control lane before the link counts as stuck.
pub const CONTROL_QUEUE_MAX: usize = 4 * 1024 * 1024;
/// Bytes that may wait for one peer on the bulk lane before senders wait.
pub const BULK_QUEUE_MAX: usize = 20 * 1024 * 1024;

/// Longest name of a method, in bytes.
pub const METHOD_NAME_MAX: usize = 128;
/// Longest request, answer or item, in bytes: as a value of a table.
pub const CALL_PAYLOAD_MAX: usize = 16 * 1024 * 1024;
/// Calls to one peer that may be under way before callers wait.
pub const CALLS_WINDOW: usize = 1024;
/// Bytes of requests to one peer that may be under way before callers wait.
pub const CALLS_WINDOW_BYTES: usize = 20 * 1024 * 1024;
/// Bytes that may wait to be written to one peer before it is told to come again; twice this much, and it counts as stuck.
pub const CALLS_QUEUE_MAX: usize = 40 * 1024 * 1024;
/// Streams to one peer that may be open.
pub const STREAMS_MAX: usize = 256;
/// Most items of a stream that may be on their way.
pub const STREAM_WINDOW_MAX: u32 = 65_536;
/// Time that a call has where nothing else is said.
pub const CALL_DEADLINE: Duration = Duration::from_secs(5);
/// Longest deadline of a call.
pub const CALL_DEADLINE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Time from accept to a verified Hello; then the connection is closed.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a dial, TCP connect and handshake together. Short, so that the next dial after a repair of the network
/// does not wait for the one before it.
pub const DIAL_TIMEOUT: Duration = Duration::from_millis(2_500);
/// Half-open connections in all.
pub const HALF_OPEN_MAX: usize = 256;
/// Of these, kept for addresses of known members.
pub const HALF_OPEN_RESERVED: usize = 64;
/// Half-open connections of one source address (/64 for IPv6).
pub const HALF_OPEN_PER_SOURCE: usize = 8;
/// New connections a second of one source address.
pub const ACCEPT_RATE_PER_SOURCE: u32 = 20;
/// The same for loopback, where many nodes share an address.
pub const HALF_OPEN_LOOPBACK: usize = 64;
/// The same for loopback.
pub const ACCEPT_RATE_LOOPBACK: u32 = 200;
/// A refusal is logged once in this time for each address and reason.
pub const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Addresses and reasons that the refusal log remembers.
pub const REFUSAL_LOG_ENTRIES: usize = 1024;

/// Time for the verdict on a verified Hello; it may be held back while others are asked which start of its node runs.
pub const VERDICT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for what was queued to go out before a connection is closed.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Time in which a closed connection still swallows input, so that its last words are not lost to a reset.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// The operator's certificate files are looked at so often; a look reads three small files.
pub const CERTIFICATES_POLL: Duration = Duration::from_secs(10);
/// Dials under way at once.
pub const DIALS_MAX: usize = 1024;
/// Source addresses whose rate of new connections is remembered.
pub const SOURCES_MAX: usize = 8192;

/// Time between two heartbeats on a link.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(300);
/// Silence after which a link is down, redialled, and an indirect probe is asked for.
pub const LINK_SILENCE: Duration = Duration::from_millis(1_000);
/// Silence, to this node and to everyone that it can ask, after which a member is down.
pub const MEMBER_SILENCE: Duration = Duration::from_millis(2_400);
/// The promise: a silent member is seen as down within this time.
pub const DETECTION_TIME: Duration = Duration::from_secs(3);
/// Up to this many members everybody sends heartbeats to everybody.
pub const FULL_MESH_MAX: usize = 32;
/// Beyond it each sends to this many neighbours on the ring.
pub const RING_NEIGHBOURS: usize = 16;
/// How often a down member is contacted again.
pub const RECONTACT_INTERVAL: Duration = Duration::from_secs(1);
/// After this long the interval grows to [`RECONTACT_SLOW_INTERVAL`].
pub const RECONTACT_SLOW_AFTER: Duration = Duration::from_secs(600);
/// How often a member that has long been down is contacted again.
pub const RECONTACT_SLOW_INTERVAL: Duration = Duration::from_secs(5);
/// Members of one cluster, known ones and remembered ones.
pub const MEMBERS_MAX: usize = 4096;

/// Clocks further apart than this give a warning.
pub const CLOCK_WARN: Duration = Duration::from_millis(500);
/// A node whose clock is further than this from the median of its peers does not become `up`.
pub const CLOCK_REFUSE: Duration = Duration::from_secs(60);
/// How often peers compare clocks.
pub const CLOCK_INTERVAL: Duration = Duration::from_secs(10);

/// Candidates that one answer of a discovery may hold; more are cut off and said.
pub const CANDIDATES_MAX: usize = 1024;
/// A candidate that no answer names is forgotten after this. Answers may be short (5 of 15 records at a time, asked 24
/// times in this time: one in 17,000 is forgotten too early, until it is named again); and a stale record must not
/// count for ever among those of whom a majority is to vote.
pub const CANDIDATE_KEPT: Duration = Duration::from_secs(120);
/// Time for one strategy to answer.
pub const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// How often discovery runs until all are up.
pub const REDISCOVER_INTERVAL: Duration = Duration::from_secs(5);
/// How often it runs once all are up.
pub const REDISCOVER_SLOW_INTERVAL: Duration = Duration::from_secs(30);
/// News of a backend is looked at not more often than this.
pub const NEWS_INTERVAL: Duration = Duration::from_millis(200);
/// Settling time of the answering candidates for `static`.
pub const SETTLE_STATIC: Duration = Duration::from_secs(1);
/// Settling time for every other strategy.
pub const SETTLE_OTHER: Duration = Duration::from_secs(3);
/// Voters that one cluster has at most.
pub const VOTERS_MAX: usize = 7;

/// Events kept for `ekka events --last`.
pub const EVENTS_KEPT: usize = 1024;
/// Decision records kept in memory for `ekka why`.
pub const DECISIONS_KEPT: usize = 1024;
/// Evidence lines in one decision record.
pub const EVIDENCE_MAX: usize = 64;
/// Longest text that a peer may give as a reason, in bytes.
pub const REASON_LEN_MAX: usize = 1024;

const _: () = {
    assert!(HELLO_FRAME_MAX < CONTROL_FRAME_MAX && CONTROL_FRAME_MAX < BULK_FRAME_MAX);
    assert!(CONTROL_FRAME_MAX <= CONTROL_QUEUE_MAX && BULK_FRAME_MAX <= BULK_QUEUE_MAX);
    // A payload fits into a frame with its head, and one of the largest into the window.
    assert!(CALL_PAYLOAD_MAX + 64 * 1024 < BULK_FRAME_MAX && CALL_PAYLOAD_MAX < CALLS_WINDOW_BYTES);
    // A peer that reads nothing still gets the requests of a full window.
    assert!(CALLS_WINDOW_BYTES + BULK_FRAME_MAX < CALLS_QUEUE_MAX);
    assert!(HALF_OPEN_RESERVED < HALF_OPEN_MAX && HALF_OPEN_LOOPBACK < HALF_OPEN_MAX);
    assert!(HANDSHAKE_TIMEOUT.as_millis() < VERDICT_TIMEOUT.as_millis());
    // Both sides may ask around, one after the other.
    assert!(DETECTION_TIME.as_millis() * 2 < VERDICT_TIMEOUT.as_millis());
    // A link must miss three heartbeats before it is down, and a member must be asked about in the rest.
    assert!(HEARTBEAT_INTERVAL.as_millis() * 3 < LINK_SILENCE.as_millis());
    assert!(LINK_SILENCE.as_millis() < MEMBER_SILENCE.as_millis());
    assert!(MEMBER_SILENCE.as_millis() + HEARTBEAT_INTERVAL.as_millis() < DETECTION_TIME.as_millis());
    assert!(CLOCK_WARN.as_millis() < CLOCK_REFUSE.as_millis());
    assert!(RING_NEIGHBOURS < FULL_MESH_MAX);
};
