//! Arbitration of locks: who holds what, who waits, and under which fencing token.
//!
//! **Owns** the sessions of clients, the locks that they hold, and the queues before them ([`State`]). It is a replicated
//! state machine: what it does depends on the commands alone, in their order. Each authority of section 13 of the design runs
//! it in its own way: a node in its memory, the leader of the volatile group in its own, the group itself by its log.
//!
//! **Inputs** [`Command`]s. **Outputs** an [`Answer`] to each, and [`Event`]s about others whom it concerned.
//!
//! **Invariants** (checked by [`State::check`]): a lock has one exclusive holder, or any number of shared ones, or at most as
//! many as it has permits; whoever could be let in is no waiter; a session holds or waits only while it is open; tokens that
//! were issued only grow.
//!
//! **Time is not in the state.** A session ends by a command. Who proposes it, and when, is the [`Keeper`]'s part:
//! [`Command::Expire`] names the term of the leader that has waited long enough, and is void in any other, as with leases ([`crate::lease`]).
//!
//! **Commands may come twice**, where an answer was lost. A request is named by its session and a number; what has ended under
//! that name does not begin again.
//!
//! **Sources**: Gray and Cheriton, *Leases* (1989); Burrows, *The Chubby lock service* (2006), for sequencers, which are
//! called fencing tokens since Kleppmann, *How to do distributed locking* (2016). Schedules S1-3, S1-4, S1-7, S2-8, S2-9.

mod command;
mod holder;
mod keeper;
mod name;
mod queue;
mod session;
mod state;
mod tokens;

pub use command::{Answer, Cause, Command, Event, Held, Refusal};
pub use holder::{Holder, HolderFaults, HolderInput, HolderOutput};
pub use keeper::{Keeper, KeeperFaults, KeeperInput, KeeperOutput, Message};
pub use name::{BadName, LockName};
pub use queue::{Mode, Want};
pub use session::SessionId;
pub use state::{Row, State};
