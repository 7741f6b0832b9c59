//! What the tests need on a bare Debian machine: system packages, and the test runner.

use std::process::Command;

use anyhow::{Result, bail};

use crate::command::{cargo, exists, run};

/// A program that tests call, and the Debian package that has it.
const PROGRAMS: [(&str, &str); 9] = [
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("ps", "procps"),
    ("openssl", "openssl"),
    ("etcd", "etcd-server"),
    ("etcdctl", "etcd-client"),
    ("dnsmasq", "dnsmasq-base"),
    ("kubectl", "kubernetes-client"),
    ("faketime", "faketime"),
];

/// Whether `cargo nextest` can be called.
pub(crate) fn has_nextest() -> bool {
    exists("cargo-nextest") || cargo(["nextest", "--version"]).output().is_ok_and(|output| output.status.success())
}

/// Whether the environment forbids installing.
pub(crate) fn forbidden() -> bool {
    std::env::var_os("EKKA_NO_INSTALL").is_some_and(|value| !value.is_empty())
}

/// Installs what is missing and nothing else.
pub(crate) fn install() -> Result<()> {
    if forbidden() {
        println!("EKKA_NO_INSTALL is set: nothing is installed");
        return Ok(());
    }
    let missing: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| !exists(program)).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        if !exists("apt-get") {
            bail!("missing: {}; this machine has no apt-get, install them by hand", missing.join(", "));
        }
        run(as_root(&["apt-get", "update", "-qq"])?.env("DEBIAN_FRONTEND", "noninteractive"))?;
        let mut words = vec!["apt-get", "install", "-y", "-qq", "--no-install-recommends"];
        words.extend(&missing);
        run(as_root(&words)?.env("DEBIAN_FRONTEND", "noninteractive"))?;
    }
    if !has_nextest() {
        run(&mut cargo(["install", "--locked", "cargo-nextest"]))?;
    }
    Ok(())
}

/// The command as it is for root, else through sudo, which keeps the environment that apt needs.
fn as_root(words: &[&str]) -> Result<Command> {
    let id = Command::new("id").arg("-u").output()?;
    let mut command = if id.stdout.trim_ascii() == b"0" {
        Command::new(words[0])
    } else if exists("sudo") {
        let mut sudo = Command::new("sudo");
        sudo.args(["--non-interactive", "--preserve-env=DEBIAN_FRONTEND", words[0]]);
        sudo
    } else {
        bail!("`{}` needs root, and there is no sudo: run it as root", words.join(" "));
    };
    command.args(&words[1..]);
    Ok(command)
}
