//! `hprose-service/<domain>/<uuid>`; the value is [`Server`].

use registry_api::hprose::{Server, TTL, as_go_writes};
use registry_api::{InstanceId, LeaseTerms, Offer, ServiceName};

pub(super) fn named(key: &str) -> Option<(ServiceName, InstanceId)> {
    Server::parse_key(key)
}

pub(super) fn terms() -> LeaseTerms {
    LeaseTerms::new(TTL, TTL).unwrap_or_default()
}

pub(super) fn read(service: &ServiceName, id: &InstanceId, value: &[u8]) -> Option<Offer> {
    let server: Server = serde_json::from_slice(value).ok()?;
    server.check(service, id).ok()?.offer().ok()
}

pub(super) fn copy(id: &InstanceId, offer: &Offer) -> Option<(String, Vec<u8>)> {
    let server = Server::of(id, offer)?;
    let value = serde_json::to_string(&server).ok()?;
    Some((server.key(), as_go_writes(&value).into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_byte_for_byte_theirs() {
        let guide = br#"{"UUID":"fe09","Domain":"tcp.hello.server","ServerUrl":"tcp4://169.254.128.35:4321/","CPU":8}"#;
        let (service, id) = named("hprose-service/tcp.hello.server/fe09").unwrap();
        let offer = read(&service, &id, guide).unwrap();
        let (key, value) = copy(&id, &offer).unwrap();
        assert_eq!(key, "hprose-service/tcp.hello.server/fe09");
        assert_eq!(String::from_utf8_lossy(&value), String::from_utf8_lossy(guide));
    }

    #[test]
    fn case_and_further_keys_do_not_matter_and_nonsense_does() {
        let (service, id) = named("/hprose-service/d/u").unwrap();
        let read = |value: &str| read(&service, &id, value.as_bytes());
        assert!(
            read(r#"{"cpu":2,"x":[1],"uuid":"u","DOMAIN":"d","serverurl":"ws://h:1/"}"#).is_some()
        );
        for bad in [
            "",
            "[]",
            r#"{"UUID":"u","Domain":"d"}"#,
            r#"{"UUID":"other","Domain":"d","ServerUrl":"tcp://h:1"}"#,
            r#"{"UUID":"u","Domain":"d","ServerUrl":"nowhere"}"#,
            r#"{"UUID":"u","Domain":"d","ServerUrl":"tcp://h:1","CPU":"many"}"#,
        ] {
            assert!(read(bad).is_none(), "{bad}");
        }
    }
}
