//! A followed service as other libraries take it.

mod changes;
#[cfg(feature = "tonic")]
pub mod tonic;
#[cfg(feature = "tower")]
pub mod tower;

pub use self::changes::{Change, Changes, InstanceKey};
