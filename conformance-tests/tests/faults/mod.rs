//! The list, and the databases it is gone through on.

pub(crate) mod child;
mod contention;
mod kernel;
mod lacks;
mod rights;
mod rows;
mod schema;

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use backend_sql::{SqlOptions, SqlRegistry};
use conformance_tests::Absent;
pub(crate) use conformance_tests::own::{Outcome, check};
use conformance_tests::servers::{Recipe, Server};
use portolan::{Namespace, Registry, Result, SystemClock};

use crate::sql::{Admin, Kind};

type Running<'a> = Pin<Box<dyn Future<Output = Result<(), Outcome>> + Send + 'a>>;
type Case = for<'a> fn(&'a Place) -> Running<'a>;

macro_rules! list {
    ($($module:ident { $($name:ident)* })*) => {
        /// Every case.
        pub(crate) fn cases() -> Vec<(&'static str, Case)> {
            vec![$($((stringify!($name), (|place| Box::pin($module::$name(place))) as Case)),*),*]
        }
    };
}

list! {
    contention {
        a_slow_transaction_with_a_lower_number_is_missed_by_nobody
        beats_in_every_order_do_not_fail
        racing_epochs_grow_and_the_last_one_lives
        connections_that_are_ended_are_opened_again
    }
    kernel {
        random_commands_have_the_results_of_the_kernel
    }
    lacks {
        a_full_disk_is_an_error_and_loses_nothing
        a_read_only_database_is_an_error_and_goes_on_reading
        a_crowded_server_is_an_error_and_recovers
    }
    rights {
        who_may_not_define_runs_on_what_is_there
        who_may_nothing_is_refused_without_a_word_of_secrets
        schemas_are_registries_apart
    }
    rows {
        rows_with_nulls_are_passed_over
        rows_of_a_newer_program_are_left_alone
        a_restored_backup_is_another_era
    }
    schema {
        many_migrators_at_once_make_one_schema
        a_newer_schema_is_left_alone
        writers_that_are_killed_lose_nothing
    }
}

/// A kind of database, and one that all cases share.
pub(crate) struct Place {
    /// `None` is SQLite.
    pub(crate) kind: Option<Kind>,
    shared: OnceLock<Result<Server, Absent>>,
    directory: PathBuf,
}

impl Place {
    pub(crate) fn all() -> [Arc<Self>; 3] {
        [None, Some(Kind::Postgres), Some(Kind::MySql)].map(|kind| {
            let number = crate::sql::random();
            let directory = std::env::temp_dir().join(format!("portolan-faults-{number:x}"));
            std::fs::create_dir_all(&directory).expect("a temporary directory");
            Arc::new(Self { kind, shared: OnceLock::new(), directory })
        })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.kind.map_or("sqlite", Kind::name)
    }

    /// A new database.
    pub(crate) async fn database(&self) -> Result<Database, Outcome> {
        let Some(kind) = self.kind else {
            return Ok(Database::file(&self.directory));
        };
        let start = || kind.start(&Recipe::default());
        let server = self.shared.get_or_init(start).as_ref().map_err(Clone::clone)?;
        Ok(Database::on(kind, server).await?)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A database of one case.
pub(crate) struct Database {
    pub(crate) kind: Option<Kind>,
    pub(crate) url: String,
    /// Of a server: where its owner connects to.
    server: String,
}

impl Database {
    pub(crate) fn file(directory: &Path) -> Self {
        let file = directory.join(format!("{:x}.db", crate::sql::random()));
        let url = format!("sqlite:{}", file.display());
        Self { kind: None, url, server: String::new() }
    }

    pub(crate) async fn on(kind: Kind, server: &Server) -> Result<Self, Absent> {
        let url = kind.url(server);
        let name = Admin::connect(kind, &url).await?.create().await?;
        let (front, _) = url.rsplit_once('/').expect("the URL names a database");
        Ok(Self { kind: Some(kind), url: format!("{front}/{name}"), server: url })
    }

    pub(crate) async fn open(&self) -> Result<Arc<dyn Registry>> {
        self.open_as(&self.url).await
    }

    pub(crate) async fn open_as(&self, url: &str) -> Result<Arc<dyn Registry>> {
        let options = SqlOptions::parse(url)?.with_namespace(Namespace::default());
        SqlRegistry::open(options, Arc::new(SystemClock)).await
    }

    /// The owner's connection to this database.
    pub(crate) async fn admin(&self) -> Result<Admin, Absent> {
        match self.kind {
            Some(kind) => Admin::connect(kind, &self.url).await,
            None => Admin::file(self.url.strip_prefix("sqlite:").unwrap_or_default()).await,
        }
    }

    /// The owner's connection to the server.
    pub(crate) async fn owner(&self) -> Result<Admin, Absent> {
        match self.kind {
            Some(kind) => Admin::connect(kind, &self.server).await,
            None => self.admin().await,
        }
    }

    /// The name of the database on its server.
    pub(crate) fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap_or_default()
    }
}
