//! What this node knows of the contact with one peer: when it was heard, how long a round trip takes, who says what.

use alloc::collections::VecDeque;
use alloc::string::String;
use core::time::Duration;

use crate::id::Incarnation;
use crate::time::{Instant, Wall};

/// Heartbeats whose answer may still come.
const SENT_KEPT: usize = 16;

/// Contact with one peer.
#[derive(Clone, Debug)]
pub(super) struct Contact {
    /// The incarnation that is, or was last, in contact.
    pub(super) id: Incarnation,
    pub(super) connected: bool,
    /// When anything came from it.
    pub(super) heard: Option<Instant>,
    pub(super) heard_wall: Option<Wall>,
    /// When its last connection was lost to a reset; `None` while connected.
    pub(super) reset: Option<Instant>,
    /// This node's belief.
    pub(super) alive: bool,
    pub(super) since: Wall,
    pub(super) down_since: Option<Instant>,
    /// That it is down is a verdict, and not only that it has not been heard yet.
    pub(super) declared: bool,
    /// Until this node had the time to call a member that it has to watch from now on, gossip's word counts.
    pub(super) believed: Option<Instant>,
    /// Why it is down, in one word of the contract: `silent`, `refused`, `one-way`.
    pub(super) evidence: String,
    /// It said goodbye: it comes back as another start.
    pub(super) goodbye: bool,
    pub(super) next_dial: Instant,
    pub(super) next_exchange: Instant,
    pub(super) asked: Option<Instant>,
    number: u64,
    sent: VecDeque<(u64, Instant)>,
    srtt_us: Option<u64>,
}

impl Contact {
    pub(super) fn new(id: Incarnation, now: Instant, wall: Wall) -> Self {
        Self {
            id,
            connected: false,
            heard: None,
            heard_wall: None,
            reset: None,
            alive: false,
            since: wall,
            down_since: Some(now),
            declared: false,
            believed: None,
            evidence: String::from("silent"),
            goodbye: false,
            next_dial: now,
            next_exchange: now,
            asked: None,
            number: 0,
            sent: VecDeque::new(),
            srtt_us: None,
        }
    }

    /// It is up: what was said against it is over.
    pub(super) fn rises(&mut self) {
        (self.alive, self.declared, self.down_since) = (true, false, None);
        self.evidence.clear();
    }

    /// The number of the next heartbeat.
    pub(super) fn send_heartbeat(&mut self, now: Instant) -> u64 {
        self.number += 1;
        if self.sent.len() == SENT_KEPT {
            self.sent.pop_front();
        }
        self.sent.push_back((self.number, now));
        self.number
    }

    /// An answer came: the round trip in microseconds, smoothed as RFC 6298 does (gain 1/8).
    pub(super) fn heartbeat_answered(&mut self, number: u64, now: Instant) -> Option<u64> {
        let at = self.sent.iter().position(|(sent, _)| *sent == number)?;
        let (_, sent) = self.sent.remove(at)?;
        let rtt = u64::try_from(now.since(sent).as_micros()).unwrap_or(u64::MAX);
        self.srtt_us = Some(self.srtt_us.map_or(rtt, |srtt| srtt - srtt / 8 + rtt / 8));
        Some(rtt)
    }

    pub(super) fn rtt_us(&self) -> Option<u64> {
        self.srtt_us
    }

    pub(super) fn forget_rtt(&mut self) {
        self.srtt_us = None;
        self.sent.clear();
    }

    pub(super) fn is_heard_within(&self, within: Duration, now: Instant) -> bool {
        self.heard.is_some_and(|heard| now.since(heard) <= within)
    }

    /// Takes time that this process did not run out of all ages; what comes now may be an answer from before it.
    pub(super) fn paused(&mut self, by: Duration) {
        self.sent.clear();
        let times = [&mut self.heard, &mut self.reset, &mut self.asked, &mut self.believed, &mut self.down_since];
        for at in times.into_iter().flatten() {
            *at = *at + by;
        }
    }
}
