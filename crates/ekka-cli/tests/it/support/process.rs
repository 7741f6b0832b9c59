//! Facts about processes from /proc, and work that keeps the processors busy.

use std::fs;
use std::process::{Child, Command, Stdio};

/// Resident memory in bytes.
pub(crate) fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux reports VmRSS");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number of kB");
    kib * 1024
}

/// Open file descriptors.
pub(crate) fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs").count()
}

/// Processes that do nothing but compute, ended when dropped.
pub(crate) struct Busy {
    children: Vec<Child>,
}

impl Busy {
    /// So many for each processor.
    pub(crate) fn per_processor(count: usize) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let spin = || Command::new("sh").args(["-c", "while :; do :; done"]).stdin(Stdio::null()).spawn();
        Self { children: (0..count * processors).map(|_| spin().expect("sh starts")).collect() }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended by itself; there is nothing else to do about it here.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
