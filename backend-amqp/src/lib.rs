//! RabbitMQ alone as a registry.
//!
//! A stream queue is the log of all writes: whoever folds it through the kernel
//! has the same registry, and a write's outcome is what the fold says when its
//! own entry comes back. Beats are not in the log. They go over a fanout that
//! every process hears, and each keeps the leases itself; who is delisted is
//! decided by the log again.
//!
//! What it is not: a client for RabbitMQ, or anything that needs a plugin.
//! `docs/backend-amqp.md` explains the log in one page.

mod attach;
mod broker;
mod clocks;
mod desk;
mod draft;
mod fault;
mod inform;
mod log;
mod names;
mod options;
mod pending;
mod pump;
mod pursuit;
mod record;
mod registry;
mod replica;
mod speech;

pub use crate::options::AmqpOptions;
pub use crate::registry::AmqpRegistry;
