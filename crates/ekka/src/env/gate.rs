//! A gate in the network of a node: cuts it off from a peer as a pulled cable does.
//!
//! Nothing is reset: reads and dials hang, writes stay in their buffer, and all goes on where it was once the gate is
//! open again. A gate holds what *this* node dialled; to cut both ways, the peer's gate is closed too. For the demo
//! and for tests of programs on one machine; production has no gate.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use ekka_core::id::Host;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{BoxFuture, BoxStream, Listener, MulticastGroup, MulticastSockets, Net};

/// Which directions of the connections to a peer are dead.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Dead {
    /// What this node sends does not arrive.
    pub to_peer: bool,
    /// What the peer sends does not arrive.
    pub from_peer: bool,
}

impl Dead {
    /// Both directions.
    pub const BOTH: Self = Self { to_peer: true, from_peer: true };
}

/// The handle that opens and closes.
#[derive(Clone, Default)]
pub struct Gate {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    dead: BTreeMap<SocketAddr, Dead>,
    waiting: Vec<Waker>,
}

impl Gate {
    /// A gate that is open for everybody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds this lock can leave it half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what is dead towards the peer that listens at `addr`; `Dead::default()` opens it.
    pub fn set(&self, addr: SocketAddr, dead: Dead) {
        let mut state = self.state();
        if dead == Dead::default() {
            state.dead.remove(&addr);
        } else {
            state.dead.insert(addr, dead);
        }
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Opens it for everybody.
    pub fn open_all(&self) {
        let mut state = self.state();
        state.dead.clear();
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Whether bytes of this direction may pass; where not, the task is woken at the next change.
    fn passes(&self, addr: SocketAddr, is_dead: impl Fn(Dead) -> bool, cx: &Context<'_>) -> bool {
        let mut state = self.state();
        let dead = state.dead.get(&addr).copied().unwrap_or_default();
        if is_dead(dead) {
            state.waiting.push(cx.waker().clone());
            return false;
        }
        true
    }
}

/// A network with a gate in it.
pub struct GatedNet {
    inner: Arc<dyn Net>,
    gate: Gate,
}

impl GatedNet {
    /// Puts a gate into a network.
    #[must_use]
    pub fn new(inner: Arc<dyn Net>, gate: Gate) -> Self {
        Self { inner, gate }
    }
}

impl Net for GatedNet {
    fn bind(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        self.inner.bind(addr)
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<BoxStream>> {
        Box::pin(async move {
            let gate = self.gate.clone();
            std::future::poll_fn(|cx| {
                let open = gate.passes(addr, |dead| dead.to_peer || dead.from_peer, cx);
                if open { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            let stream = self.inner.connect(addr).await?;
            Ok(Box::new(Gated { inner: stream, addr, gate }) as BoxStream)
        })
    }

    fn resolve<'a>(&'a self, host: &'a Host, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        self.inner.resolve(host, port)
    }

    fn multicast<'a>(&'a self, group: &'a MulticastGroup) -> BoxFuture<'a, io::Result<MulticastSockets>> {
        self.inner.multicast(group)
    }
}

/// A stream behind the gate.
pub(super) struct Gated {
    inner: BoxStream,
    addr: SocketAddr,
    gate: Gate,
}

impl Gated {
    pub(super) fn inner(&mut self) -> &mut BoxStream {
        &mut self.inner
    }
}

impl AsyncRead for Gated {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.gate.passes(self.addr, |dead| dead.from_peer, cx) {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Gated {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if !self.gate.passes(self.addr, |dead| dead.to_peer, cx) {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.gate.passes(self.addr, |dead| dead.to_peer, cx) {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.gate.passes(self.addr, |dead| dead.to_peer, cx) {
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::*;
    use crate::env::RealNet;

    #[tokio::test]
    async fn a_dead_gate_holds_bytes_and_dials_until_it_is_open_again() {
        let gate = Gate::new();
        let net = GatedNet::new(Arc::new(RealNet), gate.clone());
        let listener = net.bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut near = net.connect(addr).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();

        gate.set(addr, Dead::BOTH);
        far.write_all(b"x").await.unwrap();
        let mut byte = [0u8; 1];
        let brief = Duration::from_millis(50);
        assert!(timeout(brief, near.read_exact(&mut byte)).await.is_err(), "a dead gate let a byte through");
        assert!(timeout(brief, net.connect(addr)).await.is_err(), "a dead gate let a dial through");

        gate.open_all();
        let limit = Duration::from_secs(5);
        timeout(limit, near.read_exact(&mut byte)).await.unwrap().unwrap();
        assert_eq!(&byte, b"x");
        timeout(limit, net.connect(addr)).await.unwrap().unwrap();
    }
}
