//! Clients of a process: each takes a lock, keeps it for a while, gives it back, and takes the next.

use std::time::Duration;

use ekka_core::lock::{Answer, Command, Event as Done, Held, HolderInput, LockName, Mode, Refusal, SessionId, Want};

use super::world::{Entry, Event, MS, SECOND, World, is_over};

/// What a client is about.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    Idle,
    /// It asked for these under this number of a request.
    Wants {
        request: u64,
        wants: Vec<Want>,
    },
    Holds {
        request: u64,
        wants: Vec<Want>,
        held: Vec<Held>,
    },
    /// It gives them back, and takes them for its own no more.
    Releases {
        request: u64,
    },
}

#[derive(Clone, Debug)]
pub(super) struct Client {
    step: Step,
    requests: u64,
    /// The question of the process whose answer it waits for.
    ask: Option<u64>,
    /// Its latest plan to look what is to be done.
    pub(super) look: u64,
    /// How often it held what it wanted.
    pub(super) turns: u64,
}

impl Client {
    pub(super) fn some() -> Vec<Self> {
        vec![Self { step: Step::Idle, requests: 0, ask: None, look: 0, turns: 0 }; 2]
    }

    /// The locks that it takes for its own, with their tokens and whether it shares them.
    pub(super) fn holds(&self) -> impl Iterator<Item = (&str, u64, bool)> {
        let (wants, held) = match &self.step {
            Step::Holds { wants, held, .. } => (wants.as_slice(), held.as_slice()),
            _ => (&[][..], &[][..]),
        };
        let shared = |name: &LockName| wants.iter().any(|want| want.name == *name && want.mode == Mode::Shared);
        held.iter().map(move |held| (held.name.as_str(), held.token, shared(&held.name)))
    }
}

impl World {
    /// A process asks any voter, the one that leads where it knows it; the number of the question.
    pub(super) fn ask(&mut self, i: usize, command: Command) -> u64 {
        self.nodes[i].asks += 1;
        let (number, start) = (self.nodes[i].asks, self.nodes[i].id.guid);
        let leader = (0..self.plan.voters).filter(|v| self.group.replicas[*v].leads && self.linked(i, *v));
        let leader = leader.max_by_key(|v| self.group.replicas[*v].term);
        let any = self.rng.index(self.plan.voters);
        let to = leader.filter(|_| self.rng.below(4) != 0).unwrap_or(any);
        let entry = Entry { command, asked: Some((i, start, number)) };
        // Some come twice.
        if self.rng.below(16) == 0 {
            let late = self.rng.below(3 * SECOND);
            self.after(late, Event::Ask { to, entry: entry.clone() });
        }
        self.send(i, to, |_| Event::Ask { to, entry });
        number
    }

    /// A client looks what is to be done, and once more in a while.
    pub(super) fn client(&mut self, i: usize, client: usize) {
        let pause = self.act(i, client);
        self.look_again(i, client, pause);
    }

    /// It looks again after so long, and not before.
    pub(super) fn look_again(&mut self, i: usize, client: usize, pause: u64) {
        let start = self.nodes[i].id.guid;
        self.nodes[i].clients[client].look += 1;
        let look = self.nodes[i].clients[client].look;
        self.after(pause, Event::Client { node: i, start, client, look });
    }

    fn act(&mut self, i: usize, client: usize) -> u64 {
        let Some(session) = self.nodes[i].session else {
            self.open(i);
            return 300 * MS;
        };
        let owner = client as u64;
        let now = self.nodes[i].clients[client].clone();
        match now.step {
            Step::Idle => {
                let wants = self.some_wants();
                // Numbers of requests are of the whole session.
                let request = self.nodes[i].clients.iter().map(|client| client.requests).max().unwrap_or(0) + 1;
                self.nodes[i].clients[client].requests = request;
                self.nodes[i].clients[client].step = Step::Wants { request, wants };
                self.act(i, client)
            }
            Step::Wants { request, wants } => {
                let command = Command::Acquire { session, request, wants, owner, again: false, wait: true, floor: 0 };
                let number = self.ask(i, command);
                self.nodes[i].clients[client].ask = Some(number);
                SECOND
            }
            Step::Holds { request, .. } => {
                self.nodes[i].clients[client].step = Step::Releases { request };
                self.act(i, client)
            }
            Step::Releases { request } => {
                let number = self.ask(i, Command::Release { session, request });
                self.nodes[i].clients[client].ask = Some(number);
                SECOND
            }
        }
    }

