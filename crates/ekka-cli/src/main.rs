//! The binary `ekka`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ekka_cli::run()
}
