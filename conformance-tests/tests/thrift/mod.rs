//! The memory backend behind the registry's own Thrift service: in virtual
//! time, over pipes that can be cut.

mod durable;
mod elsewhere;

use std::sync::Arc;

pub(crate) use self::durable::SqliteThriftTarget;
use self::elsewhere::Elsewhere;
use async_trait::async_trait;
use backend_memory::{MemoryOptions, MemoryStore};
use conformance_tests::{Absent, Handles, Link, Linked, ManualClock, Pace, Target, World};
use portolan::call::{CallError, Handler};
use portolan::thrift::{
    Accept, Dial, RegistryHandler, RemoteOptions, Stream, ThriftHost, ThriftRegistry,
};
use portolan::{Address, Era, ErrorKind, Info, Namespace, OpenAccess, Registry, Result};
use tokio::io::{copy_bidirectional, duplex};
use tokio::sync::mpsc;

/// Connections in memory. A cut ends those that are open and refuses new ones.
#[derive(Clone, Debug)]
pub(crate) struct Pipes {
    accepting: mpsc::UnboundedSender<Box<dyn Stream>>,
    link: Link,
}

/// The listening end of [`Pipes`].
pub(crate) struct Listener(mpsc::UnboundedReceiver<Box<dyn Stream>>);

impl Pipes {
    pub(crate) fn new(link: Link) -> (Self, Listener) {
        let (accepting, accepted) = mpsc::unbounded_channel();
        (Self { accepting, link }, Listener(accepted))
    }
}

const BUFFER: usize = 64 * 1024;

#[async_trait]
impl Dial for Pipes {
    async fn dial(&self, _: &Address) -> Result<Box<dyn Stream>, CallError> {
        let refused = || CallError::new(ErrorKind::Unavailable.into(), "nobody listens");
        if !self.link.is_up() {
            return Err(refused());
        }
        let (ours, mut near) = duplex(BUFFER);
        let (mut far, theirs) = duplex(BUFFER);
        self.accepting.send(Box::new(theirs)).map_err(|_| refused())?;
        let link = self.link.clone();
        // Ends with either end, or with the cut.
        tokio::spawn(async move {
            tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => {}
                () = link.severed() => {}
            }
        });
        Ok(Box::new(ours))
    }
}

#[async_trait]
impl Accept for Listener {
    async fn accept(&mut self) -> Option<Box<dyn Stream>> {
        self.0.recv().await
    }
}

/// Short, so that cases about slow readers are quick.
const HISTORY: usize = 512;
const NAMESPACES: [&str; 2] = ["default", "elsewhere"];

/// The memory backend, asked over Thrift.
#[derive(Debug)]
pub(crate) struct ThriftTarget;

struct ThriftWorld {
    clock: ManualClock,
    link: Link,
    pipes: Pipes,
    store: MemoryStore,
    _host: ThriftHost,
}

fn address() -> Address {
    Address::parse("thrift://registry:1").expect("an address")
}

fn open() -> ThriftWorld {
    let (clock, link) = (ManualClock::new(), Link::new());
    let options = MemoryOptions::new(Era(7)).with_history(HISTORY);
    let store = MemoryStore::new(Arc::new(clock.clone()), options);
    let mut handler = RegistryHandler::new(Arc::new(OpenAccess));
    for name in NAMESPACES {
        let name = Namespace::parse(name).expect("a namespace");
        // Counts what reaches the backend; the cut is in the pipes.
        let time = Arc::new(clock.clone());
        let metered = Linked::new(store.handle(&name), link.meter(), time);
        handler = handler.with_namespace(name, Arc::new(metered));
    }
    let (pipes, listener) = Pipes::new(link.clone());
    let handler: Arc<dyn Handler> = Arc::new(handler);
    let (service, options) = (RegistryHandler::service(), RegistryHandler::host_options());
    let host = ThriftHost::serve_on(service, listener, address(), handler, options);
    ThriftWorld { clock, link, pipes, store, _host: host }
}

#[async_trait]
impl Target for ThriftTarget {
    fn name(&self) -> &str {
        "memory/thrift"
    }

    fn info(&self) -> Info {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(async {
            let handle = open().handle(&Namespace::default()).await;
            handle.expect("it opens").info().clone()
        })
    }

    async fn open(&self) -> Result<Box<dyn World>, Absent> {
        Ok(Box::new(open()))
    }
}

#[async_trait]
impl World for ThriftWorld {
    async fn handle(&self, namespace: &Namespace) -> Result<Arc<dyn Registry>> {
        let options = RemoteOptions::new(address()).with_namespace(namespace.clone());
        let dial = Arc::new(self.pipes.clone());
        ThriftRegistry::open(dial, options, Arc::new(self.clock.clone())).await
    }

    fn pace(&self) -> Pace {
        Pace::Manual(self.clock.clone())
    }

    fn link(&self) -> Option<&Link> {
        Some(&self.link)
    }

    /// Over real sockets, since the pipes end on the case's runtime.
    fn handles(&self) -> Option<Arc<dyn Handles>> {
        let registry = self.store.handle(&Namespace::default());
        Some(Arc::new(Elsewhere::serve(registry, Arc::new(self.clock.clone()))))
    }

    fn jump_wall_clock(&self, seconds: i64) -> Option<()> {
        self.clock.jump_wall_clock(seconds);
        Some(())
    }
}
