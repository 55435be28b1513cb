//! The policies of a channel, put together.

use std::sync::Arc;

use registry_api::Filter;

use super::balance::Balance;
use super::breaker::Breaker;
use super::counters::Counters;
use super::ejection::Ejection;
use super::hedge::Hedge;
use super::queue::Queue;
use super::retry::Retry;
use super::timeouts::Timeouts;
use super::zone::ZoneFirst;

/// What a channel does besides calling. Every policy is a value; leaving one
/// out leaves it out. docs/DESIGN.md says why the defaults are what they are.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChannelOptions {
    /// Which of those that may be picked gets a call.
    pub balance: Balance,
    /// Who may be picked: version, zone, metadata. Its phase and health are not
    /// looked at.
    pub filter: Filter,
    /// Whether one zone is preferred.
    pub zone: Option<ZoneFirst>,
    /// How long calls may take.
    pub timeouts: Timeouts,
    /// How failed calls are repeated.
    pub retry: Retry,
    /// Whether slow calls are asked a second time.
    pub hedge: Option<Hedge>,
    /// Whether failing instances are left alone.
    pub ejection: Option<Ejection>,
    /// Whether failing endpoints are left alone.
    pub breaker: Option<Breaker>,
    /// How many calls at a time.
    pub queue: Queue,
    /// Where to count; several channels may share one.
    pub counters: Arc<Counters>,
}

impl Default for ChannelOptions {
    /// Everything but zones, each with its default.
    fn default() -> Self {
        Self {
            balance: Balance::default(),
            filter: Filter::default(),
            zone: None,
            timeouts: Timeouts::default(),
            retry: Retry::default(),
            hedge: Some(Hedge::default()),
            ejection: Some(Ejection::default()),
            breaker: Some(Breaker::default()),
            queue: Queue::default(),
            counters: Arc::default(),
        }
    }
}

impl ChannelOptions {
    /// Sets which of those that may be picked gets a call.
    #[must_use]
    pub fn with_balance(mut self, balance: Balance) -> Self {
        self.balance = balance;
        self
    }

    /// Sets who may be picked.
    #[must_use]
    pub fn with_filter(mut self, filter: Filter) -> Self {
        self.filter = filter;
        self
    }

    /// Prefers a zone.
    #[must_use]
    pub fn with_zone(mut self, zone: ZoneFirst) -> Self {
        self.zone = Some(zone);
        self
    }

    /// Sets how long calls may take.
    #[must_use]
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Sets how failed calls are repeated.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Sets whether slow calls are asked a second time.
    #[must_use]
    pub fn with_hedge(mut self, hedge: impl Into<Option<Hedge>>) -> Self {
        self.hedge = hedge.into();
        self
    }

    /// Sets whether failing instances are left alone.
    #[must_use]
    pub fn with_ejection(mut self, ejection: impl Into<Option<Ejection>>) -> Self {
        self.ejection = ejection.into();
        self
    }

    /// Sets whether failing endpoints are left alone.
    #[must_use]
    pub fn with_breaker(mut self, breaker: impl Into<Option<Breaker>>) -> Self {
        self.breaker = breaker.into();
        self
    }

    /// Sets how many calls at a time.
    #[must_use]
    pub fn with_queue(mut self, queue: Queue) -> Self {
        self.queue = queue;
        self
    }

    /// Sets where to count.
    #[must_use]
    pub fn with_counters(mut self, counters: Arc<Counters>) -> Self {
        self.counters = counters;
        self
    }
}
