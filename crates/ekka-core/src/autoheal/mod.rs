//! Partitions that were repaired are healed: who parted from whom, one plan for all, and each node's way back.
//!
//! **Owns** the partings that this node knows of (whom it, or who told it so, had declared down and met again in the same
//! process), the views that a leader collects, the plan of a coordinator, and how far this node is with the heal that it
//! was ordered to.
//!
//! **Inputs** [`Input`]: who can be met, messages, results of what the shell was asked for. **Outputs** [`Output`]: messages,
//! what the shell is to do (`prepare`, exchange, `reboot`), what is to be on disc before a heal id is used, what people
//! are told.
//!
//! **The way of a heal** (section 10 of the design, after the four steps of the original):
//!
//! 1. A node that meets a member again, in the same process, that it had declared down has *parted* from it, and tells it so:
//!    a process that was only frozen does not know. Whoever has parted reports to the leader, the oldest node that runs.
//! 2. The leader looks at everybody's view until no view has changed for the settling time, and makes a plan: components of
//!    nodes between which no parting stands, and the component that the others come back to.
//! 3. It hands the plan, under a heal id that is on disc before, to the coordinator, the oldest core of that component.
//! 4. The coordinator orders every node of the plan. One of its own component forgets its partings and is done; one outside
//!    calls `prepare`, is `healing`, exchanges its tables with all whom the plan names, compares them with a node of that
//!    component, calls `reboot`, and is `up`.
//!
//! Nodes obey the largest id that they have seen. A heal whose leader or coordinator ended, or of whose nodes one is down
//! since, is begun again under a new id by whoever is leader then; a node that is on its way does not call `prepare` twice.
//!
//! **Invariants** (checked by `check`): the largest id seen never falls; no heal is under way here with an id below it; the
//! node is `healing` only between `prepare` and the end of `reboot`; a parting names another node.

mod coordinator;
mod leader;
mod member;
mod partings;
mod peek;
mod plan;
mod report;
mod room;

pub use plan::{Gathered, Plan, Side, decide};
pub use room::{Carried, Healing, Options, Stand, Start};

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{Guid, Incarnation, NodeId};

/// Which heal: the larger one is obeyed. The number is one more than the largest that any view showed; two leaders that
/// take the same number differ by their guids.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct HealId {
    /// Grows.
    pub number: u64,
    /// The leader's start that took it.
    pub guid: Guid,
}

impl HealId {
    /// Below every real one.
    pub const NONE: Self = Self { number: 0, guid: Guid::MIN };
}

impl fmt::Display for HealId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "h-{}-{:08x}", self.number, self.guid.as_u128() & 0xffff_ffff)
    }
}

/// A member as the node that asks sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Contact {
    /// Which start of it.
    pub id: Incarnation,
    /// The first start of the process that runs it: a start that took a new guid because the one before it was declared gone
    /// is the same process, and has what it had.
    pub process: Guid,
    /// It holds tables, and can be coordinator.
    pub core: bool,
    /// It runs, as far as this node can tell: heard here or by one who is heard.
    pub running: bool,
    /// It said goodbye: what follows is no partition.
    pub goodbye: bool,
    /// Where it does not run: it was declared down. Who does not take part yet, is met in another cluster, or is called for the
    /// first time was not.
    pub lost: bool,
    /// Its place in the order of members: the smallest of those that run is leader.
    pub seniority: u64,
}

/// The voters of the durable group as one node knows them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Voters {
    /// The generation of the cluster, and the place of the entry in its log that made them so: the larger one is the later.
    pub place: (u64, u64),
    /// A majority of each set is needed to commit.
    pub sets: Vec<Vec<NodeId>>,
}

/// That a node had declared another one down and met the same process again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Parting {
    /// From whom.
    pub node_id: NodeId,
    /// Which process of it.
    pub process: Guid,
    /// Counts the partings of the node that says so; a later one has a larger number.
    pub number: u64,
    /// It was left behind by that heal, in which the one who says so came back: void once it came back in it as well.
    pub since: Option<HealId>,
}

/// What one node knows, for the leader that asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sight {
    /// Which start of it.
    pub id: Incarnation,
    /// The process.
    pub process: Guid,
    /// The largest heal id that it has seen.
    pub seen: HealId,
    /// The latest heal in which it came back, or in which it was on the coordinator's side.
    pub healed: HealId,
    /// The heal under which it is on its way back, if one is.
    pub under: Option<HealId>,
    /// From whom it parted, as far as these run again.
    pub partings: Vec<Parting>,
    /// The number of the latest parting that it knows of, back or not.
    pub upto: u64,
    /// Members that it does not see running.
    pub missing: Vec<NodeId>,
    /// Who votes, as far as it knows.
    pub voters: Voters,
    /// Its place in the order of members.
    pub seniority: u64,
    /// It holds tables, and can be coordinator.
    pub core: bool,
}

