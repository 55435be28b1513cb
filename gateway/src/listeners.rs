//! All sockets of a gateway, bound before anything is served.

use std::io;
use std::net::SocketAddr;

use crate::config::Config;
use crate::gateway::StartError;
use crate::listen::Listener;

/// How often the system chooses the first port of a pair, at most: an outgoing
/// connection may have the next one.
const CHOICES: usize = 16;

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

/// An address, and the same with the next port; where the system chooses the first, it
/// chooses again as long as somebody has the next one.
async fn pair(name: &'static str, address: SocketAddr) -> Result<[Listener; 2], StartError> {
    let choices = if address.port() == 0 { CHOICES } else { 1 };
    // Kept until the end, so that none of them is chosen again.
    let mut alone = Vec::new();
    loop {
        let first = bind(name, address).await?;
        match next_to(name, first.address).await {
            Ok(second) => return Ok([first, second]),
            Err(error) if alone.len() + 1 == choices => return Err(error),
            Err(_) => alone.push(first),
        }
    }
}

async fn next_to(name: &'static str, first: SocketAddr) -> Result<Listener, StartError> {
    let next = first.port().checked_add(1).ok_or_else(|| {
        let none = io::Error::other("there is no next port, for TLS");
        StartError::Bind(name, first, none)
    })?;
    bind(name, (first.ip(), next).into()).await
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    /// So many ports that are next to one the system would choose.
    const TAKEN: usize = 400;

    #[tokio::test]
    async fn a_pair_is_found_beside_ports_that_are_taken() {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let next = || {
            let chosen = TcpListener::bind(anywhere).unwrap().local_addr().unwrap();
            TcpListener::bind((chosen.ip(), chosen.port().saturating_add(1))).ok()
        };
        let taken: Vec<_> = (0..TAKEN).filter_map(|_| next()).collect();
        for _ in 0..TAKEN {
            let [first, second] = pair("easyops", anywhere).await.unwrap();
            assert_eq!(first.address.port() + 1, second.address.port());
        }
        drop(taken);
    }

    #[tokio::test]
    async fn a_port_that_was_named_is_not_exchanged_for_another() {
        let [first, _second] = pair("easyops", (Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let asked = first.address;
        drop(first);
        assert!(pair("easyops", asked).await.is_err(), "the next port is taken");
    }
}
