//! foca (SWIM) as the suggestion who is alive: the only detector between nodes that are no neighbours.
//!
//! foca sees `(node_id, guid, renewal)`: a renewal follows a verdict of down and is no new incarnation. Of two with one
//! node id it believes the one of the higher rank, which is the guid, unless a copied directory has shown a larger one. Its packets
//! travel on the control link; its timers wait here, in exact order of their deadlines.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::num::{NonZeroU8, NonZeroUsize};
use core::time::Duration;

use foca::{Foca, Identity, NoCustomBroadcast, Notification, PeriodicParams, Runtime, Timer};
use serde::{Deserialize, Serialize};

use crate::id::{Guid, Incarnation, NodeId};
use crate::rng::Rng;
use crate::time::Instant;

/// What foca takes for a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Swimmer {
    pub(super) id: Incarnation,
    rank: Guid,
    renewal: u32,
}

impl Swimmer {
    fn new(id: Incarnation) -> Self {
        Self { id, rank: id.guid, renewal: 0 }
    }
}

impl Identity for Swimmer {
    type Addr = NodeId;

    fn renew(&self) -> Option<Self> {
        Some(Self { renewal: self.renewal.saturating_add(1), ..*self })
    }

    fn addr(&self) -> NodeId {
        self.id.node_id
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        (self.rank, self.renewal) > (adversary.rank, adversary.renewal)
    }
}

/// What foca wants done.
pub(super) enum Wish {
    Send { to: NodeId, packet: Vec<u8> },
    Up(Incarnation),
    Down(Incarnation),
}

/// foca with its timers.
pub(super) struct Gossip {
    foca: Foca<Swimmer, Postcard, Rng, NoCustomBroadcast>,
    timers: BTreeMap<(Instant, u64), Timer<Swimmer>>,
    last_timer: u64,
    announce_at: Option<Instant>,
    /// How many members were known at the last announcement.
    known: usize,
    size: usize,
    rng: Rng,
}

/// How often an announcement is repeated while nobody answers: it may be lost.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(1);
/// Room for some 1,600 members of 39 bytes: an answer to an announcement then holds all that its sender knows. With room
/// for 400 each answer is a draw, and the last few of 1,000 members come only after some fifteen of them.
const PACKET_MAX: usize = 64 * 1024;

/// Parameters for a cluster of this size. A member is suspected for 3 s in small clusters (heartbeats decide there
/// before foca does), and longer by the logarithm of the size, as memberlist and SWIM advise.
fn config(size: usize) -> foca::Config {
    let digits = u64::from(size.max(10).ilog10());
    let some = |n: usize| NonZeroUsize::new(n).expect("not zero");
    foca::Config {
        probe_period: Duration::from_secs(1),
        probe_rtt: Duration::from_millis(500),
        num_indirect_probes: some(3),
        max_transmissions: NonZeroU8::new(u8::try_from(4 * (digits + 1)).unwrap_or(u8::MAX)).expect("at least 8"),
        suspect_to_down_after: Duration::from_secs(3 * digits),
        remove_down_after: Some(Duration::from_secs(24 * 3600)),
        max_packet_size: some(PACKET_MAX),
        notify_down_members: true,
        periodic_announce: Some(PeriodicParams { frequency: Duration::from_secs(5), num_members: some(1) }),
        periodic_announce_to_down_members: Some(PeriodicParams {
            frequency: Duration::from_secs(5),
            num_members: some(2),
        }),
        periodic_gossip: Some(PeriodicParams { frequency: Duration::from_millis(500), num_members: some(3) }),
    }
}

impl Gossip {
    pub(super) fn new(me: Incarnation, mut rng: Rng) -> Self {
        let own = rng.child("announce");
        let foca = Foca::new(Swimmer::new(me), config(1), rng, Postcard);
        Self { foca, timers: BTreeMap::new(), last_timer: 0, announce_at: None, known: 0, size: 1, rng: own }
    }

