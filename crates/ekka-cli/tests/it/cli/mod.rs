//! The command line as its users see it: exit codes, JSON, tables, against an agent whose view is given.

#[path = "../../../../ekka/tests/it/admin/fixture.rs"]
#[allow(dead_code, reason = "the other user of the fixture needs the rest")]
mod fixture;
mod local;
mod talk;

use std::path::Path;
use std::process::{Output, Stdio};

use ekka::admin::{AdminState, RuntimeLink, Summary, link_socket, serve_unix};
use tempfile::TempDir;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use fixture::GivenNode;

/// The binary, free of this machine's settings, with links to agents in one directory.
fn ekka(runtime: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ekka"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("EKKA_")) {
        command.env_remove(name);
    }
    command.args(line.split_whitespace()).current_dir(runtime).env("HOME", runtime).env("XDG_RUNTIME_DIR", runtime);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs a command line to its end.
async fn run(runtime: &Path, line: &str) -> Ran {
    let limit = std::time::Duration::from_secs(20);
    let output = tokio::time::timeout(limit, ekka(runtime, line).output()).await;
    output.unwrap_or_else(|_| panic!("`{line}` does not end")).expect("the binary can be started").into()
}

/// What came of a command.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// A node that is served, with its link where the command line looks.
struct Agent {
    dir: TempDir,
    shutdown: CancellationToken,
    _link: RuntimeLink,
}

impl Agent {
    async fn serve(node: GivenNode, runtime: &Path, name: &str) -> Self {
        let dir = TempDir::new().expect("a directory");
        let shutdown = CancellationToken::new();
        let state = AdminState::new(node, Summary::default(), shutdown.clone());
        let socket = dir.path().join("ekka.sock");
        serve_unix(state, &socket, None, shutdown.clone()).await.expect("serves");
        let name = name.parse().expect("a name");
        let link = link_socket(&[runtime.join("ekka")], &name, &socket).expect("links");
        Self { dir, shutdown, _link: link }
    }
}
