//! Nodes, links and time: what the rooms say is carried, what they ask for is done, and the judge sees all of it.

mod chance;
mod eyes;
mod life;
mod tables;

use std::collections::{BTreeMap, VecDeque};
use std::ops::AddAssign;

use ekka_core::autoheal::{HealNews, HealRequest, Input, Message, Output, Stand, Voters};
use ekka_core::id::{Guid, Incarnation};
use ekka_core::machine::Machine as _;
use ekka_core::rng::Rng;

use crate::heal_world::judge::Judge;
use crate::heal_world::net::{Net, Way};
use crate::heal_world::node::{Due, Node};
use crate::heal_world::plan::{MS, Plan, SECOND, Us};

/// How often nodes look at each other, and tables spread.
const LOOK: Us = 100 * MS;
/// Lines of what happened that are shown with a violation.
const LINES: usize = 120;

/// What a run did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tried {
    pub(crate) heals: u64,
    pub(crate) prepared: u64,
    pub(crate) partings: u64,
    pub(crate) kills: u64,
    pub(crate) pauses: u64,
    pub(crate) gone: u64,
    pub(crate) messages: u64,
}

impl AddAssign for Tried {
    fn add_assign(&mut self, more: Self) {
        self.heals += more.heals;
        self.prepared += more.prepared;
        self.partings += more.partings;
        self.kills += more.kills;
        self.pauses += more.pauses;
        self.gone += more.gone;
        self.messages += more.messages;
    }
}

pub(crate) enum Event {
    /// Nodes look at each other, and tables spread.
    Look,
    /// A deadline of a room.
    Wake(usize),
    /// A message arrives.
    Arrive { way: Way, due: Due },
    /// The shell has done something for a start of a node.
    Done { n: usize, due: Due },
    /// The callbacks of a process have been called: they answer to whatever start runs in it by then.
    Called { n: usize, process: Guid, request: u64, news: HealNews },
    /// A node starts.
    Rise(usize),
    /// A stopped process goes on.
    Resume(usize),
    /// Something happens.
    Chance,
    /// Everything is mended.
    Mend,
}

/// Who is killed after how many of its messages: what it would have said after that is not said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doom {
    pub(crate) n: usize,
    pub(crate) after: u64,
    /// It starts again after so long.
    pub(crate) rises: Option<Us>,
}

pub(crate) struct World {
    pub(crate) tried: Tried,
    pub(crate) plan: Plan,
    pub(crate) now: Us,
    pub(crate) nodes: Vec<Node>,
    pub(crate) net: Net,
    pub(crate) judge: Judge,
    pub(crate) doom: Option<Doom>,
    /// Nobody writes but who is told to.
    pub(crate) still: bool,
    /// Tables differ, whatever is exchanged: no exchange ends.
    pub(crate) differ: bool,
    pub(crate) voters: Voters,
    rng: Rng,
    queue: BTreeMap<(Us, u64), Event>,
    order: u64,
    origins: usize,
    lines: VecDeque<String>,
    pub(crate) violation: Option<String>,
}

impl World {
    /// All nodes run and see each other.
    pub(crate) fn new(plan: Plan) -> Self {
        let mut rng = Rng::new(plan.seed);
        let nodes: Vec<Node> = (0..plan.nodes()).map(|n| Node::new(n, rng.below(1_000) * SECOND)).collect();
        let set = |set: &Vec<usize>| set.iter().map(|n| nodes[*n].id.node_id).collect();
        let voters = Voters { place: (0, 1), sets: plan.voters.iter().map(set).collect() };
        let mut world = Self {
            tried: Tried::default(),
            judge: Judge::new(&plan, &voters, &nodes),
            plan,
            now: SECOND,
            nodes,
            net: Net::default(),
            doom: None,
            still: false,
            differ: false,
            voters,
            rng,
            queue: BTreeMap::new(),
            order: 0,
            origins: 0,
            lines: VecDeque::new(),
            violation: None,
        };
        world.found();
        world.later(LOOK, Event::Look);
        world
    }

