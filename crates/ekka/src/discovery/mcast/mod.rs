//! `mcast`: nodes of one network segment that find each other by IP multicast.
//!
//! A node that is asked pings the group and collects who answers it for a second; beside that it answers the pings of
//! others at all times. A ping of an unknown node makes it ask anew at once, so that two nodes find each other as soon
//! as the second of them is there. What is believed is in `rules`, what it looks like in `message`, who can make it in
//! `seal`, how much of it is read in `pace`.

mod askers;
mod counts;
mod fuzz;
#[cfg(test)]
mod live;
mod message;
mod pace;
#[cfg(test)]
mod replays;
mod rules;
mod seal;
mod station;
mod trouble;
#[cfg(test)]
mod world;

pub use fuzz::fuzz_mcast;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ekka_core::autocluster::Candidate;
use ekka_core::time::Instant;
use tokio::sync::Notify;
use tracing::warn;

use super::{Attachment, Context, Discovery, Found, LeftOut, Me};
use crate::config::Mcast as Options;
use crate::env::BoxFuture;
use rules::{COLLECT_TIME, Datagram, Means, Rules};
use seal::Keys;
use station::Station;
use trouble::{Strangers, Trouble};

/// Keys are made anew from the credentials in use at most so often: a rotation is followed, a flood is not.
const KEYS_INTERVAL: Duration = Duration::from_secs(1);
/// How long sockets must have worked to count as working, and how often it is looked for strangers to tell of.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// The strategy. Does no IO yet.
///
/// # Errors
/// There is no key to authenticate announcements with.
pub(super) fn strategy(options: &Options, context: &Context) -> Result<Arc<dyn Discovery>, String> {
    let keys = Keys::of(&context.credentials.get()).ok_or(
        "cluster.discovery = mcast authenticates its announcements with a key made from the cookie, and there is none: \
         set node.cookie_file, also where cluster.tls = files",
    )?;
    let rules = Rules::new(context.me.clone(), keys);
    let state = State { rules, keys_of: context.env.clock.now().mono };
    Ok(Arc::new(Multicast {
        options: options.clone(),
        context: context.clone(),
        state: Mutex::new(state),
        station: tokio::sync::Mutex::default(),
        closed: Notify::new(),
        hint: Notify::new(),
    }))
}

struct Multicast {
    options: Options,
    context: Context,
    state: Mutex<State>,
    /// The sockets, while they are open: asking and answering use the same ones, whichever came first.
    station: tokio::sync::Mutex<Option<Arc<Station>>>,
    /// The sockets were closed, to be opened anew.
    closed: Notify,
    /// Somebody unknown was heard.
    hint: Notify,
}

struct State {
    rules: Rules,
    /// When the keys were made.
    keys_of: Instant,
}

impl Discovery for Multicast {
    fn name(&self) -> &'static str {
        "mcast"
    }

    fn discover(&self) -> BoxFuture<'_, Result<Found, String>> {
        Box::pin(self.ask())
    }

    fn run(&self, node: Attachment) -> BoxFuture<'_, ()> {
        Box::pin(self.answer(node))
    }

    fn ignored(&self) -> Vec<(&'static str, u64)> {
        self.state().rules.counts().rows()
    }

    fn unregister(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async {
            // No entry is anywhere; who stops answering is not found.
            self.state().rules.set_listed(false);
            self.station.lock().await.take();
            Ok(())
        })
    }
}

impl Multicast {
    async fn ask(&self) -> Result<Found, String> {
        let station = self.station().await?;
        let means = self.means(&station);
        let ping = self.state().rules.ask(means);
        if let Err(error) = station.send_to_group(&ping).await {
            self.close(&station).await;
            return Err(format!(
                "nothing can be sent to {} from {}: {error}; the interface may be down, or a firewall of this host \
                 refuses it",
                self.options.addr,
                station.reply.ip()
            ));
        }
        // Who answers is counted by whoever receives it, this task or the one that always listens.
        if let Ok(error) = tokio::time::timeout(COLLECT_TIME, self.receive(&station)).await {
            self.close(&station).await;
            return Err(error);
        }
        let (found, hears_itself) = {
            let now = self.context.env.clock.now().mono;
            let mut state = self.state();
            (self.found(&mut state.rules, &station, now), state.rules.hears_itself())
        };
        if self.options.loopback && !hears_itself && found.candidates.len() == 1 {
            self.close(&station).await;
            return Err(format!(
                "what this node sends to {} from {} does not come back to it, and nobody answers: a firewall of this \
                 host may drop UDP to port {}, or a flood of the group hides it",
                self.options.addr,
                station.reply.ip(),
                ports(&self.options)
            ));
        }
        Ok(found)
    }

    /// Answers pings for as long as the node uses this strategy.
    async fn answer(&self, mut node: Attachment) {
        let mut trouble = Trouble::default();
        let mut strangers = Strangers::default();
        loop {
            let err = match self.station().await {
                Ok(station) => match self.listen(&station, &mut node, &mut trouble, &mut strangers).await {
                    End::Closed => continue,
                    End::NodeGone => return,
                    End::Failed(error) => {
                        self.close(&station).await;
                        error
                    }
                },
                Err(error) => error,
            };
            let pause = trouble.failed(&err, tokio::time::Instant::now());
            tokio::time::sleep(pause.mul_f64(0.75 + 0.25 * self.chance())).await;
        }
    }

