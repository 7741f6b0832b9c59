//! The words of `lock`.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, Subcommand};

#[derive(Subcommand, Debug, Clone)]
pub(crate) enum LockCommand {
    /// Hold a lock while a command runs; EKKA_FENCING_TOKEN is in its environment
    #[command(
        after_help = "The command is told by SIGTERM when the lock is about to be lost, and killed before anybody else can get it. Its\n\
                      exit code is that of this one.\n\
                      Example: ekka lock run nightly --wait 10m -- ./backup.sh"
    )]
    Run(RunArgs),
    /// The locks that somebody holds or waits for
    #[command(after_help = "Example: ekka lock list --json")]
    List,
    /// Take a lock from all who hold it; whoever is next gets a higher token
    #[command(after_help = "Example: ekka lock force-release nightly")]
    ForceRelease {
        /// The lock
        name: String,
    },
    /// Becomes a command that dies with its parent
    #[command(hide = true)]
    Exec {
        /// The parent
        #[arg(long)]
        parent: i32,
        /// The command
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

#[derive(Args, Debug, Clone)]
pub(crate) struct RunArgs {
    /// The lock; several are taken together, in the order of their names
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Wait so long at most; for ever where not given
    #[arg(long, value_name = "D", value_parser = humantime::parse_duration)]
    pub(crate) wait: Option<Duration>,
    /// For how long it outlives the last word of the agent
    #[arg(long, value_name = "D", default_value = "15s", value_parser = humantime::parse_duration)]
    pub(crate) ttl: Duration,
    /// Together with others who share it
    #[arg(long, conflicts_with = "permits")]
    pub(crate) shared: bool,
    /// One of so many permits: all who hold one name the same number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) permits: Option<u32>,
    /// The exit code where the lock was not to be had, in place of 4 and 5
    #[arg(long, value_name = "N")]
    pub(crate) conflict_exit_code: Option<u8>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}
