//! Tables made and dropped by whoever uses this node.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::commands::Answer;
use super::group::Waiting;
use super::{CommandError, Control, Output, Reply, RequestId};
use crate::decision::DecisionId;
use crate::durable::{self, SchemaChange, Wish};
use crate::time::Now;

impl Control {
    /// Has a change of the schemas committed.
    pub(super) fn change_schema(
        &mut self,
        id: RequestId,
        change: SchemaChange,
        now: Now,
        out: &mut Vec<Output>,
    ) -> Option<Answer> {
        if !self.group.is_open() {
            let why = String::from("this node is in no cluster: tables are those of a cluster");
            return Some(Err(CommandError::Refused(why)));
        }
        if let SchemaChange::Create(schema) = &change
            && let Err(error) = schema.check()
        {
            return Some(Err(CommandError::Refused(error.to_string())));
        }
        let decision = self.record_command(now, &change.words());
        self.wish((Wish::Schema(change), Waiting::Schema { id, decision }), decision, Vec::new(), now, out);
        None
    }

    /// Has it committed that quorum tables hold rows from now on.
    pub(super) fn begin_quorum_rows(&mut self, id: RequestId, now: Now, out: &mut Vec<Output>) -> Option<Answer> {
        if !self.group.is_open() {
            let why = String::from("this node is in no cluster: tables are those of a cluster");
            return Some(Err(CommandError::Refused(why)));
        }
        let decision = self.record_command(now, "the first row of a quorum table");
        self.wish((Wish::QuorumRows, Waiting::QuorumRows { id, decision }), decision, Vec::new(), now, out);
        None
    }

    /// It is committed.
    pub(super) fn quorum_rows_begun(&self, id: RequestId, decision: DecisionId, out: &mut Vec<Output>) {
        let reply = self.done("quorum tables hold rows from now on", decision);
        out.push(Output::Reply { id, result: Ok(reply) });
    }

    pub(super) fn schema_changed(
        (id, decision): (RequestId, DecisionId),
        reply: &durable::Reply,
        out: &mut Vec<Output>,
    ) {
        let result = match reply {
            durable::Reply::Done { number, .. } => Ok(Reply::Schema { table: *number, decision }),
            durable::Reply::Refused { words, .. } => Err(CommandError::Refused(words.clone())),
            durable::Reply::TryAgain { words, .. } => Err(CommandError::Failed(words.clone())),
            durable::Reply::AskLeader { .. } => Err(CommandError::Failed("another member leads now".to_string())),
        };
        out.push(Output::Reply { id, result });
    }
}
