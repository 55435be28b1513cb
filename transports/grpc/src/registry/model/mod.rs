//! The one place where messages of `portolan.v1` become the model, and back.

mod instance;
mod service;
mod watch;

use std::time::Duration;

use registry_api as api;
use registry_api::{Error, ErrorKind, Result};

use crate::v1;

/// Numbers of an enumeration of the protocol: the place in the list, from 1.
macro_rules! numbered {
    ($($name:ident: $type:ty = [$($variant:ident),* $(,)?];)*) => {$(
        pub(crate) mod $name {
            use super::*;
            const ALL: &[$type] = &[$(<$type>::$variant),*];

            pub(crate) fn number(value: $type) -> i32 {
                ALL.iter().position(|known| *known == value).map_or(0, |place| place as i32 + 1)
            }

            pub(crate) fn read(number: i32) -> Result<$type> {
                let known = usize::try_from(number - 1).ok().and_then(|place| ALL.get(place));
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
pub(crate) trait Form: Sized {
    type Wire;

    fn to_wire(&self) -> Self::Wire;

    /// Errors: `InvalidArgument`, naming the field.
    fn from_wire(wire: Self::Wire) -> Result<Self>;
}

pub(crate) fn all_to_wire<T: Form>(values: &[T]) -> Vec<T::Wire> {
    values.iter().map(T::to_wire).collect()
}

pub(crate) fn all_from_wire<T: Form, C: FromIterator<T>>(values: Vec<T::Wire>) -> Result<C> {
    values.into_iter().map(T::from_wire).collect()
}

/// A message that must be there.
pub(crate) fn needed<T: Form>(field: &'static str, wire: Option<T::Wire>) -> Result<T> {
    T::from_wire(wire.ok_or_else(|| Error::invalid(field, "is missing"))?)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Form for api::Revision {
    type Wire = v1::Revision;

    fn to_wire(&self) -> v1::Revision {
        v1::Revision { era: self.era.0, number: self.number }
    }

    fn from_wire(wire: v1::Revision) -> Result<Self> {
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
    type Wire = v1::Error;

    fn to_wire(&self) -> v1::Error {
        let own = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        v1::Error {
            kind: kind::number(self.kind()),
            message: self.message().to_owned(),
            may_have_applied: self.may_have_applied(),
            retry_after_ms: self.retry_delay().map(millis),
            facts: self.facts().map(own).collect(),
        }
    }

    /// An error of a kind that is not known is one of the other side's version.
    fn from_wire(wire: v1::Error) -> Result<Self> {
        let kind = kind::read(wire.kind).unwrap_or(ErrorKind::Corrupt);
        let mut error = Self::new(kind, wire.message);
        for (key, value) in wire.facts {
            error = error.with(key, value);
        }
        if wire.may_have_applied {
            error = error.applied(api::Applied::Unknown);
        }
        if let Some(after) = wire.retry_after_ms {
            error = error.retry_after(Duration::from_millis(after));
        }
        Ok(error)
    }
}

/// What a remote registry says of itself.
pub(crate) fn info_to_wire(info: &api::Info) -> v1::InfoResponse {
    let limits = &info.limits;
    v1::InfoResponse {
        capabilities: info.capabilities.iter().map(|c| c.as_str().to_owned()).collect(),
        limits: Some(v1::Limits {
            min_ttl_ms: millis(limits.min_ttl),
            ttl_granularity_ms: millis(limits.ttl_granularity),
            detection_slack_ms: millis(limits.detection_slack),
            progress_interval_ms: millis(limits.progress_interval),
            watch_backlog: limits.watch_backlog as u64,
        }),
    }
}

/// Capabilities this version does not know are not claimed.
pub(crate) fn info_from_wire(wire: &v1::InfoResponse) -> Result<api::Info> {
    let claimed = |c: &api::Capability| wire.capabilities.iter().any(|name| name == c.as_str());
    let capabilities = api::Capability::ALL.into_iter().filter(claimed);
    let capabilities = capabilities.fold(api::Capabilities::none(), api::Capabilities::with);
    let told = wire.limits.as_ref().ok_or_else(|| Error::invalid("limits", "is missing"))?;
    let time = Duration::from_millis;
    let mut limits = api::Limits::new()
        .with_ttl(time(told.min_ttl_ms), time(told.ttl_granularity_ms))
        .with_detection_slack(time(told.detection_slack_ms))
        .with_watch_backlog(usize::try_from(told.watch_backlog).unwrap_or_default());
    limits.progress_interval = time(told.progress_interval_ms);
    Ok(api::Info::new("grpc", capabilities, limits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_numbers_things_in_our_order() {
        assert_eq!(kind::number(ErrorKind::Unsupported), v1::Kind::Unsupported as i32);
        assert_eq!(kind::number(ErrorKind::Compacted), v1::Kind::Compacted as i32);
        assert_eq!(phase::number(api::Phase::Draining), v1::Phase::Draining as i32);
        assert_eq!(health::number(api::Health::Offline), v1::Health::Offline as i32);
        assert_eq!(cause::number(api::Cause::Unknown), v1::Cause::Unknown as i32);
        assert_eq!(outcome::number(api::BeatOutcome::Unknown), v1::BeatOutcome::Unknown as i32);
        assert_eq!(mode::number(api::RegistrationMode::Replace), v1::Mode::Replace as i32);
        assert!(phase::read(0).is_err() && phase::read(4).is_err() && phase::read(-7).is_err());
    }
}
