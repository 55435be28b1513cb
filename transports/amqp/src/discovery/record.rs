//! How an instance of H2 stands in the registry, on any backend: version, zone and
//! address in the fields that everybody reads, the rest of what it told discovery in
//! metadata that begin with `h2.`.

use registry_api::{Address, Error, InstanceId, Metadata, Offer, Presence, Result, ServiceName};

use super::model::{Endpoint, MultiRequest, Service};
use crate::names::{MAX_SHORT, Prefix, check_service};

/// Which an instance has, if it told discovery of itself.
const HOST: &str = "h2.host";
const CLASS: &str = "h2.class";
const DESCRIPTION: &str = "h2.description";
const SOURCE: &str = "h2.source";
const EMAIL: &str = "h2.owner.email";
const MOBILE: &str = "h2.owner.mobile";
const TEAM: &str = "h2.owner.team";
/// Followed by a number: what fits into one value, in JSON.
const ENDPOINTS: &str = "h2.endpoints.";
/// A value has 1,024 bytes at most.
const FITS: usize = 1_000;

/// An instance of H2, and what it told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record(MultiRequest);

impl Record {
    /// Checks what an instance tells of itself.
    ///
    /// Errors: `InvalidArgument` for what is no instance of H2; `PermissionDenied` for a
    /// name outside of the platform's, of which everybody at the broker could say that
    /// it is theirs.
    pub(crate) fn of(request: MultiRequest, prefix: &Prefix) -> Result<Self> {
        if !request.instance_id.starts_with("server-") {
            return Err(Error::invalid("instanceId", "must begin with server-"));
        }
        if !request.service.name.starts_with(&prefix.name("")) {
            let why = format!("only services below {} register here", prefix.name("*"));
            return Err(Error::new(registry_api::ErrorKind::PermissionDenied, why));
        }
        check_service(&request.service.name)?;
        let topics = request.endpoints.iter().filter_map(|endpoint| endpoint.subscribe.as_ref());
        if topics.into_iter().any(|topic| topic.len() > MAX_SHORT) {
            return Err(Error::invalid("subscribe", "must have at most 255 bytes"));
        }
        Ok(Self(request))
    }

    /// Its id.
    pub(crate) fn id(&self) -> Result<InstanceId> {
        InstanceId::parse(&self.0.instance_id)
    }

    /// Its queue, which is its id.
    pub(crate) fn queue(&self) -> &str {
        &self.0.instance_id
    }

    /// The service it is an instance of.
    pub(crate) fn service(&self) -> &str {
        &self.0.service.name
    }

    /// The topics it reads.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &str> {
        let topics = self.0.endpoints.iter().filter_map(|endpoint| endpoint.subscribe.as_deref());
        topics.filter(|topic| !topic.is_empty() && topic.len() <= MAX_SHORT)
    }

    /// What it told.
    pub(crate) fn told(&self) -> &MultiRequest {
        &self.0
    }

    /// As an offer to everybody.
    pub(crate) fn offer(&self) -> Result<Offer> {
        let MultiRequest { instance_id, hostname, az_name, service, endpoints, machine_class } =
            &self.0;
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let mut pairs = vec![
            (HOST.to_owned(), hostname.clone()),
            (CLASS.to_owned(), text(machine_class)),
            (DESCRIPTION.to_owned(), text(&service.description)),
            (SOURCE.to_owned(), service.source.clone()),
            (EMAIL.to_owned(), service.owner_email.clone()),
            (MOBILE.to_owned(), service.owner_mobile.clone()),
            (TEAM.to_owned(), text(&service.owner_team)),
        ];
        // An empty host says that it is one of H2's.
        pairs.retain(|(key, value)| key == HOST || !value.is_empty());
        pairs.extend(written(endpoints)?);
        let address = Address::parse(&format!("amqp:{instance_id}"))?;
        Ok(Offer::new(ServiceName::parse(&service.name)?, address)
            .with_version(&service.version.to_string())
            .with_zone(az_name)
            .with_metadata(Metadata::new(pairs)?))
    }

    /// The instance of H2 that a presence is, if it is one.
    pub(crate) fn read(presence: &Presence) -> Option<Self> {
        let [offer] = &*presence.offers else { return None };
        let hostname = offer.metadata.get(HOST)?.to_owned();
        check_service(offer.service.as_str()).ok()?; // Whoever else wrote it.
        let text = |key| offer.metadata.get(key).unwrap_or_default().to_owned();
        let perhaps = |key| offer.metadata.get(key).map(str::to_owned);
        Some(Self(MultiRequest {
            instance_id: presence.id.as_str().to_owned(),
            hostname,
            az_name: offer.zone.to_string(),
            service: Service {
                name: offer.service.to_string(),
                description: perhaps(DESCRIPTION),
                version: offer.version.parse().unwrap_or_default(),
                source: text(SOURCE),
                owner_email: text(EMAIL),
                owner_mobile: text(MOBILE),
                owner_team: perhaps(TEAM),
            },
            endpoints: endpoints(&offer.metadata),
            machine_class: perhaps(CLASS),
        }))
    }
}