    /// Answers as long as these sockets are in use.
    async fn listen(
        &self,
        station: &Station,
        node: &mut Attachment,
        trouble: &mut Trouble,
        strangers: &mut Strangers,
    ) -> End {
        let mut receiving = std::pin::pin!(self.receive(station));
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        look.reset();
        let listed = node.registration.borrow_and_update().listed;
        self.state().rules.set_listed(listed);
        loop {
            tokio::select! {
                error = &mut receiving => return End::Failed(error),
                () = self.closed.notified() => return End::Closed,
                () = self.hint.notified() => node.news.notify_one(),
                changed = node.registration.changed() => {
                    if changed.is_err() {
                        return End::NodeGone;
                    }
                    let listed = node.registration.borrow_and_update().listed;
                    self.state().rules.set_listed(listed);
                }
                _ = look.tick() => {
                    trouble.ended();
                    let (total, words) = {
                        let state = self.state();
                        (state.rules.counts().strange(), state.rules.counts().words())
                    };
                    if let Some(count) = strangers.due(total, tokio::time::Instant::now()) {
                        let reason = words.unwrap_or_default();
                        warn!(strategy = "mcast", count, reason, "announcements were ignored");
                    }
                }
            }
        }
    }

    async fn receive(&self, station: &Station) -> String {
        let error = station.receive(|bytes, from| self.take(station, bytes, from)).await;
        format!("{} can be heard no more: {error}; the interface may be gone", self.options.addr)
    }

    fn take(&self, station: &Station, bytes: &[u8], from: SocketAddr) -> Option<(SocketAddr, Vec<u8>)> {
        let means = self.means(station);
        let mut state = self.state();
        if means.now.mono.since(state.keys_of) >= KEYS_INTERVAL {
            state.keys_of = means.now.mono;
            if let Some(keys) = Keys::of(&self.context.credentials.get()) {
                state.rules.set_keys(keys);
            }
        }
        let reaction = state.rules.handle(&Datagram { bytes, from }, means);
        if reaction.news {
            self.hint.notify_one();
        }
        reaction.answer
    }

    /// The sockets; opens them where they are not open.
    async fn station(&self) -> Result<Arc<Station>, String> {
        let mut open = self.station.lock().await;
        if let Some(station) = &*open {
            return Ok(station.clone());
        }
        let station = Arc::new(Station::open(&self.options, &self.context).await?);
        *open = Some(station.clone());
        Ok(station)
    }

    /// Closes sockets that do not work, where they are still the ones in use.
    async fn close(&self, station: &Arc<Station>) {
        let mut open = self.station.lock().await;
        if open.as_ref().is_some_and(|now| Arc::ptr_eq(now, station)) {
            *open = None;
            self.closed.notify_one();
        }
    }

    fn means(&self, station: &Station) -> Means {
        Means { now: self.context.env.clock.now(), fresh: self.context.env.entropy.bits(), reply: station.reply }
    }

    /// A random number between 0 and 1.
    fn chance(&self) -> f64 {
        let bits = u32::try_from(self.context.env.entropy.bits() & u128::from(u32::MAX)).unwrap_or(0);
        f64::from(bits) / f64::from(u32::MAX)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds this lock can leave it half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This node and who answered it.
    fn found(&self, rules: &mut Rules, station: &Station, now: Instant) -> Found {
        let me = &self.context.me;
        let mut found = Found::from(vec![Candidate { name: me.name.clone(), endpoint: me.endpoint.clone() }]);
        for (node_id, known) in rules.known(now) {
            let candidate = Candidate { name: known.name.clone(), endpoint: known.endpoint.clone() };
            match unfit(me, &candidate) {
                Some(why) => found.left_out.push(LeftOut { what: format!("{} ({node_id})", known.name), why }),
                None if found.candidates.contains(&candidate) => {}
                None => found.candidates.push(candidate),
            }
        }
        let (group, ports, from) = (self.options.addr, ports(&self.options), station.reply);
        found.notes.push(format!("asked {group} on UDP port {ports} from {from}"));
        if found.candidates.len() + found.left_out.len() == 1 {
            let text = "nobody answered: no other node runs, the network drops multicast, or the others have another \
                        cookie or cluster.name, which their log tells then";
            found.notes.push(text.to_owned());
        }
        found.notes.extend(rules.counts().words());
        found
    }
}

/// How listening ended.
enum End {
    /// Somebody closed the sockets, to be opened anew.
    Closed,
    /// The node has ended.
    NodeGone,
    /// A socket failed.
    Failed(String),
}

/// Why a node that answered is no candidate.
fn unfit(me: &Me, candidate: &Candidate) -> Option<String> {
    let (mine, theirs) = (me.name.host().is_loopback(), candidate.name.host().is_loopback());
    if candidate.name == me.name {
        Some(
            "answers by this node's own name: this node's agent, if it runs; any other node needs another node.name"
                .into(),
        )
    } else if theirs && !mine {
        Some(format!("its name is on loopback, where {} cannot reach it: set its node.name", me.name))
    } else if mine && !theirs {
        Some(format!("this node's name, {}, is on loopback, where it cannot be reached: set node.name", me.name))
    } else {
        None
    }
}

fn ports(options: &Options) -> String {
    let ports: Vec<String> = options.ports.iter().map(u16::to_string).collect();
    ports.join(", ")
}
