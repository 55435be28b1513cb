//! All sockets of a gateway, bound before anything is served.

use std::io;
use std::net::SocketAddr;

use crate::config::Config;
use crate::gateway::StartError;
use crate::listen::Listener;

/// Bound, and not answering yet.
pub(crate) struct Listeners {
    pub(crate) http: Listener,
    pub(crate) grpc: Listener,
    pub(crate) admin: Listener,
    /// In the clear, and over TLS on the next port.
    pub(crate) easyops: Option<[Listener; 2]>,
}

impl Listeners {
    /// Those that the configuration asks for.
    pub(crate) async fn bind(config: &Config) -> Result<Self, StartError> {
        let easyops = match config.easyops {
            Some(address) => Some(pair("easyops", address).await?),
            None => None,
        };
        Ok(Self {
            http: bind("http", config.http).await?,
            grpc: bind("grpc", config.grpc).await?,
            admin: bind("admin", config.admin).await?,
            easyops,
        })
    }

    /// Where go-easyops is served, if it is.
    pub(crate) fn easyops(&self) -> Option<[SocketAddr; 2]> {
        self.easyops.as_ref().map(|both| both.each_ref().map(|one| one.address))
    }

    /// Where all of them are: no instance may be there.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let three = [&self.http, &self.grpc, &self.admin].map(|one| one.address);
        three.into_iter().chain(self.easyops().into_iter().flatten())
    }
}

async fn bind(name: &'static str, address: SocketAddr) -> Result<Listener, StartError> {
    Listener::bind(address).await.map_err(|error| StartError::Bind(name, address, error))
}

/// An address, and the same with the next port.
async fn pair(name: &'static str, address: SocketAddr) -> Result<[Listener; 2], StartError> {
    let first = bind(name, address).await?;
    let next = first.address.port().checked_add(1).ok_or_else(|| {
        let none = io::Error::other("there is no next port, for TLS");
        StartError::Bind(name, first.address, none)
    })?;
    let second = bind(name, (first.address.ip(), next).into()).await?;
    Ok([first, second])
}
