//! Commands that this replica does not give to its log where it leads, for as long as something holds on its node alone.
//!
//! What is refused is answered in place of the state machine, so that whoever asked, here or two hops away, is told in
//! words of its own. State machines know nothing of it: what holds on one node is no part of a state.

use std::sync::Arc;

use super::types::Blob;

/// What is refused, and when.
pub(crate) struct Gate {
    /// Whether it holds now.
    pub(crate) is_shut: Arc<dyn Fn() -> bool + Send + Sync>,
    /// The answer to a command that is refused then.
    pub(crate) refusal: fn(&[u8]) -> Option<Vec<u8>>,
}

impl Gate {
    /// The answer to each command that is refused now, in the order of the commands; nothing where all are taken.
    pub(super) fn refusals(&self, commands: &[Blob]) -> Option<Vec<Option<Vec<u8>>>> {
        if !(self.is_shut)() {
            return None;
        }
        let refusals: Vec<_> = commands.iter().map(|command| (self.refusal)(&command.0)).collect();
        refusals.iter().any(Option::is_some).then_some(refusals)
    }
}
