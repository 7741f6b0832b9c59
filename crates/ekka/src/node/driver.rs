//! The loop that carries `Control`: inputs in, outputs started in order, sleep until the next deadline.
//!
//! It runs on the node's own thread, so that a handler which blocks the application's runtime does not make the node
//! look dead. It decides nothing about the cluster.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ekka_core::autocluster::Settings;
use ekka_core::control::{
    Carried, Command, CommandError, Control, Input, Loading, Output, Reply, RequestId, Saved, StopReason,
};
use ekka_core::decision::Decisions;
use ekka_core::id::{Host, NodeId};
use ekka_core::machine::Machine;
use ekka_core::view::View;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::heal::Healer;
use super::shared::Shared;
use super::store;
use super::strategies::Strategies;
use super::{group, volatile};
use crate::discovery::Discovery;
use crate::env::Env;
use crate::transport::Transport;

/// Inputs worked off before the deadline is looked at again.
const BATCH: usize = 64;

/// A command on its way, with the place for its answer.
pub(super) struct Request {
    pub(super) command: Command,
    pub(super) answer: oneshot::Sender<Result<Reply, CommandError>>,
}

/// What tasks of the node give to the loop.
pub(super) enum Own {
    Input(Input),
    /// An input that is dropped once the token is cancelled.
    Until(CancellationToken, Input),
    Reload(Reload),
}

/// A new configuration: seeds and settings of the vote change in one step, or a node would wait for the votes of
/// nodes that it does not look for.
pub(super) struct Reload {
    /// `None`: those of the embedding program stay.
    pub(super) strategies: Option<Vec<Arc<dyn Discovery>>>,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) formation: Box<Settings>,
    pub(super) autoheal: Option<Duration>,
    pub(super) autoclean: Option<Duration>,
    pub(super) done: oneshot::Sender<()>,
}

/// What reaches the loop beside the transport's inputs.
pub(super) struct Channels {
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) inputs: mpsc::Receiver<Input>,
    /// From tasks of the loop (discovery, disc, reload) that give inputs.
    pub(super) own: mpsc::Receiver<Own>,
}

/// What the next start in this process goes on with.
pub(super) struct Remains {
    pub(super) strategies: Vec<Arc<dyn Discovery>>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) decisions: Decisions,
    /// What this start owes.
    pub(super) carried: Carried,
}

/// Everything that the loop holds.
pub(super) struct Driver {
    pub(super) control: Control,
    pub(super) env: Env,
    pub(super) transport: Transport,
    pub(super) strategies: Strategies,
    pub(super) group: group::Handle,
    pub(super) volatile: volatile::Handle,
    pub(super) healer: Healer,
    pub(super) shared: Arc<Shared>,
    pub(super) channels: Channels,
    pub(super) answers: BTreeMap<RequestId, oneshot::Sender<Result<Reply, CommandError>>>,
    pub(super) last_request: u64,
    /// All handles are gone, and the node was told so once.
    pub(super) deserted: bool,
    pub(super) to_disc: watch::Sender<Option<(u64, Arc<Saved>)>>,
    pub(super) on_disc: watch::Receiver<u64>,
}

impl Driver {
    /// Runs until this start of the node ends; why, and what the next one in this process goes on with.
    pub(super) async fn run(mut self) -> (StopReason, Remains) {
        let reason = self.run_on().await;
        let strategies = self.finish(&reason).await;
        let (decisions, carried) = (self.control.take_decisions(), self.control.carry());
        (reason, Remains { strategies, requests: self.channels.requests, decisions, carried })
    }

    async fn run_on(&mut self) -> StopReason {
        let mut out = Vec::new();
        self.control.handle(Input::Start, self.env.clock.now(), &mut out);
        // This node keeps tables: until they say how far they are, they are not.
        self.control.handle(Input::Tables(Loading::default()), self.env.clock.now(), &mut out);
        loop {
            if let Some(reason) = self.start_outputs(&mut out) {
                return reason;
            }
            self.shared.stepped(self.env.clock.now().mono);
            let wait = self.until_deadline();
            if wait.is_zero() {
                self.control.tick(self.env.clock.now(), &mut out);
                if let Some(reason) = self.start_outputs(&mut out) {
                    return reason;
                }
                // However soon the next deadline is: connections and disc share this thread, and get their turn.
                tokio::task::yield_now().await;
            }
            let wait = self.until_deadline();
            tokio::select! {
                biased;
                own = self.channels.own.recv() => self.take_own(own, &mut out),
                request = self.channels.requests.recv(), if !self.deserted => self.ask(request, &mut out),
                input = self.channels.inputs.recv() => self.take(input, &mut out),
                () = tokio::time::sleep(wait) => self.control.tick(self.env.clock.now(), &mut out),
            }
            for _ in 0..BATCH {
                match self.channels.inputs.try_recv() {
                    Ok(input) => self.take(Some(input), &mut out),
                    Err(_) => break,
                }
            }
        }
    }

    fn until_deadline(&self) -> Duration {
        match self.control.deadline() {
            Some(deadline) => deadline.since(self.env.clock.now().mono),
            None => Duration::from_secs(1),
        }
    }

    fn take(&mut self, input: Option<Input>, out: &mut Vec<Output>) {
        if let Some(input) = input {
            self.control.handle(input, self.env.clock.now(), out);
        }
    }

