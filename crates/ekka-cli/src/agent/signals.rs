//! What this process is told from outside.

use std::io::Read;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::sync::mpsc;

use crate::exit::Failure;

/// What to do, and who says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Signal {
    Stop(&'static str),
    Reload,
}

pub(super) struct Signals {
    terminate: Stream,
    interrupt: Stream,
    hangup: Stream,
    parent: Option<mpsc::Receiver<()>>,
}

impl Signals {
    /// Takes the signals of this process from here on.
    pub(super) fn listen(with_parent: bool) -> Result<Self, Failure> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            parent: with_parent.then(watch_parent).transpose()?,
        })
    }

    pub(super) async fn next(&mut self) -> Signal {
        let parent = async {
            match &mut self.parent {
                Some(parent) => parent.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop("sigterm"),
            _ = self.interrupt.recv() => Signal::Stop("sigint"),
            _ = self.hangup.recv() => Signal::Reload,
            _ = parent => {
                self.parent = None;
                Signal::Stop("parent")
            }
        }
    }
}

/// A thread of its own, since a read of standard input cannot be called off.
fn watch_parent() -> Result<mpsc::Receiver<()>, Failure> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::Builder::new().name("ekka-parent".into()).spawn(move || {
        let mut byte = [0];
        while matches!(std::io::stdin().read(&mut byte), Ok(1..)) {}
        drop(sender);
    })?;
    Ok(receiver)
}
