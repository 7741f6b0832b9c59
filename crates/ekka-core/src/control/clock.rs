//! Whether this node's clock is right: by those of its peers, and by what it said when they last agreed with it.
//!
//! Members tell their clocks with every heartbeat. Others tell it once, when they are met; so a node that is in no cluster
//! with anybody would wait for a right clock for ever, although it was set since, or theirs were: it asks them while its
//! own seems to be wrong.
//!
//! A node that reaches nobody has nothing to compare its clock with but the clock itself, as it was: one that jumped since
//! is wrong until a peer says otherwise. So is that of two nodes which jumped; the clocks alone do not tell which it was.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Control, Message, Output, emit};
use crate::event::EventKind;
use crate::id::NodeId;
use crate::identity::clock::{Counted, human};
use crate::table::Offset;
use crate::time::{Instant, Now, Wall, is_clock_refused};

/// How often they are asked.
const ASK_INTERVAL: Duration = Duration::from_secs(2);
/// So many at most: they are compared by their median.
const ASKED_MAX: usize = 32;

/// The latest question, and this node's own clock.
#[derive(Debug, Default)]
pub(super) struct ClockAsks {
    nonce: u64,
    sent: Instant,
    own: OwnClock,
}

/// This node's clock beside the time that has passed since a peer, and the median of all, last agreed with it.
#[derive(Debug, Default)]
struct OwnClock {
    agreed: Option<(NodeId, Offset)>,
    /// How far it is ahead of where it should be by that.
    ahead_ms: i64,
    /// Whose clocks work together with it since it jumped: what was measured before says nothing of the clock of now.
    with: BTreeSet<NodeId>,
    /// That it cannot be trusted was told.
    told: bool,
}

impl OwnClock {
    fn agrees(&mut self, peer: NodeId, now: Now) {
        (self.agreed, self.ahead_ms) = (Some((peer, Offset::of(now))), 0);
        self.with.clear();
    }

    /// A peer's clock was so far ahead just now. Those that work together with this one since it jumped, where it did.
    fn compared(&mut self, peer: NodeId, ms: i64, now: Now) -> Option<&BTreeSet<NodeId>> {
        self.look(now);
        if is_clock_refused(ms) {
            self.with.remove(&peer);
        } else {
            self.with.insert(peer);
        }
        is_clock_refused(self.ahead_ms).then_some(&self.with)
    }

    fn look(&mut self, now: Now) {
        let was = self.ahead_ms;
        self.ahead_ms = self.agreed.map_or(0, |(_, then)| Offset::of(now).as_millis().saturating_sub(then.as_millis()));
        let jumped = is_clock_refused(self.ahead_ms.saturating_sub(was));
        if jumped || !is_clock_refused(self.ahead_ms) {
            self.with.clear();
        }
    }
}

impl Control {
    pub(super) fn clock_deadline(&self) -> Option<Instant> {
        self.standing.clock.as_ref().map(|_| self.clock_asks.sent + ASK_INTERVAL)
    }

    pub(super) fn tick_clock(&mut self, now: Now, out: &mut Vec<Output>) {
        let was = self.jumped_ms();
        self.clock_asks.own.look(now);
        let is = self.jumped_ms();
        self.dirty |= was != is;
        if let (Some(ms), Some((peer, _))) = (is, self.clock_asks.own.agreed) {
            self.say_refused(peer, 0i64.saturating_sub(ms), out);
        }
        if self.clock_asks.own.told {
            self.clock_asks.own.told = self.clock_refused().is_some();
        }
        self.ask_for_clocks(now, out);
    }

    /// The clocks of the peers that count.
    fn counted(&self) -> Counted {
        self.clocks.counted(self.standing.was_up, |id| self.autocluster.is_up(id))
    }

    /// How far this node's clock is ahead of where it should be, where it jumped and its peers do not agree with it since.
    fn jumped_ms(&self) -> Option<i64> {
        let ms = self.clock_asks.own.ahead_ms;
        // Who has no other members is compared with nobody.
        (is_clock_refused(ms) && self.membership.size() > 1 && !self.counted().agree()).then_some(ms)
    }

