//! The one place where structs of the IDL become the model, and back.

mod instance;
mod service;
mod watch;

use std::collections::BTreeMap;
use std::time::Duration;

use registry_api as api;
use registry_api::{Error, ErrorKind, Result};

use super::record as wire;

/// Numbers of an enumeration of the IDL: the place in the list.
macro_rules! numbered {
    ($($name:ident: $type:ty = [$($variant:ident),* $(,)?];)*) => {$(
        pub(super) mod $name {
            use super::*;
            const ALL: &[$type] = &[$(<$type>::$variant),*];

            pub(in super::super) fn number(value: $type) -> i32 {
                ALL.iter().position(|known| *known == value).map_or(-1, |place| place as i32)
            }

            pub(in super::super) fn read(number: i32) -> Result<$type> {
                let known = usize::try_from(number).ok().and_then(|place| ALL.get(place));
                known.copied().ok_or_else(|| {
                    Error::invalid(stringify!($name), "is a number that is not known")
                })
            }
        }
    )*};
}

numbered! {
    phase: api::Phase = [Starting, Ready, Draining];
    health: api::Health = [Online, Offline];
    cause: api::Cause = [Deregistered, Expired, Superseded, Unknown];
    outcome: api::BeatOutcome = [Renewed, Revived, Superseded, Unknown];
    mode: api::RegistrationMode = [Create, Merge, Replace];
    kind: api::ErrorKind = [
        AlreadyExists, Closed, Compacted, Conflict, Corrupt, InvalidArgument, NotFound, Overloaded,
        PermissionDenied, Timeout, Unauthenticated, Unavailable, Unsupported,
    ];
}

/// What has a form on the wire.
pub(super) trait Form: Sized {
    type Wire;

    fn to_wire(&self) -> Self::Wire;

    /// Errors: `InvalidArgument`, naming the field.
    fn from_wire(wire: Self::Wire) -> Result<Self>;
}

pub(super) fn all_to_wire<T: Form>(values: &[T]) -> Vec<T::Wire> {
    values.iter().map(T::to_wire).collect()
}

pub(super) fn all_from_wire<T: Form, C: FromIterator<T>>(values: Vec<T::Wire>) -> Result<C> {
    values.into_iter().map(T::from_wire).collect()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn from_millis(field: &'static str, millis: i64) -> Result<Duration> {
    let millis = u64::try_from(millis).map_err(|_| Error::invalid(field, "is negative"))?;
    Ok(Duration::from_millis(millis))
}

fn pairs(metadata: &api::Metadata) -> BTreeMap<String, String> {
    metadata.clone().into()
}

impl Form for api::Revision {
    type Wire = wire::Revision;

    fn to_wire(&self) -> wire::Revision {
        wire::Revision { era: self.era.0, number: self.number }
    }

    fn from_wire(wire: wire::Revision) -> Result<Self> {
        Ok(Self { era: api::Era(wire.era), number: wire.number })
    }
}

impl Form for api::ServiceName {
    type Wire = String;

    fn to_wire(&self) -> String {
        self.as_str().to_owned()
    }

    fn from_wire(wire: String) -> Result<Self> {
        Self::parse(&wire)
    }
}

impl Form for Error {
    type Wire = wire::RegistryError;

    fn to_wire(&self) -> wire::RegistryError {
        let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        wire::RegistryError {
            kind: kind::number(self.kind()),
            message: self.message().to_owned(),
            may_have_applied: self.may_have_applied(),
            retry_after_ms: self.retry_delay().map(millis),
            facts: self.facts().map(own).collect(),
        }
    }

    /// An error of a kind that is not known is one of the other side's version.
    fn from_wire(wire: wire::RegistryError) -> Result<Self> {
        let kind = kind::read(wire.kind).unwrap_or(ErrorKind::Corrupt);
        let mut error = Self::new(kind, wire.message);
        for (key, value) in wire.facts {
            error = error.with(key, value);
        }
        if wire.may_have_applied {
            error = error.applied(api::Applied::Unknown);
        }
        if let Some(after) = wire.retry_after_ms.and_then(|ms| u64::try_from(ms).ok()) {
            error = error.retry_after(Duration::from_millis(after));
        }
        Ok(error)
    }
}

/// What a remote registry says of itself.
pub(super) fn info_to_wire(info: &api::Info) -> wire::Info {
    let limits = &info.limits;
    wire::Info {
        capabilities: info.capabilities.iter().map(|c| c.as_str().to_owned()).collect(),
        limits: wire::Limits {
            min_ttl_ms: millis(limits.min_ttl),
            ttl_granularity_ms: millis(limits.ttl_granularity),
            detection_slack_ms: millis(limits.detection_slack),
            progress_interval_ms: millis(limits.progress_interval),
            watch_backlog: i64::try_from(limits.watch_backlog).unwrap_or(i64::MAX),
        },
    }
}

/// Capabilities this version does not know are not claimed.
pub(super) fn info_from_wire(wire: &wire::Info) -> Result<api::Info> {
    let claimed = |c: &api::Capability| wire.capabilities.iter().any(|name| name == c.as_str());
    let capabilities = api::Capability::ALL.into_iter().filter(claimed);
    let capabilities = capabilities.fold(api::Capabilities::none(), api::Capabilities::with);
    let granularity = from_millis("ttl_granularity", wire.limits.ttl_granularity_ms)?;
    let mut limits = api::Limits::new()
        .with_ttl(from_millis("min_ttl", wire.limits.min_ttl_ms)?, granularity)
        .with_detection_slack(from_millis("detection_slack", wire.limits.detection_slack_ms)?)
        .with_watch_backlog(usize::try_from(wire.limits.watch_backlog).unwrap_or_default());
    limits.progress_interval = from_millis("progress_interval", wire.limits.progress_interval_ms)?;
    Ok(api::Info::new("thrift", capabilities, limits))
}
