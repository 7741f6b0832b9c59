//! Words of `ekka backup` and `ekka restore`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Args, Debug, Clone)]
pub(crate) struct BackupArgs {
    /// The file; it is written beside it first, so that it is whole or not there
    pub(crate) file: PathBuf,
    /// Check this file in place of writing one, and say what is in it
    #[arg(long)]
    pub(crate) verify: bool,
}

#[derive(Args, Debug, Clone)]
pub(crate) struct RestoreArgs {
    /// The file
    pub(crate) file: PathBuf,
    /// How its rows meet those that are there
    #[arg(long, value_enum, default_value_t = ModeWord::Merge)]
    pub(crate) mode: ModeWord,
    /// Say what would become of each table, and do nothing
    #[arg(long)]
    pub(crate) plan: bool,
    /// Do not wait for the end of the work
    #[arg(long, conflicts_with = "plan")]
    pub(crate) no_wait: bool,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ModeWord {
    /// The newer row stays, and what was deleted since stays deleted
    Merge,
    /// The tables become what the backup has; what it overrides goes to the journal
    Replace,
}
