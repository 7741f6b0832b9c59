//! The command line of `ekka`: the agent, the demo, and a client of the admin interface.
//!
//! Exit codes are a contract: 0 done, 1 failed, 2 usage or configuration, 3 no agent there, 4 not acquired or not found,
//! 5 timed out. So is everything that `--json` prints.

mod agent;
mod args;
mod client;
mod commands;
mod demo;
mod exit;
mod out;
mod pick;
mod settings;

pub use exit::{Code, Failure};

use std::process::ExitCode;

use clap::error::ErrorKind;

/// Runs the command that this process was started with.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match args::parse(std::env::args_os()) {
        Ok(Ok(cli)) => cli,
        Ok(Err(later)) => {
            let text =
                format!("`ekka {later}` is not there yet: version {} does not have it", env!("CARGO_PKG_VERSION"));
            Failure::new(Code::Usage, "not_there_yet", text).print(std::env::args_os().any(|arg| arg == "--json"));
            return Code::Usage.into();
        }
        Err(error) => return unparsed(&error),
    };
    let json = cli.global.json;
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print(json);
            failure.exit_code()
        }
    }
}

/// Help goes to standard output with exit 0; a wrong command line is exit 2.
fn unparsed(error: &clap::Error) -> ExitCode {
    let is_help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let json = std::env::args_os().any(|arg| arg == "--json");
    if json && !is_help {
        let text = error.render().to_string();
        Failure::new(Code::Usage, "usage", text.trim_start_matches("error: ").trim_end()).print(true);
    } else {
        let _ = error.print(); // a broken pipe: nobody reads it
    }
    if is_help { ExitCode::SUCCESS } else { Code::Usage.into() }
}
