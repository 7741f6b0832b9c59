//! What can be corrected without a person: format, and clippy's own suggestions.

use anyhow::Result;

use crate::command::{self, cargo};

/// `cargo xtask fix`.
pub(crate) fn run() -> Result<()> {
    command::run(&mut cargo([
        "clippy",
        "--fix",
        "--allow-dirty",
        "--allow-staged",
        "--workspace",
        "--all-targets",
        "--profile",
        "ci",
    ]))?;
    // Last, because suggestions are applied without regard to layout.
    command::run(&mut cargo(["fmt", "--all"]))
}
