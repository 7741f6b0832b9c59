//! Where everybody stands, for the failure of a run.

use ekka_core::view::Status;

use super::node::Machine;
use super::world::World;

/// Nodes, and members of each, that a failure names.
const WORDS_MAX: usize = 20;

impl World {
    /// Where everybody stands, in words.
    #[must_use]
    pub fn words(&self) -> String {
        let one = |(i, machine): (usize, &Machine)| match &machine.process {
            None => format!("{i}: off"),
            Some(process) => {
                let view = process.control.view();
                // Of many members only those that differ.
                let many = view.members.len() > WORDS_MAX;
                let shown = view.members.iter().filter(|m| !many || m.status != Status::Up);
                let mut members: Vec<String> =
                    shown.take(WORDS_MAX).map(|m| format!("{}={}", m.name.host(), m.status.as_str())).collect();
                if many {
                    members.push(format!("of {}", view.members.len()));
                }
                let mut reasons: Vec<String> = view.reasons.iter().map(|r| r.text.clone()).collect();
                reasons.extend(process.control.heal_waits().map(|waits| format!("a heal waits {waits}")));
                format!(
                    "{i}: {} {:?} [{}] {}",
                    view.status.as_str(),
                    view.cluster_id,
                    members.join(" "),
                    reasons.join("; ")
                )
            }
        };
        let all = self.machines.iter().enumerate().map(one);
        let odd = |words: &String| self.machines.len() <= WORDS_MAX || !words.contains("[of ");
        all.filter(odd).take(WORDS_MAX).collect::<Vec<_>>().join(" | ")
    }
}
