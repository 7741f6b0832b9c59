//! One `ekka agent` process with its own folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::poll;

/// Lines of the log that a failing test shows of each agent.
const LOG_LINES_SHOWN: usize = 15;

/// A node: its name, its folder, its settings, and its process while it runs.
pub(crate) struct Agent {
    /// `name@host`.
    pub(crate) name: String,
    directory: PathBuf,
    settings: Vec<(String, String)>,
    vars: Vec<(String, String)>,
    namespace: Option<String>,
    child: Option<Child>,
}

impl Agent {
    /// A node that has not started. Its folder is made.
    pub(crate) fn new(directory: &Path, name: &str) -> Self {
        fs::create_dir_all(directory).expect("the folder of a test can be made");
        Self {
            name: name.to_owned(),
            directory: directory.to_owned(),
            settings: Vec::new(),
            vars: Vec::new(),
            namespace: None,
            child: None,
        }
    }

    /// Sets a key of the configuration, in place of an earlier value.
    pub(crate) fn set(&mut self, key: &str, value: &str) -> &mut Self {
        self.settings.retain(|(known, _)| known != key);
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Forgets a key of the configuration.
    pub(crate) fn unset(&mut self, key: &str) {
        self.settings.retain(|(known, _)| known != key);
    }

    /// Gives it another name (and so another address) from the next start on.
    pub(crate) fn rename(&mut self, name: &str) {
        name.clone_into(&mut self.name);
    }

    /// Runs it in a network namespace from the next start on.
    pub(crate) fn enter(&mut self, namespace: &str) {
        self.namespace = Some(namespace.to_owned());
    }

    /// Sets a variable of its environment, in place of an earlier value.
    pub(crate) fn var(&mut self, name: &str, value: &str) -> &mut Self {
        self.vars.retain(|(known, _)| known != name);
        self.vars.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where its data is.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Starts the process and does not wait for anything.
    pub(crate) fn start(&mut self) {
        self.start_with(&[]);
    }

    /// Starts the process with further words on its command line.
    pub(crate) fn start_with(&mut self, words: &[&str]) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let file = self.write_configuration();
        let log = File::options().create(true).append(true).open(self.log_path()).expect("the log can be opened");
        let mut command = self.command();
        command.arg("agent").arg("-c").arg(&file).args(words);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file can be shared")).stderr(log);
        self.child = Some(command.spawn().expect("the agent can be started"));
    }

    fn write_configuration(&self) -> PathBuf {
        let file = self.directory.join("node.conf");
        let lines = self.settings.iter().map(|(key, value)| format!("{key} = {value}\n"));
        let own = [format!("node.name = {}\n", self.name), format!("node.data_dir = {}\n", self.data().display())];
        fs::write(&file, own.into_iter().chain(lines).collect::<String>()).expect("the configuration can be written");
        file
    }

    /// The binary under test, in the node's namespace, free of this machine's settings.
    fn command(&self) -> Command {
        let binary = env!("CARGO_BIN_EXE_ekka");
        let mut command = match &self.namespace {
            // `ip netns exec` replaces itself by the agent, so that the process id is the agent's.
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace, binary]);
                command
            }
            None => Command::new(binary),
        };
        for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("EKKA_")) {
            command.env_remove(key);
        }
        // Relative paths, the default cookie and the links to sockets stay in the test's folder.
        command.current_dir(&self.directory).env("HOME", &self.directory).env("XDG_RUNTIME_DIR", &self.directory);
        command.env_remove("XDG_CONFIG_HOME").env_remove("NOTIFY_SOCKET");
        command.envs(self.vars.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a command of the binary against this node.
    pub(crate) fn ekka(&self, words: &[&str]) -> Output {
        let mut command = self.command();
        command.arg("--data-dir").arg(self.data()).args(words).stdin(Stdio::null());
        command.output().expect("the binary can be started")
    }

    /// The same with `--json`, and its answer.
    ///
    /// # Errors
    /// It failed, or the answer is no JSON: what it said.
    pub(crate) fn json(&self, words: &[&str]) -> Result<Value, String> {
        let output = self.ekka(&[words, &["--json"]].concat());
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{}: `{}`: {}: {}", self.name, words.join(" "), output.status, said.trim()));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| format!("{}: `{}`: {error}", self.name, words.join(" ")))
    }

    /// Has the running agent read its settings again, as they are now.
    ///
    /// # Errors
    /// It refuses, or does not answer.
    pub(crate) fn reload(&self) -> Result<Value, String> {
        self.write_configuration();
        self.json(&["reload"])
    }

    /// What `ekka discover` says with this node's configuration; it needs no running agent.
    ///
    /// # Errors
    /// It gave no JSON: what it said.
    pub(crate) fn discover(&self) -> Result<Value, String> {
        let file = self.write_configuration();
        let mut command = self.command();
        command.arg("discover").arg("-c").arg(&file).arg("--json").stdin(Stdio::null());
        let output = command.output().expect("the binary can be started");
        let said = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).map_err(|error| format!("{}: discover: {error}: {said}", self.name))
    }

    /// The row of a member as this node sees it; there must be exactly one of that name.
    ///
    /// # Errors
    /// None or several, or the node does not answer.
    pub(crate) fn row(&self, name: &str) -> Result<Value, String> {
        let members = self.json(&["members"])?;
        let rows: Vec<&Value> = members.as_array().into_iter().flatten().filter(|m| m["name"] == name).collect();
        match rows.as_slice() {
            [row] => Ok((*row).clone()),
            _ => Err(format!("{} lists {name} {} times: {members}", self.name, rows.len())),
        }
    }

    /// Events so far, oldest first.
    ///
    /// # Errors
    /// As [`Agent::json`].
    pub(crate) fn events(&self) -> Result<Vec<Value>, String> {
        let output = self.ekka(&["events", "--last", "1000", "--no-follow", "--json"]);
        if !output.status.success() {
            return Err(format!("{}: events: {}", self.name, String::from_utf8_lossy(&output.stderr).trim()));
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let parse =
            |line: &str| serde_json::from_str(line).map_err(|error| format!("{}: event `{line}`: {error}", self.name));
        text.lines().filter(|line| !line.is_empty()).map(parse).collect()
    }

    /// The process id of the running agent.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap_or_else(|| panic!("{} does not run", self.name)).id()
    }

    /// Whether a process was started and not taken back.
    pub(crate) fn runs(&self) -> bool {
        self.child.is_some()
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("process ids are positive");
        kill(Pid::from_raw(pid), signal).unwrap_or_else(|error| panic!("{signal} to {}: {error}", self.name));
    }

    /// SIGKILL, and its end.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap_or_else(|| panic!("{} does not run", self.name));
        child.kill().expect("an own child can be killed");
        child.wait().expect("an own child can be waited for");
    }

    /// Starts the process with a file of somebody else's as it is; this node's own settings of `node.*` come by `--set`.
    pub(crate) fn start_file(&mut self, file: &str, text: &str) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        fs::write(self.directory.join(file), text).expect("the configuration can be written");
        let log = File::options().create(true).append(true).open(self.log_path()).expect("the log can be opened");
        let mut command = self.command();
        command.args(["agent", "-c", file, "--name", &self.name]);
        command.arg("--set").arg(format!("node.data_dir={}", self.data().display()));
        for (key, value) in self.settings.iter().filter(|(key, _)| key.starts_with("node.")) {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file can be shared")).stderr(log);
        self.child = Some(command.spawn().expect("the agent can be started"));
    }

    /// SIGSTOP: it keeps its sockets and says nothing more.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// SIGTERM, and its end, which must come within the limit.
    pub(crate) fn stop(&mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait_for_end(limit)
    }

    /// Waits until the process has ended by itself.
    pub(crate) fn wait_for_end(&mut self, limit: Duration) -> ExitStatus {
        let name = self.name.clone();
        let child = self.child.as_mut().unwrap_or_else(|| panic!("{name} does not run"));
        let ended = poll::until(limit, || {
            child.try_wait().expect("an own child can be asked").ok_or_else(|| format!("{name} still runs"))
        });
        let (status, took) = ended.unwrap_or_else(|seen| panic!("{seen}\n{}", self.report()));
        println!("{} ended after {took:.2?}: {status}", self.name);
        self.child = None;
        status
    }

    /// Everything that it logged, over all its starts.
    pub(crate) fn log(&self) -> String {
        fs::read(self.log_path()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("agent.log")
    }

    /// What a failing test shows of it.
    pub(crate) fn report(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        let state = if self.runs() { "runs" } else { "does not run" };
        format!("--- {} ({state}), last lines of its log:\n{}\n", self.name, last.join("\n"))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}
