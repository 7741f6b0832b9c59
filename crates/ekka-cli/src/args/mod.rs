//! The command line.

mod backup;
mod bench;
mod lock;
mod table;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

pub(crate) use self::backup::{BackupArgs, RestoreArgs};
pub(crate) use self::bench::{BenchCommand, BenchGroup};
pub(crate) use self::lock::{LockCommand, RunArgs};
pub(crate) use self::table::{KindWord, StorageWord, TableCommand, TermsArgs, word};

/// Clusters that form, heal and clean up by themselves.
#[derive(Parser, Debug)]
#[command(
    name = "ekka",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 no agent there, 4 not found, 5 timed out.\n\
                  Example: ekka demo"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of all commands; they may stand before or after the words.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct Global {
    /// Print JSON, errors too
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) pick: Pick,
}

/// Which agent is meant. With one agent on this host, none of these is needed.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Which agent")]
pub(crate) struct Pick {
    /// The agent of this node: its name, or the part before the @
    #[arg(short = 'n', long = "node", global = true, value_name = "NAME")]
    pub(crate) agent: Option<String>,
    /// The agent with this data directory
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// An agent's HTTP API: http://HOST:PORT, https://HOST:PORT or unix:PATH
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// File with the token for --url
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Authorities to trust for https (PEM); this host's own where not given
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
}

impl Pick {
    /// Whether any of them was given.
    pub(crate) fn is_given(&self) -> bool {
        self.agent.is_some() || self.data_dir.is_some() || self.url.is_some() || self.token_file.is_some()
    }
}

/// Where the configuration comes from. Later wins: file, environment, --set, --name.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct ConfigArgs {
    /// Configuration, .conf or .config
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The same as --set node.name=NAME
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// One key of the configuration
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// Only say what would happen.
#[derive(Args, Debug, Clone, Copy, Default)]
pub(crate) struct PlanArgs {
    /// Say what would happen, and do nothing
    #[arg(long)]
    pub(crate) plan: bool,
}

