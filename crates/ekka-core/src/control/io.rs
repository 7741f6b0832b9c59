//! What `Control` and its shell say to each other.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Command, CommandError, DialError, GroupNews, GroupRequest, Loading, Reply, VolatileNews, VolatileRequest};
use crate::autocluster::{self, Answer, Proposal, Registration, SourceList};
use crate::autoheal;
pub use crate::autoheal::{Carried, HealNews, HealRequest};
use crate::consensus::LogPlace;
use crate::durable::Recovery;
use crate::event::Event;
use crate::id::{ClusterId, Endpoint, Guid, Incarnation, NodeId, NodeName, StoreId};
use crate::identity::Claim;
use crate::lease;
use crate::membership::{self, RemovalCause};
use crate::time::{Instant, Wall};
use crate::view::{Role, View};
use crate::volatile;
use crate::wire::{Hello, Refusal};

/// A connection, numbered by the shell; never used twice in one process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ConnId(pub u64);

/// A command under way, numbered by the shell.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RequestId(pub u64);

/// Why a member was not taken out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NotRemoved {
    /// In words.
    pub words: String,
    /// Another member leads, or is about to: the same is asked of that one.
    pub again: bool,
}

/// The envelope of the control lane. New kinds are appended, never inserted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Message {
    /// Of the room membership.
    Membership(membership::Message),
    /// Of the room autocluster.
    Autocluster(autocluster::Message),
    /// Are you there, and how do you stand? Asked of one start of a node before another is let in.
    AreYouThere {
        /// Tells answers apart.
        nonce: u64,
    },
    /// Yes.
    IAmHere {
        /// The nonce that is answered.
        nonce: u64,
        /// How it stands.
        claim: Claim,
    },
    /// Which start of this node answers you? Asked of others before another start than the latest one known is let in.
    WhoRuns {
        /// The node.
        node_id: NodeId,
        /// Tells answers apart.
        nonce: u64,
    },
    /// The answer to [`Message::WhoRuns`].
    Runs {
        /// The nonce that is answered.
        nonce: u64,
        /// The start that answered just now, and how it stands; `None` where none is linked.
        claim: Option<Claim>,
    },
    /// This member is to be taken out, by an operator's word or its own: asked of the leader of the durable group.
    Remove {
        /// Tells answers apart.
        nonce: u64,
        /// Whom.
        node_id: NodeId,
        /// Why.
        cause: RemovalCause,
        /// Who is to take its vote, and nobody else.
        replace_with: Option<NodeId>,
    },
    /// The answer to [`Message::Remove`].
    Removed {
        /// The nonce that is answered.
        nonce: u64,
        /// Why not.
        result: Result<(), NotRemoved>,
    },
    /// What would come of an admission of this node to your cluster? Nothing is to be done.
    MayJoin {
        /// Tells answers apart.
        nonce: u64,
        /// Who asks.
        record: membership::Record,
    },
    /// The answer to [`Message::MayJoin`].
    Joinable {
        /// The nonce that is answered.
        nonce: u64,
        /// What would be done, line by line.
        lines: Vec<String>,
        /// Why it would be refused.
        refused: Option<String>,
    },
    /// Of the room of the volatile group's generations.
    Generations {
        /// The cluster whose group it is: a node that has left one may have the same generation in another.
        cluster_id: ClusterId,
        /// What.
        message: volatile::Message,
    },
    /// Of the leases.
    Lease {
        /// The cluster whose leases they are: a node that has left one may ask the same of another.
        cluster_id: ClusterId,
        /// The generation of that cluster: none says anything of another one.
        generation: u64,
        /// What.
        message: lease::Message,
    },
    /// A voter tells the leader of the durable group whom it sees down.
    SeenDown {
        /// In which cluster.
        cluster_id: ClusterId,
        /// In which generation of it.
        generation: u64,
        /// Whom.
        down: BTreeSet<Incarnation>,
    },
    /// Where does your log of the cluster's group end? Asked before a cluster is recovered.
    LogEnd {
        /// Tells answers apart.
        nonce: u64,
    },
    /// The answer to [`Message::LogEnd`].
    LogEnds {
        /// The nonce that is answered.
        nonce: u64,
        /// Its cluster.
        cluster_id: Option<ClusterId>,
        /// The generation of it.
        generation: u64,
        /// The last entry; `None` where it keeps no log that can be read.
        last: Option<LogPlace>,
    },
    /// What does your clock say? Asked while the own one seems to be wrong.
    WhatTime {
        /// Tells answers apart.
        nonce: u64,
    },
    /// It says this.
    Time {
        /// The nonce that is answered.
        nonce: u64,
        /// The clock.
        wall: Wall,
    },
    /// Of the room that heals partitions; passed on once, on a link to whom it is for.
    Heal {
        /// The cluster that is healed.
        cluster_id: ClusterId,
        /// Its generation.
        generation: u64,
        /// Who says it.
        from: Incarnation,
        /// For whom it is.
        to: NodeId,
        /// What.
        message: autoheal::Message,
    },
}

