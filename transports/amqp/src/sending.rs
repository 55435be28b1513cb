//! How a caller behaves: who it says it is, and how often a request is sent.

use std::time::Duration;

use registry_api::call::{Call, Peer};

use crate::once::REMEMBERED;
use crate::{MAX_MESSAGE, ONCE};

/// How a caller behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CallerOptions {
    /// The service that calls; empty if it is none.
    pub from: String,
    /// The largest message that is sent or taken, in bytes.
    pub max_message: usize,
    /// How often a request is sent that is not answered.
    pub sending: Sending,
}

/// How often a request is sent that is not answered. It keeps its message id, so that
/// an answer to the first one ends the call also when the second is on its way.
///
/// Attempts wait as those of H2's own callers do: of the time that a call has, the
/// first waits a sixth, the second two of them, the third three. Where that time is six
/// times the 95th percentile of the endpoint, they wait it once, twice and three times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sending {
    /// Three times to the same instance, where that does no harm: the call may be run
    /// twice, or the instance says that it runs no message id twice, which it remembers
    /// for some seconds. Otherwise once.
    #[default]
    Safely,
    /// Once.
    Once,
    /// As H2's own callers do: three times through `h2o`, whoever it chooses, whatever
    /// the endpoint. A call that is not answered in time may be run up to three times.
    Classic,
}

/// The parts of a call's time that its attempts wait.
const PARTS: [u32; 3] = [1, 2, 3];
/// No attempt waits less.
const LEAST: Duration = Duration::from_millis(10);

impl Sending {
    /// How long each attempt waits; the last one waits for what is left.
    pub(crate) fn waits(self, call: &Call, peer: Option<Peer<'_>>) -> Vec<Duration> {
        let once = peer.is_some_and(|peer| peer.fact(ONCE) == "true");
        let again = match self {
            Self::Safely => !call.oneway && (call.idempotent || once),
            Self::Once => false,
            Self::Classic => !call.oneway,
        };
        let (time, whole) = (call.time_left(), PARTS.iter().sum::<u32>());
        if !again {
            return vec![time];
        }
        // Who runs nothing twice does not remember for ever what it ran.
        let remembered = matches!(self, Self::Safely) && !call.idempotent;
        let (mut waits, mut begins) = (Vec::new(), Duration::ZERO);
        for part in PARTS {
            if remembered && begins > REMEMBERED {
                break;
            }
            let wait = (time * part / whole).max(LEAST);
            waits.push(wait);
            begins += wait;
        }
        waits
    }
}

impl Default for CallerOptions {
    /// Nobody's calls, messages of 1 MiB, sent again where that is safe.
    fn default() -> Self {
        Self { from: String::new(), max_message: MAX_MESSAGE, sending: Sending::default() }
    }
}

impl CallerOptions {
    /// Sets the service that calls.
    #[must_use]
    pub fn with_from(mut self, service: impl Into<String>) -> Self {
        self.from = service.into();
        self
    }

    /// Sets the largest message.
    #[must_use]
    pub fn with_max_message(mut self, bytes: usize) -> Self {
        self.max_message = bytes;
        self
    }

    /// Sets how often a request is sent that is not answered.
    #[must_use]
    pub fn with_sending(mut self, sending: Sending) -> Self {
        self.sending = sending;
        self
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use registry_api::{Address, Metadata, ServiceName};

    use super::*;

    #[test]
    fn attempts_wait_as_h2s_do_and_only_where_that_is_safe() {
        let call = Call::new(ServiceName::parse("s").unwrap(), "e", Bytes::new());
        // Six times an SLA of 500 ms.
        let call = call.with_timeout(Duration::from_millis(3_000));
        let address = Address::parse("amqp:server-s-1").unwrap();
        let once = Metadata::new([(ONCE, "true")]).unwrap();
        let (plain, once) = (Peer::at(&address), Peer::at(&address).with_metadata(&once));
        let waits = |sending: Sending, call: &Call, peer| {
            let waits = sending.waits(call, Some(peer));
            waits.into_iter().map(|wait| wait.as_millis()).collect::<Vec<_>>()
        };
        assert_eq!(waits(Sending::Safely, &call, plain), [3_000]);
        assert_eq!(waits(Sending::Safely, &call, once), [500, 1_000, 1_500]);
        assert_eq!(waits(Sending::Once, &call, once), [3_000]);
        let long = call.clone().with_timeout(Duration::from_secs(24));
        assert_eq!(waits(Sending::Safely, &long, once), [4_000, 8_000]);
        assert_eq!(waits(Sending::Safely, &long.with_idempotent(true), once).len(), 3);
        assert_eq!(waits(Sending::Classic, &call, plain), [500, 1_000, 1_500]);
        let call = call.with_idempotent(true);
        assert_eq!(waits(Sending::Safely, &call, plain), [500, 1_000, 1_500]);
        let short = call.clone().with_timeout(Duration::from_millis(12));
        assert_eq!(waits(Sending::Safely, &short, plain), [10, 10, 10]);
        assert_eq!(waits(Sending::Safely, &call.with_oneway(true), once), [3_000]);
    }
}
