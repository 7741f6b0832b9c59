//! Ranges of fencing tokens, taken by whoever issues them on this node.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::commands::Answer;
use super::group::Waiting;
use super::{CommandError, Control, Output, Reply, RequestId};
use crate::decision::DecisionId;
use crate::durable::{self, Gave, Wish};
use crate::limits::TOKEN_TAKERS_MAX;
use crate::time::Now;

impl Control {
    /// Has a range committed that nobody else has, or where they begin. No record of the wish is kept: ranges are taken all
    /// the time, and theirs would push out those of members.
    pub(super) fn take_tokens(&mut self, id: RequestId, wish: Wish, now: Now, out: &mut Vec<Output>) -> Option<Answer> {
        if !self.group.is_open() {
            let why = String::from("this node is in no cluster: tokens are those of a cluster");
            return Some(Err(CommandError::Refused(why)));
        }
        if self.group.takers() >= TOKEN_TAKERS_MAX {
            let why = format!("{TOKEN_TAKERS_MAX} ranges of tokens are asked for on this node already");
            return Some(Err(CommandError::Failed(why)));
        }
        self.wish((wish, Waiting::Tokens(id)), DecisionId::NONE, Vec::new(), now, out);
        None
    }

    /// The range is committed, or it is not known that it is: then its tokens are nobody's.
    pub(super) fn tokens_taken(id: RequestId, reply: &durable::Reply, out: &mut Vec<Output>) {
        let result = match reply {
            durable::Reply::Done { gave: Gave::Tokens { from, to }, .. } => Ok(Reply::Tokens { from: *from, to: *to }),
            durable::Reply::Done { .. } => Err(CommandError::Failed("the group answered without a range".to_string())),
            durable::Reply::Refused { words, .. } => Err(CommandError::Refused(words.clone())),
            durable::Reply::TryAgain { words, .. } => Err(CommandError::Failed(words.clone())),
            durable::Reply::AskLeader { .. } => Err(CommandError::Failed("another member leads now".to_string())),
        };
        out.push(Output::Reply { id, result });
    }
}