    pub(crate) fn later(&mut self, after: Us, event: Event) {
        self.order += 1;
        self.queue.insert((self.now + after, self.order), event);
    }

    /// A line for who looks into a violation.
    pub(crate) fn line(&mut self, text: &str) {
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        #[allow(clippy::cast_precision_loss, reason = "for people")]
        let at = self.now as f64 / SECOND as f64;
        self.lines.push_back(format!("{at:9.3} {text}"));
    }

    pub(crate) fn story(&self) -> String {
        self.lines.iter().map(|line| format!("\n{line}")).collect()
    }

    pub(crate) fn violates(&mut self, what: String) {
        self.line(&format!("VIOLATION {what}"));
        self.violation.get_or_insert(what);
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, time: Us) {
        let end = self.now + time;
        while self.violation.is_none() {
            let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) else { break };
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.happen(event);
        }
        self.now = self.now.max(end);
    }

    /// Time passes until that is so; how long it took.
    pub(crate) fn until(&mut self, most: Us, so: impl Fn(&Self) -> bool) -> Option<Us> {
        let from = self.now;
        while !so(self) {
            if self.now - from >= most || self.violation.is_some() {
                return None;
            }
            self.pass(10 * MS);
        }
        Some(self.now - from)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Look => {
                self.look();
                self.spread();
                self.later(LOOK, Event::Look);
            }
            Event::Wake(n) => self.wake(n),
            Event::Arrive { way, due } => {
                if self.net.stands(way) {
                    self.give(way.to, due);
                }
            }
            Event::Done { n, due } => self.give(n, due),
            Event::Called { n, process, request, news } => {
                let node = &self.nodes[n];
                if node.process == process && node.request == request && node.runs() {
                    let guid = node.id.guid;
                    if matches!(news, HealNews::Rebooted { .. }) {
                        self.judge.reboot_ended(process);
                    }
                    self.give(n, Due { guid, input: Input::News(news) });
                }
            }
            Event::Rise(n) => self.rise(n),
            Event::Resume(n) => self.resume(n),
            Event::Chance => self.chance(),
            Event::Mend => {
                self.line("mend");
                self.net.mend();
            }
        }
    }

    fn wake(&mut self, n: usize) {
        let now = self.now;
        let node = &mut self.nodes[n];
        if node.wake > now {
            return;
        }
        node.wake = Us::MAX;
        if !node.acts() {
            return;
        }
        self.step(n, None);
    }

    /// A node takes something in, now or once it goes on.
    pub(crate) fn give(&mut self, n: usize, due: Due) {
        let node = &mut self.nodes[n];
        if !node.runs() || node.id.guid != due.guid {
            return;
        }
        if node.paused {
            node.inbox.push(due);
        } else {
            self.step(n, Some(due.input));
        }
    }

    pub(crate) fn stand(&self, n: usize) -> Stand {
        self.nodes[n].room.as_ref().expect("who is asked runs").stand()
    }

    /// One step of a room, and all that comes of it.
    fn step(&mut self, n: usize, input: Option<Input>) {
        if let Some(Input::Received { from, message }) = &input {
            let node = &self.nodes[n];
            let seen = node.given.iter().flat_map(|(contacts, _)| contacts);
            // Who is not seen running is not listened to.
            if seen.into_iter().any(|contact| contact.id == *from && contact.running) {
                self.judge.came(node.id.guid, message);
            }
        }
        let clock = self.nodes[n].clock(self.now);
        let Some(room) = self.nodes[n].room.as_mut() else { return };
        let (before, mut out) = (room.stand(), Vec::new());
        let ticked = input.is_none();
        match input {
            Some(input) => room.handle(input, clock, &mut out),
            None => room.tick(clock, &mut out),
        }
        room.check();
        let after = room.stand();
        let deadline = room.deadline();
        if ticked && deadline.is_some_and(|at| at <= clock.mono) {
            return self.violates(format!("{n}: the deadline stays in the past"));
        }
        let shown = (after.pending, after.healing, after.under) == (before.pending, before.healing, before.under);
        if !shown && !out.contains(&Output::Changed) {
            self.violates(format!("{n}: what status says changed unsaid: {before:?} {after:?}"));
        }
        self.outputs(n, out);
        let (now, late) = (self.now, self.rng.below(5 * MS));
        let node = &mut self.nodes[n];
        let Some(deadline) = deadline.filter(|_| node.runs()) else { return };
        let after = (deadline.as_nanos().saturating_sub(clock.mono.as_nanos())) / 1_000 + 1 + late;
        if node.wake > now + after {
            node.wake = now + after;
            self.later(after, Event::Wake(n));
        }
    }

    fn outputs(&mut self, n: usize, out: Vec<Output>) {
        for output in out {
            if !self.nodes[n].runs() {
                return;
            }
            match output {
                Output::Send { to, message } => {
                    let Some(to) = self.nodes.iter().position(|node| node.id.node_id == to) else {
                        return self.violates(format!("{n} sends to nobody"));
                    };
                    self.send(n, to, message);
                }
                Output::Persist(number) => {
                    let (guid, after) = (self.nodes[n].id.guid, MS + self.rng.below(30 * MS));
                    self.later(after, Event::Done { n, due: Due { guid, input: Input::Persisted(number) } });
                }
                Output::Request(request) => self.request(n, request),
                Output::Changed | Output::Peeked { .. } => {}
                Output::Told(told) => {
                    self.line(&format!("{n} told {told:?}"));
                    let judged = self.judge.told(n, &told, &self.nodes);
                    self.take(judged);
                }
            }
        }
    }

    fn take(&mut self, judged: Result<(), String>) {
        if let Err(violation) = judged {
            self.violates(violation);
        }
    }

    pub(crate) fn send(&mut self, from: usize, to: usize, message: Message) {
        self.tried.messages += 1;
        self.nodes[from].sent += 1;
        let judged = self.judge.sent(self.nodes[from].id.guid, &message, &self.nodes);
        self.take(judged);
        let text = format!("{from} > {to} {message:?}");
        self.line(&text);
        let carriers: Vec<usize> = (0..self.nodes.len()).filter(|via| self.nodes[*via].acts()).collect();
        let way = self.net.way(from, to, &carriers, &mut self.rng).filter(|_| self.nodes[to].runs() && from != to);
        let sender: Incarnation = self.nodes[from].id;
        if let Some(way) = way {
            let (at, guid) = (self.net.arrival(way, self.now, &mut self.rng), self.nodes[to].id.guid);
            let input = Input::Received { from: sender, message };
            self.later(at - self.now, Event::Arrive { way, due: Due { guid, input } });
        }
        if self.doom.is_some_and(|doom| doom.n == from && self.nodes[from].sent >= doom.after) {
            let doom = self.doom.take().expect("just seen");
            self.kill(from, false);
            if let Some(after) = doom.rises {
                self.later(after, Event::Rise(from));
            }
        }
    }

    fn request(&mut self, n: usize, request: HealRequest) {
        self.line(&format!("{n} asks {request:?}"));
        let judged = self.judge.asked(n, &request, self.now, &self.nodes);
        self.take(judged);
        self.nodes[n].request += 1;
        self.nodes[n].exchange = None;
        let (number, process) = (self.nodes[n].request, self.nodes[n].process);
        let after = self.rng.below(self.plan.callbacks.max(2 * MS));
        let failed = (self.plan.failing && self.rng.below(4) == 0).then(|| "mqtt: hangs".to_owned());
        let failed = failed.into_iter().collect();
        let news = match request {
            HealRequest::Prepare { id } => HealNews::Prepared { id, failed },
            HealRequest::Reboot { id } => HealNews::Rebooted { id, failed },
            HealRequest::Exchange { id, collected, side } => return self.exchange(n, id, collected, side),
            HealRequest::Drop => return,
        };
        self.later(after, Event::Called { n, process, request: number, news });
    }
}
