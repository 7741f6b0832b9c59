//! One simulation of whole nodes: hosts, their discs, what their views show, and the hash of it all.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use ekka::config::{Config, ConfigBuilder, CookieSource, Secret};
use ekka::env::Env;
use ekka::node::{Node, StartOptions};
use ekka::transport::{CookieSet, Credentials, Kdf, Mode};
use ekka_core::autocluster::Faults as FormationFaults;
use ekka_core::control::{Faults, StopReason};
use ekka_core::id::NodeName;
use ekka_core::view::{Status, View};
use tokio::sync::watch;

use super::calls::{self, CallCounts, SharedLedger};
use super::group::{Fitness, Groups, SharedGroups, take_tokens};
use super::links::Links;
use super::operator::{Words, listen};
use super::tables::{SharedTables, use_tables};
use super::{GroupCounts, SimClock, SimDisk, SimEntropy, SimNet};
use crate::invariant::Watch;
use crate::trace::Trace;

/// Figures of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Virtual time that passed, in milliseconds.
    pub virtual_ms: u64,
    /// A hash over every change of every view.
    pub trace_hash: u64,
}

/// What a host's process shows to the simulation.
#[derive(Default)]
pub(super) struct Window {
    views: Option<watch::Receiver<Arc<View>>>,
    over: Option<Result<StopReason, String>>,
    pub(super) words: Words,
}

/// One host.
pub(super) struct Seat {
    addr: IpAddr,
    window: Arc<Mutex<Window>>,
    pub(super) disk: SimDisk,
    pub(super) failing: bool,
    /// When something of its own befell it last.
    touched: Duration,
    clock: Arc<SimClock>,
    shown: Option<Arc<View>>,
    runs: bool,
}

/// Hosts that run whole nodes.
pub struct World {
    pub(super) sim: turmoil::Sim<'static>,
    pub(super) seats: Vec<Seat>,
    pub(super) watch: Watch,
    pub(super) links: Links,
    trace: Trace,
    pub(super) elapsed: Duration,
    calls: SharedLedger,
    groups: SharedGroups,
    pub(super) tables: SharedTables,
}

/// How the nodes of a world find each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// All are seeds of each other: they form by themselves.
    Seeds,
    /// By an operator's word only.
    ByWord,
}

/// A cookie of simulations; it protects nothing.
const COOKIE: &str = "a-cookie-that-only-simulated-nodes-know";
/// How often what the groups say is looked at, in milliseconds.
const GROUPS_LOOKED_AT: u128 = 50;
/// One step of `turmoil`.
const TICK: Duration = Duration::from_millis(1);

/// Derived once for all simulated nodes of this process: the derivation is slow on purpose.
fn credentials() -> Credentials {
    static DERIVED: OnceLock<Credentials> = OnceLock::new();
    let derive = || {
        let cookies = CookieSet::read(&CookieSource::Literal(Secret::new(COOKIE))).expect("the cookie is long enough");
        Credentials::derive(&Mode::Cookie, &cookies, "ekka", Kdf::cheap()).expect("a cookie gives credentials")
    };
    DERIVED.get_or_init(derive).clone()
}

fn addr(i: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 168, 0, u8::try_from(i + 1).expect("fewer than 255 hosts")))
}

/// The name of the `i`-th host's node.
pub(super) fn name(i: usize) -> NodeName {
    format!("ekka@{}", addr(i)).parse().expect("a name")
}

fn config(i: usize, n: usize, found: Found) -> Config {
    let builder = ConfigBuilder::new().name(name(i).to_string()).cookie(COOKIE).data_dir("/nonexistent/simulated");
    let builder = match found {
        Found::Seeds => builder.discovery("static").seeds((0..n).map(|i| name(i).to_string())),
        Found::ByWord => builder.discovery("manual"),
    };
    builder.build().expect("the simulation's own configuration is valid")
}

/// What all processes of a run share.
#[derive(Clone)]
struct Common {
    faults: (Faults, FormationFaults),
    calls: SharedLedger,
    groups: SharedGroups,
    tables: SharedTables,
}

