//! Where a host's connections come from.

use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpListener;

use crate::link::Stream;

/// A source of connections.
#[async_trait]
pub trait Accept: Send + 'static {
    /// The next connection; `None` if there will be no more. Safe to cancel.
    async fn accept(&mut self) -> Option<Box<dyn Stream>>;
}

/// A listening socket.
pub(super) struct Tcp(pub(super) TcpListener);

#[async_trait]
impl Accept for Tcp {
    async fn accept(&mut self) -> Option<Box<dyn Stream>> {
        loop {
            match self.0.accept().await {
                Ok((stream, _)) => {
                    // Only a socket that is gone already has no such option.
                    let _ = stream.set_nodelay(true);
                    return Some(Box::new(stream));
                }
                // Out of descriptors, most likely: some will be closed.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}
