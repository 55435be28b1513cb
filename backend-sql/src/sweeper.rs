//! Tells watchers what time has done to leases.
//!
//! Every process may do it, at the same time; a transaction that finds nothing
//! to tell does nothing. No read waits for it or depends on it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use registry_api::{InstanceId, Result};

use crate::following::Following;
use crate::statements::LOOK;
use crate::store::Store;
use crate::writer::{MOST, Work, Writer};

/// The longest between two looks while somebody watches here: no lease is
/// granted for less.
pub(crate) const MIN_TTL: Duration = Duration::from_secs(1);
/// The longest otherwise. Leases that are over are only rows then.
const UNWATCHED: Duration = Duration::from_secs(10);
/// Nobody has to look at the same moment as all others.
const SPREAD_MS: u64 = 20;

/// Looks, tells, and rests, until the handle is dropped.
pub(crate) async fn sweep(store: Arc<Store>, writer: Writer, following: Weak<Following>) {
    let mut last = Vec::new();
    loop {
        let rest = match look(&store).await {
            Ok(look) => {
                // What is still to be told after it was told cannot be understood.
                let again = !look.late.is_empty() && look.late == last;
                if !again {
                    tell(&writer, &look.late).await;
                }
                let soon = !look.late.is_empty() && !again;
                last = look.late;
                if soon { Duration::ZERO } else { look.next.unwrap_or(UNWATCHED) }
            }
            Err(error) => {
                tracing::debug!(%error, "the leases cannot be looked at");
                MIN_TTL
            }
        };
        let Some(watched) = following.upgrade().map(|following| following.is_needed()) else {
            return;
        };
        let longest = if watched { MIN_TTL } else { UNWATCHED };
        let spread = Duration::from_millis(fastrand::u64(1..=SPREAD_MS));
        tokio::select! {
            () = tokio::time::sleep(rest.min(longest) + spread) => {}
            () = store.revived.notified() => last.clear(),
        }
    }
}

/// What a look found.
struct Look {
    late: Vec<InstanceId>,
    next: Option<Duration>,
}

async fn look(store: &Store) -> Result<Look> {
    let asked = store.clock.now();
    let rows = store.session().await?.rows(LOOK, &[store.ns.into()]).await?;
    let mut look = Look { late: Vec::new(), next: None };
    for row in &rows {
        if row.int(0) == Some(1) {
            look.late.extend(row.text(1).and_then(|id| InstanceId::parse(id).ok()));
            continue;
        }
        let (Some(now), Some(term), Some(next)) = (row.int(2), row.int(3), row.int(4)) else {
            continue;
        };
        if !store.believes(asked, now, term).await? {
            return Ok(Look { late: Vec::new(), next: Some(MIN_TTL) });
        }
        let micros = u64::try_from(next.saturating_sub(now)).unwrap_or(0);
        look.next = (next >= 0).then(|| Duration::from_micros(micros));
    }
    Ok(look)
}

async fn tell(writer: &Writer, late: &[InstanceId]) {
    let mut late = late.to_vec();
    // No service is gone before the others: an error stops in the middle of all.
    fastrand::shuffle(&mut late);
    for part in late.chunks(MOST) {
        if let Err(error) = writer.write(Work::Sweep(part.to_vec())).await {
            tracing::debug!(%error, "the leases cannot be told of");
            return;
        }
    }
}
