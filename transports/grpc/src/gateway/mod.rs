//! The gateway's side of the stream: who is connected, calls to them, and what
//! they say.

mod connection;
mod events;
mod pending;
mod reception;
mod service;
mod stream;

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use registry_api::call::{Call, CallError, Reply};
use registry_api::{Address, ErrorKind, Result, ServiceName};
use tokio::sync::watch;

use self::connection::{Closing, Connection};
use self::events::Events;
pub use self::reception::{Presence, Reception};
pub use self::service::ReverseService;
use crate::reverse::wire::EventMessage;
use crate::reverse::wire::connection_message::MessageType;

/// How a gateway treats its connections.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SwitchboardOptions {
    /// A connection without a heartbeat for this long is closed.
    pub heartbeat_timeout: Duration,
    /// The most calls over one connection at a time, each way; more are
    /// `Overloaded`.
    pub max_inflight: usize,
    /// A service that reads nothing for this long is let go.
    pub stuck: Duration,
    /// How long calls in flight may take when either end is going.
    pub drain: Duration,
    /// The most connections.
    pub max_connections: usize,
}

impl Default for SwitchboardOptions {
    /// 120 s as in the original, 1,000 calls, 10 s stuck, 10 s to drain, 10,000 connections.
    fn default() -> Self {
        Self {
            heartbeat_timeout: Duration::from_secs(120),
            max_inflight: 1000,
            stuck: Duration::from_secs(10),
            drain: Duration::from_secs(10),
            max_connections: 10_000,
        }
    }
}

impl SwitchboardOptions {
    /// Sets how long a connection may be without a heartbeat.
    #[must_use]
    pub fn with_heartbeat_timeout(mut self, timeout: Duration) -> Self {
        self.heartbeat_timeout = timeout;
        self
    }

    /// Sets the most calls over one connection at a time.
    #[must_use]
    pub fn with_max_inflight(mut self, calls: usize) -> Self {
        self.max_inflight = calls;
        self
    }

    /// Sets how long a service may read nothing.
    #[must_use]
    pub fn with_stuck(mut self, stuck: Duration) -> Self {
        self.stuck = stuck;
        self
    }
}

/// The connections of one gateway. Cloning shares them.
#[derive(Clone)]
pub struct Switchboard(Arc<Board>);

struct Board {
    /// The gateway's instance id: the first part of its addresses.
    gateway: String,
    options: SwitchboardOptions,
    live: RwLock<Live>,
    next: AtomicU64,
    draining: watch::Sender<bool>,
}

/// Who is connected.
#[derive(Default)]
struct Live {
    by_serial: HashMap<u64, Arc<Connection>>,
    by_id: HashMap<String, u64>,
    events: Events,
}

impl Switchboard {
    /// The connections of the gateway that has this instance id; none yet.
    pub fn new(gateway: &str, options: SwitchboardOptions) -> Self {
        Self(Arc::new(Board {
            gateway: gateway.to_owned(),
            options,
            live: RwLock::default(),
            next: AtomicU64::new(1),
            draining: watch::Sender::new(false),
        }))
    }

    /// The gateway whose connections these are.
    pub fn gateway(&self) -> &str {
        &self.0.gateway
    }

    /// How many are connected.
    pub fn len(&self) -> usize {
        self.0.read().by_serial.len()
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls over a connection, named as its address names it.
    ///
    /// Errors: `Unavailable`, certainly not run, where it is not there any more.
    pub async fn call(&self, connection: &str, call: Call) -> Result<Reply, CallError> {
        let serial = connection.parse::<u64>().ok();
        let found = serial.and_then(|serial| self.0.read().by_serial.get(&serial).cloned());
        let Some(found) = found else {
            let reason = "the service is not connected to this gateway any more";
            return Err(CallError::new(ErrorKind::Unavailable.into(), reason).not_run());
        };
        found.call(call).await
    }

    /// Tells every service that the gateway is going, lets calls in flight finish,
    /// and takes no new connections. Returns when all are closed.
    pub async fn drain(&self) {
        self.0.draining.send_replace(true);
        let all: Vec<_> = self.0.read().by_serial.values().cloned().collect();
        for connection in &all {
            connection.close(Closing::Draining);
        }
        for connection in all {
            connection.closed().await;
        }
    }
}

impl Board {
    fn read(&self) -> RwLockReadGuard<'_, Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Live> {
        self.live.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_serial(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Where a connection can be called.
    fn address(&self, serial: u64) -> Result<Address> {
        Address::parse(&format!("reverse:{}/{serial}", self.gateway))
    }

    /// Takes a connection in. One of the same id makes room for it: the newest
    /// wins. False where there are too many.
    fn enter(&self, connection: &Arc<Connection>) -> bool {
        let older = {
            let mut live = self.write();
            if live.by_serial.len() >= self.options.max_connections {
                return false;
            }
            live.by_serial.insert(connection.serial, Arc::clone(connection));
            let older = live.by_id.insert(connection.id.clone(), connection.serial);
            older.and_then(|serial| live.by_serial.get(&serial).cloned())
        };
        if let Some(older) = older {
            older.close(Closing::Now("another connection has taken this connection_id".to_owned()));
        }
        true
    }

    /// Lets a connection go, and not a newer one of its id.
    fn leave(&self, connection: &Connection) {
        let mut live = self.write();
        live.by_serial.remove(&connection.serial);
        if live.by_id.get(&connection.id) == Some(&connection.serial) {
            live.by_id.remove(&connection.id);
        }
        live.events.forget(connection.serial);
    }

    /// A heartbeat that came over `connection` and names `id`: a connection, or, as
    /// real clients do before they know theirs, a service. It counts for others
    /// only where they showed the same key.
    fn beat(&self, connection: &Arc<Connection>, id: &str) -> bool {
        let serves = |one: &Connection| one.services.iter().any(|name| name.as_str() == id);
        if id == connection.id || serves(connection) {
            connection.beaten.notify_one();
            return true;
        }
        let live = self.read();
        let named = live.by_id.get(id).and_then(|serial| live.by_serial.get(serial));
        let meant = named.or_else(|| live.by_serial.values().find(|one| serves(one)));
        match meant {
            Some(other) if other.credential == connection.credential => {
                other.beaten.notify_one();
                true
            }
            _ => false,
        }
    }

    /// Hands an event to everybody who wants to hear of its type; returns to how
    /// many.
    fn publish(&self, event: &EventMessage) -> usize {
        let live = self.read();
        let subscribers = live.events.subscribers(&event.event_type).iter();
        let connections = subscribers.filter_map(|serial| live.by_serial.get(serial));
        let told = connections
            .filter(|to| to.outbox.push_first(MessageType::Event(event.clone())).is_ok());
        told.count()
    }
}

/// A connection that is being served; ends with the stream, however it ends.
struct Entered {
    board: Arc<Board>,
    connection: Arc<Connection>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.board.leave(&self.connection);
        self.connection.pending.close();
        self.connection.left();
    }
}

/// Names, each once.
fn service_names(services: &[String]) -> Result<Vec<ServiceName>> {
    let mut names = Vec::with_capacity(services.len());
    for service in services {
        let name = ServiceName::parse(service)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

impl Debug for Switchboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Switchboard")
            .field("gateway", &self.0.gateway)
            .field("connections", &self.len())
            .finish_non_exhaustive()
    }
}