    /// How far this node's clock is ahead, by itself where its peers do not agree with it, or by them; and how many those are.
    pub(super) fn clock_ahead_ms(&self) -> (Option<i64>, usize) {
        let counted = self.counted();
        (self.jumped_ms().or_else(|| counted.ahead_of_median_ms()), counted.peers())
    }

    /// How far it is ahead where that is worth a warning.
    pub(super) fn clock_warns_ms(&self) -> Option<i64> {
        let counted = self.counted();
        counted.ahead_of_median_ms().filter(|_| counted.warns())
    }

    /// Why this node's clock cannot be trusted, if it cannot.
    pub(super) fn clock_refused(&self) -> Option<String> {
        // Asked after every input.
        let by_peers = if self.clocks.any_is_far() { self.counted().refused() } else { None };
        by_peers.or_else(|| {
            let ms = self.jumped_ms()?;
            let way = if ms < 0 { "back" } else { "ahead" };
            let by = human(ms.unsigned_abs());
            Some(format!("your clock went {by} {way} since it last agreed with a peer's: set it"))
        })
    }

    fn ask_for_clocks(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.clock_deadline().is_none_or(|at| now.mono < at) {
            return;
        }
        (self.clock_asks.nonce, self.clock_asks.sent) = (self.clock_asks.nonce + 1, now.mono);
        let nonce = self.clock_asks.nonce;
        let peers: Vec<NodeId> = self.clocks.offsets().keys().copied().take(ASKED_MAX).collect();
        for to in peers {
            self.send(to, &Message::WhatTime { nonce }, out);
        }
    }

    pub(super) fn say_time(&mut self, to: NodeId, nonce: u64, now: Now, out: &mut Vec<Output>) {
        self.send(to, &Message::Time { nonce, wall: now.wall }, out);
    }

    pub(super) fn time_came(&mut self, from: NodeId, nonce: u64, wall: Wall, now: Now, out: &mut Vec<Output>) {
        if nonce == self.clock_asks.nonce {
            let rtt_us = u64::try_from(now.mono.since(self.clock_asks.sent).as_micros()).unwrap_or(u64::MAX);
            self.compare_clock(from, wall, rtt_us, now, out);
        }
    }

    /// A peer's clock, as it was half a round trip ago.
    pub(super) fn compare_clock(&mut self, peer: NodeId, wall: Wall, rtt_us: u64, now: Now, out: &mut Vec<Output>) {
        let was = (self.clock_warns_ms().is_some(), self.clock_refused().is_some());
        let Some(ms) = self.clocks.observe(peer, wall, now.wall, rtt_us) else { return };
        let agree = match self.clock_asks.own.compared(peer, ms, now) {
            None => self.counted().agree(),
            Some(with) => {
                let counts = |id: &&NodeId| {
                    self.clocks.offsets().contains_key(*id) && (!self.standing.was_up || self.autocluster.is_up(**id))
                };
                let near = with.iter().filter(counts).count();
                near > 0 && (1 + near) * 2 > 1 + self.counted().peers()
            }
        };
        if !is_clock_refused(ms) && agree {
            self.clock_asks.own.agrees(peer, now);
        }
        let is = (self.clock_warns_ms().is_some(), self.clock_refused().is_some());
        self.dirty |= is != was;
        // A Hello may have been on its way for a while: it tells of minutes, not of half a second.
        if is.1 && is_clock_refused(ms) {
            self.say_refused(peer, ms, out);
        } else if is.0 && !was.0 && rtt_us > 0 {
            self.say_offset(peer, ms, out);
        }
    }

    /// Tells once that this node's clock is refused.
    fn say_refused(&mut self, peer: NodeId, ms: i64, out: &mut Vec<Output>) {
        if !self.clock_asks.own.told {
            self.clock_asks.own.told = self.say_offset(peer, ms, out);
        }
    }

    /// Tells of it, where the peer's name is known already; whether it was told.
    fn say_offset(&self, peer: NodeId, ms: i64, out: &mut Vec<Output>) -> bool {
        let Some(record) = self.membership.record(peer) else { return false };
        emit(None, EventKind::ClockOffset { peer: record.name.clone(), ms }, out);
        true
    }
}
