//! Structs of `idl/registry.thrift` as Rust sees them.
//!
//! What is absent is a default, what is unknown is passed over (SPEC C10).

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::wire::{DEPTH, Reader, WireError, Writer, kind};

type Result<T> = std::result::Result<T, WireError>;

/// A value with a Thrift form.
pub(super) trait Wire: Sized {
    /// Its type on the wire.
    const KIND: u8;

    /// Whether a field of it is written.
    fn is_there(&self) -> bool {
        true
    }

    fn write(&self, out: &mut Writer);

    fn read(reader: &mut Reader<'_>, depth: usize) -> Result<Self>;
}

/// A value as bytes.
pub(super) fn encode(value: &impl Wire) -> Bytes {
    let mut out = Writer::default();
    value.write(&mut out);
    out.bytes.into()
}

/// Bytes as a value.
pub(super) fn decode<T: Wire>(bytes: &[u8]) -> Result<T> {
    T::read(&mut Reader::new(bytes), DEPTH)
}

/// A byte string.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Blob(pub(super) Bytes);

/// Nothing: what a void function returns.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Void;

macro_rules! scalar {
    ($type:ty, $kind:ident, |$value:ident, $out:ident| $write:expr, |$reader:ident| $read:expr) => {
        impl Wire for $type {
            const KIND: u8 = kind::$kind;

            fn write(&self, $out: &mut Writer) {
                let $value = self;
                $write
            }

            fn read($reader: &mut Reader<'_>, _depth: usize) -> Result<Self> {
                $read
            }
        }
    };
}

scalar!(bool, BOOL, |value, out| out.u8(u8::from(*value)), |reader| reader.bool());
scalar!(i32, I32, |value, out| out.i32(*value), |reader| reader.i32());
scalar!(i64, I64, |value, out| out.i64(*value), |reader| reader.i64());
scalar!(u64, I64, |value, out| out.i64(*value as i64), |reader| Ok(reader.i64()? as u64));
scalar!(String, STRING, |value, out| out.bytes(value.as_bytes()), |reader| {
    Ok(reader.string()?.to_owned())
});
scalar!(Blob, STRING, |value, out| out.bytes(&value.0), |reader| {
    Ok(Self(Bytes::copy_from_slice(reader.bytes()?)))
});

impl Wire for Void {
    const KIND: u8 = kind::STOP;

    fn is_there(&self) -> bool {
        false
    }

    fn write(&self, _: &mut Writer) {}

    fn read(_: &mut Reader<'_>, _: usize) -> Result<Self> {
        Ok(Self)
    }
}

impl<T: Wire> Wire for Option<T> {
    const KIND: u8 = T::KIND;

    fn is_there(&self) -> bool {
        self.is_some()
    }

    fn write(&self, out: &mut Writer) {
        if let Some(value) = self {
            value.write(out);
        }
    }

    fn read(reader: &mut Reader<'_>, depth: usize) -> Result<Self> {
        T::read(reader, depth).map(Some)
    }
}

impl<T: Wire> Wire for Vec<T> {
    const KIND: u8 = kind::LIST;

    fn write(&self, out: &mut Writer) {
        out.u8(T::KIND);
        out.count(self.len());
        self.iter().for_each(|value| value.write(out));
    }

    fn read(reader: &mut Reader<'_>, depth: usize) -> Result<Self> {
        let depth = depth.checked_sub(1).ok_or(WireError::Depth)?;
        let (kind, count) = reader.sequence()?;
        if count > 0 && kind != T::KIND {
            return Err(WireError::Protocol("the elements of a list are of another type"));
        }
        // Grows with what is there: an element may be one byte, and a value many.
        let mut values = Self::new();
        for _ in 0..count {
            values.push(T::read(reader, depth)?);
        }
        Ok(values)
    }
}

impl Wire for BTreeMap<String, String> {
    const KIND: u8 = kind::MAP;

    fn write(&self, out: &mut Writer) {
        out.u8(kind::STRING);
        out.u8(kind::STRING);
        out.count(self.len());
        for (key, value) in self {
            key.write(out);
            value.write(out);
        }
    }

