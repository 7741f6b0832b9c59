//! One TCP port: mutual TLS or an HMAC challenge, the Hello, lanes, bounded queues, limits for strangers.
//!
//! The transport carries bytes and counts. Whom it dials, whom it accepts and which of two connections is used is
//! said by `Control`; see [`ekka_core::control::io`].
//!
//! A connection is accepted (`gate`, `accept`) or dialled (`dial`), secured (`secure`: TLS or `challenge`), greeted
//! (`greeting`), judged by `Control` and carried (`link`) to its end; `shared` and `registry` hold what all of them
//! share. Every end has a cause, and every refusal is counted (`refusals`).

mod accept;
mod bulk;
mod challenge;
mod cookie;
mod credentials;
mod dial;
mod expiry;
mod failure;
mod files;
pub mod fuzz;
mod gate;
mod greeting;
mod handle;
mod kdf;
mod known;
mod lanes;
mod limits;
mod link;
mod outbox;
mod refusals;
mod registry;
mod secure;
mod shared;
mod signers;
mod stats;
mod tls;

use std::sync::Arc;

use ekka_core::id::{Incarnation, NodeId};
use ekka_core::wire::{Hello, Purpose};
use tokio::sync::mpsc;

pub use bulk::{BulkConnection, BulkError};
pub use cookie::{CookieError, CookieSet};
pub use credentials::{Credentials, CredentialsError, Mode};
pub use files::CertificateNotice;
pub use handle::{BindError, Options, Transport, observe_once};
pub use kdf::Kdf;
pub use lanes::{Hosts, LaneConnection, LaneHost};
pub use limits::Limits;
pub use refusals::RefusalNotice;
pub use stats::TransportStats;

/// Gives this node's Hello of the moment.
pub type HelloSource = Arc<dyn Fn(Purpose) -> Hello + Send + Sync>;

/// Where frames of consensus groups go, each with the incarnation that sent it. They pass `Control` by, and are dropped
/// where the receiver is behind: every message of a group can be lost.
pub type GroupSender = mpsc::Sender<(Incarnation, Vec<u8>)>;

/// Where frames of the bulk lane go, each with the node that sent it.
pub type BulkSender = mpsc::Sender<(NodeId, Vec<u8>)>;
