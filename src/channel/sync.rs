//! The primitives that the lock-free parts are made of. `tests/shuttle.rs` puts
//! others in their place, to try every order in which threads can meet.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
pub(crate) use std::sync::{Arc, Mutex, PoisonError};