    fn read(reader: &mut Reader<'_>, depth: usize) -> Result<Self> {
        let (key, value, count) = reader.map()?;
        if count > 0 && (key, value) != (kind::STRING, kind::STRING) {
            return Err(WireError::Protocol("a map holds something else than text"));
        }
        let pair = |_| Ok((String::read(reader, depth)?, String::read(reader, depth)?));
        (0..count).map(pair).collect()
    }
}

/// Declares structs: field numbers, names and types.
macro_rules! records {
    ($($name:ident { $($id:literal $field:ident: $type:ty),* $(,)? })*) => {$(
        #[derive(Clone, Debug, Default, PartialEq)]
        pub(super) struct $name { $(pub(super) $field: $type),* }

        impl Wire for $name {
            const KIND: u8 = kind::STRUCT;

            fn write(&self, out: &mut Writer) {
                $(if self.$field.is_there() {
                    out.field(<$type as Wire>::KIND, $id);
                    self.$field.write(out);
                })*
                out.stop();
            }

            fn read(reader: &mut Reader<'_>, depth: usize) -> Result<Self> {
                let depth = depth.checked_sub(1).ok_or(WireError::Depth)?;
                let mut value = Self::default();
                while let Some((kind, id)) = reader.field()? {
                    match (id, kind) {
                        $(($id, <$type as Wire>::KIND) => value.$field = Wire::read(reader, depth)?,)*
                        _ => reader.skip(kind, depth)?,
                    }
                }
                Ok(value)
            }
        }

        #[cfg(test)]
        impl $name {
            /// Its fields, to be held against the IDL.
            pub(super) const FIELDS: &[(i16, &str, u8)] =
                &[$(($id, stringify!($field), <$type as Wire>::KIND)),*];
        }
    )*};
}

records! {
    Caller { 1 space: String, 2 credential: String }
    Revision { 1 era: u64, 2 number: u64 }
    Terms { 1 ttl_ms: i64, 2 ttd_ms: i64 }
    Offer {
        1 service: String, 2 addresses: Vec<String>, 3 version: String, 4 weight: i64,
        5 zone: String, 6 metadata: BTreeMap<String, String>,
    }
    InstanceSpec { 1 id: String, 2 epoch: Option<u64>, 3 terms: Terms, 4 phase: i32, 5 offers: Vec<Offer> }
    InstanceRef { 1 id: String, 2 epoch: u64 }
    Beat { 1 id: String, 2 epoch: u64, 3 token: Option<Blob> }
    Lease { 1 id: String, 2 epoch: u64, 3 terms: Terms, 4 token: Option<Blob>, 5 revision: Revision }
    Instance {
        1 id: String, 2 epoch: u64, 3 terms: Terms, 4 phase: i32, 5 offers: Vec<Offer>,
        6 revision: Revision, 7 health: i32,
    }
    Route { 1 path: String, 2 method: String }
    Endpoint {
        1 name: String, 2 mean_us: Option<i64>, 3 p95_us: Option<i64>, 4 roles: Vec<String>,
        5 idempotent: bool,
    }
    ServiceSpec {
        1 name: String, 2 version: String, 3 description: String, 4 idl: String,
        5 idl_includes: BTreeMap<String, String>, 6 routes: Vec<Route>,
        7 endpoints: Vec<Endpoint>, 8 metadata: BTreeMap<String, String>,
    }
    ServiceRecord { 1 spec: ServiceSpec, 2 owner: String, 3 keys: Vec<Blob>, 4 revision: Revision }
    Registration {
        1 owner: String, 2 services: Vec<ServiceSpec>, 3 mode: i32, 4 key_change: i32,
        5 key: Option<Blob>,
    }
    Scope { 1 extent: i32, 2 instance: String, 3 services: Vec<String> }
    Filter {
        1 phases: Vec<i32>, 2 health: Option<i32>, 3 transport: Option<String>,
        4 zone: Option<String>, 5 version: Option<String>, 6 metadata: BTreeMap<String, String>,
    }
    Query { 1 scope: Scope, 2 filter: Filter }
    View { 1 revision: Revision, 2 services: Vec<ServiceRecord>, 3 instances: Vec<Instance> }
    Removal { 1 id: String, 2 epoch: u64, 3 cause: i32 }
    Judgement { 1 id: String, 2 epoch: u64, 3 health: i32 }
    Event {
        1 upsert: Option<Instance>, 2 remove: Option<Removal>, 3 health: Option<Judgement>,
        4 service: Option<ServiceRecord>, 5 service_removed: Option<String>,
    }
    Changes { 1 revision: Revision, 2 events: Vec<Event> }
    WatchItem { 1 reset: Option<View>, 2 changes: Option<Changes>, 3 progress: Option<Revision> }
    RegistryError {
        1 kind: i32, 2 message: String, 3 may_have_applied: bool, 4 retry_after_ms: Option<i64>,
        5 facts: BTreeMap<String, String>,
    }
    Connected { 1 lease: Option<Lease>, 2 error: Option<RegistryError> }
    Limits {
        1 min_ttl_ms: i64, 2 ttl_granularity_ms: i64, 3 detection_slack_ms: i64,
        4 progress_interval_ms: i64, 5 watch_backlog: i64,
    }
    Info { 1 capabilities: Vec<String>, 2 limits: Limits }
    Polled { 1 items: Vec<WatchItem>, 2 error: Option<RegistryError> }

    InfoArguments { 1 caller: Caller }
    RegisterArguments { 1 caller: Caller, 2 registration: Registration }
    DeregisterArguments { 1 caller: Caller, 2 owner: String, 3 services: Vec<String> }
    ConnectArguments { 1 caller: Caller, 2 instances: Vec<InstanceSpec> }
    HeartbeatArguments { 1 caller: Caller, 2 beats: Vec<Beat> }
    DisconnectArguments { 1 caller: Caller, 2 instances: Vec<InstanceRef> }
    ResolveArguments { 1 caller: Caller, 2 query: Query }
    WatchArguments { 1 caller: Caller, 2 scope: Scope, 3 after: Option<Revision> }
    PollArguments { 1 caller: Caller, 2 watch: i64, 3 wait_ms: i32 }
    UnwatchArguments { 1 caller: Caller, 2 watch: i64 }
}

/// The result struct of a function: a value or the declared error.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome<T> {
    pub(super) value: Option<T>,
    pub(super) error: Option<RegistryError>,
}