/// How long to wait for the end of the work.
#[derive(Args, Debug, Clone, Copy, Default)]
pub(crate) struct WaitArgs {
    /// Do not wait for the end of the work
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Wait so long at most; the work goes on
    #[arg(long, value_name = "D", value_parser = humantime::parse_duration, conflicts_with = "no_wait")]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Show three nodes that form a cluster, share a table, lose one and no write, and take it back
    #[command(after_help = "Example: ekka demo --json")]
    Demo,
    /// Run a node in the foreground
    #[command(after_help = "Example: ekka agent -c /etc/ekka/ekka.conf --set log.level=debug")]
    Agent(AgentArgs),
    /// Check a configuration and print what is in effect
    #[command(after_help = "Example: ekka check -c /etc/ekka/ekka.conf")]
    Check(ConfigArgs),
    /// Ask the discovery strategies once and say what they found; changes nothing anywhere
    #[command(after_help = "Example: ekka discover -c /etc/ekka/ekka.conf")]
    Discover(ConfigArgs),
    /// Print a new cookie
    #[command(after_help = "Example: ekka keygen > /etc/ekka/cookie")]
    Keygen,
    /// The state of the node, and of the cluster as it sees it
    #[command(after_help = "Example: ekka status --json")]
    Status,
    /// The members of the cluster
    #[command(after_help = "Example: ekka members -n ekka1")]
    Members,
    /// The links between the members
    #[command(after_help = "Example: ekka links")]
    Links,
    /// What happened, and what happens
    #[command(after_help = "Example: ekka events --last 20 --no-follow")]
    Events(EventsArgs),
    /// Why something was decided, and on which evidence
    #[command(after_help = "Example: ekka why d-00001f")]
    Why {
        /// The id of a decision, or of an event; the latest decisions where not given
        id: Option<String>,
    },
    /// Fingerprints of the cookie that signs and of those that are trusted
    #[command(after_help = "Example: ekka cookie")]
    Cookie,
    /// Versions of this program, of the agent and of the cluster
    #[command(after_help = "Example: ekka version")]
    Version,
    /// Form a cluster of this node now
    #[command(after_help = "Example: ekka form --plan")]
    Form(PlanArgs),
    /// Go into the cluster of another node
    #[command(after_help = "Example: ekka join ekka@10.0.0.2")]
    Join {
        /// A node of the cluster
        node: String,
        /// The whole cluster of this node goes into that one, although its quorum tables have held rows
        #[arg(long)]
        absorb: bool,
        #[command(flatten)]
        plan: PlanArgs,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Leave the cluster for good; `stop` is what a restart needs
    #[command(after_help = "Example: ekka leave --plan")]
    Leave {
        #[command(flatten)]
        plan: PlanArgs,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Stop the agent; its node stays a member and comes back by itself
    #[command(after_help = "Example: ekka stop")]
    Stop(PlanArgs),
    /// Send new work elsewhere
    #[command(after_help = "Example: ekka drain --timeout 45s")]
    Drain {
        #[command(flatten)]
        plan: PlanArgs,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Take new work again
    #[command(after_help = "Example: ekka undrain")]
    Undrain(PlanArgs),
    /// Bring the sides of a partition that was repaired together now, also where cluster.autoheal is off
    #[command(after_help = "Example: ekka heal --plan")]
    Heal {
        #[command(flatten)]
        plan: PlanArgs,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Take a member that is down out for good
    #[command(after_help = "Example: ekka force-leave ekka@10.0.0.3 --replace-with ekka@10.0.0.4 --plan")]
    ForceLeave {
        /// Its name, or at least 6 hex digits of its node id
        node: String,
        /// Who takes its vote: waits until that member has caught up, then moves the vote in one change
        #[arg(long, value_name = "NODE")]
        replace_with: Option<String>,
        /// Do it although the member is up
        #[arg(long)]
        alive: bool,
        #[command(flatten)]
        plan: PlanArgs,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Go on although a majority of the voters is lost for good
    #[command(
        after_help = "Say first what would be given up, on each node that is left: the newest log of them is to go on.\n\
                      Example: ekka recover --plan\n\
                      Example: ekka recover --accept-loss"
    )]
    Recover {
        /// Give up what only the lost voters held
        #[arg(long, required_unless_present = "plan")]
        accept_loss: bool,
        #[command(flatten)]
        plan: PlanArgs,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Have the agent read its configuration again
    #[command(after_help = "Example: ekka reload")]
    Reload,
    /// Whether the node lives, is ready, or can stop without harm: exit 0 or 1
    #[command(after_help = "Example: ekka health ready --for available --wait 1m")]
    Health(HealthArgs),
    /// Call other nodes
    #[command(subcommand, after_help = "Example: ekka rpc ping ekka@10.0.0.2")]
    Rpc(RpcCommand),
    /// Replicated tables
    #[command(
        subcommand,
        after_help = "Example: ekka table create users && ekka table put users ada '{\"admin\": true}'"
    )]
    Table(TableCommand),
    /// Locks of the cluster
    #[command(subcommand, after_help = "Example: ekka lock run nightly --wait 10m -- ./backup.sh")]
    Lock(LockCommand),
    /// The journal of overridden writes: what lost to a write whose writer had not seen it
    #[command(after_help = "Example: ekka losses --table users --json > lost.jsonl")]
    Losses {
        /// Of this table; of all where not given
        #[arg(long, value_name = "T")]
        table: Option<String>,
    },
    /// Write a backup of all tables that are kept on disc, while the cluster runs; or check one, without an agent
    #[command(after_help = "Example: ekka backup nightly.backup && ekka backup --verify nightly.backup")]
    Backup(BackupArgs),
    /// Put a backup back
    #[command(after_help = "Say first what would become of each table: ekka restore nightly.backup --plan\n\
                      Example: ekka restore nightly.backup --mode replace")]
    Restore(RestoreArgs),
    /// Measure this cluster
    #[command(subcommand, after_help = "Example: ekka bench rpc --self-contained")]
    Bench(BenchCommand),
    /// Print completions for a shell
    #[command(after_help = "Example: ekka completions bash > /etc/bash_completion.d/ekka")]
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    #[command(after_help = "Example: ekka man | man -l -")]
    Man,
}

#[derive(Args, Debug, Clone, Default)]
pub(crate) struct AgentArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The data directory was restored from a copy: take a new node id
    #[arg(long)]
    pub(crate) restored: bool,
    /// File that says which peers are cut off; only for nodes on loopback
    #[arg(long, hide = true, value_name = "FILE")]
    pub(crate) gate: Option<PathBuf>,
    /// Stop when standard input is closed; for demos and tests
    #[arg(long, hide = true)]
    pub(crate) with_parent: bool,
}

#[derive(Subcommand, Debug, Clone)]
pub(crate) enum RpcCommand {
    /// How long the way to a node and back takes
    #[command(after_help = "Example: ekka rpc ping ekka@10.0.0.2 --count 5")]
    Ping {
        /// Its name, or at least 6 hex digits of its node id
        target: String,
        /// How often
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        count: u32,
        /// Wait so long for each answer
        #[arg(long, value_name = "D", default_value = "5s", value_parser = humantime::parse_duration)]
        timeout: Duration,
    },
    /// Call a method of a node; `ekka.info` says which it has
    #[command(after_help = "Example: ekka rpc call ekka@10.0.0.2 shop.price '{\"item\": \"bolt\"}'")]
    Call {
        /// Its name, or at least 6 hex digits of its node id
        target: String,
        /// The method
        method: String,
        /// The request
        #[arg(value_name = "JSON", default_value = "null")]
        request: String,
        /// Wait so long for the answer
        #[arg(long, value_name = "D", default_value = "5s", value_parser = humantime::parse_duration)]
        timeout: Duration,
    },
}

#[derive(Args, Debug, Clone, Copy, Default)]
pub(crate) struct EventsArgs {
    /// How many of the past first
    #[arg(long, value_name = "N")]
    pub(crate) last: Option<usize>,
    /// End after the past
    #[arg(long)]
    pub(crate) no_follow: bool,
}

#[derive(Args, Debug, Clone, Copy)]
pub(crate) struct HealthArgs {
    /// What is asked
    #[arg(value_enum)]
    pub(crate) what: HealthOf,
    /// For what: `ready` means quorum work where it is left out, `safe-to-stop` both
    #[arg(long = "for", value_enum)]
    pub(crate) for_: Option<ReadyFor>,
    /// Ask until the answer is yes, so long at most; then exit 5
    #[arg(long, value_name = "D", value_parser = humantime::parse_duration)]
    pub(crate) wait: Option<Duration>,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HealthOf {
    /// The control thread makes steps
    Live,
    /// The node takes part
    Ready,
    /// The others do well without it
    SafeToStop,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadyFor {
    /// Work that needs a majority
    Quorum,
    /// `available` tables and local work
    Available,
}

/// Commands of the design that are not there yet: they are known, so that the answer is an honest one.
const LATER: [(&str, &str); 2] =
    [("top", "The cluster on one screen"), ("bundle", "Collect what a report of a fault needs")];

/// The whole command line.
pub(crate) fn command() -> clap::Command {
    let later = LATER.map(|(name, about)| {
        let rest = clap::Arg::new("rest").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true).hide(true);
        clap::Command::new(name)
            .about(format!("(not there yet) {about}"))
            .after_help(format!("Not there yet: this version ends `ekka {name}` with exit 2.\nExample: ekka {name}"))
            .arg(rest)
    });
    Cli::command().subcommands(later)
}

/// What the words of this process ask for; `Err` with the name of a command that is not there yet.
pub(crate) fn parse<I, T>(words: I) -> Result<Result<Cli, String>, clap::Error>
where
    I: IntoIterator<Item = T>,
    T: Into<std::ffi::OsString> + Clone,
{
    let matches = command().try_get_matches_from(words)?;
    if let Some((name, _)) = matches.subcommand().filter(|(name, _)| LATER.iter().any(|(later, _)| later == name)) {
        return Ok(Err(name.to_owned()));
    }
    Cli::from_arg_matches(&matches).map(Ok)
}
