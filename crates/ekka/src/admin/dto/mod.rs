//! The JSON of the contract: field names never change, more may come. Times are RFC 3339 in UTC.
//!
//! Servers make these from a view, clients in Rust read them back.

mod backup;
mod command;
mod commit;
mod error;
mod event;
mod health;
mod link;
mod lock;
mod member;
mod rpc;
mod status;
mod table;

pub use backup::{RestoreLine, RestoredAnswer, RestoredTable, VerifiedPeer, VerifyAnswer, VerifyRequest};
pub use command::{
    CommandAnswer, DecisionAnswer, ForceLeaveRequest, JoinRequest, PlanRequest, RecoverRequest, ReloadAnswer,
    StopRequest,
};
pub use commit::{
    CeilingAnswer, CommitBenchAnswer, CommitBenchRequest, GroupWord, TakeTokensAnswer, TakeTokensRequest,
};
pub use error::{ErrorAnswer, ErrorBody};
pub use event::{event_id, event_line, lagged_line, parse_event_id};
pub use health::{LiveAnswer, ReadyAnswer, ReasonAnswer, SafeAnswer};
pub use link::LinkAnswer;
pub use lock::{
    ForceReleaseAnswer, ForceReleaseRequest, HoldLine, HoldRequest, LockAnswer, LockHolderAnswer, LockMode,
};
pub(super) use member::role_word;
pub use member::{MemberAnswer, SyncAnswer};
pub use rpc::{BenchAnswer, BenchRequest, CallAnswer, CallRequest, CountAnswer, CountRequest, PingAnswer, PingRequest};
pub use status::{
    AlarmAnswer, ConflictAnswer, CookieAnswer, QuorumAnswer, ReadyForAnswer, SignerAnswer, SplitAnswer, StatusAnswer,
    UnreachableAnswer, VersionAnswer, VolatileAnswer,
};
pub use table::{
    CreateTableRequest, DeleteRequest, KeyRequest, LossAnswer, PutRequest, RowAnswer, RowsAnswer, ScanRequest,
    TableAnswer, TableBenchAnswer, TableBenchRequest, TableChangedAnswer, TermsRequest, WrittenAnswer,
};

use ekka_core::id::NodeId;
use ekka_core::view::View;

/// The name of a member, or its id where it is none any more.
pub(super) fn name_of(view: &View, node_id: NodeId) -> String {
    view.member(node_id).map_or_else(|| node_id.to_string(), |member| member.name.to_string())
}
