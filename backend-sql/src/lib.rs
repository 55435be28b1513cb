//! SQLite, PostgreSQL, MySQL and MariaDB as a registry.
//!
//! One set of semantics, which is the kernel's: a transaction reads what it is
//! about, lets the kernel decide, and writes down what that did. Revisions come
//! from a row that writers lock, so no watcher can miss one. The database's own
//! clock judges leases, in the statement that asks. Dialects know words only.
//!
//! What it is not: a mapping for tables of somebody else. Its tables are its
//! own; `docs/backend-sql.md` describes them.

// What only some databases need is there for all of them.
#![cfg_attr(
    not(all(feature = "sqlite", feature = "postgres", feature = "mysql")),
    allow(dead_code)
)]

mod beats;
#[cfg(feature = "sqlite")]
mod boot_clock;
mod clock;
mod connection;
mod dialect;
mod fault;
mod following;
mod lane;
mod news;
mod options;
mod read;
mod record;
mod registry;
mod retry;
mod schema;
mod session;
mod statement;
mod statements;
mod store;
mod sweeper;
mod transaction;
mod writer;

pub use crate::options::SqlOptions;
pub use crate::registry::SqlRegistry;
