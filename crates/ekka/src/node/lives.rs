//! The node's own thread: one start of the node after the other.
//!
//! A node that was declared gone while it lived goes on in the same process, with the same handle, directory and store, but
//! under a new guid: links, replica and loop of the old start end first, and nothing of it reaches the new one.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ekka_core::autocluster;
use ekka_core::autoheal::HealNews;
use ekka_core::control::{self, Control, Input, Loading, Setup, StopReason};
use ekka_core::event::EventKind;
use ekka_core::wire::Moment;
use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::driver::{Channels, Driver, Own, Remains, Request, keep_on_disc};
use super::group::{self, GroupTap};
use super::heal::{self, HealCallbacks, Healer};
use super::room::watch_disc;
use super::shared::Shared;
use super::start::{Calls, INPUTS_MAX, Kept, StartError, lanes, setup};
use super::store;
use super::strategies::Strategies;
use super::{Inner, volatile};
use crate::discovery::Discovery;
use crate::env::{DiskGuard, Env};
use crate::lock::Locks;
use crate::storage::Storage;
use crate::transport::{self, CertificateNotice, Credentials, RefusalNotice, Transport};

/// How long a start that follows another one waits after a failure (disc, port) before it is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often it is tried.
const TRIES: u32 = 30;

/// What all starts of one process have in common.
pub(super) struct Lasting {
    pub(super) env: Env,
    pub(super) shared: Arc<Shared>,
    pub(super) ended: watch::Sender<Option<StopReason>>,
    pub(super) guard: Box<dyn DiskGuard>,
    pub(super) storage: Arc<dyn Storage>,
    pub(super) calls: Calls,
    pub(super) tables: Kept,
    pub(super) locks: Arc<Locks>,
    pub(super) listen: Vec<SocketAddr>,
    pub(super) limits: transport::Limits,
    /// What the program wants to be called for, and the runtime where it runs.
    pub(super) callbacks: (HealCallbacks, Handle),
    pub(super) faults: (control::Faults, autocluster::Faults),
    pub(super) group_tap: Option<GroupTap>,
    /// The handles; the thread itself must not keep the node alive.
    pub(super) node: Weak<Inner>,
}

/// What one start begins with.
pub(super) struct Life {
    pub(super) control: Control,
    pub(super) credentials: Credentials,
    pub(super) strategies: Vec<Arc<dyn Discovery>>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) own: (mpsc::Sender<Own>, mpsc::Receiver<Own>),
}

/// Runs the node to its end.
pub(super) async fn main(lasting: Lasting, mut life: Life, ready: oneshot::Sender<Result<(), StartError>>) {
    let mut ready = Some(ready);
    let reason = loop {
        let started = match open(&lasting, &life, ready.is_none()).await {
            Ok(started) => started,
            Err(error) => {
                let Some(ready) = ready else {
                    warn!(err = %error, "the node cannot go on under its new guid");
                    break StopReason::Over;
                };
                // The caller of `start` may have gone.
                return drop(ready.send(Err(error)));
            }
        };
        if let Some(ready) = ready.take() {
            let _ = ready.send(Ok(()));
        }
        let credentials = started.transport.clone();
        let (reason, remains) = Box::pin(live(&lasting, life, started)).await;
        if reason != StopReason::Over {
            break reason;
        }
        match again(&lasting, credentials.credentials(), remains).await {
            Some(next) => life = next,
            None => break reason,
        }
    };
    lasting.calls.hub.stop();
    lasting.tables.tables.stop().await;
    drop(lasting.guard);
    lasting.ended.send_replace(Some(reason));
}

/// The transport of one start.
struct Started {
    transport: Transport,
    inputs: mpsc::Receiver<Input>,
    frames: group::Frames,
}

