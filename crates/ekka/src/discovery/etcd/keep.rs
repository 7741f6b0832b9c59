//! Keeps this node's entry, as its registration says, and wakes the node when something changed.
//!
//! Two loops side by side. One keeps: it writes, beats, and looks after the id's key. The other follows the changes, so
//! that a newcomer is seen at once and an entry that was taken away comes back at once. Each tries again by itself.

use std::sync::PoisonError;
use std::time::Duration;

use ekka_core::autocluster::Registration;
use ekka_core::limits::NEWS_INTERVAL;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::api::{Change, Hold};
use super::layout::ID;
use super::pace::{Backoff, Trouble};
use super::standing::Standing;
use super::words::{Failure, Kind};
use super::{Etcd, entry};
use crate::discovery::Attachment;

/// Beats within one time to live.
const BEATS: u32 = 3;

/// What this node has in etcd.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Written {
    hold: Hold,
    /// The value that was sent last.
    value: Vec<u8>,
    /// Whether etcd said that it holds it.
    confirmed: bool,
}

/// A watch is opened anew after so long, up to twice that: one whose network died in silence says nothing for ever.
const WATCH: Duration = Duration::from_secs(60);
/// A watch that ends sooner and told no change has done nothing; the next one waits longer.
const SHORT: Duration = Duration::from_secs(1);

pub(super) async fn run(etcd: &Etcd, node: Attachment) {
    if let Some(server) = etcd.api.ask.password_in_the_clear() {
        warn!(strategy = "etcd", %server, "the password of etcd's user goes there in the clear: https:// hides it");
    }
    let changed = Notify::new();
    tokio::join!(keep(etcd, node.registration, &changed), follow(etcd, &node.news, &changed));
}

