//! SQLite as a target: a file, which is all there is of it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use backend_sql::{SqlOptions, SqlRegistry};
use conformance_tests::{Absent, Handles, Link, Linked, Pace, Target, World};
use portolan::{Clock, Info, LeaseTerms, Namespace, Registry, Result, SystemClock, Timestamp};

use super::world::{Direct, random, terms};
use super::{Admin, HISTORY};

#[derive(Debug)]
pub(crate) struct SqliteTarget;

#[async_trait]
impl Target for SqliteTarget {
    fn name(&self) -> &str {
        "sqlite"
    }

    fn info(&self) -> Info {
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let world = SqliteWorld::new(None);
                let handle = world.handle(&Namespace::default()).await;
                handle.expect("a file can be opened").info().clone()
            })
        })
        .join()
        .expect("it opens")
    }

    async fn open(&self) -> Result<Box<dyn World>, Absent> {
        Ok(Box::new(SqliteWorld::new(None)))
    }

    async fn open_alone(&self) -> Result<Box<dyn World>, Absent> {
        Ok(Box::new(SqliteWorld::new(Some(Arc::new(Jumpy::default())))))
    }
}

struct SqliteWorld {
    /// Ends with the world.
    directories: Mutex<Vec<PathBuf>>,
    link: Link,
    judge: Option<Arc<Jumpy>>,
}

impl SqliteWorld {
    fn new(judge: Option<Arc<Jumpy>>) -> Self {
        let world = Self { directories: Mutex::default(), link: Link::new(), judge };
        world.add_directory();
        world
    }

    fn add_directory(&self) {
        let path = std::env::temp_dir().join(format!("portolan-sqlite-{:x}", random()));
        std::fs::create_dir_all(&path).expect("a temporary directory");
        self.directories.lock().unwrap_or_else(PoisonError::into_inner).push(path);
    }

    fn file(&self) -> PathBuf {
        let directories = self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        directories.last().expect("there is one").join("registry.db")
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.file().display())
    }
}

impl Drop for SqliteWorld {
    fn drop(&mut self) {
        for path in self.directories.get_mut().unwrap_or_else(PoisonError::into_inner) {
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

#[async_trait]
impl World for SqliteWorld {
    /// There is no connection that could be cut; the link is in front.
    async fn handle(&self, namespace: &Namespace) -> Result<Arc<dyn Registry>> {
        let mut options =
            SqlOptions::parse(&self.url())?.with_namespace(namespace.clone()).with_history(HISTORY);
        if let Some(judge) = &self.judge {
            options = options.with_judge(Arc::clone(judge) as Arc<dyn Clock>);
        }
        let registry = SqlRegistry::open(options, Arc::new(SystemClock)).await?;
        Ok(Arc::new(Linked::new(registry, self.link.clone(), Arc::new(SystemClock))))
    }

    fn pace(&self) -> Pace {
        Pace::Real(Arc::new(SystemClock))
    }

    fn terms(&self) -> LeaseTerms {
        terms()
    }

    fn link(&self) -> Option<&Link> {
        Some(&self.link)
    }

    fn handles(&self) -> Option<Arc<dyn Handles>> {
        Some(Arc::new(Direct(self.url())))
    }

    /// What a process that is killed leaves behind are its files, as they are at
    /// that moment.
    async fn kill_and_restart(&self) -> Option<()> {
        // Nobody writes any more, and what was under way has ended.
        self.link.cut();
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let before = self.file();
        self.add_directory();
        let after = self.file();
        for suffix in ["", "-wal"] {
            let copied = |path: &PathBuf| PathBuf::from(format!("{}{suffix}", path.display()));
            std::fs::copy(copied(&before), copied(&after)).ok()?;
        }
        self.link.heal();
        Some(())
    }

    async fn plant_junk(&self) -> Option<()> {
        Admin::file(&self.file().display().to_string()).await.ok()?.plant_junk().await.ok()
    }

    fn jump_wall_clock(&self, seconds: i64) -> Option<()> {
        self.judge.as_ref()?.0.fetch_add(seconds, Ordering::Relaxed);
        Some(())
    }
}

/// A machine's clock that jumps: one that slept, say.
#[derive(Debug)]
struct Jumpy(AtomicI64);

impl Default for Jumpy {
    fn default() -> Self {
        Self(AtomicI64::new(1_000_000))
    }
}

#[async_trait]
impl Clock for Jumpy {
    fn now(&self) -> Timestamp {
        let offset = self.0.load(Ordering::Relaxed).try_into().unwrap_or(0);
        SystemClock.now() + std::time::Duration::from_secs(offset)
    }

    async fn sleep_until(&self, deadline: Timestamp) {
        SystemClock.sleep_until(SystemClock.now() + deadline.since(self.now())).await;
    }
}
