//! A wall clock of one process that a test sets while it runs, by libfaketime. A network namespace has none of its own, and
//! a time namespace shifts every clock but that one.
//!
//! Only the wall clock is off: what the agent measures time with is asked of the kernel, which the library does not see.

use std::fs;
use std::path::{Path, PathBuf};

use super::Agent;

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// The clock of one agent.
pub(crate) struct WallClock {
    file: PathBuf,
}

impl WallClock {
    /// Gives one to an agent from its next start on; it is right at first.
    pub(crate) fn of(agent: &mut Agent) -> Self {
        remove_leftovers();
        assert!(Path::new(LIBRARY).exists(), "{LIBRARY} is not there: apt-get install faketime");
        let clock = Self { file: agent.data().with_file_name("clock") };
        clock.set_off(0);
        agent.var("LD_PRELOAD", LIBRARY).var("FAKETIME_TIMESTAMP_FILE", &clock.file.display().to_string());
        // The file is read once a second.
        agent.var("FAKETIME_CACHE_DURATION", "1").var("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        clock
    }

    /// The clock is off by so many seconds from now on.
    pub(crate) fn set_off(&self, seconds: i64) {
        // It is read at any moment: never half of it.
        let next = self.file.with_extension("next");
        fs::write(&next, format!("{seconds:+}\n")).expect("a file can be written");
        fs::rename(&next, &self.file).expect("a file can be renamed");
    }
}

impl Drop for WallClock {
    fn drop(&mut self) {
        remove_leftovers();
    }
}

/// Removes what the library shared among processes that are dead.
fn remove_leftovers() {
    for entry in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = ["faketime_shm_", "sem.faketime_sem_"].into_iter().find_map(|prefix| name.strip_prefix(prefix));
        if pid.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new(&format!("/proc/{pid}")).exists()) {
            // Another test may remove the same one.
            let _ = fs::remove_file(entry.path());
        }
    }
}
