//! Operators' words in a run: given, answered, and told to the invariants.

use std::time::Duration;

use ekka_core::control::{Command, CommandError, Reply};
use ekka_core::id::NodeId;
use ekka_core::time::Instant;

use super::node::Machine;
use super::world::World;
use crate::failure::Failure;

/// No command may take longer: `join` looks for 30 s and is given up after 60.
const ANSWERED_WITHIN: Duration = Duration::from_secs(70);

/// A command that waits for its answer.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    machine: usize,
    life: u64,
    command: Command,
    /// The member that goes by this word, where it is one of going.
    goes: Option<NodeId>,
    at: Instant,
}

impl World {
    /// Gives an operator's word to a machine whose process can take one, and tells the invariants; its number.
    pub fn operate(&mut self, machine: usize, command: Command) -> Option<u64> {
        let process = self.machines[machine].process.as_ref().filter(|process| !process.paused)?;
        let view = process.control.view();
        let me = view.me.node_id;
        let goes = match &command {
            Command::Leave { plan: false } => {
                self.watch.may_leave(machine);
                Some(me)
            }
            Command::ForceLeave { node, plan: false, .. } => {
                let by_hex = |id: NodeId| format!("{:032x}", id.as_u128()) == *node;
                view.members.iter().find(|m| by_hex(m.id.node_id)).map(|m| m.id.node_id)
            }
            Command::Join { plan: false, .. } | Command::Form { plan: false } => {
                // It may leave another cluster behind, where it was admitted without knowing it yet.
                self.watch.may_leave(machine);
                self.watch.may_go(me);
                self.watch.returns(me);
                // An answer that is late by then says nothing of the time after it.
                for asked in self.asked.values_mut().filter(|asked| asked.goes == Some(me)) {
                    asked.goes = None;
                }
                None
            }
            _ => None,
        };
        if let Some(node_id) = goes {
            self.watch.may_go(node_id);
            let is = |machine: &Machine| {
                machine.process.as_ref().is_some_and(|process| process.control.view().me.node_id == node_id)
            };
            for i in (0..self.machines.len()).filter(|i| is(&self.machines[*i])) {
                self.watch.may_leave(i);
            }
        }
        self.note(&format!("operator at {machine}: {command:?}"));
        let id = self.next_request();
        let life = self.machines[machine].life;
        self.asked.insert(id, Asked { machine, life, command: command.clone(), goes, at: self.now });
        Some(self.command(machine, command))
    }

    /// Tells the invariants of a `leave` that was given without an operator.
    pub(super) fn expect_leave(&mut self, machine: usize, command: &Command) {
        if let (Command::Leave { plan: false }, Some(process)) = (command, &self.machines[machine].process) {
            self.watch.may_go(process.control.view().me.node_id);
        }
    }

    /// Tells the invariants of a directory that a test set back: it counts fewer starts than there were.
    pub(super) fn expect_restored(&mut self, machine: usize) {
        if self.machines[machine].is_set_back() {
            self.watch.may_be_restored(machine);
        }
    }

    /// An answer came.
    pub(super) fn replied(&mut self, machine: usize, id: u64, result: Result<Reply, CommandError>) {
        if let Some(asked) = self.asked.remove(&id) {
            let words = match &result {
                Ok(Reply::Done { text, .. }) => text.clone(),
                other => format!("{other:?}"),
            };
            self.note(&format!("{machine} answers its operator: {words}"));
            if let (Some(node_id), Ok(Reply::Done { .. })) = (asked.goes, &result) {
                self.watch.left(node_id);
            }
        }
        self.replies.insert((machine, id), result);
    }

    /// Waits until every command of a process that lives on was answered.
    ///
    /// # Errors
    /// One was not, or something that must hold did not.
    pub fn until_answered(&mut self) -> Result<(), Failure> {
        loop {
            let open = |asked: &&Asked| {
                let machine = &self.machines[asked.machine];
                machine.life == asked.life && machine.process.is_some()
            };
            let Some(asked) = self.asked.values().find(open).cloned() else { return Ok(()) };
            if self.now.since(asked.at) > ANSWERED_WITHIN {
                let Asked { machine, command, .. } = asked;
                return Err(self.failed(format!("machine {machine} never answered {command:?}")));
            }
            self.run_for(Duration::from_millis(200))?;
        }
    }
}