/// A message of this room.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Message {
    /// The sender had declared this process of the receiver down, and sees it again. Repeated while that stands.
    Parted {
        /// Which process of the receiver.
        process: Guid,
        /// The sender's process.
        own: Guid,
        /// The number of the sender's parting.
        number: u64,
    },
    /// To the leader: the sender has parted, and nobody heals it; or the heal that it is in cannot end. Repeated.
    Pending {
        /// The heal that cannot end, if it is in one.
        stuck: Option<HealId>,
        /// An operator wants it, whether autoheal is on or not.
        asked: bool,
        /// Who is pending: the leader may hear it by way of another one.
        who: Incarnation,
        /// The number of its latest parting.
        upto: u64,
    },
    /// The leader asks for the receiver's view, now and whenever it changes until the next one is asked for.
    Look {
        /// Which look of the one who asks.
        number: u64,
        /// Only this once: what changes is not asked for.
        once: bool,
    },
    /// The answer.
    Sight {
        /// Which look is answered.
        number: u64,
        /// The view.
        sight: Box<Sight>,
    },
    /// The leader asks the receiver to coordinate this heal. Repeated until it is answered.
    Lead(Plan),
    /// The coordinator has it; `done`: it has ended.
    Led {
        /// Which.
        id: HealId,
        /// All nodes of it came back.
        done: bool,
    },
    /// The coordinator asks the receiver to do its part. Repeated until it is done.
    Order(Plan),
    /// How far the sender is with it.
    Obeyed {
        /// Which.
        id: HealId,
        /// Its part is done.
        done: bool,
    },
    /// That heal answers what the receiver said: all nodes of it came back, or the sender did.
    Over {
        /// Which.
        id: HealId,
        /// The receiver's partings up to this number are answered: all of them where the coordinator says so, the one from
        /// the sender where that one says so.
        upto: u64,
    },
    /// What was asked is of an older heal than the sender has seen.
    Outdated {
        /// What was asked.
        id: HealId,
        /// What it has seen.
        seen: HealId,
    },
}

/// What comes in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// Who the other members are and how this node sees them, all of them, and who votes. Given whenever one has changed.
    Contacts {
        /// All other members.
        contacts: Vec<Contact>,
        /// This node's own place in the order of members.
        seniority: u64,
        /// This node holds tables.
        core: bool,
        /// Who votes.
        voters: Voters,
        /// This node takes part in its cluster: up, syncing, draining or healing. Else it neither leads nor is looked at.
        active: bool,
    },
    /// A message came. Whoever carries it may pass it on through a third node where the direct link is cut.
    Received {
        /// From whom.
        from: Incarnation,
        /// What.
        message: Message,
    },
    /// What [`Output::Persist`] named is on disc.
    Persisted(u64),
    /// The shell has done what [`Output::Request`] asked for.
    News(HealNews),
    /// An operator wants a heal now, although autoheal may be off.
    Heal,
    /// All views are wanted once: for [`Output::Peeked`].
    Peek,
    /// Time for the views to settle; `None`: heals begin only when an operator says so.
    Autoheal(Option<Duration>),
    /// This node left its cluster or went into another one: nothing of before counts.
    Reset,
}

/// What the shell is asked to do for this node's way back, and answers by [`HealNews`]. A later request replaces an earlier
/// one that is not answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HealRequest {
    /// Call the `prepare` callbacks.
    Prepare {
        /// For which heal.
        id: HealId,
    },
    /// Hold all that these held, and find each table equal with a node of the side.
    Exchange {
        /// For which heal.
        id: HealId,
        /// Whose tables are to be held: everybody whom the heal names, but this node.
        collected: Vec<Incarnation>,
        /// The coordinator's component.
        side: Vec<Incarnation>,
    },
    /// Call the `reboot` callbacks.
    Reboot {
        /// For which heal.
        id: HealId,
    },
    /// The exchange under way is of no use any more.
    Drop,
}

/// What the shell has done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HealNews {
    /// The `prepare` callbacks were called.
    Prepared {
        /// For which heal.
        id: HealId,
        /// Which of them failed, hung or panicked, in words.
        failed: Vec<String>,
    },
    /// All is held, and found equal.
    Exchanged {
        /// For which heal.
        id: HealId,
        /// Rows that came by it.
        rows: u64,
        /// Versions that lost to concurrent ones meanwhile, and are in the journal.
        overridden: u64,
    },
    /// The exchange goes on, and waits for this: for `status`.
    Waits {
        /// For which heal.
        id: HealId,
        /// For what, in words.
        text: String,
    },
    /// The `reboot` callbacks were called.
    Rebooted {
        /// For which heal.
        id: HealId,
        /// Which of them failed, hung or panicked, in words.
        failed: Vec<String>,
    },
}

/// What goes out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send to this member, through a third one where the direct link is cut; may be lost.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// This number is to be on disc; then [`Input::Persisted`].
    Persist(u64),
    /// For the shell.
    Request(HealRequest),
    /// `status`, split or what `status` says of healing changed: see [`Healing::stand`].
    Changed,
    /// For people.
    Told(Told),
    /// All views, or those that came in time. What a heal would do now, [`decide`] says.
    Peeked {
        /// The views.
        gathered: Gathered,
        /// Who runs, and has not answered.
        missing: Vec<NodeId>,
    },
}

/// What people are told of heals.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// This node leads a heal: views have settled, and this is the plan.
    Planned {
        /// The plan.
        plan: Plan,
        /// What it was decided from: [`decide`] comes to the same plan again.
        gathered: Gathered,
    },
    /// This node coordinates it.
    Started {
        /// The plan.
        plan: Plan,
    },
    /// A step of this node's own way.
    Step {
        /// Which heal.
        id: HealId,
        /// `prepare`, `exchange`, `reboot`.
        step: &'static str,
    },
    /// This node came back.
    Healed {
        /// In which heal.
        id: HealId,
        /// How long after it found that it had parted.
        after: Duration,
        /// Rows that came.
        rows: u64,
        /// Versions that lost.
        overridden: u64,
    },
    /// All nodes that are there came back; told by the coordinator.
    Finished {
        /// Which heal.
        id: HealId,
        /// Since the coordinator began.
        after: Duration,
        /// How many came back.
        healed: u32,
        /// How many that were to come back are not there any more.
        away: u32,
    },
    /// Something of a heal did not work; it goes on.
    Failed {
        /// Which heal.
        id: HealId,
        /// What, in words.
        why: String,
    },
}