async fn host(
    (i, config): (usize, Config),
    env: Env,
    window: Arc<Mutex<Window>>,
    Common { faults, calls, groups, tables }: Common,
) -> turmoil::Result {
    let heard = groups.clone();
    let options = StartOptions {
        inline: true,
        credentials: Some(credentials()),
        kdf: Kdf::cheap(),
        faults: faults.0,
        formation_faults: faults.1,
        table_faults: tables.lock().expect(ONE_THREAD).faults,
        handlers: calls::handlers(&calls),
        group_tap: Some(Arc::new(move |cluster, news| heard.lock().expect(ONE_THREAD).hear(i, cluster, news))),
        ..StartOptions::default()
    };
    let node: Node = match ekka::node::start(config, env, options).await {
        Ok(node) => node,
        Err(error) => {
            window.lock().expect(ONE_THREAD).over = Some(Err(error.to_string()));
            return std::future::pending().await;
        }
    };
    window.lock().expect(ONE_THREAD).views = Some(node.view_changes());
    let caller = tokio::spawn(calls::call_others(node.clone(), calls));
    groups.lock().expect(ONE_THREAD).runs(i, node.clone());
    let taker = tokio::spawn(take_tokens(node.clone(), groups.clone()));
    let user = tokio::spawn(use_tables(i, node.clone(), tables));
    let reason = loop {
        tokio::select! {
            biased;
            reason = node.ended() => break reason,
            () = listen(&node, &window) => {}
        }
    };
    caller.abort();
    taker.abort();
    user.abort();
    groups.lock().expect(ONE_THREAD).ended(i);
    drop(node);
    window.lock().expect(ONE_THREAD).over = Some(Ok(reason));
    std::future::pending().await
}

pub(super) const ONE_THREAD: &str = "one thread runs the simulation";

impl World {
    /// `n` hosts with `static` seeds of all; nothing runs until [`World::start`].
    #[must_use]
    pub fn new(n: usize, seed: u64, latency: Duration, faults: (Faults, FormationFaults)) -> Self {
        Self::found(n, Found::Seeds, seed, latency, faults)
    }

    /// The same, with nodes that find each other in this way.
    #[must_use]
    pub fn found(n: usize, found: Found, seed: u64, latency: Duration, faults: (Faults, FormationFaults)) -> Self {
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .enable_random_order()
            .tick_duration(TICK)
            .simulation_duration(Duration::from_secs(3600))
            .min_message_latency(Duration::from_micros(200))
            .max_message_latency(latency)
            .tcp_capacity(4096)
            .build();
        // Where nothing is listed each node begins as a cluster of its own.
        let mut watch = Watch::new();
        watch.one_id_promised = found != Found::ByWord;
        let common = Common {
            faults,
            calls: SharedLedger::default(),
            groups: SharedGroups::default(),
            tables: SharedTables::default(),
        };
        let seats: Vec<Seat> = (0..n)
            .map(|i| {
                watch.seeds(i, if found == Found::Seeds { n } else { 1 });
                Self::seat(&mut sim, (i, config(i, n, found)), seed, common.clone())
            })
            .collect();
        let Common { calls, groups, tables, .. } = common;
        let (links, trace) = (Links::default(), Trace::new());
        let mut world = Self { sim, seats, watch, links, trace, elapsed: Duration::ZERO, calls, groups, tables };
        // `turmoil` starts a host as it is made; the schedule says when each process really starts.
        for i in 0..n {
            world.sim.crash(addr(i));
        }
        world
    }

    fn seat(sim: &mut turmoil::Sim<'static>, (i, config): (usize, Config), seed: u64, common: Common) -> Seat {
        let window: Arc<Mutex<Window>> = Arc::default();
        let disk = SimDisk::new(seed.rotate_left(17) ^ i as u64);
        let clock = Arc::new(SimClock::default());
        let env = Env {
            net: Arc::new(SimNet),
            clock: clock.clone(),
            entropy: Arc::new(SimEntropy::new(seed ^ (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))),
            disk: Arc::new(disk.clone()),
            threads: false,
        };
        let seen = window.clone();
        sim.host(addr(i), move || host((i, config.clone()), env.clone(), seen.clone(), common.clone()));
        let touched = Duration::ZERO;
        Seat { addr: addr(i), window, disk, failing: false, touched, clock, shown: None, runs: false }
    }