/// Endpoints as pairs.
fn written(endpoints: &[Endpoint]) -> Result<Vec<(String, String)>> {
    let mut values = vec![String::new()];
    for endpoint in endpoints {
        let Endpoint { name, mean, upper95, subscribe } = endpoint;
        let row = (name, mean, upper95, subscribe.as_deref().unwrap_or_default());
        let text = serde_json::to_string(&row)
            .map_err(|_| Error::invalid("endpoints", "must have names that can be written"))?;
        if text.len() > FITS {
            return Err(Error::invalid("endpoints", "must have names of less than 900 bytes"));
        }
        if values.last().is_some_and(|last| last.len() + text.len() > FITS) {
            values.push(String::new());
        }
        if let Some(last) = values.last_mut() {
            *last += if last.is_empty() { "[" } else { "," };
            *last += &text;
        }
    }
    values.retain(|value| !value.is_empty());
    let pair = |(number, value)| (format!("{ENDPOINTS}{number}"), value + "]");
    Ok(values.into_iter().enumerate().map(pair).collect())
}

/// Endpoints in pairs; what cannot be read is none.
fn endpoints(metadata: &Metadata) -> Vec<Endpoint> {
    let values = (0..).map_while(|number| metadata.get(&format!("{ENDPOINTS}{number}")));
    let rows = values
        .filter_map(|value| serde_json::from_str::<Vec<(String, i32, i32, String)>>(value).ok());
    let endpoint = |(name, mean, upper95, subscribe)| Endpoint {
        name,
        mean,
        upper95,
        subscribe: Some(subscribe),
    };
    rows.flatten().map(endpoint).collect()
}

#[cfg(test)]
mod tests {
    use registry_api::{Epoch, Era, ErrorKind, InstanceSpec, Revision};

    use super::*;

    fn request(endpoints: usize) -> MultiRequest {
        let endpoint = |number| Endpoint {
            name: format!("endpoint.number-{number}\"\u{e9}"),
            mean: 50,
            upper95: 100 + number,
            subscribe: Some(if number == 0 { "a.topic".to_owned() } else { String::new() }),
        };
        MultiRequest {
            instance_id: "server-com.hailocab.service.hello-1".to_owned(),
            hostname: "host".to_owned(),
            az_name: "eu-west-1a".to_owned(),
            service: Service {
                name: "com.hailocab.service.hello".to_owned(),
                description: Some("Says hello".to_owned()),
                version: 20_130_624_113_616,
                source: "github".to_owned(),
                owner_email: "a@b".to_owned(),
                owner_mobile: "+44".to_owned(),
                owner_team: None,
            },
            endpoints: (0..endpoints as i32).map(endpoint).collect(),
            machine_class: Some("default".to_owned()),
        }
    }

    fn presence(record: &Record) -> Presence {
        let spec = InstanceSpec::new(record.id().unwrap(), [record.offer().unwrap()]);
        Presence::new(&spec, Epoch(1), Revision { era: Era(1), number: 1 })
    }

    #[test]
    fn what_an_instance_told_comes_back_from_the_registry() {
        for endpoints in [0, 1, 7, 400] {
            let record = Record::of(request(endpoints), &Prefix::default()).unwrap();
            assert_eq!(Record::read(&presence(&record)), Some(record));
        }
        let nobody = MultiRequest { hostname: String::new(), ..request(1) };
        let record = Record::of(nobody, &Prefix::default()).unwrap();
        assert_eq!(Record::read(&presence(&record)), Some(record));
    }

    #[test]
    fn strangers_and_nonsense_are_refused() {
        let kind = |request| {
            let record = Record::of(request, &Prefix::default());
            record.and_then(|record| record.offer()).unwrap_err().kind()
        };
        let mut foreign = request(1);
        foreign.service.name = "payments".to_owned();
        assert_eq!(kind(foreign), ErrorKind::PermissionDenied);
        let mut elsewhere = request(1);
        elsewhere.instance_id = "payments.orders".to_owned();
        assert_eq!(kind(elsewhere), ErrorKind::InvalidArgument);
        let mut long = request(1);
        long.endpoints[0].name = "x".repeat(2_000);
        assert_eq!(kind(long), ErrorKind::InvalidArgument);
        assert_eq!(kind(request(5_000)), ErrorKind::InvalidArgument);
        // The protocol has a byte for the length of a key.
        let mut topic = request(1);
        topic.endpoints[0].subscribe = Some("t".repeat(256));
        assert_eq!(kind(topic), ErrorKind::InvalidArgument);
        let mut name = request(1);
        name.service.name = format!("com.hailocab.{}", "n".repeat(200));
        assert_eq!(kind(name), ErrorKind::InvalidArgument);
    }
}
