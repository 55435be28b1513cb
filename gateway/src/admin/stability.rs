//! How far what a gateway calls by can be trusted.

use std::time::Duration;

use portolan::Client;

/// All services that are followed, in three numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stability {
    /// How many there are.
    pub(crate) followed: usize,
    /// How long ago the registry confirmed the one it confirmed least lately.
    pub(crate) age: Duration,
    /// Instances that are called although the registry says they are gone.
    pub(crate) held: usize,
}

impl Stability {
    pub(crate) fn of(client: &Client) -> Self {
        let views = client.following();
        Self {
            followed: views.len(),
            age: views.iter().map(|view| view.age()).max().unwrap_or_default(),
            held: views.iter().map(|view| view.current().held.len()).sum(),
        }
    }
}
