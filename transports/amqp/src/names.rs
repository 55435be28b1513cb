//! What things are called at a broker that H2 shares. Facts: HailoOSS `platform`
//! at 39e911a, `raven/raven.go` and `raven/consumer.go`.

use registry_api::{Error, Result, ServiceName};

/// Replies, pings, and requests to one instance: the key is the queue.
pub(crate) const DIRECT: &str = "h2o.direct";

/// Requests, for which the exchange chooses an instance.
pub(crate) const REQUESTS: &str = "h2o";
/// Publications, to all who read a topic.
pub(crate) const TOPICS: &str = "h2o.topic";

/// What the names of an organisation's services begin with: `com.hailocab`, unless
/// it is another's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

impl Prefix {
    /// Checks that it can begin a dotted name: letters, digits, `-` and `_`, with
    /// single dots between.
    pub fn parse(text: &str) -> Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let part = |part: &str| !part.is_empty() && part.chars().all(plain);
        if text.len() <= 100 && text.split('.').all(part) {
            return Ok(Self(text.to_owned()));
        }
        let rule = "must have at most 100 letters, digits, - and _, with single dots between";
        Err(Error::invalid("prefix", rule))
    }

    /// A name below it.
    pub fn name(&self, rest: &str) -> String {
        format!("{}.{rest}", self.0)
    }

    /// The service that a registry is at a broker: `PREFIX.kernel.registry`.
    pub fn registry(&self) -> Result<ServiceName> {
        ServiceName::parse(&self.name("kernel.registry"))
    }
}

impl Default for Prefix {
    /// `com.hailocab`, as H2 itself ran.
    fn default() -> Self {
        Self("com.hailocab".to_owned())
    }
}

/// The longest name or key of the protocol, in bytes.
pub(crate) const MAX_SHORT: usize = 255;
/// The longest name of a service: queues and exchanges are called after it.
const MAX_SERVICE: usize = 200;

/// Checks that queues and exchanges can be called after a service.
pub(crate) fn check_service(service: &str) -> Result<()> {
    if service.len() <= MAX_SERVICE {
        return Ok(());
    }
    let rule = format!("must have at most {MAX_SERVICE} bytes, so that a queue can have its name");
    Err(Error::invalid("service", rule))
}

/// Checks that something can be published on a topic.
pub(crate) fn check_topic(topic: &str) -> Result<()> {
    match topic.is_empty() || topic.len() > MAX_SHORT {
        true => Err(Error::invalid("topic", format!("must have 1 to {MAX_SHORT} bytes"))),
        false => Ok(()),
    }
}

/// The queue of a new instance of `service`; it is the instance's id too.
pub(crate) fn server_queue(service: &str) -> String {
    format!("server-{service}-{}", uuid::Uuid::new_v4())
}

/// The queue that a caller's replies come to.
pub(crate) fn client_queue() -> String {
    format!("client-{}", uuid::Uuid::new_v4())
}

/// The queue that answers to pings come to.
pub(crate) fn discovery_queue() -> String {
    format!("discovery-{}", uuid::Uuid::new_v4())
}

/// Whether an answer may be sent there: to the queue of a caller or of discovery. An
/// instance that took one for a request would answer it in turn.
pub(crate) fn is_reply_queue(queue: &str) -> bool {
    let prefixes = ["client-", "discovery-"];
    queue.len() <= MAX_SHORT && prefixes.iter().any(|prefix| queue.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_begins_names() {
        assert_eq!(Prefix::default().name("kernel.auth"), "com.hailocab.kernel.auth");
        for bad in ["", ".", "a.", "a..b", "a b", "ä"] {
            assert!(Prefix::parse(bad).is_err(), "{bad}");
        }
        let long = "x".repeat(MAX_SERVICE);
        assert!(check_service(&long).is_ok() && server_queue(&long).len() <= MAX_SHORT);
        assert!(check_service(&(long + "x")).is_err());
        assert!(is_reply_queue(&client_queue()) && is_reply_queue(&discovery_queue()));
        for other in [&*server_queue("s"), "payments.orders", ""] {
            assert!(!is_reply_queue(other), "{other:?}");
        }
    }
}
