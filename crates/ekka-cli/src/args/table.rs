//! Words of `ekka table`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Subcommand, Debug, Clone)]
pub(crate) enum TableCommand {
    /// Make a table; nothing where there is one with the same options
    #[command(after_help = "Example: ekka table create users --storage disc")]
    Create {
        /// Its name: a-z 0-9 . _ -
        table: String,
        /// What holds of it in a partition
        #[arg(long, value_enum, default_value_t = KindWord::Available)]
        kind: KindWord,
        /// Whether its rows survive the loss of power
        #[arg(long, value_enum, default_value_t = StorageWord::Ram)]
        storage: StorageWord,
        /// What a key has
        #[arg(long = "type", value_enum, default_value_t = TypeWord::Set)]
        type_: TypeWord,
        /// What becomes of values that were written concurrently
        #[arg(long, value_enum)]
        merge: Option<MergeWord>,
        /// How values are written
        #[arg(long, value_enum, default_value_t = CodecWord::Messagepack)]
        codec: CodecWord,
        /// On how many nodes its rows are (not there yet: they are on all)
        #[arg(long, value_name = "N")]
        copies: Option<u16>,
    },
    /// All tables, as they are on the agent's node
    #[command(after_help = "Example: ekka table list")]
    List,
    /// Write a row; the value is JSON, or a text where it is none
    #[command(after_help = "Example: ekka table put users ada '{\"admin\": true}' --ack all")]
    Put {
        /// The table
        table: String,
        /// The key
        key: String,
        /// The value
        value: String,
        /// The row expires so long from now
        #[arg(long, value_name = "D", value_parser = humantime::parse_duration)]
        ttl: Option<Duration>,
        /// Of a quorum table: only where the row has this revision (`get --json` says it); 0: only where there is none
        #[arg(long, value_name = "R")]
        if_revision: Option<u64>,
        #[command(flatten)]
        terms: TermsArgs,
    },
    /// The row of a key; exit 4 where there is none
    #[command(after_help = "Example: ekka table get users ada")]
    Get {
        /// The table
        table: String,
        /// The key
        key: String,
        /// Of a quorum table: as this node has it, without asking a majority; it may be old
        #[arg(long)]
        stale: bool,
    },
    /// Delete a row, whether or not there is one
    #[command(after_help = "Example: ekka table delete users ada")]
    Delete {
        /// The table
        table: String,
        /// The key
        key: String,
        #[command(flatten)]
        terms: TermsArgs,
    },
    /// Rows in the order of their keys
    #[command(after_help = "Example: ekka table scan users --prefix a")]
    Scan {
        /// The table
        table: String,
        /// Only those whose keys begin so
        #[arg(long, value_name = "P")]
        prefix: Option<String>,
        /// Only those after this key, where an earlier scan ended
        #[arg(long, value_name = "K")]
        after: Option<String>,
        /// At most so many; all where not given
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// The highest key first; --after then says below which one
        #[arg(long)]
        reverse: bool,
        /// Of a quorum table: as this node has them, without asking a majority; they may be old
        #[arg(long)]
        stale: bool,
    },
    /// All rows, and then every change once
    #[command(after_help = "Example: ekka table watch users --json")]
    Watch {
        /// The table
        table: String,
    },
    /// One table, as it is on the agent's node
    #[command(after_help = "Example: ekka table info users")]
    Info {
        /// The table
        table: String,
    },
    /// Compare tables with each node that is up: exit 1 where they differ or could not be compared
    #[command(after_help = "Example: ekka table verify users")]
    Verify {
        /// The table; all where not given
        table: Option<String>,
    },
    /// Write all rows to a file, one JSON object a line
    #[command(after_help = "Example: ekka table export users users.jsonl")]
    Export {
        /// The table
        table: String,
        /// The file; standard output where not given
        file: Option<PathBuf>,
    },
    /// Put the rows of a file that `export` or `losses --json` wrote, or one of `set-aside`
    #[command(after_help = "Example: ekka table import users users.jsonl --ack all")]
    Import {
        /// The table
        table: String,
        /// The file; standard input where it is -
        file: PathBuf,
        #[command(flatten)]
        terms: TermsArgs,
    },
    /// Drop a table with all its rows, on all nodes
    #[command(after_help = "Example: ekka table drop users")]
    Drop {
        /// The table
        table: String,
    },
}

/// How a write is acknowledged.
#[derive(Args, Debug, Clone, Copy, Default)]
pub(crate) struct TermsArgs {
    /// How many nodes have to have it
    #[arg(long, value_enum, default_value_t = AckWord::Two)]
    pub(crate) ack: AckWord,
    /// Fewer than two copies are an error; it is written all the same
    #[arg(long)]
    pub(crate) strict: bool,
    /// Wait so long for the copies
    #[arg(long, value_name = "D", default_value = "5s", value_parser = humantime::parse_duration)]
    pub(crate) deadline: Duration,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum AckWord {
    /// The agent's
    Local,
    /// That one, and one more that is up
    #[default]
    Two,
    /// Every one that is up
    All,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KindWord {
    /// Every side writes, and what was written is merged
    Available,
    /// Each node writes its own rows
    Owned,
    /// Only the side of the majority writes
    Quorum,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StorageWord {
    /// They do not
    Ram,
    /// They do: acknowledged means synced
    Disc,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
#[value(rename_all = "snake_case")]
pub(crate) enum TypeWord {
    /// One value
    Set,
    /// One value, and the order of keys is promised
    OrderedSet,
    /// Any number of values
    Bag,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MergeWord {
    /// The later one stays, the other goes to the journal
    LastWriter,
    /// All stay
    Union,
    /// The largest
    Max,
    /// Their sum
    Sum,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CodecWord {
    /// With the names of fields, so that fields may be added
    Messagepack,
    /// JSON
    Json,
    /// Small, and read only by programs that know the type
    Postcard,
    /// Bytes as they are
    Raw,
}

/// The word that the agent knows.
pub(crate) fn word<T: ValueEnum>(value: &T) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}
