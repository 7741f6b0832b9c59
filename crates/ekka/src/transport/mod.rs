//! One TCP port: mutual TLS or an HMAC challenge, the Hello, lanes, bounded queues, limits for strangers.
//!
//! The transport carries bytes and counts. Whom it dials, whom it accepts and which of two connections is used is
//! said by `Control`; see [`ekka_core::control::io`].
