//! The packages of go-easyops' protocols.

pub mod auth;
pub mod common;
pub mod goeasyops;
pub mod registry;
