//! The contract of Portolan: one [`Registry`] trait, the model it speaks, and
//! the [`kernel`] that decides what the words mean.
//!
//! The one invariant: this crate does no IO, spawns nothing and reads no clock.
//! Time is passed in as a [`Timestamp`], so every decision here can be replayed.
//!
//! What it is not: a client. Services and gateways use the `portolan` facade;
//! this crate is for authors of backends, transports and decorators.
//! [`kernel`] is exempt from semantic versioning until 1.0.

pub mod access;
mod address;
mod address_policy;
pub mod call;
mod capability;
mod error;
mod guard;
pub mod hprose;
mod identity;
mod instance;
pub mod kernel;
mod lease;
mod limits;
mod mended;
mod metadata;
mod published;
mod query;
mod registry;
mod revision;
mod service;
mod time;
pub mod url_text;
mod watch;

pub use crate::address::{Address, Target, Transport};
pub use crate::address_policy::{AddressPolicy, AddressRefusal};
pub use crate::capability::{Capabilities, Capability, Info};
pub use crate::error::{Applied, Error, ErrorKind, Result};
pub use crate::guard::Guard;
pub use crate::identity::{InstanceId, Namespace, Owner, ServiceName};
pub use crate::instance::{
    Cause, Health, Instance, InstanceRef, InstanceSpec, Offer, Phase, Presence, Weight,
};
pub use crate::lease::{Beat, BeatOutcome, Lease, LeaseTerms, LeaseToken};
pub use crate::limits::Limits;
pub use crate::mended::{Opens, mended};
pub use crate::metadata::Metadata;
pub use crate::published::Published;
pub use crate::query::{Filter, Query, Scope, View};
pub use crate::registry::{Registry, RegistryExt};
pub use crate::revision::{Epoch, Era, Revision};
pub use crate::service::{
    Endpoint, KeyChange, KeyHash, Registration, RegistrationMode, Route, ServiceRecord,
    ServiceSpec, Sla,
};
pub use crate::time::{Clock, Timestamp};
pub use crate::watch::{Event, WatchFrom, WatchItem, WatchStream};
