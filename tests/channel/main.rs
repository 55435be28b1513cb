//! Calling a service through all policies, in virtual time: the clock of a
//! paused runtime jumps to whatever is waited for.
#![allow(missing_docs, clippy::unwrap_used)]

mod balance;
mod failures;
mod overload;
mod servers;
