//! Operators' words to whole nodes: given through the node's own handle, and what came back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ekka::node::Node;
use ekka_core::control::{Command, CommandError, Reply};
use ekka_core::id::NodeName;
use ekka_core::view::{Status, View};

use super::world::{ONE_THREAD, Window, World};

/// How often a host looks whether its operator says something.
const LISTEN: Duration = Duration::from_millis(10);
/// How long a command may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(70);

/// Words to one process, and its answers.
#[derive(Default)]
pub(super) struct Words {
    waiting: Vec<Command>,
    busy: bool,
    stops: bool,
    last: Option<(Command, Result<Reply, CommandError>)>,
}

/// Gives the next word to the node, if there is one, and keeps the answer.
pub(super) async fn listen(node: &Node, window: &Arc<Mutex<Window>>) {
    tokio::time::sleep(LISTEN).await;
    let word = {
        let words = &mut window.lock().expect(ONE_THREAD).words;
        if words.waiting.is_empty() {
            return;
        }
        words.busy = true;
        words.waiting.remove(0)
    };
    let answer = node.command(word.clone()).await;
    let words = &mut window.lock().expect(ONE_THREAD).words;
    words.busy = false;
    words.last = Some((word, answer));
}

/// Whether this view is of a node that is outside by an operator's word.
fn is_outside(view: &View) -> bool {
    view.reasons.iter().any(|reason| reason.code == "left")
}

impl World {
    /// Gives a word to a host's process, if one runs, and tells the invariants.
    pub fn operate(&mut self, i: usize, command: Command) {
        let Some(me) = self.view(i).map(|view| view.me.node_id) else { return };
        match command {
            Command::Leave { plan: false } => {
                self.watch.may_leave(i);
                self.watch.may_go(me);
            }
            Command::Join { plan: false, .. } => {
                self.watch.may_leave(i);
                self.watch.returns(me);
            }
            _ => {}
        }
        self.note(&format!("operator at {i}: {command:?}"));
        self.with_words(i, |words| {
            words.stops |= matches!(command, Command::Stop { plan: false, .. });
            words.waiting.push(command);
        });
    }

    /// Whether the process of a host ends, or is about to.
    #[must_use]
    pub fn is_ending(&self, i: usize) -> bool {
        self.is_over(i) || self.with_words(i, |words| words.stops)
    }

    /// The name of a host's node.
    #[must_use]
    pub fn name(&self, i: usize) -> NodeName {
        super::world::name(i)
    }

    /// Waits until the words to this host are answered; the last answer.
    ///
    /// # Errors
    /// It took too long, or something that must hold did not.
    pub fn until_answered(&mut self, i: usize) -> Result<Option<Result<Reply, CommandError>>, String> {
        let answered = |world: &Self| world.with_words(i, |words| words.waiting.is_empty() && !words.busy);
        self.run_to("commands are answered", ANSWERED_WITHIN, answered)?;
        Ok(self.with_words(i, |words| words.last.take()).map(|(_, answer)| answer))
    }

    /// Hosts that are outside by an operator's word.
    #[must_use]
    pub fn outsiders(&self) -> Vec<usize> {
        (0..self.hosts()).filter(|i| self.view(*i).is_some_and(|view| is_outside(view))).collect()
    }

    /// Whether all that are inside are up in one cluster and show each other up. Whoever was killed while it joined
    /// says that it is outside, and may be listed.
    #[must_use]
    pub fn together(&self) -> bool {
        let mut views = (0..self.hosts()).map(|i| self.view(i));
        if self.any_over() || views.any(|view| view.is_none()) {
            return false;
        }
        let views: Vec<&Arc<View>> = (0..self.hosts()).filter_map(|i| self.view(i)).collect();
        let inside: Vec<&&Arc<View>> = views.iter().filter(|view| !is_outside(view)).collect();
        let Some(first) = inside.first() else { return false };
        let belongs = |id| inside.iter().any(|view| view.me.node_id == id);
        inside.iter().all(|view| {
            let up = view.members.iter().filter(|m| m.status == Status::Up && belongs(m.id.node_id)).count();
            let strange = view.members.iter().filter(|m| !belongs(m.id.node_id)).any(|m| m.status == Status::Up);
            let same = view.cluster_id.is_some() && view.cluster_id == first.cluster_id;
            same && view.is_settled() && up == inside.len() && !strange
        })
    }

    fn with_words<T>(&self, i: usize, look: impl FnOnce(&mut Words) -> T) -> T {
        look(&mut self.window(i).lock().expect(ONE_THREAD).words)
    }
}
