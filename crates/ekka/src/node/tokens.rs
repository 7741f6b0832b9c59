//! Ranges of fencing tokens, as the handle of a node takes them.

use std::ops::Range;

use ekka_core::control::{Command, CommandError, Reply};

use super::Node;

impl Node {
    /// Takes so many fencing tokens, of which this caller is the only owner for the life of the cluster: the group has
    /// committed that no other range has any of them. Of two ranges of which one was taken before the other was asked
    /// for, the later one is the higher. *Cancel safe* in that nothing is left behind: tokens that nobody got stay unused.
    ///
    /// # Errors
    /// `Refused` says why there are none: this node is in no cluster, its cluster goes into another one, or tokens are
    /// used up. `Failed` says that it was not committed as far as is known, within ten seconds: ask again.
    pub async fn take_tokens(&self, count: u64) -> Result<Range<u64>, CommandError> {
        self.tokens(Command::TakeTokens { count }).await
    }

    /// From now on the floor is no lower than this: whoever issues tokens of ranges that were taken before skips those
    /// below. The ceiling then.
    pub(super) async fn tokens_from(&self, floor: u64) -> Result<u64, CommandError> {
        self.tokens(Command::TokensFrom { floor }).await.map(|none| none.end)
    }

    async fn tokens(&self, command: Command) -> Result<Range<u64>, CommandError> {
        match self.command(command).await? {
            Reply::Tokens { from, to } => Ok(from..to),
            other => Err(CommandError::Failed(format!("an answer without tokens: {other:?}"))),
        }
    }
}