impl<T: Wire> Wire for Outcome<T> {
    const KIND: u8 = kind::STRUCT;

    fn write(&self, out: &mut Writer) {
        if let Some(value) = self.value.as_ref().filter(|value| value.is_there()) {
            out.field(T::KIND, 0);
            value.write(out);
        }
        if let Some(error) = &self.error {
            out.field(kind::STRUCT, 1);
            error.write(out);
        }
        out.stop();
    }

    fn read(reader: &mut Reader<'_>, depth: usize) -> Result<Self> {
        let mut outcome = Self { value: None, error: None };
        while let Some((kind, id)) = reader.field()? {
            match (id, kind) {
                (0, found) if found == T::KIND => outcome.value = Some(T::read(reader, depth)?),
                (1, kind::STRUCT) => outcome.error = Some(Wire::read(reader, depth)?),
                _ => reader.skip(kind, depth)?,
            }
        }
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idl;

    fn agree(what: &str, ours: &[(i16, &str, u8)], theirs: &[idl::Field]) {
        let theirs: Vec<_> = theirs.iter().map(|f| (f.id, f.name.as_str(), f.ty.kind())).collect();
        assert_eq!(ours, theirs, "{what}");
    }

    #[test]
    fn the_idl_says_the_same() {
        let idl = idl::parse(include_str!("../../idl/registry.thrift")).unwrap();
        macro_rules! structs {
            ($($name:ident)*) => {$(
                let found = idl.structs.iter().find(|s| s.name == stringify!($name)).unwrap();
                agree(stringify!($name), $name::FIELDS, found.fields());
            )*};
        }
        structs! {
            Caller Revision Terms Offer InstanceSpec InstanceRef Beat Lease Instance Route Endpoint
            ServiceSpec ServiceRecord Registration Scope Filter Query View Removal Judgement Event
            Changes WatchItem RegistryError Connected Limits Info Polled
        }
        let service = idl.service("Registry").unwrap();
        macro_rules! functions {
            ($($name:ident $arguments:ident)*) => {$(
                let function = service.function(stringify!($name)).unwrap();
                agree(stringify!($name), $arguments::FIELDS, function.arguments());
            )*};
        }
        functions! {
            info InfoArguments register RegisterArguments deregister DeregisterArguments
            connect ConnectArguments heartbeat HeartbeatArguments disconnect DisconnectArguments
            resolve ResolveArguments watch WatchArguments poll PollArguments unwatch UnwatchArguments
        }
        assert_eq!(service.functions().count(), 10);
    }

    #[test]
    fn what_is_unknown_is_passed_over_and_what_is_absent_is_a_default() {
        let mut out = Writer::default();
        out.field(kind::I64, 99);
        out.i64(7);
        out.field(kind::I32, 1); // The id, of another type.
        out.i32(7);
        out.field(kind::I64, 2);
        out.i64(5);
        out.stop();
        let beat: Beat = decode(&out.bytes).unwrap();
        assert_eq!(beat, Beat { id: String::new(), epoch: 5, token: None });
        let bomb = [kind::LIST, 0, 2, kind::STRUCT, 0x7f, 0xff, 0xff, 0xff];
        assert!(decode::<HeartbeatArguments>(&bomb).is_err());
    }
}