    /// One of three locks, sometimes two, sometimes shared.
    fn some_wants(&mut self) -> Vec<Want> {
        let mut names = vec!["a", "b", "c"];
        names.remove(self.rng.index(3));
        names.truncate(if self.rng.below(4) == 0 { 2 } else { 1 });
        let mode = if self.rng.below(5) == 0 { Mode::Shared } else { Mode::Exclusive };
        names.into_iter().map(|name| Want { name: name.parse().expect("a name"), mode }).collect()
    }

    fn open(&mut self, i: usize) {
        let at = self.clock(i);
        let node = &mut self.nodes[i];
        let id = node.id;
        // The same one until it is answered: counted from when it was asked for first.
        let session = if let Some((session, ..)) = node.opening {
            session
        } else {
            node.sessions += 1;
            SessionId { node_id: id.node_id, guid: id.guid, number: node.sessions }
        };
        let ttl_ms = u64::try_from(self.plan.ttl.as_millis()).expect("short");
        let number = self.ask(i, Command::Open { session, ttl_ms, own: true, label: String::new() });
        let first = self.nodes[i].opening.map_or(at, |(_, _, at)| at);
        self.nodes[i].opening = Some((session, number, first));
    }

    /// A session is no more: nobody in it takes anything for its own.
    pub(super) fn session_lost(&mut self, i: usize, session: SessionId) {
        let node = &mut self.nodes[i];
        if node.session == Some(session) {
            node.session = None;
            for client in &mut node.clients {
                (client.step, client.ask) = (Step::Idle, None);
            }
        }
    }

    pub(super) fn answered(&mut self, i: usize, number: u64, answer: Answer) {
        if let Some((session, asked, at)) = self.nodes[i].opening
            && asked == number
        {
            self.nodes[i].opening = None;
            if answer == Answer::Done {
                self.nodes[i].session = Some(session);
                self.hold(i, HolderInput::Opened { session, ttl: self.plan.ttl, asked: at });
            }
            return;
        }
        let Some(client) = self.nodes[i].clients.iter().position(|client| client.ask == Some(number)) else { return };
        if let Some(session) = self.nodes[i].session
            && is_over(&answer)
        {
            return self.hold(i, HolderInput::Ended(session));
        }
        self.nodes[i].clients[client].ask = None;
        let step = self.nodes[i].clients[client].step.clone();
        match (step, answer) {
            (Step::Wants { request, wants }, Answer::Granted(held)) => self.granted(i, client, request, &wants, held),
            (Step::Wants { .. }, Answer::Waits { .. }) => {}
            (Step::Releases { .. }, Answer::Done | Answer::Refused(Refusal::Ended)) => {
                self.nodes[i].clients[client].step = Step::Idle;
                let pause = self.rng.below(200 * MS);
                self.look_again(i, client, pause);
            }
            (step, answer) => {
                self.violation = Some(format!("node {i}, client {client}, {step:?}: answered {answer:?}"));
            }
        }
    }

    /// It was told that a request which waited is granted.
    pub(super) fn told_of(&mut self, i: usize, done: Done) {
        let Done::Granted { session, request, held } = done else { return };
        if self.nodes[i].session != Some(session) {
            return;
        }
        let waits = |client: &Client| matches!(&client.step, Step::Wants { request: own, .. } if *own == request);
        let Some(client) = self.nodes[i].clients.iter().position(waits) else { return };
        if let Step::Wants { wants, .. } = self.nodes[i].clients[client].step.clone() {
            self.granted(i, client, request, &wants, held);
        }
    }

    fn granted(&mut self, i: usize, client: usize, request: u64, wants: &[Want], held: Vec<Held>) {
        if !self.nodes[i].session.is_some_and(|session| self.believes(i, session)) {
            return;
        }
        self.note(|| format!("node {i}, client {client}: {held:?}"));
        self.granted += 1;
        for Held { name, token } in &held {
            let shared = wants.iter().any(|want| want.name == *name && want.mode == Mode::Shared);
            let largest = self.largest.entry(name.to_string()).or_default();
            // Of those that share it a later one may be told first.
            if *token <= *largest && !shared {
                self.violation = Some(format!("the token {token} of {name} was given after {largest}"));
            }
            *largest = (*largest).max(*token);
        }
        if held.len() != wants.len() {
            self.violation = Some(format!("node {i} was granted {held:?} where it wants {wants:?}"));
        }
        let node = &mut self.nodes[i].clients[client];
        node.turns += 1;
        node.ask = None;
        node.step = Step::Holds { request, wants: wants.to_vec(), held };
        let keeps = Duration::from_millis(20 + self.rng.below(700)).as_nanos();
        self.look_again(i, client, u64::try_from(keeps).expect("short"));
    }
}
