//! The gateway: the HTTP control plane of the first guide, calls from HTTP JSON
//! to Thrift, an admin listener, and the `portolan` command line.
//!
//! The gateway decides nothing about services: the registry does. It translates.

mod admin;
mod bus;
pub mod cli;
pub mod config;
mod control;
mod data;
mod dispatch;
mod easyops;
mod etcd_v2;
mod forward;
mod front;
mod gateway;
mod gateways;
mod grpc;
mod http_client;
mod json;
mod listen;
mod listeners;
mod metrics;
mod problem;
mod reception;
mod rpc;
mod secret_file;
mod shape;
mod thin;
mod tls;
mod vouch;

pub use crate::config::Config;
pub use crate::gateway::{Gateway, StartError};
