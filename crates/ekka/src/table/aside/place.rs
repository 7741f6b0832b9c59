//! The file that rows go to, and how often that was tried: one name until they are in it.

use std::time::Duration;

/// Before what could not be written is tried again; doubles each time.
const FIRST: Duration = Duration::from_secs(2);
const LAST: Duration = Duration::from_secs(60);

/// Where rows go to.
#[derive(Debug)]
pub(in crate::table) struct Place {
    /// The file, in the data directory.
    pub(super) name: String,
    wait: Option<Duration>,
}

impl Place {
    pub(super) fn new(name: String) -> Self {
        Self { name, wait: None }
    }

    /// Whether they could not be written here.
    pub(super) fn has_failed(&self) -> bool {
        self.wait.is_some()
    }

    pub(super) fn fails(&mut self) {
        self.wait = Some(self.wait.map_or(FIRST, |wait| (wait * 2).min(LAST)));
    }

    /// How long nothing is to be tried now.
    pub(in crate::table) fn wait(&self) -> Duration {
        self.wait.unwrap_or_default()
    }
}
