//! Running programs: each is shown before it starts, and a failure names the whole command.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

/// The cargo that runs us.
pub(crate) fn cargo<I, S>(args: I) -> Command
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    command
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let mut words: Vec<String> = command
        .get_envs()
        .filter_map(|(key, value)| Some(format!("{}={}", key.to_string_lossy(), value?.to_string_lossy())))
        .collect();
    let program = std::path::Path::new(command.get_program());
    words.push(program.file_name().unwrap_or(command.get_program()).to_string_lossy().into_owned());
    words.extend(command.get_args().map(|arg| quoted(&arg.to_string_lossy())));
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+@".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{word}'") }
}

/// Runs it to its end; an exit code other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = shown(command);
    println!("$ {line}");
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// Runs it, passes its output on line by line, and gives the lines and whether it succeeded.
pub(crate) fn run_and_read(command: &mut Command) -> Result<(Vec<String>, bool)> {
    let line = shown(command);
    println!("$ {line}");
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{line}`"))?;
    let stdout = child.stdout.take().context("standard output was asked for as a pipe")?;
    let stderr = child.stderr.take().context("standard error was asked for as a pipe")?;
    let errors = thread::spawn(move || pass_on(stderr, |line| eprintln!("{line}")));
    let mut lines = pass_on(stdout, |line| println!("{line}"));
    lines.extend(errors.join().unwrap_or_default());
    let status = child.wait().with_context(|| format!("`{line}` was lost"))?;
    Ok((lines, status.success()))
}

fn pass_on(pipe: impl Read, print: impl Fn(&str)) -> Vec<String> {
    let mut kept = Vec::new();
    let mut reader = BufReader::new(pipe);
    let mut raw = Vec::new();
    // Tests may print bytes that are not UTF-8: no line may end the reading, or the child would block.
    while reader.read_until(b'\n', &mut raw).is_ok_and(|read| read > 0) {
        let line = String::from_utf8_lossy(&raw).trim_end().to_owned();
        print(&line);
        if crate::totals::is_summary(&line) {
            kept.push(line);
        }
        raw.clear();
    }
    kept
}

/// Whether a program can be started at all.
pub(crate) fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // System programs live in sbin, which is not on everyone's path.
    let sbin = ["/usr/sbin", "/sbin"].map(std::path::PathBuf::from);
    std::env::split_paths(&path).chain(sbin).any(|dir| dir.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let mut command = cargo(["nextest", "run", "-E", "binary(net) & test(x)"]);
        command.env("EKKA_SOAK", "1");
        let line = shown(&command);
        assert!(line.starts_with("EKKA_SOAK=1 cargo"), "{line}");
        assert!(line.ends_with("nextest run -E 'binary(net) & test(x)'"), "{line}");
    }

    #[test]
    fn a_failing_command_is_an_error_that_names_it() {
        let error = run(&mut Command::new("false")).unwrap_err().to_string();
        assert!(error.contains("`false` failed"), "{error}");
    }

    #[test]
    fn a_program_that_is_not_there_is_seen() {
        assert!(exists("sh"));
        assert!(!exists("no-such-program-anywhere"));
    }
}
