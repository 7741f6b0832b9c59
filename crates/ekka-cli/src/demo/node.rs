//! One node of the demo: a process of this same program.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use ekka::admin::dto::{MemberAnswer, StatusAnswer};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::client::{Client, Target};
use crate::exit::Failure;

/// A node with its own directory, which outlives its processes.
pub(crate) struct DemoNode {
    /// `ekka1@127.0.0.1:PORT`
    pub(crate) name: String,
    dir: PathBuf,
    seeds: String,
    process: Option<Child>,
    client: Client,
    /// The file by which it is cut off from others.
    gate: Option<PathBuf>,
}

impl DemoNode {
    pub(crate) fn new(scratch: &Path, name: &str, seeds: &str) -> Self {
        let short = name.split('@').next().unwrap_or(name);
        let dir = scratch.join(short);
        let client = Client::new(Target::Unix(dir.join("ekka.sock")));
        Self { name: name.into(), dir, seeds: seeds.into(), process: None, client, gate: None }
    }

    /// Its network has a gate.
    pub(super) fn gated(mut self) -> Self {
        self.gate = Some(self.dir.with_extension("gate"));
        self
    }

    /// Cuts it off from the peers of these lines, and from nobody else.
    pub(super) fn set_gate(&self, lines: &str) -> Result<(), Failure> {
        self.gate.as_ref().map_or(Ok(()), |file| Ok(std::fs::write(file, lines)?))
    }

    /// Starts its process, under a clean environment: the user's own configuration is no part of the demo.
    pub(crate) fn start(&mut self, scratch: &Path) -> Result<u32, Failure> {
        let program = std::env::current_exe()?;
        let log = std::fs::File::options().create(true).append(true).open(scratch.join("nodes.log"))?;
        let mut command = Command::new(program);
        command
            .args(["agent", "--with-parent", "--name", &self.name])
            .args(["--set", &format!("node.data_dir={}", self.dir.display())])
            .args(["--set", &format!("node.cookie_file={}", scratch.join("cookie").display())])
            .args(["--set", "cluster.name=demo", "--set", "cluster.discovery=static"])
            .args(["--set", &format!("cluster.static.seeds={}", self.seeds)])
            .args(self.gate.iter().flat_map(|file| [std::ffi::OsStr::new("--gate"), file.as_os_str()]))
            .env_clear()
            .env("XDG_RUNTIME_DIR", scratch)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            // A Ctrl-C is the demo's own: it ends its nodes itself.
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn()?;
        let pid = child.id().unwrap_or_default();
        self.process = Some(child);
        Ok(pid)
    }

    /// `kill -9`, and waits until the process is no more.
    pub(crate) async fn kill(&mut self) -> Result<(), Failure> {
        if let Some(mut process) = self.process.take() {
            process.kill().await?;
        }
        Ok(())
    }

    /// Stops its process as SIGSTOP does.
    pub(crate) fn freeze(&self) -> Result<(), Failure> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) -> Result<(), Failure> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let id = self.process.as_ref().and_then(Child::id).and_then(|id| i32::try_from(id).ok());
        let Some(pid) = id.and_then(Pid::from_raw) else {
            return Err(Failure::failed(format!("the process of {} has ended", self.name)));
        };
        kill_process(pid, signal).map_err(|error| Failure::failed(format!("{}: {error}", self.name)))
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) async fn stop(&mut self) -> Result<bool, Failure> {
        let Some(mut process) = self.process.take() else { return Ok(true) };
        let asked = self.client.post("/v1/stop", &serde_json::json!({"by": "demo"})).await;
        asked?.success()?;
        Ok(process.wait().await?.success())
    }

    /// Whether its process has ended although nobody asked it to.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| !matches!(process.try_wait(), Ok(None)))
    }

    /// How it is asked.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) async fn status(&self) -> Option<StatusAnswer> {
        self.client.get("/v1/status").await.ok()?.success().ok()?.read().ok()
    }

    pub(crate) async fn members(&self) -> Option<Vec<MemberAnswer>> {
        self.client.get("/v1/members").await.ok()?.success().ok()?.read().ok()
    }
}

/// Names on ports of 127.0.0.1 that are free now.
pub(crate) fn names(count: usize) -> Result<Vec<String>, Failure> {
    // All are held until all are known, so that they differ.
    let held: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let named = held
        .iter()
        .enumerate()
        .map(|(n, socket)| Ok(format!("ekka{}@127.0.0.1:{}", n + 1, socket.local_addr()?.port())));
    named.collect()
}
