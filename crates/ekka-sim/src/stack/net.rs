//! `turmoil`'s network behind the node's port.

use std::io;
use std::net::SocketAddr;

use ekka::env::{BoxFuture, BoxStream, Listener, Net};
use ekka_core::id::Host;
use turmoil::net::{TcpListener, TcpStream};

/// The network of the present simulation.
#[derive(Debug)]
pub struct SimNet;

struct SimListener(TcpListener);

impl Listener for SimListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<(BoxStream, SocketAddr)>> {
        Box::pin(async move {
            let (stream, addr) = self.0.accept().await?;
            Ok((Box::new(stream) as BoxStream, addr))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Net for SimNet {
    fn bind(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move { Ok(Box::new(SimListener(TcpListener::bind(addr).await?)) as Box<dyn Listener>) })
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<BoxStream>> {
        Box::pin(async move { Ok(Box::new(TcpStream::connect(addr).await?) as BoxStream) })
    }

    fn resolve<'a>(&'a self, host: &'a Host, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            match host {
                Host::Ip(ip) => Ok(vec![SocketAddr::new(*ip, port)]),
                Host::Dns(name) => Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    format!("{name} is no address: none else is simulated"),
                )),
            }
        })
    }
}