async fn keep(etcd: &Etcd, mut registration: watch::Receiver<Registration>, changed: &Notify) {
    let (mut backoff, mut trouble) = (Backoff::new(), Trouble::default());
    let standing = Standing::new(etcd.node_ttl);
    let mut keeper = Keeper { etcd, standing, overwritten: Trouble::default(), seen: Instant::now() };
    let mut looked = false;
    loop {
        let begun = Instant::now();
        let wanted = registration.borrow_and_update().clone();
        let pause = match keeper.step(&wanted, looked).await {
            Ok(()) => {
                looked = false;
                backoff.reset();
                if trouble.over() {
                    info!(strategy = "etcd", "this node's entry in etcd is kept again");
                }
                keeper.pause()
            }
            Err(failure) => {
                let err = failure.to_string();
                if let Some(count) = trouble.failed(&err, Instant::now()) {
                    warn!(strategy = "etcd", err, count, "this node's entry in etcd is not kept");
                }
                backoff.pause(&etcd.context.env)
            }
        };
        tokio::select! {
            biased;
            change = registration.changed() => if change.is_err() { return },
            () = changed.notified() => {
                looked = true;
                // Others may change this node's key all the time.
                tokio::time::sleep_until(begun + NEWS_INTERVAL).await;
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One who keeps.
struct Keeper<'a> {
    etcd: &'a Etcd,
    standing: Standing,
    overwritten: Trouble,
    /// When the entry was written or looked at last.
    seen: Instant,
}

impl Keeper<'_> {
    /// Makes etcd hold what it is to hold. `look`: something may have been changed by others.
    async fn step(&mut self, wanted: &Registration, look: bool) -> Result<(), Failure> {
        if !wanted.listed {
            return self.etcd.let_go().await;
        }
        let value = entry::encode(&self.etcd.context.me, wanted.cluster_id);
        let fresh = !self.beat(&value).await?;
        // Changes may have been missed: a watch can die in silence, and a lease lives on without its key.
        let due = self.seen.elapsed() >= self.etcd.node_ttl;
        if fresh {
            self.write(&value).await?;
        } else if look || due {
            self.look(&value).await?;
        }
        if fresh || look || due {
            self.seen = Instant::now();
        }
        if fresh || look {
            // Said before it is looked at: where that fails, it is made up for at the next step.
            self.standing.happened();
        }
        self.standing.check(self.etcd, wanted).await
    }

    /// A beat; whether etcd holds that value of this node.
    async fn beat(&self, value: &[u8]) -> Result<bool, Failure> {
        let Some(written) = self.etcd.written() else { return Ok(false) };
        let key = self.etcd.key();
        if !self.etcd.api.beat(&key, written.hold).await? {
            self.etcd.set_written(None);
            return Ok(false);
        }
        Ok(written.confirmed && written.value == value)
    }

    async fn write(&self, value: &[u8]) -> Result<(), Failure> {
        let key = self.etcd.key();
        let hold = match self.etcd.written() {
            Some(written) => written.hold,
            None => self.etcd.api.hold(self.etcd.node_ttl).await?,
        };
        // Before it is sent: whatever became of it, it can be let go.
        self.etcd.set_written(Some(Written { hold, value: value.to_vec(), confirmed: false }));
        match self.etcd.api.put(&key, value, hold).await {
            Ok(()) => {
                self.etcd.set_written(Some(Written { hold, value: value.to_vec(), confirmed: true }));
                debug!(strategy = "etcd", "registered");
                Ok(())
            }
            Err(failure) => {
                if failure.kind == Kind::LeaseGone {
                    self.etcd.set_written(None);
                }
                Err(failure)
            }
        }
    }

    /// Looks whether the entry is there, and whose it is.
    async fn look(&mut self, value: &[u8]) -> Result<(), Failure> {
        let Some(stored) = self.etcd.api.read(&self.etcd.key()).await? else { return self.write(value).await };
        match entry::owner(&stored.value) {
            Some(owner) if owner != self.etcd.context.me.node_id => {
                // Two that write over each other would not be better than one that says so.
                let name = self.etcd.context.me.name.to_string();
                if let Some(count) = self.overwritten.failed(&name, Instant::now()) {
                    let other = owner.to_string();
                    warn!(strategy = "etcd", name, other, count, "another node writes the entry of this node's name");
                }
                Ok(())
            }
            _ if stored.value == value => Ok(()),
            _ => self.write(value).await,
        }
    }

    fn pause(&self) -> Duration {
        self.etcd.written().map_or(self.etcd.node_ttl, |written| written.hold.ttl) / BEATS
    }
}

async fn follow(etcd: &Etcd, news: &Notify, changed: &Notify) {
    let mut backoff = Backoff::new();
    loop {
        if let Err(failure) = changes(etcd, news, changed, &mut backoff).await {
            // The loop that keeps says what is wrong with etcd, and discovery does.
            let err = etcd.api.ask.hidden(&failure.to_string());
            debug!(strategy = "etcd", err, "changes are not seen at once");
        }
        tokio::time::sleep(backoff.pause(&etcd.context.env)).await;
    }
}

/// Follows the changes while one server gives them.
async fn changes(etcd: &Etcd, news: &Notify, changed: &Notify, backoff: &mut Backoff) -> Result<(), Failure> {
    let mut last_good = etcd.api.ask.last_good();
    let mut watch = etcd.api.watch().await?;
    // Whatever happened before: from here on nothing is missed.
    news.notify_one();
    changed.notify_one();
    let begun = Instant::now();
    let end =
        begun + WATCH + Duration::from_millis(u64::try_from(etcd.context.env.entropy.bits() % 60_000).unwrap_or(0));
    loop {
        let server = watch.server();
        let seen = tokio::select! {
            seen = watch.next() => seen,
            () = tokio::time::sleep_until(end) => Ok(None),
            // Another server answers in the place of this one, which may be silent for ever.
            _ = last_good.wait_for(|last| *last != server) => return Ok(()),
        };
        if begun.elapsed() > SHORT || seen.as_ref().is_ok_and(|seen| seen.as_ref().is_some_and(|it| !it.is_empty())) {
            backoff.reset();
        }
        let Some(seen) = seen? else { return Ok(()) };
        if !seen.is_empty() {
            news.notify_one();
        }
        if seen.iter().any(|change| etcd.concerns(change)) {
            changed.notify_one();
        }
    }
}

impl Etcd {
    fn key(&self) -> String {
        self.api.layout.node(&self.context.me.name)
    }

    fn written(&self) -> Option<Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_written(&self, written: Option<Written>) {
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = written;
    }

    /// Whether a change is one of this node's entry by others, or took the id away.
    fn concerns(&self, change: &Change) -> bool {
        if change.name == ID {
            return change.value.is_none();
        }
        if change.name != self.context.me.name.to_string() {
            return false;
        }
        change.value.as_ref().is_none_or(|value| entry::owner(value) != Some(self.context.me.node_id))
    }

    /// Takes this node's entry out, where it has one.
    pub(super) async fn let_go(&self) -> Result<(), Failure> {
        let Some(written) = self.written() else { return Ok(()) };
        self.api.let_go(&self.key(), &written.value, written.hold).await?;
        self.set_written(None);
        Ok(())
    }
}
