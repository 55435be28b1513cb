//! The client's runtime, tokio, with a stream of our own.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use async_rs::traits::{Executor, Reactor, RuntimeKit};
use async_rs::util::Task;
use async_rs::{Runtime, Tokio};
use futures_io::{AsyncRead, AsyncWrite};
use lapin::AsyncTcpStream;

use crate::guarded::Guarded;

/// A socket as the client opens it.
pub type Socket = <Tokio as Reactor>::TcpStream;

#[derive(Clone, Debug)]
pub(crate) struct Kit(Tokio);

/// The runtime that this is called on.
pub(crate) fn runtime() -> Runtime<Kit> {
    Runtime::new(Kit(Tokio::current()))
}

/// The same, as the client has it.
pub(crate) fn plain() -> Runtime<Tokio> {
    Runtime::new(Tokio::current())
}

impl RuntimeKit for Kit {}

impl Executor for Kit {
    type Task<T: Send + 'static> = <Tokio as Executor>::Task<T>;

    fn block_on<T, F: Future<Output = T>>(&self, future: F) -> T {
        self.0.block_on(future)
    }

    fn spawn<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        future: F,
    ) -> Task<Self::Task<T>> {
        self.0.spawn(future)
    }

    fn spawn_blocking<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
        &self,
        work: F,
    ) -> Task<Self::Task<T>> {
        self.0.spawn_blocking(work)
    }
}

impl Reactor for Kit {
    type TcpStream = Guarded<AsyncTcpStream<Socket>>;
    type Sleep = <Tokio as Reactor>::Sleep;

    /// The client opens its sockets itself; what it could register has a trait that
    /// nobody else can name.
    fn register<H: Read + Write + Send + 'static>(
        &self,
        _: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<Self::TcpStream, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, duration: Duration) -> Self::Sleep {
        self.0.sleep(duration)
    }

    fn interval(
        &self,
        duration: Duration,
    ) -> impl futures_core::Stream<Item = Instant> + Send + 'static {
        self.0.interval(duration)
    }

    fn tcp_connect_addr(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let connecting = self.0.tcp_connect_addr(address);
        async { Ok(Guarded::new(AsyncTcpStream::Plain(connecting.await?))) }
    }
}
