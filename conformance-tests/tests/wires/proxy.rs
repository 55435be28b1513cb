//! A TCP proxy that can cut what goes through it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use portolan::Offer;
use portolan::call::Host;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    cuts: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// In front of `target`, on a free port.
    pub(crate) async fn start(target: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let cuts = watch::Sender::new(0);
        let task = tokio::spawn(run(listener, target, cuts.clone()));
        Ok(Self { address, cuts, task })
    }

    /// Ends every connection that is open.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

/// A host behind a proxy.
#[derive(Debug)]
pub(crate) struct Proxied {
    pub(crate) host: Box<dyn Host>,
    pub(crate) offer: Offer,
    pub(crate) proxies: Arc<Mutex<Vec<Proxy>>>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proxy({})", self.address)
    }
}

#[async_trait]
impl Host for Proxied {
    fn offers(&self) -> Vec<Offer> {
        vec![self.offer.clone()]
    }

    fn is_guarded(&self) -> bool {
        self.host.is_guarded()
    }

    async fn close(&self) {
        self.host.close().await;
        self.proxies.lock().await.clear();
    }
}

async fn run(listener: TcpListener, target: SocketAddr, cuts: watch::Sender<u64>) {
    while let Ok((mut near, _)) = listener.accept().await {
        let mut cut = cuts.subscribe();
        // Ends with either end, or with the next cut.
        tokio::spawn(async move {
            // Nobody listens behind it: neither does it.
            let Ok(mut far) = TcpStream::connect(target).await else { return };
            for stream in [&near, &far] {
                let _ = stream.set_nodelay(true);
            }
            tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => {}
                _ = cut.changed() => {}
            }
        });
    }
}