    fn with(
        &mut self,
        now: Instant,
        wishes: &mut Vec<Wish>,
        act: impl FnOnce(&mut Foca<Swimmer, Postcard, Rng, NoCustomBroadcast>, &mut Collector<'_>),
    ) {
        let mut collector = Collector { now, timers: &mut self.timers, last: &mut self.last_timer, wishes };
        act(&mut self.foca, &mut collector);
    }

    /// The members are so many: suspicion and retransmissions follow.
    pub(super) fn resize(&mut self, size: usize) {
        let digits = |n: usize| n.max(10).ilog10();
        if digits(size) != digits(self.size) {
            // Only fields that foca allows to change at run time differ.
            let _ = self.foca.set_config(config(size));
        }
        self.size = size;
    }

    /// A peer is in contact: tell it that we are here.
    pub(super) fn announce(&mut self, to: Incarnation, now: Instant, wishes: &mut Vec<Wish>) {
        // An error is foca's own refusal to encode or to talk while it is down; the next announcement follows.
        self.with(now, wishes, |foca, runtime| {
            let _ = foca.announce(Swimmer::new(to), runtime);
        });
    }

    /// A start of this node with a larger guid turned out to be of a copy: from now on this one ranks above it.
    pub(super) fn outrank(&mut self, copy: Guid, now: Instant, wishes: &mut Vec<Wish>) {
        let own = *self.foca.identity();
        if own.rank <= copy {
            let rank = Guid::from_u128(copy.as_u128().saturating_add(1));
            self.with(now, wishes, |foca, runtime| {
                let _ = foca.change_identity(Swimmer { rank, renewal: 0, ..own }, runtime);
            });
        }
    }

    /// A packet of a peer. Whatever cannot be decoded is dropped: the peer is trusted, but may be of another version.
    pub(super) fn packet(&mut self, packet: &[u8], now: Instant, wishes: &mut Vec<Wish>) {
        self.with(now, wishes, |foca, runtime| {
            let _ = foca.handle_data(packet, runtime);
        });
    }

    /// For whom a packet is.
    pub(super) fn addressee(packet: &[u8]) -> Option<NodeId> {
        decode::<foca::Header<Swimmer>>(packet).ok().map(|header| header.dst.id.node_id)
    }

    /// Tells all others that this node's heartbeats found a member down. One that lives renews itself.
    pub(super) fn found_down(&mut self, id: Incarnation, now: Instant, wishes: &mut Vec<Wish>) {
        let known = self.foca.iter_members().find(|m| m.id().id == id).map(|m| *m.id());
        if let Some(swimmer) = known {
            self.with(now, wishes, |foca, runtime| {
                let _ = foca.apply_many(core::iter::once(foca::Member::down(swimmer)), true, runtime);
            });
        }
    }

    /// Gives foca the timers that are due. `peers` are those in contact, to be announced to while nobody is known.
    pub(super) fn tick(&mut self, peers: impl FnOnce() -> Vec<Incarnation>, now: Instant, wishes: &mut Vec<Wish>) {
        while let Some((&key, _)) = self.timers.first_key_value() {
            if key.0 > now {
                break;
            }
            if let Some(timer) = self.timers.remove(&key) {
                self.with(now, wishes, |foca, runtime| {
                    let _ = foca.handle_timer(timer, runtime);
                });
            }
        }
        let known = self.foca.num_members();
        if self.announce_at.is_none_or(|at| at <= now) {
            self.announce_at = Some(now + ANNOUNCE_INTERVAL);
            // Who answers may know only some members yet; while each answer teaches new ones, more are asked for.
            if known + 1 < self.size && (known == 0 || known > self.known) {
                self.announce_to_one(&peers(), now, wishes);
            }
            self.known = known;
        }
    }

    fn announce_to_one(&mut self, peers: &[Incarnation], now: Instant, wishes: &mut Vec<Wish>) {
        if !peers.is_empty() {
            let at = self.rng.index(peers.len());
            self.announce(peers[at], now, wishes);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let timer = self.timers.first_key_value().map(|((at, _), _)| *at);
        timer.into_iter().chain(self.announce_at).min()
    }
}

struct Collector<'a> {
    now: Instant,
    timers: &'a mut BTreeMap<(Instant, u64), Timer<Swimmer>>,
    last: &'a mut u64,
    wishes: &'a mut Vec<Wish>,
}

impl Runtime<Swimmer> for Collector<'_> {
    fn notify(&mut self, notification: Notification<'_, Swimmer>) {
        match notification {
            Notification::MemberUp(swimmer) => self.wishes.push(Wish::Up(swimmer.id)),
            Notification::MemberDown(swimmer) => self.wishes.push(Wish::Down(swimmer.id)),
            // A rename is a renewal or a restart; the restart is seen by its record.
            _ => {}
        }
    }

    fn send_to(&mut self, to: Swimmer, data: &[u8]) {
        self.wishes.push(Wish::Send { to: to.id.node_id, packet: data.to_vec() });
    }

    fn submit_after(&mut self, event: Timer<Swimmer>, after: Duration) {
        *self.last += 1;
        self.timers.insert((self.now + after, *self.last), event);
    }
}

/// foca's headers and members as `postcard`, each with its length in front so that the buffer can be advanced.
#[derive(Clone, Copy, Debug)]
struct Postcard;

/// Why a packet of foca cannot be read or written.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum CodecError {
    #[error("the packet ends too early, or the buffer is full")]
    Short,
    #[error("the packet cannot be decoded")]
    Broken,
}

fn encode<T: Serialize>(value: &T, mut buf: impl bytes::BufMut) -> Result<(), CodecError> {
    let bytes = postcard::to_allocvec(value).map_err(|_| CodecError::Broken)?;
    let length = u16::try_from(bytes.len()).map_err(|_| CodecError::Short)?;
    if buf.remaining_mut() < bytes.len() + 2 {
        return Err(CodecError::Short);
    }
    buf.put_u16(length);
    buf.put_slice(&bytes);
    Ok(())
}

fn decode<T: for<'de> Deserialize<'de>>(mut buf: impl bytes::Buf) -> Result<T, CodecError> {
    if buf.remaining() < 2 {
        return Err(CodecError::Short);
    }
    let length = usize::from(buf.get_u16());
    if buf.remaining() < length {
        return Err(CodecError::Short);
    }
    let bytes = buf.copy_to_bytes(length);
    postcard::from_bytes(&bytes).map_err(|_| CodecError::Broken)
}

impl foca::Codec<Swimmer> for Postcard {
    type Error = CodecError;

    fn encode_header(&mut self, header: &foca::Header<Swimmer>, buf: impl bytes::BufMut) -> Result<(), CodecError> {
        encode(header, buf)
    }

    fn decode_header(&mut self, buf: impl bytes::Buf) -> Result<foca::Header<Swimmer>, CodecError> {
        decode(buf)
    }

    fn encode_member(&mut self, member: &foca::Member<Swimmer>, buf: impl bytes::BufMut) -> Result<(), CodecError> {
        encode(member, buf)
    }

    fn decode_member(&mut self, buf: impl bytes::Buf) -> Result<foca::Member<Swimmer>, CodecError> {
        decode(buf)
    }
}
