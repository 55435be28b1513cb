//! How long a holder may be silent, and how it says that it is alive.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::identity::InstanceId;
use crate::revision::{Epoch, Revision};

/// The two timeouts of a lease, both counted from the last acknowledged beat.
///
/// After `ttl` (time to live) the instance is offline: listed, not picked, one
/// beat revives it. After `ttd` (time to delisting) it is gone. Kept in whole
/// milliseconds. Where both are equal there is one timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LeaseTerms {
    ttl_ms: u32,
    ttd_ms: u32,
}

impl LeaseTerms {
    /// The longest lease: thirty days.
    pub const MAX: Duration = Duration::from_secs(30 * 24 * 3600);

    /// Terms with `ttl <= ttd`; both from 1 ms to [`MAX`](Self::MAX), parts of
    /// a millisecond are rounded up.
    pub fn new(ttl: Duration, ttd: Duration) -> Result<Self> {
        let ttl_ms = whole_ms("ttl", ttl)?;
        let ttd_ms = whole_ms("ttd", ttd)?;
        if ttd_ms < ttl_ms {
            return Err(Error::invalid("ttd", "must not be shorter than ttl"));
        }
        Ok(Self { ttl_ms, ttd_ms })
    }

    /// Silence after which the instance is offline.
    pub const fn ttl(self) -> Duration {
        Duration::from_millis(self.ttl_ms as u64)
    }

    /// Silence after which the instance is delisted.
    pub const fn ttd(self) -> Duration {
        Duration::from_millis(self.ttd_ms as u64)
    }

    /// The ttl in nanoseconds, for whoever compares a million of them.
    pub(crate) const fn ttl_nanos(self) -> u64 {
        self.ttl_ms as u64 * 1_000_000
    }

    /// How long an instance stays listed after going offline, in nanoseconds.
    pub(crate) const fn lingering_nanos(self) -> u64 {
        (self.ttd_ms - self.ttl_ms) as u64 * 1_000_000
    }

    /// The period a holder beats at: a third of the ttl, so that one lost beat
    /// never costs the lease.
    pub const fn heartbeat_interval(self) -> Duration {
        Duration::from_millis(self.ttl_ms.div_ceil(3) as u64)
    }
}

impl Default for LeaseTerms {
    /// 15 s until offline, 45 s until delisted.
    fn default() -> Self {
        Self { ttl_ms: 15_000, ttd_ms: 45_000 }
    }
}

fn whole_ms(field: &'static str, duration: Duration) -> Result<u32> {
    let ms = duration.as_nanos().div_ceil(1_000_000);
    match u32::try_from(ms) {
        Ok(ms) if ms > 0 && duration <= LeaseTerms::MAX => Ok(ms),
        _ => Err(Error::invalid(field, "must be from 1 ms to 30 days")),
    }
}

/// What a backend needs to renew a lease without looking anything up. Opaque.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaseToken(pub Bytes);

/// What a backend granted to a connected instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The instance that holds it.
    pub id: InstanceId,
    /// The epoch that was given or chosen.
    pub epoch: Epoch,
    /// The terms as granted; a backend may round the asked ones up.
    pub terms: LeaseTerms,
    /// To be sent with each beat, if the backend gave one.
    pub token: Option<LeaseToken>,
    /// The revision at which the instance's data last changed.
    pub revision: Revision,
}

impl Lease {
    /// The beat that renews this lease.
    pub fn beat(&self) -> Beat {
        Beat { id: self.id.clone(), epoch: self.epoch, token: self.token.clone() }
    }
}

/// A sign of life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The instance.
    pub id: InstanceId,
    /// The life of that instance the holder believes in.
    pub epoch: Epoch,
    /// From the [`Lease`], where the holder still has it.
    pub token: Option<LeaseToken>,
}

/// What a beat achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BeatOutcome {
    /// The lease was alive and is renewed.
    Renewed,
    /// The instance was offline and is online again.
    Revived,
    /// A newer epoch of this id is live: this holder was replaced and must stop.
    Superseded,
    /// No such instance: the holder must connect again.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_checked_and_the_beat_fits_three_times() {
        let terms =
            |ttl, ttd| LeaseTerms::new(Duration::from_millis(ttl), Duration::from_millis(ttd));
        assert!(terms(0, 1).is_err());
        assert!(terms(2, 1).is_err());
        assert!(terms(1, u64::MAX).is_err());
        assert_eq!(terms(10, 10).unwrap().heartbeat_interval(), Duration::from_millis(4));
        assert_eq!(LeaseTerms::default().heartbeat_interval(), Duration::from_secs(5));
    }
}
