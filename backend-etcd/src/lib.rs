//! etcd as a registry.
//!
//! Leases are etcd's own: one ends with the ttd and keeps the records, another
//! with the ttl and says who is online. Every write is one transaction that
//! compares the records it is about, and lets the kernel decide. One watch per
//! handle feeds a copy that readers and watchers share; a read asks etcd how far
//! that copy has to be.
//!
//! What it is not: a client for etcd. `docs/backend-etcd.md` describes its keys.

mod beat;
mod declare;
mod dialect;
mod fault;
mod following;
mod hints;
mod keeper;
mod keys;
mod lane;
mod leases;
mod link;
mod load;
mod news;
mod options;
mod plan;
mod presence;
mod pursuit;
mod read;
mod record;
mod registry;
mod store;
mod table;
mod tls;
mod tries;

pub use crate::options::EtcdOptions;
pub use crate::registry::EtcdRegistry;
