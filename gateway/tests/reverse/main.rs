//! Services that connect to the gateway in reverse, as their guide says, and
//! those who call them.
#![allow(missing_docs, clippy::unwrap_used)]

mod calls;
mod connect;
mod events;
mod front;
mod gateways;
mod hosted;
mod hostile;
mod http;
mod peer;
#[path = "../support/mod.rs"]
mod support;
mod tls;