/// What a node keeps on disc beside its identity (file `cluster.json`).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Saved {
    /// The vote and the cluster.
    pub formation: autocluster::Saved,
    /// The roster, with how often each member's directory was started: finds restored copies.
    pub roster: membership::Roster,
    /// Clusters that this node left.
    #[serde(default)]
    pub farewells: Vec<membership::Farewell>,
    /// How often the logs of a cluster were deleted, since it was left.
    #[serde(default)]
    pub store_resets: u32,
    /// What a new log begins with that goes on with an older one, until it is committed there.
    #[serde(default)]
    pub recovery: Option<Recovery>,
    /// The largest number of a heal that this node has led.
    #[serde(default)]
    pub heal_number: u64,
}

/// Who this node is, as read and raised under the lock of its data directory (file `node.json`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Who.
    pub node_id: NodeId,
    /// This start.
    pub guid: Guid,
    /// The start before.
    pub previous_guid: Option<Guid>,
    /// How often this directory was started.
    pub start_counter: u64,
    /// The name under which it was last started, where that was another.
    pub renamed_from: Option<NodeName>,
}

/// Everything that `Control` starts with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setup {
    /// Who this node is.
    pub identity: Identity,
    /// Its name.
    pub name: NodeName,
    /// Where peers dial it.
    pub endpoint: Endpoint,
    /// Its role.
    pub role: Role,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// The name that all nodes of the cluster share.
    pub cluster_name: String,
    /// Version of the software.
    pub software: String,
    /// How it forms.
    pub formation: autocluster::Settings,
    /// The store of its logs.
    pub store: StoreId,
    /// What was missing or damaged in the store before, in words: then this one is a new one.
    pub damage: Vec<String>,
    /// What was on disc.
    pub saved: Saved,
    /// Seed of its randomness.
    pub seed: u64,
    /// Planted faults, for proving the harness. All off in production.
    pub faults: Faults,
    /// The longest time for which a session of a lock can be valid (`lock.max_ttl`); the same on every node.
    pub session_max: Duration,
    /// How long a node is down before it is gone (`cluster.gone_after`); the leader's holds for the cluster.
    pub gone_after: Duration,
    /// Time for views to settle before a partition is healed (`cluster.autoheal`); `None`: only by an operator's word.
    pub autoheal: Option<Duration>,
    /// What the start before this one in the same process left.
    pub carried: Option<Carried>,
    /// How long a member is down before it is forgotten (`cluster.autoclean`); `None` is off. The leader's holds.
    pub autoclean: Option<Duration>,
}

/// Faults put in on purpose in the parts that meet here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// A down member is never contacted again.
    pub no_recontact: bool,
    /// A stale incarnation wins over a newer one.
    pub stale_wins: bool,
    /// Of healing.
    pub autoheal: autoheal::Options,
    /// A node cleans by what it sees itself, whoever leads and without a majority.
    pub minority_cleans: bool,
}

/// Why a connection ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CloseCause {
    /// The peer's side was reset or ended without goodbye.
    Reset,
    /// This node dropped it: nothing was heard for too long.
    Silent,
    /// It has a twin that is used instead.
    Redundant,
    /// The peer broke the protocol: frame, decoding, or a message out of place.
    Garbage(String),
    /// The queue towards the peer ran over: it does not read.
    Stuck,
    /// One side refused the other.
    Refused(Refusal),
    /// A newer incarnation of the peer took its place.
    Superseded,
    /// This node stops.
    Stopping,
    /// Its credentials are not trusted any more.
    Credentials,
}

