//! Hailo H2 as a wire of Portolan: requests, replies and typed errors through
//! RabbitMQ, as H2's own services send them.
//!
//! [`AmqpHost`] is an instance, [`AmqpCaller`] calls one by the queue its address
//! names. [`Discovery`] is whom H2's own services tell that they are there.
//! `docs/wire-amqp.md` says what of H2 is spoken so far.
//!
//! What it is not: the backend that keeps a registry on RabbitMQ, or H2's own
//! exchange type, which stock brokers do not have.

mod api;
mod bus;
mod caller;
mod content;
mod discovery;
mod error;
mod facts;
mod host;
pub mod json;
mod message;
mod names;
mod once;
mod one_instance;
mod reach;
mod sending;
mod service;

pub use crate::api::{API_CONTENT_TYPE, ApiRequest, ApiResponse, Pair};
pub use crate::bus::Broker;
pub use crate::caller::{AmqpCaller, Answering};
pub use crate::content::Content;
pub use crate::discovery::{Discovery, DiscoveryOptions};
pub use crate::error::{ErrorType, PlatformError, application};
pub use crate::facts::{header, passed_on};
pub use crate::host::{AmqpHost, HostOptions};
pub use crate::names::Prefix;
pub use crate::one_instance::OneInstance;
pub use crate::sending::{CallerOptions, Sending};
pub use crate::service::{Asked, Endpoint, Login, Rule, Running, Service, User};

/// The largest message that is sent or read, in bytes.
pub const MAX_MESSAGE: usize = 1 << 20;

/// The largest message of a registry that is served at a broker, in bytes: RabbitMQ
/// takes none over 16 MiB from 4.0 on.
pub const REGISTRY_MESSAGE: usize = 15 << 20;

/// In the metadata of an offer: whether the instance understands that a call is
/// given up.
const CANCELS: &str = "amqp.cancel";
/// The same: whether it runs a request once that comes again under its message id.
const ONCE: &str = "amqp.once";
