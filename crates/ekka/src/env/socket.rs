//! Tokio's TCP stream, which can change the runtime that waits for it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::BoxStream;

/// A TCP stream without Nagle's delay.
pub(super) struct Socket {
    /// Empty only while it changes its home.
    stream: Option<TcpStream>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream: Some(stream) })
    }

    fn inner(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.stream.as_mut().expect("a socket whose move failed is not used again"))
    }

    /// Registers it with the runtime that calls.
    fn rehome(&mut self) -> io::Result<()> {
        if let Some(stream) = self.stream.take() {
            self.stream = Some(TcpStream::from_std(stream.into_std()?)?);
        }
        Ok(())
    }
}

/// Lets the present runtime wait for the socket under a stream, where it is one of the system's: a runtime that waits
/// for another's socket pays a wake-up of a second thread for every read. Other streams stay where they are.
///
/// # Errors
/// The system refused; the stream is of no use any more.
pub fn rehome(stream: &mut BoxStream) -> io::Result<()> {
    let any = (**stream).as_any();
    if let Some(socket) = any.downcast_mut::<Socket>() {
        return socket.rehome();
    }
    match any.downcast_mut::<super::gate::Gated>() {
        Some(gated) => rehome(gated.inner()),
        None => Ok(()),
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.inner().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.inner().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::env::{Gate, GatedNet, Net, RealNet};

    #[test]
    fn a_socket_goes_on_in_the_runtime_that_it_was_moved_to() {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (first, second) = (runtime(), runtime());
        let net = GatedNet::new(Arc::new(RealNet), Gate::new());
        let (mut near, mut far) = first.block_on(async {
            let listener = net.bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
            let near = net.connect(listener.local_addr().unwrap()).await.unwrap();
            (near, listener.accept().await.unwrap().0)
        });
        second.block_on(async {
            rehome(&mut near).unwrap();
            rehome(&mut far).unwrap();
        });
        // Nobody waits for the sockets of the first runtime any more.
        drop(first);
        second.block_on(async {
            far.write_all(b"x").await.unwrap();
            let mut byte = [0u8; 1];
            near.read_exact(&mut byte).await.unwrap();
            assert_eq!(&byte, b"x");
        });
    }
}
