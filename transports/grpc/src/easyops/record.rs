//! How an instance of go-easyops stands in the registry, on any backend.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use registry_api::{
    Address, Error, Instance, InstanceId, InstanceSpec, LeaseTerms, Metadata, Offer, Phase, Result,
    ServiceName, Target as Where,
};

use super::SCHEME;
use super::common::Health;
use super::wire::{Apitype, RegisterServiceRequest, Registration, Target};

/// In the metadata of an offer: which process it is of, what it speaks, and what the
/// registry of go-easyops gives back.
const PROCESS: &str = "easyops.process";
const APIS: &str = "easyops.api";
const ROUTING: &str = "easyops.routing";
const PID: &str = "easyops.pid";
const USER: &str = "easyops.user";
/// Not targetable after a minute without a refresh, gone after five.
const TTL: Duration = Duration::from_secs(60);
const TTD: Duration = Duration::from_secs(300);
/// A value has 1,024 bytes at most, and four of base64 hold three.
const MAX_ROUTING: usize = 760;

/// A registration, as an instance at `host`.
///
/// Errors: `InvalidArgument`, with the words of the original where it has some.
pub(super) fn spec(request: &RegisterServiceRequest, host: &str) -> Result<InstanceSpec> {
    let missing = |what: &'static str| Error::invalid(what, format!("missing {what}"));
    if request.process_id.is_empty() {
        return Err(missing("processid"));
    }
    if request.service_name.is_empty() {
        return Err(missing("servicename"));
    }
    let port = u16::try_from(request.port).ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| Error::invalid("port", "must be 1 to 65535"))?;
    if request.routing_info.len() > MAX_ROUTING {
        return Err(Error::invalid("routinginfo", "must have at most 760 bytes"));
    }
    let service = ServiceName::parse(&request.service_name)?;
    let apis: Vec<_> = request.api_type().collect();
    let scheme = match &apis[..] {
        apis if apis.contains(&Apitype::Grpc) => SCHEME,
        apis if apis.contains(&Apitype::Tcp) => "tcp",
        _ => "https",
    };
    let names: Vec<_> = apis.iter().map(|api| api.as_str_name()).collect();
    let mut pairs = vec![
        (PROCESS, request.process_id.clone()),
        (APIS, names.join(",")),
        (PID, request.pid.to_string()),
        (USER, request.user_id.clone()),
        (ROUTING, STANDARD.encode(&request.routing_info)),
    ];
    pairs.retain(|(_, value)| !value.is_empty());
    let offer = Offer::new(service, Address::host(scheme, host, port)?)
        .with_metadata(Metadata::new(pairs)?);
    let id = format!("{}:{host}:{port}:{}", request.process_id, request.service_name);
    let terms = LeaseTerms::new(TTL, TTD)?;
    let phase = phase(request.health()).unwrap_or(Phase::Starting);
    Ok(InstanceSpec::new(InstanceId::parse(&id)?, [offer]).with_terms(terms).with_phase(phase))
}

/// Whether an instance says how it is where it is asked.
pub(super) fn has_status(spec: &InstanceSpec) -> bool {
    let apis = spec.offers.first().and_then(|offer| offer.metadata.get(APIS));
    let status = Apitype::Status.as_str_name();
    apis.unwrap_or_default().split(',').any(|api| api == status)
}

/// The host and the port of an instance.
pub(super) fn place(spec: &InstanceSpec) -> Option<(String, u16)> {
    match spec.offers.first()?.addresses.first()?.target() {
        Where::Host { host, port } => Some((host.to_owned(), port)),
        Where::Queue(_) | Where::Connection { .. } => None,
    }
}

/// What an instance says of itself; nothing where it says nothing.
pub(super) fn phase(health: Health) -> Option<Phase> {
    match health {
        Health::UnknownHealth => None,
        Health::Starting => Some(Phase::Starting),
        Health::Ready => Some(Phase::Ready),
        Health::Stopping => Some(Phase::Draining),
    }
}

/// An instance that registered here; others are none.
pub(super) struct Record<'a> {
    instance: &'a Instance,
    offer: &'a Offer,
    host: &'a str,
    port: u16,
}

impl<'a> Record<'a> {
    pub(super) fn read(instance: &'a Instance) -> Option<Self> {
        let [offer] = &*instance.offers else { return None };
        offer.metadata.get(PROCESS)?;
        let Where::Host { host, port } = offer.addresses.first()?.target() else { return None };
        Some(Self { instance, offer, host, port })
    }

    pub(super) fn process(&self) -> &str {
        self.fact(PROCESS)
    }

    pub(super) fn is_on(&self, host: &str) -> bool {
        self.host == host
    }

    pub(super) fn is_at(&self, ports: &[u32]) -> bool {
        ports.contains(&self.port.into())
    }

    pub(super) fn instance(&self) -> &Instance {
        self.instance
    }

    fn fact(&self, key: &str) -> &str {
        self.offer.metadata.get(key).unwrap_or_default()
    }

    fn apis(&self) -> Vec<i32> {
        let names = self.fact(APIS).split(',');
        names.filter_map(Apitype::from_str_name).map(i32::from).collect()
    }

