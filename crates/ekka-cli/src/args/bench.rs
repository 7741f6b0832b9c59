//! Words of `ekka bench`.

use std::time::Duration;

use clap::{Subcommand, ValueEnum};

use super::{KindWord, StorageWord};

#[derive(Subcommand, Debug, Clone)]
pub(crate) enum BenchCommand {
    /// Calls: 16 bytes and 1 KiB, 1 caller and 64
    #[command(after_help = "Example: ekka bench rpc ekka@10.0.0.2 --for 2s")]
    Rpc {
        /// Whom the agent calls; the first other member that is up where not given
        target: Option<String>,
        /// Start three nodes on loopback for it, and measure those
        #[arg(long, conflicts_with = "target")]
        self_contained: bool,
        /// Measure one node alone, and beside calls to another that is stopped, in turn nine times
        #[arg(long, requires = "self_contained")]
        stopped_peer: bool,
        /// How long each of the four takes
        #[arg(long = "for", value_name = "D", default_value = "2s", value_parser = humantime::parse_duration)]
        for_: Duration,
    },
    /// Commits of a group of the cluster: 1, 16, 64 and 256 proposers
    #[command(after_help = "Example: ekka bench commit --self-contained --group durable")]
    Commit {
        /// Which group commits
        #[arg(long, value_enum, default_value_t = BenchGroup::Durable)]
        group: BenchGroup,
        /// Start three nodes on loopback for it, and measure those
        #[arg(long)]
        self_contained: bool,
        /// How long each of the four takes
        #[arg(long = "for", value_name = "D", default_value = "2s", value_parser = humantime::parse_duration)]
        for_: Duration,
    },
    /// Writes and reads of a table, with 1, 16 and (quorum) 64 at once
    #[command(after_help = "Example: ekka bench table --self-contained --kind quorum --storage disc")]
    Table {
        /// Available: writes acknowledged local, two and all; quorum: writes, and linearizable reads
        #[arg(long, value_enum, default_value_t = KindWord::Available)]
        kind: KindWord,
        /// Whether rows survive the end of all nodes
        #[arg(long, value_enum, default_value_t = StorageWord::Ram)]
        storage: StorageWord,
        /// Start three nodes on loopback for it, and measure those
        #[arg(long)]
        self_contained: bool,
        /// How many rows there are
        #[arg(long, default_value_t = 10_000)]
        rows: usize,
        /// Bytes of each value
        #[arg(long, default_value_t = 100)]
        value_bytes: usize,
        /// Threads on which writers and readers run; one for each core where not given
        #[arg(long, value_name = "N")]
        threads: Option<usize>,
        /// How long each measurement takes
        #[arg(long = "for", value_name = "D", default_value = "2s", value_parser = humantime::parse_duration)]
        for_: Duration,
    },
    /// Many rows: memory, a newcomer beside writers, rows of an owner and its end
    #[command(after_help = "Example: ekka bench growth --self-contained --rows 1000000")]
    Growth {
        /// Start nodes on loopback for it, and measure those: there is no other way
        #[arg(long, required = true)]
        self_contained: bool,
        /// How many nodes there are before the newcomer
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=9))]
        nodes: u8,
        /// How many rows there are
        #[arg(long, default_value_t = 100_000)]
        rows: usize,
        /// Bytes of each value
        #[arg(long, default_value_t = 100)]
        value_bytes: usize,
        /// Whether rows survive the end of all nodes
        #[arg(long, value_enum, default_value_t = StorageWord::Ram)]
        storage: StorageWord,
        /// How long writes and reads are measured
        #[arg(long = "for", value_name = "D", default_value = "2s", value_parser = humantime::parse_duration)]
        for_: Duration,
    },
    /// Take numbers of the counter of the volatile group: one committed command
    #[command(after_help = "Example: ekka bench count --n 5")]
    Count {
        /// How many
        #[arg(long, default_value_t = 1)]
        n: u64,
    },
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BenchGroup {
    /// The one whose log is on disc; takes a fencing token for each commit
    Durable,
    /// The one whose log is in memory
    Volatile,
}