/// Opens the port. A start that follows another one has the time that the old sockets need.
async fn open(lasting: &Lasting, life: &Life, patient: bool) -> Result<Started, StartError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let hosts = (lasting.calls.hub.clone(), lasting.tables.tables.clone());
        let (options, frames) = lanes(lasting.listen.clone(), lasting.limits.clone(), hosts);
        let (events, inputs) = mpsc::channel(INPUTS_MAX);
        let hello = hello_source(lasting, &life.control);
        match Transport::start(&lasting.env, options, life.credentials.clone(), hello, events).await {
            Ok(transport) => return Ok(Started { transport, inputs, frames }),
            Err(error) if patient && tries < TRIES => {
                warn!(err = %error, "the port cannot be had under the new guid yet; trying again");
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Runs one start to its end.
async fn live(lasting: &Lasting, life: Life, started: Started) -> (StopReason, Remains) {
    let Lasting { env, shared, .. } = lasting;
    let Started { transport, inputs, frames } = started;
    lasting.calls.hub.use_transport(transport.clone());
    let in_cluster = life.control.saved().formation.cluster_id.is_some();
    lasting.tables.tables.use_transport(life.control.view().me, transport.clone(), in_cluster);
    if let Some(node) = lasting.node.upgrade() {
        node.present().transport = Some(transport.clone());
    }
    let (to_disc, wanted) = watch::channel(None);
    let (done, on_disc) = watch::channel(0);
    let cancel = CancellationToken::new();
    let disc = keep_on_disc(env.clone(), wanted, done, life.own.0.clone());
    shared.tasks.spawn(cancel.clone().run_until_cancelled_owned(disc));
    let refusals = tell_refusals(transport.refusals(), shared.clone());
    shared.tasks.spawn(cancel.clone().run_until_cancelled_owned(refusals));
    let certificates = tell_certificates(transport.certificate_notices(), shared.clone());
    shared.tasks.spawn(cancel.clone().run_until_cancelled_owned(certificates));
    let room = watch_disc(lasting.storage.clone(), shared.clone(), life.own.0.clone());
    shared.tasks.spawn(cancel.clone().run_until_cancelled_owned(room));
    let loading = tell_loading(lasting.tables.tables.loading(), life.own.0.clone());
    shared.tasks.spawn(cancel.clone().run_until_cancelled_owned(loading));
    let listeners = (life.own.0.clone(), lasting.group_tap.clone());
    let group = group::start(
        (env, shared),
        &transport,
        lasting.storage.clone(),
        (frames, lasting.tables.tables.clone()),
        listeners,
    );
    let volatile = volatile::start((env, shared), group.router(), life.own.0.clone(), lasting.locks.clone());
    let (news, heals) = mpsc::channel(heal::NEWS_MAX);
    shared.tasks.spawn(cancel.clone().run_until_cancelled_owned(tell_heals(heals, life.own.0.clone())));
    let exchange = heal::exchange(&lasting.tables.tables, &lasting.calls.hub);
    let healer = Healer::new(lasting.callbacks.clone(), exchange, news, (shared.tasks.clone(), shared.heals().clone()));
    let driver = Driver {
        control: life.control,
        env: env.clone(),
        transport,
        strategies: Strategies::new(life.strategies, life.own.0, shared.clone()),
        group,
        volatile,
        healer,
        shared: shared.clone(),
        channels: Channels { requests: life.requests, inputs, own: life.own.1 },
        answers: std::collections::BTreeMap::new(),
        last_request: 0,
        deserted: false,
        to_disc,
        on_disc,
    };
    let ended = Box::pin(driver.run()).await;
    cancel.cancel();
    ended
}

/// Makes ready for the next start: a guid above the old one, on disc before it is used. `None` where the directory does not
/// take it, or nobody holds the node any more.
async fn again(lasting: &Lasting, credentials: Credentials, remains: Remains) -> Option<Life> {
    let Remains { strategies, requests, decisions, carried } = remains;
    for _ in 0..TRIES {
        let config = lasting.node.upgrade()?.config();
        let env = &lasting.env;
        let (disk, clock, entropy) = (env.disk.clone(), env.clock.clone(), env.entropy.clone());
        let name = config.node.name.clone();
        let begun = env.blocking(move || store::begin(disk.as_ref(), clock.as_ref(), entropy.as_ref(), &name, false));
        let (identity, saved) = match begun.await {
            Ok(begun) => begun,
            Err(err) => {
                warn!(%err, "the new guid cannot be written; trying again");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        let setup = setup(&config, env, (identity.clone(), lasting.storage.found(), saved), lasting.faults);
        let setup = Setup { carried: Some(carried), ..setup };
        let control = Control::new(setup, env.clock.now()).with_decisions(decisions);
        let own = mpsc::channel(INPUTS_MAX);
        let node = lasting.node.upgrade()?;
        {
            let mut present = node.present();
            (present.identity, present.own) = (identity, own.0.clone());
        }
        lasting.shared.publish(control.view());
        return Some(Life { control, credentials, strategies, requests, own });
    }
    None
}

/// This node's Hello of any moment, from the latest view.
fn hello_source(lasting: &Lasting, control: &Control) -> transport::HelloSource {
    let (shared, clock) = (lasting.shared.clone(), lasting.env.clock.clone());
    let template = control.hello_template().clone();
    Arc::new(move |purpose| {
        let view = shared.view();
        let holds = view.status.takes_part() && view.quorum.holds();
        let (cluster_id, generation, status) = (view.cluster_id, view.generation, view.status);
        let moment = Moment { cluster_id, status, holds, wall: clock.now().wall, generation };
        template.hello(purpose, moment)
    })
}

/// Tells the loop how far the tables are.
async fn tell_loading(mut loading: watch::Receiver<Loading>, own: mpsc::Sender<Own>) {
    loading.mark_changed();
    while loading.changed().await.is_ok() {
        let present = loading.borrow_and_update().clone();
        if own.send(Own::Input(Input::Tables(present))).await.is_err() {
            return;
        }
    }
}

/// Tells the loop what came of heals.
async fn tell_heals(mut news: mpsc::Receiver<HealNews>, own: mpsc::Sender<Own>) {
    while let Some(news) = news.recv().await {
        if own.send(Own::Input(Input::Heal(news))).await.is_err() {
            return;
        }
    }
}

/// Turns refusals of strangers into events; the transport has limited their rate.
async fn tell_refusals(mut refusals: broadcast::Receiver<RefusalNotice>, shared: Arc<Shared>) {
    loop {
        match refusals.recv().await {
            Ok(notice) => {
                let reason = format!("{}: {}", notice.reason.as_str(), notice.text);
                let kind = EventKind::HandshakeRefused { addr: notice.addr.to_string(), reason, count: notice.count };
                shared.event(kind.into(), shared.clock.now());
            }
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Turns what becomes of changed certificate files into events.
async fn tell_certificates(mut notices: broadcast::Receiver<CertificateNotice>, shared: Arc<Shared>) {
    loop {
        let kind = match notices.recv().await {
            Ok(CertificateNotice::Taken) => {
                EventKind::CredentialsRotated { step: "changed certificate files are in use".into() }
            }
            Ok(CertificateNotice::Refused(error)) => EventKind::CredentialsFailing { error },
            Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return,
        };
        shared.event(kind.into(), shared.clock.now());
    }
}