    /// Where whoever asks for this kind finds it; none for one that is not to be found.
    pub(super) fn target(&self, api: Apitype) -> Option<Target> {
        let fits = self.apis().contains(&i32::from(api));
        (fits && self.is_targetable()).then(|| self.as_target())
    }

    /// Those without a status say nothing of how they are.
    fn is_targetable(&self) -> bool {
        let says = self.apis().contains(&i32::from(Apitype::Status));
        let online = self.instance.health == registry_api::Health::Online;
        online && (!says || self.instance.phase == Phase::Ready)
    }

    fn as_target(&self) -> Target {
        Target {
            service_name: self.offer.service.to_string(),
            ip: self.host.to_owned(),
            port: self.port.into(),
            api_type: self.apis(),
            routing_info: STANDARD.decode(self.fact(ROUTING)).unwrap_or_default().into(),
            partition: String::new(),
        }
    }

    /// As it is listed.
    pub(super) fn registration(&self) -> Registration {
        Registration {
            target: Some(self.as_target()),
            targetable: self.is_targetable(),
            process_id: self.process().to_owned(),
            pid: self.fact(PID).parse().unwrap_or_default(),
            running: self.instance.health == registry_api::Health::Online,
            user_id: self.fact(USER).to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use registry_api::{Epoch, Era, ErrorKind, Presence, Revision};

    use super::*;

    fn request(apis: &[Apitype], health: Health) -> RegisterServiceRequest {
        RegisterServiceRequest {
            process_id: "L-abc".to_owned(),
            port: 4100,
            api_type: apis.iter().map(|api| i32::from(*api)).collect(),
            service_name: "echo.EchoService".to_owned(),
            routing_info: b"\x22\0routing".to_vec().into(),
            pid: 7,
            user_id: "u".to_owned(),
            health: health.into(),
        }
    }

    fn instance(request: &RegisterServiceRequest, health: registry_api::Health) -> Instance {
        let spec = spec(request, "10.0.0.7").unwrap();
        let presence = Presence::new(&spec, Epoch(1), Revision { era: Era(1), number: 1 });
        Instance { presence: Arc::new(presence), health }
    }

    #[test]
    fn what_registered_is_told_as_it_was() {
        let asked = request(&[Apitype::Status, Apitype::Grpc], Health::Ready);
        let instance = instance(&asked, registry_api::Health::Online);
        let record = Record::read(&instance).unwrap();
        let told = record.registration();
        assert!(told.targetable && told.running);
        assert_eq!((&*told.process_id, told.pid, &*told.user_id), ("L-abc", 7, "u"));
        let target = record.target(Apitype::Grpc).unwrap();
        assert_eq!((&*target.ip, target.port), ("10.0.0.7", 4100));
        assert_eq!((target.api_type, target.routing_info), (asked.api_type, asked.routing_info));
        assert!(record.target(Apitype::Tcp).is_none());
        assert!(record.is_on("10.0.0.7") && record.is_at(&[1, 4100]) && !record.is_at(&[]));
    }

    #[test]
    fn only_who_is_ready_and_online_is_a_target() {
        use registry_api::Health as Judged;
        let both = [Apitype::Status, Apitype::Grpc];
        for (apis, health, judged, is_target) in [
            (&both[..], Health::Starting, Judged::Online, false),
            (&both, Health::UnknownHealth, Judged::Online, false),
            (&both, Health::Stopping, Judged::Online, false),
            (&both, Health::Ready, Judged::Offline, false),
            (&both[1..], Health::UnknownHealth, Judged::Online, true),
        ] {
            let instance = instance(&request(apis, health), judged);
            let record = Record::read(&instance).unwrap();
            assert_eq!(record.target(Apitype::Grpc).is_some(), is_target, "{health:?} {judged:?}");
        }
    }

    #[test]
    fn kinds_are_addresses_and_nonsense_is_named() {
        let address = |apis: &[Apitype]| {
            let spec = spec(&request(apis, Health::Ready), "::1").unwrap();
            spec.offers[0].addresses[0].to_string()
        };
        assert_eq!(address(&[Apitype::Status, Apitype::Grpc]), "easyops://[::1]:4100");
        assert_eq!(address(&[Apitype::Tcp]), "tcp://[::1]:4100");
        assert_eq!(address(&[Apitype::Html]), "https://[::1]:4100");
        let good = request(&[Apitype::Grpc], Health::Ready);
        for (bad, words) in [
            (
                RegisterServiceRequest { process_id: String::new(), ..good.clone() },
                "missing processid",
            ),
            (
                RegisterServiceRequest { service_name: String::new(), ..good.clone() },
                "missing servicename",
            ),
            (RegisterServiceRequest { port: 0, ..good.clone() }, "1 to 65535"),
            (RegisterServiceRequest { port: 65_536, ..good.clone() }, "1 to 65535"),
            (RegisterServiceRequest { service_name: "a/b".to_owned(), ..good.clone() }, "service"),
            (RegisterServiceRequest { process_id: "x".repeat(255), ..good.clone() }, "id"),
            (RegisterServiceRequest { routing_info: vec![0; 761].into(), ..good.clone() }, "760"),
        ] {
            let error = spec(&bad, "10.0.0.7").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains(words), "{error}");
        }
        let most = RegisterServiceRequest { routing_info: vec![0; 760].into(), ..good };
        assert!(spec(&most, "10.0.0.7").is_ok());
    }
}
