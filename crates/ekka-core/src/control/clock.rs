//! The clocks of peers, asked for while this node's own seems to be wrong.
//!
//! Members tell their clocks with every heartbeat. Others tell it once, when they are met; so a node that is in no cluster
//! with anybody would wait for a right clock for ever, although it was set since, or theirs were.

use alloc::vec::Vec;
use core::time::Duration;

use super::{Control, Message, Output};
use crate::id::NodeId;
use crate::time::{Instant, Now, Wall};

/// How often they are asked.
const ASK_INTERVAL: Duration = Duration::from_secs(2);
/// So many at most: they are compared by their median.
const ASKED_MAX: usize = 32;

/// The latest question.
#[derive(Debug, Default)]
pub(super) struct ClockAsks {
    nonce: u64,
    sent: Instant,
}

impl Control {
    pub(super) fn clock_deadline(&self) -> Option<Instant> {
        self.standing.clock.as_ref().map(|_| self.clock_asks.sent + ASK_INTERVAL)
    }

    pub(super) fn ask_for_clocks(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.clock_deadline().is_none_or(|at| now.mono < at) {
            return;
        }
        self.clock_asks = ClockAsks { nonce: self.clock_asks.nonce + 1, sent: now.mono };
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
        let was = (self.clocks.warns(), self.clock_refused().is_some());
        self.clocks.observe(peer, wall, now.wall, rtt_us);
        self.clock_observed(was, peer, out);
    }
}
