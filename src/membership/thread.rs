//! The thread that connects and beats apart from the application.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use registry_api::kernel::Backoff;
use registry_api::{Clock, Registry};
use tokio::runtime::Builder;
use tokio::sync::mpsc;

use super::driver::Order;
use super::pulse::Pulse;
use super::work::Work;
use crate::opener::Opener;

/// Starts it. It ends when the last way to it is gone and everybody has left.
pub(super) fn start(
    opener: Opener,
    clock: Arc<dyn Clock>,
    pulse: Arc<Pulse>,
    inbox: mpsc::UnboundedReceiver<Order>,
) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let work = async move {
        let registry = open(&opener, &*clock).await;
        Work::new(registry, clock, Some(pulse)).run(inbox).await;
    };
    let thread = std::thread::Builder::new().name("portolan-beats".to_owned());
    thread.spawn(move || runtime.block_on(work))?;
    Ok(())
}

/// The first handle could be opened, so this one can be: sooner or later.
async fn open(opener: &Opener, clock: &dyn Clock) -> Arc<dyn Registry> {
    let mut backoff =
        Backoff::new(Duration::from_millis(100), Duration::from_secs(5), fastrand::u64(..));
    loop {
        match opener.open().await {
            Ok(registry) => return registry,
            Err(error) => {
                tracing::warn!(%error, "the handle for heartbeats cannot be opened yet");
                clock.sleep_until(clock.now() + backoff.next_delay()).await;
            }
        }
    }
}
