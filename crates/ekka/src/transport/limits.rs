//! The bounds of one transport: those of [`ekka_core::limits`], smaller ones in tests.

use std::time::Duration;

use ekka_core::limits;

/// What one transport allows. `Default` is what production uses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// From accept to a verified Hello.
    pub handshake: Duration,
    /// TCP connect and securing, for the dialling side.
    pub dial: Duration,
    /// From the Hello to its verdict and answer.
    pub verdict: Duration,
    /// For flushing before a close.
    pub flush: Duration,
    /// In which a closed connection still swallows input.
    pub linger: Duration,
    /// Half-open connections in all.
    pub half_open: usize,
    /// Of these, kept for addresses of known members.
    pub half_open_reserved: usize,
    /// Half-open connections of one source.
    pub half_open_per_source: usize,
    /// New connections a second of one source.
    pub accept_rate: u32,
    /// Half-open connections of one loopback address.
    pub half_open_loopback: usize,
    /// New connections a second of one loopback address.
    pub accept_rate_loopback: u32,
    /// Sources that are remembered.
    pub sources: usize,
    /// Bytes that may wait on a control connection.
    pub control_queue: usize,
    /// Bytes that may wait on a bulk connection; at least one whole frame always may.
    pub bulk_queue: usize,
    /// Dials under way.
    pub dials: usize,
    /// A refusal is reported once in this time for each address and reason.
    pub refusal_interval: Duration,
    /// Addresses and reasons that are remembered for that.
    pub refusal_entries: usize,
    /// The operator's certificate files are looked at so often.
    pub certificates_poll: Duration,
    /// Planted fault, for proving the harness: frames of any length are taken. Off in production.
    pub unchecked_frame_limit: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: limits::HANDSHAKE_TIMEOUT,
            dial: limits::DIAL_TIMEOUT,
            verdict: limits::VERDICT_TIMEOUT,
            flush: limits::FLUSH_TIMEOUT,
            linger: limits::LINGER_TIMEOUT,
            half_open: limits::HALF_OPEN_MAX,
            half_open_reserved: limits::HALF_OPEN_RESERVED,
            half_open_per_source: limits::HALF_OPEN_PER_SOURCE,
            accept_rate: limits::ACCEPT_RATE_PER_SOURCE,
            half_open_loopback: limits::HALF_OPEN_LOOPBACK,
            accept_rate_loopback: limits::ACCEPT_RATE_LOOPBACK,
            sources: limits::SOURCES_MAX,
            control_queue: limits::CONTROL_QUEUE_MAX,
            bulk_queue: limits::BULK_QUEUE_MAX,
            dials: limits::DIALS_MAX,
            refusal_interval: limits::REFUSAL_LOG_INTERVAL,
            refusal_entries: limits::REFUSAL_LOG_ENTRIES,
            certificates_poll: limits::CERTIFICATES_POLL,
            unchecked_frame_limit: false,
        }
    }
}
