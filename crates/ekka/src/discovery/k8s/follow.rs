//! The watch: a list, then what changes, kept as a copy that answers discovery while the watch is healthy.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::addresses::AddressSet;
use super::api::Api;
use super::event::{self, Change};
use super::failure::Failure;
use super::list::{Listing, Purpose, Source, list};
use super::speaker::Speaker;
use super::trouble::Trouble;
use crate::env::Env;
use crate::http::Lines;

/// How long a watch is asked to last: a connection that died in silence is noticed by then.
const WATCH_SECONDS: u64 = 120;
/// A copy counts so long after the last word of the server, which sends a bookmark every minute.
const FRESH: Duration = Duration::from_secs(75);
/// A watch that ends sooner than this is followed by a wait.
const SHORT: Duration = Duration::from_secs(1);
/// A watch works from its first line on, or once it has lived so long in silence: servers speak once a minute.
const LIVES: Duration = Duration::from_secs(5);
/// First and longest wait after a failure.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// A denial lasts until somebody changes a Role.
const DENIED: Duration = Duration::from_secs(30);

/// What the watch knows.
#[derive(Default)]
pub(super) struct Mirror {
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    listing: Listing,
    heard: Instant,
}

impl Mirror {
    /// The list as of now, while the watch is healthy.
    pub(super) fn fresh(&self) -> Option<Listing> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().filter(|kept| kept.heard.elapsed() < FRESH).map(|kept| kept.listing.clone())
    }

    fn keep(&self, listing: Option<Listing>) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) =
            listing.map(|listing| Kept { listing, heard: Instant::now() });
    }

    /// The server said something; whether that changed the addresses.
    fn change(&self, change: impl FnOnce(&mut AddressSet)) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(kept) = kept.as_mut() else { return false };
        kept.heard = Instant::now();
        let before = kept.listing.set.clone();
        change(&mut kept.listing.set);
        kept.listing.set != before
    }
}

/// Nobody keeps the copy any more once the watch is dropped, at whatever point.
struct Ended<'a>(&'a Mirror);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.keep(None);
    }
}

/// How watching goes.
struct Course {
    trouble: Trouble,
    /// After the next failure.
    wait: Duration,
}

/// One watch.
struct Watch {
    server: Speaker,
    source: Source,
    lines: Lines,
    /// A server that says nothing for so long is gone.
    silence: Duration,
}

/// What a watch needs.
pub(super) struct Follower<'a> {
    pub(super) api: &'a Api,
    pub(super) env: &'a Env,
    pub(super) service: &'a str,
    pub(super) mirror: &'a Mirror,
    pub(super) news: &'a Notify,
}

impl Follower<'_> {
    /// Watches for ever.
    pub(super) async fn follow(&self) {
        let _ended = Ended(self.mirror);
        let mut course = Course { trouble: Trouble::default(), wait: BACK_OFF.0 };
        loop {
            let failure = match self.watched(&mut course).await {
                Err(failure) => failure,
                Ok(never) => match never {},
            };
            self.mirror.keep(None);
            // An old list is the way of the world; it is no failure unless it goes on.
            if !matches!(failure, Failure::Gone(_)) || course.wait > BACK_OFF.0 {
                course.trouble.failed(&failure.to_string());
            }
            tokio::time::sleep(self.jittered(pause(&failure, course.wait))).await;
            course.wait = (course.wait * 2).min(BACK_OFF.1);
        }
    }

    /// A list, and watches on it until something fails.
    async fn watched(&self, course: &mut Course) -> Result<std::convert::Infallible, Failure> {
        let listing = list(self.api, self.service, Purpose::Watch).await?;
        let (source, mut version) = (listing.source, listing.version.clone());
        self.mirror.keep(Some(listing));
        self.news.notify_one();
        loop {
            let began = Instant::now();
            let seconds = WATCH_SECONDS + u64::try_from(self.env.entropy.bits() % 60).unwrap_or_default();
            let ask = source.ask(self.service).watch(&version, seconds);
            let (server, lines) = self.api.watch(&ask).await?;
            self.mirror.change(|_| {});
            let silence = Duration::from_secs(seconds + 10);
            self.lines(Watch { server, source, lines, silence }, &mut version, course).await?;
            if began.elapsed() < SHORT {
                tokio::time::sleep(self.jittered(SHORT)).await;
            }
        }
    }

    /// All that one watch says. That it was opened means little: proxies open what they then cut.
    ///
    /// # Errors
    /// It broke, or ended without having done anything.
    async fn lines(&self, mut watch: Watch, version: &mut String, course: &mut Course) -> Result<(), Failure> {
        let lives = Instant::now() + LIVES;
        let mut works = false;
        loop {
            let next = next(&watch.server, &mut watch.lines, watch.silence);
            let line = tokio::select! {
                line = next => line?,
                () = tokio::time::sleep_until(lives), if course.wait > BACK_OFF.0 || !works => {
                    works = true;
                    course.wait = BACK_OFF.0;
                    course.trouble.works();
                    continue;
                }
            };
            match line {
                Some(line) if line.trim_ascii().is_empty() => {}
                Some(line) => {
                    self.take(event::read(&watch.server, watch.source, &line)?, version);
                    works = true;
                    course.trouble.works();
                }
                None if works => return Ok(()),
                None => {
                    let server = &watch.server;
                    return Err(Failure::Unreachable(format!("{server} ends the watch before it says anything")));
                }
            }
        }
    }

    fn take(&self, change: Change, at: &mut String) {
        let changed = match change {
            Change::Put { object, addresses, version } => {
                *at = version;
                self.mirror.change(|set| set.put(&object, addresses))
            }
            Change::Removed { object, version } => {
                *at = version;
                self.mirror.change(|set| set.remove(&object))
            }
            Change::Bookmark { version } => {
                *at = version;
                self.mirror.change(|_| {})
            }
            Change::Unknown => self.mirror.change(|_| {}),
        };
        if changed {
            self.news.notify_one();
        }
    }

    /// Up to a quarter more, so that nodes that failed together do not come together.
    fn jittered(&self, wait: Duration) -> Duration {
        wait + wait * u32::try_from(self.env.entropy.bits() % 256).unwrap_or_default() / 1024
    }
}

async fn next(server: &Speaker, lines: &mut Lines, limit: Duration) -> Result<Option<Vec<u8>>, Failure> {
    let silent = |_| Failure::Unreachable(format!("{server}: the watch neither speaks nor ends"));
    let line = tokio::time::timeout(limit, lines.next()).await.map_err(silent)?;
    line.map_err(|error| Failure::Unreachable(error.to_string()))
}

fn pause(failure: &Failure, wait: Duration) -> Duration {
    match failure {
        Failure::Forbidden(_) | Failure::NotFound(_) => DENIED,
        Failure::Busy(_, until) => wait.max(*until),
        Failure::Unreachable(_) | Failure::Unauthorized(_) | Failure::Gone(_) | Failure::Odd(_) => wait,
    }
}