    fn take_own(&mut self, own: Option<Own>, out: &mut Vec<Output>) {
        match own {
            Some(Own::Until(stop, _)) if stop.is_cancelled() => {}
            Some(Own::Input(input) | Own::Until(_, input)) => self.take(Some(input), out),
            Some(Own::Reload(Reload { strategies, tags, formation, autoheal, autoclean, done })) => {
                if let Some(strategies) = strategies {
                    self.strategies.replace(strategies);
                }
                let list = self.strategies.number();
                self.take(Some(Input::Reconfigure { tags, list, formation, autoheal, autoclean }), out);
                // Whoever asked may have gone.
                let _ = done.send(());
            }
            None => {}
        }
    }

    fn ask(&mut self, request: Option<Request>, out: &mut Vec<Output>) {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        // All handles are gone: the node stops without waiting for anybody.
        let command = if let Some(request) = request {
            self.answers.insert(id, request.answer);
            request.command
        } else {
            self.deserted = true;
            Command::Stop { by: "the last handle was dropped".into(), plan: false }
        };
        self.control.handle(Input::Command { id, command }, self.env.clock.now(), out);
    }

    /// Starts what `Control` gave out, in order; the reason where the node ends.
    fn start_outputs(&mut self, out: &mut Vec<Output>) -> Option<StopReason> {
        for output in out.drain(..) {
            match output {
                Output::Verdict { conn, verdict } => self.transport.verdict(conn, verdict),
                Output::Send { conn, bytes } => self.transport.send(conn, bytes),
                Output::Close { conn, cause } => self.transport.close(conn, cause),
                Output::Dial { endpoint } => self.transport.dial(endpoint),
                Output::Discover => self.strategies.ask(),
                Output::Group(request) => self.group.request(request),
                Output::Claim(offer) => self.strategies.claim(*offer),
                Output::Register(registration) => self.strategies.register(registration),
                Output::Persist { token, saved } => {
                    self.to_disc.send_replace(Some((token, Arc::new(*saved))));
                }
                Output::Publish(view) => {
                    self.transport.set_members(members(&view));
                    self.shared.publish(view);
                }
                Output::Event(event) => self.shared.event(event, self.env.clock.now()),
                Output::Reply { id, result } => {
                    if let Some(answer) = self.answers.remove(&id) {
                        // Whoever asked may have gone.
                        let _ = answer.send(result);
                    }
                }
                Output::Stop(reason) => return Some(reason),
                Output::Volatile(request) => self.volatile.request(request),
                Output::Heal(request) => self.healer.request(request),
                Output::Lease(until) => self.shared.set_lease(until),
            }
        }
        None
    }

    /// Brings what is under way to its end: the disc first, then the queues of the connections.
    async fn finish(&mut self, reason: &StopReason) -> Vec<Arc<dyn Discovery>> {
        let wanted = self.to_disc.borrow().as_ref().map_or(0, |(token, _)| *token);
        let own = &mut self.channels.own;
        let on_disc = self.on_disc.wait_for(|token| *token >= wanted);
        // Whoever writes also tells this loop, and waits where its queue is full.
        let written = async {
            tokio::select! {
                _ = on_disc => {}
                () = async { while own.recv().await.is_some() {} std::future::pending().await } => {}
            }
        };
        if *reason == StopReason::Over {
            // The next start reads it, and nothing may be written behind its back.
            written.await;
            let strategies = self.strategies.end().await;
            // Neither replica can reach anybody any more once its transport has ended.
            tokio::join!(self.volatile.stop(), self.group.release());
            self.transport.shutdown(Duration::from_secs(2)).await;
            return strategies;
        }
        if tokio::time::timeout(Duration::from_secs(5), written).await.is_err() {
            error!(advice = "the next start may know less than this one did", "the last state is not on disc");
        }
        if *reason == StopReason::Asked {
            self.strategies.unregister().await;
        }
        tokio::join!(self.volatile.stop(), self.group.stop());
        self.transport.shutdown(Duration::from_secs(2)).await;
        Vec::new()
    }
}

/// The members, each with the address in its name: places for half-open connections are kept for them.
fn members(view: &View) -> BTreeMap<NodeId, Option<IpAddr>> {
    let address = |host: &Host| match host {
        Host::Ip(ip) => Some(*ip),
        Host::Dns(_) => None,
    };
    view.members.iter().map(|member| (member.id.node_id, address(&member.endpoint.host))).collect()
}

/// Writes the latest state to disc, again and again until it is there.
pub(super) async fn keep_on_disc(
    env: Env,
    mut wanted: watch::Receiver<Option<(u64, Arc<Saved>)>>,
    done: watch::Sender<u64>,
    to: mpsc::Sender<Own>,
) {
    while wanted.changed().await.is_ok() {
        let Some((token, saved)) = wanted.borrow_and_update().clone() else { continue };
        loop {
            let disk = env.disk.clone();
            let state = saved.clone();
            match env.blocking(move || store::save(disk.as_ref(), &state)).await {
                Ok(()) => break,
                Err(err) => {
                    error!(%err, "the state of the cluster cannot be written; trying again in 1 s");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
        done.send_replace(token);
        if to.send(Own::Input(Input::Persisted { token })).await.is_err() {
            return;
        }
    }
}
