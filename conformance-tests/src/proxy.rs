//! A TCP connection that breaks on command, for backends behind real sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::link::Link;

/// What a connection does with bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Passes them on.
    #[default]
    Pass,
    /// Keeps connections open and accepts new ones, but passes nothing on: what
    /// a network that drops packets looks like.
    HalfOpen,
}

/// Listens in front of a server. A cut of its [`Link`] ends what is open and
/// refuses what is new. Ends with the runtime it was started on, or when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    target: watch::Sender<SocketAddr>,
    link: Link,
    mode: watch::Sender<Mode>,
    forgotten: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy for the server at `target`, on a free port of this machine.
    pub async fn start(target: SocketAddr, link: Link) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let mode = watch::Sender::new(Mode::Pass);
        let forgotten = Arc::new(AtomicU64::new(0));
        let target = watch::Sender::new(target);
        let pipe = Pipe {
            target: target.clone(),
            link: link.clone(),
            mode: mode.clone(),
            forgotten: Arc::clone(&forgotten),
            born: 0,
        };
        let task = tokio::spawn(pipe.accept(listener));
        Ok(Self { address, target, link, mode, forgotten, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The connection, to be cut.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Passes nothing on any more for connections that are open now, and breaks
    /// none of them: what a firewall does that was started anew. New ones work.
    pub fn forget(&self) {
        self.forgotten.fetch_add(1, Ordering::Relaxed);
    }

    /// Leads to another server from now on, also whoever is connected now.
    pub fn redirect(&self, target: SocketAddr) {
        self.target.send_replace(target);
    }

    /// What it does from now on.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Pipe {
    target: watch::Sender<SocketAddr>,
    link: Link,
    mode: watch::Sender<Mode>,
    forgotten: Arc<AtomicU64>,
    /// How often all were forgotten before this one began.
    born: u64,
}

impl Pipe {
    async fn accept(self, listener: TcpListener) {
        let mut open = JoinSet::new();
        while let Ok((near, _)) = listener.accept().await {
            if self.link.is_up() {
                let born = self.forgotten.load(Ordering::Relaxed);
                open.spawn(Self { born, ..self.clone() }.run(near));
            }
            while open.try_join_next().is_some() {}
        }
    }

    async fn run(self, near: TcpStream) {
        let mut target = self.target.subscribe();
        let at = *target.borrow_and_update();
        let Ok(far) = TcpStream::connect(at).await else {
            return;
        };
        // Nothing may wait for more to come: delays are the backend's own.
        let _ = (near.set_nodelay(true), far.set_nodelay(true));
        let ((near_read, near_write), (far_read, far_write)) =
            (near.into_split(), far.into_split());
        let asked = Arc::new(AtomicBool::new(false));
        tokio::select! {
            () = self.copy(near_read, far_write, &asked, true) => {}
            () = self.copy(far_read, near_write, &asked, false) => {}
            () = self.link.severed() => {}
            _ = target.changed() => {} // The sender is ours.
        }
    }

    /// Passes bytes on, and counts a round trip when a question follows an answer.
    async fn copy(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        asked: &AtomicBool,
        is_question: bool,
    ) {
        let mut mode = self.mode.subscribe();
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            if asked.swap(is_question, Ordering::Relaxed) != is_question && is_question {
                self.link.count();
            }
            // Fails only without a sender, and we hold one.
            let _ = mode.wait_for(|mode| *mode == Mode::Pass).await;
            if self.born < self.forgotten.load(Ordering::Relaxed) {
                continue;
            }
            if to.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    }
}