    /// Lets all hosts that start from now on call each other all the time.
    pub fn let_them_call(&mut self) {
        self.calls.lock().expect(ONE_THREAD).on = true;
    }

    /// What came of all calls so far.
    ///
    /// # Errors
    /// A caller was told something that is not true.
    pub fn calls(&self) -> Result<CallCounts, String> {
        self.calls.lock().expect(ONE_THREAD).verdict()
    }

    /// Lets all hosts that start from now on take tokens all the time, this far apart.
    pub fn let_them_write(&mut self, pace: Duration) {
        self.lock_groups().pace = Some(pace);
    }

    /// What the groups committed so far, and whether all that was acknowledged is in it.
    ///
    /// # Errors
    /// Something acknowledged is lost, or what only grows went back.
    pub fn groups(&self) -> Result<GroupCounts, String> {
        self.lock_groups().verdict()
    }

    pub(super) fn lock_groups(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().expect(ONE_THREAD)
    }

    pub(super) fn touch(&mut self, i: usize) {
        self.seats[i].touched = self.elapsed;
    }

    pub(super) fn addr(&self, i: usize) -> IpAddr {
        self.seats[i].addr
    }

    /// How many hosts there are.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.seats.len()
    }

    /// Starts the process of a host, if none runs any more.
    pub fn start(&mut self, i: usize) {
        if self.is_over(i) {
            self.crash(i);
        }
        if !std::mem::replace(&mut self.seats[i].runs, true) {
            self.note(&format!("start {i}"));
            self.touch(i);
            *self.seats[i].window.lock().expect(ONE_THREAD) = Window::default();
            self.sim.bounce(self.seats[i].addr);
        }
    }

    /// Ends the process of a host at once. Its disc keeps what was written, synced or not.
    pub fn crash(&mut self, i: usize) {
        if self.end_process(i) {
            self.note(&format!("crash {i}"));
            self.seats[i].disk.store().process_ended();
        }
    }

    /// Ends the process of a host, if one runs.
    pub(super) fn end_process(&mut self, i: usize) -> bool {
        let ran = std::mem::take(&mut self.seats[i].runs);
        if ran {
            self.sim.crash(self.seats[i].addr);
            self.seats[i].shown = None;
            *self.seats[i].window.lock().expect(ONE_THREAD) = Window::default();
            self.lock_groups().ended(i);
            self.lock_tables().ended(i);
            self.touch(i);
        }
        ran
    }

    /// Whether the process of a host ended by itself, or could not start.
    #[must_use]
    pub fn is_over(&self, i: usize) -> bool {
        self.seats[i].window.lock().expect(ONE_THREAD).over.is_some()
    }

    /// Whether the process of any host ended by itself.
    pub(super) fn any_over(&self) -> bool {
        (0..self.seats.len()).any(|i| self.is_over(i))
    }

    pub(super) fn window(&self, i: usize) -> &Arc<Mutex<Window>> {
        &self.seats[i].window
    }

    /// Sets the wall clock of a host off by so many milliseconds.
    pub fn set_clock(&mut self, i: usize, offset_ms: i64) {
        self.note(&format!("clock {i} {offset_ms}"));
        self.touch(i);
        self.seats[i].clock.set_offset_ms(offset_ms);
    }

    /// Runs for so long.
    ///
    /// # Errors
    /// Something that must hold did not.
    pub fn run_for(&mut self, time: Duration) -> Result<(), String> {
        let until = self.elapsed + time;
        while self.elapsed < until {
            self.sim.step().map_err(|error| format!("a host failed: {error}"))?;
            self.elapsed += TICK;
            self.lock_groups().now = self.elapsed;
            self.look()?;
            if self.elapsed.as_millis().is_multiple_of(GROUPS_LOOKED_AT) {
                self.look_at_groups()?;
                self.lock_tables().look()?;
            }
        }
        Ok(())
    }

    /// Runs until a condition holds; how long it took.
    ///
    /// # Errors
    /// It did not hold within the limit, or something that must always hold did not.
    pub fn run_to(&mut self, what: &str, limit: Duration, holds: impl Fn(&Self) -> bool) -> Result<Duration, String> {
        let begin = self.elapsed;
        while !holds(self) {
            if self.elapsed.saturating_sub(begin) >= limit {
                return Err(format!("{what}: not within {limit:?}; {}", self.words()));
            }
            self.run_for(Duration::from_millis(50))?;
        }
        Ok(self.elapsed.saturating_sub(begin))
    }

    /// Whether every node is up, in one cluster, and shows all others up.
    #[must_use]
    pub fn converged(&self) -> bool {
        let mut id = None;
        self.seats.iter().all(|seat| {
            let Some(view) = &seat.shown else { return false };
            let up = view.members.iter().filter(|m| m.status == Status::Up).count();
            let same = view.cluster_id.is_some() && *id.get_or_insert(view.cluster_id) == view.cluster_id;
            same && view.is_settled() && up == self.seats.len() && view.members.len() == up
        })
    }

    /// What a host shows now.
    #[must_use]
    pub fn view(&self, i: usize) -> Option<&Arc<View>> {
        self.seats[i].shown.as_ref()
    }

    /// Figures so far.
    #[must_use]
    pub fn report(&self) -> Report {
        let virtual_ms = u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX);
        Report { virtual_ms, trace_hash: self.trace.hash() }
    }

    /// The last lines of the trace.
    #[must_use]
    pub fn trace(&self) -> Vec<String> {
        self.trace.lines()
    }

    /// Where everybody stands, in words.
    #[must_use]
    pub fn words(&self) -> String {
        let one = |(i, seat): (usize, &Seat)| match (&seat.shown, &seat.window.lock().expect(ONE_THREAD).over) {
            (_, Some(over)) => format!("{i}: over, {over:?}"),
            (None, None) => format!("{i}: off"),
            (Some(view), None) => format!("{i}: {}", summary(view)),
        };
        self.seats.iter().enumerate().map(one).collect::<Vec<_>>().join(" | ")
    }

    pub(super) fn note(&mut self, text: &str) {
        self.trace.note(self.elapsed, text);
    }

    /// Looks at what the groups say, beside what hosts and network let them do.
    fn look_at_groups(&mut self) -> Result<(), String> {
        let mut fitness = Fitness { pairs: self.links.pairs(), ..Fitness::default() };
        for (i, seat) in self.seats.iter().enumerate() {
            if seat.runs && !seat.failing && !self.is_ending(i) {
                let cluster_id = seat.shown.as_ref().and_then(|view| view.cluster_id);
                fitness.hosts.insert(i, (seat.touched, cluster_id));
            }
        }
        self.lock_groups().check(&fitness)
    }

    /// Takes in what changed in this step.
    fn look(&mut self) -> Result<(), String> {
        for i in 0..self.seats.len() {
            let mut window = self.seats[i].window.lock().expect(ONE_THREAD);
            if let Some(Ok(reason)) = &window.over {
                self.watch.ended(i, reason)?;
            }
            let Some(views) = &mut window.views else { continue };
            let first = self.seats[i].shown.is_none();
            if !first && !views.has_changed().unwrap_or(false) {
                continue;
            }
            let view = views.borrow_and_update().clone();
            drop(window);
            self.seats[i].shown = Some(view.clone());
            self.trace.note(self.elapsed, &format!("{i}: {}", summary(&view)));
            self.watch.see(i, &view)?;
        }
        Ok(())
    }
}

/// The part of a view that people and the trace hash look at.
fn summary(view: &View) -> String {
    let member = |m: &ekka_core::view::Member| format!("{}={}", m.name.host(), m.status.as_str());
    let members: Vec<String> = view.members.iter().map(member).collect();
    let reasons: Vec<&str> = view.reasons.iter().map(|r| r.text.as_str()).collect();
    format!("{} {:?} [{}] {}", view.status.as_str(), view.cluster_id, members.join(" "), reasons.join("; "))
}
