//! The time since the machine was started, which all its processes share.

use std::time::Duration;

use async_trait::async_trait;
use registry_api::{Clock, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// Goes on while the machine sleeps, and never jumps.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BootClock;

#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

#[async_trait]
impl Clock for BootClock {
    fn now(&self) -> Timestamp {
        let time = clock_gettime(CLOCK);
        let seconds = Duration::from_secs(time.tv_sec.try_into().unwrap_or(0));
        Timestamp::ZERO + seconds + Duration::from_nanos(time.tv_nsec.try_into().unwrap_or(0))
    }

    async fn sleep_until(&self, deadline: Timestamp) {
        tokio::time::sleep(deadline.since(self.now())).await;
    }
}

/// What names this start of the machine; empty where nothing does. There, a new
/// start shows by a clock that went back.
pub(crate) fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map(|id| id.trim().to_owned()).unwrap_or_default()
}
