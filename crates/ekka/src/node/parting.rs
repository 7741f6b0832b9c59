//! What a node does before it stops, or leaves: what only it has goes to others first.

use std::sync::Arc;
use std::time::Duration;

use ekka_core::control::{Command, CommandError, Reply};
use tokio::sync::oneshot;
use tracing::warn;

use super::Inner;
use super::driver::Request;
use crate::table::OnlyHere;

type Answer = Result<Reply, CommandError>;

impl Inner {
    /// Gives a command to the loop.
    pub(super) async fn ask(&self, command: Command) -> Answer {
        let (answer, result) = oneshot::channel();
        let request = Request { command, answer };
        self.requests.send(request).await.map_err(|_| CommandError::Stopping)?;
        result.await.map_err(|_| CommandError::Stopping)?
    }

    /// The same, and what goes before it or with it where this node goes.
    pub(super) async fn carry_out(self: &Arc<Self>, command: Command) -> Answer {
        let inner = self.clone();
        let limit = self.config().node.stop_timeout;
        match command {
            // Whoever asked may wait no longer; it goes on all the same.
            Command::Leave { plan: false } => self.beside(async move { inner.leave(limit).await }).await,
            Command::Stop { by, plan: false } => self.end(by, limit).await,
            Command::Drain { plan: false } => {
                let drained = self.ask(command).await?;
                self.tables.hand_over(limit / 2, false).await;
                Ok(drained)
            }
            Command::Leave { plan: true } | Command::Stop { plan: true, .. } => {
                let only_here = self.tables.only_here();
                self.ask(command).await.map(|reply| with_writes(reply, &only_here))
            }
            command => self.ask(command).await,
        }
    }

    /// Has the node stop. Half of the time is for what others are to get.
    pub(super) async fn end(self: &Arc<Self>, by: String, limit: Duration) -> Answer {
        let (inner, limit) = (self.clone(), limit.min(self.config().node.stop_timeout) / 2);
        self.beside(async move { inner.stop(by, limit).await }).await
    }

    async fn beside(&self, work: impl Future<Output = Answer> + Send + 'static) -> Answer {
        self.tables.home().spawn(work).await.unwrap_or(Err(CommandError::Stopping))
    }

    /// Leaves once others have what only this node has. What they cannot be given keeps it a member.
    async fn leave(&self, limit: Duration) -> Answer {
        let planned = self.ask(Command::Leave { plan: true }).await?;
        let is_refused = matches!(planned, Reply::Plan { refused: Some(_), .. });
        if !is_refused {
            let left = self.tables.hand_over(limit, true).await;
            if !left.is_empty() {
                self.tables.close_writes(false);
                let name = self.config().node.name;
                return Err(CommandError::Failed(format!(
                    "{name} stays a member: within {limit:?} (node.stop_timeout) no other node that is up has got {}; \
                     try again when one has",
                    in_words(&left)
                )));
            }
        }
        let result = self.ask(Command::Leave { plan: false }).await;
        if result.is_ok() {
            self.shared.committed().send_replace(Arc::default());
            self.tables.leave();
        }
        if !is_refused {
            self.tables.close_writes(false);
        }
        result
    }

    /// Stops once others have what only this node has, or the time for that is over.
    async fn stop(&self, by: String, limit: Duration) -> Answer {
        let left = self.tables.hand_over(limit, true).await;
        if !left.is_empty() {
            let only_here = in_words(&left);
            warn!(only_here, "no other node is known to have this: of tables in ram it ends with this process");
        }
        let result = self.ask(Command::Stop { by, plan: false }).await;
        if result.is_err() {
            self.tables.close_writes(false);
        }
        result
    }
}

fn in_words(only_here: &[OnlyHere]) -> String {
    let words = |(table, writes): &OnlyHere| match writes {
        1 => format!("1 write of the table {table}"),
        writes => format!("{writes} writes of the table {table}"),
    };
    only_here.iter().map(words).collect::<Vec<_>>().join(", ")
}

/// A plan that says what is to be brought to others first.
fn with_writes(reply: Reply, only_here: &[OnlyHere]) -> Reply {
    match reply {
        Reply::Plan { mut plan, refused } => {
            if !only_here.is_empty() {
                plan.push(format!("first others get what no other node is known to have: {}", in_words(only_here)));
            }
            Reply::Plan { plan, refused }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_says_how_many_writes_of_which_table_are_only_here() {
        let plan = |only_here: &[OnlyHere]| {
            let planned = Reply::Plan { plan: vec!["n1 leaves".to_owned()], refused: None };
            match with_writes(planned, only_here) {
                Reply::Plan { plan, .. } => plan,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(plan(&[]), ["n1 leaves"]);
        let lines = plan(&[("tags".to_owned(), 1), ("users".to_owned(), 7)]);
        assert!(lines[1].contains("1 write of the table tags, 7 writes of the table users"), "{lines:?}");
    }
}