/// What the shell tells `Control`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// The node runs: begin.
    Start,
    /// Both ends are verified and the peer said Hello. To be answered with one [`Output::Verdict`] for this
    /// connection, at once or later. For a dialled connection the peer has accepted this node already.
    Hello {
        /// The connection (control lane; the shell takes care of others and of observers).
        conn: ConnId,
        /// What the peer said.
        hello: Box<Hello>,
        /// The peer's address, for words.
        addr: String,
        /// Where this node dialled, if it did.
        dialed: Option<Endpoint>,
    },
    /// One frame of the control lane, on a connection that has its verdict.
    Frame {
        /// The connection.
        conn: ConnId,
        /// The body.
        bytes: Vec<u8>,
    },
    /// The connection is no more. Given once for each connection whose Hello was given.
    Closed {
        /// The connection.
        conn: ConnId,
        /// Why.
        cause: CloseCause,
    },
    /// A dial came to nothing before the Hello.
    DialFailed {
        /// Where.
        endpoint: Endpoint,
        /// Why.
        error: DialError,
    },
    /// A strategy answered.
    Discovered {
        /// The list that it is of.
        list: SourceList,
        /// Which.
        strategy: String,
        /// Whom it named, or why it failed.
        result: Result<Answer, String>,
    },
    /// The answer to [`Output::Claim`].
    Claimed {
        /// The list whose backend it is.
        list: SourceList,
        /// The value that holds in the backend, or why it could not be asked.
        result: Result<Box<Proposal>, String>,
    },
    /// All that [`Output::Persist`] gave up to this token is on disc.
    Persisted {
        /// The token.
        token: u64,
    },
    /// The replica of the durable group says something.
    Group {
        /// Of which cluster.
        cluster_id: ClusterId,
        /// What.
        news: GroupNews,
    },
    /// The disc of the data directory is nearly full, in words for people; or is not any more.
    Disc(Option<String>),
    /// How far the tables of this node are with what its peers held as it started. Who never says it keeps none.
    Tables(Loading),
    /// The configuration was reloaded.
    Reconfigure {
        /// The new tags.
        tags: BTreeMap<String, String>,
        /// The list of strategies in use now, from the default one on: the next one where they were exchanged.
        list: SourceList,
        /// How this node forms now.
        formation: Box<autocluster::Settings>,
        /// Time for views to settle before a partition is healed.
        autoheal: Option<Duration>,
        /// How long a member is down before it is forgotten.
        autoclean: Option<Duration>,
    },
    /// What the shell was asked for by [`Output::Heal`] is done, or waits.
    Heal(HealNews),
    /// An operator or the embedding program wants something.
    Command {
        /// For the reply.
        id: RequestId,
        /// What.
        command: Command,
    },
    /// The replica of the volatile group says something.
    Volatile {
        /// Of which cluster.
        cluster_id: ClusterId,
        /// What.
        news: VolatileNews,
    },
}

/// What `Control` tells the shell, to be started in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// The answer to [`Input::Hello`].
    Verdict {
        /// The connection.
        conn: ConnId,
        /// Accept with this node's Hello of this moment, or refuse in words.
        verdict: Result<Box<Hello>, Refusal>,
    },
    /// Send a frame of the control lane.
    Send {
        /// On which connection.
        conn: ConnId,
        /// The body.
        bytes: Vec<u8>,
    },
    /// Close a connection after what was sent on it.
    Close {
        /// Which.
        conn: ConnId,
        /// Why.
        cause: CloseCause,
    },
    /// Dial once; the answer is a Hello or a failure. A dial of the same endpoint that is under way counts for both.
    Dial {
        /// Where.
        endpoint: Endpoint,
    },
    /// Ask every strategy once.
    Discover,
    /// Offer this value to the backend that decides, once; the answer is an [`Input::Claimed`].
    Claim(Box<Proposal>),
    /// What backends are to know of this node from now on.
    Register(Registration),
    /// Of the replica of the durable group.
    Group(GroupRequest),
    /// Write this to disc, then say so. A later one replaces one that is not yet written.
    Persist {
        /// Grows.
        token: u64,
        /// What.
        saved: Box<Saved>,
    },
    /// The view changed.
    Publish(Arc<View>),
    /// Something happened.
    Event(Event),
    /// The answer to a command.
    Reply {
        /// Which command.
        id: RequestId,
        /// Its result.
        result: Result<Reply, CommandError>,
    },
    /// This node ends here; nothing more is given out.
    Stop(StopReason),
    /// Of the replica of the volatile group.
    Volatile(VolatileRequest),
    /// A step of this node's way back after a partition; the answer is an [`Input::Heal`].
    Heal(HealRequest),
    /// Until when this node holds its lease, by its monotonic clock; `None` while it holds none. Whoever answers for the
    /// node compares it with the clock at that moment. Given before what it forbids is told to anybody.
    Lease(Option<Instant>),
}

/// Why a node ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StopReason {
    /// It was told to, and has said goodbye.
    Asked,
    /// Somebody with the same identity runs, or another reason that forbids to go on. Exit code 1.
    Refused(Refusal),
    /// The directory was restored from an old copy: start again with a new node id.
    Restored(String),
    /// This start was declared gone while it lived: start again, in the same process, under a new guid.
    Over,
}
