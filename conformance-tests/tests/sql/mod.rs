//! SQLite, PostgreSQL and MariaDB as targets: in real time, on private servers,
//! behind connections that can be cut.

// Each test program uses its part.
#![allow(dead_code, unused_imports)]

mod admin;
mod sqlite;
mod world;

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use backend_sql::{SqlOptions, SqlRegistry};
use conformance_tests::servers::{MovedClock, Recipe, Server, mariadb, postgres};
use conformance_tests::{Absent, Link, Target, World};
use portolan::{Capabilities, Capability, Info, Limits, Namespace, Registry, Result, SystemClock};

pub(crate) use self::admin::Admin;
pub(crate) use self::sqlite::SqliteTarget;
use self::world::ServerWorld;
pub(crate) use self::world::random;

/// Short, so that cases about slow readers are quick.
pub(crate) const HISTORY: usize = 512;

/// A database server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    MySql,
    Postgres,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::MySql => "mysql",
            Self::Postgres => "postgres",
        }
    }

    /// A private server.
    pub(crate) fn start(self, recipe: &Recipe) -> Result<Server, Absent> {
        match self {
            Self::MySql => mariadb(recipe),
            Self::Postgres => postgres(recipe),
        }
    }

    /// The URL of a server that is there already.
    fn existing(self) -> Option<String> {
        let variable = match self {
            Self::MySql => "PORTOLAN_MYSQL_URL",
            Self::Postgres => "PORTOLAN_POSTGRES_URL",
        };
        std::env::var(variable).ok()
    }

    /// The URL of a database of a private server.
    pub(crate) fn url(self, server: &Server) -> String {
        match self {
            Self::MySql => format!("mysql://root@{}/mysql", server.address()),
            Self::Postgres => format!("postgres://postgres@{}/postgres", server.address()),
        }
    }
}

/// One server for all cases that do it no harm.
#[derive(Debug)]
pub(crate) struct ServerTarget {
    kind: Kind,
    shared: OnceLock<Result<Arc<Server>, Absent>>,
    info: OnceLock<Info>,
}

impl ServerTarget {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, shared: OnceLock::new(), info: OnceLock::new() }
    }

    /// The server, unless one is there already.
    fn shared(&self) -> Result<Option<Arc<Server>>, Absent> {
        if self.kind.existing().is_some() {
            return Ok(None);
        }
        let start = || self.kind.start(&Recipe::default()).map(Arc::new);
        self.shared.get_or_init(start).clone().map(Some)
    }

    fn describe(&self) -> Result<Info, Absent> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Absent(error.to_string()))?;
        runtime.block_on(async {
            let world = self.open().await?;
            let handle = world.handle(&Namespace::default()).await;
            handle.map(|handle| handle.info().clone()).map_err(|error| Absent(error.to_string()))
        })
    }
}

#[async_trait]
impl Target for ServerTarget {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn info(&self) -> Info {
        // Where it is absent every case says so, whatever it needs.
        let all = || {
            let all = Capability::ALL.into_iter().fold(Capabilities::none(), Capabilities::with);
            Info::new(self.kind.name(), all, Limits::new())
        };
        self.info
            .get_or_init(|| {
                std::thread::scope(|scope| {
                    let described = scope.spawn(|| self.describe().unwrap_or_else(|_| all()));
                    described.join().unwrap_or_else(|_| all())
                })
            })
            .clone()
    }

    async fn open(&self) -> Result<Box<dyn World>, Absent> {
        let server = self.shared()?;
        let existing = self.kind.existing();
        let url = existing.or_else(|| server.as_ref().map(|server| self.kind.url(server)));
        let url = url.unwrap_or_default();
        Ok(Box::new(ServerWorld::open(self.kind, &url, server, None).await?))
    }

    async fn open_alone(&self) -> Result<Box<dyn World>, Absent> {
        let clock = MovedClock::new()?;
        let recipe = Recipe { clock: Some(clock.file().to_owned()), ..Recipe::default() };
        let server = Arc::new(self.kind.start(&recipe)?);
        let url = self.kind.url(&server);
        Ok(Box::new(ServerWorld::open(self.kind, &url, Some(server), Some(clock)).await?))
    }
}

/// Opens a handle as a process does that means it.
pub(crate) async fn open(url: &str, namespace: &Namespace) -> Result<Arc<dyn Registry>> {
    let options = SqlOptions::parse(url)?.with_namespace(namespace.clone()).with_history(HISTORY);
    SqlRegistry::open(options, Arc::new(SystemClock)).await
}

/// A link whose meter counts at the trait, for what no socket shows.
pub(crate) fn metered(registry: Arc<dyn Registry>, link: &Link) -> Arc<dyn Registry> {
    let meter = conformance_tests::Linked::new(registry, link.meter(), Arc::new(SystemClock));
    Arc::new(meter)
}
