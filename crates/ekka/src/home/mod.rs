//! Threads of their own for what must neither starve heartbeats nor wait for the application: calls, and tables.

mod vigil;

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

pub(crate) use vigil::Vigil;

/// Where connections of a lane are carried.
pub(crate) struct Home {
    pub(crate) handle: Handle,
    /// Where it is a thread of its own, to which sockets are moved: what keeps it awake.
    pub(crate) own: Option<Arc<Vigil>>,
}

impl Home {
    /// The present runtime (simulation).
    pub(crate) fn here() -> Self {
        Self { handle: Handle::current(), own: None }
    }

    /// A thread of its own, until `stop`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn thread(name: &str, stop: CancellationToken) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let thread = std::thread::Builder::new().name(name.into());
        let vigil = Arc::new(Vigil::new());
        let kept = vigil.clone();
        thread.spawn(move || runtime.block_on(stop.run_until_cancelled_owned(async move { kept.keep().await })))?;
        Ok(Self { handle, own: Some(vigil) })
    }
}
