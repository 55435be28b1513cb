//! When a snapshot is written, and by whom.

use std::time::Duration;

use futures_util::FutureExt;
use registry_api::Timestamp;

use super::{Pump, Sent};
use crate::draft;
use crate::record::{self, Entry};

/// A snapshot is not begun at the same time by everybody.
const DRAFT_SPREAD_MS: u64 = 500;
/// Whoever began one and is not done by then will not be.
const DRAFT_PATIENCE: Duration = Duration::from_secs(10);

impl Pump<'_> {
    /// Begins a snapshot when it is time, unless somebody is writing one.
    pub(super) fn draft(&mut self, now: Timestamp) {
        let (interval, retention) = (self.pursuit.options.interval, self.pursuit.options.retention);
        let Some(folding) = self.pursuit.log.folding_mut() else { return };
        if folding.since < folding.snapshot + spacing(interval, folding.snapshot, retention) {
            self.draft = None;
            folding.drafts.clear();
            return;
        }
        let Some(due) = self.draft else {
            let spread = Duration::from_millis(fastrand::u64(..DRAFT_SPREAD_MS));
            self.draft = Some(now + spread);
            return;
        };
        if now < due || self.blocked.is_some() {
            return;
        }
        self.draft = Some(now + DRAFT_PATIENCE);
        if folding.drafts.is_empty() {
            self.snapshot();
        } else {
            folding.drafts.clear(); // Whoever began will be done by then, or never.
        }
    }

    /// Writes down what there is, for those who come later.
    fn snapshot(&mut self) {
        let Some(folding) = self.pursuit.log.folding() else { return };
        let after = folding.last.map(|last| last.offset);
        let (catalogue, base) = (folding.state.catalogue().clone(), folding.base);
        let parts = draft::parts(&catalogue, fastrand::u64(..), after, base);
        let body =
            |(part, page)| record::write_part(&self.pursuit.envelope(Entry::Snapshot(part)), &page);
        let parts: Vec<_> = parts.into_iter().map(body).collect();
        let bytes: usize = parts.iter().map(Vec::len).sum();
        tracing::debug!(bytes, parts = parts.len(), "a snapshot is written");
        let retention = self.pursuit.options.retention;
        if 3 * bytes as u64 > retention {
            tracing::warn!(bytes, retention, "the log keeps too little; delete it with more");
        }
        let appends: Vec<_> =
            parts.into_iter().map(|part| self.broker.append(record::FORMAT, part)).collect();
        let writing = async move {
            for append in appends {
                append.await?;
            }
            Ok(Sent::Draft)
        };
        self.sending.push(writing.boxed());
    }
}

/// How many bytes of log lie between two snapshots: enough that most of the log is
/// not snapshots, and so few that the broker always keeps two of them.
fn spacing(interval: u64, snapshot: u64, retention: u64) -> u64 {
    let kept = (retention / 3).saturating_sub(snapshot);
    interval.max(2 * snapshot).min(kept.max(interval / 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_snapshots_with_what_lies_between_fit_into_what_is_kept() {
        let mib = |n: u64| n << 20;
        assert_eq!(spacing(mib(4), mib(1), mib(256)), mib(4));
        assert_eq!(spacing(mib(4), mib(10), mib(256)), mib(20));
        for snapshot in 1..80 {
            let spacing = spacing(mib(4), mib(snapshot), mib(256));
            assert!(3 * (spacing + mib(snapshot)) <= mib(256), "{snapshot}");
        }
    }
}
