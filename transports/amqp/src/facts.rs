//! What H2 says about a request besides service and endpoint: headers of the message
//! on the wire, headers of the [`Call`] for callers and handlers.

use registry_api::call::{Call, Headers};

/// The names those headers have in a call. What comes from outside must never set
/// them: they say who asks.
pub mod header {
    /// The service that calls, as it says itself.
    pub const FROM: &str = "h2-from";
    /// The session of the user it is for.
    pub const SESSION: &str = "h2-session";
    /// The trace it belongs to.
    pub const TRACE: &str = "h2-trace";
    /// `1` where that trace is to be kept.
    pub const TRACE_KEPT: &str = "h2-trace-kept";
    /// The message that its sender was serving.
    pub const PARENT: &str = "h2-parent";
    /// The address that it came from in the first place.
    pub const REMOTE: &str = "h2-remote";
    /// `1` where its sender says that it may; whoever can publish can say so.
    pub const AUTHORISED: &str = "h2-authorised";
    /// The message being served; only a handler sees it.
    pub const MESSAGE: &str = "h2-message";
}

/// What all those names begin with.
const OURS: &str = "h2-";

/// Facts about a request that H2 carries; empty ones are unset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) trace_id: String,
    pub(crate) trace_persist: bool,
    pub(crate) session_id: String,
    pub(crate) parent_message_id: String,
    pub(crate) from: String,
    pub(crate) remote_addr: String,
    pub(crate) authorised: bool,
}

impl Facts {
    /// The facts among a call's headers, and the other headers.
    pub(crate) fn split(headers: &Headers) -> (Self, Headers) {
        let mut facts = Self::default();
        let mut rest = Headers::new();
        for (name, value) in headers {
            let text = match &**name {
                header::FROM => &mut facts.from,
                header::SESSION => &mut facts.session_id,
                header::TRACE => &mut facts.trace_id,
                header::PARENT => &mut facts.parent_message_id,
                header::REMOTE => &mut facts.remote_addr,
                header::TRACE_KEPT => {
                    facts.trace_persist = value == "1";
                    continue;
                }
                header::AUTHORISED => {
                    facts.authorised = value == "1";
                    continue;
                }
                name if name.starts_with(OURS) => continue,
                _ => {
                    rest.push((name.clone(), value.clone()));
                    continue;
                }
            };
            text.clone_from(value);
        }
        (facts, rest)
    }

    /// The headers of a call: what its sender set freely, then what H2 says, which
    /// nobody sets freely.
    pub(crate) fn join(&self, message: &str, free: &Headers) -> Headers {
        let flag = |on: bool| if on { "1" } else { "" };
        let ours = [
            (header::FROM, &*self.from),
            (header::SESSION, &*self.session_id),
            (header::TRACE, &*self.trace_id),
            (header::TRACE_KEPT, flag(self.trace_persist)),
            (header::PARENT, &*self.parent_message_id),
            (header::REMOTE, &*self.remote_addr),
            (header::AUTHORISED, flag(self.authorised)),
            (header::MESSAGE, message),
        ];
        let free = free.iter().filter(|(name, _)| !name.starts_with(OURS)).cloned();
        let set = ours.into_iter().filter(|(_, value)| !value.is_empty());
        free.chain(set.map(|(name, value)| (name.to_owned(), value.to_owned()))).collect()
    }
}

/// The headers of calls that are made while `served` is: they belong to its trace and
/// its session, and name it as what they are for.
pub fn passed_on(served: &Call) -> Headers {
    let pairs = [
        (header::SESSION, header::SESSION),
        (header::TRACE, header::TRACE),
        (header::TRACE_KEPT, header::TRACE_KEPT),
        (header::REMOTE, header::REMOTE),
        (header::MESSAGE, header::PARENT),
    ];
    let pair = |(from, to): (&str, &str)| {
        served.header(from).map(|value| (to.to_owned(), value.to_owned()))
    };
    pairs.into_iter().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use registry_api::ServiceName;

    use super::*;

    fn facts() -> Facts {
        Facts {
            trace_id: "t".to_owned(),
            trace_persist: true,
            session_id: "s".to_owned(),
            parent_message_id: "p".to_owned(),
            from: "f".to_owned(),
            remote_addr: "1.2.3.4:5".to_owned(),
            authorised: true,
        }
    }

    #[test]
    fn facts_travel_as_headers_and_only_h2_sets_them() {
        let free = vec![("a".to_owned(), "1".to_owned())];
        let headers = facts().join("m", &free);
        assert_eq!(Facts::split(&headers), (facts(), free));
        let forged = vec![(header::SESSION.to_owned(), "somebody's".to_owned())];
        assert_eq!(Facts::default().join("", &forged), Headers::new());
    }

    #[test]
    fn a_call_for_a_call_belongs_to_its_trace_and_says_so() {
        let mut served = Call::new(ServiceName::parse("s").unwrap(), "e", Bytes::new());
        served.headers = facts().join("m", &Headers::new());
        let (passed, free) = Facts::split(&passed_on(&served));
        let expected = Facts {
            parent_message_id: "m".to_owned(),
            from: String::new(),
            authorised: false,
            ..facts()
        };
        assert_eq!((passed, free), (expected, Headers::new()));
    }
}
